"""The account of a preparation: how many came in, how many stayed, and why the others did not."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counts", "Tally"]


@dataclass(frozen=True)
class Tally:
    """How many came in, how many stayed, and why the others did not; the sum always holds."""

    read: int
    kept: int
    dropped: dict[str, int]

    def __post_init__(self) -> None:
        assert self.read == self.kept + sum(self.dropped.values()), f"rows are lost: {self}"


@dataclass(frozen=True)
class Counts:
    """The account of an arrangement.

    Attributes:
        interactions: One person and one film; read is all that the readers kept.
        users: People.
        ratings: Interactions read that carry a rating.
        tag_only: Interactions read that carry none.
        untimed: Interactions read without a timestamp.
        items: Films in the catalogue.
        items_without_metadata: Films that only interactions name; they have no title.
        splits: People kept in each split.
        days: First and last day (since 1970) of what is kept; None where no time is known.
    """

    interactions: Tally
    users: Tally
    ratings: int
    tag_only: int
    untimed: int
    items: int
    items_without_metadata: int
    splits: dict[str, int]
    days: tuple[int, int] | None

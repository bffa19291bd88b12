"""Tasks: one question asked of many people, with what is hidden taken out of what is known.

Dimension letters: B users, M interactions, N items, T hidden films.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.data.histories import normalise_ratings
from tastevec.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.schema import Horizon, Protocol

__all__ = ["Task", "ask", "rows_of_each"]

_PROTOCOL_OF: Final[dict[str, Protocol]] = {
    "best-rated": "best-rated",
    "fold-in": "fold-in",
    "next-liked": "future",
    "last-20%": "future",
    "after-cut": "future",
}


@dataclass(frozen=True, eq=False)
class Task:
    """One question asked of B people: given what is known, which films are hidden?

    Attributes:
        name: ``best-rated``, ``fold-in``, ``next-liked``, ``last-20%`` or ``after-cut``.
        protocol: The protocol that asks it.
        known: What each person did that may be looked at; its ``normalised`` column is of these ratings alone.
        offsets: (B + 1,) int64; person b's hidden films are ``targets[offsets[b]:offsets[b + 1]]``.
        targets: (T,) int32 indices into the catalogue; nobody has none.
        times: (T,) int64 when each hidden film was rated, Unix seconds; ``NO_TIME`` where that is unknown.
        left_out: People who did not have enough for this question.
        note: What to know when reading the numbers.
        candidates: (N,) the films that may be recommended; None is the whole catalogue.
        own: The B people with every film that is left out of their rankings, where that is more than what is told
            of them; None is ``known``.

    Raises:
        DataError: A hidden film is known.
    """

    name: str
    protocol: Protocol
    known: Histories
    offsets: NDArray[np.int64]
    targets: NDArray[np.int32]
    times: NDArray[np.int64]
    left_out: int
    note: str
    candidates: NDArray[np.bool_] | None = None
    own: Histories | None = None

    def __post_init__(self) -> None:
        if not len(self.targets):
            return
        films = np.int64(max(self.targets.max(), self.known.items.max(initial=0))) + 1
        people = np.repeat(np.arange(len(self)), self.hidden)
        hidden = np.sort(
            people * films + self.targets
        )  # (T,) far fewer than what is known, so that these are sorted
        known = self.known.owners * films + self.known.items  # (M,)
        place = np.minimum(np.searchsorted(hidden, known), len(hidden) - 1)
        leaks = np.flatnonzero(hidden[place] == known)
        if len(leaks):
            person, film = divmod(int(known[leaks[0]]), int(films))
            raise DataError(
                f"film {film} of user {self.known.user_ids[person]} is both hidden and known in the task {self.name}; expected "
                "each film of a person once, on one side; prepare the data again"
            )

    def __len__(self) -> int:
        """The number of people asked."""
        return len(self.known)

    @property
    def horizon(self) -> Horizon:
        """Which of a model's two vectors the question asks for."""
        return "next" if self.protocol == "future" else "overall"

    @property
    def hidden(self) -> NDArray[np.int64]:
        """(B,) hidden films of each person, at least 1."""
        return np.diff(self.offsets)

    def chunks(self, users: int) -> Iterator[Task]:
        """The same question to consecutive groups of at most ``users`` people."""
        every = self.known if self.own is None else self.own
        starts = range(0, len(self), users)
        for known, own, start in zip(self.known.chunks(users), every.chunks(users), starts, strict=True):
            offsets = self.offsets[start : start + len(known) + 1]
            part = slice(offsets[0], offsets[-1])
            yield replace(
                self,
                known=known,
                offsets=offsets - offsets[0],
                targets=self.targets[part],
                times=self.times[part],
                own=own,
            )


def ask(
    histories: Histories,
    hidden: NDArray[np.bool_],
    known: NDArray[np.bool_],
    *,
    name: str,
    note: str,
    candidates: NDArray[np.bool_] | None = None,
) -> Task:
    """The task ``name`` for the people who have something hidden (M,) and something known (M,)."""
    enough = (rows_of_each(histories, hidden) > 0) & (rows_of_each(histories, known) > 0)
    asked = histories.take(np.flatnonzero(enough))
    rows = enough[histories.owners]
    left = asked.keep(known[rows])
    # What is hidden must not speak through the person's mean, minimum or maximum.
    left = replace(left, normalised=normalise_ratings(left.ratings, left.offsets))
    sizes = rows_of_each(asked, hidden[rows])
    return Task(
        name=name,
        protocol=_PROTOCOL_OF[name],
        known=left,
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        targets=asked.items[hidden[rows]],
        times=asked.times[hidden[rows]],
        left_out=int(len(enough) - enough.sum()),
        note=note,
        candidates=candidates,
    )


def rows_of_each(histories: Histories, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(B,) true rows of each person."""
    through: NDArray[np.int64] = np.concatenate([[0], np.cumsum(mask)])
    return np.diff(through[histories.offsets])

"""Cohorts: who teaches the systems that are judged, who is asked, and about which films."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tastevec.errors import DataError
from tastevec.evaluation.films import Films
from tastevec.evaluation.protocol import cases

if TYPE_CHECKING:
    from tastevec.data.histories import Histories
    from tastevec.data.prepared import Prepared
    from tastevec.evaluation.protocol import Task
    from tastevec.schema import Protocol, Split

__all__ = ["Cohort"]


@dataclass(frozen=True, eq=False)
class Cohort:
    """Who teaches the systems and who is asked; nobody is both.

    Attributes:
        train: The people that systems may learn from.
        unseen: The people whose films are hidden and guessed.
        films: The catalogue.
        rating_range: The lowest and highest possible rating.

    Raises:
        DataError: A person is in both, or there is nobody to ask.
    """

    train: Histories
    unseen: Histories
    films: Films
    rating_range: tuple[float, float]

    def __post_init__(self) -> None:
        if not len(self.unseen):
            raise DataError(
                "there is nobody to ask: the split holds 0 users; prepare with a larger share for it"
            )
        both = np.intersect1d(self.train.user_ids, self.unseen.user_ids)
        if len(both):
            raise DataError(
                f"{len(both)} users are both taught and asked, user {both[0]} among them; expected disjoint splits; prepare again"
            )

    @classmethod
    def of(cls, prepared: Prepared, split: Split = "test") -> Cohort:
        """The people of a prepared folder: its training users, and those of another split."""
        train = prepared.histories.take(prepared.users_in("train"))
        return cls(
            train=train,
            unseen=prepared.histories.take(prepared.users_in(split)),
            films=Films.of(prepared, train),
            rating_range=prepared.rating_range,
        )

    @property
    def item_count(self) -> int:
        """N, films in the catalogue."""
        return len(self.films)

    def tasks(self, protocol: Protocol, seed: int = 42) -> tuple[Task, ...]:
        """The questions of a protocol to the unseen people.

        Raises:
            DataError: Nobody has enough for a question.
        """
        tasks = cases(self.unseen, protocol=protocol, rating_range=self.rating_range, seed=seed)
        for task in tasks:
            if not len(task):
                raise DataError(
                    f"none of the {task.left_out} users can be asked {task.name}: nobody has both a film to hide and a "
                    "film to know; evaluate more users or leave this protocol out"
                )
        return tasks

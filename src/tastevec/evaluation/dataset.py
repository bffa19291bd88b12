"""The evaluation dataset: training histories, held-out users and item facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.data.inputs import positive_from
from tastevec.errors import DataError, UnknownItemError
from tastevec.evaluation.tasks import LiangSplit, TimeSplit, cases
from tastevec.schema import CONTENT, YEAR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.prepared import Prepared
    from tastevec.evaluation.tasks import Task
    from tastevec.schema import Protocol, Split

__all__ = ["NO_YEAR", "EvalDataset", "Items"]

NO_YEAR: Final = 0


@dataclass(frozen=True, eq=False)
class Items:
    """What lists of films are described by; none of it comes from the people who are asked, or from a system.

    Attributes:
        raters: (N,) int64 training people who rated each film.
        train_users: Training people in all.
        vectors: (N, D) content vectors, in which two films are alike or not; a row of zeros is a film without one.
        years: (N,) int64 when each film came out; ``NO_YEAR`` where that is unknown.
    """

    raters: NDArray[np.int64]
    train_users: int
    vectors: NDArray[np.float32]
    years: NDArray[np.int64]

    @classmethod
    def of(cls, prepared: Prepared, train: Histories) -> Items:
        """The catalogue of a prepared folder, its films counted over the training people."""
        rated = train.items[np.isfinite(train.ratings)]
        years = prepared.items[YEAR].fill_null(NO_YEAR).to_numpy().astype(np.int64)
        return cls(
            raters=np.bincount(rated, minlength=prepared.items.num_rows),
            train_users=len(train),
            vectors=prepared.vectors[CONTENT],
            years=years,
        )

    @classmethod
    def plain(cls, train: Histories, item_count: int) -> Items:
        """N films of which nothing is known but who rated them."""
        rated = train.items[np.isfinite(train.ratings)]
        raters = np.bincount(rated, minlength=item_count)
        return cls(raters, len(train), np.zeros((item_count, 1), np.float32), np.full(item_count, NO_YEAR))

    def __len__(self) -> int:
        """N."""
        return len(self.raters)


@dataclass(frozen=True, eq=False)
class EvalDataset:
    """Who teaches the systems and who is asked; nobody is both.

    Attributes:
        train: The people that systems may learn from.
        unseen: The people whose films are hidden and guessed.
        items: The catalogue.
        rating_range: The lowest and highest possible rating.
        division: How the people were divided, where the questions depend on it.

    Raises:
        DataError: A person is in both, or there is nobody to ask.
        UnknownItemError: Somebody's history holds a film that is not in the catalogue.
    """

    train: Histories
    unseen: Histories
    items: Items
    rating_range: tuple[float, float]
    division: LiangSplit | TimeSplit | None = None

    def __post_init__(self) -> None:
        if not len(self.unseen):
            raise DataError(
                "there is nobody to ask: the split holds 0 users; expected 1 or more; prepare more people, divide them by "
                "another seed, or ask another split"
            )
        both = np.intersect1d(self.train.user_ids, self.unseen.user_ids)
        if len(both):
            raise DataError(
                f"{len(both)} users are both taught and asked, user {both[0]} among them; expected disjoint splits; prepare again"
            )
        for users in (self.train, self.unseen):
            _refuse_unknown_films(users, len(self.items))

    @classmethod
    def of(cls, prepared: Prepared, split: Split = "test") -> EvalDataset:
        """The people of a prepared folder: its training users, and those of another split.

        Its manifest says how they were divided, and the questions follow: see ``protocol.cases``. Validation people of
        a split by time end at the cut, so that they are asked as of any other split.
        """
        train = prepared.histories.take(prepared.users_in("train"))
        items = Items.of(prepared, train)
        divided = prepared.setting("split_strategy")
        division: LiangSplit | TimeSplit | None = None
        if divided == "liang":
            positive = train.items[train.ratings >= positive_from(prepared.rating_range)]
            division = LiangSplit(np.bincount(positive, minlength=len(items)) > 0)
        elif divided == "temporal" and split == "test":
            division = TimeSplit(prepared.setting("split_timestamp"), items.raters > 0)
        return cls(
            train=train,
            unseen=prepared.histories.take(prepared.users_in(split)),
            items=items,
            rating_range=prepared.rating_range,
            division=division,
        )

    @property
    def item_count(self) -> int:
        """N, films in the catalogue."""
        return len(self.items)

    def tasks(self, protocol: Protocol, seed: int = 42) -> tuple[Task, ...]:
        """The questions of a protocol to the unseen people.

        Raises:
            DataError: Nobody has enough for a question.
        """
        tasks = cases(
            self.unseen,
            protocol=protocol,
            rating_range=self.rating_range,
            seed=seed,
            division=self.division,
        )
        for task in tasks:
            if not len(task):
                raise DataError(
                    f"none of the {task.left_out} users can be asked {task.name}: nobody has both a film to hide and a "
                    "film to know; evaluate more users or leave this protocol out"
                )
        return tasks


def _refuse_unknown_films(users: Histories, item_count: int) -> None:
    unknown = np.flatnonzero((users.items < 0) | (users.items >= item_count))
    if len(unknown):
        user = users.user_ids[users.owners[unknown[0]]]
        raise UnknownItemError(
            f"the history of user {user} holds film {users.items[unknown[0]]}, and the catalogue has films 0 to {item_count - 1}; "
            "expected histories of this catalogue; take people and films from one prepared folder"
        )

"""The evaluation dataset: training histories, held-out users and item facts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.errors import DataError, UnknownItemError
from tastevec.evaluation.tasks import (
    NO_USER,
    TASK_TITLES,
    LiangSplit,
    TemporalSplit,
    build_task,
    reason_to_skip,
)
from tastevec.schema import CONTENT, YEAR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.prepared import Prepared
    from tastevec.data.value_scale import ValueScale
    from tastevec.evaluation.tasks import Task
    from tastevec.schema import Order, Split, TaskId

NO_YEAR: Final = 0


@dataclass(frozen=True, eq=False)
class ItemFacts:
    """Item facts for list metrics and slices; independent of the held-out users and of the systems.

    Attributes:
        raters: (N,) int64 number of training users who rated each item.
        n_train_users: Number of training users.
        vectors: (N, D) content vectors; a row of zeros is an item without one.
        years: (N,) int64 release years; ``NO_YEAR`` where unknown.
    """

    raters: NDArray[np.int64]
    n_train_users: int
    vectors: NDArray[np.float32]
    years: NDArray[np.int64]

    @classmethod
    def of(cls, prepared: Prepared, train: Histories) -> ItemFacts:
        """Return the facts of the catalog of a prepared dataset, with raters counted over the training users."""
        years = prepared.items[YEAR].fill_null(NO_YEAR).to_numpy().astype(np.int64)
        return cls(_count_raters(train, len(years)), len(train), prepared.vectors[CONTENT], years)

    @classmethod
    def without_metadata(cls, train: Histories, n_items: int) -> ItemFacts:
        """Return the facts of N items without vectors and years."""
        vectors = np.zeros((n_items, 1), np.float32)
        return cls(_count_raters(train, n_items), len(train), vectors, np.full(n_items, NO_YEAR))

    def __len__(self) -> int:
        """Return N."""
        return len(self.raters)


def _count_raters(train: Histories, n_items: int) -> NDArray[np.int64]:
    rated = train.once()
    return np.bincount(rated.items[np.isfinite(rated.ratings)], minlength=n_items)


@dataclass(frozen=True, eq=False)
class EvalDataset:
    """Training histories and held-out users, disjoint, over one catalog; the split and the order where tasks depend on them.

    Attributes:
        candidates: (N,) items that may be recommended, where these are fewer than the catalog and the split has none.
        note: What else to know when reading the metrics; with a space before it.

    Raises:
        DataError: A user is in both, or there are no held-out users.
        UnknownItemError: A history contains an item outside the catalog.
    """

    train: Histories
    held_out_users: Histories
    items: ItemFacts
    scale: ValueScale
    split: LiangSplit | TemporalSplit | None = None
    order: Order = "timestamp"
    candidates: NDArray[np.bool_] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not len(self.held_out_users):
            raise DataError(
                "the split has 0 users. Expected at least 1. Prepare more users, another --seed, or evaluate another --split"
            )
        both = np.intersect1d(self.train.user_ids, self.held_out_users.user_ids)
        if len(both):
            raise DataError(
                f"{len(both)} users are both training and held-out users, user {both[0]} among them. Expected disjoint splits. "
                "Run: tastevec prepare"
            )
        for users in (self.train, self.held_out_users):
            _refuse_unknown_items(users, len(self.items))

    @classmethod
    def of(cls, prepared: Prepared, split: Split = "test") -> EvalDataset:
        """Return the training users of a prepared dataset, and the users of another split.

        The manifest gives the split strategy. Histories of validation users of a temporal split end at the split
        timestamp, so that they have the tasks of any other strategy.
        """
        train = prepared.histories.take(prepared.users_in("train")).once()  # baselines fit sets of items
        items = ItemFacts.of(prepared, train)
        name = prepared.setting("split_strategy")
        strategy: LiangSplit | TemporalSplit | None = None
        if name == "liang":
            positive = train.items[prepared.scale.positive(train.ratings)]
            strategy = LiangSplit(np.bincount(positive, minlength=len(items)) > 0)
        elif name == "temporal" and split == "test":
            strategy = TemporalSplit(prepared.setting("split_timestamp"), items.raters > 0)
        return cls(
            train=train,
            held_out_users=prepared.histories.take(prepared.users_in(split)),
            items=items,
            scale=prepared.scale,
            split=strategy,
            order=prepared.order,
        )

    @property
    def n_items(self) -> int:
        """N, the size of the catalog."""
        return len(self.items)

    @property
    def task_ids(self) -> tuple[TaskId, ...]:
        """The tasks of these data: ``global-temporal`` only with a temporal split."""
        temporal = isinstance(self.split, TemporalSplit)
        return tuple(name for name in TASK_TITLES if temporal or name != "global-temporal")

    def task(self, name: TaskId, seed: int = 42) -> Task:
        """Return one task of the held-out users; see `build_task`.

        Raises:
            DataError: No user has enough interactions for it, or it needs a temporal split.
            SettingsError: The task is unknown.
        """
        [task], _ = self.tasks([name], seed)
        return task

    def tasks(
        self, names: Sequence[TaskId] | None = None, seed: int = 42
    ) -> tuple[list[Task], dict[TaskId, str]]:
        """Return these tasks of the held-out users (None: all of the data), and why each other one is skipped.

        Raises:
            DataError: All are skipped.
            SettingsError: A task is unknown.
        """
        found: list[Task] = []
        skipped: dict[TaskId, str] = {}
        for name in self.task_ids if names is None else names:
            reason = reason_to_skip(name, self.scale, self.order)
            if name == "global-temporal" and not isinstance(self.split, TemporalSplit):
                reason = (
                    "the split has no timestamp, as that of `tastevec prepare --split-strategy temporal` has"
                )
            if reason is None:
                task = build_task(name, self.held_out_users, scale=self.scale, seed=seed, split=self.split)
                if len(task):
                    candidates = self.candidates if task.candidates is None else task.candidates
                    found.append(replace(task, candidates=candidates, note=task.note + self.note))
                    continue
            skipped[name] = reason or NO_USER[name]
        if not found:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
            raise DataError(
                f"none of the {len(self.held_out_users)} users has a task to evaluate ({reasons}). Expected at least 1. "
                "Evaluate more users, or other tasks"
            )
        return found, skipped


def _refuse_unknown_items(users: Histories, n_items: int) -> None:
    unknown = np.flatnonzero((users.items < 0) | (users.items >= n_items))
    if len(unknown):
        user = users.user_ids[users.owners[unknown[0]]]
        raise UnknownItemError(
            f"the history of user {user} contains item index {users.items[unknown[0]]}. Expected 0 to {n_items - 1}. "
            "Use histories and items of one prepared dataset"
        )

"""Measured results: per-user values of one system on one task, its behavior, and facts about the system.

Dimension letters: B users, S runs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping  # noqa: TC003  pydantic reads it
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from tastevec.evaluation.tasks import task_horizon
from tastevec.schema import Horizon  # noqa: TC001  pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from tastevec.evaluation.tasks import Task
    from tastevec.schema import TaskId

Unit = Literal["users", "categories", "items"]  # what the values of a measure of behavior are of

DISTANCE = "cosine_distance"  # lower is better, and so is the next
CENTRED_DISTANCE = "cosine_distance_centred"  # after the direction that all items share is removed
DISTANCES = (DISTANCE, CENTRED_DISTANCE)
SHUFFLED = "_shuffled"  # suffix of accuracy metrics with the items of each input session in random order

_ACCURACY = re.compile(r"(hr|recall|uncapped_recall|ndcg|mrr)@(\d+)")
_FEW_TARGETS = ("next-item", "top-rated")  # few held-out items, so that the first ranks decide


@dataclass(frozen=True)
class SystemFacts:
    """A system of the report.

    Attributes:
        is_baseline: Whether it is a baseline, which the other systems are compared with.
        space: The embedding space, or those of all runs in their order; None for a system without vectors.
        runs: Number of seeds.
        fit_seconds: Over all runs.
        score_seconds: Over all runs and tasks.
    """

    system: str
    is_baseline: bool
    space: str | None
    runs: int
    settings: Mapping[str, Any]
    fit_seconds: float
    score_seconds: float


@dataclass(frozen=True, eq=False)
class TaskRecord:
    """A task as the result files store it: its users and counts, without the items.

    Attributes:
        note: What to know when reading the metrics.
        excluded_users: Number of users without enough interactions.
        fingerprint: Equal for equal users, input items, held-out items and candidates only.
        user_ids: (B,) user IDs.
        input_items: (B,) number of input items.
        held_out_items: (B,) number of held-out items.
    """

    name: TaskId
    note: str
    excluded_users: int
    fingerprint: str
    user_ids: NDArray[Any]
    input_items: NDArray[np.int64]
    held_out_items: NDArray[np.int64]

    @classmethod
    def of(cls, task: Task | TaskRecord) -> TaskRecord:
        """Return the record of a task."""
        if isinstance(task, TaskRecord):
            return task
        return cls(
            name=task.name,
            note=task.note,
            excluded_users=task.excluded_users,
            fingerprint=_fingerprint(task),
            user_ids=task.inputs.user_ids,
            input_items=task.inputs.lengths,
            held_out_items=task.held_out_items,
        )

    def __len__(self) -> int:
        """Return B."""
        return len(self.user_ids)

    @property
    def horizon(self) -> Horizon:
        """The horizon of the user embedding."""
        return task_horizon(self.name)


@dataclass(frozen=True, eq=False)
class Slice:
    """One metric of one system on one slice of a task: (B,) values, NaN for users without held-out items in it."""

    by: str
    label: str
    metric: str
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TaskResult:
    """One system on one task.

    Attributes:
        task: The task; its record where the report was read from files.
        values: (B,) per-user values by metric, the mean over the runs; NaN where a user has none.
        runs: (S,) mean over the users in each run, of the same metrics.
        system_metrics: (S,) system-level metrics (coverage, Gini, geometry) in each run.
    """

    system: str
    task: Task | TaskRecord
    values: dict[str, NDArray[np.float64]]
    runs: dict[str, NDArray[np.float64]]
    system_metrics: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    slices: tuple[Slice, ...] = ()


class Measure(NamedTuple):
    """The title of a measure, and one line on how to read it."""

    title: str
    meaning: str


MEASURES: Final[Mapping[str, Measure]] = {
    "dislike_auc": Measure(
        "AUC of positives and dislikes",
        "Share of a user's pairs of a held-out positive and a held-out dislike (below the middle of the scale) with the positive "
        "first. Reference: the item's mean rating alone.",
    ),
    "disliked@20": Measure(
        "held-out dislikes@20", "Number among the first 20, lower is better. Reference: popularity."
    ),
    "positives@20": Measure("held-out positives@20", "Number among the first 20. Reference: popularity."),
    "kept@12": Measure(
        "kept@12, ratings reversed",
        "Number of the first 12 that stay when every rating of a user is reversed, the highest to the lowest; 12 means that ratings do not matter.",
    ),
    "low_category@20": Measure(
        "disliked category@20",
        "Share of a category among the first 20 after its five most rated items have the lowest rating. Reference: without a rating.",
    ),
    "high_category@20": Measure(
        "favored category@20", "The same after the highest rating. Reference: without a rating."
    ),
    "one_item_category@20": Measure(
        "one item: its categories@20",
        "One item, rated highest: share of the first 20 with a category of it. Reference: that share of the catalog.",
    ),
    "one_item_similar@20": Measure(
        "one item: similar items@20",
        "Number of its 20 most similar items among the first 20. Reference: without a rating.",
    ),
    "one_item_itself@20": Measure(
        "one item: itself@20", "Share of these items among their own first 20; always 0."
    ),
    "same@10": Measure(
        "equal top 10 of three distances",
        "Number of the first 10 by inner product that are also the first 10 by cosine and by Euclidean distance, the mean of both.",
    ),
    "repeat_difference": Measure(
        "difference, history given twice", "Largest difference of a coordinate of the vector; 0 is equal."
    ),
    "order_difference": Measure(
        "difference, history in another order",
        "Largest difference of a coordinate of the vector; 0 is equal.",
    ),
    "random_half_accuracy": Measure(
        "split-half accuracy, random halves",
        "Share of other users whose half is less similar to a half of a history than its other half is. Reference: chance.",
    ),
    "length_eta_squared": Measure(
        "history length by cluster",
        "Share of the variance of the log history length that 20 clusters of users explain (eta squared), lower is better. "
        "Reference: chance.",
    ),
}


@dataclass(frozen=True)
class BehaviorRow:
    """One measure of one system at one horizon.

    Attributes:
        measure: A key of `MEASURES`.
        mean: Over the values, of each the mean over the runs.
        ci_low: 95 % CI by bootstrap over users; NaN where the values are not of users, and so is ``ci_high``.
        n_values: Number of values.
        unit: What the values are of.
        reference: What to compare the mean with, as `MEASURES` says; NaN without one.
    """

    system: str
    horizon: Horizon
    measure: str
    mean: float
    ci_low: float
    ci_high: float
    n_values: int
    unit: Unit
    reference: float


@dataclass(frozen=True)
class Behavior:
    """The behavior of all systems, and why measures were skipped."""

    rows: tuple[BehaviorRow, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


def results_by_task(results: Sequence[TaskResult]) -> list[list[TaskResult]]:
    """Return the systems of each task, tasks in the order of their first result."""
    found: dict[str, list[TaskResult]] = {}
    for result in results:
        found.setdefault(result.task.name, []).append(result)
    return list(found.values())


def headline_metric(task: str, metrics: Collection[str]) -> str:
    """Return the headline metric of a task: NDCG@10 where few items are held out, else NDCG@100.

    Without it, NDCG at the greatest depth; without any NDCG, the first metric.

    Examples:
        >>> headline_metric("random-20pct", ["recall@20", "ndcg@10", "ndcg@100"])
        'ndcg@100'
        >>> headline_metric("random-20pct", ["ndcg@5", "ndcg@20"])
        'ndcg@20'
    """
    depths = {
        int(found[2]): metric
        for metric in metrics
        if (found := _ACCURACY.fullmatch(metric)) and found[1] == "ndcg"
    }
    depth = 10 if task in _FEW_TARGETS else 100
    if depth in depths:
        return depths[depth]
    return depths[max(depths)] if depths else next(iter(metrics))


def is_comparable(metric: str) -> bool:
    """Return whether systems are compared by this metric; of popularity or similarity of lists, more is not better.

    Examples:
        >>> [is_comparable(name) for name in ("ndcg@10", "cosine_distance", "novelty@10", "ndcg@10_shuffled")]
        [True, True, False, False]
    """
    return bool(_ACCURACY.fullmatch(metric)) or metric in DISTANCES


def best_value(metric: str) -> float:
    """Return the best possible value of a comparable metric: 0 for a distance, 1 for all others."""
    return 0.0 if metric in DISTANCES else 1.0


def _fingerprint(task: Task) -> str:
    digest = hashlib.sha256("\n".join(map(str, task.inputs.user_ids.tolist())).encode())
    for numbers in (task.inputs.offsets, task.inputs.items, task.offsets, task.targets):
        digest.update(np.ascontiguousarray(numbers, np.int64).tobytes())
    if task.candidates is not None:
        digest.update(np.packbits(task.candidates).tobytes())
    return digest.hexdigest()[:16]

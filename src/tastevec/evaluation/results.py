"""Measured results: per-user values of one system on one task, and facts about the system.

Dimension letters: B users, S runs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping  # noqa: TC003  pydantic reads it
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.evaluation.tasks import task_horizon

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from tastevec.evaluation.tasks import Task
    from tastevec.schema import Horizon, TaskId

DISTANCE = "cosine_distance"  # lower is better, and so is the next
CENTRED_DISTANCE = "cosine_distance_centred"  # after the direction that all items share is removed
DISTANCES = (DISTANCE, CENTRED_DISTANCE)
SHUFFLED = "_shuffled"  # suffix of accuracy metrics with the items of each input session in random order

_ACCURACY = re.compile(r"(hr|recall|ndcg|mrr)@(\d+)")
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

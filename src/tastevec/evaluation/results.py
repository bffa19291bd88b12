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

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from tastevec.evaluation.tasks import Task
    from tastevec.schema import Horizon, Protocol

__all__ = [
    "CENTRED_DISTANCE",
    "DISTANCE",
    "SHUFFLED",
    "Asked",
    "Measured",
    "Slice",
    "SystemFacts",
    "by_task",
    "headline",
    "is_judged",
    "perfect",
]

DISTANCE = "cosine_distance"  # lower is better, and so is the next
CENTRED_DISTANCE = "cosine_distance_centred"  # after the direction that all films share is taken away
SHUFFLED = "_shuffled"  # ends the name of an accuracy metric: the known sessions were put into a random order

_ACCURACY = re.compile(r"(hr|recall|ndcg|mrr)@(\d+)")
_FIRST_TEN = ("next-liked", "best-rated")  # few films are hidden, so that the first places decide


@dataclass(frozen=True)
class SystemFacts:
    """A system of the report.

    Attributes:
        system: Its name.
        floor: Whether others are measured against it.
        space: The name of its film vectors, or of those of all runs in their order; None for a system without vectors.
        runs: How many seeds its numbers are the mean of.
        settings: What it was made with.
        fit_seconds: Of all runs together.
        score_seconds: Of all runs together, over all tasks.
    """

    system: str
    floor: bool
    space: str | None
    runs: int
    settings: Mapping[str, Any]
    fit_seconds: float
    score_seconds: float


@dataclass(frozen=True, eq=False)
class Asked:
    """A task as the files keep it: who was asked and about how much, without the films themselves.

    Attributes:
        name: The task's name.
        protocol: The protocol that asks it.
        note: What to know when reading the numbers.
        left_out: People who did not have enough for this question.
        fingerprint: The same for the same people, known films, hidden films and candidates, and for nothing else.
        user_ids: (B,) the caller's own ids.
        input_items: (B,) how many films of each person were known.
        held_out_items: (B,) how many were to be found.
    """

    name: str
    protocol: Protocol
    note: str
    left_out: int
    fingerprint: str
    user_ids: NDArray[Any]
    input_items: NDArray[np.int64]
    held_out_items: NDArray[np.int64]

    @classmethod
    def of(cls, task: Task | Asked) -> Asked:
        """What is kept of a task."""
        if isinstance(task, Asked):
            return task
        return cls(
            name=task.name,
            protocol=task.protocol,
            note=task.note,
            left_out=task.left_out,
            fingerprint=_fingerprint(task),
            user_ids=task.known.user_ids,
            input_items=task.known.lengths,
            held_out_items=task.hidden,
        )

    def __len__(self) -> int:
        """The number of people asked."""
        return len(self.user_ids)

    @property
    def horizon(self) -> Horizon:
        """Which of a model's two vectors the question asked for."""
        return "next" if self.protocol == "future" else "overall"


@dataclass(frozen=True, eq=False)
class Slice:
    """One system on one part of a task: (B,) values of a metric, NaN for people who have nothing in that part."""

    by: str
    label: str
    metric: str
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measured:
    """One system on one task.

    Attributes:
        system: Its name.
        task: The question; of a report that was read from its files, what is kept of it.
        values: (B,) a metric's value of each person, the mean over the system's runs; NaN where a person has none.
        runs: (S,) a metric's mean over the people in each run, of the same metrics.
        system_metrics: (S,) what only a system as a whole has (coverage, Gini, the shape of its vectors), in each run.
        slices: The parts of the task.
    """

    system: str
    task: Task | Asked
    values: dict[str, NDArray[np.float64]]
    runs: dict[str, NDArray[np.float64]]
    system_metrics: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    slices: tuple[Slice, ...] = ()


def by_task(measured: Sequence[Measured]) -> list[list[Measured]]:
    """The systems of each task, the tasks in the order in which they first appear."""
    found: dict[str, list[Measured]] = {}
    for result in measured:
        found.setdefault(result.task.name, []).append(result)
    return list(found.values())


def headline(task: str, metrics: Collection[str]) -> str:
    """The metric that a task is summed up by: NDCG, at 10 where few films are hidden and at 100 elsewhere.

    Where that was not measured, NDCG at the greatest depth that was; of no NDCG at all, the first metric.

    Examples:
        >>> headline("fold-in", ["recall@20", "ndcg@10", "ndcg@100"]), headline("fold-in", ["ndcg@5", "ndcg@20"])
        ('ndcg@100', 'ndcg@20')
    """
    depths = {
        int(found[2]): metric
        for metric in metrics
        if (found := _ACCURACY.fullmatch(metric)) and found[1] == "ndcg"
    }
    wanted = 10 if task in _FIRST_TEN else 100
    if wanted in depths:
        return depths[wanted]
    return depths[max(depths)] if depths else next(iter(metrics))


def is_judged(metric: str) -> bool:
    """Whether one system can be better than another by it; of how popular or alike films are, more is not better.

    Examples:
        >>> [is_judged(name) for name in ("ndcg@10", "cosine_distance", "novelty@10", "ndcg@10_shuffled")]
        [True, True, False, False]
    """
    return bool(_ACCURACY.fullmatch(metric)) or metric in (DISTANCE, CENTRED_DISTANCE)


def perfect(metric: str) -> float:
    """The best value of a metric that systems are judged by: 0 for a distance, 1 for all others."""
    return 0.0 if metric in (DISTANCE, CENTRED_DISTANCE) else 1.0


def _fingerprint(task: Task) -> str:
    digest = hashlib.sha256("\n".join(map(str, task.known.user_ids.tolist())).encode())
    for numbers in (task.known.offsets, task.known.items, task.offsets, task.targets):
        digest.update(np.ascontiguousarray(numbers, np.int64).tobytes())
    if task.candidates is not None:
        digest.update(np.packbits(task.candidates).tobytes())
    return digest.hexdigest()[:16]

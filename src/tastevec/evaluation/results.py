"""Results: per-user values of systems on tasks, and the rows and skill that sum them up.

Dimension letters: B users, M metrics.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.evaluation.intervals import mean_intervals, paired_differences

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tastevec.evaluation.protocol import Task

__all__ = [
    "CENTRED_DISTANCE",
    "DISTANCE",
    "Measured",
    "Row",
    "Skill",
    "Slice",
    "SystemFacts",
    "mean_rows",
    "skills",
]

DISTANCE = (
    "cosine_distance"  # lower is better; every other metric but the next is higher-is-better, at most 1
)
CENTRED_DISTANCE = "cosine_distance_centred"  # after the direction that all films share is taken away


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
        task: The question.
        values: (B,) a metric's value of each person, the mean over the system's runs; NaN where a person has none.
        runs: (S,) a metric's mean over the people in each run, of the same metrics.
        wholes: (S,) what only a system as a whole has (coverage, Gini, the shape of its vectors), in each run.
        slices: The parts of the task.
    """

    system: str
    task: Task
    values: dict[str, NDArray[np.float64]]
    runs: dict[str, NDArray[np.float64]]
    wholes: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True)
class Row:
    """The mean of a metric over the people asked, and its 95 % interval."""

    system: str
    protocol: str
    task: str
    metric: str
    mean: float
    low: float
    high: float
    users: int


@dataclass(frozen=True)
class Skill:
    """How much of the way from the best floor to perfection a system went: 0 is the floor, 1 is perfect.

    ``difference`` is the system's mean minus the floor's on the same people, ``low`` to ``high`` its paired 95 %
    interval. Cosine distances are compared with floors of the same space only.
    """

    system: str
    task: str
    metric: str
    floor: str
    skill: float
    difference: float
    low: float
    high: float


def mean_rows(measured: Measured, seed: int) -> list[Row]:
    """The mean and interval of each metric of one system on one task."""
    intervals = mean_intervals(_matrix(measured, list(measured.values)), seed=seed)
    task = measured.task
    return [
        Row(measured.system, task.protocol, task.name, metric, *interval)
        for metric, interval in zip(measured.values, intervals, strict=True)
    ]


def skills(systems: Sequence[SystemFacts], measured: Sequence[Measured], seed: int) -> list[Skill]:
    """Each system that is no floor beside the best floor of each task and metric."""
    facts = {system.system: system for system in systems}
    found = []
    for result in measured:
        if not facts[result.system].floor:
            floors = [other for other in measured if other.task is result.task and facts[other.system].floor]
            found += _skills_of(result, floors, facts, seed)
    return found


def _skills_of(
    result: Measured, floors: list[Measured], facts: dict[str, SystemFacts], seed: int
) -> list[Skill]:
    best = {metric: _best(metric, result, floors, facts) for metric in result.values}
    beside = {metric: floor for metric, floor in best.items() if floor}
    left = _matrix(result, list(beside))
    right = np.stack([floor.values[metric] for metric, floor in beside.items()], axis=1) if beside else left
    found = []
    for metric, difference in zip(beside, paired_differences(left, right, seed=seed), strict=True):
        floor = beside[metric]
        room = _perfect(metric) - np.nanmean(floor.values[metric])
        skill = float(difference.mean / room) if room else float("nan")
        found.append(Skill(result.system, result.task.name, metric, floor.system, skill, *difference[:3]))
    return found


def _best(
    metric: str, result: Measured, floors: list[Measured], facts: dict[str, SystemFacts]
) -> Measured | None:
    space = facts[result.system].space
    fair = [
        floor
        for floor in floors
        if metric in floor.values and (not metric.startswith(DISTANCE) or facts[floor.system].space == space)
    ]
    sign = 1 if _perfect(metric) else -1
    return max(fair, key=lambda floor: sign * np.nanmean(floor.values[metric]), default=None)


def _perfect(metric: str) -> float:
    return 0.0 if metric.startswith(DISTANCE) else 1.0


def _matrix(measured: Measured, metrics: list[str]) -> NDArray[np.float64]:
    """(B, M) per-user values."""
    return np.stack([measured.values[metric] for metric in metrics], axis=1) if metrics else np.zeros((1, 0))

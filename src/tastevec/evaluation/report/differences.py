"""Differences: a system beside the best floor, and any system beside any other, on the same people.

Dimension letters: B users, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tastevec.evaluation.report.intervals import direction, paired_differences, pairwise_differences
from tastevec.evaluation.report.results import CENTRED_DISTANCE, DISTANCE, headline, is_judged, perfect
from tastevec.evaluation.report.rows import as_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tastevec.evaluation.report.results import Measured, SystemFacts

__all__ = ["Paired", "Skill", "paired", "skills"]


@dataclass(frozen=True)
class Skill:
    """How much of the way from the best floor to perfection a system went: 0 is the floor, 1 is perfect.

    Attributes:
        system: The system's name.
        task: The task's name.
        metric: What was measured.
        floor: The best floor; cosine distances are compared with floors of the same space only.
        skill: The share of the way.
        difference: The system's mean minus the floor's on the same people.
        low: Where the paired 95 % interval of the difference begins.
        high: Where it ends.
        star: Whether the interval excludes 0 in the better direction.
    """

    system: str
    task: str
    metric: str
    floor: str
    skill: float
    difference: float
    low: float
    high: float
    star: bool


@dataclass(frozen=True)
class Paired:
    """System ``a`` minus system ``b`` on the same people, with its paired 95 % interval; starred where that excludes 0."""

    task: str
    metric: str
    a: str
    b: str
    difference: float
    low: float
    high: float
    star: bool


def skills(
    systems: Sequence[SystemFacts], measured: Sequence[Measured], draws: NDArray[np.uint8]
) -> list[Skill]:
    """Each system that is no floor beside the best floor of each metric that systems are judged by.

    Args:
        systems: What is known of each.
        measured: All systems on one task.
        draws: (R, B) the people drawn.
    """
    facts = {system.system: system for system in systems}
    floors = [result for result in measured if facts[result.system].floor]
    return [
        skill
        for result in measured
        if not facts[result.system].floor
        for skill in _skills_of(result, floors, facts, draws)
    ]


def paired(measured: Sequence[Measured], draws: NDArray[np.uint8]) -> list[Paired]:
    """Every two systems beside each other by the task's headline metric, each pair once.

    Args:
        measured: All systems on one task.
        draws: (R, B) the people drawn.
    """
    task = measured[0].task
    metric = headline(task.name, measured[0].values)
    there = [result for result in measured if metric in result.values]
    found = pairwise_differences(as_columns([result.values[metric] for result in there], len(task)), draws)
    pairs = []
    for a, first in enumerate(there):
        for b, second in enumerate(there[a + 1 :], a + 1):
            difference, low, high = (float(matrix[a, b]) for matrix in found)
            star = direction(low, high) != 0
            pairs.append(Paired(task.name, metric, first.system, second.system, difference, low, high, star))
    return pairs


def _skills_of(
    result: Measured, floors: list[Measured], facts: dict[str, SystemFacts], draws: NDArray[np.uint8]
) -> list[Skill]:
    best = {
        metric: floor
        for metric in result.values
        if is_judged(metric) and (floor := _best(metric, result, floors, facts))
    }
    users = len(result.task)
    left = as_columns([result.values[metric] for metric in best], users)
    right = as_columns([floor.values[metric] for metric, floor in best.items()], users)
    found = []
    for (metric, floor), difference in zip(best.items(), paired_differences(left, right, draws), strict=True):
        room = perfect(metric) - np.nanmean(floor.values[metric])
        skill = float(difference.mean / room) if room else float("nan")
        star = direction(difference.low, difference.high) == _better(metric)
        found.append(
            Skill(result.system, result.task.name, metric, floor.system, skill, *difference[:3], star)
        )
    return found


def _best(
    metric: str, result: Measured, floors: list[Measured], facts: dict[str, SystemFacts]
) -> Measured | None:
    """The floor with the best mean, if any has a value; of distances, among those of the same space."""
    space = facts[result.system].space
    near = metric in (DISTANCE, CENTRED_DISTANCE)
    fair = [
        floor
        for floor in floors
        if metric in floor.values
        and np.isfinite(floor.values[metric]).any()
        and (not near or facts[floor.system].space == space)
    ]
    return max(fair, key=lambda floor: _better(metric) * np.nanmean(floor.values[metric]), default=None)


def _better(metric: str) -> int:
    """1 where higher is better, -1 where lower is."""
    return 1 if perfect(metric) else -1

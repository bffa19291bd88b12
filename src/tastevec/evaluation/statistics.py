"""Statistics: bootstrap confidence intervals over users, paired differences and skill scores.

The method is the percentile bootstrap over people (Efron & Tibshirani 1993, section 13.3): as many people as were asked are
drawn with replacement, 1,000 times; the mean of each draw is taken; and the middle 95 % of these means is the interval. Two
systems on the same people are compared by the interval of their difference *within* each draw (a paired bootstrap, as Sakai
2006 and Smucker et al. 2007 recommend it for rankings), so that what makes a person hard for both of them cancels out.
The intervals speak of the choice of people alone: not of the seed of a training, whose spread stands beside them, and
not of how many comparisons were made; of 20 pairs of equal systems one is expected to look different.

Dimension letters: B users, M metrics, S systems, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tastevec.evaluation.results import CENTRED_DISTANCE, DISTANCE, headline, is_judged, perfect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tastevec.evaluation.results import Measured, SystemFacts

__all__ = [
    "RESAMPLES",
    "Differences",
    "Interval",
    "Paired",
    "Row",
    "Skill",
    "SliceRow",
    "as_columns",
    "bootstrap_users",
    "direction",
    "mean_intervals",
    "mean_rows",
    "paired",
    "paired_differences",
    "pairwise_differences",
    "skills",
    "slice_rows",
    "system_rows",
]

RESAMPLES = 1000
_BOUNDS = (2.5, 97.5)  # percentiles of a 95 % interval
_CELLS = 1 << 22  # of draws held as float64 at once: 32 MB
_NOISE = 1e-12  # by which the same numbers, added in another order, may differ


class Interval(NamedTuple):
    """A mean with its 95 % interval, and the number of people behind it."""

    mean: float
    low: float
    high: float
    users: int


class Differences(NamedTuple):
    """(S, S) the mean of row a minus the mean of column b, and its paired 95 % interval."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def bootstrap_users(users: int, seed: int) -> NDArray[np.uint8]:
    """(R, B) how often each of ``users`` was drawn, in ``RESAMPLES`` draws of as many with replacement.

    One draw is shared by everything that was asked of the same people, so that differences are paired.
    """
    rng = np.random.default_rng(seed)
    # Nobody is drawn 256 times: 255 people or fewer make 255 draws at most, and of more it does not happen.
    times = np.empty((RESAMPLES, users), np.uint8)
    for row in times:
        row[:] = np.bincount(rng.integers(users, size=users), minlength=users)
    return times


def mean_intervals(values: NDArray[np.float64], draws: NDArray[np.uint8]) -> list[Interval]:
    """The mean of each column and its 95 % interval, by the percentile bootstrap over people.

    NaN says that a column has no value for a person: he does not count there.

    Args:
        values: (B, M) one row a person.
        draws: (R, B) from `bootstrap_users`.

    Returns:
        M intervals; all NaN where a column has no value at all.

    Source: Efron & Tibshirani 1993, section 13.3.

    Examples:
        >>> [interval] = mean_intervals(np.array([[0.0], [1.0], [1.0], [np.nan]]), bootstrap_users(4, seed=42))
        >>> round(interval.mean, 4), interval.low, interval.high, interval.users
        (0.6667, 0.0, 1.0, 3)
    """
    there = np.isfinite(values)
    users = there.sum(axis=0)
    means = np.full(values.shape[1], np.nan)
    np.divide(np.where(there, values, 0.0).sum(axis=0), users, out=means, where=users > 0)
    bounds = np.full((2, values.shape[1]), np.nan)
    some = users > 0
    bounds[:, some] = _bounds(_drawn_means(values[:, some], there[:, some], draws))
    columns = zip(means, *bounds, users, strict=True)
    return [Interval(float(mean), float(low), float(high), int(count)) for mean, low, high, count in columns]


def paired_differences(
    left: NDArray[np.float64], right: NDArray[np.float64], draws: NDArray[np.uint8]
) -> list[Interval]:
    """The mean of each column of ``left - right``, the same people under two systems, and its 95 % interval.

    Args:
        left: (B, M) one row a person.
        right: (B, M) the same people and metrics.
        draws: (R, B) from `bootstrap_users`.

    Examples:
        >>> left, right = np.array([[0.5], [1.0]]), np.array([[0.25], [0.75]])
        >>> [interval] = paired_differences(left, right, bootstrap_users(2, seed=42))
        >>> interval.low, interval.high
        (0.25, 0.25)
    """
    return mean_intervals(left - right, draws)


def pairwise_differences(values: NDArray[np.float64], draws: NDArray[np.uint8]) -> Differences:
    """Every system beside every other on the same people: the mean difference and its paired 95 % interval.

    A person without a value under any one of the systems counts for none of them.

    Args:
        values: (B, S) one row a person, one column a system.
        draws: (R, B) from `bootstrap_users`.

    Examples:
        >>> found = pairwise_differences(np.array([[0.5, 0.25], [1.0, 0.75]]), bootstrap_users(2, seed=42))
        >>> found.mean[0, 1], found.low[0, 1], found.high[1, 0]
        (np.float64(0.25), np.float64(0.25), np.float64(-0.25))
    """
    systems = values.shape[1]
    found = Differences(*np.full((3, systems, systems), np.nan))
    for matrix in found:
        np.fill_diagonal(matrix, 0.0)
    there = np.asarray(np.isfinite(values).all(axis=1))
    if there.any():
        first, second = np.triu_indices(systems, 1)
        whole = np.repeat(there[:, None], systems, axis=1)
        means, drawn = values[there].mean(axis=0), _drawn_means(values, whole, draws)  # (S,), (R, S)
        low, high = _bounds(drawn[:, first] - drawn[:, second])
        mean = means[first] - means[second]
        for matrix, upper, lower in zip(found, (mean, low, high), (-mean, -high, -low), strict=True):
            matrix[first, second], matrix[second, first] = upper, lower
    return found


def direction(low: float, high: float) -> int:
    """1 if an interval lies above 0, -1 if below, and 0 if it holds 0 (or is none at all).

    Examples:
        >>> direction(0.01, 0.03), direction(-0.03, -0.01), direction(-0.01, 0.02)
        (1, -1, 0)
    """
    return int(low > _NOISE) - int(high < -_NOISE)


def _bounds(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, M) the middle 95 % of each column (R, M); a draw without anybody is passed over."""
    lacking = np.asarray(np.isnan(drawn).any(axis=0))
    bounds = np.empty((2, drawn.shape[1]))
    bounds[:, ~lacking] = np.percentile(drawn[:, ~lacking], _BOUNDS, axis=0)
    bounds[:, lacking] = np.nanpercentile(drawn[:, lacking], _BOUNDS, axis=0)
    return bounds


def _drawn_means(
    values: NDArray[np.float64], there: NDArray[np.bool_], draws: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """(R, M) the means over the drawn people who are there, block by block so that memory stays bounded."""
    both = np.concatenate([np.where(there, values, 0.0), there], axis=1)  # sums and counts in one product
    block = max(1, _CELLS // len(values))
    blocks = [draws[start : start + block].astype(np.float64) @ both for start in range(0, len(draws), block)]
    total, counts = np.split(np.concatenate(blocks), 2, axis=1)
    means = np.full_like(total, np.nan)
    np.divide(total, counts, out=means, where=counts > 0)
    return means


@dataclass(frozen=True)
class Row:
    """One metric of one system on one task.

    Attributes:
        system: The system's name.
        protocol: The protocol that asked.
        task: The task's name.
        metric: What was measured.
        mean: Over the people, of each person's mean over the runs; of what only a whole system has, over the runs.
        low: Where the 95 % interval over people begins; NaN for a whole.
        high: Where it ends.
        users: People behind it.
        runs: Seeds behind it.
        seed_sd: The standard deviation of the runs' means; None for one run.
    """

    system: str
    protocol: str
    task: str
    metric: str
    mean: float
    low: float
    high: float
    users: int
    runs: int
    seed_sd: float | None


@dataclass(frozen=True)
class SliceRow:
    """One metric of one system on one part of a task, with its 95 % interval over the people who have that part."""

    system: str
    task: str
    by: str
    label: str
    metric: str
    mean: float
    low: float
    high: float
    users: int


def mean_rows(measured: Measured, draws: NDArray[np.uint8]) -> list[Row]:
    """The mean and interval of each metric, over the people drawn (R, B)."""
    intervals = mean_intervals(as_columns(list(measured.values.values()), len(measured.task)), draws)
    return [
        _row(measured, metric, measured.runs[metric], *interval)
        for metric, interval in zip(measured.values, intervals, strict=True)
    ]


def system_rows(measured: Measured) -> list[Row]:
    """What only the system as a whole has: the mean over its runs, and no interval over people."""
    nothing, users = float("nan"), len(measured.task)
    return [
        _row(measured, metric, runs, float(np.mean(runs)), nothing, nothing, users)
        for metric, runs in measured.system_metrics.items()
    ]


def slice_rows(measured: Measured, draws: NDArray[np.uint8]) -> list[SliceRow]:
    """The mean and interval of each part of the task, over the people drawn (R, B)."""
    columns = as_columns([part.values for part in measured.slices], len(measured.task))
    return [
        SliceRow(measured.system, measured.task.name, part.by, part.label, part.metric, *interval)
        for part, interval in zip(measured.slices, mean_intervals(columns, draws), strict=True)
    ]


def as_columns(values: Sequence[NDArray[np.float64]], users: int) -> NDArray[np.float64]:
    """(B, M) values of ``users`` people side by side; of no metrics, no columns."""
    return np.stack(values, axis=1) if len(values) else np.zeros((users, 0))


def _row(
    measured: Measured,
    metric: str,
    runs: NDArray[np.float64],
    *interval: float,
) -> Row:
    mean, low, high, users = interval
    task, spread = measured.task, float(np.std(runs, ddof=1)) if len(runs) > 1 else None
    return Row(
        measured.system, task.protocol, task.name, metric, mean, low, high, int(users), len(runs), spread
    )


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
    trivial_baselines = [result for result in measured if facts[result.system].floor]
    return [
        skill
        for result in measured
        if not facts[result.system].floor
        for skill in _skills_of(result, trivial_baselines, facts, draws)
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
    result: Measured,
    trivial_baselines: list[Measured],
    facts: dict[str, SystemFacts],
    draws: NDArray[np.uint8],
) -> list[Skill]:
    best = {
        metric: floor
        for metric in result.values
        if is_judged(metric) and (floor := _best(metric, result, trivial_baselines, facts))
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
    metric: str, result: Measured, trivial_baselines: list[Measured], facts: dict[str, SystemFacts]
) -> Measured | None:
    """The floor with the best mean, if any has a value; of distances, among those of the same space."""
    space = facts[result.system].space
    near = metric in (DISTANCE, CENTRED_DISTANCE)
    fair = [
        floor
        for floor in trivial_baselines
        if metric in floor.values
        and np.isfinite(floor.values[metric]).any()
        and (not near or facts[floor.system].space == space)
    ]
    return max(fair, key=lambda floor: _better(metric) * np.nanmean(floor.values[metric]), default=None)


def _better(metric: str) -> int:
    """1 where higher is better, -1 where lower is."""
    return 1 if perfect(metric) else -1

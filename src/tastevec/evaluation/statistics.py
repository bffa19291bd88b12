"""Statistics: bootstrap confidence intervals over users, paired differences and skill scores.

The method is the percentile bootstrap over users (Efron & Tibshirani 1993, section 13.3): B users are drawn with
replacement, 1,000 times; the middle 95 % of the means of these resamples is the CI. Two systems on the same users are
compared by the CI of their difference *within* each resample (a paired bootstrap, as Sakai 2006 and Smucker et al. 2007
recommend it for rankings), so that what makes a user hard for both cancels out.
The CI covers the sampling of users alone: not the random seed of a training (see ``seed_sd``), and not the number of
comparisons; of 20 pairs of equal systems one is expected to be significant.

Dimension letters: B users, M metrics, S systems, R resamples. ``draws`` are (R, B) from `bootstrap_users`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tastevec.evaluation.metrics import divide, mean_of_valid
from tastevec.evaluation.results import DISTANCES, best_value, headline_metric, is_comparable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tastevec.evaluation.results import SystemFacts, TaskResult

RESAMPLES = 1000
_BOUNDS = (2.5, 97.5)  # percentiles of a 95 % interval
_CELLS = 1 << 22  # of resamples as float64 at once: 32 MB
_NOISE = 1e-12  # the same numbers, added in another order, may differ by this


class Interval(NamedTuple):
    """A mean, its 95 % CI, and the number of users with a value."""

    mean: float
    ci_low: float
    ci_high: float
    n_users: int


class Differences(NamedTuple):
    """(S, S) mean of system a (row) minus mean of system b (column), and its paired 95 % CI."""

    mean: NDArray[np.float64]
    ci_low: NDArray[np.float64]
    ci_high: NDArray[np.float64]


def bootstrap_users(users: int, seed: int) -> NDArray[np.uint8]:
    """(R, B) how often each user is in each of ``RESAMPLES`` resamples of ``users`` draws with replacement.

    All metrics and systems of a task share the resamples, so that differences are paired.
    """
    rng = np.random.default_rng(seed)
    # uint8 is enough: 255 users or fewer have at most 255 draws, and with more users 256 of one do not occur.
    timestamps = np.empty((RESAMPLES, users), np.uint8)
    for row in timestamps:
        row[:] = np.bincount(rng.integers(users, size=users), minlength=users)
    return timestamps


def mean_intervals(values: NDArray[np.float64], draws: NDArray[np.uint8]) -> list[Interval]:
    """Return the mean of each column and its 95 % CI, by the percentile bootstrap over users.

    The per-user values are (B, M); NaN where a user has none and does not count. An interval is all NaN where a column
    has no value.

    Source: Efron & Tibshirani 1993, section 13.3.

    Examples:
        >>> [interval] = mean_intervals(np.array([[0.0], [1.0], [1.0], [np.nan]]), bootstrap_users(4, seed=42))
        >>> round(interval.mean, 4), interval.ci_low, interval.ci_high, interval.n_users
        (0.6667, 0.0, 1.0, 3)
    """
    valid = np.isfinite(values)
    users, means = valid.sum(axis=0), mean_of_valid(values, valid, axis=0)
    bounds = np.full((2, values.shape[1]), np.nan)
    some = users > 0
    bounds[:, some] = _bounds(_drawn_means(values[:, some], valid[:, some], draws))
    columns = zip(means, *bounds, users, strict=True)
    return [Interval(float(mean), float(low), float(high), int(count)) for mean, low, high, count in columns]


def difference_intervals(
    left: NDArray[np.float64], right: NDArray[np.float64], draws: NDArray[np.uint8]
) -> list[Interval]:
    """Return the mean of each column of ``left - right``, (B, M) of two systems on the same users, and its 95 % CI.

    Examples:
        >>> left, right = np.array([[0.5], [1.0]]), np.array([[0.25], [0.75]])
        >>> [interval] = difference_intervals(left, right, bootstrap_users(2, seed=42))
        >>> interval.ci_low, interval.ci_high
        (0.25, 0.25)
    """
    return mean_intervals(left - right, draws)


def pairwise_differences(values: NDArray[np.float64], draws: NDArray[np.uint8]) -> Differences:
    """Return the mean difference of every two systems on the same users, and its paired 95 % CI.

    The per-user values are (B, S), one column a system; a user without a value of any one system counts for none of them.

    Examples:
        >>> found = pairwise_differences(np.array([[0.5, 0.25], [1.0, 0.75]]), bootstrap_users(2, seed=42))
        >>> found.mean[0, 1], found.ci_low[0, 1], found.ci_high[1, 0]
        (np.float64(0.25), np.float64(0.25), np.float64(-0.25))
    """
    systems = values.shape[1]
    found = Differences(*np.full((3, systems, systems), np.nan))
    for matrix in found:
        np.fill_diagonal(matrix, 0.0)
    valid = np.asarray(np.isfinite(values).all(axis=1))
    if valid.any():
        first, second = np.triu_indices(systems, 1)
        all_valid = np.repeat(valid[:, None], systems, axis=1)
        means, drawn = values[valid].mean(axis=0), _drawn_means(values, all_valid, draws)  # (S,), (R, S)
        low, high = _bounds(drawn[:, first] - drawn[:, second])
        mean = means[first] - means[second]
        for matrix, upper, lower in zip(found, (mean, low, high), (-mean, -high, -low), strict=True):
            matrix[first, second], matrix[second, first] = upper, lower
    return found


def sign_of_interval(low: float, high: float) -> int:
    """Return 1 if an interval is above 0, -1 if below, and 0 if it contains 0 or is NaN.

    Examples:
        >>> sign_of_interval(0.01, 0.03), sign_of_interval(-0.03, -0.01), sign_of_interval(-0.01, 0.02)
        (1, -1, 0)
    """
    return int(low > _NOISE) - int(high < -_NOISE)


def _bounds(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, M) the middle 95 % of each column (R, M); a resample without a value is ignored."""
    lacking = np.asarray(np.isnan(drawn).any(axis=0))
    bounds = np.empty((2, drawn.shape[1]))
    bounds[:, ~lacking] = np.percentile(drawn[:, ~lacking], _BOUNDS, axis=0)
    bounds[:, lacking] = np.nanpercentile(drawn[:, lacking], _BOUNDS, axis=0)
    return bounds


def _drawn_means(
    values: NDArray[np.float64], valid: NDArray[np.bool_], draws: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """(R, M) means over the drawn users with a value."""
    return _drawn_ratios(np.where(valid, values, 0.0), valid, draws)


def ratio_bounds(
    sums: NDArray[np.float64], counts: NDArray[np.float64], draws: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Return the 95 % CI (2, M) of sums over counts, each (B, M) by user, by the percentile bootstrap over users.

    Examples:
        >>> ratio_bounds(np.array([[1.0], [0.0]]), np.array([[2.0], [2.0]]), np.array([[2, 0], [0, 2]], np.uint8))
        array([[0.0125],
               [0.4875]])
    """
    return _bounds(_drawn_ratios(sums, counts, draws))


def _drawn_ratios(
    sums: NDArray[np.float64], counts: NDArray[np.float64] | NDArray[np.bool_], draws: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """(R, M) sums over counts of the drawn users, block by block so that memory is bounded."""
    both = np.concatenate([sums, counts], axis=1)  # in one product
    block = max(1, _CELLS // len(sums))
    blocks = [draws[start : start + block].astype(np.float64) @ both for start in range(0, len(draws), block)]
    return divide(*np.split(np.concatenate(blocks), 2, axis=1))


@dataclass(frozen=True)
class Row:
    """One metric of one system on one task, with its 95 % CI over users.

    Attributes:
        mean: Over the users, of each user's mean over the runs; of a system-level metric, over the runs.
        ci_low: NaN for a system-level metric, and so is ``ci_high``.
        n_users: Number of users with a value.
        runs: Number of seeds.
        seed_sd: Standard deviation of the means of the runs; None for one run.
    """

    system: str
    task: str
    metric: str
    mean: float
    ci_low: float
    ci_high: float
    n_users: int
    runs: int
    seed_sd: float | None


@dataclass(frozen=True)
class SliceRow:
    """One metric of one system on one slice of a task, with its 95 % CI over the users in that slice."""

    system: str
    task: str
    by: str
    label: str
    metric: str
    mean: float
    ci_low: float
    ci_high: float
    n_users: int


def mean_rows(result: TaskResult, draws: NDArray[np.uint8]) -> list[Row]:
    """Return the mean and CI of each metric, over the resamples (R, B)."""
    intervals = mean_intervals(as_columns(list(result.values.values()), len(result.task)), draws)
    return [
        _row(result, metric, result.runs[metric], *interval)
        for metric, interval in zip(result.values, intervals, strict=True)
    ]


def system_rows(result: TaskResult) -> list[Row]:
    """Return the mean of each system-level metric over the runs; such metrics have no CI over users."""
    nan = float("nan")
    return [
        _row(result, metric, runs, float(runs.mean()), nan, nan, len(result.task))
        for metric, runs in result.system_metrics.items()
    ]


def slice_rows(result: TaskResult, draws: NDArray[np.uint8]) -> list[SliceRow]:
    """Return the mean and CI of each slice of the task, over the resamples (R, B)."""
    columns = as_columns([part.values for part in result.slices], len(result.task))
    return [
        SliceRow(result.system, result.task.name, part.by, part.label, part.metric, *interval)
        for part, interval in zip(result.slices, mean_intervals(columns, draws), strict=True)
    ]


def as_columns(values: Sequence[NDArray[np.float64]], users: int) -> NDArray[np.float64]:
    """(B, M) the values (B,) of each metric as columns; without metrics, (B, 0)."""
    return np.stack(values, axis=1) if len(values) else np.zeros((users, 0))


def _row(result: TaskResult, metric: str, runs: NDArray[np.float64], *interval: float) -> Row:
    mean, low, high, users = interval
    spread = float(np.std(runs, ddof=1)) if len(runs) > 1 else None
    return Row(result.system, result.task.name, metric, mean, low, high, int(users), len(runs), spread)


@dataclass(frozen=True)
class Skill:
    """The skill score of a system: the share of the gap from the best baseline (0) to a perfect system (1).

    Attributes:
        baseline: The best baseline; for cosine distances, the best one of the same embedding space.
        difference: Mean of the system minus mean of the baseline, on the same users, with its paired 95 % CI.
        significant: Whether the CI excludes 0 in the better direction.
    """

    system: str
    task: str
    metric: str
    baseline: str
    skill: float
    difference: float
    ci_low: float
    ci_high: float
    significant: bool


@dataclass(frozen=True)
class PairedDifference:
    """System ``a`` minus system ``b`` on the same users, with its paired 95 % CI; significant where that excludes 0."""

    task: str
    metric: str
    a: str
    b: str
    difference: float
    ci_low: float
    ci_high: float
    significant: bool


def skill_scores(
    systems: Sequence[SystemFacts], results: Sequence[TaskResult], draws: NDArray[np.uint8]
) -> list[Skill]:
    """Return the skill score of each system that is no baseline, of all on one task, for each comparable metric."""
    facts = {system.system: system for system in systems}
    baselines = [result for result in results if facts[result.system].is_baseline]
    return [
        skill
        for result in results
        if not facts[result.system].is_baseline
        for skill in _skills_of(result, baselines, facts, draws)
    ]


def paired_differences(results: Sequence[TaskResult], draws: NDArray[np.uint8]) -> list[PairedDifference]:
    """Return the difference of every two systems on one task in the headline metric, each pair once."""
    task = results[0].task
    metric = headline_metric(task.name, results[0].values)
    valid = [result for result in results if metric in result.values]
    found = pairwise_differences(as_columns([result.values[metric] for result in valid], len(task)), draws)
    pairs = []
    for a, first in enumerate(valid):
        for b, second in enumerate(valid[a + 1 :], a + 1):
            difference, low, high = (float(matrix[a, b]) for matrix in found)
            significant = sign_of_interval(low, high) != 0
            names = (task.name, metric, first.system, second.system)
            pairs.append(PairedDifference(*names, difference, low, high, significant))
    return pairs


def _skills_of(
    result: TaskResult, baselines: list[TaskResult], facts: dict[str, SystemFacts], draws: NDArray[np.uint8]
) -> list[Skill]:
    best = {
        metric: baseline
        for metric in result.values
        if is_comparable(metric) and (baseline := _best(metric, result, baselines, facts))
    }
    users = len(result.task)
    left = as_columns([result.values[metric] for metric in best], users)
    right = as_columns([baseline.values[metric] for metric, baseline in best.items()], users)
    found = []
    intervals = difference_intervals(left, right, draws)
    for (metric, baseline), difference in zip(best.items(), intervals, strict=True):
        gap = best_value(metric) - np.nanmean(baseline.values[metric])
        skill = float(difference.mean / gap) if gap else float("nan")
        significant = sign_of_interval(difference.ci_low, difference.ci_high) == _better(metric)
        names = (result.system, result.task.name, metric, baseline.system)
        found.append(Skill(*names, skill, *difference[:3], significant))
    return found


def _best(
    metric: str, result: TaskResult, baselines: list[TaskResult], facts: dict[str, SystemFacts]
) -> TaskResult | None:
    """Return the baseline with the best mean, if any has a value; for distances, of the same space."""
    space = facts[result.system].space
    candidates = [
        baseline
        for baseline in baselines
        if metric in baseline.values
        and np.isfinite(baseline.values[metric]).any()
        and (metric not in DISTANCES or facts[baseline.system].space == space)
    ]
    return max(candidates, key=lambda one: _better(metric) * np.nanmean(one.values[metric]), default=None)


def _better(metric: str) -> int:
    """1 where higher is better, -1 where lower is."""
    return 1 if best_value(metric) else -1

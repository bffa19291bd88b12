"""Intervals: how far a mean over people could be off, by drawing the people again.

The method is the percentile bootstrap over people (Efron & Tibshirani 1993, section 13.3): as many people as were asked are
drawn with replacement, 1,000 times; the mean of each draw is taken; and the middle 95 % of these means is the interval. Two
systems on the same people are compared by the interval of their difference *within* each draw (a paired bootstrap, as Sakai
2006 and Smucker et al. 2007 recommend it for rankings), so that what makes a person hard for both of them cancels out.
The intervals speak of the choice of people alone: not of the seed of a training, whose spread stands beside them, and
not of how many comparisons were made; of 20 pairs of equal systems one is expected to look different.

Dimension letters: B users, M metrics, S systems, R resamples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "RESAMPLES",
    "Differences",
    "Interval",
    "direction",
    "draw_people",
    "mean_intervals",
    "paired_differences",
    "pairwise_differences",
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


def draw_people(people: int, seed: int) -> NDArray[np.uint8]:
    """(R, B) how often each of ``people`` was drawn, in ``RESAMPLES`` draws of as many with replacement.

    One draw is shared by everything that was asked of the same people, so that differences are paired.
    """
    rng = np.random.default_rng(seed)
    # Nobody is drawn 256 times: 255 people or fewer make 255 draws at most, and of more it does not happen.
    times = np.empty((RESAMPLES, people), np.uint8)
    for row in times:
        row[:] = np.bincount(rng.integers(people, size=people), minlength=people)
    return times


def mean_intervals(values: NDArray[np.float64], draws: NDArray[np.uint8]) -> list[Interval]:
    """The mean of each column and its 95 % interval, by the percentile bootstrap over people.

    NaN says that a column has no value for a person: he does not count there.

    Args:
        values: (B, M) one row a person.
        draws: (R, B) from `draw_people`.

    Returns:
        M intervals; all NaN where a column has no value at all.

    Source: Efron & Tibshirani 1993, section 13.3.

    Examples:
        >>> [interval] = mean_intervals(np.array([[0.0], [1.0], [1.0], [np.nan]]), draw_people(4, seed=42))
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
        draws: (R, B) from `draw_people`.

    Examples:
        >>> left, right = np.array([[0.5], [1.0]]), np.array([[0.25], [0.75]])
        >>> [interval] = paired_differences(left, right, draw_people(2, seed=42))
        >>> interval.low, interval.high
        (0.25, 0.25)
    """
    return mean_intervals(left - right, draws)


def pairwise_differences(values: NDArray[np.float64], draws: NDArray[np.uint8]) -> Differences:
    """Every system beside every other on the same people: the mean difference and its paired 95 % interval.

    A person without a value under any one of the systems counts for none of them.

    Args:
        values: (B, S) one row a person, one column a system.
        draws: (R, B) from `draw_people`.

    Examples:
        >>> found = pairwise_differences(np.array([[0.5, 0.25], [1.0, 0.75]]), draw_people(2, seed=42))
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

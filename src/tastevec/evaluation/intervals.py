"""Intervals: how far a mean over people could be off, by drawing the people again.

Dimension letters: B users, M metrics, R resamples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RESAMPLES", "Interval", "mean_intervals", "paired_differences"]

RESAMPLES = 1000
_BOUNDS = (2.5, 97.5)  # percentiles of a 95 % interval
_CELLS = 1 << 22  # of draws held at once: 32 MB


class Interval(NamedTuple):
    """A mean with its 95 % interval, and the number of people behind it."""

    mean: float
    low: float
    high: float
    users: int


def mean_intervals(values: NDArray[np.float64], *, seed: int) -> list[Interval]:
    """The mean of each column and its 95 % interval, by the percentile bootstrap over people.

    All columns share the same drawn people. NaN says that a column has no value for a person: he does not count there.

    Args:
        values: (B, M) one row a person.
        seed: The same seed draws the same people.

    Returns:
        M intervals; all NaN where a column has no value at all.

    Source: Efron & Tibshirani 1993, section 13.3.

    Examples:
        >>> [interval] = mean_intervals(np.array([[0.0], [1.0], [1.0], [np.nan]]), seed=42)
        >>> round(interval.mean, 4), interval.low, interval.high, interval.users
        (0.6667, 0.0, 1.0, 3)
    """
    valid = np.isfinite(values)
    filled = np.where(valid, values, 0.0)
    users = valid.sum(axis=0)
    means = np.full(values.shape[1], np.nan)
    np.divide(filled.sum(axis=0), users, out=means, where=users > 0)
    bounds = np.full((2, values.shape[1]), np.nan)
    some = users > 0
    bounds[:, some] = np.nanpercentile(_drawn_means(filled[:, some], valid[:, some], seed), _BOUNDS, axis=0)
    columns = zip(means, *bounds, users, strict=True)
    return [Interval(float(mean), float(low), float(high), int(count)) for mean, low, high, count in columns]


def paired_differences(left: NDArray[np.float64], right: NDArray[np.float64], *, seed: int) -> list[Interval]:
    """The mean of each column of ``left - right``, the same people under two systems, and its 95 % interval.

    Where an interval excludes 0, the systems differ by more than the choice of people explains.

    Args:
        left: (B, M) one row a person.
        right: (B, M) the same people and metrics.
        seed: The same seed draws the same people.

    Examples:
        >>> [interval] = paired_differences(np.array([[0.5], [1.0]]), np.array([[0.25], [0.75]]), seed=42)
        >>> interval.low, interval.high
        (0.25, 0.25)
    """
    return mean_intervals(left - right, seed=seed)


def _drawn_means(filled: NDArray[np.float64], valid: NDArray[np.bool_], seed: int) -> NDArray[np.float64]:
    """(R, M) the means over people drawn with replacement, block by block so that memory stays bounded."""
    rng = np.random.default_rng(seed)
    people = len(filled)
    both = np.concatenate([filled, valid], axis=1)  # sums and counts in one product
    sums = []
    block = max(1, _CELLS // people)
    for start in range(0, RESAMPLES, block):
        rows = min(block, RESAMPLES - start)
        draws = rng.integers(people, size=(rows, people)) + people * np.arange(rows)[:, None]
        times = np.bincount(draws.ravel(), minlength=rows * people)  # that each person was drawn
        sums.append(times.reshape(rows, people).astype(np.float64) @ both)
    total, counts = np.split(np.concatenate(sums), 2, axis=1)
    means = np.full_like(total, np.nan)
    np.divide(total, counts, out=means, where=counts > 0)
    return means

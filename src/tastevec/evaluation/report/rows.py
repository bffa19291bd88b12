"""Rows: per-user values summed up, one number with its interval a row.

Dimension letters: B users, M metrics, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tastevec.evaluation.report.intervals import mean_intervals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tastevec.evaluation.report.results import Measured

__all__ = ["Row", "SliceRow", "as_columns", "mean_rows", "slice_rows", "whole_rows"]


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


def whole_rows(measured: Measured) -> list[Row]:
    """What only the system as a whole has: the mean over its runs, and no interval over people."""
    nothing, users = float("nan"), len(measured.task)
    return [
        _row(measured, metric, runs, float(np.mean(runs)), nothing, nothing, users)
        for metric, runs in measured.wholes.items()
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

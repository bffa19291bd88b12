"""Slices: the parts of a task in which a system may be good or bad, by how much is known and by which films are hidden.

Dimension letters: B users, N items, T hidden films, G labels of a slicing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.data.histories import NO_TIME
from tastevec.evaluation.films import NO_YEAR
from tastevec.evaluation.report.results import Slice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tastevec.evaluation.films import Films
    from tastevec.evaluation.protocol import Task

__all__ = ["FOUND_AT", "Slicing", "slicings"]

FOUND_AT: Final = 20  # places among which a hidden film counts as found
_NOWHERE: Final = -1
_DECILES: Final = 10
_COLD: Final = (1, 5, 20)  # raters from which each label but the first begins
_AGES: Final = (2, 5, 10, 20, 40)  # years from which each label but the first begins


@dataclass(frozen=True, eq=False)
class Slicing:
    """The hidden films of a task, sorted under labels.

    Attributes:
        by: What the labels are of.
        labels: G of them, in their order.
        codes: (T,) the label of each hidden film; -1 has none.
    """

    by: str
    labels: Sequence[str]
    codes: NDArray[np.int64]

    def found(self, task: Task, places: NDArray[np.int64]) -> Iterator[Slice]:
        """One slice a label that somebody has: the share of a person's hidden films of that label in his first 20.

        Args:
            task: The question.
            places: (T,) the place of each hidden film in its person's ranking, from 0.
        """
        groups = len(self.labels)
        owners = np.repeat(np.arange(len(task)), task.hidden)
        cells = (owners * groups + self.codes)[self.codes != _NOWHERE]
        hit = (places < FOUND_AT)[self.codes != _NOWHERE]
        hidden = np.bincount(cells, minlength=len(task) * groups).reshape(-1, groups)  # (B, G)
        found = np.bincount(cells, weights=hit, minlength=len(task) * groups).reshape(-1, groups)
        shares = np.full(found.shape, np.nan)
        np.divide(found, hidden, out=shares, where=hidden > 0)
        for group, label in enumerate(self.labels):
            if hidden[:, group].any():
                yield Slice(self.by, label, f"found@{FOUND_AT}", shares[:, group].copy())


def slicings(task: Task, films: Films) -> tuple[Slicing, ...]:
    """The hidden films by the film's popularity, by how cold it is, and by its age when it was rated.

    ``popularity decile``: of the films that a training person rated, by how many did, "1" the least popular tenth and
    "10" the most; films of as many raters stand in the order of the catalogue. A film without raters is in none.
    ``cold films``: by the training people who rated it. ``years since release``: the year of the rating minus that of
    the film, a film rated before its year counting as new; films of unknown year or time are left out.
    """
    return (
        Slicing(
            "popularity decile",
            [str(decile + 1) for decile in range(_DECILES)],
            _deciles(films.raters)[task.targets],
        ),
        Slicing(
            "cold films",
            ("0 raters", "1-4", "5-19", "20 or more"),
            np.searchsorted(_COLD, films.raters[task.targets], side="right"),
        ),
        Slicing(
            "years since release",
            ("0-1", "2-4", "5-9", "10-19", "20-39", "40 or more"),
            _ages(task.times, films.years[task.targets]),
        ),
    )


def _deciles(raters: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) 0 to 9, as many films in each as can be; -1 for a film without raters."""
    order = np.argsort(raters, kind="stable")
    rated = order[raters[order] > 0]
    deciles = np.full(len(raters), _NOWHERE)
    deciles[rated] = np.arange(len(rated)) * _DECILES // max(1, len(rated))
    return deciles


def _ages(times: NDArray[np.int64], years: NDArray[np.int64]) -> NDArray[np.int64]:
    """(T,) the label of each hidden film's age in years at the time of the rating."""
    rated = times.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    labels = np.searchsorted(_AGES, rated - years, side="right")
    return np.where((times == NO_TIME) | (years == NO_YEAR), _NOWHERE, labels)

"""Relevance of tags learned from film features and from tags that were applied by name, and how far off it is.

Dimensions: F films learned from, N films, C columns, T tags, R the rank of the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

__all__ = ["GenomeRegression", "level_of", "row_correlations"]

_PENALTIES: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_EDGES: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)  # of the levels of relevance whose errors are told apart
_BATCH_FILMS = 4096  # in double precision at once: 37 MB at 1,128 tags
_SILENT = 1e-9  # rounding leaves a constant row a little more than 0
_STEPS: Final = 5  # groups of equally many films, by their evidence


@dataclass(frozen=True, eq=False)
class GenomeRegression:
    """A ridge regression of all tags on a film's features, moved towards 1 where people applied a tag by its name.

    Attributes:
        center: (C,) the mean features of the films learned from.
        mean: (T,) their mean relevance, which a film at the centre is given.
        slopes: (C, T).
        by_name: (2,) the share of what is missing to 1 that a tag gains once people applied it, and for each
            logarithm of how often.
        left_out: (F, T) what each film learned from would have been given without its own genome.
    """

    center: NDArray[np.float64]
    mean: NDArray[np.float64]
    slopes: NDArray[np.float64]
    by_name: NDArray[np.float64]
    left_out: NDArray[np.float64]

    @classmethod
    def fit(
        cls, features: NDArray[np.float64], applied: csr_matrix, relevance: NDArray[np.float64]
    ) -> GenomeRegression:
        """Learned from films with a genome, with the penalty whose predictions of films left out are nearest.

        Args:
            features: (F, C).
            applied: (F, T) how often people applied each tag by its name.
            relevance: (F, T) in [0, 1].

        Source: the films left out one by one follow from one decomposition (Hastie, Tibshirani and Friedman 2009,
        section 7.10, on linear smoothers).
        """
        center, mean = features.mean(axis=0), relevance.mean(axis=0)
        left, values, right = np.linalg.svd(features - center, full_matrices=False)  # (F, R), (R,), (R, C)
        wanted = left.T @ (relevance - mean)  # (R, T)

        def leave_out(penalty: float) -> NDArray[np.float64]:
            kept = values**2 / (values**2 + penalty)
            own = left**2 @ kept + 1 / len(features)  # (F,) how much of its own value each film's fit is
            off = relevance - mean - left @ (kept[:, None] * wanted)
            return np.asarray(relevance - off / (1 - own)[:, None])

        penalty = min(_PENALTIES, key=lambda tried: float(((leave_out(tried) - relevance) ** 2).sum()))
        slopes = right.T @ ((values / (values**2 + penalty))[:, None] * wanted)
        left_out = np.clip(leave_out(penalty), 0.0, 1.0)
        by_name = _learn_by_name(left_out, applied, relevance)
        return cls(center, mean, slopes, by_name, _move(left_out, applied, by_name))

    def predict(self, features: NDArray[np.float64], applied: csr_matrix) -> NDArray[np.float32]:
        """(N, T) in [0, 1], of films with features (N, C) and tags applied by name (N, T)."""
        given = np.empty((len(features), len(self.mean)), np.float32)
        for start in range(0, len(features), _BATCH_FILMS):
            films = slice(start, start + _BATCH_FILMS)
            from_features = np.clip((features[films] - self.center) @ self.slopes + self.mean, 0.0, 1.0)
            given[films] = _move(from_features, applied[films], self.by_name)
        return given

    def expect(
        self, relevance: NDArray[np.float64], evidence: NDArray[np.float64], asked: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How well films are predicted of which as much is known as of those asked about.

        Films are left out one by one, and what they are given correlated over tags with their genome, the mean of all
        films taken from both: 0 says no more than the mean, 1 all. The means of groups of like evidence are joined by
        lines; more evidence never counts for less.

        Args:
            relevance: (F, T) as it was learned from.
            evidence: (F,) of the same films.
            asked: (N,) evidence of others.

        Returns:
            (N,) in [0, 1].
        """
        from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 - 1 s to import, and an extra

        found = row_correlations(self.left_out - self.mean, relevance - self.mean)
        edges = np.quantile(evidence, np.arange(1, _STEPS) / _STEPS)
        group = np.searchsorted(edges, evidence, side="right")  # films of equal evidence stay together
        size = np.bincount(group)
        full = size > 0
        known, mean = (np.bincount(group, value)[full] / size[full] for value in (evidence, found))
        rising = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
        return np.asarray(rising.fit(known, mean, size[full]).predict(asked))

    def errors(self, relevance: NDArray[np.float64]) -> NDArray[np.float64]:
        """The standard error at each level of predicted relevance, of films left out; the mean one where none was."""
        squares, levels = (self.left_out - relevance).ravel() ** 2, level_of(self.left_out).ravel()
        count = np.bincount(levels, minlength=len(_EDGES) + 1)
        total = np.bincount(levels, squares, minlength=len(_EDGES) + 1)
        return np.asarray(np.sqrt((total + squares.mean()) / (count + 1)))


def level_of(relevance: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """The level of each relevance, from 0, as ``GenomeRegression.errors`` counts them."""
    return np.asarray(np.digitize(relevance, _EDGES))


def row_correlations(one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(N,) Pearson's correlation of each row of one with the same row of the other; 0 where a row is constant.

    Examples:
        >>> row_correlations(np.array([[1, 2, 3], [1, 1, 1]]), np.array([[2, 4, 6], [1, 2, 3]]))
        array([1., 0.])
    """
    one, other = (side - side.mean(axis=1, keepdims=True) for side in (one, other))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    products = (one * other).sum(axis=1)
    return np.asarray(np.divide(products, lengths, out=np.zeros(len(lengths)), where=lengths > _SILENT))


def _learn_by_name(
    given: NDArray[np.float64], applied: csr_matrix, relevance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(2,) least squares over the tags that were applied; zeros where none was."""
    cells = applied.tocoo()
    place = (cells.row, cells.col)
    room = 1 - given[place]
    said = np.stack([room, room * np.log1p(cells.data)], axis=1)
    learned: NDArray[np.float64] = np.linalg.lstsq(said, relevance[place] - given[place], rcond=None)[0]
    return learned


def _move(
    given: NDArray[np.float64], applied: csr_matrix, by_name: NDArray[np.float64]
) -> NDArray[np.float64]:
    moved, cells = given.copy(), applied.tocoo()
    place = (cells.row, cells.col)
    moved[place] += (by_name[0] + by_name[1] * np.log1p(cells.data)) * (1 - given[place])
    return np.clip(moved, 0.0, 1.0)

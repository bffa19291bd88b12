"""A ridge regression of the relevance of tags on film vectors, and what it says of films left out.

Dimensions: F films learned from, D numbers a vector, T tags, C tags of a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.items.placing import TRUST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from scipy.sparse import csc_matrix

    from tastevec.items.tag_table import TagBlock

__all__ = ["TagRegression", "best_penalty"]

_PENALTIES: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # times the vectors' mean squared scatter
_FEWEST = 10  # films
_CELLS = 1 << 22  # relevances held at once: 32 MB
_SILENT = 1e-12  # of a squared length: rounding leaves what is constant a little more than 0


@dataclass(frozen=True, eq=False)
class TagRegression:
    """One block's films, turned into the axes of their scatter, where every penalty is a division.

    Films are weighed by how many people stand behind them, and centred at their mean. What a film left out would have been
    given follows from what it was given in closed form, so that each film is a fold of its own, and no order of the films
    changes anything but rounding.

    Source: Hastie, Tibshirani and Friedman 2009, section 7.10, on linear smoothers.
    """

    names: tuple[str, ...]
    relevance: csc_matrix  # (F, T)
    roots: NDArray[np.float64]  # (F,) of the weights, whose mean is 1
    axes: NDArray[np.float64]  # (D, D)
    scatter: NDArray[np.float64]  # (D,) of the weighed films along each axis
    places: NDArray[np.float64]  # (F, D) the weighed films on the axes

    @classmethod
    def of(
        cls, block: TagBlock, vectors: NDArray[np.float32], people: NDArray[np.int64]
    ) -> TagRegression | None:
        """Films with a vector, of which something is said and behind which people stand; None of fewer than ten."""
        films = np.flatnonzero(block.known & (people > 0) & vectors.any(axis=1))
        if len(films) < _FEWEST:
            return None
        weights = people[films] / (people[films] + TRUST)
        roots = np.sqrt(weights / weights.mean())
        learned = vectors[films].astype(np.float64)
        weighed = roots[:, None] * (learned - np.average(learned, axis=0, weights=weights))
        with _one_thread():
            scatter, axes = np.linalg.eigh(weighed.T @ weighed)
            places = weighed @ axes
        relevance = block.relevance[films].tocsc()
        return cls(block.names, relevance, roots, axes, np.maximum(scatter, 0.0), places)

    def directions(self, penalty: float) -> NDArray[np.float64]:
        """(T, D) the slopes: along them the relevance of each tag grows by 1."""
        with _one_thread():
            parts = [self._slopes(wanted, penalty).T @ self.axes.T for wanted in self._wanted()]
        return np.concatenate(parts)

    def confidence(self, penalty: float) -> NDArray[np.float64]:
        """(T,) in [0, 1], the correlation of relevance with what films left out were given; 0 where it is negative."""
        parts = []
        mean = self.roots / np.linalg.norm(self.roots)  # weighed, a constant lies along this
        with _one_thread():
            for wanted in self._wanted():
                given = wanted - self._off(wanted, penalty)
                given -= mean[:, None] * (mean @ given)
                lengths = (given**2).sum(axis=0) * (wanted**2).sum(axis=0)
                products = (given * wanted).sum(axis=0)
                silent = np.zeros(len(lengths))
                parts.append(np.divide(products, np.sqrt(lengths), out=silent, where=lengths > _SILENT))
        return np.asarray(np.clip(np.concatenate(parts), 0.0, 1.0))

    def errors(self, penalty: float) -> NDArray[np.float64]:
        """(T,) the squared error of films left out, as a share of the tag's own variance; 1 where it has none."""
        parts = []
        with _one_thread():
            for wanted in self._wanted():
                whole = (wanted**2).sum(axis=0)
                off = (self._off(wanted, penalty) ** 2).sum(axis=0)
                parts.append(np.divide(off, whole, out=np.ones(len(whole)), where=whole > _SILENT))
        return np.concatenate(parts)

    def _wanted(self) -> Iterator[NDArray[np.float64]]:
        """(F, C) relevances, weighed and centred, of a group of tags after another."""
        width = max(1, _CELLS // len(self.roots))
        for start in range(0, len(self.names), width):
            dense = self.relevance[:, start : start + width].toarray().astype(np.float64)
            yield self.roots[:, None] * (dense - np.average(dense, axis=0, weights=self.roots**2))

    def _slopes(self, wanted: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
        """(D, C) on the axes."""
        return np.asarray((self.places.T @ wanted) / self._ridged(penalty)[:, None])

    def _off(self, wanted: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
        """(F, C) how far off each film would be if it were left out."""
        constant = self.roots**2 / (self.roots**2).sum()
        own = self.places**2 @ (1.0 / self._ridged(penalty)) + constant  # (F,) of its own value, in its fit
        return np.asarray((wanted - self.places @ self._slopes(wanted, penalty)) / (1 - own)[:, None])

    def _ridged(self, penalty: float) -> NDArray[np.float64]:
        # The least of all numbers where every film has the same vector.
        return np.asarray(self.scatter + max(penalty * self.scatter.mean(), _SILENT))


def best_penalty(fits: Sequence[TagRegression]) -> float:
    """The penalty whose predictions of films left out are nearest, in the mean over all tags."""

    def error(penalty: float) -> float:
        return float(sum(fit.errors(penalty).sum() for fit in fits))

    return min(_PENALTIES, key=error)


def _one_thread() -> AbstractContextManager[object]:
    """As everywhere: several BLAS threads add in another order, which makes other bytes."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - comes with scikit-learn, an extra

    limits: AbstractContextManager[object] = threadpool_limits(1, "blas")
    return limits

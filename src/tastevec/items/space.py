"""The taste space: film vectors such that a person's vector times a film's says how much he would like it.

Dimensions: B people, N films, D numbers a vector, M interactions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.errors import MissingExtraError
from tastevec.items.combine import InitialVectors, initial_vectors
from tastevec.items.least_squares import solved
from tastevec.items.regression import ItemRegression, matrix_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from tastevec.data.histories import Histories
    from tastevec.items.linear import LinearSettings

__all__ = ["TasteSpace"]

_PEOPLE = 4096  # folded in at once
_START = 0.05  # spread of the factors before the first alternation


@dataclass(frozen=True, eq=False)
class TasteSpace:
    """Film vectors, and all that the linear answer needs to place a person among them.

    Attributes:
        start: The film vectors, and where each came from.
        pulls: (N, D) float32, what a film that was seen says of all others (the regression, in this space).
        mean: (D,) float32, the mean vector of the training people.
        settings: Of the linear answer.
    """

    start: InitialVectors
    pulls: NDArray[np.float32]
    mean: NDArray[np.float32]
    settings: LinearSettings

    @classmethod
    def fit(
        cls,
        histories: Histories,
        content: csr_matrix | NDArray[np.float32],
        settings: LinearSettings,
    ) -> TasteSpace:
        """From the histories of the training people and what is said of all films (N, F), sparse or dense.

        Factors are fitted by alternating least squares to the ratings and, where there is none, to what the regression
        expects: iALS (Hu, Koren & Volinsky 2008) with expectations in place of its zeros. Films of few ratings are
        moved to where their content says they should be.

        The same histories and settings give the same bytes on the same machine.
        """
        with _one_thread():
            regression = ItemRegression.fit(histories, content.shape[0], settings)
            factors = _factors(regression, histories, content.shape[0], settings)
            counts = np.bincount(histories.items, minlength=content.shape[0])
            start = initial_vectors(factors, content, counts)
            return cls._around(start, regression.into(start.vectors), histories, settings)

    @classmethod
    def around(cls, start: InitialVectors, histories: Histories, settings: LinearSettings) -> TasteSpace:
        """Around film vectors that come from elsewhere; a film then says nothing of others but by its own vector."""
        with _one_thread():
            return cls._around(start, np.zeros_like(start.vectors), histories, settings)

    @classmethod
    def unsolved(cls, item_count: int, settings: LinearSettings) -> TasteSpace:
        """Zeros in the shapes of N films, to be filled with what was solved elsewhere."""
        nothing = np.zeros((item_count, settings.dim), np.float32)
        start = InitialVectors(nothing, np.full(item_count, "none"))
        return cls(start, nothing, nothing[:1].sum(axis=0), settings)

    @classmethod
    def _around(
        cls,
        start: InitialVectors,
        pulls: NDArray[np.float32],
        histories: Histories,
        settings: LinearSettings,
    ) -> TasteSpace:
        nobody = cls(start, pulls, np.zeros(start.vectors.shape[1], np.float32), settings)
        total = np.zeros(start.vectors.shape[1])
        for some in histories.chunks(_PEOPLE):
            total += nobody.fold_in(some).sum(axis=0)
        return cls(start, pulls, np.asarray(total / max(len(histories), 1), np.float32), settings)

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) the vectors of people never seen, in closed form; of nobody in particular without a history.

        With V all films, and for each film v of a history the confidence c and the pull p of its rating and what it
        says of others w, it is ``(V'V + sum c v v' + ridge I)^-1 (trust * sum seen w + sum p v)``, and the less films
        there are the more of the mean person is added.
        """
        settings, vectors = self.settings, self.start.vectors
        seen = matrix_of(histories, settings.graded(histories.ratings, "seen"), len(vectors))
        own = solved(
            vectors,
            histories.offsets,
            histories.items,
            *_told(histories.ratings, settings),
            settings.shrunk(histories.lengths, settings.reading_shrinkage),
            settings.trust * (seen @ self.pulls),
        )
        share = (settings.mean_films / (settings.mean_films + histories.lengths)) ** 2
        return np.asarray(own + share[:, None] * self.mean, np.float32)

    def linear(self, levels: int) -> dict[str, NDArray[np.float32]]:
        """What `fold_in` computes with, for an encoder that tells so many rating levels apart."""
        settings = self.settings
        constants = (
            settings.trust,
            settings.reading_shrinkage,
            settings.shrinkage_power,
            settings.mean_films,
        )
        return {
            "pulls": self.pulls,
            "mean": self.mean,
            "levels": settings.of_levels(levels),
            "constants": np.array(constants, np.float32),
        }


def _factors(
    regression: ItemRegression, histories: Histories, item_count: int, settings: LinearSettings
) -> NDArray[np.float32]:
    """(N, D) the films' half of the alternation."""
    rng = np.random.default_rng(settings.seed)
    films = rng.normal(scale=_START, size=(item_count, settings.dim)).astype(np.float32)
    seen = matrix_of(histories, settings.graded(histories.ratings, "seen"), item_count)
    of_people = _told(histories.ratings, settings)
    by_film = np.argsort(histories.items, kind="stable")  # the interactions, film by film
    of_films = of_people[0][by_film], of_people[1][by_film]
    owners = histories.owners.astype(np.int32)[by_film]
    del by_film  # as large as both together
    counts = np.bincount(histories.items, minlength=item_count)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    ridges = (
        settings.shrunk(histories.lengths, settings.shrinkage),
        settings.shrunk(counts, settings.shrinkage),
    )
    for _ in range(settings.iterations):
        expected = seen @ regression.into(films)
        people = solved(films, histories.offsets, histories.items, *of_people, ridges[0], expected)
        expected = regression.out_of(seen.T @ people)
        films = solved(people, offsets, owners, *of_films, ridges[1], expected)
    films[counts == 0] = 0.0
    return films


def _told(
    ratings: NDArray[np.float32], settings: LinearSettings
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(M,) by how much more each rating counts than none, and how hard it pulls towards its film."""
    confidence = settings.graded(ratings, "confidence")
    return confidence, (1 + confidence) * settings.graded(ratings, "liking")


def _one_thread() -> AbstractContextManager[Any]:
    """BLAS on one thread: the sums then come in the same order, whatever the machine has."""
    try:
        from threadpoolctl import threadpool_limits  # noqa: PLC0415  an extra
    except ImportError as error:
        raise MissingExtraError("threadpoolctl", "train") from error
    limits: AbstractContextManager[Any] = threadpool_limits(1, "blas")
    return limits

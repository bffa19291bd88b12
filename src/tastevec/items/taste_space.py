"""The embedding space: item vectors fitted so that inner products predict held-out positives.

Dimensions: B people, N films, D numbers a vector, M interactions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tastevec.errors import MissingExtraError, SettingsError
from tastevec.items.cold_start import InitialVectors, initial_vectors
from tastevec.items.linalg import solved

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from scipy import sparse
    from scipy.sparse import csr_matrix

    from tastevec.data.histories import Histories

__all__ = ["ItemRegression", "LinearSettings", "TasteSpace", "matrix_of"]

_GRADES = (
    0.0,
    0.25,
    0.5,
    0.75,
    1.0,
)  # of the way from the lowest rating to the highest: 1 to 5 stars of ml-1m
_TAGGED = 0.5  # a film that was only tagged counts as one rated in the middle
_BLOCK = 1 << 20  # ratings graded at once: 8 MB a step
_TYPICAL = 50  # films at which the shrinkages hold as they are given

Five = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class LinearSettings:
    """What a rating of 1, 2, 3, 4 or 5 stars says, ratings between them by interpolation, and how much is shrunk.

    Selected on the 737 validation people of ml-1m-5k by a random search, NDCG@100 of *fold-in* and of *best-rated*;
    docs/experiments.md has the trials.

    Attributes:
        rating_range: The lowest and the highest rating.
        dim: D, numbers a film.
        seed: Of the starting factors.
        seen: How much a rating says that the film was chosen at all: input of the regression.
        wanted: How much it says that the film was liked: output of the regression.
        confidence: By how much more than an unseen film's 1 a rating counts in the factors.
        liking: What is to be reproduced where there is a rating, beside what the regression expects there anyway; where
            there is none it is that expectation alone.
        ridge: Of the regression, at a film of mean popularity.
        ridge_power: With which power of popularity that ridge grows.
        shrinkage: Ridge of a film's or a person's factors with 50 ratings.
        shrinkage_power: With which power of the number of ratings it grows.
        iterations: Alternations.
        trust: Weight of the regression's expectation for a person who was not in the training.
        reading_shrinkage: ``shrinkage`` for such a person.
        mean_items: Films that he must know for the mean person to weigh no more than a quarter.

    Raises:
        SettingsError: The lowest rating is not below the highest, ``dim`` or ``iterations`` is under 1, or a ridge not over 0.
    """

    rating_range: tuple[float, float] = (0.5, 5.0)
    dim: int = 64
    seed: int = 42
    seen: Five = (0.5, 0.5, 0.7, 1.0, 1.0)
    wanted: Five = (0.0, 0.2, 0.5, 1.0, 1.0)
    confidence: Five = (0.5, 0.5, 1.5, 3.0, 3.0)
    liking: Five = (0.2, 0.4, 0.8, 1.0, 1.2)
    ridge: float = 400.0
    ridge_power: float = 0.75
    shrinkage: float = 14.0
    shrinkage_power: float = 0.4
    iterations: int = 10
    trust: float = 2.0
    reading_shrinkage: float = 6.0
    mean_items: float = 16.0

    def __post_init__(self) -> None:
        low, high = self.rating_range
        ridges = (self.ridge, self.shrinkage, self.reading_shrinkage, self.mean_items)
        if (
            not low < high
            or min(self.dim, self.iterations) < 1
            or not all(each > 0 for each in ridges)  # NaN is not either
        ):
            raise SettingsError(
                f"{self} is out of range; expected a rating range, dim and iterations from 1, and every ridge over 0"
            )

    def graded(
        self, ratings: NDArray[np.float32], what: Literal["seen", "wanted", "confidence", "liking"]
    ) -> NDArray[np.float32]:
        """(M,) what each rating says.

        Examples:
            >>> LinearSettings(rating_range=(1, 5)).graded(np.array([5, 3, 2.5, np.nan], np.float32), "wanted")
            array([1.  , 0.5 , 0.35, 0.5 ], dtype=float32)
        """
        low, high = self.rating_range
        graded = np.empty(len(ratings), np.float32)
        for start in range(0, len(ratings), _BLOCK):  # what is between is in double precision
            some = ratings[start : start + _BLOCK]
            share = np.where(np.isnan(some), _TAGGED, (some - low) / (high - low))
            graded[start : start + _BLOCK] = np.interp(share, _GRADES, getattr(self, what))
        return graded

    def shrunk(self, counts: NDArray[np.int64], shrinkage: float) -> NDArray[np.float32]:
        """(B,) the ridge of people or films with so many ratings."""
        return np.asarray(shrinkage * ((counts + 1) / _TYPICAL) ** self.shrinkage_power, np.float32)

    def of_levels(self, levels: int) -> NDArray[np.float32]:
        """(R + 1, 3) for each rating level, and for "only tagged": seen, confidence, and pull towards the film."""
        ratings = np.append(np.linspace(*self.rating_range, levels), np.nan).astype(np.float32)
        seen, confidence, liking = (self.graded(ratings, what) for what in ("seen", "confidence", "liking"))
        return np.stack([seen, confidence, (1 + confidence) * liking], axis=1)


_MAX_ITEMS = (
    10_000  # P x P is then 800 MB in double precision while it is inverted, and twice 400 MB afterwards
)
_BLOCK_FILMS = 512  # rows of a product made at once: 40 MB of sparse numbers at the most
_LEAST_SHARE = 0.1  # of the mean film's ridge, for a film that nobody has seen


@dataclass(frozen=True, eq=False)
class ItemRegression:
    """What is expected of a person from the films that he has seen.

    EASE (Steck 2019) with three changes, each of which helps on ml-1m's validation people: a film counts as input by
    how much it says that it was seen at all and as output by how much it was liked, so that the two sides of the
    regression differ; and the ridge grows with a film's popularity.

    Attributes:
        items: (P,) the films that are fitted, ascending: the 10,000 most seen.
        weights: (P, P) float32, from a film that was seen to a film that may be liked; the diagonal is zero.
    """

    items: NDArray[np.int64]
    weights: NDArray[np.float32]

    @classmethod
    def fit(cls, histories: Histories, item_count: int, settings: LinearSettings) -> ItemRegression:
        """Least squares of how much films were liked on which others were seen.

        With X the grades of what was seen, Y those of what was liked and C the inverse of ``X'X + ridge``, the weights
        are ``C X'Y`` less ``C`` times whatever brings the diagonal to zero (the Lagrange multipliers of Steck 2019,
        equation 8).

        Raises:
            SettingsError: The ridge is lost in the rounding of what stands beside it.
        """
        counts = np.bincount(histories.items, minlength=item_count)
        items = np.sort(np.argsort(-counts, kind="stable")[: min(_MAX_ITEMS, np.count_nonzero(counts))])
        gram = _products(histories, items, item_count, settings, "seen", np.float64)
        diagonal = gram.diagonal().astype(np.float32)
        popularity = diagonal / max(float(diagonal.mean()), 1e-9) if len(items) else np.zeros(0)
        gram[np.diag_indices_from(gram)] = diagonal + (
            settings.ridge * (popularity + _LEAST_SHARE) ** settings.ridge_power
        ).astype(np.float32)
        inverse = _inverted(gram)
        del gram  # overwritten, and twice the size of all that follows
        weights = inverse @ _products(histories, items, item_count, settings, "wanted", np.float32)
        inverse *= weights.diagonal() / inverse.diagonal()
        weights -= inverse
        np.fill_diagonal(weights, 0.0)  # else rounding leaves some
        return cls(items, weights)

    def into(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D) what each film that was seen adds to ``vectors' times what is expected``; zeros where not fitted."""
        made = np.zeros_like(vectors)
        made[self.items] = self.weights @ vectors[self.items]
        return made

    def out_of(self, read: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D) what is expected of each film by ``read`` (N, D), a sum over people of what they have seen."""
        made = np.zeros_like(read)
        made[self.items] = self.weights.T @ read[self.items]
        return made


def matrix_of(histories: Histories, values: NDArray[np.float32], item_count: int) -> sparse.csr_matrix:
    """(B, N) one value for each interaction.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    try:
        from scipy import sparse as sparse_  # noqa: PLC0415  an extra
    except ImportError as error:
        raise MissingExtraError("scipy", "train") from error
    entries = (values, histories.items, histories.offsets)
    return sparse_.csr_matrix(entries, shape=(len(histories), item_count))


def _products(
    histories: Histories,
    items: NDArray[np.int64],
    item_count: int,
    settings: LinearSettings,
    what: Literal["seen", "wanted"],
    kind: type[np.floating[Any]],
) -> NDArray[Any]:
    """(P, P) of these films ``X'Y``, with X the grades of what was seen and Y those of ``what``; a few films at a time."""
    seen = matrix_of(histories, settings.graded(histories.ratings, "seen"), item_count)[:, items]
    others = (
        seen
        if what == "seen"
        else matrix_of(histories, settings.graded(histories.ratings, what), item_count)[:, items]
    )
    by_item = seen.T.tocsr()
    made = np.empty((len(items), len(items)), kind)
    for start in range(0, len(items), _BLOCK_FILMS):
        made[start : start + _BLOCK_FILMS] = (by_item[start : start + _BLOCK_FILMS] @ others).toarray()
    return made


def _inverted(gram: NDArray[np.float64]) -> NDArray[np.float32]:
    """(P, P) the inverse of a symmetric positive definite matrix, which is overwritten: in double precision, and in its own room."""
    from scipy.linalg import lapack  # noqa: PLC0415  an extra

    inverse = np.empty(gram.shape, np.float32)
    if len(gram):
        factor, failed = lapack.dpotrf(gram.T, overwrite_a=1)  # as LAPACK lays matrices out
        if failed:
            raise SettingsError(
                f"the regression among {len(gram)} films has no solution at its film {failed}; expected a ridge large enough "
                "for single precision: set a larger one"
            )
        upper, _ = lapack.dpotri(factor, overwrite_c=1)
        for row in range(len(gram)):
            inverse[row, row:] = inverse[row:, row] = upper[row, row:]
    return inverse


_USERS = 4096  # folded in at once
_START = 0.05  # spread of the factors before the first alternation


@dataclass(frozen=True, eq=False)
class TasteSpace:
    """Film vectors, and all that the linear answer needs to place a person among them.

    Attributes:
        start: The film vectors, and where each came from.
        item_prior: (N, D) float32, what a film that was seen says of all others (the regression, in this space).
        mean: (D,) float32, the mean vector of the training people.
        settings: Of the linear answer.
    """

    start: InitialVectors
    item_prior: NDArray[np.float32]
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
        item_prior: NDArray[np.float32],
        histories: Histories,
        settings: LinearSettings,
    ) -> TasteSpace:
        nobody = cls(start, item_prior, np.zeros(start.vectors.shape[1], np.float32), settings)
        total = np.zeros(start.vectors.shape[1])
        for some in histories.chunks(_USERS):
            total += nobody.fold_in(some).sum(axis=0)
        return cls(start, item_prior, np.asarray(total / max(len(histories), 1), np.float32), settings)

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
            settings.trust * (seen @ self.item_prior),
        )
        share = (settings.mean_items / (settings.mean_items + histories.lengths)) ** 2
        return np.asarray(own + share[:, None] * self.mean, np.float32)

    def linear(self, levels: int) -> dict[str, NDArray[np.float32]]:
        """What `fold_in` computes with, for an encoder that tells so many rating levels apart."""
        settings = self.settings
        constants = (
            settings.trust,
            settings.reading_shrinkage,
            settings.shrinkage_power,
            settings.mean_items,
        )
        return {
            "item_prior": self.item_prior,
            "prior_mean": self.mean,
            "rating_weights": settings.of_levels(levels),
            "constants": np.array(constants, np.float32),
        }


def _factors(
    regression: ItemRegression, histories: Histories, item_count: int, settings: LinearSettings
) -> NDArray[np.float32]:
    """(N, D) the films' half of the alternation."""
    rng = np.random.default_rng(settings.seed)
    items = rng.normal(scale=_START, size=(item_count, settings.dim)).astype(np.float32)
    seen = matrix_of(histories, settings.graded(histories.ratings, "seen"), item_count)
    of_people = _told(histories.ratings, settings)
    by_item = np.argsort(histories.items, kind="stable")  # the interactions, film by film
    of_items = of_people[0][by_item], of_people[1][by_item]
    owners = histories.owners.astype(np.int32)[by_item]
    del by_item  # as large as both together
    counts = np.bincount(histories.items, minlength=item_count)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    ridges = (
        settings.shrunk(histories.lengths, settings.shrinkage),
        settings.shrunk(counts, settings.shrinkage),
    )
    for _ in range(settings.iterations):
        expected = seen @ regression.into(items)
        users = solved(items, histories.offsets, histories.items, *of_people, ridges[0], expected)
        expected = regression.out_of(seen.T @ users)
        items = solved(users, offsets, owners, *of_items, ridges[1], expected)
    items[counts == 0] = 0.0
    return items


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

"""The embedding space: item vectors fitted so that inner products predict held-out positives.

Dimensions: B users, N items, P fitted items, D dimensions, M interactions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tastevec.data.value_scale import HALF_STARS, ValueScale
from tastevec.errors import MissingExtraError, SettingsError
from tastevec.items.cold_start import InitialVectors, initial_vectors
from tastevec.items.linalg import invert_positive_definite, one_blas_thread, solve_ridge

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse
    from scipy.sparse import csr_matrix

    from tastevec.data.histories import Histories

_GRADES = (0.0, 0.25, 0.5, 0.75, 1.0)  # shares: 1 to 5 stars of ml-1m
_TAGGED = 0.5  # a tag-only interaction counts as a mid-scale rating
_BLOCK = 1 << 20  # ratings graded at once: 8 MB a step
_TYPICAL = 50  # interactions at which a shrinkage holds as given

FiveGrades = tuple[float, float, float, float, float]
Grade = Literal["input_grades", "target_grades", "confidence_grades", "preference_grades"]


@dataclass(frozen=True)
class TasteSpaceSettings:
    """Weights of ratings of 1, 2, 3, 4 and 5 stars (others by interpolation), and the strengths of shrinkage.

    Selected on the 737 validation users of ml-1m-5k by a random search, NDCG@100 of *random-20pct* and *top-rated*;
    docs/experiments.md has the trials.

    Attributes:
        scale: The value scale, whose share of a value has a weight.
        dim: D, dimensions of a vector.
        seed: Seed of the initial factors.
        input_grades: Weight of a rating as an input of the item regression: that the item was selected at all.
        target_grades: Weight of a rating as a target of the item regression: that the item was liked.
        confidence_grades: Confidence in a rating, in addition to the 1 of every item.
        preference_grades: Preference that the factors fit in addition to the regression's prediction. Where there is no
            rating, the prediction alone is fitted.
        ridge: Ridge of the item regression, at an item of mean popularity.
        ridge_power: Power of popularity with which that ridge grows.
        shrinkage: Ridge of the factors of an item or user with 50 ratings.
        shrinkage_power: Power of the number of ratings with which it grows.
        iterations: Alternations.
        prior_weight: Weight of the regression's prediction in the fold-in of a user.
        fold_in_shrinkage: ``shrinkage`` in the fold-in of a user.
        prior_mean_items: Items in a history at which the prior mean weighs a quarter.

    Raises:
        SettingsError: ``dim`` or ``iterations`` is under 1, or a ridge not over 0.
    """

    scale: ValueScale = HALF_STARS
    dim: int = 64
    seed: int = 42
    input_grades: FiveGrades = (0.5, 0.5, 0.7, 1.0, 1.0)
    target_grades: FiveGrades = (0.0, 0.2, 0.5, 1.0, 1.0)
    confidence_grades: FiveGrades = (0.5, 0.5, 1.5, 3.0, 3.0)
    preference_grades: FiveGrades = (0.2, 0.4, 0.8, 1.0, 1.2)
    ridge: float = 400.0
    ridge_power: float = 0.75
    shrinkage: float = 14.0
    shrinkage_power: float = 0.4
    iterations: int = 10
    prior_weight: float = 2.0
    fold_in_shrinkage: float = 6.0
    prior_mean_items: float = 16.0

    def __post_init__(self) -> None:
        ridges = (self.ridge, self.shrinkage, self.fold_in_shrinkage, self.prior_mean_items)
        if (
            min(self.dim, self.iterations) < 1 or not all(each > 0 for each in ridges)  # NaN is not either
        ):
            raise SettingsError(
                f"{self} is out of range. Expected dim and iterations from 1, and every ridge over 0"
            )

    def grades(self, ratings: NDArray[np.float32], grade: Grade) -> NDArray[np.float32]:
        """Return the weight of each rating, (M,).

        Examples:
            >>> settings = TasteSpaceSettings(scale=ValueScale.explicit(1, 5))
            >>> settings.grades(np.array([5, 3, 2.5, np.nan], np.float32), "target_grades")
            array([1.  , 0.5 , 0.35, 0.5 ], dtype=float32)
        """
        graded = np.empty(len(ratings), np.float32)
        for start in range(0, len(ratings), _BLOCK):  # intermediate results are in double precision
            some = ratings[start : start + _BLOCK]
            graded[start : start + _BLOCK] = self._graded(self.scale.share(some), grade)
        return graded

    def _graded(self, shares: NDArray[np.float32], grade: Grade) -> NDArray[np.float64]:
        """Return the weight of each share; NaN, of an interaction without a value, weighs as one half."""
        shares = np.where(np.isnan(shares), _TAGGED, shares)
        return np.asarray(np.interp(shares, _GRADES, getattr(self, grade)))

    def confidence_and_targets(
        self, ratings: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the confidence in each rating and its weight on the right-hand side of the ridge fold-in, (M,) each."""
        confidence = self.grades(ratings, "confidence_grades")
        return confidence, (1 + confidence) * self.grades(ratings, "preference_grades")

    def ridge_by_count(self, counts: NDArray[np.int64], shrinkage: float) -> NDArray[np.float32]:
        """Return the ridge of users or items with so many ratings, (B,)."""
        return np.asarray(shrinkage * ((counts + 1) / _TYPICAL) ** self.shrinkage_power, np.float32)

    def by_rating_level(self) -> NDArray[np.float32]:
        """Return input grade, confidence and target of each rating level, and of "tag-only", (R + 1, 3)."""
        shares = np.append(self.scale.bin_shares(), np.float32(np.nan))
        grades: tuple[Grade, ...] = ("input_grades", "confidence_grades", "preference_grades")
        inputs, confidence, preference = (self._graded(shares, grade).astype(np.float32) for grade in grades)
        return np.stack([inputs, confidence, (1 + confidence) * preference], axis=1)


# P x P is then 800 MB in double precision while it is inverted, and twice 400 MB afterwards.
_MAX_ITEMS = 10_000
_BLOCK_ITEMS = 512  # rows of a product computed at once: 40 MB of sparse numbers at the most
_LEAST_SHARE = 0.1  # of the mean item's ridge, for an item without interactions


@dataclass(frozen=True, eq=False)
class ItemRegression:
    """Regression of a user's positives on the items that they interacted with.

    EASE (Steck 2019) with three changes, each of which helps on ml-1m's validation users: an item counts as input by
    its input grade and as target by its target grade, so that the two sides of the regression differ; and the ridge
    grows with an item's popularity.

    Attributes:
        items: (P,) indices of the fitted items, ascending: the 10,000 with the most interactions.
        weights: (P, P) float32, from an input item to a target item; the diagonal is zero.
    """

    items: NDArray[np.int64]
    weights: NDArray[np.float32]

    @classmethod
    def fit(cls, histories: Histories, n_items: int, settings: TasteSpaceSettings) -> ItemRegression:
        """Fit the target grades of items to the input grades of the other items by least squares.

        With X the input grades, Y the target grades and C the inverse of ``X'X + ridge``, the weights are ``C X'Y``
        less ``C`` times what brings the diagonal to zero (the Lagrange multipliers of Steck 2019, equation 8).

        Raises:
            SettingsError: The ridge is below the rounding error of the Gram matrix.
        """
        counts = np.bincount(histories.items, minlength=n_items)
        items = np.sort(np.argsort(-counts, kind="stable")[: min(_MAX_ITEMS, np.count_nonzero(counts))])
        gram = _products(histories, items, n_items, settings, "input_grades", np.float64)
        diagonal = gram.diagonal().astype(np.float32)
        popularity = diagonal / max(float(diagonal.mean()), 1e-9) if len(items) else np.zeros(0)
        gram[np.diag_indices_from(gram)] = diagonal + (
            settings.ridge * (popularity + _LEAST_SHARE) ** settings.ridge_power
        ).astype(np.float32)
        inverse = invert_positive_definite(gram)
        del gram  # overwritten, and twice the size of all that follows
        weights = inverse @ _products(histories, items, n_items, settings, "target_grades", np.float32)
        inverse *= weights.diagonal() / inverse.diagonal()
        weights -= inverse
        np.fill_diagonal(weights, 0.0)  # else rounding leaves some
        return cls(items, weights)

    def project(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what each input item adds to ``vectors'`` times the prediction, (N, D); zeros where not fitted."""
        projected = np.zeros_like(vectors)
        projected[self.items] = self.weights @ vectors[self.items]
        return projected

    def project_transposed(self, sums: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the predictions of each item from ``sums`` (N, D) over the users of each input item, (N, D)."""
        projected = np.zeros_like(sums)
        projected[self.items] = self.weights.T @ sums[self.items]
        return projected


def interaction_matrix(histories: Histories, values: NDArray[np.float32], n_items: int) -> sparse.csr_matrix:
    """Return one value per interaction, (B, N).

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    try:
        from scipy import sparse as sparse_  # noqa: PLC0415  an extra
    except ImportError as error:
        raise MissingExtraError("scipy", "train") from error
    entries = (values, histories.items, histories.offsets)
    return sparse_.csr_matrix(entries, shape=(len(histories), n_items))


def _products(
    histories: Histories,
    items: NDArray[np.int64],
    n_items: int,
    settings: TasteSpaceSettings,
    grade: Grade,
    dtype: type[np.floating[Any]],
) -> NDArray[Any]:
    """Return ``X'Y`` of these items, (P, P), with X the input grades and Y those of ``grade``; a few items at a time."""
    inputs, others = (
        interaction_matrix(histories, settings.grades(histories.ratings, each), n_items)[:, items]
        for each in ("input_grades", grade)
    )
    by_item = inputs.T.tocsr()
    products = np.empty((len(items), len(items)), dtype)
    for start in range(0, len(items), _BLOCK_ITEMS):
        products[start : start + _BLOCK_ITEMS] = (by_item[start : start + _BLOCK_ITEMS] @ others).toarray()
    return products


_USERS = 4096  # folded in at once
_START = 0.05  # standard deviation of the factors before the first alternation


@dataclass(frozen=True, eq=False)
class TasteSpace:
    """Item vectors, and the parameters of the ridge fold-in of a user.

    Attributes:
        initial: The item vectors and their origins.
        item_prior: (N, D) float32, what an input item predicts of all others (the regression, in this space).
        prior_mean: (D,) float32, the mean vector of the training users.
        settings: Of the ridge fold-in.
    """

    initial: InitialVectors
    item_prior: NDArray[np.float32]
    prior_mean: NDArray[np.float32]
    settings: TasteSpaceSettings

    @classmethod
    def fit(
        cls,
        histories: Histories,
        content: csr_matrix | NDArray[np.float32],
        settings: TasteSpaceSettings,
    ) -> TasteSpace:
        """Fit item vectors to the histories of the training users and to the item features (N, F), sparse or dense.

        Factors are fitted by alternating least squares to the ratings and, where there is none, to the prediction of
        the item regression: iALS (Hu, Koren & Volinsky 2008) with predictions in place of its zeros. Items with few
        ratings are shrunk to the prediction from their features.

        The same histories and settings give the same bytes on the same machine.
        """
        with one_blas_thread():
            regression = ItemRegression.fit(histories, content.shape[0], settings)
            factors = _factors(regression, histories, content.shape[0], settings)
            counts = np.bincount(histories.items, minlength=content.shape[0])
            initial = initial_vectors(factors, content, counts)
            return cls._with_mean(initial, regression.project(initial.vectors), histories, settings)

    @classmethod
    def from_vectors(
        cls, initial: InitialVectors, histories: Histories, settings: TasteSpaceSettings
    ) -> TasteSpace:
        """Return a space of given item vectors, without an item regression."""
        with one_blas_thread():
            return cls._with_mean(initial, np.zeros_like(initial.vectors), histories, settings)

    @classmethod
    def zeros(cls, n_items: int, settings: TasteSpaceSettings) -> TasteSpace:
        """Return zeros in the shapes of N items, to be filled with the result of another process."""
        vectors = np.zeros((n_items, settings.dim), np.float32)
        initial = InitialVectors(vectors, np.full(n_items, "none"))
        return cls(initial, vectors, np.zeros(settings.dim, np.float32), settings)

    @classmethod
    def _with_mean(
        cls,
        initial: InitialVectors,
        item_prior: NDArray[np.float32],
        histories: Histories,
        settings: TasteSpaceSettings,
    ) -> TasteSpace:
        without = cls(initial, item_prior, np.zeros(initial.vectors.shape[1], np.float32), settings)
        total = np.zeros(initial.vectors.shape[1])
        for some in histories.chunks(_USERS):
            total += without.fold_in(some).sum(axis=0)
        return cls(initial, item_prior, np.asarray(total / max(len(histories), 1), np.float32), settings)

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """Return the closed-form vectors of users who were not in the training, (B, D); the prior mean without a history.

        With V all items, and for each item v of a history its item prior w, its input grade g, and the confidence c and
        target p of its rating, the vector is ``(V'V + sum c v v' + ridge I)^-1 (prior_weight * sum g w + sum p v)``. The
        prior mean is added, the more the shorter the history.
        """
        settings, vectors = self.settings, self.initial.vectors
        inputs = interaction_matrix(
            histories, settings.grades(histories.ratings, "input_grades"), len(vectors)
        )
        own = solve_ridge(
            vectors,
            histories.offsets,
            histories.items,
            *settings.confidence_and_targets(histories.ratings),
            settings.ridge_by_count(histories.lengths, settings.fold_in_shrinkage),
            settings.prior_weight * (inputs @ self.item_prior),
        )
        share = (settings.prior_mean_items / (settings.prior_mean_items + histories.lengths)) ** 2
        return np.asarray(own + share[:, None] * self.prior_mean, np.float32)

    def fold_in_parameters(self) -> dict[str, NDArray[np.float32]]:
        """Return the arrays of `fold_in` for an encoder."""
        settings = self.settings
        constants = (
            settings.prior_weight,
            settings.fold_in_shrinkage,
            settings.shrinkage_power,
            settings.prior_mean_items,
        )
        return {
            "item_prior": self.item_prior,
            "prior_mean": self.prior_mean,
            "rating_weights": settings.by_rating_level(),
            "constants": np.array(constants, np.float32),
        }


def _factors(
    regression: ItemRegression, histories: Histories, n_items: int, settings: TasteSpaceSettings
) -> NDArray[np.float32]:
    """Return the items' half of the alternation, (N, D)."""
    rng = np.random.default_rng(settings.seed)
    items = rng.normal(scale=_START, size=(n_items, settings.dim)).astype(np.float32)
    inputs = interaction_matrix(histories, settings.grades(histories.ratings, "input_grades"), n_items)
    by_user = settings.confidence_and_targets(histories.ratings)
    order = np.argsort(histories.items, kind="stable")  # the interactions, item by item
    by_item = by_user[0][order], by_user[1][order]
    owners = histories.owners.astype(np.int32)[order]
    del order  # as large as both together
    counts = np.bincount(histories.items, minlength=n_items)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    ridges = (
        settings.ridge_by_count(histories.lengths, settings.shrinkage),
        settings.ridge_by_count(counts, settings.shrinkage),
    )
    for _ in range(settings.iterations):
        prior = inputs @ regression.project(items)
        users = solve_ridge(items, histories.offsets, histories.items, *by_user, ridges[0], prior)
        prior = regression.project_transposed(inputs.T @ users)
        items = solve_ridge(users, offsets, owners, *by_item, ridges[1], prior)
    items[counts == 0] = 0.0
    return items

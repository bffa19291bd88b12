"""The teacher: the weighted sum of the standardized scores of closed-form models, which the embeddings are fitted to.

Dimensions: B users, N items, M interactions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import numpy as np

from tastevec.items.als import AlsSettings, als_factors, fold_in
from tastevec.items.regression import ItemProducts, ItemRegression, Lags, input_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from tastevec.data.histories import Histories
    from tastevec.data.value_scale import ValueScale
    from tastevec.schema import Horizon

_SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)  # 1 to 5 stars
_INPUTS: Final = (0.0, 0.0, 0.4, 1.0, 1.0)  # what they say as an input, and as a target
_TARGETS: Final = (0.0, 0.2, 0.5, 1.0, 1.0)
_UNRATED: Final = 0.5  # the share of an interaction without a value
_NEVER: Final = 1e-6  # of an item that nobody wants
STRONGEST: Final = 200  # weights of an item that a model keeps
_FEW: Final = 5.0  # interactions at which popularity has lost about a third of its weight


class Scores(Protocol):
    """A model that scores the catalog."""

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Return the scores (B, N)."""


@dataclass(frozen=True)
class GradedSettings:
    """An item regression on graded interactions, as it is chosen on validation users.

    Attributes:
        ridge: See `ItemProducts.solve`.
        ridge_power: See `ItemProducts.solve`.
        user_power: See `ItemProducts.of`.
        least: Weight of a disliked item as an input, where a positive weighs 1: that it was selected at all.
        others: Weight of interactions that are not positive as targets, times their grade.
        discount: Power of popularity by which scores are divided.
        lags: How the order is read.
    """

    ridge: float = 3.0
    ridge_power: float = 0.75
    user_power: float = 0.5
    least: float = 0.5
    others: float = 0.5
    discount: float = 0.0
    lags: Lags | None = None

    def inputs(self, histories: Histories, scale: ValueScale) -> NDArray[np.float32]:
        """Return the weight of each interaction as an input, (M,)."""
        grades = _grades(histories, scale, _INPUTS)
        return (self.least + (1 - self.least) * grades).astype(np.float32)

    def targets(self, histories: Histories, scale: ValueScale) -> NDArray[np.float32]:
        """Return the weight of each interaction as a target, (M,)."""
        if scale.kind != "explicit":
            return (1 - self.others * (1 - _grades(histories, scale, _TARGETS))).astype(np.float32)
        grades = self.others * _grades(histories, scale, _TARGETS)
        return np.where(scale.positive(histories.ratings), 1.0, grades).astype(np.float32)

    @property
    def sides(self) -> GradedSettings:
        """What the sums depend on: all but ridge and discount."""
        return replace(self, ridge=1.0, ridge_power=0.0, discount=0.0)


def _grades(histories: Histories, scale: ValueScale, grades: tuple[float, ...]) -> NDArray[np.floating[Any]]:
    """Return how much each interaction says, (M,) in [0, 1]: by its share of the scale, or by its strength."""
    ratings = histories.ratings
    if scale.kind == "explicit":
        shares = scale.share(ratings)
        return np.interp(np.where(np.isnan(shares), _UNRATED, shares), _SHARES, grades)
    strength = np.where(scale.positive(ratings), scale.position(ratings), 0.0)
    return np.where(np.isnan(ratings), _UNRATED, strength)


@dataclass(frozen=True, eq=False)
class GradedProducts:
    """The sums of a graded item regression, from which one at any ridge is solved.

    Attributes:
        popularity: (N,) float32, the sum of the targets of each item, over the mean of all.
    """

    products: ItemProducts
    popularity: NDArray[np.float32]
    scale: ValueScale

    @classmethod
    def of(cls, train: Histories, n_items: int, scale: ValueScale, settings: GradedSettings) -> Self:
        """Sum over the training users."""
        inputs, targets = settings.inputs(train, scale), settings.targets(train, scale)
        products = ItemProducts.of(
            train, inputs, targets, n_items, user_power=settings.user_power, lags=settings.lags
        )
        sums = np.bincount(train.items, targets, minlength=n_items) + _NEVER
        return cls(products, (sums / sums.mean()).astype(np.float32), scale)

    def solve(self, settings: GradedSettings) -> GradedRegression:
        """Return the regression of these settings, whose `GradedSettings.sides` are those of the sums."""
        regression = self.products.solve(settings.ridge, settings.ridge_power)
        return GradedRegression(regression, self.popularity, settings, self.scale)


@dataclass(frozen=True, eq=False)
class GradedRegression:
    """A fitted item regression with its grades and its discount of popular items.

    Attributes:
        popularity: (N,) float32, as in `GradedProducts`.
    """

    regression: ItemRegression
    popularity: NDArray[np.float32]
    settings: GradedSettings
    scale: ValueScale

    @classmethod
    def fit(
        cls, train: Histories, n_items: int, settings: GradedSettings, scale: ValueScale
    ) -> GradedRegression:
        """Fit to the training users."""
        return GradedProducts.of(train, n_items, scale, settings).solve(settings)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Return the scores (B, N)."""
        return self.plain(histories) * self.popularity**-self.settings.discount

    def plain(self, histories: Histories) -> NDArray[np.float32]:
        """Return the scores (B, N) without the discount."""
        return self.regression.score(histories, self.settings.inputs(histories, self.scale))

    def sparse(self) -> SparseRegression:
        """Return the regression with the strongest weights of each item alone, which take a thousandth of the work."""
        discounts = self.popularity**-self.settings.discount
        weights = self.regression.strongest(STRONGEST, discounts)
        return SparseRegression(weights, self.settings, self.scale)


@dataclass(frozen=True, eq=False)
class SparseRegression:
    """A graded item regression as it is saved with a model.

    Attributes:
        weights: (N, N) from an input item to the items that it says most about.
    """

    weights: csr_matrix
    settings: GradedSettings
    scale: ValueScale

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Return the scores (B, N)."""
        inputs = self.settings.inputs(histories, self.scale)
        read = input_matrix(histories, inputs, self.weights.shape[0], self.settings.lags)
        return np.asarray((read @ self.weights).toarray(), np.float32)


@dataclass(frozen=True, eq=False)
class Factors:
    """iALS: item factors, and users folded in.

    Attributes:
        vectors: (N, D) item factors.
    """

    vectors: NDArray[np.float32]
    settings: AlsSettings

    @classmethod
    def fit(cls, train: Histories, n_items: int, settings: AlsSettings) -> Self:
        """Fit to the training users."""
        return cls(als_factors(train, n_items, settings), settings)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Return the scores (B, N)."""
        return np.asarray(fold_in(self.vectors, histories, self.settings) @ self.vectors.T)


@dataclass(frozen=True, eq=False)
class FadingPopularity:
    """The logarithm of popularity, which weighs less the longer a history is.

    Attributes:
        logs: (N,) float32, standardized.
    """

    logs: NDArray[np.float32]

    @classmethod
    def fit(cls, train: Histories, n_items: int, scale: ValueScale) -> Self:
        """Count the positives of the training users."""
        positives = train.items[scale.positive(train.ratings)]
        logs = np.log1p(np.bincount(positives, minlength=n_items)).astype(np.float32)
        return cls(standardized(logs[None])[0])

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Return the scores (B, N)."""
        weights = 1 / np.sqrt(1 + histories.lengths / _FEW)
        return (weights[:, None] * self.logs).astype(np.float32)


_ALIKE: Final = 1e-9


def standardized(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scores (B, N) of mean 0 and standard deviation 1 in each row; zeros where all are alike."""
    centered = scores - scores.mean(axis=1, keepdims=True)
    deviations = centered.std(axis=1, keepdims=True)
    return np.asarray(centered / np.where(deviations > _ALIKE, deviations, 1), np.float32)


@dataclass(frozen=True)
class TeacherSettings:
    """What is chosen on validation users; all of it is saved with the model.

    Attributes:
        whole: The regression of whole histories, without order.
        lagged: The regression of the latest items.
        confidence: Of iALS in a positive.
        regularization: Of iALS.
        weights: By horizon, the weight of each component; those of weight 0 are absent.
    """

    whole: GradedSettings = field(default_factory=GradedSettings)
    lagged: GradedSettings = field(default_factory=lambda: GradedSettings(least=1.0, others=0.3, lags=Lags()))
    confidence: float = 5.0
    regularization: float = 20.0
    weights: Mapping[Horizon, Mapping[str, float]] = field(
        default_factory=lambda: {"overall": {"whole": 1.0}, "next": {"lagged": 1.0}}
    )

    def als(self, scale: ValueScale, dim: int, seed: int) -> AlsSettings:
        """Return the settings of iALS; a mid-scale rating has a quarter of a positive's confidence."""
        return AlsSettings(
            scale,
            dim=dim,
            regularization=self.regularization,
            positive=self.confidence,
            neutral=1 + 0.25 * (self.confidence - 1),
            seed=seed,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Teacher:
    """The fitted components and their weights.

    Attributes:
        components: ``whole`` and ``lagged`` item regression, ``factors`` of iALS and ``popularity``.
        weights: By horizon, the weight of each component.
        mean: (N,) float32, the mean overall scores of training users, which a short history is shrunk to.
    """

    components: Mapping[str, Scores]
    weights: Mapping[Horizon, Mapping[str, float]]
    mean: NDArray[np.float32]

    @classmethod
    def fit(
        cls,
        train: Histories,
        n_items: int,
        settings: TeacherSettings,
        scale: ValueScale,
        *,
        dim: int = 64,
        seed: int = 42,
    ) -> Self:
        """Fit every component that has a weight to the training users; ``mean`` is zeros until `with_mean`."""
        used = {name for weights in settings.weights.values() for name in weights}
        fitted = fit_components(train, n_items, settings, scale, dim=dim, seed=seed)
        components: dict[str, Scores] = {
            name: one.sparse() if isinstance(one, GradedRegression) else one
            for name, one in fitted.items()
            if name in used
        }
        return cls(components, settings.weights, np.zeros(n_items, np.float32))

    def with_mean(self, inputs: Histories) -> Self:
        """Return the teacher with the mean overall scores of these inputs of training users."""
        total = np.zeros(len(self.mean))
        for some in inputs.chunks(_USERS):
            total += self.score(some, "overall").sum(axis=0)
        return replace(self, mean=(total / max(len(inputs), 1)).astype(np.float32))

    def score(self, histories: Histories, horizon: Horizon) -> NDArray[np.float32]:
        """Return the scores (B, N), standardized for each user."""
        total = np.zeros((len(histories), len(self.mean)), np.float32)
        once = histories.once()
        for name, weight in self.weights[horizon].items():
            read = histories if name == "lagged" else once
            total += np.float32(weight) * standardized(self.components[name].score(read))
        if horizon == "next":
            return standardized(total)
        shrinkage = 1 / np.maximum(once.lengths, 1)
        return standardized(standardized(total) + (shrinkage[:, None] * self.mean).astype(np.float32))


_USERS = 512  # scored at once


def fit_components(
    train: Histories,
    n_items: int,
    settings: TeacherSettings,
    scale: ValueScale,
    *,
    dim: int,
    seed: int,
) -> dict[str, Scores]:
    """Return all components, fitted to the training users; ``lagged`` alone reads the repeats of an item."""
    once = train.once()
    return {
        "whole": GradedRegression.fit(once, n_items, settings.whole, scale),
        "lagged": GradedRegression.fit(train, n_items, settings.lagged, scale),
        "factors": Factors.fit(once, n_items, settings.als(scale, dim, seed)),
        "popularity": FadingPopularity.fit(once, n_items, scale),
    }

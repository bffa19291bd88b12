"""The components of the closed form: how each is fitted to training users, and what is chosen of it.

Dimensions: B users, N items, M interactions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from tastevec.data.value_scale import TOUCHED
from tastevec.items.als import AlsSettings, als_factors
from tastevec.items.regression import ItemProducts, ItemRegression, Lags
from tastevec.model.closed_form import (
    ClosedForm,
    Factors,
    FadingPopularity,
    Known,
    SparseRegression,
    standardized,
)
from tastevec.schema import POSITIVE_FROM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.value_scale import ValueScale
    from tastevec.model.closed_form import Component
    from tastevec.schema import Horizon, Order

_SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)  # 1 to 5 stars
_INPUTS: Final = (0.0, 0.0, 0.4, 1.0, 1.0)  # what they say as an input, and as a target
_TARGETS: Final = (0.0, 0.2, 0.5, 1.0, 1.0)
_UNRATED: Final = 0.5  # the share of an interaction without a value
MOST_LOW: Final = 0.4  # of the training ratings below the middle; with more, the middle of the scale is not that of the taste
_NEVER: Final = 1e-6  # of an item that nobody wants
STRONGEST: Final = 200  # weights of an item that a model keeps


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

    def inputs(self, shares: NDArray[np.float32], scale: ValueScale) -> NDArray[np.float32]:
        """Return the weight as an input, (M,), of interactions of these `ValueScale.share`."""
        return (self.least + (1 - self.least) * _grades(shares, scale, _INPUTS)).astype(np.float32)

    def targets(self, shares: NDArray[np.float32], scale: ValueScale) -> NDArray[np.float32]:
        """Return the weight as a target, (M,), of interactions of these `ValueScale.share`."""
        grades = _grades(shares, scale, _TARGETS)
        if scale.kind != "explicit":
            return (1 - self.others * (1 - grades)).astype(np.float32)
        return np.where(shares >= POSITIVE_FROM, 1.0, self.others * grades).astype(np.float32)

    @property
    def sides(self) -> GradedSettings:
        """What the sums depend on: all but ridge and discount."""
        return replace(self, ridge=1.0, ridge_power=0.0, discount=0.0)


def _grades(
    shares: NDArray[np.float32], scale: ValueScale, grades: tuple[float, ...]
) -> NDArray[np.floating[Any]]:
    """Return how much interactions of these shares say, (M,) in [0, 1]: of ratings by the grades, else by strength."""
    if scale.kind == "explicit":
        return np.interp(np.where(np.isnan(shares), _UNRATED, shares), _SHARES, grades)
    strength = np.clip((shares - POSITIVE_FROM) / (1 - POSITIVE_FROM), 0, 1)
    return np.where(np.isnan(shares), _UNRATED, strength)


def level_shares(scale: ValueScale) -> NDArray[np.float32]:
    """Return the share of each rating bin, and NaN for interactions without a value, (R + 1,)."""
    return np.append(scale.bin_shares(), np.float32(np.nan))


def low_share(train: Histories, scale: ValueScale) -> float:
    """Return the share of the ratings that are below the middle of an explicit scale; 0 without ratings, or of another kind."""
    shares = scale.share(train.ratings)
    rated = shares[np.isfinite(shares)]
    return float(np.mean(rated < TOUCHED)) if scale.kind == "explicit" and len(rated) else 0.0


def push_of(scale: ValueScale, low: float) -> NDArray[np.float32]:
    """Return how far below the middle the ratings of each bin are, (R + 1,) from 0 to 1.

    Zeros where ratings are not explicit, and where those below the middle are common, and so no sign of dislike.

    Args:
        scale: The value scale.
        low: See `low_share`.
    """
    shares = np.nan_to_num(level_shares(scale), nan=TOUCHED)
    below = np.maximum(TOUCHED - shares, 0) / TOUCHED
    known = scale.kind == "explicit" and low <= MOST_LOW
    return np.asarray(below if known else np.zeros_like(below), np.float32)


def known_of(histories: Histories, scale: ValueScale) -> Known:
    """Return histories as the components of a closed form read them."""
    items = np.asarray(histories.items, np.int64)
    return Known(histories.lengths, items, scale.bin_values(histories.ratings))


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
        shares = scale.share(train.ratings)
        inputs, targets = settings.inputs(shares, scale), settings.targets(shares, scale)
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

    def plain(self, histories: Histories) -> NDArray[np.float32]:
        """Return the scores (B, N) without the discount."""
        shares = self.scale.share(histories.ratings)
        return self.regression.score(histories, self.settings.inputs(shares, self.scale))

    def sparse(self) -> SparseRegression:
        """Return the regression with the strongest weights of each item alone, which take a thousandth of the work."""
        discounts = self.popularity**-self.settings.discount
        targets, weights = self.regression.strongest(STRONGEST, discounts)
        rows = np.full(len(self.popularity), -1, np.int32)
        rows[self.regression.items] = np.arange(len(targets))
        lags = self.settings.lags
        return SparseRegression(
            rows,
            targets,
            weights,
            self.settings.inputs(level_shares(self.scale), self.scale),
            np.zeros(0, np.float32) if lags is None else lags.fading.astype(np.float32),
        )


def fit_factors(train: Histories, n_items: int, settings: AlsSettings) -> Factors:
    """Fit iALS to the training users."""
    confidence = settings.confidence_of(level_shares(settings.scale))
    return Factors(
        als_factors(train, n_items, settings),
        np.maximum(confidence - 1, 0),
        confidence,
        np.array([settings.regularization], np.float32),
    )


def fit_popularity(train: Histories, n_items: int, scale: ValueScale) -> FadingPopularity:
    """Count the positives of the training users."""
    positives = train.items[scale.positive(train.ratings)]
    logs = np.log1p(np.bincount(positives, minlength=n_items)).astype(np.float32)
    return FadingPopularity(standardized(logs[None])[0])


def shorter(lagged: GradedSettings) -> GradedSettings:
    """Return the settings of a lagged regression that reads the very latest items, for what comes right after them."""
    lags = lagged.lags or Lags()
    return replace(lagged, lags=replace(lags, decay=lags.decay + _STEEPER, lead=_AT_ONCE))


_STEEPER: Final = 0.6
_AT_ONCE: Final = 0.3


@dataclass(frozen=True)
class TeacherSettings:
    """What is chosen on validation users; all of it is saved with the model.

    Attributes:
        whole: The regression of whole histories, without order.
        lagged: The regression of the latest items.
        short: A second one, of the very latest.
        confidence: Of iALS in a positive.
        regularization: Of iALS.
        weights: By horizon, the weight of each component; those of weight 0 are absent.
        shrinkage: Weight of the mean user at no interaction, and the interactions after which it has faded to 1/e of that.
    """

    whole: GradedSettings = field(default_factory=GradedSettings)
    lagged: GradedSettings = field(default_factory=lambda: GradedSettings(least=1.0, others=0.3, lags=Lags()))
    short: GradedSettings = field(default_factory=lambda: shorter(GradedSettings(lags=Lags())))
    confidence: float = 5.0
    regularization: float = 20.0
    weights: Mapping[Horizon, Mapping[str, float]] = field(
        default_factory=lambda: {"overall": {"whole": 1.0}, "next": {"lagged": 1.0}}
    )
    shrinkage: tuple[float, float] = (1.0, 8.0)

    @classmethod
    def of(cls, order: Order) -> TeacherSettings:
        """Return the settings before any choice; without an order *next* is *overall*."""
        if order == "none":
            return cls(weights={"overall": {"whole": 1.0}, "next": {"whole": 1.0}})
        return cls()

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


def component_fits(
    train: Histories,
    n_items: int,
    settings: TeacherSettings,
    scale: ValueScale,
    *,
    dim: int,
    seed: int,
) -> dict[str, Callable[[], Component]]:
    """Return what fits each component to the training users; the lagged regressions alone read the repeats of an item."""
    once = train.once()

    def regression(histories: Histories, some: GradedSettings) -> Callable[[], Component]:
        return lambda: GradedRegression.fit(histories, n_items, some, scale).sparse()

    def factors(width: int) -> Callable[[], Component]:
        return lambda: fit_factors(once, n_items, settings.als(scale, width, seed))

    return {
        "whole": regression(once, settings.whole),
        "lagged": regression(train, settings.lagged),
        "short": regression(train, settings.short),
        "factors": factors(dim),
        "wide": factors(2 * dim),
        "popularity": lambda: fit_popularity(once, n_items, scale),
    }


def unfitted(
    components: Mapping[str, Component],
    weights: Mapping[Horizon, Mapping[str, float]],
    scale: ValueScale,
    n_items: int,
) -> ClosedForm:
    """Return a closed form that scores only: without a mean user, dislikes and item vectors."""
    zeros, one = np.zeros(n_items, np.float32), np.ones(1, np.float32)
    named: dict[str, Mapping[str, float]] = {str(name): each for name, each in weights.items()}
    push = np.zeros(len(level_shares(scale)), np.float32)
    return ClosedForm(components, named, zeros, np.array([0.0, 1.0], np.float32), one, push, zeros[:, None])

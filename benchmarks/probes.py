"""Linear probes: what a ridge regression reads from user vectors, with a 95 % CI by bootstrap over the users it is measured on.

Dimensions: B users, C classes or numbers of a target, D dimensions, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.linear_model import RidgeCV

from tastevec.evaluation.statistics import bootstrap_users

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Statistic = Callable[[NDArray[np.float32]], NDArray[np.float64]]

_RIDGES = np.logspace(-3, 6, 19)
_FEW = 1e-9  # of a deviation or a sum of squares: a constant


@dataclass(frozen=True, eq=False)
class Target:
    """What a probe predicts of users.

    Attributes:
        name: The name.
        values: (B, C) float64; of classes an indicator of each; a user of none is not read.
        of_classes: Whether the measure is the mean AUC of the classes; else the mean R2 of the numbers.
    """

    name: str
    values: NDArray[np.float64]
    of_classes: bool = False


def standardized(vectors: NDArray[np.floating[Any]], of: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return vectors (B, D) with coordinates of mean 0 and standard deviation 1 over some of the users."""
    mean, deviation = vectors[of].mean(axis=0), vectors[of].std(axis=0)
    return np.asarray((vectors - mean) / np.where(deviation > _FEW, deviation, 1.0))


@dataclass(frozen=True, eq=False)
class Probe:
    """A ridge regression, and what it predicts of test users.

    Attributes:
        predicted: (B, C) of the test users, and
        values: (B, C) what is true of them.
        of_classes: See `Target`.
    """

    predicted: NDArray[np.float64]
    values: NDArray[np.float64]
    of_classes: bool

    @classmethod
    def fit(
        cls, vectors: NDArray[Any], target: Target, fit: NDArray[np.bool_], test: NDArray[np.bool_]
    ) -> Self:
        """Return the probe of some users, applied to test users.

        Classes are regressed on their indicators; the ridge of each is chosen by the leave-one-out error of the users it is
        fitted to.
        """
        some = target.values.any(axis=1) | (not target.of_classes)
        fit, test = fit & some, test & some
        model = RidgeCV(_RIDGES, alpha_per_target=True).fit(vectors[fit], target.values[fit])
        values = target.values[test]
        return cls(np.reshape(model.predict(vectors[test]), values.shape), values, target.of_classes)

    def measure(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return (R,) the AUC or R2, of users who count as often as (R, B) says."""
        return (mean_auc if self.of_classes else mean_r2)(self.predicted, self.values, weights)

    def interval(self, seed: int, other: Probe) -> dict[str, Any]:
        """Return the AUC or R2 and its 95 % CI, the difference from another probe, and whether its paired CI excludes 0."""
        minus = bootstrapped(
            lambda weights: self.measure(weights) - other.measure(weights), len(self.values), seed
        )
        found = bootstrapped(self.measure, len(self.values), seed)
        return {**found, "minus": minus, "significant": minus["ci_low"] > 0 or minus["ci_high"] < 0}


def bootstrapped(statistic: Statistic, users: int, seed: int) -> dict[str, Any]:
    """Return a statistic of users, which takes (R, B) how often each user counts, and its 95 % CI."""
    [value] = statistic(np.ones((1, users), np.float32))
    found = statistic(bootstrap_users(users, seed).astype(np.float32))
    low, high = np.nanpercentile(found, (2.5, 97.5))
    return {"mean": float(value), "ci_low": float(low), "ci_high": float(high)}


def mean_auc(
    scores: NDArray[np.float64], positive: NDArray[np.float64], weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return (R,) the mean over classes of the probability that a user of the class scores above another; ties count half.

    A class without users in a resample does not count there. Of two classes, which are one question, one is enough.
    """
    found = []
    for column in range(scores.shape[1]):
        order = np.argsort(scores[:, column], kind="stable")
        starts = np.flatnonzero(np.diff(scores[order, column], prepend=-np.inf))
        drawn, inside = weights[:, order].astype(np.float64), positive[order, column]
        ours = np.add.reduceat(drawn * inside, starts, axis=1)  # (R, distinct scores)
        others = np.add.reduceat(drawn * (1 - inside), starts, axis=1)
        below = np.cumsum(others, axis=1) - others / 2
        pairs = ours.sum(axis=1) * others.sum(axis=1)
        found.append(np.where(pairs > 0, (ours * below).sum(axis=1) / np.maximum(pairs, 1), np.nan))
    return np.asarray(np.nanmean(found, axis=0))


def mean_r2(
    predicted: NDArray[np.float64], values: NDArray[np.float64], weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return (R,) the mean over numbers of the share of their variance over these users that is predicted.

    A number that does not vary in a resample does not count there.
    """
    drawn = weights.astype(np.float64)
    errors = drawn @ (predicted - values) ** 2  # (R, C)
    spread = drawn @ values**2 - (drawn @ values) ** 2 / drawn.sum(axis=1, keepdims=True)
    varied = spread > _FEW
    return np.asarray(np.nanmean(np.where(varied, 1 - errors / np.where(varied, spread, 1), np.nan), axis=1))


def mean_rand(
    left: NDArray[np.integer[Any]], right: NDArray[np.integer[Any]], weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return (R,) the adjusted Rand index of two clusterings (B,) of the same users.

    A user who is drawn twice makes no pair with themselves, which would always agree.

    Source: Hubert & Arabie 1985, "Comparing partitions".
    """
    drawn = weights.astype(np.float64)
    sides = [np.eye(int(side.max()) + 1)[side] for side in (left, right)]
    cells = np.einsum("bi,bj->bij", *sides).reshape(len(left), -1)
    own = (drawn**2).sum(axis=1)
    both, first, second = (((drawn @ one) ** 2).sum(axis=1) - own for one in (cells, *sides))
    every = drawn.sum(axis=1) ** 2 - own
    expected = first * second / every
    return np.asarray((both - expected) / ((first + second) / 2 - expected))

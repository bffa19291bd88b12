"""Calibration: from a score to the probability that the user rates the item positive, if they take it next.

Dimensions: B users, N items, T pairs of user and item.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args

import numpy as np
from safetensors.numpy import save_file

from tastevec.data.arrays import check_shapes, read_arrays
from tastevec.data.files import damaged
from tastevec.schema import TRAIN_AGAIN, Horizon

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

    # From known histories of B users, the later ones and a horizon to the scores of the later items, (T,).
    Scores: TypeAlias = Callable[[Histories, Histories, Horizon], NDArray[np.float32]]

SHAPES: Final[dict[str, tuple[str | int, ...]]] = {
    "share": (1,),
    "item_shares": ("N",),
    "weights": (3,),
    "overall": (2,),
    "next": (2,),
}

_PRIOR_OF_ITEM: Final = 10.0  # interactions at the mean share that every item has before its own
_PRIOR_OF_USER: Final = 5.0
_KNOWN: Final = 0.8  # of a history, before what is held out
_FEWEST: Final = 200  # held-out interactions of each kind, below which nothing is fitted
_STEPS: Final = 25  # of Newton's method, which converges in fewer than ten
_RIDGE: Final = 1e-3
_MAX_TRAIN: Final = 20_000  # users for three weights: copies of more histories would only cost memory


@dataclass(frozen=True, eq=False)
class Calibration:
    """A logistic model of "positive if taken next": of the item's share of positives, the user's, and the score.

    The shares of an item and of a user, drawn towards that of all where little is known, say most of it; the score adds
    what this user makes of this item. Shares and their weights come from training users, the weight of the score from
    validation users, since scores of training users are too good.

    Attributes:
        share: (1,) share of positives among the ratings of training users.
        item_shares: (N,) the same of each item.
        weights: (3,) of 1 and of the logits of the shares of an item and of a user.
        overall: (2,) the weight of the score less its mean, and that mean.
        next: (2,) the same at the other horizon.
    """

    share: NDArray[np.float64]
    item_shares: NDArray[np.float64]
    weights: NDArray[np.float64]
    overall: NDArray[np.float64]
    next: NDArray[np.float64]

    @classmethod
    def fit(
        cls, train: Histories, validation: Histories, n_items: int, positive_from: float, scores: Scores
    ) -> Calibration | None:
        """Return the calibration; None where nearly all ratings, or nearly none, are positive.

        Args:
            train: Training users.
            validation: Validation users.
            n_items: N.
            positive_from: The lowest positive value.
            scores: Scores users and items.
        """
        share, item_shares = _item_shares(train, n_items, positive_from)
        known, later, wanted = later_ratings(train.sample(_MAX_TRAIN, 0), positive_from)
        checked = later_ratings(validation, positive_from)
        if min(*np.bincount(wanted, minlength=2), *np.bincount(checked[2], minlength=2)) < _FEWEST:
            return None
        none = np.zeros(2)
        found = cls(np.array([share]), item_shares, np.zeros(3), none, none)
        weights = _logistic(found._features(known, later, positive_from), wanted)
        known, later, wanted = checked
        fixed = found._features(known, later, positive_from) @ weights
        of_score = {}
        for horizon in get_args(Horizon):
            given = scores(known, later, horizon).astype(np.float64)
            [weight] = _logistic((given - given.mean())[:, None], wanted, fixed)
            of_score[horizon] = np.array([weight, given.mean()])
        return replace(found, weights=weights, **of_score)

    def _features(self, known: Histories, later: Histories, positive_from: float) -> NDArray[np.float64]:
        """Return 1 and the logits of the shares of the items and of their users, (T, 3)."""
        of_users = self.user_shares(known, positive_from)[later.owners]
        of_items = self.item_shares[later.items]
        return np.column_stack([np.ones(len(of_items)), _logit(of_items), _logit(of_users)])

    def user_shares(self, histories: Histories, positive_from: float) -> NDArray[np.float64]:
        """Return the share of positives (B,) of users; without a rating that of all."""
        rated = histories.once()
        rated = rated.keep(np.isfinite(rated.ratings))
        positive = np.bincount(rated.owners, rated.ratings >= positive_from, len(rated))
        return np.asarray((positive + _PRIOR_OF_USER * self.share) / (rated.lengths + _PRIOR_OF_USER))

    def probabilities(
        self,
        scores: NDArray[np.floating[Any]],
        items: NDArray[np.integer[Any]],
        user_shares: NDArray[np.float64],
        horizon: Horizon,
    ) -> NDArray[np.float32]:
        """Return the probability of pairs of user and item, in arrays of any shape, all the same.

        Args:
            scores: Inner products.
            items: Item indices.
            user_shares: Of `user_shares`.
            horizon: That of the scores.
        """
        weight, mean = getattr(self, horizon)
        logits = self.weights[0] + weight * (scores.astype(np.float64) - mean)
        logits += self.weights[1] * _logit(self.item_shares[items]) + self.weights[2] * _logit(user_shares)
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)

    def with_items(self, rows: NDArray[np.int64]) -> Calibration:
        """Return the calibration of other items: the old row of each, -1 for a new one, which has the share of all."""
        return replace(self, item_shares=np.where(rows >= 0, self.item_shares[rows], self.share))

    def save(self, path: Path) -> None:
        """Write the calibration to ``path``."""
        save_file({one.name: getattr(self, one.name) for one in fields(self)}, path)

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read what ``save`` wrote.

        Raises:
            FormatError: It is missing or damaged.
        """
        arrays, _ = read_arrays(path, TRAIN_AGAIN)
        check_shapes(path, arrays, SHAPES, TRAIN_AGAIN)
        found = cls(**arrays)
        shares = np.concatenate([found.share, found.item_shares])
        if not ((shares > 0) & (shares < 1)).all():
            raise damaged(path, "shares of positives out of range", "shares between 0 and 1", TRAIN_AGAIN)
        return found


def _item_shares(train: Histories, n_items: int, positive_from: float) -> tuple[float, NDArray[np.float64]]:
    """Return the share of positives of all ratings, and (N,) that of each item, drawn towards it."""
    rated = train.once()
    rated = rated.keep(np.isfinite(rated.ratings))
    count = np.bincount(rated.items, minlength=n_items)
    positive = np.bincount(rated.items[rated.ratings >= positive_from], minlength=n_items)
    share = float(positive.sum() / max(count.sum(), 1))
    return share, np.asarray((positive + _PRIOR_OF_ITEM * share) / (count + _PRIOR_OF_ITEM))


def later_ratings(
    histories: Histories, positive_from: float
) -> tuple[Histories, Histories, NDArray[np.bool_]]:
    """Return the known part of each history, its later ratings, and which of these are positive, (T,)."""
    once = histories.once()
    position = np.arange(len(once.items)) - np.repeat(once.offsets[:-1], once.lengths)
    known = position < np.repeat(np.ceil(_KNOWN * once.lengths), once.lengths)
    later = once.keep(~known & np.isfinite(once.ratings))
    return once.keep_alone(known), later, later.ratings >= positive_from


def _logit(shares: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    inside = np.clip(np.asarray(shares, np.float64), 1e-3, 1 - 1e-3)
    return np.asarray(np.log(inside / (1 - inside)))


def _logistic(
    features: NDArray[np.float64], wanted: NDArray[np.bool_], fixed: NDArray[np.float64] | float = 0.0
) -> NDArray[np.float64]:
    """Return the weights (F,) of a logistic regression on features (T, F), with a fixed part of the logit (T,)."""
    weights = np.zeros(features.shape[1])
    for _ in range(_STEPS):
        found = 1 / (1 + np.exp(-(features @ weights + fixed)))
        slope = features.T @ (wanted - found) - _RIDGE * weights
        curvature = (features * (found * (1 - found))[:, None]).T @ features + _RIDGE * np.eye(len(weights))
        weights = weights + np.linalg.solve(curvature, slope)
    return weights

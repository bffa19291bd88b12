"""The value scale: the kind of feedback, the range of its values, and the value from which an interaction is positive."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.data.files import damaged
from tastevec.errors import SettingsError
from tastevec.schema import POSITIVE_FROM

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.schema import FeedbackKind

TOUCHED: Final = 0.5  # the share of an interaction that is neither positive nor negative
_FEWEST_UNITS = 4  # of a scale on which users rate in whole numbers
_STRENGTH_BINS = 20  # of feedback without a scale of its own
_MAX = float(np.finfo(np.float32).max)
_MIN_DIVISOR = 1e-5  # the research note's: deviations of users whose ratings hardly differ are 0


@dataclass(frozen=True)
class ValueScale:
    """The values of interactions; an interaction is positive when its value is at least ``positive_from``.

    Attributes:
        kind: Explicit: a rating from ``low`` to ``high``. Implicit: 1 for each time. Weighted: a count or an amount. Events:
            the weight of the event. A value below 0 of the last three is negative.
        low: The lowest value.
        high: The highest value.
        positive_from: The lowest positive value.
        top: The 99.9th percentile of the values of training users; of explicit feedback, ``high``.
        n_bins: Number of rating bins, into which the encoder reads `share`.

    Raises:
        SettingsError: ``low`` is not below ``high`` (of explicit feedback), ``positive_from`` is not above ``low`` and at
            most ``high`` (else: not above 0), or ``n_bins`` is below 2.
    """

    kind: FeedbackKind
    low: float
    high: float
    positive_from: float
    top: float
    n_bins: int

    def __post_init__(self) -> None:
        numbers = (self.low, self.high, self.positive_from, self.top)
        if not all(map(math.isfinite, numbers)) or self.n_bins < 2:  # noqa: PLR2004  one bin holds no information
            raise SettingsError(f"value scale: {self}. Expected finite numbers and 2 bins or more.")
        if self.kind == "explicit" and not self.low < self.positive_from <= self.high:
            raise SettingsError(
                f"positive_from: {self.positive_from:g}. Expected a rating above {self.low:g}, up to {self.high:g}."
            )
        if self.kind != "explicit" and not self.positive_from > 0:
            raise SettingsError(f"positive_from: {self.positive_from:g}. Expected a number above 0.")

    @classmethod
    def explicit(cls, low: float, high: float, positive_from: float | None = None) -> ValueScale:
        """Return a rating scale with one bin per half star, at least 5 and at most 20 bins.

        By default a rating is positive from three quarters of the scale on: 4 stars on every MovieLens scale.

        Examples:
            >>> [ValueScale.explicit(*scale).n_bins for scale in ((1, 5), (0.5, 5), (0, 100))]
            [9, 10, 20]
            >>> ValueScale.explicit(1, 5).positive_from, ValueScale.explicit(1, 10).positive_from
            (4.0, 7.75)
        """
        if not low < high:
            raise SettingsError(f"rating range {low:g}:{high:g}. Expected LOW:HIGH, the lowest rating first.")
        limit = _default_positive(low, high) if positive_from is None else positive_from
        bins = int(np.clip(round((high - low) / 0.5) + 1, 5, 20))
        return cls("explicit", float(low), float(high), float(limit), float(high), bins)

    @classmethod
    def strength(
        cls, kind: FeedbackKind, *, positive_from: float, top: float, low: float = 0.0
    ) -> ValueScale:
        """Return the scale of implicit, weighted or event feedback, whose values have no upper limit of their own."""
        return cls(kind, low, top, positive_from, max(top, positive_from), _STRENGTH_BINS)

    def share(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how positive each value is, (M,) float32 in [0, 1]; NaN (touched, without a value) stays NaN.

        Explicit: linear from ``low`` (0) to ``positive_from`` (0.75) to ``high`` (1). Others: 0 below 0, 0.5 below
        ``positive_from``, then 0.75 at ``positive_from`` to 1 at ``top``, by the logarithm of the value.

        Examples:
            >>> ValueScale.explicit(1, 5).share(np.array([1, 3, 5, np.nan], np.float32))
            array([0. , 0.5, 1. , nan], dtype=float32)
            >>> plays = ValueScale.strength("weighted", positive_from=1, top=100)
            >>> plays.share(np.array([-1, 0, 1, 10, 1000], np.float32))
            array([0.   , 0.5  , 0.75 , 0.875, 1.   ], dtype=float32)
        """
        if self.kind == "explicit":
            return self._rating_share(values)
        share = POSITIVE_FROM + (1 - POSITIVE_FROM) * self.position(values)
        others = np.where(values < 0, 0.0, np.where(np.isnan(values), np.nan, TOUCHED))
        return np.asarray(np.where(self.positive(values), share, others), np.float32)

    def _rating_share(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.has_default_positive:
            return np.asarray(self.position(values), np.float32)
        below = POSITIVE_FROM * (values - self.low) / (self.positive_from - self.low)
        if self.positive_from == self.high:
            return np.asarray(np.where(values >= self.high, 1.0, below), np.float32)
        span = self.high - self.positive_from
        above = POSITIVE_FROM + (1 - POSITIVE_FROM) * (values - self.positive_from) / span
        return np.asarray(np.where(values >= self.positive_from, above, below), np.float32)

    def position(self, values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Return where each value is on an axis from 0 to 1; NaN stays NaN.

        Explicit: linear from ``low`` to ``high``. Others: logarithmic from ``positive_from`` to ``top``; 1 where both are equal.
        """
        if self.kind == "explicit":
            return np.asarray((values - self.low) / (self.high - self.low))
        span = math.log(self.top / self.positive_from)
        ratio = np.maximum(values, self.positive_from) / self.positive_from
        return np.clip(
            np.asarray(np.log(ratio) / span if span > 0 else np.ones_like(values), np.float64), 0, 1
        )

    def at_position(self, positions: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Return the value at each position: the inverse of `position`."""
        if self.kind == "explicit":
            return np.asarray(self.low + positions * (self.high - self.low))
        return np.asarray(self.positive_from * (self.top / self.positive_from) ** positions)

    def normalize(self, values: NDArray[np.float32], offsets: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the normalized ratings (M,) in [-1, 1], 0 without a value.

        Explicit: per user, by `normalize_ratings`. Others: 2 share - 1, since a user's own scale is 0 where all values are alike.

        Args:
            values: (M,) values, user by user.
            offsets: (B + 1,) the rows of each user.
        """
        if self.kind == "explicit":
            return normalize_ratings(values, offsets)
        return np.nan_to_num(2 * self.share(values) - 1, nan=0.0)

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest valid value: of explicit feedback the range, else any finite number."""
        return (self.low, self.high) if self.kind == "explicit" else (-_MAX, _MAX)

    @property
    def has_default_positive(self) -> bool:
        """Whether ratings are positive from three quarters of the range on: the share is then linear."""
        return self.positive_from == _default_positive(self.low, self.high)

    @property
    def step(self) -> float:
        """The step in which a user rates: halves on a scale that begins with one, else units; of short scales, the bins.

        Examples:
            >>> [ValueScale.explicit(*scale).step for scale in ((0.5, 5), (1, 5), (0, 100), (0, 1))]
            [0.5, 1.0, 1.0, 0.25]
        """
        if not (self.low.is_integer() and self.high.is_integer()):
            return 0.5
        return 1.0 if self.high - self.low >= _FEWEST_UNITS else (self.high - self.low) / (self.n_bins - 1)

    def bin_shares(self) -> NDArray[np.float32]:
        """Return the share of each bin, (n_bins,), ascending."""
        if self.kind == "explicit" and self.has_default_positive:
            # Through the ratings of the bins, so that both have the same share, to the bit.
            return self.share(np.linspace(self.low, self.high, self.n_bins).astype(np.float32))
        return np.linspace(0, 1, self.n_bins).astype(np.float32)

    def bin_values(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the rating bin of each value, in [0, n_bins - 1]; ``n_bins`` for interactions without a value (NaN).

        Examples:
            >>> ValueScale.explicit(0.5, 5).bin_values(np.array([0.5, 4.0, 5.0, np.nan], np.float32))
            array([ 0,  7,  9, 10])
        """
        share = np.nan_to_num(self.share(values), nan=0.0)
        bins = np.rint(share * (self.n_bins - 1)).astype(np.int64)
        return np.where(np.isnan(values), self.n_bins, bins)

    def positive(self, values: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which values are positive, (M,); NaN is not."""
        return values >= np.float32(self.positive_from)


def normalize_ratings(ratings: NDArray[np.float32], offsets: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return each user's ratings on the research note's scale: -1 the most disliked, 0 the mean, +1 the most liked.

    The user's mean is subtracted; positive deviations are divided by the largest, negative ones by the size of
    the most negative; a deviation whose divisor is below 1e-5 becomes 0. Tag-only interactions (NaN) become 0.

    Args:
        ratings: (M,) ratings, NaN in tag-only interactions.
        offsets: (B + 1,) the rows of each user.

    Returns:
        (M,) float32 in [-1, 1].

    Source: the research note, section 3 of its notebook.

    Examples:
        >>> normalize_ratings(np.array([5, 3, 2, 4, 4], np.float32), np.array([0, 3, 5]))
        array([ 1.  , -0.25, -1.  ,  0.  ,  0.  ], dtype=float32)
    """
    lengths = np.diff(offsets)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    rated = np.isfinite(ratings)
    values = np.where(rated, ratings, 0.0).astype(np.float64)
    counts = np.bincount(owners, weights=rated, minlength=len(lengths))
    sums = np.bincount(owners, weights=values, minlength=len(lengths))
    deviations = np.where(rated, values - (sums / np.maximum(counts, 1))[owners], 0.0)
    highest, lowest = np.zeros(len(lengths)), np.zeros(len(lengths))
    np.maximum.at(highest, owners, deviations)
    np.minimum.at(lowest, owners, deviations)
    divisors = np.where(deviations > 0, highest[owners], -lowest[owners])
    scaled = np.divide(deviations, divisors, out=np.zeros_like(deviations), where=divisors >= _MIN_DIVISOR)
    return scaled.astype(np.float32)


def restored_scale(fields: Mapping[str, Any], path: Path, repair: str) -> ValueScale:
    """Return the value scale of these fields of a manifest.

    Raises:
        FormatError: They contradict each other.
    """
    try:
        return ValueScale(**fields)
    except SettingsError as error:
        raise damaged(path, str(error), "the value scale as written", repair) from error


def _default_positive(low: float, high: float) -> float:
    return low + POSITIVE_FROM * (high - low)


HALF_STARS: Final = ValueScale.explicit(0.5, 5.0)

"""Encoder inputs: ratings and timestamps of a history as normalized ratings, rating bins and time gap bins.

Dimensions: B people, L films of the longest history, M interactions in all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.errors import SettingsError
from tastevec.schema import POSITIVE_FROM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

__all__ = [
    "FIRST_TIME_GAP_BIN",
    "N_TIME_GAP_BINS",
    "UNKNOWN_TIME_GAP_BIN",
    "InputConfig",
    "RatingScale",
    "bin_time_gaps",
    "positive_from",
]

N_TIME_GAP_BINS = 25  # none, 1 s, 2 s, 4 s, ... 24 days and more; the first film; unknown
FIRST_TIME_GAP_BIN, UNKNOWN_TIME_GAP_BIN = N_TIME_GAP_BINS - 2, N_TIME_GAP_BINS - 1


def positive_from(rating_range: tuple[float, float]) -> float:
    """The rating from which a film is liked: 4 stars on every MovieLens scale.

    Examples:
        >>> positive_from((1, 5)), positive_from((0.5, 5))  # there is no rating between 3.875 and 4
        (4.0, 3.875)
    """
    low, high = rating_range
    return low + POSITIVE_FROM * (high - low)


def bin_time_gaps(histories: Histories) -> NDArray[np.int64]:
    """(M,) how long after a person's film before it each film came, in [0, ``N_TIME_GAP_BINS`` - 1].

    0 within the same second, then a level for each doubling from one second on, the last of them open; a person's first
    film and films of unknown time have levels of their own.

    Examples:
        >>> from tastevec.data.histories import Histories
        >>> timestamps = np.array([100, 100, 101, 104, -1])
        >>> flat = {name: np.zeros(5) for name in ("items", "ratings", "normalized_ratings")}
        >>> bin_time_gaps(Histories(user_ids=np.array([7]), offsets=np.array([0, 5]), timestamps=timestamps, **flat))
        array([23,  0,  1,  2, 24])
    """
    timestamps = np.asarray(histories.timestamps)
    passed = np.diff(timestamps, prepend=timestamps[:1])
    doublings = np.log2(np.maximum(passed, 1)).astype(np.int64)
    levels = np.where(passed <= 0, 0, np.minimum(1 + doublings, FIRST_TIME_GAP_BIN - 1))
    unknown = timestamps == NO_TIMESTAMP
    levels[1:][unknown[:-1]] = UNKNOWN_TIME_GAP_BIN
    levels[histories.offsets[:-1][histories.lengths > 0]] = FIRST_TIME_GAP_BIN  # whoever stands before him
    levels[unknown] = UNKNOWN_TIME_GAP_BIN
    return levels


@dataclass(frozen=True)
class RatingScale:
    """The range of ratings and how many levels an encoder tells apart.

    Raises:
        SettingsError: ``low`` is not below ``high``, or ``levels`` is under 2.
    """

    low: float
    high: float
    levels: int = 10

    def __post_init__(self) -> None:
        if not self.low < self.high or self.levels < 2:  # noqa: PLR2004  one level would tell nothing apart
            raise SettingsError(
                f"a rating scale of {self} tells nothing apart; expected low < high and 2 levels or more"
            )

    @classmethod
    def of(cls, rating_range: tuple[float, float]) -> RatingScale:
        """A scale with a level for each half star, or for each of 5 to 20 equal steps where ratings are no stars.

        Examples:
            >>> RatingScale.of((1, 5)).levels, RatingScale.of((0.5, 5)).levels, RatingScale.of((0, 100)).levels
            (9, 10, 20)
        """
        low, high = rating_range
        return cls(low, high, int(np.clip(round((high - low) / 0.5) + 1, 5, 20)))

    def bin_ratings(self, ratings: NDArray[np.float32]) -> NDArray[np.int64]:
        """Each rating's level in [0, levels - 1]; ``levels`` itself where a film was only tagged (NaN).

        Examples:
            >>> RatingScale(0.5, 5.0).bin_ratings(np.array([0.5, 4.0, 5.0, np.nan], np.float32))
            array([ 0,  7,  9, 10])
        """
        share = (np.nan_to_num(ratings, nan=self.low) - self.low) / (self.high - self.low)
        levels = np.rint(share * (self.levels - 1)).astype(np.int64)
        return np.where(np.isnan(ratings), self.levels, levels)

    def positive(self, ratings: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which ratings say that the film was liked: four stars and more on MovieLens' scales; never NaN."""
        return ratings >= positive_from((self.low, self.high))


@dataclass(frozen=True)
class InputConfig:
    """The layout that one trained encoder expects; saved with it.

    Attributes:
        scale: The range of ratings.
        max_history: L at most.
        order: Films by ``time``, or by ``item`` (the note's).
        truncate: Which end of a longer history is read.
        pad: Up to the ``longest`` history of the batch, or always to the ``full`` ``max_history``: an encoder that
            sees its padding (the note's) answers differently for each length of it.
        max_history_overall: Films of a person, the newest, that are read as a set, without order; 0 where no set is read.
    """

    scale: RatingScale
    max_history: int
    order: Literal["time", "item"] = "time"
    truncate: Literal["newest", "oldest"] = "newest"
    pad: Literal["longest", "full"] = "longest"
    max_history_overall: int = 0

    def cut(self, histories: Histories) -> Histories:
        """The films that are read, in the order in which they are read."""
        if self.order == "item":
            rows = np.lexsort((histories.items, histories.owners))
            histories = replace(
                histories,
                items=histories.items[rows],
                ratings=histories.ratings[rows],
                normalized_ratings=histories.normalized_ratings[rows],
                timestamps=histories.timestamps[rows],
            )
        if self.truncate == "newest":
            return histories.last(self.max_history)
        place = np.arange(len(histories.items)) - histories.offsets[histories.owners]
        return histories.keep(place < self.max_history)

    def arrays(self, histories: Histories) -> dict[str, NDArray[Any]]:
        """The encoder's arguments for B histories, padded on the right.

        Returns:
            Those of `in_order`; and where a set is read ``overall_items`` (B, S), ``overall_rating_bins`` (B, S) and ``overall_lengths``
            (B,) too.
        """
        arrays = self.in_order(histories)
        if self.max_history_overall:
            as_set = histories.last(self.max_history_overall)
            read: dict[str, NDArray[Any]] = {
                "items": as_set.items,
                "rating_bins": self.scale.bin_ratings(as_set.ratings),
            }
            arrays |= {
                f"overall_{name}": array for name, array in _padded(as_set.lengths, None, read).items()
            }
        return arrays

    def in_order(self, histories: Histories) -> dict[str, NDArray[Any]]:
        """What is read in order, padded on the right.

        Returns:
            ``items`` (B, L) int64, ``normalized_ratings`` (B, L) float32, ``rating_bins`` and ``time_gap_bins`` (B, L) int64, ``lengths`` (B,)
            int64.
        """
        known = self.cut(histories)
        read: dict[str, NDArray[Any]] = {
            "items": known.items,
            "normalized_ratings": known.normalized_ratings,
            "rating_bins": self.scale.bin_ratings(known.ratings),
            "time_gap_bins": bin_time_gaps(known),
        }
        return _padded(known.lengths, self.max_history if self.pad == "full" else None, read)


def _padded(
    lengths: NDArray[np.int64], width: int | None, flat: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Each of the flat arrays as rows of a person up to ``width``, or up to the longest history; and the lengths."""
    filled = np.arange(width or max(int(lengths.max(initial=0)), 1)) < lengths[:, None]  # (B, L)
    rows: dict[str, NDArray[Any]] = {"lengths": lengths}
    for name, values in flat.items():
        rows[name] = np.zeros(filled.shape, np.float32 if name == "normalized_ratings" else np.int64)
        rows[name][filled] = values
    return rows

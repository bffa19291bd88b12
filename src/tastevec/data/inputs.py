"""Encoder inputs: ratings and timestamps of a history as normalized ratings, rating bins and time gap bins.

Dimension letters: B users, L interactions of the longest history, S interactions of the longest order-free history, M interactions in all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tastevec.data.histories import ARRAY_DTYPES, NO_TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.value_scale import ValueScale

N_TIME_GAP_BINS = 25  # none, 1 s, 2 s, 4 s, ... 24 days and more; first interaction; unknown
FIRST_TIME_GAP_BIN, UNKNOWN_TIME_GAP_BIN = N_TIME_GAP_BINS - 2, N_TIME_GAP_BINS - 1


def bin_time_gaps(histories: Histories) -> NDArray[np.int64]:
    """Return the bin of the time since the user's previous interaction, (M,) in [0, ``N_TIME_GAP_BINS`` - 1].

    0 is within the same second, then one bin per doubling from one second on, the last one open; a user's first
    interaction and unknown timestamps have their own bins.

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
    bins = np.where(passed <= 0, 0, np.minimum(1 + doublings, FIRST_TIME_GAP_BIN - 1))
    unknown = timestamps == NO_TIMESTAMP
    bins[1:][unknown[:-1]] = UNKNOWN_TIME_GAP_BIN
    first = histories.offsets[:-1][histories.lengths > 0]
    bins[first] = FIRST_TIME_GAP_BIN  # whatever the previous user's timestamps are
    bins[unknown] = UNKNOWN_TIME_GAP_BIN
    return bins


@dataclass(frozen=True)
class InputConfig:
    """The input layout of a trained encoder; saved with it.

    Attributes:
        scale: The value scale.
        max_history: The maximum of L.
        order: Interactions by ``time``, or by ``item`` (the research note's).
        truncate: The end of a longer history that is kept.
        pad: To the ``longest`` history of the batch, or always to the ``full`` ``max_history``. The output of an encoder
            that attends to padding (the research note's) depends on its length.
        max_history_overall: The newest interactions of a user that are read without order; 0 reads none.
    """

    scale: ValueScale
    max_history: int
    order: Literal["time", "item"] = "time"
    truncate: Literal["newest", "oldest"] = "newest"
    pad: Literal["longest", "full"] = "longest"
    max_history_overall: int = 0

    def select(self, histories: Histories) -> Histories:
        """Return the interactions that the encoder reads, in its order."""
        if self.order == "item":
            histories = histories.once()
            rows = np.lexsort((histories.items, histories.owners))
            flat: dict[str, Any] = {name: getattr(histories, name)[rows] for name in ARRAY_DTYPES}
            histories = replace(histories, **flat)
        if self.truncate == "newest":
            return histories.last(self.max_history)
        position = np.arange(len(histories.items)) - histories.offsets[histories.owners]
        return histories.keep(position < self.max_history)

    def arrays(self, histories: Histories) -> dict[str, NDArray[Any]]:
        """Return the encoder inputs of B histories, padded on the right.

        These are the arrays of `sequence_arrays`; and with ``max_history_overall``, or where items repeat, also ``overall_items``
        and ``overall_rating_bins`` (B, S), each item once, and ``overall_lengths`` (B,).
        """
        arrays = self.sequence_arrays(histories)
        if most := self.max_history_overall or (histories.repeats is not None and self.max_history):
            newest = histories.once().last(most)
            rating_bins = self.scale.bin_values(newest.ratings)
            padded = _padded(newest.lengths, None, {"items": newest.items, "rating_bins": rating_bins})
            arrays |= {f"overall_{name}": array for name, array in padded.items()}
        return arrays

    def sequence_arrays(self, histories: Histories) -> dict[str, NDArray[Any]]:
        """Return the inputs of the ordered interactions, padded on the right.

        ``items``, ``rating_bins`` and ``time_gap_bins`` are (B, L) int64, ``normalized_ratings`` (B, L) float32, and
        ``lengths`` (B,) int64.
        """
        selected = self.select(histories)
        flat: dict[str, NDArray[Any]] = {
            "items": selected.items,
            "normalized_ratings": selected.normalized_ratings,
            "rating_bins": self.scale.bin_values(selected.ratings),
            "time_gap_bins": bin_time_gaps(selected),
        }
        return _padded(selected.lengths, self.max_history if self.pad == "full" else None, flat)


def _padded(
    lengths: NDArray[np.int64], width: int | None, flat: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Return the flat arrays as one padded row per user, of ``width`` or of the longest history, and the lengths."""
    filled = np.arange(width or max(int(lengths.max(initial=0)), 1)) < lengths[:, None]  # (B, L)
    rows: dict[str, NDArray[Any]] = {"lengths": lengths}
    for name, values in flat.items():
        rows[name] = np.zeros(filled.shape, np.float32 if name == "normalized_ratings" else np.int64)
        rows[name][filled] = values
    return rows

"""Top-k selection: the k best items of each row of scores, input items excluded.

Dimension letters: B users, N items, K places of a ranking, T hidden films, S strands, C candidates of a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tastevec.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

__all__ = ["rank_items", "top_k"]

_CELLS = 1 << 20  # scores ranked at once: 4 MB, which stays in the processor's cache through all passes


_STRANDS = 1024


def rank_items(
    scores: NDArray[np.float32],
    known: Histories,
    k: int,
    candidates: NDArray[np.bool_] | None = None,
    *,
    overwrite_scores: bool = False,
) -> NDArray[np.int64]:
    """(B, K) each person's best films out of the full catalogue minus his own, best first.

    Equal scores stand in the order of the catalogue. Beside the scores, memory is bounded by a few million cells, however
    many people there are.

    Args:
        scores: (B, N) one row a person of ``known``, higher is better.
        known: The films that are left out.
        k: Places of the ranking; fewer where the catalogue is smaller.
        candidates: (N,) the films that may stand in it; None is all.
        overwrite_scores: Spare a copy: the scores of films that may not stand in it become minus infinity. Otherwise
            the scores are left as they are.

    Returns:
        Item indices; -1 fills the places of a person who has fewer films left.

    Raises:
        DataError: A score is not a finite number.

    Examples:
        >>> from tastevec.data.histories import Histories
        >>> one = np.ones(1, np.float32)
        >>> known = Histories(np.array([7]), np.array([0, 1]), np.array([2], np.int32), one, one, np.array([0]))
        >>> rank_items(np.array([[0.1, 0.5, 0.9, 0.5]], np.float32), known, 4)  # item 2 is his own; 1 and 3 tie
        array([[ 1,  3,  0, -1]])
    """
    ranked = np.empty((len(scores), min(k, scores.shape[1])), np.int64)
    rows = max(1, _CELLS // scores.shape[1])
    for start in range(0, len(scores), rows):
        block = scores[start : start + rows]
        block = block if overwrite_scores else np.array(block)
        if not np.isfinite(block).all():
            raise _no_number(block, known.user_ids[start:])
        own = slice(known.offsets[start], known.offsets[start + len(block)])
        owners = np.repeat(np.arange(len(block)), known.lengths[start : start + len(block)])
        block[owners, known.items[own]] = -np.inf
        if candidates is not None:
            block[:, ~candidates] = -np.inf
        best = top_k(block, k)
        ranked[start : start + rows] = np.where(np.isneginf(np.take_along_axis(block, best, 1)), -1, best)
    return ranked


def _no_number(scores: NDArray[np.float32], user_ids: NDArray[np.generic]) -> DataError:
    user, item = np.argwhere(~np.isfinite(scores))[0]
    return DataError(
        f"the score of item {item} for user {user_ids[user]} is {scores[user, item]}; expected a finite number; "
        "check the system that made the scores"
    )


def top_k(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """(B, K) the columns of the K highest scores, best first; equal scores stand in the order of their columns.

    The same as a stable sort of each whole row, much sooner: columns are dealt out to at least K strands, and K of
    these hold a score as high as the K-th highest of their maxima, so that nothing below that bound can be among the
    K highest. Little passes it, and only that is sorted.

    Args:
        scores: (B, N) float32 without NaN.
        k: K; fewer where there are fewer columns.

    Examples:
        >>> top_k(np.array([[3, 9, 3, 3, 5]], np.float32), 3)
        array([[1, 4, 0]])
    """
    k = min(k, scores.shape[1])
    highest = _strand_maxima(scores, max(k, _STRANDS))  # (B, S)
    bound = np.partition(highest, highest.shape[1] - k, axis=1)[:, highest.shape[1] - k, None]  # (B, 1)
    passed = np.flatnonzero(scores >= bound)  # flat places, row by row
    edges = np.searchsorted(passed, np.arange(len(scores) + 1) * scores.shape[1])
    counts = np.diff(edges)
    rows = np.repeat(np.arange(len(scores)), counts)
    keys = np.full((len(scores), counts.max(initial=k)), np.iinfo(np.int64).max)  # (B, C)
    room = np.arange(len(passed)) - edges[rows] + rows * keys.shape[1]
    keys.put(room, _descending(scores.take(passed)) | (passed - rows * scores.shape[1]))
    return np.sort(np.partition(keys, k - 1, axis=1)[:, :k], axis=1) & 0xFFFFFFFF


def _strand_maxima(scores: NDArray[np.float32], strands: int) -> NDArray[np.float32]:
    """(B, S) the highest score of every S-th column; what is left over at the end is in no strand."""
    turns = scores.shape[1] // strands
    if turns < 2:  # noqa: PLR2004  a strand of one film saves nothing
        return scores
    return np.asarray(scores[:, : turns * strands].reshape(len(scores), turns, strands).max(axis=1))


def _descending(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Numbers whose upper 32 bits ascend as the values descend; the lower 32 are 0, with room for a column.

    The bits of positive floats ascend as the floats do, those of negative ones the other way round (IEEE 754).
    """
    bits = (values + np.float32(0)).view(np.int32)  # -0 + 0 is 0: the two zeros are equal
    ascending = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    return (~ascending).astype(np.int64) << 32

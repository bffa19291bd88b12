"""Rankings: each person's best films, and how well they find the hidden ones.

Dimension letters: B users, N items, K places of a ranking, T hidden films, S strands, C candidates of a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tastevec.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

__all__ = ["hit_rate", "hits", "hits_at", "mrr", "ndcg", "places_of", "rank_unseen", "recall", "top_k"]

_CELLS = 1 << 20  # scores ranked at once: 4 MB, which stays in the processor's cache through all passes
_STRANDS = 1024


def rank_unseen(
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
        >>> rank_unseen(np.array([[0.1, 0.5, 0.9, 0.5]], np.float32), known, 4)  # film 2 is his own; 1 and 3 tie
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


def places_of(
    ranked: NDArray[np.integer], offsets: NDArray[np.int64], targets: NDArray[np.int32], item_count: int
) -> NDArray[np.int64]:
    """(T,) the place of each hidden film in its person's ranking, from 0; K where it is not there.

    Args:
        ranked: (B, K) item indices, each at most once a row; -1 for an empty place.
        offsets: (B + 1,) person b's hidden films are ``targets[offsets[b]:offsets[b + 1]]``.
        targets: (T,) item indices.
        item_count: N.

    Examples:
        >>> places_of(np.array([[4, 2, 0], [1, 3, -1]]), np.array([0, 2, 3]), np.array([0, 1, 3]), 5)
        array([2, 3, 1])
    """
    users, depth = ranked.shape
    # The last column stands for the empty place, -1.
    places = np.full((users, item_count + 1), depth, np.min_scalar_type(depth))
    np.put_along_axis(places, ranked % (item_count + 1), np.arange(depth, dtype=places.dtype)[None], axis=1)
    return places[np.repeat(np.arange(users), np.diff(offsets)), targets].astype(np.int64)


def hits(
    ranked: NDArray[np.integer], offsets: NDArray[np.int64], targets: NDArray[np.int32], item_count: int
) -> NDArray[np.bool_]:
    """(B, K) whether each place of a ranking holds a hidden film; the arguments are those of `places_of`.

    Examples:
        >>> hits(np.array([[4, 2, 0], [1, 3, -1]]), np.array([0, 2, 3]), np.array([0, 2, 3]), 5)
        array([[False,  True,  True],
               [False,  True, False]])
    """
    return hits_at(places_of(ranked, offsets, targets, item_count), offsets, ranked.shape[1])


def hits_at(places: NDArray[np.int64], offsets: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """(B, K) whether a hidden film stands at each place, from the place of each of them (T,), K where it has none.

    Examples:
        >>> hits_at(np.array([2, 1, 1, 3]), np.array([0, 2, 4]), 3)
        array([[False,  True,  True],
               [False,  True, False]])
    """
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    found = places < k
    hit = np.zeros((len(offsets) - 1, k), np.bool_)
    hit[owners[found], places[found]] = True
    return hit


def hit_rate(hit: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """(B,) HR@k: 1 where a hidden film stands among the first k, else 0.

    The success of information retrieval; where one film is hidden, recall is the same.

    Args:
        hit: (B, K) as `hits` gives it.
        k: The depth; a ranking may be shorter.

    Examples:
        >>> hit = np.array([[False, True, True], [False, False, False]])
        >>> hit_rate(hit, 1), hit_rate(hit, 2)
        (array([0., 0.]), array([1., 0.]))
    """
    return np.asarray(np.any(hit[:, :k], axis=1), np.float64)


def recall(hit: NDArray[np.bool_], hidden: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """(B,) R@k, from 0 to 1: hidden films among the first k, of those that could stand there.

    That is hits / min(k, hidden): of a person with more than k hidden films a perfect ranking has 1 too.

    Args:
        hit: (B, K) as `hits` gives it.
        hidden: (B,) hidden films of each person, at least 1.
        k: The depth; a ranking may be shorter.

    Source: Liang et al. 2018, "Variational Autoencoders for Collaborative Filtering", section 4.2.

    Examples:
        >>> hit = np.array([[False, True, True]])
        >>> recall(hit, np.array([4]), 3), recall(hit, np.array([4]), 2)  # 2 of min(3, 4); 1 of min(2, 4)
        (array([0.66666667]), array([0.5]))
    """
    return np.asarray(hit[:, :k].sum(axis=1) / np.minimum(k, hidden))


def ndcg(hit: NDArray[np.bool_], hidden: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """(B,) NDCG@k, from 0 to 1: each hit worth 1 / log2(place + 1), over the same of a perfect ranking.

    Args:
        hit: (B, K) as `hits` gives it.
        hidden: (B,) hidden films of each person, at least 1.
        k: The depth; a ranking may be shorter.

    Source: Järvelin & Kekäläinen 2002, "Cumulated Gain-Based Evaluation of IR Techniques", with gains of 0 and 1.

    Examples:
        >>> ndcg(np.array([[True, False, True]]), np.array([2]), 3)  # (1 + 1/2) / (1 + 1/log2(3))
        array([0.91972079])
    """
    worth = 1.0 / np.log2(np.arange(2, k + 2))  # (k,)
    perfect = np.cumsum(worth)[np.minimum(k, hidden) - 1]
    found = hit[:, :k]
    return np.asarray(found @ worth[: found.shape[1]] / perfect)


def mrr(hit: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """(B,) MRR@k, from 0 to 1: 1 / the place of the first hit among the first k; 0 without one.

    Args:
        hit: (B, K) as `hits` gives it.
        k: The depth; a ranking may be shorter.

    Source: Voorhees 1999, "The TREC-8 Question Answering Track Report".

    Examples:
        >>> hit = np.array([[False, True, True], [False, False, True]])
        >>> mrr(hit, 2)
        array([0.5, 0. ])
    """
    found = hit[:, :k]
    return np.where(found.any(axis=1), 1.0 / (found.argmax(axis=1) + 1), 0.0)

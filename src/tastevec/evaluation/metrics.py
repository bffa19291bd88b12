"""Metrics: how well a ranking or a vector finds hidden films, one number a person.

Dimension letters: B users, N items, D dimensions, K places of a ranking, T hidden films.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tastevec.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

__all__ = [
    "cosine_distance",
    "hit_rate",
    "hits",
    "mean_direction",
    "mean_of_targets",
    "mrr",
    "ndcg",
    "rank_unseen",
    "recall",
    "top_k",
    "unit_rows",
    "without_direction",
]

_LEAST_NORM = 1e-12


def rank_unseen(
    scores: NDArray[np.float32], known: Histories, k: int, candidates: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """(B, K) each person's best films out of the full catalogue minus his own, best first.

    Args:
        scores: (B, N) one row a person of ``known``, higher is better.
        known: The films that are left out.
        k: Places of the ranking; fewer where the catalogue is smaller.
        candidates: (N,) the films that may stand in it; None is all.

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
    if not np.isfinite(scores).all():
        user, item = np.argwhere(~np.isfinite(scores))[0]
        raise DataError(
            f"the score of item {item} for user {known.user_ids[user]} is {scores[user, item]}; expected a finite number; "
            "check the system that made the scores"
        )
    open_scores = np.array(scores)
    open_scores[known.owners, known.items] = -np.inf
    if candidates is not None:
        open_scores[:, ~candidates] = -np.inf
    best = top_k(open_scores, k)
    return np.where(np.isneginf(np.take_along_axis(open_scores, best, 1)), -1, best)


def top_k(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """(B, K) the columns of the K highest scores, best first; equal scores stand in the order of their columns.

    The same as a stable sort of the whole row, by one partial sort: everything above the K-th score is taken, and of
    what equals it the lowest columns.

    Examples:
        >>> top_k(np.array([[3, 9, 3, 3, 5]]), 3)
        array([[1, 4, 0]])
    """
    k = min(k, scores.shape[1])
    threshold = np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k, None]  # (B, 1)
    above, equal = scores > threshold, scores == threshold
    room = k - above.sum(axis=1, keepdims=True)
    kept = above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= room))
    columns = np.nonzero(kept)[1].reshape(len(scores), k)  # ascending, so that the stable sort settles ties
    values = np.take_along_axis(scores, columns, 1)
    return np.take_along_axis(columns, np.argsort(-values, axis=1, kind="stable"), 1)


def hits(
    ranked: NDArray[np.int64], offsets: NDArray[np.int64], targets: NDArray[np.int32], item_count: int
) -> NDArray[np.bool_]:
    """(B, K) whether each place of a ranking holds a hidden film.

    Args:
        ranked: (B, K) item indices, -1 for an empty place.
        offsets: (B + 1,) person b's hidden films are ``targets[offsets[b]:offsets[b + 1]]``.
        targets: (T,) item indices.
        item_count: N.

    Examples:
        >>> hits(np.array([[4, 2, 0], [1, 3, -1]]), np.array([0, 2, 3]), np.array([0, 2, 3]), 5)
        array([[False,  True,  True],
               [False,  True, False]])
    """
    hidden = np.zeros(
        (len(ranked), item_count + 1), np.bool_
    )  # the last column stands for the empty place, -1
    hidden[np.repeat(np.arange(len(ranked)), np.diff(offsets)), targets] = True
    return np.take_along_axis(hidden, ranked % (item_count + 1), 1)


def hit_rate(hit: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """(B,) 1 where a hidden film stands among the first k, else 0.

    Examples:
        >>> hit = np.array([[False, True, True], [False, False, False]])
        >>> hit_rate(hit, 1), hit_rate(hit, 2)
        (array([0., 0.]), array([1., 0.]))
    """
    return np.asarray(np.any(hit[:, :k], axis=1), np.float64)


def recall(hit: NDArray[np.bool_], hidden: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """(B,) hidden films among the first k, of those that could stand there: hits / min(k, hidden).

    Source: Liang et al. 2018, section 4.2.

    Examples:
        >>> hit = np.array([[False, True, True]])
        >>> recall(hit, np.array([4]), 3), recall(hit, np.array([4]), 2)  # 2 of min(3, 4); 1 of min(2, 4)
        (array([0.66666667]), array([0.5]))
    """
    return np.asarray(hit[:, :k].sum(axis=1) / np.minimum(k, hidden))


def ndcg(hit: NDArray[np.bool_], hidden: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """(B,) the hits among the first k, each worth 1 / log2(place + 1), over the same of a perfect ranking.

    Source: Järvelin & Kekäläinen 2002, with gains of 0 and 1.

    Examples:
        >>> ndcg(np.array([[True, False, True]]), np.array([2]), 3)  # (1 + 1/2) / (1 + 1/log2(3))
        array([0.91972079])
    """
    worth = 1.0 / np.log2(np.arange(2, k + 2))  # (k,)
    perfect = np.cumsum(worth)[np.minimum(k, hidden) - 1]
    found = hit[:, :k]
    return np.asarray(found @ worth[: found.shape[1]] / perfect)


def mrr(hit: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """(B,) 1 / the place of the first hit among the first k; 0 without one.

    Examples:
        >>> hit = np.array([[False, True, True], [False, False, True]])
        >>> mrr(hit, 2)
        array([0.5, 0. ])
    """
    found = hit[:, :k]
    return np.where(found.any(axis=1), 1.0 / (found.argmax(axis=1) + 1), 0.0)


def cosine_distance(left: NDArray[np.floating], right: NDArray[np.floating]) -> NDArray[np.float64]:
    """(T,) 1 - cosine of each row of ``left`` (T, D) with the same row of ``right``, from 0 to 2.

    scikit-learn's ``paired_cosine_distances``, where a vector of zeros is 1 from everything.

    Examples:
        >>> cosine_distance(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 2.0], [3.0, 3.0]])).round(6)
        array([1., 0.])
    """
    return np.asarray(1.0 - np.einsum("td,td->t", unit_rows(left), unit_rows(right)))


def mean_direction(item_vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """(D,) the direction that all films share: the mean of their unit vectors, at length 1.

    Each film of the catalogue (N, D) counts once, however popular it is, so that the direction does not depend on who
    trained or who is tested; films without a vector (a row of zeros) do not count.

    Examples:
        >>> mean_direction(np.array([[3.0, 4.0], [8.0, -6.0], [0.0, 0.0]])).round(4)  # (.6, .8) and (.8, -.6)
        array([0.9899, 0.1414])
    """
    shared = unit_rows(item_vectors).sum(axis=0)
    return np.asarray(unit_rows(shared[None])[0])


def without_direction(vectors: NDArray[np.floating], direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, D) what is left of each vector at right angles to a unit ``direction`` (D,).

    Taking the share along the direction, and not the mean itself, away leaves a vector's own length without effect.

    Examples:
        >>> without_direction(np.array([[5.0, 2.0]]), np.array([1.0, 0.0]))
        array([[0., 2.]])
    """
    return vectors - np.outer(vectors @ direction, direction)


def mean_of_targets(values: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """(B,) the mean of each person's hidden films' values (T,), NaN ones passed over; NaN where none is left.

    Examples:
        >>> mean_of_targets(np.array([1.0, 3.0, np.nan]), np.array([0, 2, 3]))
        array([ 2., nan])
    """
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    valid = np.isfinite(values)
    sums = np.bincount(owners[valid], weights=values[valid], minlength=len(offsets) - 1)
    counts = np.bincount(owners[valid], minlength=len(offsets) - 1)
    means = np.full(len(sums), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def unit_rows(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """(T, D) each row at length 1; a row of zeros stays.

    Examples:
        >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
        array([[0.6, 0.8],
               [0. , 0. ]])
    """
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    units = np.zeros_like(wide)
    np.divide(wide, norms, out=units, where=norms > _LEAST_NORM)
    return units

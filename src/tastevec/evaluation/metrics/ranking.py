"""Rankings: each person's best films, and how well they find the hidden ones.

Dimension letters: B users, N items, K places of a ranking, T hidden films, S strands, C candidates of a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


__all__ = ["hit_rate", "hits", "hits_at", "mrr", "ndcg", "places_of", "recall"]


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

"""Metrics of rankings, vectors and lists: one value per user, or one per system.

Dimension letters: B users, N items, D dimensions, K ranks, T held-out items. Arguments of several metrics:

- ``ranked``: (B, K) item indices, each at most once a row; -1 for none.
- ``offsets``: (B + 1,) the held-out items of user b are ``targets[offsets[b]:offsets[b + 1]]``.
- ``hit``: (B, K) as `hits_at` returns it; ``k`` is the depth, and a ranking may be shorter.
- ``held_out_items``: (B,) number of held-out items of each user, at least 1.
- ``raters``: (N,) number of training users who rated each item, at most the number of training users.
- ``counts``: (N,) number of recommendations of each item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ranks_of(
    ranked: NDArray[np.integer], offsets: NDArray[np.int64], targets: NDArray[np.int32], n_items: int
) -> NDArray[np.int64]:
    """(T,) rank of each held-out item (``targets``, (T,) item indices) in its user's list, from 0; K where it is absent.

    Examples:
        >>> ranks_of(np.array([[4, 2, 0], [1, 3, -1]]), np.array([0, 2, 3]), np.array([0, 1, 3]), 5)
        array([2, 3, 1])
    """
    users, depth = ranked.shape
    # The last column is for -1.
    ranks = np.full((users, n_items + 1), depth, np.min_scalar_type(depth))
    np.put_along_axis(ranks, ranked % (n_items + 1), np.arange(depth, dtype=ranks.dtype)[None], axis=1)
    return ranks[np.repeat(np.arange(users), np.diff(offsets)), targets].astype(np.int64)


def hits_at(ranks: NDArray[np.int64], offsets: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """(B, K) whether the item at each rank is held out, from the ranks (T,) of `ranks_of`.

    Examples:
        >>> hits_at(np.array([2, 1, 1, 3]), np.array([0, 2, 4]), 3)
        array([[False,  True,  True],
               [False,  True, False]])
    """
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    found = ranks < k
    hit = np.zeros((len(offsets) - 1, k), np.bool_)
    hit[owners[found], ranks[found]] = True
    return hit


def hit_rate(hit: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """(B,) HR@k: 1 where a held-out item is among the first k, else 0; with one held-out item, equal to recall.

    Examples:
        >>> hit = np.array([[False, True, True], [False, False, False]])
        >>> hit_rate(hit, 1), hit_rate(hit, 2)
        (array([0., 0.]), array([1., 0.]))
    """
    return np.asarray(np.any(hit[:, :k], axis=1), np.float64)


def recall(hit: NDArray[np.bool_], held_out_items: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """(B,) Recall@k (capped), from 0 to 1: hits / min(k, held-out items), so that a perfect ranking always has 1.

    Source: Liang et al. 2018, "Variational Autoencoders for Collaborative Filtering", section 4.2.

    Examples:
        >>> hit = np.array([[False, True, True]])
        >>> recall(hit, np.array([4]), 3), recall(hit, np.array([4]), 2)  # 2 of min(3, 4); 1 of min(2, 4)
        (array([0.66666667]), array([0.5]))
    """
    return np.asarray(hit[:, :k].sum(axis=1) / np.minimum(k, held_out_items))


def uncapped_recall(hit: NDArray[np.bool_], held_out_items: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """(B,) Recall@k (uncapped), from 0 to 1: hits / held-out items, at most k / held-out items.

    Examples:
        >>> hit = np.array([[False, True, True]])
        >>> uncapped_recall(hit, np.array([4]), 3), uncapped_recall(hit, np.array([4]), 2)  # 2 of 4; 1 of 4
        (array([0.5]), array([0.25]))
    """
    return np.asarray(hit[:, :k].sum(axis=1) / held_out_items)


def ndcg(hit: NDArray[np.bool_], held_out_items: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """(B,) NDCG@k, from 0 to 1: the sum of 1 / log2(rank + 1) over the hits, ranks from 1, over that of a perfect ranking.

    Source: Järvelin & Kekäläinen 2002, "Cumulated Gain-Based Evaluation of IR Techniques", with gains of 0 and 1.

    Examples:
        >>> ndcg(np.array([[True, False, True]]), np.array([2]), 3)  # (1 + 1/2) / (1 + 1/log2(3))
        array([0.91972079])
    """
    gains = 1.0 / np.log2(np.arange(2, k + 2))  # (k,)
    perfect = np.cumsum(gains)[np.minimum(k, held_out_items) - 1]
    found = hit[:, :k]
    return np.asarray(found @ gains[: found.shape[1]] / perfect)


def mrr(hit: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """(B,) MRR@k, from 0 to 1: 1 / rank of the first hit among the first k, ranks from 1; 0 without a hit.

    Source: Voorhees 1999, "The TREC-8 Question Answering Track Report".

    Examples:
        >>> hit = np.array([[False, True, True], [False, False, True]])
        >>> mrr(hit, 2)
        array([0.5, 0. ])
    """
    found = hit[:, :k]
    return np.where(found.any(axis=1), 1.0 / (found.argmax(axis=1) + 1), 0.0)


_MIN_NORM = 1e-12


def cosine_distance(left: NDArray[np.floating], right: NDArray[np.floating]) -> NDArray[np.float64]:
    """(T,) 1 - cosine of each row of ``left`` (T, D) with the same row of ``right``, from 0 to 2.

    A vector of zeros is 1 from everything.

    Source: scikit-learn's ``paired_cosine_distances``, and for zeros its ``cosine_distances``.

    Examples:
        >>> cosine_distance(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 2.0], [3.0, 3.0]])).round(6)
        array([1., 0.])
    """
    return np.asarray(1.0 - np.einsum("td,td->t", unit_rows(left), unit_rows(right)))


def mean_direction(item_vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """(D,) the direction that all items share: the mean of their unit vectors, at length 1.

    Each item of the catalog (N, D) counts once, regardless of popularity, so that the direction is independent of the
    users; items without a vector (a row of zeros) do not count.

    Examples:
        >>> mean_direction(np.array([[3.0, 4.0], [8.0, -6.0], [0.0, 0.0]])).round(4)  # (.6, .8) and (.8, -.6)
        array([0.9899, 0.1414])
    """
    shared = unit_rows(item_vectors).sum(axis=0)
    return np.asarray(unit_rows(shared[None])[0])


def without_direction(vectors: NDArray[np.floating], direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, D) each vector minus its projection onto a unit ``direction`` (D,).

    Removing the projection, and not the mean itself, makes the result independent of the scale of a vector.

    Examples:
        >>> without_direction(np.array([[5.0, 2.0]]), np.array([1.0, 0.0]))
        array([[0., 2.]])
    """
    return vectors - np.outer(vectors @ direction, direction)


def mean_of_targets(values: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """(B,) mean of the values (T,) of each user's held-out items, without NaN; NaN where none remains.

    Examples:
        >>> mean_of_targets(np.array([1.0, 3.0, np.nan]), np.array([0, 2, 3]))
        array([ 2., nan])
    """
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    valid = np.isfinite(values)
    sums = np.bincount(owners[valid], weights=values[valid], minlength=len(offsets) - 1)
    return divide(sums, np.bincount(owners[valid], minlength=len(offsets) - 1))


def divide(totals: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return ``totals / counts``; NaN where a count is 0."""
    ratios = np.full(totals.shape, np.nan)
    np.divide(totals, counts, out=ratios, where=counts > 0)
    return ratios


def mean_of_valid(values: NDArray[np.float64], valid: NDArray[np.bool_], axis: int) -> NDArray[np.float64]:
    """Return the mean of the valid values along an axis; NaN where there are none."""
    return divide(np.where(valid, values, 0.0).sum(axis=axis), valid.sum(axis=axis))


def unit_rows(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """(T, D) each row at unit length; a row of zeros is unchanged.

    Examples:
        >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
        array([[0.6, 0.8],
               [0. , 0. ]])
    """
    double = vectors.astype(np.float64)
    norms = np.linalg.norm(double, axis=1, keepdims=True)
    units = np.zeros_like(double)
    np.divide(double, norms, out=units, where=norms > _MIN_NORM)
    return units


_USERS = 4096  # lists compared at once


def log_popularity(ranked: NDArray[np.integer], raters: NDArray[np.int64]) -> NDArray[np.float64]:
    """(B,) mean log popularity of each list: mean of ln(1 + raters) over its items, at least 0; NaN for an empty list.

    Source: the average recommendation popularity of Yin et al. 2012, "Challenging the Long Tail Recommendation",
    on a log scale, so that one blockbuster does not outweigh the list.

    Examples:
        >>> log_popularity(np.array([[0, 1], [1, -1]]), np.array([0, 99])).round(4)  # ln 1 and ln 100
        array([2.3026, 4.6052])
    """
    return _mean_over_items(ranked, np.log1p(raters))


def novelty(ranked: NDArray[np.integer], raters: NDArray[np.int64], users: int) -> NDArray[np.float64]:
    """(B,) novelty of each list in bits, from 0 to log2(users + 1); NaN for an empty list.

    The mean over its items of -log2 of the share of the training ``users`` who rated the item. The share is smoothed,
    (raters + 1) / (users + 1), so that it is defined for an item without raters.

    Source: Zhou et al. 2010, "Solving the apparent diversity-accuracy dilemma of recommender systems".

    Examples:
        >>> novelty(np.array([[0, 1], [0, -1]]), np.array([7, 0]), 7)  # all 7 users rated 0, none 1: -log2(1 / 8)
        array([1.5, 0. ])
    """
    return _mean_over_items(ranked, np.log2((users + 1) / (raters + 1.0)))


def intra_list_similarity(ranked: NDArray[np.integer], vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """(B,) intra-list similarity, from -1 to 1: the mean cosine of the content vectors (N, D) of the pairs of each list.

    Items without a vector (a row of zeros) are ignored; NaN for fewer than two others. Computed in chunks of users, so
    that memory does not grow with them.

    Source: Ziegler et al. 2005, "Improving Recommendation Lists Through Topic Diversification", as a mean.

    Examples:
        >>> items = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> intra_list_similarity(np.array([[0, 1, 2], [0, 1, 3], [0, 3, -1]]), items).round(4)  # 1 of 3 pairs; 1 of 1
        array([0.3333, 1.    ,    nan])
    """
    units = np.concatenate([unit_rows(vectors), np.zeros((1, vectors.shape[1]))])  # the last row is for -1
    valid = np.any(units, axis=1)
    similarity = np.full(len(ranked), np.nan)
    for start in range(0, len(ranked), _USERS):
        group = ranked[start : start + _USERS]
        count = valid[group].sum(axis=1)
        # (B, D); the squared length counts each pair twice and each item once
        total = units[group].sum(axis=1)
        twice = np.einsum("bd,bd->b", total, total) - count
        some = count > 1
        similarity[start : start + _USERS][some] = twice[some] / (count * (count - 1))[some]
    return similarity


def recommendation_counts(ranked: NDArray[np.integer], n_items: int) -> NDArray[np.int64]:
    """(N,) number of lists (B, K) that contain each item; -1 is none.

    Examples:
        >>> recommendation_counts(np.array([[2, 0], [2, -1]]), 4)
        array([1, 0, 2, 0])
    """
    return np.bincount(ranked[ranked >= 0], minlength=n_items)


def coverage(counts: NDArray[np.int64]) -> float:
    """Return the catalog coverage: the share of items recommended to at least one user, from 0 to 1.

    Source: Herlocker et al. 2004, "Evaluating Collaborative Filtering Recommender Systems".

    Examples:
        >>> coverage(np.array([3, 0, 1, 0]))
        0.5
    """
    return float(np.mean(counts > 0))


def gini(counts: NDArray[np.int64]) -> float:
    """Return the exposure Gini: 0 where all items have equally many recommendations, 1 - 1/N where one has all.

    Half of the mean difference between two items, over the mean; NaN without recommendations.

    Source: Gini 1912; as Castells et al. 2022, "Novelty and Diversity in Recommender Systems", use it.

    Examples:
        >>> gini(np.array([2, 2, 2])), gini(np.array([0, 0, 0, 8])), gini(np.array([1, 3]))
        (0.0, 0.75, 0.25)
    """
    items, total = len(counts), counts.sum()
    if not total:
        return float("nan")
    return float((2 * np.arange(1, items + 1) - items - 1) @ np.sort(counts) / (items * total))


def _mean_over_items(ranked: NDArray[np.integer], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B,) mean of the items' values (N,) over each list."""
    return mean_of_valid(values[ranked], ranked >= 0, axis=1)

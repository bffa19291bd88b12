"""Metrics of rankings, vectors and lists: one value per user, or one per system.

Dimension letters: B users, N items, K places of a ranking, T hidden films, S strands, C candidates of a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "cosine_distance",
    "coverage",
    "gini",
    "hit_rate",
    "hits",
    "hits_at",
    "intra_list_similarity",
    "log_popularity",
    "mean_direction",
    "mean_of_targets",
    "mrr",
    "ndcg",
    "novelty",
    "ranks_of",
    "recall",
    "recommended",
    "unit_rows",
    "without_direction",
]


def ranks_of(
    ranked: NDArray[np.integer], offsets: NDArray[np.int64], targets: NDArray[np.int32], n_items: int
) -> NDArray[np.int64]:
    """(T,) the place of each hidden film in its person's ranking, from 0; K where it is not there.

    Args:
        ranked: (B, K) item indices, each at most once a row; -1 for an empty place.
        offsets: (B + 1,) person b's hidden films are ``targets[offsets[b]:offsets[b + 1]]``.
        targets: (T,) item indices.
        n_items: N.

    Examples:
        >>> ranks_of(np.array([[4, 2, 0], [1, 3, -1]]), np.array([0, 2, 3]), np.array([0, 1, 3]), 5)
        array([2, 3, 1])
    """
    users, depth = ranked.shape
    # The last column stands for the empty place, -1.
    places = np.full((users, n_items + 1), depth, np.min_scalar_type(depth))
    np.put_along_axis(places, ranked % (n_items + 1), np.arange(depth, dtype=places.dtype)[None], axis=1)
    return places[np.repeat(np.arange(users), np.diff(offsets)), targets].astype(np.int64)


def hits(
    ranked: NDArray[np.integer], offsets: NDArray[np.int64], targets: NDArray[np.int32], n_items: int
) -> NDArray[np.bool_]:
    """(B, K) whether each place of a ranking holds a hidden film; the arguments are those of `ranks_of`.

    Examples:
        >>> hits(np.array([[4, 2, 0], [1, 3, -1]]), np.array([0, 2, 3]), np.array([0, 2, 3]), 5)
        array([[False,  True,  True],
               [False,  True, False]])
    """
    return hits_at(ranks_of(ranked, offsets, targets, n_items), offsets, ranked.shape[1])


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


_LEAST_NORM = 1e-12


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


_USERS = 4096  # whose lists are compared at once


def log_popularity(ranked: NDArray[np.integer], raters: NDArray[np.int64]) -> NDArray[np.float64]:
    """(B,) the popularity bias of each list, from 0 up: the mean of ln(1 + raters) over its films; NaN for no film.

    Args:
        ranked: (B, K) item indices, -1 for an empty place.
        raters: (N,) training people who rated each film.

    Source: the average recommendation popularity of Yin et al. 2012, "Challenging the Long Tail Recommendation",
    on a log scale, so that one blockbuster does not outweigh the list.

    Examples:
        >>> log_popularity(np.array([[0, 1], [1, -1]]), np.array([0, 99])).round(4)  # ln 1 and ln 100
        array([2.3026, 4.6052])
    """
    return _mean_over_films(ranked, np.log1p(raters))


def novelty(ranked: NDArray[np.integer], raters: NDArray[np.int64], users: int) -> NDArray[np.float64]:
    """(B,) the self-information of each list in bits, from 0 to log2(people + 1); NaN for no film.

    The mean over its films of -log2 of the share of the training people who rated the film. The share is smoothed,
    (raters + 1) / (people + 1), so that a film that nobody rated has one too.

    Args:
        ranked: (B, K) item indices, -1 for an empty place.
        raters: (N,) training people who rated each film, at most ``users``.
        users: Training people in all.

    Source: Zhou et al. 2010, "Solving the apparent diversity-accuracy dilemma of recommender systems".

    Examples:
        >>> novelty(np.array([[0, 1], [0, -1]]), np.array([7, 0]), 7)  # everybody rated 0, nobody 1: -log2(1 / 8)
        array([1.5, 0. ])
    """
    return _mean_over_films(ranked, np.log2((users + 1) / (raters + 1.0)))


def intra_list_similarity(ranked: NDArray[np.integer], vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """(B,) how alike the films of each list are, from -1 to 1: the mean cosine of its pairs.

    Films without a vector make no pair; NaN for a list of fewer than two others. People are taken in groups, so that
    memory does not grow with them.

    Args:
        ranked: (B, K) item indices, -1 for an empty place.
        vectors: (N, D) what films are like; a row of zeros is a film without a vector.

    Source: Ziegler et al. 2005, "Improving Recommendation Lists Through Topic Diversification", as a mean.

    Examples:
        >>> items = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> intra_list_similarity(np.array([[0, 1, 2], [0, 1, 3], [0, 3, -1]]), items).round(4)  # 1 of 3 pairs; 1 of 1
        array([0.3333, 1.    ,    nan])
    """
    units = np.concatenate(
        [unit_rows(vectors), np.zeros((1, vectors.shape[1]))]
    )  # the last is the empty place, -1
    there = np.any(units, axis=1)
    similarity = np.full(len(ranked), np.nan)
    for start in range(0, len(ranked), _USERS):
        group = ranked[start : start + _USERS]
        count = there[group].sum(axis=1)
        together = units[group].sum(
            axis=1
        )  # (B, D), whose squared length counts each pair twice and each film once
        twice = np.einsum("bd,bd->b", together, together) - count
        some = count > 1
        similarity[start : start + _USERS][some] = twice[some] / (count * (count - 1))[some]
    return similarity


def recommended(ranked: NDArray[np.integer], n_items: int) -> NDArray[np.int64]:
    """(N,) in how many of the lists (B, K) each film stands; -1 is an empty place.

    Examples:
        >>> recommended(np.array([[2, 0], [2, -1]]), 4)
        array([1, 0, 2, 0])
    """
    return np.bincount(ranked[ranked >= 0], minlength=n_items)


def coverage(counts: NDArray[np.int64]) -> float:
    """The share of the catalogue that is recommended to anybody, from 0 to 1.

    Args:
        counts: (N,) how often each film is recommended.

    Source: Herlocker et al. 2004, "Evaluating Collaborative Filtering Recommender Systems".

    Examples:
        >>> coverage(np.array([3, 0, 1, 0]))
        0.5
    """
    return float(np.mean(counts > 0))


def gini(counts: NDArray[np.int64]) -> float:
    """How unequally the recommendations fall on the films: 0 where all films have the same, 1 - 1/N where one has all.

    Half of the mean difference between two films, over the mean; NaN where there is none at all.

    Args:
        counts: (N,) how often each film is recommended.

    Source: Gini 1912; as Castells et al. 2022, "Novelty and Diversity in Recommender Systems", use it.

    Examples:
        >>> gini(np.array([2, 2, 2])), gini(np.array([0, 0, 0, 8])), gini(np.array([1, 3]))
        (0.0, 0.75, 0.25)
    """
    items, total = len(counts), counts.sum()
    if not total:
        return float("nan")
    return float((2 * np.arange(1, items + 1) - items - 1) @ np.sort(counts) / (items * total))


def _mean_over_films(ranked: NDArray[np.integer], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B,) the mean of a film's value (N,) over each list."""
    there = ranked >= 0
    counts = there.sum(axis=1)
    means = np.full(len(ranked), np.nan)
    np.divide(np.where(there, values[ranked], 0.0).sum(axis=1), counts, out=means, where=counts > 0)
    return means

"""Lists: what kind of films a system recommends, whoever likes them.

Dimension letters: B users, N items, D dimensions, K places of a ranking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tastevec.evaluation.metrics.distance import unit_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["coverage", "gini", "intra_list_similarity", "log_popularity", "novelty", "recommended"]

_PEOPLE = 4096  # whose lists are compared at once


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


def novelty(ranked: NDArray[np.integer], raters: NDArray[np.int64], people: int) -> NDArray[np.float64]:
    """(B,) the self-information of each list in bits, from 0 to log2(people + 1); NaN for no film.

    The mean over its films of -log2 of the share of the training people who rated the film. The share is smoothed,
    (raters + 1) / (people + 1), so that a film that nobody rated has one too.

    Args:
        ranked: (B, K) item indices, -1 for an empty place.
        raters: (N,) training people who rated each film, at most ``people``.
        people: Training people in all.

    Source: Zhou et al. 2010, "Solving the apparent diversity-accuracy dilemma of recommender systems".

    Examples:
        >>> novelty(np.array([[0, 1], [0, -1]]), np.array([7, 0]), 7)  # everybody rated 0, nobody 1: -log2(1 / 8)
        array([1.5, 0. ])
    """
    return _mean_over_films(ranked, np.log2((people + 1) / (raters + 1.0)))


def intra_list_similarity(ranked: NDArray[np.integer], vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """(B,) how alike the films of each list are, from -1 to 1: the mean cosine of its pairs.

    Films without a vector make no pair; NaN for a list of fewer than two others. People are taken in groups, so that
    memory does not grow with them.

    Args:
        ranked: (B, K) item indices, -1 for an empty place.
        vectors: (N, D) what films are like; a row of zeros is a film without a vector.

    Source: Ziegler et al. 2005, "Improving Recommendation Lists Through Topic Diversification", as a mean.

    Examples:
        >>> films = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> intra_list_similarity(np.array([[0, 1, 2], [0, 1, 3], [0, 3, -1]]), films).round(4)  # 1 of 3 pairs; 1 of 1
        array([0.3333, 1.    ,    nan])
    """
    units = np.concatenate(
        [unit_rows(vectors), np.zeros((1, vectors.shape[1]))]
    )  # the last is the empty place, -1
    there = np.any(units, axis=1)
    similarity = np.full(len(ranked), np.nan)
    for start in range(0, len(ranked), _PEOPLE):
        group = ranked[start : start + _PEOPLE]
        count = there[group].sum(axis=1)
        together = units[group].sum(
            axis=1
        )  # (B, D), whose squared length counts each pair twice and each film once
        twice = np.einsum("bd,bd->b", together, together) - count
        some = count > 1
        similarity[start : start + _PEOPLE][some] = twice[some] / (count * (count - 1))[some]
    return similarity


def recommended(ranked: NDArray[np.integer], item_count: int) -> NDArray[np.int64]:
    """(N,) in how many of the lists (B, K) each film stands; -1 is an empty place.

    Examples:
        >>> recommended(np.array([[2, 0], [2, -1]]), 4)
        array([1, 0, 2, 0])
    """
    return np.bincount(ranked[ranked >= 0], minlength=item_count)


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
    films, total = len(counts), counts.sum()
    if not total:
        return float("nan")
    return float((2 * np.arange(1, films + 1) - films - 1) @ np.sort(counts) / (films * total))


def _mean_over_films(ranked: NDArray[np.integer], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B,) the mean of a film's value (N,) over each list."""
    there = ranked >= 0
    counts = there.sum(axis=1)
    means = np.full(len(ranked), np.nan)
    np.divide(np.where(there, values[ranked], 0.0).sum(axis=1), counts, out=means, where=counts > 0)
    return means

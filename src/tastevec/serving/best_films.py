"""The best films for any number of people, exactly: the product with every film vector, a block of people at a time.

Dimensions: B people, N films of the catalogue, D numbers a vector, K films wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tastevec.data.topk import rank_unseen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

__all__ = ["best_films"]

_CELLS = 1 << 24  # scores of a block, 64 MB: with fewer people at once their product is slower


def best_films(
    vectors: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
    known: Histories,
    k: int,
    candidates: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(B, K) places of the films that score highest for each person and that he does not know, best first, and the scores.

    There is no index, and nothing is searched to a depth: a person's own films are struck out of the scores themselves, so
    that a long history costs no more than a short one. Equal scores stand in the order of the catalogue. Memory is that of
    16 million scores, or of as many as all film vectors have numbers where these are more; how many people are asked
    changes nothing.

    Args:
        vectors: (B, D) float32, one a person of ``known``.
        item_vectors: (N, D) float32.
        known: Whose films are left out.
        k: Films wanted; fewer where the catalogue is smaller.
        candidates: (N,) the films that may be among the best; None is all.

    Returns:
        Of a person who has fewer films left, the remaining places are -1 and their scores minus infinity.

    Raises:
        DataError: A score is not a finite number.

    Examples:
        >>> from tastevec.data.histories import Histories
        >>> one = np.ones(1, np.float32)
        >>> known = Histories(np.array([7]), np.array([0, 1]), np.array([0], np.int32), one, one, np.array([0]))
        >>> films = np.array([[2, 0], [1, 1], [0, 3], [1, 0]], np.float32)
        >>> best_films(np.array([[1, 0.5]], np.float32), films, known, 2)  # film 0 is his own; 1 and 2 tie
        (array([[1, 2]]), array([[1.5, 1.5]], dtype=float32))
    """
    films, dim = item_vectors.shape
    rows = max(1, min(len(known), max(dim, _CELLS // films)))
    scores = np.empty((rows, films), np.float32)
    places = np.empty((len(known), min(k, films)), np.int64)  # (B, K)
    best = np.empty(places.shape, np.float32)
    for number, part in enumerate(known.chunks(rows)):
        now = slice(number * rows, number * rows + len(part))
        with np.errstate(
            invalid="ignore", over="ignore"
        ):  # the ranking refuses what is no number, and says whose
            block = np.matmul(vectors[now], item_vectors.T, out=scores[: len(part)])  # (rows, N)
        places[now] = rank_unseen(block, part, k, candidates, overwrite_scores=True)
        best[now] = np.take_along_axis(block, np.maximum(places[now], 0), 1)
    best[places < 0] = -np.inf
    return places, best

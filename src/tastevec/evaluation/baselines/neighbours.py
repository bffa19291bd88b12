"""Item neighbours: films are alike where the same people liked both.

Dimension letters: B users, N items, P items that anybody liked, Q of these in a block, K neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.evaluation.baselines.likes import liked_matrix
from tastevec.evaluation.metrics import top_k

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

__all__ = ["ItemKNN"]

_CELLS = 1 << 22  # likenesses held at once: 16 MB, and a few times that while the highest are looked for


class ItemKNN:
    """A film scores the sum of its likenesses to the liked films, of those that are among its nearest neighbours.

    The likeness of two films is ``both / (sqrt(one * other) + shrink)``, out of the numbers of people who liked both,
    the one and the other: their cosine, drawn towards 0 where few people speak. No more than K neighbours a film are
    kept, found a block of films at a time.

    Args:
        liked_from: The rating from which a film is liked.
        neighbours: K.
        shrink: Added to the denominator; 0 is the plain cosine.

    Source: Sarwar et al. 2001, "Item-Based Collaborative Filtering Recommendation Algorithms"; shrinkage and defaults
    as in the code of Ferrari Dacrema et al. 2019, "Are We Really Making Much Progress?".
    """

    name = "item-kNN"

    def __init__(self, *, liked_from: float, neighbours: int = 50, shrink: float = 100.0) -> None:
        self._liked_from = liked_from
        self._neighbours = neighbours
        self._shrink = shrink
        self._item_count = 0
        self._films = np.zeros(0, np.int64)
        self._weights: Any = (
            None  # (P, P) scipy CSR, at most K a column: the neighbours of each film that is scored
        )

    def fit(self, train: Histories, item_count: int) -> None:
        """Find the neighbours of each film among what training people liked."""
        from scipy import sparse  # noqa: PLC0415 - an extra

        likes = liked_matrix(train, item_count, self._liked_from)
        self._films = np.flatnonzero(np.bincount(likes.indices, minlength=item_count))
        self._item_count = item_count
        nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        blocks = zip(nothing, *self._nearest(likes[:, self._films]), strict=True)
        films, neighbours, likenesses = (np.concatenate(part) for part in blocks)
        shape = (len(self._films), len(self._films))
        self._weights = sparse.csr_matrix((likenesses, (neighbours, films)), shape=shape)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the liked films of each person times the likenesses."""
        likes = liked_matrix(histories, self._item_count, self._liked_from)[:, self._films]
        scores = np.zeros((len(histories), self._item_count), np.float32)
        scores[:, self._films] = (likes @ self._weights).toarray()
        return scores

    def _nearest(
        self,
        likes: Any,  # noqa: ANN401 - scipy ships no types
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Films, neighbours and likenesses, all flat, of one block of films after another, out of likes (B, P)."""
        by_film = likes.T.tocsr()  # (P, B)
        norms = np.sqrt(np.diff(by_film.indptr))  # (P,)
        block = max(1, _CELLS // max(1, len(norms)))
        for start in range(0, len(norms), block):
            films = np.arange(start, min(start + block, len(norms)))
            both = (by_film[films] @ likes).toarray()  # (Q, P)
            both[np.arange(len(films)), films] = 0.0  # a film is no neighbour of its own
            likeness = (both / (np.outer(norms[films], norms) + self._shrink)).astype(np.float32)
            nearest = top_k(likeness, self._neighbours)  # (Q, K)
            values = np.take_along_axis(likeness, nearest, 1)
            there = values > 0
            yield np.repeat(films, there.sum(axis=1)), nearest[there], values[there]

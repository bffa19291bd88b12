"""The geometry of the vectors handed out: inner product, cosine and Euclidean distance rank the items alike.

Dimensions: B users, N items, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST_USED = (
    1e-6  # of the largest eigenvalue: with fewer users than dimensions others would be 0, and have no inverse
)

_ROUNDING = 1e-4  # of vectors that were stored, rotated or averaged


@dataclass(frozen=True, eq=False)
class Geometry:
    """From embeddings, as a network computes them, to the vectors that are handed out, all of unit length.

    The length of an item embedding matters to the score. It is folded into the last coordinate: an item is
    ``(v, sqrt(1 - |v|^2))`` and a user is ``(u / |u|, 0)``, so that the inner product, which is the cosine, and the Euclidean
    distance rank the items in the same order. To have room for it in D dimensions, the direction that scores use least is
    dropped.

    Attributes:
        user_basis: (D, D - 1) float32; a user embedding times it is u.
        item_basis: (D, D - 1) float32; an item embedding times it is v, of length 1 at most for the items of the training. All
            zeros: nothing is folded, users are scaled to unit length, and items stay as they are.

    Source: Bachrach et al. 2014, "Speeding up the Xbox recommender system using a Euclidean transformation for inner-product
    spaces", section 3, for the fold.

    Examples:
        >>> items = np.array([[4.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.1]])
        >>> geometry = Geometry.fit(items[:2], users=np.eye(3))
        >>> vectors, (user, *_) = geometry.of_items(items[:2]), geometry.of_users(np.array([[3.0, 3.0, 0.0]]))
        >>> abs(vectors).round(3)  # the second item is half as long as the first; its last coordinate is what it lacks
        array([[1.   , 0.   , 0.   ],
               [0.   , 0.5  , 0.866]], dtype=float32)
        >>> (vectors @ user[0]).round(3), (np.linalg.norm(vectors - user[0], axis=1) ** 2).round(3)
        (array([0.707, 0.354], dtype=float32), array([0.586, 1.293], dtype=float32))
    """

    user_basis: NDArray[np.float32]
    item_basis: NDArray[np.float32]

    @classmethod
    def fit(cls, items: NDArray[np.floating[Any]], users: NDArray[np.floating[Any]]) -> Self:
        """Return the geometry that changes the scores of these users least.

        With C the mean of u u' over unit vectors u, the direction is dropped along which ``V C^(1/2)`` is smallest. The
        projection is oblique: of all with the same rank, it leaves the smallest mean squared error of the scores.

        Args:
            items: (N, D) embeddings of the items of the training, none of zeros.
            users: (B, D) embeddings of training users, of any length.
        """
        table, given = items.astype(np.float64), users.astype(np.float64)
        units = given / _positive(np.linalg.norm(given, axis=1, keepdims=True))
        values, axes = np.linalg.eigh(units.T @ units / max(len(units), 1))
        roots = np.sqrt(np.maximum(values, _positive(values[-1:]) * _LEAST_USED))
        half, inverse = (axes * roots) @ axes.T, (axes / roots) @ axes.T
        least = np.linalg.eigh(half @ (table.T @ table) @ half)[1][:, 0]  # (D,)
        oblique = np.eye(len(half)) - np.outer(inverse @ least, half @ least)
        user_basis = np.linalg.svd(oblique)[0][:, :-1]
        # Of all bases the one nearest to the old axes, so that signs do not depend on the linear algebra library.
        left, _, right = np.linalg.svd(user_basis[:-1].T)
        user_basis = user_basis @ left @ right
        item_basis = oblique.T @ user_basis
        longest = np.linalg.norm(table @ item_basis, axis=1).max(initial=0.0)
        if longest > 0:
            item_basis = item_basis / longest
        return cls(user_basis.astype(np.float32), item_basis.astype(np.float32))

    @property
    def folds(self) -> bool:
        """Whether the last coordinate is that of the fold."""
        return bool(self.item_basis.any())

    def of_users(
        self, embeddings: NDArray[np.floating[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the vectors (B, D) of user embeddings (B, D), of unit length, and the lengths (B,) that they had.

        A user whose embedding is zero, which has no direction, has zeros, and the length 0.
        """
        rows = embeddings.astype(np.float64)  # so that no vector depends on the others, not even its last bit
        if self.folds:
            rows = np.pad(rows @ self.user_basis, ((0, 0), (0, 1)))
        lengths = np.linalg.norm(rows, axis=1)
        return (rows / _positive(lengths)[:, None]).astype(np.float32), lengths.astype(np.float32)

    def of_items(self, embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the vectors (N, D) of item embeddings (N, D); of zeros for an item without an embedding.

        An item that is longer than all of the training, which only a new one can be, is scaled to the longest.
        """
        if not self.folds:
            return np.asarray(embeddings, np.float32)
        rows = embeddings.astype(np.float64) @ self.item_basis
        lengths = np.linalg.norm(rows, axis=1)
        fold = np.sqrt(np.maximum(1.0 - lengths**2, 0.0)) * embeddings.any(axis=1)
        vectors = np.column_stack([rows / np.maximum(lengths, 1.0)[:, None], fold])
        return vectors.astype(np.float32)

    def are_users(self, vectors: NDArray[np.float32]) -> bool:
        """Return whether these vectors (B, D) can be those of users: an item has its fold where a user has 0."""
        return not self.folds or bool((np.abs(vectors[:, -1]) <= _ROUNDING).all())

    def directions(self, item_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return item vectors (N, D) with zeros in place of the fold, for comparisons of items with items.

        Items of a similar length would be similar by it alone.
        """
        if not self.folds:
            return item_vectors
        return np.pad(item_vectors[:, :-1], ((0, 0), (0, 1)))


def _positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values with 1 in place of 0, to divide by."""
    return np.where(values > 0, values, 1.0)

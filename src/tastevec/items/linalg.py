"""Linear algebra of item vectors: ridge least squares and truncated SVD.

Dimensions: B people, N films of the catalogue, D numbers a vector, M interactions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

__all__ = ["reduce_rank", "solved"]

_BATCH_ROWS = 1 << 16  # padded vectors held at once: 16 MB of float32 at 64 numbers


def solved(  # noqa: PLR0913, PLR0917  one half of an alternation, whichever
    others: NDArray[Any],
    offsets: NDArray[np.int64],
    places: NDArray[np.integer[Any]],
    confidence: NDArray[np.float32],
    pull: NDArray[np.float32],
    ridges: NDArray[np.float32],
    expected: NDArray[Any],
) -> NDArray[Any]:
    """(B, D) the vectors that fit each one's interactions best, in the precision of ``others``.

    With V the vectors of the other side, and v, c and p those of each interaction: ``(V'V + sum c v v' + ridge I)^-1
    (expected + sum p v)``. Who else is solved beside them changes a vector by rounding alone.

    Args:
        others: (N, D) the vectors of the other side: films for people, people for films.
        offsets: (B + 1,) the interactions of each.
        places: (M,) with whom.
        confidence: (M,) by how much more an interaction counts than the 1 of everything.
        pull: (M,) how hard it pulls.
        ridges: (B,).
        expected: (B, D) ``others`` times what is expected of each of them.
    """
    everyone = others.T @ others  # (D, D)
    solved = np.zeros_like(expected)
    for rows, taken, there in _by_length(offsets):
        vectors = others[places[taken]]  # (b, L, D), anybody's where there are no more: they weigh nothing
        weights = np.where(there, confidence[taken], np.float32(0))[:, :, None]
        pulls = np.where(there, pull[taken], np.float32(0))[:, :, None]
        systems = everyone + vectors.transpose(0, 2, 1) @ (vectors * weights)
        systems += ridges[rows][:, None, None] * np.eye(others.shape[1], dtype=others.dtype)
        wanted = expected[rows] + (vectors * pulls).sum(axis=1)
        solved[rows] = np.linalg.solve(systems, wanted[:, :, None])[:, :, 0]
    return solved


def _by_length(
    offsets: NDArray[np.int64],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]]:
    """Rows of like length (b,), the places of their interactions (b, L), and which there are: the others stand at place 0."""
    lengths = np.diff(offsets)
    order, start = np.argsort(-lengths, kind="stable"), 0
    while start < len(order):
        longest = int(lengths[order[start]])
        rows = order[start : start + max(_BATCH_ROWS // max(longest, 1), 1)]
        steps = np.arange(longest)
        there = steps < lengths[rows][:, None]
        yield rows, np.where(there, offsets[rows][:, None] + steps, 0), there
        start += len(rows)


def reduce_rank(
    matrix: NDArray[np.floating[Any]] | csr_matrix, dim: int, *, n_iter: int, seed: int
) -> NDArray[np.float64]:
    """The rows of ``matrix`` in ``dim`` numbers: scikit-learn's randomised, uncentred TruncatedSVD.

    A matrix of rank at most ``min(matrix.shape)`` cannot fill more columns than that: with fewer rows or columns
    than ``dim``, all of them are kept and the other columns are zero.

    Args:
        matrix: (N, F) dense or sparse.
        dim: Columns of the answer.
        n_iter: Power iterations.
        seed: Seed of the random projection.

    Returns:
        (N, dim) float64.

    Examples:
        >>> reduce_rank(np.eye(3) * 2, 4, n_iter=7, seed=42).shape
        (3, 4)
    """
    from sklearn.decomposition import TruncatedSVD  # noqa: PLC0415 - 1 s to import, and an extra
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - comes with scikit-learn

    reduced = np.zeros((matrix.shape[0], dim))  # (N, D)
    rank = min(dim, *matrix.shape)
    if rank and matrix.shape[1] > 1:
        svd = TruncatedSVD(n_components=rank, n_iter=n_iter, random_state=seed)
        # One BLAS thread: sums split over another number of threads differ in their last bits. Films that are all
        # alike have no variance to explain, which scikit-learn divides by.
        with threadpool_limits(1, "blas"), np.errstate(divide="ignore", invalid="ignore"):
            reduced[:, :rank] = svd.fit_transform(matrix.astype(np.float64, copy=False))
    elif rank:  # scikit-learn refuses a single column, which is its own reduction
        reduced[:, 0] = np.asarray(matrix.sum(axis=1)).ravel()
    return reduced

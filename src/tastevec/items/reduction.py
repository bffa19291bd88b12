"""Wide film features made short: a truncated SVD that also answers for worlds too small for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

__all__ = ["reduce_rank"]


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

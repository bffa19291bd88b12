"""Linear algebra of item vectors: ridge regression, inverses and truncated SVD.

Dimensions: B systems, N vectors of the other side, D dimensions, M interactions, P items, F features.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

_BATCH_ROWS = 1 << 16  # padded vectors in memory at once: 16 MB of float32 at 64 dimensions
_PRECISION = 1e-6


def one_blas_thread() -> AbstractContextManager[Any]:
    """Limit BLAS to one thread, because sums over another number of threads differ in their last bits.

    Raises:
        MissingExtraError: threadpoolctl is not installed.
    """
    limits: AbstractContextManager[Any] = _libraries(len(sys.modules)).limit(limits=1, user_api="blas")
    return limits


@lru_cache(1)
def _libraries(_modules: int) -> Any:  # noqa: ANN401  threadpoolctl's, which has no types
    """Return the loaded libraries, which are looked up again after an import: it takes milliseconds."""
    try:
        from threadpoolctl import ThreadpoolController  # noqa: PLC0415  an extra
    except ImportError as error:
        raise MissingExtraError("threadpoolctl", "train") from error
    return ThreadpoolController()


def solve_ridge(  # noqa: PLR0913, PLR0917  one half of an alternation, of users or of items
    others: NDArray[Any],
    offsets: NDArray[np.int64],
    indices: NDArray[np.integer[Any]],
    confidence: NDArray[np.float32],
    targets: NDArray[np.float32],
    ridges: NDArray[np.float32],
    prior: NDArray[Any],
) -> NDArray[Any]:
    """Return the ridge solution of each row, (B, D), in the precision of ``others``.

    With V the vectors of the other side, and v, c and p those of each interaction: ``(V'V + sum c v v' + ridge I)^-1
    (prior + sum p v)``. The other rows of the batch change a solution by rounding alone.

    Args:
        others: (N, D) vectors of the other side: items for users, users for items.
        offsets: (B + 1,) start of each row's interactions.
        indices: (M,) row of ``others`` of each interaction.
        confidence: (M,) weight of an interaction in addition to the 1 of every pair.
        targets: (M,) weight of an interaction on the right-hand side.
        ridges: (B,) over 0.
        prior: (B, D) ``others'`` times the expected value of each pair.

    Source: Hu, Koren and Volinsky 2008, equation 4.
    """
    gram = others.T @ others  # (D, D)
    solutions = np.zeros_like(prior)
    for rows, taken, valid in _by_length(offsets):
        vectors = others[indices[taken]]  # (b, L, D), arbitrary vectors with weight 0 where padded
        weights = np.where(valid, confidence[taken], np.float32(0))[:, :, None]
        weighted = np.where(valid, targets[taken], np.float32(0))[:, :, None]
        systems = gram + vectors.transpose(0, 2, 1) @ (vectors * weights)
        systems += ridges[rows][:, None, None] * np.eye(others.shape[1], dtype=others.dtype)
        right = prior[rows] + (vectors * weighted).sum(axis=1)
        solutions[rows] = np.linalg.solve(systems, right[:, :, None])[:, :, 0]
    return solutions


def _by_length(
    offsets: NDArray[np.int64],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]]:
    """Yield rows of similar length (b,), the indices of their interactions (b, L) and a mask (b, L); padding has index 0."""
    lengths = np.diff(offsets)
    order, start = np.argsort(-lengths, kind="stable"), 0
    while start < len(order):
        longest = int(lengths[order[start]])
        rows = order[start : start + max(_BATCH_ROWS // max(longest, 1), 1)]
        steps = np.arange(longest)
        valid = steps < lengths[rows][:, None]
        yield rows, np.where(valid, offsets[rows][:, None] + steps, 0), valid
        start += len(rows)


def ridge_regression(
    features: csr_matrix | NDArray[np.float32],
    targets: NDArray[np.float64],
    weights: NDArray[np.float64],
    ridge: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return slopes (F, D) and intercept (D,) of a weighted ridge regression, by conjugate gradients.

    Args:
        features: (N, F), never made dense, so that 100,000 items and words fit.
        targets: (N, D).
        weights: (N,) of each row.
        ridge: Penalty of the slopes; the intercept has none.
    """
    from sklearn.linear_model import Ridge  # noqa: PLC0415 - 1 s to import, and an extra

    model = Ridge(alpha=ridge, solver="sparse_cg", tol=_PRECISION)
    with one_blas_thread():
        model.fit(features, targets, sample_weight=weights)
    return model.coef_.T.astype(np.float32), model.intercept_.astype(np.float32)


def reduce_rank(
    matrix: NDArray[np.floating[Any]] | csr_matrix, dim: int, *, n_iter: int, seed: int
) -> NDArray[np.float64]:
    """Return the rows of ``matrix`` in ``dim`` dimensions, (N, dim) float64: randomized, uncentered TruncatedSVD.

    A matrix with fewer rows or columns than ``dim`` fills only so many columns; the others are zero.

    Args:
        matrix: (N, F) dense or sparse.
        dim: Columns of the result.
        n_iter: Power iterations.
        seed: Seed of the random projection.

    Examples:
        >>> reduce_rank(np.eye(3) * 2, 4, n_iter=7, seed=42).shape
        (3, 4)
    """
    from sklearn.decomposition import TruncatedSVD  # noqa: PLC0415 - 1 s to import, and an extra

    reduced = np.zeros((matrix.shape[0], dim))  # (N, D)
    rank = min(dim, *matrix.shape)
    if rank and matrix.shape[1] > 1:
        svd = TruncatedSVD(n_components=rank, n_iter=n_iter, random_state=seed)
        # Identical items have no variance to explain, which scikit-learn divides by.
        with one_blas_thread(), np.errstate(divide="ignore", invalid="ignore"):
            reduced[:, :rank] = svd.fit_transform(matrix.astype(np.float64, copy=False))
    elif rank:  # scikit-learn refuses a single column, which is its own reduction
        reduced[:, 0] = np.asarray(matrix.sum(axis=1)).ravel()
    return reduced


def principal_axes(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """Return the orthonormal axes of the largest variance of centered vectors (N, D), (D, R); R is ``dim``, D or N, the least.

    Each axis points where its largest component is positive, so that equal data give equal axes.
    """
    rank = min(dim, *vectors.shape)
    with one_blas_thread():
        gram = vectors.T.astype(np.float64) @ vectors  # (D, D)
        axes = np.linalg.eigh(gram)[1][:, ::-1][:, :rank]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(rank)] if rank else np.ones(0)
    return np.ascontiguousarray(axes * np.sign(largest), np.float32)

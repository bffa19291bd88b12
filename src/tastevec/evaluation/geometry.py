"""Geometry of embeddings: effective rank, top-direction share, hubness and split-half cosine.

Dimension letters: B users, D dimensions. ``first`` and ``second`` are (B, D) vectors of the two halves of each history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tastevec.data.topk import top_k
from tastevec.evaluation.metrics import cosine_distance, unit_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CELLS = 1 << 22  # cosines held at once: 16 MB
_NOISE = 1e-9  # cosines of the same two vectors may differ by this


def effective_rank(vectors: NDArray[np.floating]) -> float:
    """Return the effective rank, from 1 to min(B, D): exp of the entropy of the normalized singular values.

    The vectors (B, D) are not centered; NaN where all are zero.

    Source: Roy & Vetterli 2007, "The effective rank: a measure of effective dimensionality".

    Examples:
        >>> round(effective_rank(np.eye(3)), 4), round(effective_rank(np.ones((3, 3))), 4)
        (3.0, 1.0)
        >>> round(effective_rank(np.diag([3.0, 1.0])), 4)  # exp(-(3/4) ln(3/4) - (1/4) ln(1/4))
        1.7548
    """
    lengths = np.sqrt(_energies(vectors))
    if not lengths.any():
        return float("nan")
    shares = lengths[lengths > 0] / lengths.sum()
    return float(np.exp(-(shares @ np.log(shares))))


def top_direction(vectors: NDArray[np.floating]) -> float:
    """Return the top-direction share, from 1 / min(B, D) to 1: the largest squared singular value over the sum of all.

    The vectors (B, D) are not centered: a direction that all users share counts. NaN where all are zero.

    Examples:
        >>> round(top_direction(np.eye(4)), 4), round(top_direction(np.diag([3.0, 1.0])), 4)  # 9 / (9 + 1)
        (0.25, 0.9)
    """
    energies = _energies(vectors)
    return float(energies[-1] / energies.sum()) if energies.any() else float("nan")


def hubness(vectors: NDArray[np.floating], k: int = 10) -> float:
    """Return the hubness: skewness of the number of users whose k nearest neighbors by cosine include a user; 0 without hubs.

    NaN where that number is equal for all users, or where all vectors (B, D) are equal. With fewer than ``k`` others, all
    are neighbors; ties are in row order. Time grows with the square of B; memory does not, as cosines are computed in chunks.

    Source: Radovanović et al. 2010, "Hubs in Space".

    Examples:
        >>> hub = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
        >>> round(hubness(hub, 1), 4)  # all are nearest to the first, which is nearest to the second: 3, 1, 0, 0
        0.8165
    """
    units = unit_rows(vectors).astype(np.float32)
    users = len(units)
    if users < 2 or not np.ptp(units, axis=0).any():  # noqa: PLR2004  one user has no neighbor
        return float("nan")
    occurrences = np.zeros(users, np.int64)
    rows = max(1, _CELLS // users)
    for start in range(0, users, rows):
        cosines = units[start : start + rows] @ units.T  # (rows, B)
        own = np.arange(len(cosines))
        cosines[own, start + own] = -np.inf
        occurrences += np.bincount(top_k(cosines, min(k, users - 1)).ravel(), minlength=users)
    return _skewness(occurrences.astype(np.float64))


def split_half_cosine(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """(B,) split-half cosine, from -1 to 1: of the vectors of two halves of one history; 0 where a vector is zero.

    Examples:
        >>> split_half_cosine(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[2.0, 0.0], [1.0, -1.0]])).round(4)
        array([1., 0.])
    """
    return 1.0 - cosine_distance(first, second)


def between_user_cosine(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """(B,) between-user cosine, from -1 to 1: `split_half_cosine` with the second half of the next user, cyclic.

    The reference for `split_half_cosine`; NaN for a single user.

    Examples:
        >>> between_user_cosine(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[2.0, 0.0], [1.0, -1.0]])).round(4)
        array([0.7071, 0.7071])
    """
    if len(first) == 1:
        return np.array([np.nan])
    return split_half_cosine(first, np.roll(second, -1, axis=0))


def split_half_accuracy(
    first: NDArray[np.floating], second: NDArray[np.floating], others: int = 20
) -> NDArray[np.float64]:
    """(B,) split-half accuracy, from 0 to 1: the share of other users whose second half is farther than the own one.

    1 where no other user's second half is as near, 0.5 where vectors identify users no better than chance; ties count
    half. The ``others`` (all where there are fewer) are at even steps through the rows, the same steps for all users, one
    after another, so that memory is that of one more half. NaN for a single user.

    Examples:
        >>> split_half_accuracy(np.eye(3), np.eye(3)), split_half_accuracy(np.eye(2), 1 - np.eye(2)), split_half_accuracy(*np.ones((2, 2, 2)))
        (array([1., 1., 1.]), array([0., 0.]), array([0.5, 0.5]))
    """
    users = len(first)
    count = min(others, users - 1)
    if count < 1:
        return np.full(users, np.nan)
    left, right = unit_rows(first), unit_rows(second)
    own = np.einsum("bd,bd->b", left, right)
    won = np.zeros(users)
    steps = 1 + np.arange(count) * (users - 2) // max(1, count - 1)  # from the next user to the previous one
    for step in steps:
        ahead = own - np.einsum("bd,bd->b", left, np.roll(right, -step, axis=0))
        won += np.where(np.abs(ahead) <= _NOISE, 0.5, ahead > 0)
    return won / count


def _energies(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """(min(B, D),) squared singular values, smallest first; rounding noise is set to 0.

    From the products of columns (or of rows, where these are fewer), since a full decomposition of 100,000 users takes
    seconds.
    """
    double = vectors.astype(np.float64)
    products = double.T @ double if double.shape[0] >= double.shape[1] else double @ double.T
    energies = np.linalg.eigvalsh(products)
    noise = energies[-1] * max(double.shape) * np.finfo(np.float64).eps
    return np.where(energies > noise, energies, 0.0)


def _skewness(values: NDArray[np.float64]) -> float:
    """Return the third moment over the standard deviation cubed; NaN where all values are equal."""
    centered = values - values.mean()
    spread = np.mean(centered**2)
    return float(np.mean(centered**3) / spread**1.5) if spread else float("nan")

"""Geometry of embeddings: effective rank, top-direction share, hubness and split-half cosine.

Dimension letters: B users, D dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tastevec.data.topk import top_k
from tastevec.evaluation.metrics import cosine_distance, unit_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "between_user_cosine",
    "effective_rank",
    "hubness",
    "split_half_accuracy",
    "split_half_cosine",
    "top_direction",
]

_CELLS = 1 << 22  # cosines held at once: 16 MB
_NOISE = 1e-9  # by which the cosines of the same two vectors may differ


def effective_rank(vectors: NDArray[np.floating]) -> float:
    """How many directions the vectors use, from 1 to min(B, D): exp of the entropy of the shares of singular values.

    NaN where all vectors are zero.

    Args:
        vectors: (B, D) as they are, not centred.

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
    """The share of the vectors' energy that lies along one direction, from 1 / min(B, D) to 1: one cone, or a ball.

    The largest squared singular value over the sum of all; NaN where all vectors are zero.

    Args:
        vectors: (B, D) as they are, not centred: what everybody shares counts.

    Examples:
        >>> round(top_direction(np.eye(4)), 4), round(top_direction(np.diag([3.0, 1.0])), 4)  # 9 / (9 + 1)
        (0.25, 0.9)
    """
    energies = _energies(vectors)
    return float(energies[-1] / energies.sum()) if energies.any() else float("nan")


def hubness(vectors: NDArray[np.floating], k: int = 10) -> float:
    """The skewness of how often each person is among the k nearest of another, by cosine: about 0 without hubs.

    NaN where that is the same for everybody, or where all vectors are the same and no neighbour is nearer than another.
    Time grows with the square of B; memory does not, as the cosines are taken in chunks.

    Args:
        vectors: (B, D); ties stand in the order of the rows.
        k: Neighbours; all others where there are fewer.

    Source: Radovanović et al. 2010, "Hubs in Space".

    Examples:
        >>> hub = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
        >>> round(hubness(hub, 1), 4)  # everybody is nearest to the first, who is nearest to the second: 3, 1, 0, 0
        0.8165
    """
    units = unit_rows(vectors).astype(np.float32)
    users = len(units)
    if users < 2 or not np.ptp(units, axis=0).any():  # noqa: PLR2004  one person has no neighbour
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
    """(B,) from -1 to 1: how near the vectors of two halves of one history are; 0 where a vector is zero.

    Args:
        first: (B, D) one vector a person, of one half.
        second: (B, D) of the other half.

    Examples:
        >>> split_half_cosine(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[2.0, 0.0], [1.0, -1.0]])).round(4)
        array([1., 0.])
    """
    return 1.0 - cosine_distance(first, second)


def between_user_cosine(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """(B,) from -1 to 1: `split_half_cosine` where the second half is the next person's, and the first one's for the last.

    What two halves of one person must be seen against; NaN where there is only one person.

    Args:
        first: (B, D) one vector a person, of one half.
        second: (B, D) of the other half.

    Examples:
        >>> between_user_cosine(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[2.0, 0.0], [1.0, -1.0]])).round(4)
        array([0.7071, 0.7071])
    """
    if len(first) == 1:
        return np.array([np.nan])
    return split_half_cosine(first, np.roll(second, -1, axis=0))


def split_half_accuracy(
    first: NDArray[np.floating], second: NDArray[np.floating], strangers: int = 20
) -> NDArray[np.float64]:
    """(B,) from 0 to 1: the share of strangers that are farther from the first half of a history than its second half is.

    1 where nobody's second half is as near as one's own, 0.5 where vectors tell people apart no better than chance; a
    stranger who is as near counts half. Strangers stand in even steps through the rows, the same steps for everybody,
    and are met one after another, so that memory is that of one more half. NaN where there is only one person.

    Args:
        first: (B, D) one vector a person, of one half.
        second: (B, D) of the other half.
        strangers: How many others everybody meets; all where there are fewer.

    Examples:
        >>> split_half_accuracy(np.eye(3), np.eye(3)), split_half_accuracy(np.eye(2), 1 - np.eye(2)), split_half_accuracy(*np.ones((2, 2, 2)))
        (array([1., 1., 1.]), array([0., 0.]), array([0.5, 0.5]))
    """
    users = len(first)
    met = min(strangers, users - 1)
    if met < 1:
        return np.full(users, np.nan)
    left, right = unit_rows(first), unit_rows(second)
    own = np.einsum("bd,bd->b", left, right)
    won = np.zeros(users)
    for step in 1 + np.arange(met) * (users - 2) // max(1, met - 1):  # from the next person to the one before
        ahead = own - np.einsum("bd,bd->b", left, np.roll(right, -step, axis=0))
        won += np.where(np.abs(ahead) <= _NOISE, 0.5, ahead > 0)
    return won / met


def _energies(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """(min(B, D),) the squared singular values, smallest first; those that are nothing but rounding are 0.

    From the products of columns (or of rows, where these are fewer), since a whole decomposition of 100,000 people takes
    seconds.
    """
    wide = vectors.astype(np.float64)
    products = wide.T @ wide if wide.shape[0] >= wide.shape[1] else wide @ wide.T
    energies = np.linalg.eigvalsh(products)
    noise = energies[-1] * max(wide.shape) * np.finfo(np.float64).eps
    return np.where(energies > noise, energies, 0.0)


def _skewness(values: NDArray[np.float64]) -> float:
    """The third moment over the standard deviation cubed; NaN where all values are the same."""
    apart = values - values.mean()
    spread = np.mean(apart**2)
    return float(np.mean(apart**3) / spread**1.5) if spread else float("nan")

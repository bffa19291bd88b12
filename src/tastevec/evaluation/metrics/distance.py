"""Distances: how far a person's vector is from the films that were hidden.

Dimension letters: B users, N items, D dimensions, T hidden films.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["cosine_distance", "mean_direction", "mean_of_targets", "unit_rows", "without_direction"]

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

"""Where each film starts in the collaborative space: at its own factors, or where its content says it should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["VECTOR_ORIGINS", "InitialVectors", "VectorOrigin", "initial_vectors"]

VectorOrigin = Literal["none", "content", "collaborative", "both"]
VECTOR_ORIGINS: Final[tuple[VectorOrigin, ...]] = get_args(VectorOrigin)


@dataclass(frozen=True, eq=False)
class InitialVectors:
    """The start of every film.

    Attributes:
        vectors: (N, D) float32.
        origins: (N,) str, for each film one of ``VECTOR_ORIGINS``.
    """

    vectors: NDArray[np.float32]
    origins: NDArray[np.str_]


def initial_vectors(
    collaborative: NDArray[np.float32],
    content: NDArray[np.float32],
    counts: NDArray[np.integer[Any]],
    *,
    shrinkage: float = 10.0,
    ridge: float = 1.0,
) -> InitialVectors:
    """Collaborative factors, shrunk to what content predicts where few people stand behind them.

    A film whose factors n training people shaped takes n / (n + shrinkage) of its own factors and the rest of
    a ridge prediction from its content, which is fitted on all films with both, weighted in the same way. A film
    without content keeps its own factors; one without people takes the prediction whole; one with neither, zeros.

    Selected on ml-1m's validation people, leaving most ratings of a fifth of the well-known films out of the
    training: NDCG@20 among these films is .30 / .28 / .30 where 1 / 10 / 30 people are left, against .11 / .13 / .21
    for factors alone, and .29 where nobody is; NDCG@100 over the whole catalogue falls from .488 to .486.

    Args:
        collaborative: (N, D) as ``als_factors`` gives them.
        content: (N, C) as ``content_vectors`` gives them, zeros where a film has none.
        counts: (N,) training people a film, as ``film_counts`` gives them.
        shrinkage: People at whom a film's own factors weigh as much as its content.
        ridge: Penalty of the prediction, in the unit of the content's squares.

    Returns:
        The vectors and where each came from.
    """
    watched, described = np.asarray(counts > 0), np.asarray(content.any(axis=1))
    trust = np.asarray(counts / (counts + shrinkage))[:, None]  # (N, 1)
    vectors = np.where(watched[:, None], collaborative, 0.0)
    both = watched & described
    if both.any():
        predicted = _predict(content, collaborative, np.where(both, trust[:, 0], 0.0), ridge)  # (N, D)
        vectors = np.where(described[:, None], trust * vectors + (1 - trust) * predicted, vectors)
    else:  # nothing to learn the prediction from
        described = np.zeros_like(described)
    origins = np.array(VECTOR_ORIGINS)[described + 2 * watched]
    return InitialVectors(vectors.astype(np.float32), origins)


def _predict(
    content: NDArray[np.float32], wanted: NDArray[np.float32], weights: NDArray[np.float64], ridge: float
) -> NDArray[np.float64]:
    """(N, D) weighted ridge regression of ``wanted`` on ``content``, with an unpenalised mean."""
    shares = weights / weights.sum()
    mean_content, mean_wanted = shares @ content, shares @ wanted
    centred = content - mean_content  # (N, C)
    weighted = weights[:, None] * centred
    normal = centred.T @ weighted + ridge * np.eye(content.shape[1])  # (C, C)
    slopes = np.linalg.solve(normal, weighted.T @ (wanted - mean_wanted))  # (C, D)
    return np.asarray(centred @ slopes + mean_wanted)

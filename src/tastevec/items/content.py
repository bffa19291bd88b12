"""Film vectors from what is said about films: their tags, genres, year, title words and genome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tastevec.items.features import ContentFeatures
from tastevec.items.reduction import reduce_rank

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from tastevec.items.genome import Genome

__all__ = ["content_vectors", "reduce_features"]

_ITERATIONS = 7


def content_vectors(
    items: pa.Table, tags: pa.Table, genome: Genome | None = None, *, dim: int = 64, seed: int = 42
) -> NDArray[np.float32]:
    """What is known of each film in ``dim`` numbers; a row of zeros where nothing is, or nothing sets it apart.

    Args:
        items: N films with ``item_id``, ``title``, ``year``, ``genres``.
        tags: What was said of films, ``item_id``, ``tag``, ``weight``; films not in ``items`` are passed over. Leave
            out the tags of people who must stay unseen.
        genome: Where there is one, for the films that it holds.
        dim: Numbers a film.
        seed: Seed of the SVD.

    Returns:
        (N, dim) float32.
    """
    rows = ContentFeatures.fit(items, tags, genome).rows(items, tags, genome)
    return reduce_features(rows, dim=dim, seed=seed)


def reduce_features(rows: csr_matrix, *, dim: int = 64, seed: int = 42) -> NDArray[np.float32]:
    """(N, dim) what `ContentFeatures` says of each film, made short.

    TruncatedSVD reduces the rows, and the mean of the films that have any content is taken away, for else all vectors
    share one direction. They are not scaled: earlier columns matter more, and a film of which little is known is short.

    Args:
        rows: (N, F) features.
        dim: Numbers a film.
        seed: Seed of the SVD.
    """
    known = np.flatnonzero(np.diff(rows.indptr))
    vectors = np.zeros((rows.shape[0], dim), np.float32)
    if len(known):
        told = rows if len(known) == len(vectors) else rows[known]  # not copied without need
        reduced = reduce_rank(told, dim, n_iter=_ITERATIONS, seed=seed)
        vectors[known] = reduced - reduced.mean(axis=0)
    return vectors

"""Nearest vectors by exact search: similar users and similar items.

Dimensions: B queries, M known vectors, D dimensions, K nearest.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.arrays import READ_ERRORS, check_ids, vector_type
from tastevec.errors import DataError, SettingsError, SourceError
from tastevec.schema import ALIGNED_COSINE, ALIGNED_FROM, RANK, SIMILARITY, USER_ID, VECTOR, Horizon
from tastevec.serving.embeddings import Embeddings, check_vectors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class Neighbors:
    """M vectors, indexed for the nearest by cosine.

    Attributes:
        ids: (M,) their IDs.
        vectors: (M, D) float32, of any length; a vector of zeros is near none.
        horizon: The horizon of user vectors; None where it is unknown, or of items.
    """

    def __init__(
        self, ids: NDArray[Any], vectors: NDArray[np.float32], horizon: Horizon | None = None
    ) -> None:
        import faiss  # noqa: PLC0415  an extra

        self.ids, self.vectors, self.horizon = ids, vectors, horizon
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(_unit(vectors))

    def __len__(self) -> int:
        """M."""
        return len(self.ids)

    def nearest(self, vectors: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the indices (B, K) of the nearest known vectors, nearest first, and their cosines in [-1, 1].

        Args:
            vectors: (B, D) queries.
            k: Neighbors per query; K is at most M.
        """
        cosines, indices = self._index.search(_unit(vectors), min(k, len(self)))
        return indices, cosines


def read_user_vectors(
    users: Path | str | pa.Table | Embeddings, space: str, *, horizon: Horizon | None = None
) -> Neighbors:
    """Return user vectors that ``encode`` wrote.

    Args:
        users: A Parquet file or a table of user_id and vector, or `Embeddings`.
        space: The space of the model: vectors of two spaces are not comparable.
        horizon: The required horizon; None accepts any.

    Raises:
        SourceError: The file cannot be read.
        DataError: It is not a table of vectors, or its vectors are of another space.
        SettingsError: Its vectors are of another horizon.

    Warns:
        UserWarning: The vectors were aligned from another space.
    """
    if isinstance(users, Embeddings):
        users = users.to_arrow()
    name = "users" if isinstance(users, pa.Table) else str(users)
    try:
        table = users if isinstance(users, pa.Table) else pq.read_table(users)
        table.validate(full=True)
    except READ_ERRORS as error:
        raise SourceError(
            f"{name}: cannot be read ({error}). Expected a Parquet file from tastevec encode."
        ) from error
    kind = vector_type(table.schema)
    if kind is None or table[USER_ID].null_count or table[VECTOR].null_count:
        raise DataError(
            f"{name}: columns {', '.join(table.column_names)}. Expected user_id and vector (a fixed-size list of numbers), without "
            "NULL, as from tastevec encode."
        )
    check_ids(table[USER_ID], f"{name}, column {USER_ID}")
    found = _check_metadata(table.schema.metadata or {}, name, space, horizon)
    if not len(table):
        raise DataError(f"{name}: no users. Expected at least one. Run: tastevec encode MODEL HISTORIES")
    flat = table[VECTOR].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors = np.ascontiguousarray(flat.reshape(len(table), kind.list_size), np.float32)
    if not np.isfinite(vectors).all():
        raise DataError(
            f"{name}: a vector contains NaN or infinity. Expected finite numbers. Encode these users again."
        )
    return Neighbors(table[USER_ID].to_numpy(), vectors, found)


def _check_metadata(
    metadata: dict[bytes, bytes], name: str, space: str, horizon: Horizon | None
) -> Horizon | None:
    """Return the horizon in the metadata; refuse vectors of another space or horizon; warn about aligned vectors."""
    names = ("space", "horizon", ALIGNED_FROM, ALIGNED_COSINE)
    facts = {name: value.decode() for name in names if (value := metadata.get(name.encode())) is not None}
    found = facts.get("horizon")
    check_vectors(name, facts.get("space", space), found, space, horizon)
    if (source := facts.get(ALIGNED_FROM)) is not None:
        warnings.warn(
            f"{name}: vectors were aligned from space {source}, so similarities are approximate (held-out mean cosine of items: "
            f"{facts.get(ALIGNED_COSINE, 'unknown')})",
            stacklevel=3,
        )
    return cast("Horizon", found) if found in get_args(Horizon) else None


def at_least_one(k: int) -> int:
    """Return the number of results; refuse one below 1."""
    if k < 1:
        raise SettingsError(f"k: {k}. Expected 1 or more.")
    return k


def neighbor_pairs(
    name: str,
    ids: NDArray[Any],
    known: NDArray[Any],
    indices: NDArray[np.int64],
    cosines: NDArray[np.float32],
) -> pa.RecordBatch:
    """Return the result (B, K) of `Neighbors.nearest` as rows: the ID, ``similar_`` and the other's ID, rank, similarity.

    ``name`` is the column of the IDs (B,), ``known`` are those of the known vectors.
    """
    nearest = indices.shape[1]
    columns = {
        name: pa.array(np.repeat(ids, nearest)),
        f"similar_{name}": pa.array(known[indices.ravel()]),
        RANK: pa.array(np.tile(np.arange(1, nearest + 1, dtype=np.int32), len(ids))),
        SIMILARITY: pa.array(cosines.ravel()),
    }
    return pa.record_batch(columns)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.where(lengths > 0, lengths, 1.0), np.float32)

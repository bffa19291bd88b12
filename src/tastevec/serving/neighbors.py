"""Nearest vectors by exact search: similar users and similar items.

Dimensions: B queries, M known vectors, D dimensions, K nearest.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.arrays import READ_ERRORS, check_ids, vector_type
from tastevec.errors import DataError, SourceError
from tastevec.schema import ALIGNED_COSINE, ALIGNED_FROM, USER_ID, VECTOR

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.schema import Horizon


class Neighbors:
    """M vectors, indexed for the nearest by cosine.

    Attributes:
        ids: (M,) their IDs.
        vectors: (M, D) float32, of any length; a vector of zeros is near none.
    """

    def __init__(self, ids: NDArray[Any], vectors: NDArray[np.float32]) -> None:
        import faiss  # noqa: PLC0415  an extra

        self.ids, self.vectors = ids, vectors
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
    users: Path | str | pa.Table, space: str, *, horizon: Horizon | None = None
) -> Neighbors:
    """Return user vectors that ``encode`` wrote.

    Args:
        users: A Parquet file or a table of user_id and vector.
        space: The space of the model: vectors of two spaces are not comparable.
        horizon: The required horizon; None accepts any.

    Raises:
        SourceError: The file cannot be read.
        DataError: It is not a table of vectors, or its vectors are of another space or horizon.

    Warns:
        UserWarning: The vectors were aligned from another space.
    """
    name = "user vectors" if isinstance(users, pa.Table) else str(users)
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
    _check_metadata(table.schema.metadata or {}, name, space, horizon)
    if not len(table):
        raise DataError(f"{name}: no users. Expected at least one. Run: tastevec encode MODEL HISTORIES")
    flat = table[VECTOR].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors = np.ascontiguousarray(flat.reshape(len(table), kind.list_size), np.float32)
    if not np.isfinite(vectors).all():
        raise DataError(
            f"{name}: a vector contains NaN or infinity. Expected finite numbers. Encode these users again."
        )
    return Neighbors(table[USER_ID].to_numpy(), vectors)


def _check_metadata(metadata: dict[bytes, bytes], name: str, space: str, horizon: Horizon | None) -> None:
    """Refuse vectors of another space or horizon; warn about aligned vectors."""
    found = metadata.get(b"space", space.encode()).decode()
    if found != space:
        raise DataError(
            f"{name}: vectors have space {found}. Expected {space}, the space of the model. Encode these users with this model."
        )
    if (source := metadata.get(ALIGNED_FROM.encode())) is not None:
        cosine = metadata.get(ALIGNED_COSINE.encode(), b"unknown").decode()
        warnings.warn(
            f"{name}: vectors were aligned from space {source.decode()}, so similarities are approximate (held-out mean cosine of "
            f"items: {cosine})",
            stacklevel=3,
        )
    found = metadata.get(b"horizon", (horizon or "").encode()).decode()
    if horizon is not None and found != horizon:
        raise DataError(
            f"{name}: vectors have horizon {found}. Expected {horizon}. Run tastevec encode with --horizon {horizon}."
        )


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.where(lengths > 0, lengths, 1.0), np.float32)

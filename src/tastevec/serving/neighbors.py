"""Nearest vectors, exactly: people among people, films among films.

Dimensions: B asked, M known, D numbers a vector, K nearest.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.arrays import READ_ERRORS, vector_type
from tastevec.errors import DataError, SourceError
from tastevec.schema import ALIGNED_COSINE, ALIGNED_FROM, USER_ID, VECTOR

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.schema import Horizon

__all__ = ["Neighbors", "read_user_vectors"]


@dataclass(frozen=True, eq=False)
class Neighbors:
    """M vectors that can be asked which of them are nearest, by the cosine.

    Attributes:
        ids: (M,) whose they are.
        vectors: (M, D) float32 as given; one of zeros is near nobody.
    """

    ids: NDArray[Any]
    vectors: NDArray[np.float32]

    def __post_init__(self) -> None:
        import faiss  # noqa: PLC0415  an extra

        index = faiss.IndexFlatIP(self.vectors.shape[1])
        index.add(_unit(self.vectors))
        object.__setattr__(self, "_index", index)

    def __len__(self) -> int:
        """M."""
        return len(self.ids)

    def nearest(self, vectors: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """(B, K) places among the known, nearest first, and their cosines in [-1, 1]; K is M at most.

        Args:
            vectors: (B, D).
            k: How many.
        """
        index: Any = self._index  # type: ignore[attr-defined]  # made once, of a frozen class
        similarities, places = index.search(_unit(vectors), min(k, len(self)))
        return places, similarities


def read_user_vectors(
    users: Path | str | pa.Table, space: str, *, horizon: Horizon | None = None
) -> Neighbors:
    """People whose vectors were written by ``encode``.

    Args:
        users: A Parquet file or a table of user_id and vector.
        space: That of the model that is asked: vectors of two spaces are not to be compared.
        horizon: The only one that is taken, where one is given.

    Raises:
        SourceError: The file cannot be read.
        DataError: It is no table of vectors, or its vectors are of another space or horizon.

    Warns:
        UserWarning: The vectors were turned into this space from another one.
    """
    try:
        table = users if isinstance(users, pa.Table) else pq.read_table(users)
        table.validate(full=True)
    except READ_ERRORS as error:
        raise SourceError(
            f"{users} cannot be read ({error}); expected a Parquet file that tastevec encode wrote"
        ) from error
    kind = vector_type(table.schema)
    if kind is None or table[USER_ID].null_count or table[VECTOR].null_count:
        raise DataError(
            f"people have the columns {', '.join(table.column_names)}; expected user_id and vector, a fixed-size list of numbers, none of them missing, as "
            "tastevec encode writes them"
        )
    told = table.schema.metadata or {}
    found = told.get(b"space", space.encode()).decode()
    if found != space:
        raise DataError(
            f"people's vectors are of the space {found}, and the model's is {space}; encode these people with this model"
        )
    if (turned := told.get(ALIGNED_FROM.encode())) is not None:
        cosine = told.get(ALIGNED_COSINE.encode(), b"unknown").decode()
        warnings.warn(
            f"people's vectors were turned into this space from {turned.decode()}: near is approximate (mean cosine of films that had "
            f"no part in it: {cosine})",
            stacklevel=2,
        )
    answer = told.get(b"horizon", (horizon or "").encode()).decode()
    if horizon is not None and answer != horizon:
        raise DataError(
            f"people's vectors are of the horizon {answer}; expected {horizon}: run tastevec encode with --horizon {horizon}"
        )
    if not len(table):
        raise DataError("people hold nobody; expected one at least: run tastevec encode on their histories")
    flat = table[VECTOR].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors = np.ascontiguousarray(flat.reshape(len(table), kind.list_size), np.float32)
    if not np.isfinite(vectors).all():
        raise DataError("people hold a vector with a number that is none; encode them again")
    return Neighbors(table[USER_ID].to_numpy(), vectors)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.where(lengths > 0, lengths, 1.0), np.float32)

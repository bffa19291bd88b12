"""A file of vectors, as ``tastevec encode`` writes it, put into the database of people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastevec.data.arrays import DAMAGE, vector_type
from tastevec.errors import DataError, SourceError
from tastevec.schema import USER_ID, VECTOR, Horizon
from tastevec.serving.stored.people import horizon_of

if TYPE_CHECKING:
    from pathlib import Path

    from tastevec.serving.stored.people import PeopleStore

__all__ = ["load_parquet"]

_ROWS = 2_000  # of a file that are written together


def load_parquet(store: PeopleStore, path: Path | str) -> int:
    """Store the people of a file that ``encode`` wrote, group by group; how many they are.

    A load that breaks off leaves those stored who came before; loading again completes it.

    Raises:
        SourceError: The file cannot be read.
        DataError: It is no such file, or somebody stands in it twice.
        StoreError: The database does not answer.
    """
    try:
        with pq.ParquetFile(path) as file:
            space, horizon = _told_by(file.schema_arrow, path)
            ids = file.read([USER_ID])[USER_ID]
            if pc.count_distinct(ids).as_py() < len(ids):
                raise DataError(
                    f"somebody stands twice in {path}; expected each person once: encode them again"
                )
            for batch in file.iter_batches(_ROWS, columns=[USER_ID, VECTOR]):
                if batch[USER_ID].null_count or batch[VECTOR].null_count:
                    raise DataError(
                        f"{path} holds somebody without an id or a vector; expected both of everybody: encode them again"
                    )
                flat = batch[VECTOR].flatten().to_numpy(zero_copy_only=False)
                store.upsert(space, batch[USER_ID].to_pylist(), {horizon: flat.reshape(len(batch), -1)})
            return len(ids)
    except DAMAGE as error:
        raise SourceError(
            f"{path} cannot be read ({error}); expected a Parquet file that tastevec encode wrote"
        ) from error


def _told_by(schema: pa.Schema, path: Path | str) -> tuple[str, Horizon]:
    """The space and the horizon of a file of vectors."""
    facts = schema.metadata or {}
    if vector_type(schema) is None or not {b"space", b"horizon"} <= set(facts):
        raise DataError(
            f"{path} does not say whose vectors of which space it holds; expected user_id, vector, space and horizon, as "
            "tastevec encode writes them"
        )
    return facts[b"space"].decode(), horizon_of(facts[b"horizon"].decode())

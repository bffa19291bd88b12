"""Shards: long results written shard by shard, so that an interrupted run resumes."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.files import atomic_file, check_replaceable, only_writer, result_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tastevec.data.files import Inputs
    from tastevec.data.histories import Histories

_INPUT_DIGEST: Final = "input_digest"
_NAME: Final = "shard-[0-9][0-9][0-9][0-9][0-9][0-9]*.parquet"


def input_digest(group: Histories, how: str) -> str:
    """Return a digest of everything that the result of these users depends on; ``how``: the model and the settings."""
    digest = hashlib.blake2b(how.encode(), digest_size=16)
    digest.update(repr(group.user_ids.tolist()).encode())
    for rows in (group.offsets, group.items, group.ratings, group.normalized_ratings, group.timestamps):
        digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()


@contextmanager
def open_shards(out: Path, schema: pa.Schema, *, inputs: Inputs = ()) -> Iterator[ShardWriter]:
    """Yield a writer of the Parquet file ``out`` that collects shards in the folder ``OUT.unfinished`` until `ShardWriter.join`.

    If the block raises, the shards remain, and a later block with the same inputs does not compute them again. An
    earlier result ``out`` remains until the new one is complete.

    Raises:
        FormatError: ``out`` is something else or one of the ``inputs``, or another process writes it.
        OSError: The folder is not writable.
    """
    check_replaceable(out, inputs=inputs)
    writer = ShardWriter(out, schema)
    with only_writer(writer.folder):
        yield writer


@dataclass
class ShardWriter:
    """A writer of the Parquet file ``out`` in shards, ``count`` so far; see `open_shards`."""

    out: Path
    schema: pa.Schema
    count: int = 0

    @property
    def folder(self) -> Path:
        """The folder of the shards."""
        return self.out.with_name(f"{self.out.name}.unfinished")

    def add(self, digest: str, compute: Callable[[], Iterable[pa.RecordBatch]]) -> bool:
        """Write the next shard, of this `input_digest`, atomically; return False if it exists already."""
        shard = self._shard(self.count)
        exists = _digest_of(shard) == digest
        if not exists:
            schema = self.schema.with_metadata({_INPUT_DIGEST: digest})
            with atomic_file(shard) as temporary, self._parquet(temporary, schema) as parquet:
                for batch in compute():
                    parquet.write_batch(batch.cast(schema))
        self.count += 1
        return not exists

    def join(self) -> int:
        """Write all shards as the file, atomically, and remove them; return the number of rows."""
        rows = 0
        with result_file(self.out) as temporary, self._parquet(temporary, self.schema) as parquet:
            for number in range(self.count):
                with pq.ParquetFile(self._shard(number)) as shard:
                    for group in range(shard.num_row_groups):
                        parquet.write_table(shard.read_row_group(group).cast(self.schema))
                    rows += shard.metadata.num_rows
        for pattern in (_NAME, f".{_NAME}.*.part"):  # also temporary files of killed runs
            for file in self.folder.glob(pattern):
                file.unlink()
        return rows

    def _shard(self, number: int) -> Path:
        return self.folder / f"shard-{number:06}.parquet"

    def _parquet(self, path: Path, schema: pa.Schema) -> pq.ParquetWriter:
        """Return a writer without dictionaries for vectors and scores, whose values hardly repeat."""
        repeated = [
            name
            for name, kind in zip(schema.names, schema.types, strict=True)
            if pa.types.is_integer(kind) or pa.types.is_string(kind)
        ]
        return pq.ParquetWriter(path, schema, use_dictionary=repeated)


def _digest_of(shard: Path) -> str | None:
    """Return the input digest of a shard; None if it is missing or damaged."""
    try:
        metadata = pq.read_schema(shard).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return None
    return str(metadata.get(_INPUT_DIGEST.encode(), b"").decode())

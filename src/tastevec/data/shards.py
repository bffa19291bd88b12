"""Shards: long results written part by part, so that an interrupted run resumes."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.files import atomic_file
from tastevec.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tastevec.data.histories import Histories

__all__ = ["ShardWriter", "fingerprint", "open_shards"]

_MADE_OF: Final = "made_of"


def fingerprint(group: Histories, made_by: str) -> str:
    """A name for what is made of these people's histories, the same only where all that it depends on is.

    Args:
        group: The people.
        made_by: All else: the model, the question.
    """
    told = hashlib.blake2b(made_by.encode(), digest_size=16)
    told.update(repr(group.user_ids.tolist()).encode())
    for rows in (group.offsets, group.items, group.ratings, group.normalized_ratings, group.timestamps):
        told.update(np.ascontiguousarray(rows).data)
    return told.hexdigest()


@contextmanager
def open_shards(out: Path, schema: pa.Schema) -> Iterator[ShardWriter]:
    """The parts of the Parquet file ``out``, in a folder ``OUT.unfinished`` beside it that is gone once they are together.

    Where the block is left early, the parts stay: a later block that asks for the same does not make them again.

    Args:
        out: An earlier file there stays until the new one is whole.
        schema: Of the file.

    Raises:
        FormatError: ``out`` is a folder.
        OSError: Nothing can be written there.
    """
    if out.is_dir():
        raise FormatError(f"{out} is a folder; expected the name of a file: name one with --out")
    parts = ShardWriter(out, schema)
    parts.folder.mkdir(parents=True, exist_ok=True)
    try:
        yield parts
    finally:
        with suppress(OSError):  # where something is in it, it stays
            parts.folder.rmdir()


@dataclass
class ShardWriter:
    """What `open_shards` gives.

    Attributes:
        out: The file.
        schema: Its columns.
        count: Parts so far.
    """

    out: Path
    schema: pa.Schema
    count: int = 0

    @property
    def folder(self) -> Path:
        """Where the parts lie meanwhile."""
        return self.out.with_name(f"{self.out.name}.unfinished")

    def add(self, made_of: str, make: Callable[[], Iterable[pa.RecordBatch]]) -> bool:
        """Put the next part on disk, whole or not at all; false where it lay there already.

        Args:
            made_of: The `fingerprint` of what the part is made from.
            make: Makes it.
        """
        part = self._part(self.count)
        there = _found(part) == made_of
        if not there:
            schema = self.schema.with_metadata({_MADE_OF: made_of})
            with atomic_file(part) as temporary, self._writer(temporary, schema) as writer:
                for batch in make():
                    writer.write_batch(batch.cast(schema))
        self.count += 1
        return not there

    def join(self) -> int:
        """Put the parts together as the file, whole or not at all; the number of rows."""
        rows = 0
        with atomic_file(self.out) as temporary, self._writer(temporary, self.schema) as writer:
            for number in range(self.count):
                with pq.ParquetFile(self._part(number)) as part:
                    for group in range(part.num_row_groups):
                        writer.write_table(part.read_row_group(group).cast(self.schema))
                    rows += part.metadata.num_rows
        for file in self.folder.glob("*part-*.parquet*"):  # and what a killed run began
            file.unlink()
        return rows

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:06}.parquet"

    def _writer(self, path: Path, schema: pa.Schema) -> pq.ParquetWriter:
        """A dictionary of vectors or scores, of which hardly two are the same, would only be in the way."""
        repeated = [
            told.name for told in schema if pa.types.is_integer(told.type) or pa.types.is_string(told.type)
        ]
        return pq.ParquetWriter(path, schema, use_dictionary=repeated)


def _found(part: Path) -> str | None:
    """What a part was made from; None where there is none that is whole."""
    try:
        told = pq.read_schema(part).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return None
    return str(told.get(_MADE_OF.encode(), b"").decode())

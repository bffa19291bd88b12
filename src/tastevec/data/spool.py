"""Results of the engine put on disk and read back a batch at a time, so that no result is ever whole in memory."""

from __future__ import annotations

import errno
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow.parquet as pq

from tastevec.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ibis
    import pyarrow as pa

__all__ = ["plain_errors", "spooled"]

_ROWS = 131_072  # a batch of five columns is about 4 MB


def spooled(
    table: ibis.Table, *, connection: ibis.BaseBackend | None = None, folder: Path | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of ``table``, in its order.

    They pass through a file rather than through an open cursor: a cursor keeps its connection busy, and another query
    on that connection would cut the rows short (in DuckDB 1.4 and 1.5 without a word).

    Args:
        table: Any expression; it runs when the first batch is asked for.
        connection: The engine that runs it; None is the one that the table belongs to.
        folder: Where the file lies meanwhile; None is the system's temporary folder.

    Raises:
        SettingsError: Memory or disk do not suffice.
    """
    with tempfile.TemporaryDirectory(prefix=".tastevec-spool-", dir=folder) as place:
        file = Path(place) / "rows.parquet"
        with plain_errors("sorting the interactions"):
            (connection or table.get_backend()).to_parquet(table, file)
        with pq.ParquetFile(file, pre_buffer=False) as rows:  # a pre-buffer would hold whole columns
            yield from rows.iter_batches(batch_size=_ROWS)


@contextmanager
def plain_errors(doing: str) -> Iterator[None]:
    """Turn a full memory or a full disk, met while ``doing`` something, into one sentence.

    Raises:
        SettingsError: DuckDB or the file system ran out of room.
    """
    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        raise _no_room(doing, error) from error
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise _no_room(doing, error) from error


def _no_room(doing: str, error: BaseException) -> SettingsError:
    found = str(error).strip().splitlines()[0].rstrip(".")
    return SettingsError(
        f"no room was left while {doing} ({found}); "
        "raise the memory setting, free some disk, or name an output on a larger disk"
    )

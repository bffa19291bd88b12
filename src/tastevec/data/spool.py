"""Results of the engine put on disk and read back a batch at a time, so that no result is ever whole in memory."""

from __future__ import annotations

import errno
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow.parquet as pq

from tastevec.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ibis
    import pyarrow as pa

__all__ = ["plain_errors", "portions", "spooled"]

_ROWS = 131_072  # a batch of five columns is about 4 MB
_SORTED_ROWS = 8_000_000  # at once: 350 MB
_MOST_PORTIONS = 16  # each reads all rows again, where the source is in no order


def portions(people: pa.Table, rows: str) -> Iterator[pa.Table]:
    """Consecutive people, in groups whose rows are sorted together, so that memory does not grow with the number of rows.

    Args:
        people: At least one.
        rows: The column that says how many rows each of them has.
    """
    ends = np.cumsum(people[rows].to_numpy())
    group = (ends - 1) // max(_SORTED_ROWS, -(-int(ends[-1]) // _MOST_PORTIONS))
    starts = np.flatnonzero(np.diff(group, prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(people)], strict=True):
        yield people.slice(start, end - start)


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

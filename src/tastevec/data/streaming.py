"""Streaming of histories from a file too large for memory, sorted by user, in batches of complete users."""

from __future__ import annotations

import errno
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastevec.data.expressions import indexed_histories
from tastevec.data.histories import Histories, normalize_ratings
from tastevec.errors import SettingsError
from tastevec.schema import ITEM_ID, USER_ID

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from numpy.typing import NDArray


__all__ = [
    "ROWS",
    "USERS",
    "HistoryStream",
    "iter_histories",
    "iter_user_batches",
    "materialize",
    "storage_errors",
    "table_to_histories",
    "user_ranges",
]

_ROWS = 131_072  # a batch of five columns is about 4 MB
_SORTED_ROWS = 8_000_000  # at once: 350 MB
_MOST_PORTIONS = 16  # each reads all rows again, where the source is in no order


def user_ranges(users: pa.Table, rows: str) -> Iterator[pa.Table]:
    """Consecutive people, in groups whose rows are sorted together, so that memory does not grow with the number of rows.

    Args:
        users: At least one.
        rows: The column that says how many rows each of them has.
    """
    ends = np.cumsum(users[rows].to_numpy())
    group = (ends - 1) // max(_SORTED_ROWS, -(-int(ends[-1]) // _MOST_PORTIONS))
    starts = np.flatnonzero(np.diff(group, prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(users)], strict=True):
        yield users.slice(start, end - start)


def materialize(
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
        with storage_errors("sorting the interactions"):
            (connection or table.get_backend()).to_parquet(table, file)
        with pq.ParquetFile(file, pre_buffer=False) as rows:  # a pre-buffer would hold whole columns
            yield from rows.iter_batches(batch_size=_ROWS)


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
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


USERS = 4096  # of a group at most
ROWS = 1 << 20  # of a group at most, 24 MB, unless one person alone has more


def iter_user_batches(
    batches: Iterable[pa.RecordBatch], *, users: int = USERS, rows: int = ROWS
) -> Iterator[pa.Table]:
    """The same rows, cut between people only; where the batches are cut has no part in it.

    Args:
        batches: With a column ``user_id`` in which nobody comes back once somebody else has come.
        users: Of a group at most.
        rows: Of a group at most; a person with more is a group of his own.
    """
    held: list[pa.RecordBatch] = []
    starts, count, last = np.zeros(0, np.int64), 0, None  # each person's first row; all rows; who came last
    for batch in batches:
        if not len(batch):
            continue
        owners = batch.column(USER_ID)
        begins = _changes(owners)
        if held and owners[0] == last:
            begins = begins[1:]
        starts, last = np.concatenate([starts, begins + count]), owners[-1]
        held.append(batch)
        count += len(batch)
        while (end := _end(starts, count, users, rows)) is not None:
            table = pa.Table.from_batches(held)
            yield table.slice(0, end)
            held = table.slice(end).to_batches()
            starts, count = starts[starts >= end] - end, count - end
    if held:
        yield pa.Table.from_batches(held)


def table_to_histories(table: pa.Table) -> Histories:
    """The people of a group.

    Args:
        table: user_id, items (-1 or NULL where the catalogue does not hold the film), ratings (NULL where it was only
            tagged) and times, in the types of ``Histories``; person after person, each oldest first.
    """
    starts = _changes(table[USER_ID].combine_chunks())
    offsets = np.append(starts, len(table))
    ratings = table["ratings"].to_numpy()
    return Histories(
        user_ids=table[USER_ID].take(starts).to_numpy(),
        offsets=offsets,
        items=table["items"].fill_null(-1).to_numpy(),
        ratings=ratings,
        normalized_ratings=normalize_ratings(ratings, offsets),
        timestamps=table["timestamps"].to_numpy(),
    )


def _changes(owners: pa.Array) -> NDArray[np.int64]:
    """The first row, and each row whose person is not that of the row before."""
    changed = pc.not_equal(owners[1:], owners[:-1]).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(changed) + 1]).astype(np.int64)


def _end(starts: NDArray[np.int64], count: int, users: int, rows: int) -> int | None:
    """Where the first group ends; None while the next person may still belong to it."""
    ends = np.append(starts[1:], count)  # the last person's so far
    over = np.flatnonzero(ends[:users] > rows)
    first_out = max(int(over[0]) if len(over) else users, 1)  # one person fits, however many rows he has
    return int(starts[first_out]) if first_out < len(starts) else None


@dataclass
class HistoryStream:
    """An iterator over groups of people that counts what passes.

    Attributes:
        users: People given so far.
        interactions: Their interactions, known films and unknown.
        unknown: Those of them whose film the catalogue does not hold: left out.
    """

    _groups: Generator[Histories] = field(repr=False)
    users: int = 0
    interactions: int = 0
    unknown: int = 0

    def __iter__(self) -> HistoryStream:
        return self

    def close(self) -> None:
        """Give up whoever has not come yet, and the disk that their histories take."""
        self._groups.close()

    def __next__(self) -> Histories:
        told = next(self._groups)
        known = told.keep(told.items >= 0)
        self.users += len(told)
        self.interactions += len(told.items)
        self.unknown += len(told.items) - len(known.items)
        return known


def iter_histories(
    table: ibis.Table, item_ids: NDArray[Any], *, users_per_batch: int = USERS
) -> HistoryStream:
    """Groups of at most ``users_per_batch`` whole people and a million rows, by ascending user id, each person oldest first.

    Films that the catalogue does not hold are left out and counted; a person left with none is given with an empty
    history, so that the caller can answer for everybody. As in the preparation, a person's scale (``normalized_ratings``)
    is taken over all that he rated, known or not.

    Args:
        table: As ``read_interactions`` gives it.
        item_ids: (N,) the catalogue; a film's place is its index in the histories. Ids of different types (integers
            here, text there) are compared as text.
        users_per_batch: Of the memory that is used, this decides.

    Returns:
        An iterator of ``Histories`` that also counts.

    Raises:
        SettingsError: Memory or disk do not suffice to sort the table.
    """
    ids = pa.array(item_ids.tolist())
    catalog = ibis.memtable(pa.table({ITEM_ID: ids, "item": np.arange(len(ids), dtype=np.int32)}))
    rows = materialize(indexed_histories(table, catalog))
    return HistoryStream(
        table_to_histories(group) for group in iter_user_batches(rows, users=users_per_batch)
    )

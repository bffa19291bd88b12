"""Streaming of histories from a file too large for memory, sorted by user, in batches of complete users."""

from __future__ import annotations

import errno
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastevec.data.histories import Histories
from tastevec.errors import SettingsError
from tastevec.schema import ITEM_ID, USER_ID

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    import ibis
    from numpy.typing import NDArray

    from tastevec.data.value_scale import ValueScale


_ROWS = 131_072  # per batch: about 4 MB with five columns
_SORTED_ROWS = 8_000_000  # at once: 350 MB
_MAX_RANGES = 16  # each one reads all rows again if the source is not sorted


def user_ranges(users: pa.Table, rows: str) -> Iterator[pa.Table]:
    """Yield ranges of consecutive users whose rows are sorted together, so that memory does not grow with the number of rows.

    ``rows`` is the column of ``users`` (at least one) with the number of rows of each user.
    """
    ends = np.cumsum(users[rows].to_numpy())
    group = (ends - 1) // max(_SORTED_ROWS, -(-int(ends[-1]) // _MAX_RANGES))
    starts = np.flatnonzero(np.diff(group, prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(users)], strict=True):
        yield users.slice(start, end - start)


def materialize(
    table: ibis.Table, *, connection: ibis.BaseBackend | None = None, folder: Path | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of ``table``, in its order, through a temporary file.

    An open cursor would keep its connection busy, and another query on that connection would truncate the rows (in DuckDB
    1.4 and 1.5 without an error).

    Args:
        table: Any expression; it runs when the first batch is requested.
        connection: None is the engine of the table.
        folder: None is the system's temporary folder.

    Raises:
        SettingsError: Memory or disk are too small.
    """
    with tempfile.TemporaryDirectory(prefix=".tastevec-rows-", dir=folder) as temporary:
        file = Path(temporary) / "rows.parquet"
        with storage_errors("sorting the interactions"):
            (connection or table.get_backend()).to_parquet(table, file)
        with pq.ParquetFile(file, pre_buffer=False) as rows:  # a pre-buffer would load complete columns
            yield from rows.iter_batches(batch_size=_ROWS)


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn an error of full memory or a full disk into one that names the step, such as "sorting the interactions".

    Raises:
        SettingsError: DuckDB or the file system has no space left.
    """
    import duckdb  # noqa: PLC0415  Spark workers batch users without DuckDB

    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException, OSError) as error:
        if isinstance(error, OSError) and error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        found = str(error).strip().splitlines()[0].rstrip(".")
        raise SettingsError(
            f"no space left while {doing} ({found}). Expected more memory or disk. Raise --memory, free disk space, or "
            "choose --out on a larger disk"
        ) from error


MAX_USERS = 4096  # of a batch
MAX_ROWS = 1 << 20  # of a batch, 24 MB, unless one user alone has more


def iter_user_batches(
    batches: Iterable[pa.RecordBatch], *, users: int = MAX_USERS, rows: int = MAX_ROWS
) -> Iterator[pa.Table]:
    """Yield the same rows in batches of complete users; the result does not depend on the given batches.

    Args:
        batches: With a column ``user_id``; the rows of each user are consecutive.
        users: The maximum per batch.
        rows: The maximum per batch; a user with more is a batch alone.
    """
    held: list[pa.RecordBatch] = []
    starts, count, last = np.zeros(0, np.int64), 0, None  # each user's first row; all rows; the last user
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


def table_to_histories(table: pa.Table, scale: ValueScale, repeats: ValueScale | None = None) -> Histories:
    """Return a batch of complete users as histories.

    Args:
        table: user_id, items (-1 or NULL for unknown items), ratings (NULL in tag-only interactions) and timestamps, in
            the types of ``Histories``; user by user, oldest first.
        scale: The value scale, which normalizes the ratings.
        repeats: See `Histories`.
    """
    starts = _changes(table[USER_ID].combine_chunks())
    offsets, ratings = np.append(starts, len(table)), table["ratings"].to_numpy()
    return Histories(
        user_ids=table[USER_ID].take(starts).to_numpy(),
        offsets=offsets,
        items=table["items"].fill_null(-1).to_numpy(),
        ratings=ratings,
        normalized_ratings=scale.normalize(ratings, offsets),
        timestamps=table["timestamps"].to_numpy(),
        relative=scale.kind == "explicit",
        repeats=repeats,
    )


def _changes(owners: pa.Array) -> NDArray[np.int64]:
    """Return the first row, and each row whose user differs from that of the previous row."""
    changed = pc.not_equal(owners[1:], owners[:-1]).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(changed) + 1]).astype(np.int64)


def _end(starts: NDArray[np.int64], count: int, users: int, rows: int) -> int | None:
    """Return the end of the first batch; None while the next user may still belong to it."""
    ends = np.append(starts[1:], count)  # the last user's so far
    over = np.flatnonzero(ends[:users] > rows)
    first_out = max(int(over[0]) if len(over) else users, 1)  # one user always fits
    return int(starts[first_out]) if first_out < len(starts) else None


@dataclass
class HistoryStream:
    """An iterator over batches of histories with running counts.

    ``interactions`` are of known and unknown items, each item of a user once unless the model keeps repeats; the ``unknown``
    ones are ignored, and ``without_known`` users have no other. ``lengths`` are the interactions of each user of the latest
    batch.
    """

    _batches: Generator[Histories] = field(repr=False)
    users: int = 0
    interactions: int = 0
    unknown: int = 0
    without_known: int = 0
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __iter__(self) -> HistoryStream:
        return self

    def close(self) -> None:
        """Stop, and remove the temporary file."""
        self._batches.close()

    def __next__(self) -> Histories:
        histories = next(self._batches)
        known = histories.keep(histories.items >= 0)
        self.users += len(histories)
        self.lengths = histories.lengths
        self.interactions += len(histories.items)
        self.unknown += len(histories.items) - len(known.items)
        self.without_known += int((known.lengths == 0).sum())
        return known


def iter_histories(
    table: ibis.Table,
    item_ids: NDArray[Any],
    scale: ValueScale,
    repeats: ValueScale | None = None,
    *,
    users_per_batch: int = MAX_USERS,
) -> HistoryStream:
    """Return batches of at most ``users_per_batch`` complete users and a million rows, by ascending user id, oldest first.

    Unknown items are ignored and counted. A user without known items has an empty history, so that every user gets an
    embedding. As in the preparation, ``normalized_ratings`` depend on all ratings of the user, also of unknown items.

    Args:
        table: The result of ``read_interactions``.
        item_ids: (N,) the catalog; the position is the item index. Ids of different types (integers and texts) are
            compared as text.
        scale: The value scale, which normalizes the ratings.
        repeats: See `Histories`.
        users_per_batch: Determines the memory use.

    Raises:
        SettingsError: Memory or disk are too small to sort the table.
    """
    import ibis  # noqa: PLC0415  as in storage_errors

    from tastevec.data.expressions import indexed_histories  # noqa: PLC0415  as above

    ids = pa.array(item_ids.tolist())
    catalog = ibis.memtable(pa.table({ITEM_ID: ids, "item": np.arange(len(ids), dtype=np.int32)}))
    rows = materialize(indexed_histories(table, catalog))
    groups = iter_user_batches(rows, users=users_per_batch)
    return HistoryStream(table_to_histories(group, scale, repeats) for group in groups)

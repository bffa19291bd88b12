"""Rows that stand person after person, cut into groups of whole people, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.data.histories import Histories, normalise_ratings
from tastevec.schema import USER_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

__all__ = ["PEOPLE", "ROWS", "group_of", "whole_people"]

PEOPLE = 4096  # of a group at most
ROWS = 1 << 20  # of a group at most, 24 MB, unless one person alone has more


def whole_people(
    batches: Iterable[pa.RecordBatch], *, people: int = PEOPLE, rows: int = ROWS
) -> Iterator[pa.Table]:
    """The same rows, cut between people only; where the batches are cut has no part in it.

    Args:
        batches: With a column ``user_id`` in which nobody comes back once somebody else has come.
        people: Of a group at most.
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
        while (end := _end(starts, count, people, rows)) is not None:
            table = pa.Table.from_batches(held)
            yield table.slice(0, end)
            held = table.slice(end).to_batches()
            starts, count = starts[starts >= end] - end, count - end
    if held:
        yield pa.Table.from_batches(held)


def group_of(table: pa.Table) -> Histories:
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
        normalised=normalise_ratings(ratings, offsets),
        times=table["times"].to_numpy(),
    )


def _changes(owners: pa.Array) -> NDArray[np.int64]:
    """The first row, and each row whose person is not that of the row before."""
    changed = pc.not_equal(owners[1:], owners[:-1]).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(changed) + 1]).astype(np.int64)


def _end(starts: NDArray[np.int64], count: int, people: int, rows: int) -> int | None:
    """Where the first group ends; None while the next person may still belong to it."""
    ends = np.append(starts[1:], count)  # the last person's so far
    over = np.flatnonzero(ends[:people] > rows)
    first_out = max(int(over[0]) if len(over) else people, 1)  # one person fits, however many rows he has
    return int(starts[first_out]) if first_out < len(starts) else None

"""Histories of any number of people, a group at a time, for a model that already knows its films."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.data.histories import Histories, normalise_ratings
from tastevec.data.spool import spooled
from tastevec.data.tables import told_histories
from tastevec.schema import ITEM_ID, USER_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["HistoryStream", "iter_histories"]


@dataclass
class HistoryStream:
    """An iterator over groups of people that counts what passes.

    Attributes:
        users: People given so far.
        interactions: Their interactions, known films and unknown.
        unknown: Those of them whose film the catalogue does not hold: left out.
    """

    _groups: Iterator[Histories] = field(repr=False)
    users: int = 0
    interactions: int = 0
    unknown: int = 0

    def __iter__(self) -> HistoryStream:
        return self

    def __next__(self) -> Histories:
        told = next(self._groups)
        known = told.keep(told.items >= 0)
        self.users += len(told)
        self.interactions += len(told.items)
        self.unknown += len(told.items) - len(known.items)
        return known


def iter_histories(
    table: ibis.Table, item_ids: NDArray[Any], *, users_per_batch: int = 4096
) -> HistoryStream:
    """Groups of at most ``users_per_batch`` whole people, by ascending user id, each person oldest first.

    Films that the catalogue does not hold are left out and counted; a person left with none is given with an empty
    history, so that the caller can answer for everybody. As in the preparation, a person's scale (``normalised``)
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
    catalogue = ibis.memtable(pa.table({ITEM_ID: ids, "item": np.arange(len(ids), dtype=np.int32)}))
    rows = spooled(told_histories(table, catalogue))
    return HistoryStream(_histories(group) for group in _whole_people(rows, users_per_batch))


def _whole_people(batches: Iterator[pa.RecordBatch], most: int) -> Iterator[pa.Table]:
    """The same rows, cut between people only, ``most`` people a piece."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        table = pa.Table.from_batches([*held, batch])
        starts = _starts(table)
        while len(starts) > most:  # the last person may go on in the next batch
            yield table.slice(0, starts[most])
            table = table.slice(starts[most])
            starts = starts[most:] - starts[most]
        held = table.to_batches()
    if held:
        yield pa.Table.from_batches(held)


def _histories(table: pa.Table) -> Histories:
    """One group of people; ``items`` is -1 where the film is unknown."""
    starts = _starts(table)
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


def _starts(table: pa.Table) -> NDArray[np.int64]:
    """The first row of each person."""
    owner = table[USER_ID].combine_chunks()
    changes = pc.not_equal(owner[1:], owner[:-1]).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(changes) + 1]).astype(np.int64)

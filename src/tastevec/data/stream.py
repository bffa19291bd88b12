"""Histories of any number of people, a group at a time, for a model that already knows its films."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pyarrow as pa

from tastevec.data.groups import PEOPLE, group_of, whole_people
from tastevec.data.spool import spooled
from tastevec.data.tables import told_histories
from tastevec.schema import ITEM_ID

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

__all__ = ["HistoryStream", "iter_histories"]


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
    table: ibis.Table, item_ids: NDArray[Any], *, users_per_batch: int = PEOPLE
) -> HistoryStream:
    """Groups of at most ``users_per_batch`` whole people and a million rows, by ascending user id, each person oldest first.

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
    return HistoryStream(group_of(group) for group in whole_people(rows, people=users_per_batch))

"""What one pass over the judged rows found: how many there are of each kind, and where every one stands."""

# ruff: noqa: S608 -- each query is built from our own words only

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa

from tastevec.data.spark.kinds import is_whole
from tastevec.data.spark.verdicts import NOTHING
from tastevec.schema import ITEM_ID, USER_ID

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row

__all__ = ["Findings"]


@dataclass(frozen=True)
class Findings:
    """What was found.

    Attributes:
        groups: A row for each piece of a file and each fault in it: how many rows there are, the number of the first,
            and whether their ids are whole numbers.
    """

    groups: list[Row]

    @classmethod
    def of(cls, judged: DataFrame) -> Findings:
        """Of these rows, in one pass."""
        whole = [
            f"coalesce(bool_and({is_whole(f'CAST({role} AS STRING)')}), true) AS {role}"
            for role in (USER_ID, ITEM_ID)
        ]
        measures = ", ".join(["count(*) AS rows", "min(row) AS first", *whole])
        judged.createOrReplaceTempView("judged_rows")
        asked = f"SELECT file, block, fault, {measures} FROM judged_rows GROUP BY file, block, fault"
        return cls(judged.sparkSession.sql(asked).collect())

    @property
    def rows(self) -> int:
        """Rows in all, headers and blank lines not counted."""
        return sum(group.rows for group in self.groups if group.fault != NOTHING)

    @property
    def reasons(self) -> dict[str, int]:
        """Bad rows by what is wrong with them."""
        counts: dict[str, int] = {}
        for group in self.groups:
            if group.fault not in {None, NOTHING}:
                reason = group.fault.partition(":")[2]
                counts[reason] = counts.get(reason, 0) + group.rows
        return counts

    @property
    def whole(self) -> dict[str, bool]:
        """By role, whether every good id is a whole number in its own writing."""
        return {
            role: all(group[role] for group in self.groups if group.fault is None)
            for role in (USER_ID, ITEM_ID)
        }

    def pieces(self) -> list[tuple[str, int, int, int]]:
        """In the order of the source: file, where the piece begins, the number of its first row, how many rows it has."""
        sizes: dict[tuple[str, int], tuple[int, int]] = {}
        for group in self.groups:
            first, rows = sizes.get((group.file, group.block), (group.first, 0))
            sizes[group.file, group.block] = min(first, group.first), rows + group.rows
        return [(file, block, *size) for (file, block), size in sorted(sizes.items())]

    def shifts(self) -> pa.Table:
        """What to add to a row's number in its piece for its place in the source, from 0."""
        pieces = self.pieces()
        before = accumulate((rows for *_, rows in pieces), initial=0)
        return pa.table(
            {
                "file": pa.array([file for file, *_ in pieces], pa.string()),
                "block": pa.array([block for _, block, *_ in pieces], pa.int64()),
                "shift": pa.array(
                    [start - piece[2] for start, piece in zip(before, pieces, strict=False)], pa.int64()
                ),
            }
        )

    def file_of(self, position: int) -> tuple[str, int]:
        """The name of the file in which this row of the source stands, and its line there, from 1."""
        start, seen = 0, 0
        name = ""
        for file, _, _, rows in self.pieces():
            if file != name:
                name, start = file, seen
            seen += rows
            if position < seen:
                break
        return unquote(name.rpartition("/")[2]), position - start + 1

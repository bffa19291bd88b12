"""Rows of numbers read column by column in one pass, or left alone where anything at all is odd.

Judging rows one by one takes ten times as long and can say what is wrong with each. What is read here is what would
have come of that; of what cannot be proven right, nothing is kept, and the rows are judged.
"""

# ruff: noqa: S608 -- each query is built from our own words and from values that `literal` has quoted

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from tastevec.data.readers.text import sql_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tastevec.data.readers.by_columns import ByColumns
    from tastevec.data.readers.records import Records
    from tastevec.data.readers.rows import Column, Desk

__all__ = ["Numbers", "read_numbers"]

_WIDTH = "width"  # of what is not a whole number, in bytes


@dataclass(frozen=True)
class Numbers:
    """Rows without a fault.

    Attributes:
        path: A Parquet with a column for each role, row by row as in the file.
        rows: How many there are.
    """

    path: Path
    rows: int

    @property
    def table(self) -> str:
        """SQL of the same columns as a judged table has."""
        return f"(SELECT *, file_row_number AS line, NULL AS fault FROM {_parquet(self.path, number=True)})"

    def moved(self, folder: Path) -> Numbers:
        """The same rows, lying there from now on."""
        return Numbers(Path(shutil.move(self.path, folder / self.path.name)), self.rows)


def read_numbers(
    desk: Desk, records: Records, columns: Sequence[Column], unique: tuple[str, ...]
) -> Numbers | None:
    """The rows, if every one of them is good; None where that is not certain.

    A file of text is taken only if its fields, written as the numbers they were read as, take every byte of it: then
    no field was 007, 5.0 or 5e0, and no row was shorter, longer or blank.

    Args:
        desk: Where the rows are read.
        records: The rows.
        columns: What is taken out of them.
        unique: Roles whose values together may occur once.

    Raises:
        SettingsError: Memory or disk do not suffice.
    """
    import duckdb  # noqa: PLC0415 -- importing the readers stays cheap

    from tastevec.data.streaming import plain_errors  # noqa: PLC0415 -- as above

    if records.columns is None or not records.columns.hold(columns):
        return None
    path = desk.scratch / f"numbers-{uuid4().hex}.parquet"
    with plain_errors(f"reading {records.file}"):
        try:
            desk.run(f"COPY ({_query(records.columns, columns)}) TO {sql_path(path)} (FORMAT parquet)")
        except duckdb.OperationalError:  # no room
            raise
        except duckdb.Error:  # what is wrong, and with which row, is found out later
            return None
        rows = _good_rows(desk, path, records.columns, columns)
        return Numbers(path, rows) if rows and _all_differ(desk, path, unique) else None


def _query(scan: ByColumns, columns: Sequence[Column]) -> str:
    """SQL of each role's value, NULL where it has a fault, and of the width of all that is not a whole number."""
    whole = {column.place for column in columns if column.kind.whole}
    texts = [f"coalesce(strlen({text}), 0)" for place, text in enumerate(scan.texts) if place not in whole]
    values = [f"{_value(scan, column)} AS {column.role}" for column in columns]
    judged = [f"{_judged(column)} AS {column.role}" for column in columns]
    return (
        f"SELECT {', '.join(judged)}, {_WIDTH} FROM "
        f"(SELECT {', '.join(values)}, {' + '.join(['0', *texts])} AS {_WIDTH} FROM {scan.source(whole)})"
    )


def _value(scan: ByColumns, column: Column) -> str:
    assert column.place is not None
    if column.kind.whole:
        return scan.names[column.place]
    return column.kind.value.replace("{t}", scan.texts[column.place])


def _judged(column: Column) -> str:
    """SQL of the value, or NULL where it has a fault; the faults of a number are all of its value."""
    if column.kind.whole:
        return column.role
    faults = " OR ".join(condition for _, condition in column.kind.faults_of(column.role, column.role))
    return f"CASE WHEN NOT ({faults}) THEN {column.role} END"


def _good_rows(desk: Desk, path: Path, scan: ByColumns, columns: Sequence[Column]) -> int | None:
    """How many rows there are, if each value is in its range and no byte of the file is unaccounted for."""
    asked = ", ".join(_bounds(column) for column in columns)
    ((rows, width, *found),) = desk.run(f"SELECT count(*), sum({_WIDTH}), {asked} FROM {_parquet(path)}")
    if not rows or not all(
        _are_good(column, rows, *told) for column, told in zip(columns, found, strict=True)
    ):
        return None
    if scan.layout is not None:
        digits = [_digits(c, *told) for c, told in zip(columns, found, strict=True) if c.kind.whole]
        ((written,),) = desk.run(f"SELECT {' + '.join(['count_if(false)', *digits])} FROM {_parquet(path)}")
        if scan.layout.size != width + written + rows * scan.layout.around(len(scan.names)):
            return None
    return int(rows)


def _bounds(column: Column) -> str:
    """SQL of how many values there are, and of the lowest and the highest of whole numbers."""
    role = column.role
    return f"[count({role}), {f'min({role}), max({role})' if column.kind.whole else '0, 0'}]"


def _are_good(column: Column, rows: int, known: int, lowest: int | None, highest: int | None) -> bool:
    whole = column.kind.whole
    if known < rows and not (whole and whole.may_be_missing):
        return False
    if whole is None or lowest is None or highest is None:
        return True
    return whole.lowest <= lowest and highest <= whole.highest


def _digits(column: Column, known: int, lowest: int | None, highest: int | None) -> str:
    """SQL of how many digits all of these whole numbers have together."""
    few, many = len(str(lowest)), len(str(highest))  # one more digit from each power of ten on
    more = [f"count_if({column.role} >= {10**power})" for power in range(few, many)]
    return " + ".join([str(few * known), *more])


def _all_differ(desk: Desk, path: Path, unique: tuple[str, ...]) -> bool:
    """Whether no two rows have the same values."""
    if not unique:
        return True
    # Releases are sorted by user and film: then one look at each row and the one before it is enough.
    key, before = ", ".join(unique), ", ".join(f"lag({role}) OVER () AS before_{role}" for role in unique)
    later = "false"
    for role in reversed(unique):
        later = f"{role} > before_{role} OR ({role} = before_{role} AND ({later}))"
    ((disorder,),) = desk.run(
        f"SELECT count_if(NOT ({later})) FROM (SELECT {key}, {before} FROM {_parquet(path)})"
    )
    if not disorder:
        return True
    return not desk.run(f"SELECT 1 FROM {_parquet(path)} GROUP BY {key} HAVING count(*) > 1 LIMIT 1")


def _parquet(path: Path, *, number: bool = False) -> str:
    told = ", file_row_number = true" if number else ""
    return f"read_parquet({sql_path(path)}, hive_partitioning = false{told})"

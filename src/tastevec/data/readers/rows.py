"""Rows judged one by one, refused or set aside, with every one of them accounted for."""

# ruff: noqa: S608 -- each query is built from our own words and from values that `literal` has quoted

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tastevec.data.readers.kinds import BLANK, OPEN_ID, Kind
from tastevec.data.readers.numeric import Numbers, read_numbers
from tastevec.data.readers.records import readable
from tastevec.data.readers.sources import RowAccount
from tastevec.data.readers.text import STRAY, literal, show
from tastevec.errors import BadRowError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ibis.backends.duckdb import Backend

    from tastevec.data.readers.records import Records

__all__ = ["Checked", "Column", "Desk", "check_rows", "fresh_name"]

_EXAMPLES = 5
_PREFIX = "judged"
_WHOLE_ROW = -1  # the column of a fault that is of no one column
_REPEATED = "duplicate"
_HARMLESS = (BLANK,)
_STRAYS = {"NUL byte": f"{STRAY}00", "stray carriage return": f"{STRAY}0d", "undecodable byte": STRAY}


@dataclass(frozen=True)
class Desk:
    """What every reader works with.

    Attributes:
        connection: Ibis on DuckDB, where the tables are made.
        scratch: A folder for copies, gone when the reading is over.
        skip_bad_rows: Whether bad rows are set aside instead of refused.
    """

    connection: Backend
    scratch: Path
    skip_bad_rows: bool

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of the answer."""
        rows: list[tuple[Any, ...]] = self.connection.raw_sql(sql).fetchall()
        return rows

    def clear(self) -> None:
        """Drop the judged rows, once the tables are made of them or the reading has failed."""
        for (table,) in self.run(
            f"SELECT table_name FROM duckdb_tables() WHERE temporary AND starts_with(table_name, '{_PREFIX}')"
        ):
            self.run(f"DROP TABLE {table}")


@dataclass(frozen=True)
class Column:
    """One column of what is read.

    Attributes:
        role: Its name in our tables.
        name: Its name in the file, for messages.
        text: SQL that takes its text out of ``fields``.
        kind: How the text is judged and what it becomes.
    """

    role: str
    name: str
    text: str
    kind: Kind

    @property
    def place(self) -> int | None:
        """Which field it is, from 0; None where it is made of several."""
        found = re.fullmatch(r"fields\[(\d+)\]", self.text)
        return int(found[1]) - 1 if found else None


@dataclass(frozen=True)
class Checked:
    """Judged rows.

    Attributes:
        table: SQL of ``line``, the columns by role, and ``fault`` (NULL where the row is good).
        account: Where every row went.
        columns: What was taken out of them.
        numbers: The same rows on disk, where all are good and of numbers.
    """

    table: str
    account: RowAccount
    columns: tuple[Column, ...]
    numbers: Numbers | None = None

    def has(self, role: str) -> bool:
        """Whether the file had such a column."""
        return any(column.role == role for column in self.columns)

    def holds_whole_ids(self, desk: Desk, role: str) -> bool:
        """Whether every id of the column is a whole number in its own writing, so that '007' makes all of them text."""
        kind = next(column.kind for column in self.columns if column.role == role)
        if kind is not OPEN_ID or self.numbers is not None:
            return kind.whole is not None
        canonical = f"coalesce(CAST(TRY_CAST({role} AS BIGINT) AS VARCHAR) = {role}, false)"
        ((whole,),) = desk.run(
            f"SELECT coalesce(bool_and({canonical}), true) FROM {self.table} WHERE fault IS NULL"
        )
        return bool(whole)


def fresh_name(what: str) -> str:
    """A table name that nobody has."""
    return f"{what}_{uuid4().hex}"


def check_rows(
    desk: Desk, records: Records, columns: Sequence[Column], *, unique: tuple[str, ...] = ()
) -> Checked:
    """The table of all rows, each judged.

    Args:
        desk: Where the table is made, and whether bad rows are refused.
        records: The rows as text.
        columns: What is taken out of them.
        unique: Roles whose values together may occur once; the first row that has them is the good one.

    Raises:
        BadRowError: A row is bad and bad rows are not skipped.
        SettingsError: Memory or disk do not suffice.
        SourceError: DuckDB cannot read the file at all.
    """
    if numbers := read_numbers(desk, records, columns, unique):
        account = RowAccount(records.file, numbers.rows, numbers.rows, encoding=records.encoding)
        return Checked(numbers.table, account, tuple(columns), numbers)
    table = fresh_name(_PREFIX)
    with readable(records.file, records.names):
        desk.run(f"CREATE TEMP TABLE {table} AS {_judged(records, columns)}")
    if unique:
        _mark_repeated(desk, table, unique)
    account = _account(desk, table, records, columns)
    return Checked(table, account, tuple(columns))


def _judged(records: Records, columns: Sequence[Column]) -> str:
    """SQL for the values of each row, its first fault as ``column:reason``, and the texts of a row that has one."""
    texts = [f"{column.text} AS t{place}" for place, column in enumerate(columns)]
    # Each value is made once, and its faults are found on it: on their own they would make it again and again.
    values = [
        f"{column.kind.value.replace('{t}', f't{place}')} AS v{place}" for place, column in enumerate(columns)
    ]
    named = [f"v{place} AS {column.role}" for place, column in enumerate(columns)]
    names = [f"t{place}" for place in range(len(columns))]
    return f"""
        SELECT line, {", ".join(named)}, fault, CASE WHEN fault IS NOT NULL THEN [text, {", ".join(names)}] END AS shown
        FROM (SELECT *, CASE {_faults(records, columns)} END AS fault
              FROM (SELECT *, {", ".join(values)}
                    FROM (SELECT line, text, len(fields) AS width, {", ".join(texts)} FROM ({records.query}))))"""


def _faults(records: Records, columns: Sequence[Column]) -> str:
    """The branches of a CASE: the shape of the row first, then stray bytes, then each column's own faults."""
    width = len(records.names)
    branches = [
        _branch("width IS NULL", _WHOLE_ROW, "broken quotes"),
        _branch(f"width < {width}", _WHOLE_ROW, "too few columns"),
        _branch(f"width > {width}", _WHOLE_ROW, "too many columns"),
    ]
    if records.has_strays:
        for reason, mark in _STRAYS.items():
            branches += [
                _branch(f"contains(t{place}, '{mark}')", place, reason) for place in range(len(columns))
            ]
            branches.append(_branch(f"contains(text, '{mark}')", _WHOLE_ROW, reason))
    for place, column in enumerate(columns):
        for reason, condition in column.kind.faults_of(f"v{place}", f"t{place}"):
            branches.append(_branch(condition, place, reason))
    return " ".join(branches)


def _branch(condition: str, place: int, reason: str) -> str:
    return f"WHEN {condition} THEN {literal(f'{place}:{reason}')}"


def _mark_repeated(desk: Desk, table: str, unique: tuple[str, ...]) -> None:
    """Give every good row after the first with the same values the fault that it repeats it."""
    key = ", ".join(unique)
    same = " AND ".join(f"rows.{role} = seen.{role}" for role in unique)
    shown = f"[CAST(seen.first AS VARCHAR), {', '.join(f'CAST(rows.{role} AS VARCHAR)' for role in unique)}]"
    desk.run(
        f"""UPDATE {table} AS rows SET fault = '{_WHOLE_ROW}:{_REPEATED}', shown = {shown}
        FROM (SELECT {key}, min(line) AS first FROM {table} WHERE fault IS NULL GROUP BY {key} HAVING count(*) > 1) AS seen
        WHERE {same} AND rows.fault IS NULL AND rows.line > seen.first"""
    )


def _account(desk: Desk, table: str, records: Records, columns: Sequence[Column]) -> RowAccount:
    counts = dict(desk.run(f"SELECT split_part(fault, ':', 2), count(*) FROM {table} GROUP BY 1 ORDER BY 1"))
    kept = counts.pop(None, 0)
    refused = sum(count for reason, count in counts.items() if reason not in _HARMLESS)
    if refused and not desk.skip_bad_rows:
        harmless = ", ".join(literal(reason) for reason in _HARMLESS)
        (first,) = _described(
            desk, records, columns, f"{table} WHERE split_part(fault, ':', 2) NOT IN ({harmless})", 1
        )
        others = f" ({refused} bad rows in all)" if refused > 1 else ""
        raise BadRowError(f"{first}{others}; correct the file or run again with --skip-bad-rows")
    examples = _described(desk, records, columns, f"{table} WHERE fault IS NOT NULL", _EXAMPLES)
    return RowAccount(
        records.file, kept + sum(counts.values()), kept, counts, tuple(examples), records.encoding
    )


def _described(desk: Desk, records: Records, columns: Sequence[Column], rows: str, count: int) -> list[str]:
    """The first ``count`` of these rows, each as what was found, where, and what was expected."""
    found = desk.run(f"SELECT line, fault, shown FROM {rows} ORDER BY line LIMIT {count}")
    return [_describe(records, columns, *row) for row in found]


def _describe(records: Records, columns: Sequence[Column], line: int, fault: str, shown: list[str]) -> str:
    place, _, reason = fault.partition(":")
    where = f"{records.file} {records.unit} {line}"
    if reason == _REPEATED:
        first, *values = shown
        return f"{where}: {', '.join(values)} was there on {records.unit} {first}; expected it once"
    if int(place) == _WHOLE_ROW:
        return f"{where}: {show(shown[0])} has {reason}; expected {len(records.names)}: {', '.join(records.names)}"
    column = columns[int(place)]
    what = f"is no text ({reason})" if reason in _STRAYS else f"is {reason}"
    return f"{where}, column {column.name}: {show(shown[int(place) + 1])} {what}; expected {column.kind.expected}"

"""Row validation: invalid rows are located, counted by reason, and refused or skipped."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tastevec.data.readers.columns import BLANK, OPEN_ID
from tastevec.data.readers.records import readable
from tastevec.data.readers.text import STRAY, literal, show, sql_path
from tastevec.errors import BadRowError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibis.backends.duckdb import Backend

    from tastevec.data.readers.columns import Column
    from tastevec.data.readers.records import ByColumns, Records

__all__ = [
    "NumericRows",
    "ReaderContext",
    "RowReport",
    "ValidatedRows",
    "check_rows",
    "fresh_name",
    "read_numeric",
]

# ruff: noqa: S608 -- each query is built from our own words and from values that `literal` has quoted


_EXAMPLES = 5
_PREFIX = "judged"
_WHOLE_ROW = -1  # the column of a fault that is of no one column
_REPEATED = "duplicate"
_HARMLESS = (BLANK,)
_STRAYS = {"NUL byte": f"{STRAY}00", "stray carriage return": f"{STRAY}0d", "undecodable byte": STRAY}


@dataclass(frozen=True)
class ReaderContext:
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
class ValidatedRows:
    """Judged rows.

    Attributes:
        table: SQL of ``line``, the columns by role, and ``fault`` (NULL where the row is good).
        row_report: Where every row went.
        columns: What was taken out of them.
        numbers: The same rows on disk, where all are good and of numbers.
    """

    table: str
    row_report: RowReport
    columns: tuple[Column, ...]
    numbers: NumericRows | None = None

    def has(self, role: str) -> bool:
        """Whether the file had such a column."""
        return any(column.role == role for column in self.columns)

    def has_int_ids(self, context: ReaderContext, role: str) -> bool:
        """Whether every id of the column is a whole number in its own writing, so that '007' makes all of them text."""
        kind = next(column.kind for column in self.columns if column.role == role)
        if kind is not OPEN_ID or self.numbers is not None:
            return kind.whole is not None
        canonical = f"coalesce(CAST(TRY_CAST({role} AS BIGINT) AS VARCHAR) = {role}, false)"
        ((whole,),) = context.run(
            f"SELECT coalesce(bool_and({canonical}), true) FROM {self.table} WHERE fault IS NULL"
        )
        return bool(whole)


def fresh_name(what: str) -> str:
    """A table name that nobody has."""
    return f"{what}_{uuid4().hex}"


def check_rows(
    context: ReaderContext, records: Records, columns: Sequence[Column], *, unique: tuple[str, ...] = ()
) -> ValidatedRows:
    """The table of all rows, each judged.

    Args:
        context: Where the table is made, and whether bad rows are refused.
        records: The rows as text.
        columns: What is taken out of them.
        unique: Roles whose values together may occur once; the first row that has them is the good one.

    Raises:
        BadRowError: A row is bad and bad rows are not skipped.
        SettingsError: Memory or disk do not suffice.
        SourceError: DuckDB cannot read the file at all.
    """
    if numbers := read_numeric(context, records, columns, unique):
        row_report = RowReport(records.file, numbers.rows, numbers.rows, encoding=records.encoding)
        return ValidatedRows(numbers.table, row_report, tuple(columns), numbers)
    table = fresh_name(_PREFIX)
    with readable(records.file, records.names):
        context.run(f"CREATE TEMP TABLE {table} AS {_judged_rows(records, columns)}")
    if unique:
        _mark_repeated(context, table, unique)
    row_report = _account(context, table, records, columns)
    return ValidatedRows(table, row_report, tuple(columns))


def _judged_rows(records: Records, columns: Sequence[Column]) -> str:
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


def _mark_repeated(context: ReaderContext, table: str, unique: tuple[str, ...]) -> None:
    """Give every good row after the first with the same values the fault that it repeats it."""
    key = ", ".join(unique)
    same = " AND ".join(f"rows.{role} = seen.{role}" for role in unique)
    shown = f"[CAST(seen.first AS VARCHAR), {', '.join(f'CAST(rows.{role} AS VARCHAR)' for role in unique)}]"
    context.run(
        f"""UPDATE {table} AS rows SET fault = '{_WHOLE_ROW}:{_REPEATED}', shown = {shown}
        FROM (SELECT {key}, min(line) AS first FROM {table} WHERE fault IS NULL GROUP BY {key} HAVING count(*) > 1) AS seen
        WHERE {same} AND rows.fault IS NULL AND rows.line > seen.first"""
    )


def _account(context: ReaderContext, table: str, records: Records, columns: Sequence[Column]) -> RowReport:
    counts = dict(
        context.run(f"SELECT split_part(fault, ':', 2), count(*) FROM {table} GROUP BY 1 ORDER BY 1")
    )
    kept = counts.pop(None, 0)
    refused = sum(count for reason, count in counts.items() if reason not in _HARMLESS)
    if refused and not context.skip_bad_rows:
        harmless = ", ".join(literal(reason) for reason in _HARMLESS)
        (first,) = _described(
            context, records, columns, f"{table} WHERE split_part(fault, ':', 2) NOT IN ({harmless})", 1
        )
        others = f" ({refused} bad rows in all)" if refused > 1 else ""
        raise BadRowError(f"{first}{others}; correct the file or run again with --skip-bad-rows")
    examples = _described(context, records, columns, f"{table} WHERE fault IS NOT NULL", _EXAMPLES)
    return RowReport(
        records.file, kept + sum(counts.values()), kept, counts, tuple(examples), records.encoding
    )


def _described(
    context: ReaderContext, records: Records, columns: Sequence[Column], rows: str, count: int
) -> list[str]:
    """The first ``count`` of these rows, each as what was found, where, and what was expected."""
    found = context.run(f"SELECT line, fault, shown FROM {rows} ORDER BY line LIMIT {count}")
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


# ruff: noqa: S608 -- each query is built from our own words and from values that `literal` has quoted


_WIDTH = "width"  # of what is not a whole number, in bytes


@dataclass(frozen=True)
class NumericRows:
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

    def moved(self, folder: Path) -> NumericRows:
        """The same rows, lying there from now on."""
        return NumericRows(Path(shutil.move(self.path, folder / self.path.name)), self.rows)


def read_numeric(
    context: ReaderContext, records: Records, columns: Sequence[Column], unique: tuple[str, ...]
) -> NumericRows | None:
    """The rows, if every one of them is good; None where that is not certain.

    A file of text is taken only if its fields, written as the numbers they were read as, take every byte of it: then
    no field was 007, 5.0 or 5e0, and no row was shorter, longer or blank.

    Args:
        context: Where the rows are read.
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
    path = context.scratch / f"numbers-{uuid4().hex}.parquet"
    with plain_errors(f"reading {records.file}"):
        try:
            context.run(f"COPY ({_query(records.columns, columns)}) TO {sql_path(path)} (FORMAT parquet)")
        except duckdb.OperationalError:  # no room
            raise
        except duckdb.Error:  # what is wrong, and with which row, is found out later
            return None
        rows = _good_rows(context, path, records.columns, columns)
        return NumericRows(path, rows) if rows and _all_differ(context, path, unique) else None


def _query(scan: ByColumns, columns: Sequence[Column]) -> str:
    """SQL of each role's value, NULL where it has a fault, and of the width of all that is not a whole number."""
    whole = {column.place for column in columns if column.kind.whole}
    texts = [f"coalesce(strlen({text}), 0)" for place, text in enumerate(scan.texts) if place not in whole]
    values = [f"{_value(scan, column)} AS {column.role}" for column in columns]
    judged = [f"{_judged_value(column)} AS {column.role}" for column in columns]
    return (
        f"SELECT {', '.join(judged)}, {_WIDTH} FROM "
        f"(SELECT {', '.join(values)}, {' + '.join(['0', *texts])} AS {_WIDTH} FROM {scan.source(whole)})"
    )


def _value(scan: ByColumns, column: Column) -> str:
    assert column.place is not None
    if column.kind.whole:
        return scan.names[column.place]
    return column.kind.value.replace("{t}", scan.texts[column.place])


def _judged_value(column: Column) -> str:
    """SQL of the value, or NULL where it has a fault; the faults of a number are all of its value."""
    if column.kind.whole:
        return column.role
    faults = " OR ".join(condition for _, condition in column.kind.faults_of(column.role, column.role))
    return f"CASE WHEN NOT ({faults}) THEN {column.role} END"


def _good_rows(context: ReaderContext, path: Path, scan: ByColumns, columns: Sequence[Column]) -> int | None:
    """How many rows there are, if each value is in its range and no byte of the file is unaccounted for."""
    asked = ", ".join(_bounds(column) for column in columns)
    ((rows, width, *found),) = context.run(f"SELECT count(*), sum({_WIDTH}), {asked} FROM {_parquet(path)}")
    if not rows or not all(
        _are_good(column, rows, *told) for column, told in zip(columns, found, strict=True)
    ):
        return None
    if scan.layout is not None:
        digits = [_digits(c, *told) for c, told in zip(columns, found, strict=True) if c.kind.whole]
        ((written,),) = context.run(
            f"SELECT {' + '.join(['count_if(false)', *digits])} FROM {_parquet(path)}"
        )
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


def _all_differ(context: ReaderContext, path: Path, unique: tuple[str, ...]) -> bool:
    """Whether no two rows have the same values."""
    if not unique:
        return True
    # Releases are sorted by user and film: then one look at each row and the one before it is enough.
    key, before = ", ".join(unique), ", ".join(f"lag({role}) OVER () AS before_{role}" for role in unique)
    later = "false"
    for role in reversed(unique):
        later = f"{role} > before_{role} OR ({role} = before_{role} AND ({later}))"
    ((disorder,),) = context.run(
        f"SELECT count_if(NOT ({later})) FROM (SELECT {key}, {before} FROM {_parquet(path)})"
    )
    if not disorder:
        return True
    return not context.run(f"SELECT 1 FROM {_parquet(path)} GROUP BY {key} HAVING count(*) > 1 LIMIT 1")


def _parquet(path: Path, *, number: bool = False) -> str:
    told = ", file_row_number = true" if number else ""
    return f"read_parquet({sql_path(path)}, hive_partitioning = false{told})"


@dataclass(frozen=True)
class RowReport:
    """Where every row of one file went: ``rows_read == rows_kept + sum(skipped.values())``.

    Attributes:
        file: The file's name.
        rows_read: Rows found, headers and blank lines not counted.
        rows_kept: Rows that are in the tables.
        skipped: Rows that are not, by reason.
        examples: The first five rows set aside, each with file, line, column and what was found.
        encoding: How the file's bytes were read: ``utf-8``, ``iso-8859-1`` or ``parquet``.
    """

    file: str
    rows_read: int
    rows_kept: int
    skipped: dict[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    encoding: str = "utf-8"

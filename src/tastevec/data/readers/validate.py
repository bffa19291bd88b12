"""Row validation: invalid rows are located, counted by reason, and refused or skipped."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from tastevec.data.intake.validation import RowReport
from tastevec.data.readers.columns import ANY_ID, BLANK, CONTROL, DUCKDB, OUT_OF_RANGE, parse
from tastevec.data.readers.records import readable
from tastevec.data.readers.text import UNDECODED, literal, show, sql_path
from tastevec.errors import BadRowError
from tastevec.schema import RATING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ibis.backends.duckdb import Backend

    from tastevec.data.readers.columns import Column, Dialect
    from tastevec.data.readers.records import NumericScan, Records

# ruff: noqa: S608 -- each query is built from constants and from values that `literal` has quoted

EXAMPLES = 5
NO_COLUMN: Final = -1  # the column of an error that concerns the complete row
DUPLICATE: Final = "duplicate"
_HARMLESS = (BLANK,)
_TABLES = "validated"  # the prefix of temporary tables
# More ratings than this share outside the range are another scale rather than typing errors.
_SCALE_SHARE = 0.01
_MARKS = {
    "NUL byte": f"{UNDECODED}00",
    "stray carriage return": f"{UNDECODED}0d",
    "undecodable byte": UNDECODED,
}
_MARKS_SQL = {
    reason: (f"contains({{t}}, '{mark}')", f"contains(text, '{mark}')") for reason, mark in _MARKS.items()
}


@dataclass(frozen=True)
class RowPolicy:
    """Whether invalid rows are skipped and counted instead of refused, and what a message about them suggests.

    ``source`` is the source in commands. With ``model_scale`` the rating range is that of a model, which no flag can change.
    """

    skip: bool
    source: str
    model_scale: bool = False


@dataclass(frozen=True)
class InvalidRow:
    """An invalid row: its file, line, column and value, and what was expected."""

    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.found}. Expected {self.expected}."


def error_case(
    names: Sequence[str], columns: Sequence[Column], dialect: Dialect, marks: Mapping[str, tuple[str, str]]
) -> str:
    """Return the branches of a CASE over ``width``, ``text``, the texts ``t0, t1, …`` and the values ``v0, v1, …``.

    Its value is the first error of a row as ``column:reason``: the shape of the row, undecodable bytes, then the rules
    of each column. ``marks`` are the reasons of undecodable bytes, each with its condition on a field ``{t}`` and on
    ``text``.
    """
    width, numbers = len(names), range(len(columns))
    branches = [
        _branch("width IS NULL", NO_COLUMN, "broken quotes"),
        _branch(f"width < {width}", NO_COLUMN, "too few columns"),
        _branch(f"width > {width}", NO_COLUMN, "too many columns"),
    ]
    if marks:
        inner = []
        for reason, (in_field, in_row) in marks.items():
            inner += [_branch(in_field.replace("{t}", f"t{number}"), number, reason) for number in numbers]
            inner.append(_branch(in_row, NO_COLUMN, reason))
        anywhere = " OR ".join(in_row for _, in_row in marks.values())
        branches.append(f"WHEN {anywhere} THEN CASE {' '.join(inner)} END")
    for number, column in enumerate(columns):
        for reason, condition in column.type.error_sql(dialect, f"v{number}", f"t{number}"):
            branches.append(_branch(condition, number, reason))
    return " ".join(branches)


def _branch(condition: str, number: int, reason: str) -> str:
    return f"WHEN {condition} THEN '{number}:{reason}'"


def describe_row(
    names: Sequence[str], columns: Sequence[Column], error: str, shown: Sequence[str | None], location: str
) -> InvalidRow:
    """Return an invalid row for messages.

    ``shown`` is the text of the row and of each column; of a duplicate, the line of its first row and its key.
    """
    number, _, reason = error.partition(":")
    if reason == DUPLICATE:
        first, *key = shown
        return InvalidRow(f"{location}: {', '.join(map(str, key))} repeats {first}", "one such row")
    contains = (
        f" contains {'an' if reason[0] == 'u' else 'a'} {reason}" if reason in {*_MARKS, CONTROL} else ""
    )
    if int(number) == NO_COLUMN:
        found = f"{location}: {show(shown[0])}{contains or f' has {reason}'}"
        return InvalidRow(found, f"{len(names)} columns: {', '.join(names)}")
    column, text = columns[int(number)], shown[int(number) + 1]
    found = f"{location}, column {column.name}: {show(text) if text else 'empty'}{contains}"
    return InvalidRow(found, column.type.expected)


def refuse_rows(
    report: RowReport, first: InvalidRow, scale: tuple[Column, int, float, float] | None, policy: RowPolicy
) -> None:
    """Raise the error of the invalid rows in ``report``, of which ``first`` is the first.

    ``scale`` is the rating column, the number of its ratings out of range, the lowest and the highest rating.
    """
    rows = report.rows_read
    if scale is not None and 1 < scale[1] > _SCALE_SHARE * rows:
        raise BadRowError(_wrong_scale(report, *scale, policy))
    invalid = sum(count for reason, count in report.skipped.items() if reason not in _HARMLESS)
    are, fix = ("is", "Fix the row, or skip it") if invalid == 1 else ("are", "Fix the rows, or skip them")
    share = f"{invalid:,} of {rows:,} rows {are} invalid, {_percent(invalid / rows)}"
    raise BadRowError(f"{first.found} ({share}). Expected {first.expected}. {fix} with --skip-bad-rows.")


def _wrong_scale(
    report: RowReport, column: Column, outside: int, lowest: float, highest: float, policy: RowPolicy
) -> str:
    low, high = column.type.limits or (lowest, highest)
    where = "are out of range"
    if lowest >= low or highest <= high:
        where = f"exceed {high:g}" if lowest >= low else f"are below {low:g}"
    scale = (lowest, highest) if lowest < highest else (min(lowest, low), max(highest, high))
    fix = f"Run: tastevec prepare {quote(policy.source)} --out prepared --rating-range {':'.join(map(_number, scale))}"
    return (
        f"{report.file}, column {column.name}: {outside:,} of {report.rows_read:,} ratings ({_percent(outside / report.rows_read)}) "
        f"{where}; values go from {_number(lowest)} to {_number(highest)}. Expected {low:g} to {high:g}. "
        f"{'Convert the ratings to the scale of the model.' if policy.model_scale else fix}"
    )


def _number(value: float) -> str:
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def _percent(share: float) -> str:
    percent = 100 * share
    return "under 0.1 %" if percent < 0.1 else f"{percent:.{int(percent < 10)}f} %"  # noqa: PLR2004 -- rounding


@dataclass(frozen=True)
class ReaderContext:
    """What all readers of a source share: Ibis on DuckDB, a folder for copies that is removed after reading, and the policy."""

    connection: Backend
    scratch: Path
    policy: RowPolicy

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Return all rows of the result."""
        rows: list[tuple[Any, ...]] = self.connection.raw_sql(sql).fetchall()
        return rows

    def clear(self) -> None:
        """Drop the tables of validated rows."""
        tables = f"FROM duckdb_tables() WHERE temporary AND starts_with(table_name, '{_TABLES}')"
        for (table,) in self.run(f"SELECT table_name {tables}"):
            self.run(f"DROP TABLE {table}")


@dataclass(frozen=True)
class ValidatedRows:
    """The rows of a file, each with its error, if it has one.

    Attributes:
        table: SQL of ``line``, the columns by role, and ``error`` (NULL where the row is valid).
        row_report: Where every row went.
        columns: The columns that were read.
        numbers: The same rows on disk, where all are valid and numeric.
    """

    table: str
    row_report: RowReport
    columns: tuple[Column, ...]
    numbers: NumericRows | None = None

    def has(self, role: str) -> bool:
        """Return whether the file has such a column."""
        return any(column.role == role for column in self.columns)

    def has_int_ids(self, context: ReaderContext, role: str) -> bool:
        """Return whether every ID of the column is an integer in its own spelling; '007' makes all of them text."""
        column_type = next(column.type for column in self.columns if column.role == role)
        if column_type is not ANY_ID or self.numbers is not None:
            return column_type.int_range is not None
        integer = f"{parse('{integer}', DUCKDB, role)} IS NOT NULL"
        ((integers,),) = context.run(
            f"SELECT coalesce(bool_and({integer}), true) FROM {self.table} WHERE error IS NULL"
        )
        return bool(integers)


def fresh_name(prefix: str) -> str:
    """Return a new table name."""
    return f"{prefix}_{uuid4().hex}"


def validate_rows(
    context: ReaderContext, records: Records, columns: Sequence[Column], *, unique: tuple[str, ...] = ()
) -> ValidatedRows:
    """Return the table of all rows, each with its error.

    The values of the ``unique`` roles together may occur once; the first row that has them is valid.

    Raises:
        BadRowError: A row is invalid and invalid rows are not skipped.
        SettingsError: Memory or disk do not suffice.
        SourceError: DuckDB cannot read the file.
    """
    if numbers := read_numeric(context, records, columns, unique):
        row_report = RowReport(records.file, numbers.rows, numbers.rows, encoding=records.encoding)
        return ValidatedRows(numbers.table, row_report, tuple(columns), numbers)
    table = fresh_name(_TABLES)
    with readable(records.file, records.names):
        context.run(f"CREATE TEMP TABLE {table} AS {_row_errors(records, columns)}")
    if unique:
        _mark_duplicates(context, table, records.unit, unique)
    row_report = _report_rows(context, table, records, columns)
    return ValidatedRows(table, row_report, tuple(columns))


def _row_errors(records: Records, columns: Sequence[Column]) -> str:
    """Return SQL of each row's values, its first error as ``column:reason``, and its texts where it has one."""
    texts = [f"{column.text} AS t{number}" for number, column in enumerate(columns)]
    # Each value is computed once, and the rules read it: on their own they would compute it again and again.
    values = [f"{parse(c.type.value, DUCKDB, f't{number}')} AS v{number}" for number, c in enumerate(columns)]
    named = [f"v{number} AS {column.role}" for number, column in enumerate(columns)]
    shown = ", ".join(["text", *(f"t{number}" for number in range(len(columns)))])
    errors = error_case(records.names, columns, DUCKDB, _MARKS_SQL if records.has_undecoded else {})
    return f"""
        SELECT line, {", ".join(named)}, error, CASE WHEN error IS NOT NULL THEN [{shown}] END AS shown
        FROM (SELECT *, CASE {errors} END AS error
              FROM (SELECT *, {", ".join(values)}
                    FROM (SELECT line, text, len(fields) AS width, {", ".join(texts)} FROM ({records.query}))))"""


def _mark_duplicates(context: ReaderContext, table: str, unit: str, unique: tuple[str, ...]) -> None:
    """Give every valid row after the first with the same values the error that it is a duplicate."""
    key = ", ".join(unique)
    same = " AND ".join(f"rows.{role} = seen.{role}" for role in unique)
    shown = f"['{unit} ' || seen.first, {', '.join(f'CAST(rows.{role} AS VARCHAR)' for role in unique)}]"
    context.run(
        f"""UPDATE {table} AS rows SET error = '{NO_COLUMN}:{DUPLICATE}', shown = {shown}
        FROM (SELECT {key}, min(line) AS first FROM {table} WHERE error IS NULL GROUP BY {key} HAVING count(*) > 1) AS seen
        WHERE {same} AND rows.error IS NULL AND rows.line > seen.first"""
    )


def _report_rows(
    context: ReaderContext, table: str, records: Records, columns: Sequence[Column]
) -> RowReport:
    counts = dict(
        context.run(f"SELECT split_part(error, ':', 2), count(*) FROM {table} GROUP BY 1 ORDER BY 1")
    )
    kept = counts.pop(None, 0)
    examples = _invalid_rows(context, records, columns, f"{table} WHERE error IS NOT NULL", EXAMPLES)
    rows = kept + sum(counts.values())
    report = RowReport(records.file, rows, kept, counts, tuple(map(str, examples)), records.encoding)
    if any(reason not in _HARMLESS for reason in counts) and not context.policy.skip:
        harmless = ", ".join(map(literal, _HARMLESS))
        refused = f"{table} WHERE split_part(error, ':', 2) NOT IN ({harmless})"
        (first,) = _invalid_rows(context, records, columns, refused, 1)
        refuse_rows(report, first, _observed_scale(context, table, columns), context.policy)
    return report


def _invalid_rows(
    context: ReaderContext, records: Records, columns: Sequence[Column], rows: str, count: int
) -> list[InvalidRow]:
    """Return the first ``count`` of these rows."""
    found = context.run(f"SELECT line, error, shown FROM {rows} ORDER BY line LIMIT {count}")
    return [
        describe_row(records.names, columns, error, shown, f"{records.file}, {records.unit} {line}")
        for line, error, shown in found
    ]


def _observed_scale(
    context: ReaderContext, table: str, columns: Sequence[Column]
) -> tuple[Column, int, float, float] | None:
    number = next((number for number, column in enumerate(columns) if column.role == RATING), None)
    if number is None:
        return None
    outside = literal(f"{number}:{OUT_OF_RANGE}")
    (scale,) = context.run(
        f"SELECT count(error), min({RATING}), max({RATING}) FROM {table} WHERE error IS NULL OR error = {outside}"
    )
    return columns[number], *scale


_WIDTH = "width"  # of the columns that are no integers, in bytes


@dataclass(frozen=True)
class NumericRows:
    """Rows without an error, in a Parquet file with a column for each role, row by row as in the source."""

    path: Path
    rows: int

    @property
    def table(self) -> str:
        """SQL of the columns that a table of validated rows has."""
        return f"(SELECT *, file_row_number AS line, NULL AS error FROM {_parquet(self.path, number=True)})"


def read_numeric(
    context: ReaderContext, records: Records, columns: Sequence[Column], unique: tuple[str, ...]
) -> NumericRows | None:
    """Return the rows if every one of them is valid; None where that is not certain.

    A text file qualifies only if its fields, written as the numbers they were read as, take every byte of it: then no
    field was 007, 5.0 or 5e0, and no row was shorter, longer or blank.
    """
    import duckdb  # noqa: PLC0415 -- importing the readers stays cheap

    from tastevec.data.streaming import storage_errors  # noqa: PLC0415 -- as above

    if records.numeric is None or not records.numeric.can_read(columns):
        return None
    path = context.scratch / f"numbers-{uuid4().hex}.parquet"
    with storage_errors(f"reading {records.file}"):
        try:
            context.run(
                f"COPY ({_numeric_query(records.numeric, columns)}) TO {sql_path(path)} (FORMAT parquet)"
            )
        except duckdb.OperationalError:  # no space
            raise
        except duckdb.Error:  # the validation of each row finds the reason
            return None
        rows = _count_valid(context, path, records.numeric, columns)
        return NumericRows(path, rows) if rows and _are_unique(context, path, unique) else None


def _numeric_query(scan: NumericScan, columns: Sequence[Column]) -> str:
    """Return SQL of each role's value, NULL where it is invalid, and of the bytes of all that is no integer."""
    integers = {column.index for column in columns if column.type.int_range}
    widths = [
        f"coalesce(strlen({text}), 0)" for index, text in enumerate(scan.texts) if index not in integers
    ]
    values = [f"{_numeric_value(scan, column)} AS {column.role}" for column in columns]
    valid = [f"{_valid_value(column)} AS {column.role}" for column in columns]
    return (
        f"SELECT {', '.join(valid)}, {_WIDTH} FROM "
        f"(SELECT {', '.join(values)}, {' + '.join(['0', *widths])} AS {_WIDTH} FROM {scan.source(integers)})"
    )


def _numeric_value(scan: NumericScan, column: Column) -> str:
    assert column.index is not None
    if column.type.int_range:
        return scan.names[column.index]
    return parse(column.type.value, DUCKDB, scan.texts[column.index])


def _valid_value(column: Column) -> str:
    """Return SQL of the value, NULL where it is invalid; the rules of a number read its value only."""
    if column.type.int_range:
        return column.role
    errors = column.type.error_sql(DUCKDB, column.role, column.role)
    return f"CASE WHEN NOT ({' OR '.join(condition for _, condition in errors)}) THEN {column.role} END"


def _count_valid(
    context: ReaderContext, path: Path, scan: NumericScan, columns: Sequence[Column]
) -> int | None:
    """Return the number of rows if each value is in its range and the fields explain every byte of the file."""
    bounds = ", ".join(_bounds(column) for column in columns)
    ((rows, width, *found),) = context.run(f"SELECT count(*), sum({_WIDTH}), {bounds} FROM {_parquet(path)}")
    if not rows or not all(
        _is_valid(column, rows, *bounds) for column, bounds in zip(columns, found, strict=True)
    ):
        return None
    if scan.separator is not None:
        digits = [_digits(c, *bounds) for c, bounds in zip(columns, found, strict=True) if c.type.int_range]
        ((written,),) = context.run(
            f"SELECT {' + '.join(['count_if(false)', *digits])} FROM {_parquet(path)}"
        )
        # Bytes of a row that belong to no field.
        around = len(scan.separator) * (len(scan.names) - 1) + scan.end
        if scan.size != width + written + rows * around:
            return None
    return int(rows)


def _bounds(column: Column) -> str:
    """Return SQL of the number of values, and of the lowest and the highest integer."""
    role = column.role
    return f"[count({role}), {f'min({role}), max({role})' if column.type.int_range else '0, 0'}]"


def _is_valid(column: Column, rows: int, known: int, lowest: int | None, highest: int | None) -> bool:
    int_range = column.type.int_range
    if known < rows and not (int_range and int_range.may_be_missing):
        return False
    if int_range is None or lowest is None or highest is None:
        return True
    return int_range.lowest <= lowest and highest <= int_range.highest


def _digits(column: Column, known: int, lowest: int | None, highest: int | None) -> str:
    """Return SQL of the number of digits of all these integers together."""
    few, many = len(str(lowest)), len(str(highest))  # one more digit from each power of ten on
    more = [f"count_if({column.role} >= {10**power})" for power in range(few, many)]
    return " + ".join([str(few * known), *more])


def _are_unique(context: ReaderContext, path: Path, unique: tuple[str, ...]) -> bool:
    """Return whether no two rows have the same values of these roles."""
    if not unique:
        return True
    # Releases are sorted by user and item: then one comparison of each row with the one before it is enough.
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
    row_number = ", file_row_number = true" if number else ""
    return f"read_parquet({sql_path(path)}, hive_partitioning = false{row_number})"

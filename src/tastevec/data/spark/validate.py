"""Row validation on Spark, with the rules and the messages of `tastevec.data.readers`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote

import pyarrow as pa

from tastevec.data.intake.validation import RowReport
from tastevec.data.readers.columns import DATES, OUT_OF_RANGE, Dialect, parse
from tastevec.data.readers.text import UNDECODED
from tastevec.data.readers.validate import (
    DUPLICATE,
    EXAMPLES,
    NO_COLUMN,
    InvalidRow,
    describe_row,
    error_case,
    refuse_rows,
)
from tastevec.data.spark.session import reader
from tastevec.schema import CONTROL_CHARACTERS, ITEM_ID, POSITION, RATING, TIMESTAMP, USER_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, Row, SparkSession

    from tastevec.data.readers.columns import Column
    from tastevec.data.readers.validate import RowPolicy
    from tastevec.data.spark.session import SparkEngine

# ruff: noqa: S608 -- each query is built from constants and generated names

_SPACE = r"[ \t\n\x0B\f\r]*"
# As DuckDB reads a number: it takes "+-5" for -5 and "nan(1)" for NaN; a group for each.
_PLAIN = rf"\A{_SPACE}\+?(-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?){_SPACE}\z"
_NAMED = rf"(?i)\A{_SPACE}\+?(-?)(?:(inf|infinity)|nan(?:\([0-9a-z]*\))?){_SPACE}\z"
_NUMBER = (
    "(CASE WHEN rlike({t}, r'\\A[0-9]+[.]?[0-9]*\\z') THEN CAST({t} AS DOUBLE) "  # nearly all, and quickly
    f"WHEN rlike({{t}}, r'{_PLAIN}') THEN try_cast(regexp_extract({{t}}, r'{_PLAIN}', 1) AS DOUBLE) "
    f"WHEN rlike({{t}}, r'{_NAMED}') THEN CASE WHEN regexp_extract({{t}}, r'{_NAMED}', 2) = '' THEN DOUBLE('NaN') "
    f"WHEN regexp_extract({{t}}, r'{_NAMED}', 1) = '-' THEN DOUBLE('-Infinity') ELSE DOUBLE('Infinity') END END)"
)
_DAY, _CLOCK = "([0-9]{4}-[0-9]{2}-[0-9]{2})", "([0-9]{2}):([0-9]{2})"
_LOCAL = rf"\A{_DAY}(?:[ T]{_CLOCK}(?::([0-9]{{2}})(?:[.][0-9]+)?)?)?\z"
_OFFSET = r"(?:Z|([+-])([0-9]{2})(?:([0-9]{2})|:|:([0-9]{2}):?|:([0-9]{2}):([0-9]{2}))?)"
_ZONED = rf"\A{_DAY}[ T]{_CLOCK}:([0-9]{{2}})(?:[.][0-9]+)?{_OFFSET}\z"


def _part(pattern: str, group: int) -> str:
    """Return SQL of the number in a group of the pattern, 0 where it is missing."""
    return f"coalesce(try_cast(regexp_extract({{t}}, r'{pattern}', {group}) AS INT), 0)"


def _since_1970(pattern: str) -> str:
    """Return SQL of the Unix seconds of a date and a clock time; NULL where there is no such time."""
    hour, minute, second = (_part(pattern, group) for group in (2, 3, 4))
    day = f"unix_date(try_cast(regexp_extract({{t}}, r'{pattern}', 1) AS DATE))"
    # Midnight may be 24:00:00, as long as no fraction follows.
    midnight = f"({hour} = 24 AND {minute} = 0 AND {second} = 0 AND NOT contains({{t}}, '.'))"
    valid = f"({hour} < 24 AND {minute} < 60 AND {second} < 60 OR {midnight})"
    return f"CASE WHEN {valid} THEN {day} * 86400L + {hour} * 3600 + {minute} * 60 + {second} END"


def _utc_offset() -> str:
    """Return SQL of the offset from UTC in seconds, positive to the east."""
    minutes = " + ".join(_part(_ZONED, group) for group in (7, 8, 9))
    size = f"({_part(_ZONED, 6)} * 3600 + ({minutes}) * 60 + {_part(_ZONED, 10)})"
    return f"CASE WHEN regexp_extract({{t}}, r'{_ZONED}', 5) = '-' THEN -{size} ELSE {size} END"


_ISO = (
    f"CAST(CASE WHEN rlike({{t}}, r'{_LOCAL}') THEN {_since_1970(_LOCAL)} "
    f"WHEN rlike({{t}}, r'{_ZONED}') THEN ({_since_1970(_ZONED)}) - ({_utc_offset()}) END AS DOUBLE)"
)
_ANY_SECONDS = f"CASE WHEN NOT {_NUMBER} {DATES} THEN {_NUMBER} ELSE {_ISO} END"
SPARK: Final = Dialect(
    integer="(CASE WHEN CAST(try_cast({t} AS BIGINT) AS STRING) = {t} THEN try_cast({t} AS BIGINT) END)",
    number=_NUMBER,
    seconds=(
        "(CASE WHEN rlike({t}, r'\\A[0-9]{1,12}\\z') "  # nearly all, and quickly
        f"THEN CASE WHEN NOT CAST({{t}} AS BIGINT) {DATES} THEN CAST({{t}} AS BIGINT) END "
        # Larger numbers, infinity and NaN are no timestamps and must not be truncated to one.
        f"WHEN {_ANY_SECONDS} BETWEEN -1e15D AND 1e15D THEN floor({_ANY_SECONDS}) END)"
    ),
    control=f"rlike({{t}}, r'{CONTROL_CHARACTERS}')",
)


TextFormat = Literal["plain", "headed", "quoted"]
# Where a row is: its file, where in the file the piece begins that one worker read, and its number in the piece. Spark
# numbers the rows of a piece in their order, from an arbitrary start.
_LOCATION = ("file", "block", "row")
_LOCATION_SQL = (
    "_metadata.file_path AS file",
    "_metadata.file_block_start AS block",
    "monotonically_increasing_id() AS row",
)
_NO_ROW: Final = "no row"  # the error of a header or a blank line


@dataclass(frozen=True)
class RawRows:
    """Rows of text to validate, as `tastevec.data.readers.records.Records`.

    The frame has ``file``, ``block`` and ``row``; ``text`` (the complete row; NULL for a header or a blank line) and ``fields``
    (an array of strings, NULL where the quotes of a row are broken).
    """

    frame: DataFrame
    names: tuple[str, ...]
    file: str
    encoding: str

    @property
    def unit(self) -> str:
        """What the number of a row counts."""
        return "row" if self.encoding == "parquet" else "line"


def first_line(session: SparkSession, address: str) -> str | None:
    """Return the first line of a text file without its ending; None if the file is empty."""
    lines = _lines(session, address).where("block = 0").limit(1).collect()
    return lines[0].text if lines else None


def text_rows(
    session: SparkSession, address: str, separator: str, names: Sequence[str], text_format: TextFormat
) -> RawRows:
    """Return the rows of one text file, one per line.

    The format "plain" has no header and "headed" has one. In "quoted", which has one, too, a field may be quoted by
    RFC 4180 and then contain separators; not newlines, since a piece of a file begins at any line.
    """
    # The first row of the first piece of the only file.
    no_row = "text = ''" if text_format == "plain" else "text = '' OR row = 0"
    fields = _quoted(separator) if text_format == "quoted" else _plain(separator)
    frame = _lines(session, address).selectExpr(
        *_LOCATION, f"CASE WHEN NOT ({no_row}) THEN text END AS text", f"{fields} AS fields"
    )
    return RawRows(frame, tuple(names), address.rpartition("/")[2], "utf-8")


def parquet(session: SparkSession, address: str) -> DataFrame:
    """Return a Parquet file or a folder of them; names of folders in it make no columns."""
    return reader(session).option("recursiveFileLookup", "true").parquet(address)


def parquet_rows(session: SparkSession, address: str, names: Sequence[str]) -> RawRows:
    """Return these columns of a Parquet file, or of a folder of them by name, as text; NULL is the empty text."""
    texts = ", ".join(f"coalesce(CAST(`{name.replace('`', '``')}` AS STRING), '')" for name in names)
    frame = parquet(session, address).selectExpr(*_LOCATION_SQL, f"array({texts}) AS fields")
    frame = frame.selectExpr(*_LOCATION, "array_join(fields, ', ') AS text", "fields")
    return RawRows(frame, tuple(names), address.rpartition("/")[2], "parquet")


def _lines(session: SparkSession, address: str) -> DataFrame:
    """Return every line, blank ones too, without its newline and a carriage return before it."""
    text = "CASE WHEN endswith(value, '\\r') THEN left(value, length(value) - 1) ELSE value END AS text"
    return reader(session).option("lineSep", "\n").text(address).selectExpr(*_LOCATION_SQL, text)


def _plain(separator: str) -> str:
    """Return SQL of the fields between separators."""
    return f"split(text, r'\\Q{separator}\\E', -1)"


def _quoted(separator: str) -> str:
    """Return SQL of the fields of a row in which some may be quoted; NULL where the quotes are broken."""
    field = rf'"[^"]*(?:""[^"]*)*"|[^"{separator}]*'
    well_formed = rf"\A(?:{field})(?:{separator}(?:{field}))*\z"
    # Each match begins with a separator, so that an empty field is a match as well.
    found = f"regexp_extract_all(concat('{separator}', text), r'{separator}({field})', 1)"
    unquoted = """f -> CASE WHEN startswith(f, '"') THEN replace(substring(f, 2, length(f) - 2), '""', '"') ELSE f END"""
    return (
        f"CASE WHEN NOT contains(text, '\"') THEN {_plain(separator)} "
        f"WHEN rlike(text, r'{well_formed}') THEN transform({found}, {unquoted}) END"
    )


_SHOWN = 200  # characters of a text that a message may show
# Each with the SQL that finds it in a field, and in a row: what UTF-8 cannot read becomes U+FFFD in the fields.
_MARKS_SQL: Final = {
    "NUL byte": ("contains({t}, '\\u0000')", "contains(text, '\\u0000')"),
    "stray carriage return": ("contains({t}, '\\r')", "contains(text, '\\r')"),
    "undecodable byte": (
        f"undecodable AND contains({{t}}, '\ufffd') OR contains({{t}}, '{UNDECODED}')",
        f"undecodable OR contains(text, '{UNDECODED}')",
    ),
}


def row_errors(rows: RawRows, columns: Sequence[Column]) -> DataFrame:
    """Return each row's values, its first error as ``column:reason``, and its texts where it has one."""
    texts = [f"get(fields, {column.index}) AS t{number}" for number, column in enumerate(columns)]
    values = [f"{parse(c.type.value, SPARK, f't{number}')} AS v{number}" for number, c in enumerate(columns)]
    undecodable = "coalesce(encode(text, 'UTF-8') <> CAST(text AS BINARY), false) AS undecodable"
    frame = rows.frame.selectExpr(*_LOCATION, "text", "array_size(fields) AS width", *texts, undecodable)
    frame = frame.selectExpr("*", *values)
    errors = error_case(rows.names, columns, SPARK, _MARKS_SQL)
    frame = frame.selectExpr("*", f"CASE WHEN text IS NULL THEN '{_NO_ROW}' {errors} END AS error")
    named = {column.role: f"v{number}" for number, column in enumerate(columns)}
    named.setdefault(TIMESTAMP, "CAST(NULL AS BIGINT)")
    shown = ["text", *(f"t{number}" for number in range(len(columns)))]
    # A stray carriage return is marked as in the files that DuckDB reads.
    shown = [f"replace(left({text}, {_SHOWN}), '\\r', '{UNDECODED}0d')" for text in shown]
    return frame.selectExpr(
        *(*_LOCATION, "error"),
        *(f"{value} AS {role}" for role, value in named.items()),
        f"CASE WHEN error <> '{_NO_ROW}' THEN array({', '.join(shown)}) END AS shown",
    )


@dataclass(frozen=True)
class ErrorCounts:
    """The validated rows in numbers.

    There is a row for each piece of a file and each error in it: the number of rows, the number of the first, whether their IDs
    are integers, and their lowest and highest rating.
    """

    groups: list[Row]

    @classmethod
    def of(cls, validated: DataFrame) -> ErrorCounts:
        """Count these rows in one pass."""
        integer_ids = [
            f"coalesce(bool_and({parse('{integer}', SPARK, f'CAST({role} AS STRING)')} IS NOT NULL), true) AS {role}"
            for role in (USER_ID, ITEM_ID)
        ]
        validated.createOrReplaceTempView("validated_rows")
        query = f"""SELECT file, block, error, count(*) AS rows, min(row) AS first, min({RATING}) AS lowest,
            max({RATING}) AS highest, {", ".join(integer_ids)} FROM validated_rows GROUP BY file, block, error"""
        return cls(validated.sparkSession.sql(query).collect())

    @property
    def rows(self) -> int:
        """Number of rows, without headers and blank lines."""
        return sum(group.rows for group in self.groups if group.error != _NO_ROW)

    @property
    def reasons(self) -> dict[str, int]:
        """Number of invalid rows by reason."""
        counts = Counter[str]()
        for group in self.groups:
            if group.error not in {None, _NO_ROW}:
                counts[group.error.partition(":")[2]] += group.rows
        return dict(counts)

    @property
    def integer_ids(self) -> dict[str, bool]:
        """By role, whether every ID of a valid row is an integer in its own spelling."""
        valid = [group for group in self.groups if group.error is None]
        return {role: all(group[role] for group in valid) for role in (USER_ID, ITEM_ID)}

    def scale(self, columns: Sequence[Column]) -> tuple[Column, int, float, float] | None:
        """Return the rating column, the number of its values out of range, the lowest and the highest value."""
        number = next(number for number, column in enumerate(columns) if column.role == RATING)
        outside = f"{number}:{OUT_OF_RANGE}"
        groups = [group for group in self.groups if group.error in {None, outside}]
        if not groups:
            return None
        count = sum(group.rows for group in groups if group.error)
        lowest, highest = min(group.lowest for group in groups), max(group.highest for group in groups)
        return columns[number], count, lowest, highest

    def pieces(self) -> list[tuple[str, int, int, int]]:
        """Return file, start of the piece, number of its first row and number of its rows, in the order of the source."""
        sizes: dict[tuple[str, int], tuple[int, int]] = {}
        for group in self.groups:
            first, rows = sizes.get((group.file, group.block), (group.first, 0))
            sizes[group.file, group.block] = min(first, group.first), rows + group.rows
        return [(file, block, *size) for (file, block), size in sorted(sizes.items())]

    def shifts(self) -> pa.Table:
        """Return what to add to a row's number in its piece to get its position in the source, from 0."""
        pieces = self.pieces()
        before = accumulate((rows for *_, rows in pieces), initial=0)
        rows = [
            {"file": file, "block": block, "shift": start - first}
            for start, (file, block, first, _) in zip(before, pieces, strict=False)
        ]
        schema = pa.schema([("file", pa.string()), ("block", pa.int64()), ("shift", pa.int64())])
        return pa.Table.from_pylist(rows, schema)

    def file_and_line(self, position: int) -> tuple[str, int]:
        """Return the name of the file of a row of the source, and its line, from 1."""
        start, seen = 0, 0
        name = ""
        for file, _, _, rows in self.pieces():
            if file != name:
                name, start = file, seen
            seen += rows
            if position < seen:
                break
        return unquote(name.rpartition("/")[2]), position - start + 1


@dataclass(frozen=True)
class SparkRows:
    """The valid rows: ``user_id``, ``item_id`` (bigint or text), ``rating``, ``timestamp``, ``position`` in the source.

    ``integer_ids`` is, by role, whether every ID is an integer in its own spelling.
    """

    frame: DataFrame
    integer_ids: dict[str, bool]
    row_report: RowReport


def validate_rows(
    engine: SparkEngine, rows: RawRows, columns: Sequence[Column], policy: RowPolicy
) -> SparkRows:
    """Validate every row once: the result is written to the shared folder, and every later step reads it there.

    Raises:
        BadRowError: A row is invalid and invalid rows are not skipped.
    """
    address = engine.fresh("validated")
    frame = row_errors(rows, columns)
    written = engine.write(frame, address)
    validated = reader(engine.session).schema(frame.schema).parquet(address)
    counts = ErrorCounts.of(validated)
    engine.refuse_loss(written, sum(group.rows for group in counts.groups))
    shifts = engine.upload(counts.shifts()).hint("broadcast")
    placed = validated.join(shifts, ["file", "block"]).selectExpr("*", f"row + shift AS {POSITION}")
    valid = placed.where("error IS NULL").select(USER_ID, ITEM_ID, RATING, TIMESTAMP, POSITION)
    duplicates = _find_duplicates(engine, valid)
    reasons = counts.reasons | ({DUPLICATE: duplicates.count} if duplicates.count else {})
    first = _examples(placed, valid, duplicates) if reasons else []
    examples = [_describe(rows, columns, counts, row) for row in first]
    kept, skipped = counts.rows - sum(reasons.values()), dict(sorted(reasons.items()))
    row_report = RowReport(rows.file, counts.rows, kept, skipped, tuple(map(str, examples)), rows.encoding)
    if examples and not policy.skip:
        refuse_rows(row_report, examples[0], counts.scale(columns), policy)
    return SparkRows(duplicates.drop_from(valid), counts.integer_ids, row_report)


def _examples(placed: DataFrame, valid: DataFrame, duplicates: _Duplicates) -> list[Row]:
    """Return the first invalid rows, in the order of the source."""
    invalid = placed.where(f"error <> '{_NO_ROW}'").orderBy(POSITION).limit(EXAMPLES).collect()
    return sorted([*invalid, *duplicates.examples(valid)], key=lambda row: row[POSITION])[:EXAMPLES]


@dataclass(frozen=True)
class _Duplicates:
    """Pairs of a user and an item that occur more than once, with their first position."""

    pairs: DataFrame | None
    count: int

    def examples(self, valid: DataFrame) -> list[Row]:
        if self.pairs is None:
            return []
        found = valid.join(self.pairs, [USER_ID, ITEM_ID]).where(f"{POSITION} > earlier")
        shown = (
            f"array(CAST(earlier AS STRING), CAST({USER_ID} AS STRING), CAST({ITEM_ID} AS STRING)) AS shown"
        )
        first = found.orderBy(POSITION).limit(EXAMPLES)
        return first.selectExpr(POSITION, f"'{NO_COLUMN}:{DUPLICATE}' AS error", shown).collect()

    def drop_from(self, valid: DataFrame) -> DataFrame:
        """Return the first row of each pair."""
        if self.pairs is None:
            return valid
        joined = valid.join(self.pairs, [USER_ID, ITEM_ID], "left")
        return joined.where(f"earlier IS NULL OR {POSITION} = earlier").drop("earlier")


def _find_duplicates(engine: SparkEngine, valid: DataFrame) -> _Duplicates:
    from pyspark.sql.functions import expr  # noqa: PLC0415  an extra

    pairs = valid.groupBy(USER_ID, ITEM_ID).agg(expr("count(*) AS rows"), expr(f"min({POSITION}) AS earlier"))
    address = engine.fresh("duplicates")
    pairs.where("rows > 1").write.parquet(address)
    pairs = reader(engine.session).parquet(address)
    (count,) = pairs.selectExpr("coalesce(sum(rows - 1), 0) AS count").collect()[0]
    return _Duplicates(pairs.drop("rows") if count else None, count)


def _describe(rows: RawRows, columns: Sequence[Column], counts: ErrorCounts, row: Row) -> InvalidRow:
    """Return one invalid row, as on DuckDB."""
    name, line = counts.file_and_line(row[POSITION])
    shown = list(row.shown)
    if row.error.endswith(DUPLICATE):
        first_name, first = counts.file_and_line(int(shown[0]))
        same_file = f"{rows.unit} {first}"
        shown[0] = same_file if first_name == name else f"{first_name}, {same_file}"
    return describe_row(rows.names, columns, row.error, shown, f"{name}, {rows.unit} {line}")

"""Row validation on Spark, with the same rules and messages as on DuckDB."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote

import pyarrow as pa

from tastevec.data.readers import columns as kinds
from tastevec.data.readers.columns import ColumnType
from tastevec.data.readers.text import STRAY, show
from tastevec.data.readers.validate import RowReport
from tastevec.data.spark.session import reader
from tastevec.errors import BadRowError, SourceError
from tastevec.schema import ITEM_ID, POSITION, RATING, TIMESTAMP, USER_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, Row, SparkSession

    from tastevec.data.readers.columns import Column
    from tastevec.data.spark.session import SparkEngine

__all__ = [
    "NOTHING",
    "STRAYS",
    "WHOLE_ROW",
    "ErrorCounts",
    "Layout",
    "RawRows",
    "SparkRows",
    "first_line",
    "is_whole",
    "on_spark",
    "parquet",
    "parquet_rows",
    "rating_within",
    "row_errors",
    "text_rows",
    "validate_rows",
]

_LATEST = 100_000_000_000  # the year 5138: larger numbers are milliseconds
# '007' is a text and 5.7 no whole number: only what is written as the number itself would be counts.
_BIGINT = "try_cast({t} AS BIGINT)"
_WHOLE = f"(CASE WHEN CAST({_BIGINT} AS STRING) = {{t}} THEN {_BIGINT} END)"
_SPACE = r"[ \t\n\x0B\f\r]*"
# As DuckDB reads one, which takes "+-5" for -5 and "nan(1)" for no number in particular; a group for each.
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
_EAST = r"(?:Z|([+-])([0-9]{2})(?:([0-9]{2})|:|:([0-9]{2}):?|:([0-9]{2}):([0-9]{2}))?)"
_ZONED = rf"\A{_DAY}[ T]{_CLOCK}:([0-9]{{2}})(?:[.][0-9]+)?{_EAST}\z"


def _part(pattern: str, group: int) -> str:
    """The number that a group of the pattern found, 0 where it found none."""
    return f"coalesce(try_cast(regexp_extract({{t}}, r'{pattern}', {group}) AS INT), 0)"


def _since_1970(pattern: str) -> str:
    """Whole seconds of the day and the clock that a pattern finds, NULL where there is no such moment."""
    hour, minute, second = (_part(pattern, group) for group in (2, 3, 4))
    day = f"unix_date(try_cast(regexp_extract({{t}}, r'{pattern}', 1) AS DATE))"
    # Midnight may be the end of a day, as long as nothing follows it.
    midnight = f"({hour} = 24 AND {minute} = 0 AND {second} = 0 AND NOT contains({{t}}, '.'))"
    valid = f"({hour} < 24 AND {minute} < 60 AND {second} < 60 OR {midnight})"
    return f"CASE WHEN {valid} THEN {day} * 86400L + {hour} * 3600 + {minute} * 60 + {second} END"


def _east() -> str:
    """Seconds east of Greenwich."""
    minutes = " + ".join(_part(_ZONED, group) for group in (7, 8, 9))
    size = f"({_part(_ZONED, 6)} * 3600 + ({minutes}) * 60 + {_part(_ZONED, 10)})"
    return f"CASE WHEN regexp_extract({{t}}, r'{_ZONED}', 5) = '-' THEN -{size} ELSE {size} END"


_ISO = (
    f"CAST(CASE WHEN rlike({{t}}, r'{_LOCAL}') THEN {_since_1970(_LOCAL)} "
    f"WHEN rlike({{t}}, r'{_ZONED}') THEN ({_since_1970(_ZONED)}) - ({_east()}) END AS DOUBLE)"
)
# 20240131 is a date to its writer and a day in 1970 to us.
_DATES = "BETWEEN 19000101 AND 21001231"
_ANY_SECONDS = f"CASE WHEN NOT {_NUMBER} {_DATES} THEN {_NUMBER} ELSE {_ISO} END"
_SECONDS = (
    "CASE WHEN rlike({t}, r'\\A[0-9]{1,12}\\z') "  # nearly all, and quickly
    f"THEN CASE WHEN NOT CAST({{t}} AS BIGINT) {_DATES} THEN CAST({{t}} AS BIGINT) END "
    # What is beyond these is no time and, infinite or no number at all, must not be cut to one.
    f"WHEN {_ANY_SECONDS} BETWEEN -1e15D AND 1e15D THEN floor({_ANY_SECONDS}) END"
)


def _twin(kind: ColumnType, value: str, *conditions: str) -> ColumnType:
    """The same kind, judged for the same reasons; in a condition ``{v}`` is the value."""
    reasons = [reason for reason, _ in kind.faults]
    return ColumnType(value, tuple(zip(reasons, conditions, strict=True)), kind.expected)


_EMPTY = "{t} = ''"
_TWINS = {
    kinds.WHOLE_ID: _twin(kinds.WHOLE_ID, _WHOLE, _EMPTY, "{v} IS NULL"),
    kinds.OPEN_ID: _twin(kinds.OPEN_ID, "{t}", _EMPTY),
    kinds.TEXT_ID: _twin(kinds.TEXT_ID, "{t}", _EMPTY),
    kinds.SECONDS: _twin(kinds.SECONDS, _WHOLE, "{v} IS NULL", f"NOT {{v}} BETWEEN 0 AND {_LATEST}"),
    kinds.TIME: _twin(
        kinds.TIME,
        _SECONDS,
        f"{{t}} <> '' AND NOT coalesce({{v}} BETWEEN 0 AND {_LATEST}, false)",
    ),
}


def on_spark(kind: ColumnType) -> ColumnType:
    """The twin of one of DuckDB's kinds."""
    return _TWINS[kind]


def rating_within(lowest: float, highest: float) -> ColumnType:
    """A rating from ``lowest`` to ``highest``."""
    return _twin(
        kinds.rating_within(lowest, highest),
        _NUMBER,
        "{v} IS NULL",
        "isnan({v}) OR abs({v}) = DOUBLE('Infinity')",
        f"NOT {{v}} BETWEEN DOUBLE('{lowest!r}') AND DOUBLE('{highest!r}')",
    )


def is_whole(text: str) -> str:
    """Whether a text is a whole number in its own writing: '007' and '1.0' are not."""
    return f"({_WHOLE.replace('{t}', text)} IS NOT NULL)"


Layout = Literal["plain", "headed", "quoted"]
# The place of a row: its file, where in the file the piece begins that one worker read, and its number there. Spark
# numbers the rows of a piece in their order, from wherever it likes.
_PLACE = (
    "_metadata.file_path AS file",
    "_metadata.file_block_start AS block",
    "monotonically_increasing_id() AS row",
)


@dataclass(frozen=True)
class RawRows:
    """Rows that wait to be judged.

    Attributes:
        frame: ``file``, ``block`` and ``row``; ``text`` (the whole row; NULL where nothing stands there, or a header) and
            ``fields`` (an array of strings, NULL where the quotes of a row are broken).
        names: The columns, in order; a row must have as many fields.
        file: What messages call the source.
        encoding: ``utf-8`` or ``parquet``.
    """

    frame: DataFrame
    names: tuple[str, ...]
    file: str
    encoding: str


def first_line(session: SparkSession, address: str) -> str | None:
    """The first line of a text file without its ending; None where the file is empty."""
    lines = _lines(session, address).where("block = 0").limit(1).collect()
    return lines[0].text if lines else None


def text_rows(
    session: SparkSession, address: str, separator: str, names: Sequence[str], layout: Layout
) -> RawRows:
    """Rows of one text file, a row a line.

    Args:
        session: What reads them.
        address: Of the file.
        separator: What stands between two fields.
        names: What the columns are called.
        layout: "plain" has no header, "headed" has one, and in "quoted", which has one too, a field may be quoted by RFC
            4180 and then hold separators; not newlines, since a file is read in pieces that begin at any line.
    """
    # The first row of the first piece of the only file.
    nothing = "text = ''" if layout == "plain" else "text = '' OR row = 0"
    fields = _quoted(separator) if layout == "quoted" else _plain(separator)
    frame = _lines(session, address).selectExpr(
        "file", "block", "row", f"CASE WHEN NOT ({nothing}) THEN text END AS text", f"{fields} AS fields"
    )
    return RawRows(frame, tuple(names), address.rpartition("/")[2], "utf-8")


def parquet(session: SparkSession, address: str) -> DataFrame:
    """A Parquet file or a folder of them as it is; names of folders in it make no columns."""
    return reader(session).option("recursiveFileLookup", "true").parquet(address)


def parquet_rows(session: SparkSession, address: str, names: Sequence[str]) -> RawRows:
    """Rows of a Parquet file, or of a folder of them in the order of their names: these columns as text.

    A NULL is the empty text.
    """
    texts = ", ".join(f"coalesce(CAST(`{name.replace('`', '``')}` AS STRING), '')" for name in names)
    frame = parquet(session, address).selectExpr(*_PLACE, f"array({texts}) AS fields")
    frame = frame.selectExpr("file", "block", "row", "array_join(fields, ', ') AS text", "fields")
    return RawRows(frame, tuple(names), address.rpartition("/")[2], "parquet")


def _lines(session: SparkSession, address: str) -> DataFrame:
    """Every line, blank ones too; a line ends with a newline, and a carriage return before it is a part of its end."""
    ended = "CASE WHEN endswith(value, '\\r') THEN left(value, length(value) - 1) ELSE value END AS text"
    return reader(session).option("lineSep", "\n").text(address).selectExpr(*_PLACE, ended)


def _plain(separator: str) -> str:
    """SQL for the fields between separators."""
    return f"split(text, r'\\Q{separator}\\E', -1)"


def _quoted(separator: str) -> str:
    """SQL for the fields of a row in which some may be quoted; NULL where the quotes are broken."""
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
WHOLE_ROW: Final = -1  # the column of a fault that is of no one column
NOTHING: Final = "nothing"  # the fault of a header or a blank line: there is no row
# Each with the SQL that finds it in a field, and in a row: what UTF-8 cannot read becomes U+FFFD in the fields.
STRAYS: Final = {
    "NUL byte": ("contains({t}, '\\u0000')", "contains(text, '\\u0000')"),
    "stray carriage return": ("contains({t}, '\\r')", "contains(text, '\\r')"),
    "undecodable byte": (
        f"undecodable AND contains({{t}}, '\ufffd') OR contains({{t}}, '{STRAY}')",
        f"undecodable OR contains(text, '{STRAY}')",
    ),
}


def row_errors(rows: RawRows, columns: Sequence[Column]) -> DataFrame:
    """Each row's values, its first fault as ``column:reason``, and its texts where it has one."""
    place, numbers = ("file", "block", "row"), range(len(columns))
    texts = [f"get(fields, {column.place}) AS t{number}" for number, column in enumerate(columns)]
    values = [
        f"{column.kind.value.replace('{t}', f't{number}')} AS v{number}"
        for number, column in enumerate(columns)
    ]
    strays = "coalesce(encode(text, 'UTF-8') <> CAST(text AS BINARY), false) AS undecodable"
    frame = rows.frame.selectExpr(*place, "text", "array_size(fields) AS width", *texts, strays)
    frame = frame.selectExpr("*", *values)
    frame = frame.selectExpr("*", f"CASE {_faults(rows, columns)} END AS fault")
    named = {column.role: f"v{number}" for number, column in enumerate(columns)}
    named.setdefault(TIMESTAMP, "CAST(NULL AS BIGINT)")
    shown = ", ".join(f"left({name}, {_SHOWN})" for name in ("text", *(f"t{number}" for number in numbers)))
    return frame.selectExpr(
        *(*place, "fault"),
        *(f"{value} AS {role}" for role, value in named.items()),
        f"CASE WHEN fault <> '{NOTHING}' THEN array({shown}) END AS shown",
    )


def _faults(rows: RawRows, columns: Sequence[Column]) -> str:
    """The branches of a CASE, as ``readers.rows`` has them: the row's shape, then stray bytes, then each column's own."""
    width, numbers = len(rows.names), range(len(columns))
    branches = [
        f"WHEN text IS NULL THEN '{NOTHING}'",
        _branch("width IS NULL", WHOLE_ROW, "broken quotes"),
        _branch(f"width < {width}", WHOLE_ROW, "too few columns"),
        _branch(f"width > {width}", WHOLE_ROW, "too many columns"),
    ]
    strays = []
    for reason, (in_field, in_row) in STRAYS.items():
        strays += [_branch(in_field.replace("{t}", f"t{number}"), number, reason) for number in numbers]
        strays.append(_branch(in_row, WHOLE_ROW, reason))
    anywhere = " OR ".join(in_row for _, in_row in STRAYS.values())
    branches.append(f"WHEN {anywhere} THEN CASE {' '.join(strays)} END")
    for number, column in enumerate(columns):
        for reason, condition in column.kind.faults:
            asked = condition.replace("{t}", f"t{number}").replace("{v}", f"v{number}")
            branches.append(_branch(asked, number, reason))
    return " ".join(branches)


def _branch(condition: str, number: int, reason: str) -> str:
    return f"WHEN {condition} THEN '{number}:{reason}'"


# ruff: noqa: S608 -- each query is built from our own words only


@dataclass(frozen=True)
class ErrorCounts:
    """What was found.

    Attributes:
        groups: A row for each piece of a file and each fault in it: how many rows there are, the number of the first,
            and whether their ids are whole numbers.
    """

    groups: list[Row]

    @classmethod
    def of(cls, judged: DataFrame) -> ErrorCounts:
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


_EXAMPLES = 5
_REPEATED: Final = "duplicate"


@dataclass(frozen=True)
class SparkRows:
    """What is left of the rows.

    Attributes:
        frame: user_id, item_id (bigint or text), rating, timestamp, and position: the row's place in the source.
        whole: By role, whether every id is a whole number in its own writing.
        row_report: Where every row went.
    """

    frame: DataFrame
    whole: dict[str, bool]
    row_report: RowReport


def validate_rows(
    engine: SparkEngine, rows: RawRows, columns: Sequence[Column], *, skip_bad_rows: bool
) -> SparkRows:
    """Judge every row, once: what is found is written to the shared folder, and all that follows reads it there.

    Args:
        engine: What runs it.
        rows: The rows as text.
        columns: What is taken out of them; user, item and rating are among them.
        skip_bad_rows: Whether bad rows are set aside instead of refused.

    Raises:
        BadRowError: A row is bad and bad rows are not skipped.
        SourceError: There is no good row.
    """
    address = engine.fresh("judged")
    verdict = row_errors(rows, columns)
    written = engine.write(verdict, address)
    judged = reader(engine.session).schema(verdict.schema).parquet(address)
    found = ErrorCounts.of(judged)
    engine.refuse_loss(written, sum(group.rows for group in found.groups))
    placed = judged.join(engine.upload(found.shifts()).hint("broadcast"), ["file", "block"]).selectExpr(
        "*", f"row + shift AS {POSITION}"
    )
    good = placed.where("fault IS NULL").select(USER_ID, ITEM_ID, RATING, TIMESTAMP, POSITION)
    repeated = _repeated(engine, good)
    counts = found.reasons | ({_REPEATED: repeated.count} if repeated.count else {})
    told = (
        [_describe(rows, columns, found, row) for row in _examples(placed, good, repeated)] if counts else []
    )
    row_report = RowReport(
        rows.file,
        found.rows,
        found.rows - sum(counts.values()),
        dict(sorted(counts.items())),
        tuple(told),
        rows.encoding,
    )
    _refuse(row_report, skip_bad_rows=skip_bad_rows)
    return SparkRows(repeated.without(good), found.whole, row_report)


def _examples(placed: DataFrame, good: DataFrame, repeated: _Repeated) -> list[Row]:
    """The first bad rows, in the order of the source."""
    faulty = placed.where(f"fault <> '{NOTHING}'").orderBy(POSITION).limit(_EXAMPLES).collect()
    return sorted([*faulty, *repeated.examples(good)], key=lambda row: row[POSITION])[:_EXAMPLES]


@dataclass(frozen=True)
class _Repeated:
    """Pairs of a person and a film that occur more than once, with the place at which they came first."""

    pairs: DataFrame | None
    count: int

    def examples(self, good: DataFrame) -> list[Row]:
        if self.pairs is None:
            return []
        found = (
            good.join(self.pairs, [USER_ID, ITEM_ID])
            .where(f"{POSITION} > earlier")
            .orderBy(POSITION)
            .limit(_EXAMPLES)
        )
        shown = f"array(CAST(earlier AS STRING), CAST({USER_ID} AS STRING), CAST({ITEM_ID} AS STRING))"
        return found.selectExpr(
            POSITION, f"'{WHOLE_ROW}:{_REPEATED}' AS fault", f"{shown} AS shown"
        ).collect()

    def without(self, good: DataFrame) -> DataFrame:
        """The good rows that come first."""
        if self.pairs is None:
            return good
        joined = good.join(self.pairs, [USER_ID, ITEM_ID], "left").where(
            f"earlier IS NULL OR {POSITION} = earlier"
        )
        return joined.drop("earlier")


def _repeated(engine: SparkEngine, good: DataFrame) -> _Repeated:
    from pyspark.sql.functions import expr  # noqa: PLC0415  an extra

    pairs = good.groupBy(USER_ID, ITEM_ID).agg(expr("count(*) AS rows"), expr(f"min({POSITION}) AS earlier"))
    address = engine.fresh("repeated")
    pairs.where("rows > 1").write.parquet(address)
    pairs = reader(engine.session).parquet(address)
    (count,) = pairs.selectExpr("coalesce(sum(rows - 1), 0) AS count").collect()[0]
    return _Repeated(pairs.drop("rows") if count else None, count)


def _describe(rows: RawRows, columns: Sequence[Column], found: ErrorCounts, row: Row) -> str:
    """One bad row as what was found, where, and what was expected; in the words of ``readers.rows``."""
    number, _, reason = row.fault.partition(":")
    unit = "row" if rows.encoding == "parquet" else "line"
    name, line = found.file_of(row[POSITION])
    where = f"{name} {unit} {line}"
    if reason == _REPEATED:
        earlier, *values = row.shown
        first_name, first = found.file_of(int(earlier))
        place = f"{unit} {first}" if first_name == name else f"{first_name} {unit} {first}"
        return f"{where}: {', '.join(values)} was there on {place}; expected it once"
    if int(number) == WHOLE_ROW:
        return f"{where}: {_as_it_stood(row.shown[0])} has {reason}; expected {len(rows.names)}: {', '.join(rows.names)}"
    column = columns[int(number)]
    what = f"is no text ({reason})" if reason in STRAYS else f"is {reason}"
    return f"{where}, column {column.name}: {_as_it_stood(row.shown[int(number) + 1])} {what}; expected {column.kind.expected}"


def _refuse(row_report: RowReport, *, skip_bad_rows: bool) -> None:
    bad = sum(row_report.skipped.values())
    if bad and not skip_bad_rows:
        others = f" ({bad} bad rows in all)" if bad > 1 else ""
        raise BadRowError(
            f"{row_report.examples[0]}{others}; correct the file or run again with --skip-bad-rows"
        )
    if not row_report.rows_kept:
        raise SourceError(
            f"{row_report.file} has {row_report.rows_read} rows and none of them is good; expected interactions; "
            f"{'; '.join(row_report.examples[:1]) or 'export it again, then rerun'}"
        )


def _as_it_stood(text: str | None) -> str:
    """As the other engine shows it, whose readers mark a stray carriage return as they mark every byte that no text holds."""
    return show(text and text.replace("\r", f"{STRAY}0d"))

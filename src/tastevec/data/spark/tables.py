"""Interactions on Spark: a text file or Parquet on a shared disk or at an address, opened as DuckDB opens it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import ibis
import pyarrow as pa

from tastevec.data.intake.delimited import (
    BYTES,
    COLUMNS,
    N_EXAMPLES,
    QUOTES,
    TOO_LONG,
    BrokenRows,
    describe_broken,
    refuse_open_quote,
)
from tastevec.data.intake.engine import Opened
from tastevec.data.intake.formats import infer_dialect, sniff
from tastevec.data.intake.layouts import find_source, is_needed, known_format, recognize
from tastevec.data.intake.settings import FileFormat
from tastevec.data.intake.tables import OpenTable
from tastevec.data.intake.text import LONGEST_LINE, UNDECODED, mark_undecoded, open_text
from tastevec.data.spark.session import address_of, is_address, reader, spark_errors
from tastevec.errors import SettingsError
from tastevec.schema import ITEM_ID, POSITION, RATING, TIMESTAMP, USER_ID

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row

    from tastevec.data.intake.formats import Dialect
    from tastevec.data.intake.layouts import SourceFiles
    from tastevec.data.intake.settings import IntakeSettings
    from tastevec.data.spark.session import SparkEngine

_HEAD: Final = 1 << 20  # bytes of a file that show what it is
_SHOWN: Final = 10_000  # bytes of a broken line that are kept, as on DuckDB
_ODD_LINES: Final = 10_000  # lines that are not ASCII, which show the encoding
_OTHERS: Final = {
    "jsonl": "has JSON lines",
    "arrow": "is an Arrow file",
    "gzip": "is a gzip file",
    "zstd": "is a zstd file",
    "zip": "is a zip",
}
_EXPECTED: Final = (USER_ID, ITEM_ID, RATING, TIMESTAMP)
_NO_ROW, _OPEN_QUOTE = (
    "no row",
    "open quote",
)  # what a line is instead of a row: a header or a blank line; a fault
# Where a line is: its file, where in the file the piece begins that one worker reads, and its number in the piece. Spark
# numbers the lines of a piece in their order, from an arbitrary start; the first piece of the only file begins at 0.
_LOCATION: Final = ("file", "block", "row")
_LOCATION_SQL: Final = (
    "_metadata.file_path AS file",
    "_metadata.file_block_start AS block",
    "monotonically_increasing_id() AS row",
)


@ibis.udf.scalar.builtin(name="conv")  # type: ignore[untyped-decorator]  # Ibis declares no types
def _conv(digits: str, base: int, to: int) -> str:  # type: ignore[empty-body]  # as above
    """Return a number in another base."""


@dataclass(frozen=True)
class SparkIntake:
    """Spark as an engine of the intake: rows are stored in the folder that its workers share."""

    spark: SparkEngine

    def open(self, source: Any, settings: IntakeSettings, scratch: Path) -> Opened:  # noqa: ANN401  a path or a table
        """Open a release or a table on a disk that the workers see, too, or at an address.

        Of a release at an address everything but its interactions is copied into ``scratch``.

        Raises:
            SourceError: There is no such source, or it cannot be read as a table.
            BadRowError: More lines are broken than allowed, or a quote is left open over lines.
            SettingsError: DuckDB alone reads such a source, or Spark fails.
        """
        if not isinstance(source, str | Path) or source == "-":
            raise _only_duckdb("interactions", "are in memory or on standard input")
        if settings.time_format is not None:
            raise _only_duckdb(f"--time-format {settings.time_format}", "is read by DuckDB")
        with spark_errors("finding the source", source=str(source)):
            address, files = _find(self.spark, source, scratch)
            head = scratch / "head" / files.interactions.name
            head.parent.mkdir()
            is_folder = files.interactions.is_dir()
            if not is_folder:
                head.write_bytes(self.spark.storage.head(address, _HEAD))
        kind = "parquet" if is_folder else sniff(head, name=head.name)
        if kind in _OTHERS:
            raise _only_duckdb(head.name, _OTHERS[kind])
        with spark_errors("reading the interactions", source=str(source)):
            if kind == "parquet":
                return Opened(files, *_open_parquet(self.spark, address, head.name))
            return Opened(files, *_open_text(self.spark, address, files.interactions, head, settings))

    def first(self, raw: ibis.Table, rows: int) -> ibis.Table:
        """Return the first rows of an opened table."""
        return raw.order_by(POSITION).limit(rows)

    def fetch(self, table: ibis.Table) -> pa.Table:
        """Return the rows of a small result."""
        return self.spark.to_pyarrow(table)

    def step(self, table: ibis.Table) -> ibis.Table:
        """Return the same rows as a query of its own."""
        return self.spark.table(self.spark.frame(table), table.schema())

    def store(self, table: ibis.Table, what: str) -> ibis.Table:
        """Return the same rows, computed once and kept in the shared folder.

        Raises:
            SettingsError: Spark fails.
        """
        address = self.spark.fresh("rows")
        with spark_errors(what):
            frame = self.spark.frame(table)
            written = self.spark.write(frame, address)
            stored = reader(self.spark.session).schema(frame.schema).parquet(address)
            self.spark.refuse_loss(written, stored.count())
            return self.spark.table(stored, table.schema())

    def store_numbered(self, table: ibis.Table, what: str) -> ibis.Table:
        """Fail: `open` gives no unnumbered rows, because Spark's files have no order of rows."""
        raise AssertionError(f"{what}: {table.columns} without a position")

    def are_sorted(self, table: ibis.Table, columns: tuple[str, ...]) -> bool:
        """Return False: rows that are spread over workers have no order that could be looked at in one pass."""
        del table, columns
        return False

    def hash_number(self, text: ibis.Value) -> ibis.Value:
        """Return an int64 from 0: the first 15 hexadecimal digits of the MD5."""
        return _conv(text.hexdigest("md5").substr(0, 15), 16, 10).cast("int64")


def _only_duckdb(what: str, details: str) -> SettingsError:
    return SettingsError(
        f"{what}: {details}. Expected a CSV or Parquet with --engine spark. Use --engine duckdb, or export the table so"
    )


def _find(engine: SparkEngine, source: str | Path, scratch: Path) -> tuple[str, SourceFiles]:
    """Return the address of the interactions, and the files of the source, copies where they are at an address."""
    address = str(source).rstrip("/") if is_address(source) else None
    path = Path(source) if address is None else _copy(engine, address, scratch)
    if path.is_file() and sniff(path, name=path.name) == "zip":
        raise _only_duckdb(path.name, _OTHERS["zip"])
    files = find_source(path, scratch)
    inner = files.interactions.relative_to(path).as_posix()
    if address is None:
        return address_of(files.interactions), files
    return (address if inner == "." else f"{address}/{inner}"), files


def _copy(engine: SparkEngine, address: str, scratch: Path) -> Path:
    """Return a copy of what describes the source: the first lines of its interactions, items, tags, and names of Parquet."""
    copy = scratch / "source" / PurePosixPath(address.partition("://")[2]).name
    copy.parent.mkdir()
    if not engine.storage.is_folder(address):
        copy.write_bytes(engine.storage.head(address, _HEAD))
        return copy
    copy.mkdir()
    entries = engine.storage.entries(address)
    release = recognize([entry.name for entry in entries])
    for entry in entries:
        if release is not None and entry.name == release[1]:
            (copy / entry.name).write_bytes(engine.storage.head(entry.address, _HEAD))
        elif release is not None and is_needed(entry.name):
            engine.storage.fetch(entry.address, copy / entry.name)
        else:
            (copy / (f"{entry.name}.parquet" if "=" in entry.name else entry.name)).touch()
    return copy


def _open_parquet(engine: SparkEngine, address: str, name: str) -> tuple[OpenTable, ibis.Table]:
    """Open a Parquet file, or a folder of them in the order of their paths; ``name=value`` folders are a column."""
    from ibis.backends.pyspark.datatypes import PySparkType  # noqa: PLC0415  an extra

    frame = reader(engine.session).option("recursiveFileLookup", "true").parquet(address)
    found = frame.selectExpr("_metadata.file_path AS file").groupBy("file").count().collect()
    parts = {row.file: PurePosixPath(unquote(row.file)) for row in found}
    counts = {row.file: row["count"] for row in sorted(found, key=lambda row: parts[row.file].parts)}
    starts = accumulate(counts.values(), initial=0)
    inner = [dict(part.split("=", 1) for part in parts[file].parts[:-1] if "=" in part) for file in counts]
    folders = [key for key in (inner[0] if inner else {}) if all(key in values for values in inner)]
    places = pa.table(
        {
            "file": pa.array(counts, pa.string()),
            "start": pa.array([start for start, _ in zip(starts, counts, strict=False)], pa.int64()),
            **{f"folder{number}": [values[key] for values in inner] for number, key in enumerate(folders)},
        }
    )
    columns = [f"`{column.replace('`', '``')}`" for column, _ in frame.dtypes]
    columns = [
        f"CAST({column} AS STRING)" if kind == "binary" else column
        for column, (_, kind) in zip(columns, frame.dtypes, strict=True)
    ]
    values = [f"{column} AS c{number}" for number, column in enumerate(columns)]
    rows = frame.selectExpr(*values, "_metadata.file_path AS file", "_metadata.row_index AS row")
    placed = rows.join(engine.upload(places).hint("broadcast"), "file").selectExpr(
        *(f"c{number}" for number in range(len(columns))),
        *(f"folder{number} AS c{len(columns) + number}" for number in range(len(folders))),
        f"row + start AS {POSITION}",
    )
    kinds = {field.name: PySparkType.to_ibis(field.dataType) for field in placed.schema}
    names = (*frame.columns, *folders)
    types = tuple(str(kinds[f"c{number}"]) for number in range(len(names)))
    raw = engine.table(placed, kinds)
    return OpenTable(f"FROM {raw.get_name()}", names, types, name, "parquet", sum(counts.values())), raw


def _open_text(
    engine: SparkEngine, address: str, path: Path, head: Path, settings: IntakeSettings
) -> tuple[OpenTable, ibis.Table]:
    """Open a text file with one row on each line."""
    content = head.read_bytes()
    if len(content) == _HEAD and b"\n" in content:
        head.write_bytes(content[: content.rindex(b"\n") + 1])
    stated = settings.file_format
    text = open_text(head, head.parent, name=head.name, encoding=stated.encoding)
    if text.encoding == "utf-16":
        raise _only_duckdb(head.name, "is in UTF-16")
    known = known_format(path, next(text.read_lines())) if stated == FileFormat() else None
    dialect = infer_dialect(text, known or stated, _EXPECTED)
    line_end = "\r" if b"\n" not in content and content.count(b"\r") > 1 else "\n"
    lines = _Lines(engine, address, head.name, dialect, line_end, text.encoding)
    stored = lines.store()
    if BYTES in stored.reasons and stated.encoding is None and text.encoding == "utf-8":
        encoding = lines.infer_encoding(head)
        if encoding != text.encoding:
            lines = replace(lines, encoding=encoding)
            stored = lines.store()
    names = dialect.names
    broken = stored.broken_rows(lines)
    expected = f"{len(names)} columns: {', '.join(names)}" if len(names) > 1 else f"one column: {names[0]}"
    broken.check(head.name, stored.rows, settings.bad_rows, expected)
    frame = stored.placed.where("reason IS NULL").select(*lines.columns, POSITION)
    raw = engine.table(frame, {**dict.fromkeys(lines.columns, "string"), POSITION: "int64"})
    table = OpenTable(
        query=f"FROM {raw.get_name()}",
        names=names,
        types=("string",) * len(names),
        file=head.name,
        format="csv",
        rows=stored.rows,
        broken=broken,
        encoding=lines.encoding,
        delimiter=dialect.delimiter,
        has_header=dialect.has_header,
        declared=dialect.declared,
    )
    return table, raw


@dataclass(frozen=True)
class _Lines:
    """The lines of a text file, to be divided into fields."""

    engine: SparkEngine
    address: str
    name: str
    dialect: Dialect
    line_end: str
    encoding: str

    @property
    def columns(self) -> list[str]:
        return [f"c{number}" for number in range(len(self.dialect.names))]

    def _read(self) -> DataFrame:
        return (
            reader(self.engine.session)
            .option("lineSep", self.line_end)
            .text(self.address)
            .selectExpr(*_LOCATION_SQL, "value", "CAST(value AS BINARY) AS bytes")
        )

    def store(self) -> _StoredLines:
        """Divide every line once: the result is written to the shared folder, and every later step reads it there."""
        text = "value" if self.encoding == "utf-8" else "decode(bytes, 'ISO-8859-1')"
        frame = self._read().selectExpr(*_LOCATION, "value", "bytes", f"{text} AS text")
        # A pair of carriage returns before a newline is one that Windows has doubled.
        cut = "left(text, length(text) - {})"
        text = (
            rf"CASE WHEN endswith(text, '\r\r') THEN {cut.format(2)} WHEN endswith(text, '\r') THEN {cut.format(1)} "
            rf"WHEN row = 0 AND startswith(text, '{chr(0xFEFF)}') THEN substring(text, 2) ELSE text END AS text"
        )
        frame = frame.selectExpr(*_LOCATION, "value", "bytes", text)
        frame = frame.selectExpr(*_LOCATION, "value", "bytes", "text", f"{self._fields()} AS fields")
        frame = frame.selectExpr(*_LOCATION, "bytes", "text", "fields", f"{self._reason()} AS reason")
        fields = [f"nullif(get(fields, {number}), '') AS c{number}" for number in range(len(self.columns))]
        kept = f"CASE WHEN reason <> '{_NO_ROW}' THEN substring(bytes, 1, {_SHOWN}) END AS bytes"
        address = self.engine.fresh("lines")
        frame = frame.selectExpr(*_LOCATION, "reason", "contains(text, '\"') AS has_quote", kept, *fields)
        written = self.engine.write(frame, address)
        stored = reader(self.engine.session).schema(frame.schema).parquet(address)
        return _StoredLines.of(self.engine, stored, written)

    def _fields(self) -> str:
        """Return SQL of the fields of a line, of which some may be quoted; NULL where the quotes are broken."""
        delimiter = _literally(self.dialect.delimiter)
        plain = f"split(text, r'{delimiter}', -1)"
        if not self.dialect.quote:
            return plain
        field = _field(self.dialect)
        # Each match begins with a delimiter, so that an empty field is a match as well.
        before = self.dialect.delimiter.replace("\\", "\\\\").replace("'", "\\'")
        found = f"regexp_extract_all(concat('{before}', text), r'{delimiter}({field})', 1)"
        inner = "substring(trim(f), 2, length(trim(f)) - 2)"
        is_doubled = self.dialect.escape == self.dialect.quote
        whole = (
            f"replace({inner}, '\"\"', '\"')" if is_doubled else rf"regexp_replace({inner}, r'\\(.)', '$1')"
        )
        unquoted = f"f -> CASE WHEN startswith(trim(f), '\"') THEN {whole} ELSE f END"
        well_formed = rf"\A(?:{field})(?:{delimiter}(?:{field}))*\z"
        return (
            f"CASE WHEN NOT contains(text, '\"') THEN {plain} "
            f"WHEN rlike(text, r'{well_formed}') THEN transform({found}, {unquoted}) END"
        )

    def _reason(self) -> str:
        """Return SQL of why a line is no row, NULL where it is one; empty fields at its end are not too many, as on DuckDB."""
        delimiter, n = _literally(self.dialect.delimiter), len(self.columns)
        left_open = rf"\A(?:(?:{_field(self.dialect)}){delimiter})*{_quoted(self.dialect)}\z"
        is_wide = f"size(fields) < {n} OR array_join(slice(fields, {n + 1}, size(fields)), '') <> ''"
        marks = [r"contains(text, '\u0000')", r"contains(text, '\r')", f"contains(text, '{UNDECODED}')"]
        if self.encoding == "utf-8":
            marks.append("encode(value, 'UTF-8') <> bytes")
        return (
            f"CASE WHEN row < {self.dialect.skip + self.dialect.header_lines} OR text = '' THEN '{_NO_ROW}' "
            f"WHEN length(bytes) > {LONGEST_LINE} THEN '{TOO_LONG}' "
            f"WHEN fields IS NULL THEN CASE WHEN rlike(text, r'{left_open}') THEN '{_OPEN_QUOTE}' ELSE '{QUOTES}' END "
            f"WHEN {is_wide} THEN CASE WHEN trim(text) = '' THEN '{_NO_ROW}' ELSE '{COLUMNS}' END "
            f"WHEN {' OR '.join(marks)} THEN '{BYTES}' END"
        )

    def infer_encoding(self, head: Path) -> str:
        """Return the encoding that lines show which are not ASCII."""
        odd = self._read().where("encode(value, 'UTF-8') <> bytes OR length(value) < length(bytes)")
        content = b"\n".join(bytes(row.bytes) for row in odd.select("bytes").limit(_ODD_LINES).collect())
        sample = head.with_name("odd lines")
        sample.write_bytes(content + b"\n")
        return open_text(sample, head.parent, name=self.name).encoding

    def shown(self, row: Row) -> str:
        """Return the content of a broken line."""
        return mark_undecoded(bytes(row.bytes).rstrip(b"\r"), self.encoding)


def _literally(text: str) -> str:
    """Return a pattern of Java for this text, also within brackets if it is one character."""
    return "".join(rf"\x{{{ord(letter):x}}}" for letter in text)


def _quoted(dialect: Dialect) -> str:
    """Return a pattern of a quoted field without its last quote; spaces around the quotes are no part of it, as on DuckDB."""
    return r' *"[^"]*(?:""[^"]*)*' if dialect.escape == dialect.quote else r' *"[^"\\]*(?:\\.[^"\\]*)*'


def _field(dialect: Dialect) -> str:
    """Return a pattern of a field, quoted or not."""
    return rf'{_quoted(dialect)}" *|(?! *")[^{_literally(dialect.delimiter)}]*'


@dataclass(frozen=True)
class _StoredLines:
    """The divided lines, each with its position in the file, and their number by reason."""

    placed: DataFrame
    reasons: Counter[str | None]

    @classmethod
    def of(cls, engine: SparkEngine, stored: DataFrame, written: int) -> _StoredLines:
        """Count the stored lines by piece of the file and by reason, which gives each piece its place.

        Raises:
            SettingsError: Lines are missing.
        """
        stored.createOrReplaceTempView("stored_lines")
        groups = engine.session.sql(
            "SELECT file, block, reason, count(*) AS lines, min(row) AS first FROM stored_lines GROUP BY file, block, reason"
        ).collect()
        engine.refuse_loss(written, sum(group.lines for group in groups))
        reasons, pieces = Counter[str | None](), dict[tuple[str, int], tuple[int, int]]()
        for group in groups:
            reasons[group.reason] += group.lines
            first, lines = pieces.get((group.file, group.block), (group.first, 0))
            pieces[group.file, group.block] = min(first, group.first), lines + group.lines
        before = accumulate((lines for _, (_, lines) in sorted(pieces.items())), initial=0)
        shifts = [
            {"file": file, "block": block, "shift": start - first}
            for start, ((file, block), (first, _)) in zip(before, sorted(pieces.items()), strict=False)
        ]
        schema = pa.schema([("file", pa.string()), ("block", pa.int64()), ("shift", pa.int64())])
        moved = engine.upload(pa.Table.from_pylist(shifts, schema)).hint("broadcast")
        return cls(
            stored.join(moved, ["file", "block"]).selectExpr("*", f"row + shift AS {POSITION}"), reasons
        )

    @property
    def rows(self) -> int:
        """Number of rows, broken ones included."""
        return self.reasons.total() - self.reasons[_NO_ROW]

    def broken_rows(self, lines: _Lines) -> BrokenRows:
        """Return the broken rows.

        Raises:
            BadRowError: A quote is left open before the last line.
        """
        reasons = Counter({reason: n for reason, n in self.reasons.items() if reason not in {None, _NO_ROW}})
        if not reasons:
            return BrokenRows()
        if reasons[_OPEN_QUOTE]:
            self._check_quote(lines)
            reasons[QUOTES] += reasons.pop(_OPEN_QUOTE)
        broken = self.placed.where(f"reason <> '{_NO_ROW}'")
        first = broken.selectExpr("reason", "bytes", POSITION, f"reason = '{BYTES}' AS late")
        examples = [
            describe_broken(
                lines.name,
                row[POSITION] + 1,
                lines.shown(row),
                QUOTES if row.reason == _OPEN_QUOTE else row.reason,
            )
            for row in first.orderBy("late", POSITION).limit(N_EXAMPLES).collect()
        ]
        return BrokenRows(reasons.total(), {str(reason): n for reason, n in reasons.items()}, tuple(examples))

    def _check_quote(self, lines: _Lines) -> None:
        """Refuse the first quote that is left open, unless nothing follows: a row here ends with its line."""
        row = self.placed.where(f"reason = '{_OPEN_QUOTE}'").selectExpr(f"min({POSITION}) AS first").collect()
        first, total = int(row[0].first), self.reasons.total()
        later = self.placed.where(f"{POSITION} > {first} AND has_quote")
        (closing,) = later.selectExpr(f"coalesce(min({POSITION}), {total - 1})").collect()[0]
        if closing > first:
            refuse_open_quote(lines.name, first + 1, closing - first)

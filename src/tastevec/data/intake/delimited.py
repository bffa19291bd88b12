"""Delimited text and JSON lines as rows of text: every line of the file is part of a row, empty, or a counted fault."""

# ruff: noqa: S608 -- each query is built from constants and from values that `literal` has quoted

from __future__ import annotations

import csv
import shutil
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, count, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from tastevec.data.intake.report import too_many
from tastevec.data.intake.text import LONGEST_LINE, UNDECODED, csv_reader, lines_of, literal, show, sql_path
from tastevec.errors import BadRowError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ibis.backends.duckdb import Backend

    from tastevec.data.intake.formats import Dialect
    from tastevec.data.intake.text import TextFile

N_EXAMPLES: Final = 5
# Lines in one quoted text: a quote left open that another one closes would otherwise swallow good rows.
_LONGEST_FIELD = 100
_SHOWN = 10_000  # bytes of a rejected line that DuckDB keeps
QUOTES, COLUMNS, BYTES = "broken quotes", "a wrong number of columns", "bytes that are no text"
TOO_LONG = f"more than {LONGEST_LINE:,} bytes"
_REASONS = {
    "UNQUOTED VALUE": QUOTES,
    "MISSING COLUMNS": COLUMNS,
    "TOO MANY COLUMNS": COLUMNS,
    "INVALID ENCODING": BYTES,
    "LINE SIZE OVER MAXIMUM": TOO_LONG,
}
_counter = count()


@dataclass(frozen=True)
class BrokenRows:
    """Rows that cannot be divided into their fields.

    Attributes:
        count: Their number.
        reasons: The number of each fault.
        examples: The first of them, each with file, line, content and fault.
    """

    count: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()

    def check(self, file: str, total: int, limit: float | None, expected: str) -> None:
        """Check that no more of all rows are broken than the share ``limit``; None allows none.

        Raises:
            BadRowError: There are more.
        """
        if not self.count or (limit is not None and self.count <= limit * total):
            return
        are = "is" if self.count == 1 else "are"
        if limit is None:
            raise BadRowError(
                f"{self.examples[0]} ({self.count:,} of {total:,} rows {are} broken, {100 * self.count / total:.1f} %). Expected {expected}. "
                f"Fix the row{'s' * (self.count > 1)}, or skip with --bad-rows drop."
            )
        raise BadRowError(
            f"{file}: {too_many(self.count, total, limit)}. First: {self.examples[0]}. Expected {expected}."
        )


@dataclass(frozen=True)
class TextRows:
    """The rows of a text file, as the attributes of `OpenTable`."""

    query: str
    rows: int
    broken: BrokenRows
    find_line: Callable[[int], int]
    unnumbered: str | None = None


@contextmanager
def readable(file: str, names: Sequence[str] = ("text",)) -> Iterator[None]:
    """Raise a `SourceError` for an error of DuckDB, such as a damaged Parquet page, but not for a lack of memory or disk."""
    import duckdb  # noqa: PLC0415 -- importing the readers stays cheap

    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        if "No space left" in str(error):
            raise
        reason = str(error).split("\n", maxsplit=1)[0][:200]
        raise SourceError(
            f"{file}: not readable ({reason}). Expected rows of {', '.join(names)}. Export the file again."
        ) from error


def read_delimited(
    text: TextFile, dialect: Dialect, connection: Backend, scratch: Path, bad_rows: float | None
) -> TextRows:
    """Return the rows of a delimited file; where lines are broken, those of a copy in ``scratch`` without them.

    Raises:
        BadRowError: More rows are broken than the share ``bad_rows``, or a quote is left open over lines.
        SourceError: The rows do not add up to the lines of the file.
    """
    reader, rejects = _Reader(text, dialect, connection), list[_Reject]()
    n = len(dialect.names)
    expected = f"{n} columns: {', '.join(dialect.names)}" if n > 1 else f"one column: {dialect.names[0]}"
    with readable(text.name, dialect.names):
        line_of = line_finder(text, dialect, frozenset())
        counts = reader.count()
        missing = reader.missing_lines(counts, 0, line_of)
        if missing:
            rejects = reader.rejects()
            _check_quotes(text, dialect, rejects)
            line_of = line_finder(text, dialect, frozenset(reject.start for reject in rejects))
            # DuckDB's ignore_errors also drops the good row after one with broken quotes.
            reader = _Reader(_without(text, rejects, scratch), dialect, connection)
            counts = reader.count()
            missing = reader.missing_lines(counts, len(rejects), line_of)
        if missing or counts is None:
            _check_long_rows(text, dialect)
            raise SourceError(
                f"{text.name}: {text.lines:,} lines, of which {missing:,} are in no row. Expected a row on each line. "
                "State the delimiter, or that quotes are text, or export the file again."
            )
        rejects = [reject for reject in rejects if reject.content.strip()]
        examples = [
            describe_broken(text.name, _line_at(text, reject.start), reject.content, reject.reason)
            for reject in rejects[:N_EXAMPLES]
        ]
        query, rows, undecoded = reader.query(), counts[int(n == 1)], counts[2]
        if undecoded:
            examples += [
                describe_broken(
                    text.name, line_of(position), dialect.delimiter.join(cell or "" for cell in cells), BYTES
                )
                for position, *cells in connection.raw_sql(
                    f"SELECT position, {reader.columns} FROM ({query}) WHERE {reader.is_undecoded} ORDER BY position LIMIT {N_EXAMPLES}"
                ).fetchall()
            ]
            query = f"SELECT * FROM ({query}) WHERE NOT {reader.is_undecoded}"
    reasons = Counter(reject.reason for reject in rejects)
    reasons += Counter({BYTES: undecoded})
    broken = BrokenRows(reasons.total(), dict(reasons), tuple(examples[:N_EXAMPLES]))
    total = rows + len(rejects)
    broken.check(text.name, total, bad_rows, expected)
    return TextRows(query, total, broken, line_of, None if undecoded else reader.query(position=""))


def describe_broken(file: str, line: int, content: str, reason: str) -> str:
    """Return a broken row for messages."""
    verb = "contains" if reason == BYTES else "has"
    return f"{file}, line {line}: {show(content.rstrip(chr(10)))} {verb} {reason}"


@dataclass(frozen=True)
class _Reject:
    """A line, or several in quotes, that DuckDB cannot divide.

    Attributes:
        start: The index of its first byte.
        reason: The fault.
        content: Its first ``_SHOWN`` bytes.
    """

    start: int
    reason: str
    content: str

    @property
    def more_lines(self) -> int:
        return self.content.rstrip("\r\n").count("\n")


class _Reader:
    """DuckDB's reader of one file, with nothing left for it to guess."""

    def __init__(self, text: TextFile, dialect: Dialect, connection: Backend) -> None:
        self._text, self._dialect, self._connection = text, dialect, connection
        self._names = [f"c{index}" for index in range(len(dialect.names))]
        self.columns = ", ".join(self._names)
        self.is_undecoded = "(" + " OR ".join(_marks(name) for name in self._names) + ")"
        self._is_single = len(self._names) == 1

    def _source(self, faults: str = "") -> str:
        text, dialect = self._text, self._dialect
        types = ", ".join(f"{name}: 'VARCHAR'" for name in self._names)
        quote = dialect.quote if text.has_quotes else ""
        escape = dialect.escape if quote else ""
        # Several threads cannot always tell what is inside quotes; one alone loses the reject of an open quote.
        parallel = bool(faults) or not quote
        return (
            f"read_csv({sql_path(text.path)}, delim = {literal(dialect.delimiter)}, quote = {literal(quote)}, escape = {literal(escape)}, "
            f"header = {str(dialect.has_header).lower()}, skip = {dialect.skip}, columns = {{{types}}}, auto_detect = false, "
            f"compression = 'none', hive_partitioning = false, max_line_size = {LONGEST_LINE}, parallel = {str(parallel).lower()}{faults})"
        )

    def query(self, position: str = ", row_number() OVER () - 1 AS position") -> str:
        """Return SQL of the rows; an empty line of one column is no row, and numbering takes one thread."""
        where = " WHERE c0 IS NOT NULL" if self._is_single else ""
        return f"SELECT {self.columns}{position} FROM {self._source()}{where}"

    def count(self) -> tuple[int, int, int] | None:
        """Return the number of rows, of those with a first column, and of those with undecodable bytes; None if a line is no row."""
        import duckdb  # noqa: PLC0415 -- importing the readers stays cheap

        undecoded = f"count_if({self.is_undecoded})" if self._text.has_undecoded else "0"
        counts = f"SELECT count(*), count(c0), {undecoded} FROM {self._source()}"
        try:
            rows, first, marked = self._connection.raw_sql(counts).fetchone()
        except (duckdb.Error, UnicodeDecodeError):  # an error's text may quote bytes that are none
            return None
        return rows, first, marked or 0  # NULL without rows

    def rejects(self) -> list[_Reject]:
        """Return the lines that are no rows."""
        table = f"rejects_{next(_counter)}"
        stored = f", store_rejects = true, rejects_table = '{table}', rejects_scan = '{table}_scan'"
        try:
            # The rejects are complete when every row is fetched.
            self._connection.raw_sql(f"SELECT count(*) FROM {self._source(stored)}").fetchall()
            found = self._connection.raw_sql(
                "SELECT line_byte_position - 1, min_by(error_type::VARCHAR, byte_position), any_value(csv_line) "
                f"FROM {table} GROUP BY 1 ORDER BY 1"
            ).fetchall()
        finally:
            for name in (table, f"{table}_scan"):
                self._connection.raw_sql(f"DROP TABLE IF EXISTS {name}")
        rejects = []
        for start, error, line in found:
            content = (line or "").lstrip("\r\n")  # without the empty lines before it
            reason = _REASONS.get(error, error.lower())
            rejects.append(_Reject(start + len(line or "") - len(content), reason, content))
        return rejects

    def missing_lines(
        self, counts: tuple[int, int, int] | None, rejected: int, line_of: Callable[[int], int]
    ) -> int:
        """Return the lines of the file, less rows, empty lines, newlines in quotes and rejected lines: 0 if all is read.

        Raises:
            BadRowError: A quoted text goes over more lines than it should.
        """
        text, dialect = self._text, self._dialect
        if counts is None:
            return text.lines
        # DuckDB passes over empty lines, but reads them as rows of a single column.
        skipped = [line for line in islice(text.read_lines(), dialect.skip) if not line.strip("\r\n")]
        blank_lines = 0 if self._is_single else text.blank_lines - len(skipped)
        missing = text.lines - dialect.skip - dialect.header_lines - counts[0] - blank_lines - rejected
        if text.has_quotes and dialect.quote and (missing or text.blank_lines):
            missing -= self._newlines_in_quotes(line_of)
        return missing

    def _newlines_in_quotes(self, line_of: Callable[[int], int]) -> int:
        """Return the number of newlines in quotes, less the empty lines among them, which are counted as such."""
        plain = [f"replace(coalesce({name}, ''), chr(13), '')" for name in self._names]
        newlines = " + ".join(f"length({text}) - length(replace({text}, chr(10), ''))" for text in plain)
        blanks = " + ".join(
            f"length({text}) - length(regexp_replace({text}, '\\n\\n+', chr(10), 'g'))" for text in plain
        )
        blanks = "0" if self._is_single else blanks
        total, position, longest = self._connection.raw_sql(
            f"SELECT sum(n - b), arg_max(position, n), max(n) FROM (SELECT position, {newlines} AS n, {blanks} AS b "
            f"FROM ({self.query()}) WHERE contains(concat({self.columns}), chr(10)))"
        ).fetchone()
        if longest and longest > _LONGEST_FIELD:
            refuse_open_quote(self._text.name, line_of(position), longest)
        return int(total or 0)


def _check_quotes(text: TextFile, dialect: Dialect, rejects: Sequence[_Reject]) -> None:
    """Refuse a quote that is left open over lines."""
    for reject in rejects:
        if reject.reason == TOO_LONG:
            _check_long_rows(text, dialect)
        if reject.more_lines:
            line = _line_at(text, reject.start)
            is_whole = len(reject.content.encode()) < _SHOWN
            refuse_open_quote(text.name, line, reject.more_lines if is_whole else text.lines - line)


def _check_long_rows(text: TextFile, dialect: Dialect) -> None:
    """Refuse a quote that is left open over so many lines that DuckDB does not report it as such."""
    if not (text.has_quotes and dialect.quote):
        return
    starts = chain((line for line, _, _ in _quoted_rows(text, dialect)), [text.lines + 1])
    for line, following in pairwise(starts):
        if following - line > _LONGEST_FIELD + 1:
            refuse_open_quote(text.name, line, following - line - 1)


def refuse_open_quote(file: str, line: int, more: int) -> NoReturn:
    """Refuse a file whose quote is left open over lines."""
    raise BadRowError(
        f"{file}: line {line} opens a quote that takes in {more:,} more line{'s' * (more != 1)}. Expected a closing quote on the same line. "
        "Close it, or state that quotes are text (--quote none)."
    )


def _without(text: TextFile, rejects: Sequence[_Reject], scratch: Path) -> TextFile:
    """Return a copy of the file without these lines; it counts lines as the file does."""
    with (
        text.path.open("rb") as file,
        tempfile.NamedTemporaryFile(dir=scratch, suffix=".csv", delete=False) as copy,
    ):
        for reject in rejects:
            while block := file.read(min(reject.start - file.tell(), 1 << 20)):
                copy.write(block)
            file.readline()
        shutil.copyfileobj(file, copy)
    return replace(text, path=Path(copy.name))


def _marks(column: str) -> str:
    return f"coalesce(contains({column}, {literal(UNDECODED)}), false)"


def _line_at(text: TextFile, start: int) -> int:
    """Return the number of the line in which the byte of this index is."""
    line = 1
    with text.path.open("rb") as file:
        while start > 0 and (block := file.read(min(start, 1 << 20))):
            line += block.count(b"\n")
            start -= len(block)
    return line


def line_finder(text: TextFile, dialect: Dialect, rejected: frozenset[int]) -> Callable[[int], int]:
    """Return a function that returns the line of a position; ``rejected`` are the first bytes of lines that are no rows."""
    quoted = text.has_quotes and bool(dialect.quote)

    def line_of(position: int) -> int:
        if not (quoted or rejected or text.blank_lines):
            return int(position) + dialect.skip + dialect.header_lines + 1
        rows = _quoted_rows(text, dialect) if quoted else _plain_rows(text)
        good = (
            line
            for line, start, cells in rows
            if line > dialect.skip + dialect.header_lines and start not in rejected and cells
        )
        return next(islice(good, position, None))

    return line_of


def _plain_rows(text: TextFile) -> Iterator[tuple[int, int, bool]]:
    """Yield the line and the first byte of each row, and whether it has any content."""
    start = 0
    with text.path.open("rb") as file:
        for line, content in enumerate(file, 1):
            yield line, start, content not in {b"\n", b"\r\n"}
            start += len(content)


def _quoted_rows(text: TextFile, dialect: Dialect) -> Iterator[tuple[int, int, bool]]:
    """As `_plain_rows`, of a file with quotes."""
    line = start = 0

    def lines(file: Iterable[bytes]) -> Iterator[str]:
        nonlocal line, start
        for content in file:
            line, start = line + 1, start + len(content)
            yield content.decode("utf-8", "replace")

    limit = csv.field_size_limit(50 * LONGEST_LINE)
    try:
        with text.path.open("rb") as file:
            reader = csv_reader(lines(file), dialect.delimiter, dialect.quote, dialect.escape)
            while True:
                first = line + 1, start
                try:
                    cells = next(reader, None)
                except csv.Error:  # a quote is open over a large part of the file
                    yield *first, True
                    return
                if cells is None:
                    return
                yield *first, bool(cells[0] if len(dialect.names) == 1 and cells else cells)
    finally:
        csv.field_size_limit(limit)


def read_json_lines(
    text: TextFile, names: Sequence[str], connection: Backend, bad_rows: float | None
) -> TextRows:
    """Return the rows of a file with a JSON object on each line; lists and objects in it stay JSON.

    Raises:
        BadRowError: More lines are no objects than the share ``bad_rows``.
    """
    pointers = ", ".join(literal("/" + name.replace("~", "~0").replace("/", "~1")) for name in names)
    undecoded = _marks("text") if text.has_undecoded else "false"
    is_object = f"json_valid(text) AND json_type(CASE WHEN json_valid(text) THEN text END) = 'OBJECT' AND NOT {undecoded}"
    lines = f"SELECT * FROM ({lines_of(text)}) WHERE trim(text, ' \t') <> ''"
    with readable(text.name, names):
        rows, broken = connection.raw_sql(
            f"SELECT count_if({is_object}), count_if(NOT ({is_object})) FROM ({lines})"
        ).fetchone()
        examples = (
            connection.raw_sql(
                f"SELECT line, text FROM ({lines}) WHERE NOT ({is_object}) ORDER BY line LIMIT {N_EXAMPLES}"
            ).fetchall()
            if broken
            else []
        )
    shown = tuple(
        f"{text.name}, line {line}: {show(content)} is no JSON object" for line, content in examples
    )
    faults = BrokenRows(broken, {"no JSON object": broken} if broken else {}, shown)
    faults.check(text.name, rows + broken, bad_rows, "one JSON object a line")
    columns = ", ".join(f"v[{number}] AS c{index}" for index, number in enumerate(range(1, len(names) + 1)))
    values = f"SELECT line - 1 AS position, json_extract_string(text, [{pointers}]) AS v FROM ({lines}) WHERE {is_object}"
    # The position is that of the line: it ascends as the rows do.
    return TextRows(
        f"SELECT {columns}, position FROM ({values})", rows + broken, faults, lambda position: position + 1
    )

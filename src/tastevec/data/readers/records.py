"""Records of text and Parquet files as rows of text columns, or as numeric columns read directly."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tastevec.data.readers.text import NUMERIC, STRAY, TextFile, lines_of, literal, sql_path
from tastevec.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from ibis.backends.duckdb import Backend

    from tastevec.data.readers.columns import Column

__all__ = [
    "ByColumns",
    "Layout",
    "Records",
    "numeric_text",
    "parquet_columns",
    "parquet_records",
    "plain_records",
    "quoted_records",
    "readable",
]


@dataclass(frozen=True)
class Layout:
    """How a text of numbers fills its file.

    Attributes:
        separator: What stands between two fields.
        end: The bytes of a line's end.
        size: The bytes of all rows, as if the last of them had its line end.
    """

    separator: str
    end: int
    size: int

    def around(self, columns: int) -> int:
        """The bytes of each row that are of no field."""
        return len(self.separator) * (columns - 1) + self.end


@dataclass(frozen=True)
class ByColumns:
    """A table's columns.

    Attributes:
        path: The file.
        names: SQL of each column.
        texts: SQL of each column as text.
        whole: The columns that may be read as whole numbers, from 0.
        skip: Header lines.
        layout: Of a text; None is a Parquet.
    """

    path: Path
    names: tuple[str, ...]
    texts: tuple[str, ...]
    whole: frozenset[int]
    skip: int = 0
    layout: Layout | None = None

    def hold(self, columns: Sequence[Column]) -> bool:
        """Whether each of these is one of the columns and of numbers, and may be read as whole if it is of whole ones."""
        return all(
            column.place in self.whole
            if column.kind.whole
            else column.place is not None and column.kind.is_number
            for column in columns
        )

    def source(self, whole: Collection[int | None]) -> str:
        """SQL to select from, in which these columns are read as whole numbers."""
        if self.layout is None:
            return f"read_parquet({sql_path(self.path)}, hive_partitioning = false)"
        types = [
            f"{name}: '{'BIGINT' if place in whole else 'VARCHAR'}'" for place, name in enumerate(self.names)
        ]
        return (
            f"read_csv({sql_path(self.path)}, delim = {literal(self.layout.separator)}, quote = '', escape = '', header = false, "
            f"skip = {self.skip}, columns = {{{', '.join(types)}}}, auto_detect = false, compression = 'none', hive_partitioning = false)"
        )


def numeric_text(text: TextFile, separator: str, columns: int, *, skip: int) -> ByColumns | None:
    """The columns of a text of numbers; None where there is more in it.

    Args:
        text: The file.
        separator: What stands between two fields.
        columns: How many there are.
        skip: Header lines, 0 or 1.
    """
    if not text.is_numeric:
        return None
    with text.path.open("rb") as handle:
        first = handle.readline()
        end = b"\r\n" if first.endswith(b"\r\n") else b"\n"
        size = handle.seek(0, 2)
        handle.seek(max(size - len(end), 0))
        lacking = 0 if handle.read() == end else len(end)
    if not skip and first.translate(None, NUMERIC):
        return None
    names = tuple(f"c{place}" for place in range(columns))
    layout = Layout(separator, len(end), size + lacking - (len(first) if skip else 0))
    return ByColumns(text.path, names, names, frozenset(range(columns)), skip, layout)


def parquet_columns(
    path: Path, names: Sequence[str], texts: Sequence[str], whole: frozenset[int]
) -> ByColumns:
    """The columns of a Parquet file.

    Args:
        path: The file.
        names: What they are called there.
        texts: SQL of each as text.
        whole: Those of whole numbers, from 0.
    """
    quoted = tuple('"' + name.replace('"', '""') + '"' for name in names)
    return ByColumns(path, quoted, tuple(texts), whole)


# ruff: noqa: S608 -- each query is built from our own words and from values that `literal` has quoted


_LONGEST = 100  # lines in one quoted text; a quote left open would otherwise swallow the rest of the file


@dataclass(frozen=True)
class Records:
    """Rows of text that wait to be checked.

    Attributes:
        query: SQL for ``line`` (the first of the row, from 1), ``text`` (the whole row) and ``fields`` (a list of
            strings, NULL where the quotes of a row are broken).
        names: The columns, in order; a row must have as many fields.
        file: The file's name.
        encoding: How the file's bytes were read.
        has_strays: Whether a row may hold the mark of a byte that no text holds.
        columns: The same rows by columns, where they may be read so.
    """

    query: str
    names: tuple[str, ...]
    file: str
    encoding: str
    has_strays: bool
    columns: ByColumns | None = None

    @property
    def unit(self) -> str:
        """What ``line`` counts."""
        return "row" if self.encoding == "parquet" else "line"


@contextmanager
def readable(file: str, names: Sequence[str]) -> Iterator[None]:
    """Say of a file that DuckDB cannot read what should be in it.

    Raises:
        SourceError: It cannot: a line has millions of letters, or a page of Parquet is damaged.
    """
    import duckdb  # noqa: PLC0415 -- importing the readers stays cheap

    try:
        yield
    except duckdb.Error as error:
        reason = str(error).split("\n", maxsplit=1)[0][:200]
        raise SourceError(
            f"{file} cannot be read ({reason}); expected rows of {', '.join(names)}; export it again, then rerun"
        ) from error


def plain_records(text: TextFile, separator: str, names: Sequence[str], *, skip: int = 0) -> Records:
    """Rows of a format that knows no quotes, such as ``1::2::5::978300760``.

    Args:
        text: The file.
        separator: What stands between two fields.
        names: What the columns are called in messages.
        skip: Header lines.
    """
    query = f"SELECT line, text, string_split(text, {literal(separator)}) AS fields FROM ({lines_of(text, skip=skip)}) WHERE text <> ''"
    return _records(text, query, names, numeric_text(text, separator, len(names), skip=skip))


def quoted_records(text: TextFile, separator: str, names: Sequence[str], connection: Backend) -> Records:
    """Rows of a CSV by RFC 4180 after its header: a field may be quoted, and then hold separators and newlines.

    Args:
        text: The file.
        separator: One character.
        names: The columns of the header.
        connection: Ibis on DuckDB, asked whether any quoted text runs over a line's end.

    Raises:
        SourceError: DuckDB cannot read the file at all.
    """
    if not text.has_quotes:
        return plain_records(text, separator, names, skip=1)
    lines = f"SELECT line, coalesce(text, '') AS text, {_QUOTES} AS quotes FROM ({lines_of(text, skip=1)})"
    with readable(text.name, names):
        (any_open,) = connection.raw_sql(
            f"SELECT coalesce(bool_or(quotes % 2 = 1), false) FROM ({lines}) WHERE contains(text, '\"')"
        ).fetchone()
    field = rf'"(?:[^"]|"")*"|[^"{separator}]*'
    well_formed = literal(f"(?:{field})(?:{separator}(?:{field}))*")
    rows = _joined(lines, well_formed) if any_open else lines
    # Each match begins with a separator, so that an empty field is a match as well.
    split = f"regexp_extract_all({literal(separator)} || text, {literal(f'{separator}({field})')}, 1)"
    unquote = """lambda f: CASE WHEN starts_with(f, '"') THEN replace(f[2:-2], '""', '"') ELSE f END"""
    query = (
        f"SELECT line, text, CASE WHEN NOT contains(text, '\"') THEN string_split(text, {literal(separator)}) "
        f"WHEN regexp_full_match(text, {well_formed}) THEN list_transform({split}, {unquote}) END AS fields "
        f"FROM ({rows}) WHERE text <> ''"
    )
    return _records(text, query, names, numeric_text(text, separator, len(names), skip=1))


def parquet_records(
    path: Path, names: Sequence[str], columns: Sequence[str], whole: frozenset[int] = frozenset()
) -> Records:
    """Rows of a Parquet file, each value as text, NULL as the empty text.

    Args:
        path: The file.
        names: The columns to read.
        columns: SQL that gives each of them as text.
        whole: Which of them are of whole numbers, from 0.
    """
    # DuckDB's strings may hold NUL bytes; they are marked as in a text file.
    texts = [f"replace(coalesce({column}, ''), chr(0), '{STRAY}00')" for column in columns]
    query = (
        f"SELECT line, array_to_string(fields, ', ') AS text, fields FROM (SELECT file_row_number + 1 AS line, [{', '.join(texts)}] AS fields "
        f"FROM read_parquet({sql_path(path)}, file_row_number = true, hive_partitioning = false))"
    )
    by_columns = parquet_columns(path, names, columns, whole)
    return Records(query, tuple(names), path.name, "parquet", has_strays=True, columns=by_columns)


_QUOTES = "length(coalesce(text, '')) - length(replace(coalesce(text, ''), '\"', ''))"


def _joined(lines: str, well_formed: str) -> str:
    """Lines put together where a quote is open at a line's end.

    A group that does not come out well-formed is taken apart again, so that one stray quote spoils its own line
    and no other.
    """
    return f"""
        WITH marked AS MATERIALIZED (
            SELECT *, sum((before % 2 = 0)::INT) OVER (ORDER BY line) AS record
            FROM (SELECT *, coalesce(sum(quotes) OVER (ORDER BY line ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before FROM ({lines}))
        ),
        sized AS (SELECT *, count(*) OVER (PARTITION BY record) AS size FROM marked),
        joined AS MATERIALIZED (
            SELECT record, min(line) AS line, string_agg(text, chr(10) ORDER BY line) AS text FROM sized
            WHERE size BETWEEN 2 AND {_LONGEST} GROUP BY record HAVING regexp_full_match(string_agg(text, chr(10) ORDER BY line), {well_formed})
        )
        SELECT line, text FROM (
            SELECT line, text FROM joined
            UNION ALL SELECT line, text FROM marked WHERE record NOT IN (SELECT record FROM joined)
        ) ORDER BY line"""


def _records(text: TextFile, query: str, names: Sequence[str], columns: ByColumns | None) -> Records:
    return Records(query, tuple(names), text.name, text.encoding, text.has_strays, columns)

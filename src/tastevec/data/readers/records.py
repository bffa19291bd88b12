"""Records of text and Parquet files: rows of text fields, or numeric columns that DuckDB reads directly."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tastevec.data.readers.text import NUMERIC, UNDECODED, TextFile, lines_of, literal, sql_path
from tastevec.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from ibis.backends.duckdb import Backend

    from tastevec.data.readers.columns import Column, ColumnType

# ruff: noqa: S608 -- each query is built from constants and from values that `literal` has quoted


@dataclass(frozen=True)
class NumericScan:
    """A table that DuckDB can read column by column, without a look at its text.

    Attributes:
        path: The file.
        names: SQL of each column.
        texts: SQL of each column as text.
        integers: Indices of the columns that may be read as integers.
        skip: Number of header lines of a text file.
        separator: Between two fields of a text file; None for Parquet.
        end: Bytes of a line end.
        size: Bytes of all rows, as if the last had its line end.
    """

    path: Path
    names: tuple[str, ...]
    texts: tuple[str, ...]
    integers: frozenset[int]
    skip: int = 0
    separator: str | None = None
    end: int = 0
    size: int = 0

    def can_read(self, columns: Sequence[Column]) -> bool:
        """Return whether each of these is a numeric column, and one of integers where its type needs them."""
        return all(
            column.index in self.integers
            if column.type.int_range
            else column.index is not None and column.type.is_number
            for column in columns
        )

    def source(self, integers: Collection[int | None]) -> str:
        """Return SQL to select from, with the columns of these indices read as integers."""
        if self.separator is None:
            return f"read_parquet({sql_path(self.path)}, hive_partitioning = false)"
        types = [
            f"{name}: '{'BIGINT' if index in integers else 'VARCHAR'}'"
            for index, name in enumerate(self.names)
        ]
        return (
            f"read_csv({sql_path(self.path)}, delim = {literal(self.separator)}, quote = '', escape = '', header = false, "
            f"skip = {self.skip}, columns = {{{', '.join(types)}}}, auto_detect = false, compression = 'none', hive_partitioning = false)"
        )


def _numeric_scan(text: TextFile, separator: str, columns: int, skip: int) -> NumericScan | None:
    """Return the columns of a text of numbers after ``skip`` header lines (0 or 1); None for other texts."""
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
    names = tuple(f"c{index}" for index in range(columns))
    size += lacking - (len(first) if skip else 0)
    return NumericScan(text.path, names, names, frozenset(range(columns)), skip, separator, len(end), size)


_LONGEST = 100  # lines in one quoted text; a quote left open would otherwise swallow the rest of the file


@dataclass(frozen=True)
class Records:
    """Rows of text to validate.

    Attributes:
        query: SQL of ``line`` (the first of the row, from 1), ``text`` (the complete row) and ``fields`` (a list of
            strings, NULL where the quotes of a row are broken).
        names: The columns, in order; a row must have as many fields.
        file: The file's name.
        encoding: How the file's bytes were read.
        has_undecoded: Whether a row may contain the mark of a byte that is no text.
        numeric: The same rows as numeric columns, where they can be read so.
        id_types: The types that the columns of a Parquet file have as IDs, by name.
    """

    query: str
    names: tuple[str, ...]
    file: str
    encoding: str
    has_undecoded: bool
    numeric: NumericScan | None = None
    id_types: Mapping[str, ColumnType] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """What ``line`` counts."""
        return "row" if self.encoding == "parquet" else "line"


@contextmanager
def readable(file: str, names: Sequence[str]) -> Iterator[None]:
    """Raise a `SourceError` for an error of DuckDB: a line of millions of characters, or a damaged Parquet page."""
    import duckdb  # noqa: PLC0415 -- importing the readers stays cheap

    try:
        yield
    except duckdb.Error as error:
        reason = str(error).split("\n", maxsplit=1)[0][:200]
        raise SourceError(
            f"{file}: not readable ({reason}). Expected rows of {', '.join(names)}. Export the file again."
        ) from error


def plain_records(text: TextFile, separator: str, names: Sequence[str], *, skip: int = 0) -> Records:
    """Return the rows of a format without quotes, such as ``1::2::5::978300760``, after ``skip`` header lines."""
    query = f"SELECT line, text, string_split(text, {literal(separator)}) AS fields FROM ({lines_of(text, skip=skip)}) WHERE text <> ''"
    return _text_records(text, query, separator, names, skip=skip)


def quoted_records(text: TextFile, separator: str, names: Sequence[str], connection: Backend) -> Records:
    """Return the rows of an RFC 4180 CSV after its header: a quoted field may contain separators and newlines."""
    if not text.has_quotes:
        return plain_records(text, separator, names, skip=1)
    lines = f"SELECT line, coalesce(text, '') AS text, {_QUOTES} AS quotes FROM ({lines_of(text, skip=1)})"
    with readable(text.name, names):
        (any_open,) = connection.raw_sql(
            f"SELECT coalesce(bool_or(quotes % 2 = 1), false) FROM ({lines}) WHERE contains(text, '\"')"
        ).fetchone()
    field = rf'"(?:[^"]|"")*"|[^"{separator}]*'
    well_formed = literal(f"(?:{field})(?:{separator}(?:{field}))*")
    rows = _joined_lines(lines, well_formed) if any_open else lines
    # Each match begins with a separator, so that an empty field is a match as well.
    split = f"regexp_extract_all({literal(separator)} || text, {literal(f'{separator}({field})')}, 1)"
    unquote = """lambda f: CASE WHEN starts_with(f, '"') THEN replace(f[2:-2], '""', '"') ELSE f END"""
    query = (
        f"SELECT line, text, CASE WHEN NOT contains(text, '\"') THEN string_split(text, {literal(separator)}) "
        f"WHEN regexp_full_match(text, {well_formed}) THEN list_transform({split}, {unquote}) END AS fields "
        f"FROM ({rows}) WHERE text <> ''"
    )
    return _text_records(text, query, separator, names, skip=1)


def _text_records(text: TextFile, query: str, separator: str, names: Sequence[str], *, skip: int) -> Records:
    numeric = _numeric_scan(text, separator, len(names), skip)
    return Records(query, tuple(names), text.name, text.encoding, text.has_undecoded, numeric)


def parquet_records(
    path: Path, id_types: Mapping[str, ColumnType], texts: Sequence[str], integers: frozenset[int]
) -> Records:
    """Return the rows of a Parquet file, each value as text, NULL as the empty text.

    ``id_types`` are the types of its columns as IDs, ``texts`` is SQL of each column as text, ``integers`` are the indices of
    the integer columns.
    """
    # DuckDB's strings may contain NUL bytes; they are marked as in a text file.
    fields = [f"replace(coalesce({text}, ''), chr(0), '{UNDECODED}00')" for text in texts]
    query = (
        f"SELECT line, array_to_string(fields, ', ') AS text, fields FROM (SELECT file_row_number + 1 AS line, [{', '.join(fields)}] AS fields "
        f"FROM read_parquet({sql_path(path)}, file_row_number = true, hive_partitioning = false))"
    )
    quoted = tuple('"' + name.replace('"', '""') + '"' for name in id_types)
    numeric = NumericScan(path, quoted, tuple(texts), integers)
    return Records(
        query, tuple(id_types), path.name, "parquet", has_undecoded=True, numeric=numeric, id_types=id_types
    )


_QUOTES = "length(coalesce(text, '')) - length(replace(coalesce(text, ''), '\"', ''))"


def _joined_lines(lines: str, well_formed: str) -> str:
    """Return SQL of the lines, joined where a quote is open at a line's end.

    A group that is not well-formed is split again, so that one stray quote invalidates its own line only.
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

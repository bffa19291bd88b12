"""Tables of any kind, a file, a folder of Parquet, standard input or one in memory, as one query with numbered rows."""

# ruff: noqa: S608 -- each query is built from constants and from values that `literal` has quoted

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field, replace
from itertools import accumulate, count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from tastevec.data.intake.delimited import BrokenRows, TextRows, read_delimited, read_json_lines, readable
from tastevec.data.intake.formats import infer_dialect, json_names, sniff, unzip_table
from tastevec.data.intake.layouts import BEFORE_FLAGS, FLAGS_FILE, known_format
from tastevec.data.intake.memory import MemoryTable, to_columns
from tastevec.data.intake.settings import FileFormat
from tastevec.data.intake.text import decompress, literal, open_text, sql_path
from tastevec.errors import SourceError
from tastevec.schema import GENRES, ITEM_ID, RATING, TIMESTAMP, TITLE, USER_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ibis.backends.duckdb import Backend

    from tastevec.data.intake.text import TextFile

_INTERACTIONS = (USER_ID, ITEM_ID, RATING, TIMESTAMP)
_STANDARD_INPUT = "standard input"
_counter = count()


@dataclass(frozen=True, eq=False)
class OpenTable:
    """An opened table, of which nothing is in memory but what was there before.

    Attributes:
        query: SQL of the columns ``c0``, ``c1``, ... (texts of a text file, NULL where empty; else the table's own types) and
            ``position``, int64, which ascends in the order of the source.
        names: The columns' names.
        types: Their types in DuckDB.
        file: The table's name in messages.
        format: ``csv``, ``jsonl``, ``parquet``, ``arrow``, or ``table`` in memory.
        rows: Number of rows, broken ones included.
        broken: Rows that cannot be divided into their fields, which the query lacks.
        encoding: That of a text file.
        delimiter: That of a CSV file.
        has_header: Whether a CSV file has a header.
        declared: The type of each column in a RecBole header, such as ``token_seq``.
        unreadable: Why a column of a table in memory is NULL, by its index.
        unnumbered: The query without ``position``, which numbers its rows from 0 in their order; None if it does not.
    """

    query: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    file: str
    format: str
    rows: int
    broken: BrokenRows = field(default_factory=BrokenRows)
    encoding: str | None = None
    delimiter: str | None = None
    has_header: bool = False
    declared: tuple[str | None, ...] = ()
    unreadable: Mapping[int, str] = field(default_factory=dict)
    unnumbered: str | None = None
    find_line: Callable[[int], int] = field(default=lambda position: position + 1, repr=False)

    @property
    def file_unit(self) -> str:
        """What `line_of` counts."""
        return "line" if self.format in {"csv", "jsonl"} else "row"

    @property
    def decimal_comma(self) -> bool:
        """Whether numbers may have a decimal comma."""
        return self.delimiter not in {None, ","}

    def line_of(self, position: int) -> int:
        """Return the line of a row in its file, or its number in a table, from 1; this may read the whole file."""
        return self.find_line(int(position))


@dataclass(frozen=True, eq=False)
class _Opening:
    """What the opening of one table needs."""

    connection: Backend
    scratch: Path
    file_format: FileFormat
    bad_rows: float | None
    expected: tuple[str, ...]
    name: str

    def describe(self, query: str) -> list[tuple[str, str]]:
        with readable(self.name, self.expected):
            rows = self.connection.raw_sql(f"DESCRIBE {query}").fetchall()
        return [(row[0], row[1]) for row in rows]


def open_table(
    source: Any,  # noqa: ANN401 -- a path, or a table of any library
    *,
    connection: Backend,
    scratch: Path,
    file_format: FileFormat | None = None,
    bad_rows: float | None = None,
    expected: tuple[str, ...] = _INTERACTIONS,
) -> OpenTable:
    """Open a file, a folder of Parquet files, standard input (``-``) or a table in memory.

    Args:
        source: A path, ``-``, or a table; a `MemoryTable` states its name and the IDs of a sparse matrix.
        connection: Ibis on DuckDB; rows keep their order in it from now on.
        scratch: An existing folder for unpacked and rewritten copies; it must exist as long as the table is read.
        file_format: What is known of a text file.
        bad_rows: The largest share of broken rows; None allows none.
        expected: The roles of the columns, for messages.

    Raises:
        SourceError: There is no such file, or it cannot be read as a table.
        BadRowError: More rows are broken than allowed, or a quote is left open over several lines.
    """
    # Rows are numbered while they stream: without this setting DuckDB may shuffle them.
    connection.raw_sql("SET preserve_insertion_order = true; SET autoinstall_known_extensions = false")
    settings = (connection, scratch, file_format or FileFormat(), bad_rows, expected)
    if not isinstance(source, str | os.PathLike):
        table = source if isinstance(source, MemoryTable) else MemoryTable(source)
        return _open_memory(table, _Opening(*settings, table.name))
    if source == "-":
        return _open_file(_copied(sys.stdin.buffer, scratch), _Opening(*settings, _STANDARD_INPUT))
    path = Path(source)
    opening = _Opening(*settings, path.name or str(path))
    if not path.exists():
        raise SourceError(f"{path}: not found. Expected a table or a release. Check the path.")
    if path.is_dir():
        return _open_parquet(path, opening)
    if not path.is_file():  # a pipe, which can be read once
        with path.open("rb") as pipe:
            path = _copied(pipe, scratch)
    return _open_file(path, opening)


def _copied(stream: IO[bytes], scratch: Path) -> Path:
    path = scratch / f"input-{next(_counter)}"
    with path.open("wb") as file:
        shutil.copyfileobj(stream, file)
    return path


def _open_file(path: Path, opening: _Opening) -> OpenTable:
    kind, name = sniff(path, name=opening.name), opening.name
    inner = path.with_name(opening.name)  # by which a file of a release is known
    while kind in ("gzip", "zstd", "zip"):
        if kind == "zip":
            path = unzip_table(path, opening.scratch, name=name)
            inner = inner.with_name(path.name)
        else:
            path, inner = decompress(path, opening.scratch, kind, name=name), inner.with_suffix("")
        kind = sniff(path, name=name)
    if kind == "parquet":
        return _open_parquet(path, opening)
    if kind == "arrow":
        return _open_arrow(path, opening)
    stated = opening.file_format
    text = open_text(path, opening.scratch, name=name, encoding=stated.encoding)
    known = known_format(inner, next(text.read_lines())) if stated == FileFormat() else None
    if kind == "jsonl":
        names = json_names(text)
        rows = read_json_lines(text, names, opening.connection, opening.bad_rows)
        return _of_text(rows, names, text, format="jsonl")
    dialect = infer_dialect(text, known or stated, opening.expected)
    rows = read_delimited(text, dialect, opening.connection, opening.scratch, opening.bad_rows)
    more = {name: getattr(dialect, name) for name in ("delimiter", "has_header", "declared")}
    table = _of_text(rows, dialect.names, text, format="csv", **more)
    return _with_genres(table) if known and inner.name == FLAGS_FILE else table


def _of_text(rows: TextRows, names: tuple[str, ...], text: TextFile, **more: Any) -> OpenTable:  # noqa: ANN401 -- fields
    types = ("VARCHAR",) * len(names)
    return OpenTable(**vars(rows), names=names, types=types, file=text.name, encoding=text.encoding, **more)


def _with_genres(table: OpenTable) -> OpenTable:
    """Return ID, title and genres of ml-100k's items, which have a column with 0 or 1 for each genre."""
    first = len(BEFORE_FLAGS)
    flags = [
        f"CASE WHEN c{number} = '1' THEN {literal(name)} END"
        for number, name in enumerate(table.names)
        if number >= first and name != "unknown"
    ]
    query = f"SELECT c0, c1, list_filter([{', '.join(flags)}], lambda name: name IS NOT NULL) AS c2, position FROM ({table.query})"
    return replace(
        table,
        query=query,
        names=(ITEM_ID, TITLE, GENRES),
        types=("VARCHAR", "VARCHAR", "VARCHAR[]"),
        declared=(),
    )


def _open_parquet(path: Path, opening: _Opening) -> OpenTable:
    """Open a Parquet file, or a folder of them in the order of their paths; ``name=value`` folders are a column."""
    files = _parts(path) if path.is_dir() else [path]
    if not files:
        shown = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
        raise SourceError(
            f"{path}: contains {shown}. Expected Parquet files, or the files of a release. Name a table."
        )
    footers = []
    for file in files:
        try:
            footers.append((file, parquet.read_metadata(file)))
        except (OSError, pa.ArrowException) as error:
            raise SourceError(
                f"{file}: not readable as Parquet ({str(error)[:100]}). Expected a table. Export the file again."
            ) from error
    _check_schemas(footers)
    starts = accumulate((footer.num_rows for _, footer in footers), initial=0)
    paths = ", ".join(sql_path(file) for file, _ in footers)
    source = (
        f"read_parquet([{paths}], hive_partitioning = false, union_by_name = false, file_row_number = true)"
    )
    columns = [name for name, _ in opening.describe(f"SELECT * EXCLUDE (file_row_number) FROM {source}")]
    folders = _partitions(path, files)
    position = f"[{', '.join(map(str, list(starts)[:-1]))}][CAST(file_index AS BIGINT) + 1] + file_row_number"
    selected = [f'"{name.replace(chr(34), chr(34) * 2)}"' for name in columns]
    selected += [
        f"[{', '.join(map(literal, values))}][CAST(file_index AS BIGINT) + 1]" for values in folders.values()
    ]
    listed = ", ".join(f"{column} AS c{index}" for index, column in enumerate(selected))
    query = f"SELECT {listed}, {position} AS position FROM {source}"
    types = tuple(kind for name, kind in opening.describe(query))[:-1]
    rows = sum(footer.num_rows for _, footer in footers)
    return OpenTable(query, (*columns, *folders), types, opening.name, "parquet", rows)


def _parts(folder: Path) -> list[Path]:
    """Return the Parquet files in the folder and its folders, in the order of their paths, but not hidden ones."""
    if (folder / "_delta_log").exists():  # some of its files are no longer part of it
        raise SourceError(f"{folder}: is a Delta table. Expected Parquet files. Export the table as Parquet.")
    files = []
    for file in sorted(folder.rglob("*"), key=lambda file: file.relative_to(folder).parts):
        inner = file.relative_to(folder)
        if file.is_file() and not any(part.startswith((".", "_")) for part in inner.parts):
            with file.open("rb") as opened:
                if opened.read(4) == b"PAR1":
                    files.append(file)
    return files


def _partitions(path: Path, files: Sequence[Path]) -> dict[str, list[str]]:
    """Return the values of ``name=value`` folders below ``path``, one for each file; a name must be in all paths."""
    if not path.is_dir():
        return {}
    found = [
        dict(part.split("=", 1) for part in file.relative_to(path).parts[:-1] if "=" in part)
        for file in files
    ]
    return {
        name: [values[name] for values in found]
        for name in found[0]
        if all(name in values for values in found)
    }


def _check_schemas(footers: Sequence[tuple[Path, Any]]) -> None:
    first, footer = footers[0]
    for file, other in footers[1:]:
        if not other.schema.to_arrow_schema().equals(footer.schema.to_arrow_schema()):
            raise SourceError(
                f"{file}: other columns than {first.name}. Expected the same names and types in all parts. Write the folder again."
            )


def _open_arrow(path: Path, opening: _Opening) -> OpenTable:

    try:
        with path.open("rb") as file:
            is_file = file.read(6) == b"ARROW1"
        mapped = pa.memory_map(str(path))
        table = (pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)).read_all()
    except (OSError, pa.ArrowException) as error:
        raise SourceError(
            f"{opening.name}: not readable as Arrow ({str(error)[:100]}). Expected a table. Export the file again."
        ) from error
    return _open_memory(MemoryTable(table, opening.name), opening, format="arrow")


def _open_memory(source: MemoryTable, opening: _Opening, format: str = "table") -> OpenTable:  # noqa: A002 -- a field

    columns = to_columns(source, opening.file_format.columns)
    name = f"memory_{next(_counter)}"
    numbered = columns.table.append_column("position", pa.array(np.arange(columns.table.num_rows)))
    opening.connection.con.register(name, numbered)
    described = opening.describe(f"SELECT * FROM {name}")
    return OpenTable(
        query=f"SELECT * FROM {name}",
        names=columns.names,
        types=tuple(kind for _, kind in described[:-1]),
        file=source.name,
        format=format,
        rows=columns.table.num_rows,
        unreadable=columns.unreadable,
    )

"""The engine of the intake: where its expressions run, and where their rows are stored."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import ibis
from ibis.backends.sql.datatypes import DuckDBType

from tastevec.data.intake.layouts import find_source
from tastevec.data.intake.tables import open_table
from tastevec.data.intake.text import sql_path
from tastevec.data.streaming import storage_errors
from tastevec.schema import POSITION

if TYPE_CHECKING:
    import pyarrow as pa
    from ibis.backends.duckdb import Backend

    from tastevec.data.intake.layouts import SourceFiles
    from tastevec.data.intake.settings import IntakeSettings
    from tastevec.data.intake.tables import OpenTable

# ruff: noqa: S608 -- each query is built from constants, generated names and paths that `sql_path` has quoted


@dataclass(frozen=True, eq=False)
class Opened:
    """An opened source.

    Attributes:
        files: Its files; None of standard input and of a table in memory.
        table: The interactions.
        raw: All their rows: ``c0`` to ``cN``, and ``position`` unless it numbers them from 0, as `Engine.store_numbered` does.
    """

    files: SourceFiles | None
    table: OpenTable
    raw: ibis.Table


class Engine(Protocol):
    """What the intake needs of DuckDB and of Spark."""

    def open(self, source: Any, settings: IntakeSettings, scratch: Path) -> Opened:  # noqa: ANN401  a path or a table
        """Open a source; ``scratch`` is a folder for copies that exists as long as the rows are read."""
        ...

    def first(self, raw: ibis.Table, rows: int) -> ibis.Table:
        """Return the first rows of an opened table."""
        ...

    def fetch(self, table: ibis.Table) -> pa.Table:
        """Return the rows of a small result."""
        ...

    def step(self, table: ibis.Table) -> ibis.Table:
        """Return the same rows as a query of its own: else the next step would repeat an expression wherever it uses it."""
        ...

    def store(self, table: ibis.Table, what: str) -> ibis.Table:
        """Return the same rows, computed once and kept on disk; ``what`` names the step in errors."""
        ...

    def store_numbered(self, table: ibis.Table, what: str) -> ibis.Table:
        """As `store`, of unnumbered rows, with their ``position``."""
        ...

    def are_sorted(self, table: ibis.Table, columns: tuple[str, ...]) -> bool:
        """Return whether these columns ascend strictly from each row to the next, where that costs one pass; else False."""
        ...

    def hash_number(self, text: ibis.Value) -> ibis.Value:
        """Return an int64 from 0 that depends on the text alone, the same on every engine."""
        ...


@dataclass(frozen=True)
class DuckEngine:
    """DuckDB in this process: rows are stored as Parquet files, which are removed with the connection."""

    connection: Backend

    def open(self, source: Any, settings: IntakeSettings, scratch: Path) -> Opened:  # noqa: ANN401  as above
        """Open a file, a folder, standard input or a table in memory."""
        on_disk = isinstance(source, str | Path) and source != "-"
        files = find_source(Path(source), scratch) if on_disk else None
        table = open_table(
            source if files is None else files.interactions,
            connection=self.connection,
            scratch=scratch,
            file_format=settings.file_format,
            bad_rows=settings.bad_rows,
        )
        # Ibis would otherwise find the types by a call that DuckDB has deprecated.
        columns = {f"c{index}": DuckDBType.from_string(kind) for index, kind in enumerate(table.types)}
        if table.unnumbered is not None:
            return Opened(files, table, self.connection.sql(table.unnumbered, schema=ibis.schema(columns)))
        raw = self.connection.sql(table.query, schema=ibis.schema({**columns, POSITION: "int64"}))
        return Opened(files, table, raw)

    def first(self, raw: ibis.Table, rows: int) -> ibis.Table:
        """Return the first rows of an opened table."""
        return raw.limit(rows)

    def fetch(self, table: ibis.Table) -> pa.Table:
        """Return the rows of a small result."""
        return self.connection.to_pyarrow(table)

    def step(self, table: ibis.Table) -> ibis.Table:
        """Return the same rows as a query of its own."""
        return self.connection.sql(ibis.to_sql(table, dialect="duckdb"), schema=table.schema())

    def store(self, table: ibis.Table, what: str) -> ibis.Table:
        """Return the same rows, computed once and kept on disk.

        Raises:
            SettingsError: Memory or disk are too small.
        """
        source = f"read_parquet({sql_path(self._stored(table, what))}, hive_partitioning = false)"
        # With the types given, DuckDB does not plan the query twice.
        return self.connection.sql(f"SELECT * FROM {source}", schema=table.schema())

    def store_numbered(self, table: ibis.Table, what: str) -> ibis.Table:
        """As `store`, of unnumbered rows, with their ``position``: written by all threads, numbered when read.

        Raises:
            SettingsError: Memory or disk are too small.
        """
        path = sql_path(self._stored(table, what))
        source = f"read_parquet({path}, hive_partitioning = false, file_row_number = true)"
        query = f"SELECT {', '.join(table.columns)}, file_row_number AS {POSITION} FROM {source}"
        return self.connection.sql(query, schema=ibis.schema({**table.schema(), POSITION: "int64"}))

    def _stored(self, table: ibis.Table, what: str) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="tastevec-rows-"))
        weakref.finalize(self.connection, shutil.rmtree, folder, ignore_errors=True)
        path = folder / f"{uuid4().hex}.parquet"
        with storage_errors(what):
            self.connection.to_parquet(table, path)
        return path

    def are_sorted(self, table: ibis.Table, columns: tuple[str, ...]) -> bool:
        """Return whether these columns ascend strictly from each row to the next, in the order in which they are stored."""
        before = ", ".join(f"lag({name}) OVER () AS before_{name}" for name in columns)
        later = "false"
        for name in reversed(columns):
            later = f"{name} > before_{name} OR ({name} = before_{name} AND ({later}))"
        first = f"before_{columns[0]} IS NULL"
        query = f"SELECT count_if(NOT coalesce({later}, false) AND NOT ({first})) FROM (SELECT {', '.join(columns)}, {before} FROM ({ibis.to_sql(table, dialect='duckdb')}))"
        (disorder,) = self.connection.raw_sql(query).fetchone()
        return not disorder

    def hash_number(self, text: ibis.Value) -> ibis.Value:
        """Return an int64 from 0: the first 15 hexadecimal digits of the MD5."""
        return (ibis.literal("0x") + text.hexdigest("md5").substr(0, 15)).cast("int64")

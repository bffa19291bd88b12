"""One's own tables: interactions and item metadata as CSV, TSV or Parquet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tastevec.data.readers.headers import match_columns, split_header
from tastevec.data.readers.kinds import (
    OPEN_ID,
    TEXT,
    TEXT_ID,
    TIME,
    WHOLE_ID,
    YEAR_NUMBER,
    Kind,
    genre_list,
    rating_within,
)
from tastevec.data.readers.records import Records, parquet_records, quoted_records
from tastevec.data.readers.rows import Checked, Desk, check_rows
from tastevec.data.readers.text import open_text, sql_path
from tastevec.errors import SourceError
from tastevec.schema import GENRES, ITEM_ID, RATING, TIMESTAMP, TITLE, USER_ID, YEAR

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_interaction_table", "read_item_table"]

_PARQUET = (".parquet", ".pq")
_WHOLE_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
# 1.0 is no id: pandas makes floats of whole numbers where one is missing, and they must not become texts.
_FLOAT_TYPES = ("FLOAT", "DOUBLE")
_ID_KINDS = dict.fromkeys(_WHOLE_TYPES + _FLOAT_TYPES, WHOLE_ID)


@dataclass(frozen=True)
class _Table:
    """A table as found: its rows as text, and what its column types say of the ids in them."""

    records: Records
    id_kinds: dict[str, Kind]


def read_interaction_table(
    path: Path, desk: Desk, rating_range: tuple[float, float], *, name: str | None = None
) -> Checked:
    """Who rated what how, and when if the table says so: one row per user and item.

    Times are Unix seconds or ISO dates (UTC unless they say otherwise), cut to whole seconds; a missing one is NULL.

    Args:
        path: The table.
        desk: Where the rows are judged.
        rating_range: The lowest and the highest rating.
        name: What messages call it; the file's own name if not given.

    Raises:
        SourceError: The table cannot be read, is empty or lacks a column.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    kinds = {USER_ID: OPEN_ID, ITEM_ID: OPEN_ID, RATING: rating_within(*rating_range), TIMESTAMP: TIME}
    return _read(_open(path, desk, name), desk, kinds, optional=(TIMESTAMP,), unique=(USER_ID, ITEM_ID))


def read_item_table(path: Path, desk: Desk) -> Checked:
    """What the items are: id and title, year and genres (between ``|``) if the table has them.

    Raises:
        SourceError: The table cannot be read, is empty or lacks a column.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    kinds = {ITEM_ID: OPEN_ID, TITLE: TEXT, YEAR: YEAR_NUMBER, GENRES: genre_list("|")}
    return _read(_open(path, desk), desk, kinds, optional=(YEAR, GENRES), unique=(ITEM_ID,))


def _read(
    table: _Table, desk: Desk, kinds: dict[str, Kind], *, optional: tuple[str, ...], unique: tuple[str, ...]
) -> Checked:
    columns = [
        replace(column, kind=table.id_kinds.get(column.name, OPEN_ID)) if column.kind is OPEN_ID else column
        for column in match_columns(table.records.file, table.records.names, kinds, optional)
    ]
    return check_rows(desk, table.records, columns, unique=unique)


def _open(path: Path, desk: Desk, name: str | None = None) -> _Table:
    if path.suffix in _PARQUET:
        return _open_parquet(path, desk)
    text = open_text(path, desk.scratch, name=name)
    separator, names = split_header(text.first_line())
    return _Table(quoted_records(text, separator, names, desk.connection), {})


def _open_parquet(path: Path, desk: Desk) -> _Table:
    """A Parquet file knows the types of its ids: whole numbers are whole numbers, and texts stay texts."""
    import duckdb  # noqa: PLC0415 -- importing the readers stays cheap

    try:
        described = desk.run(f"DESCRIBE FROM read_parquet({sql_path(path)}, hive_partitioning = false)")
    except duckdb.Error as error:
        raise SourceError(
            f"{path} cannot be read as Parquet ({str(error).splitlines()[0][:200]}); expected a table; check the path or export it again, then rerun"
        ) from error
    types = {row[0]: row[1] for row in described}
    id_kinds = {name: _ID_KINDS.get(kind, TEXT_ID) for name, kind in types.items()}
    texts = [_as_text(name, kind) for name, kind in types.items()]
    whole = frozenset(place for place, kind in enumerate(types.values()) if kind in _WHOLE_TYPES)
    return _Table(parquet_records(path, list(types), texts, whole), id_kinds)


def _as_text(name: str, kind: str) -> str:
    column = '"' + name.replace('"', '""') + '"'
    return f"array_to_string({column}, '|')" if kind == "VARCHAR[]" else f"CAST({column} AS VARCHAR)"

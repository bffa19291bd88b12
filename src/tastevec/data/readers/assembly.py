"""Checked rows put together into the three tables of a source."""

# ruff: noqa: S608 -- each query is built from our own words only

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from tastevec.data.readers.rows import Checked, Desk, fresh_name
from tastevec.schema import (
    GENRES,
    ITEM_ID,
    POSITION,
    RATING,
    TAG,
    TIMESTAMP,
    TITLE,
    USER_ID,
    WEIGHT,
    YEAR,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibis.expr.types import Table

    from tastevec.data.readers.numeric import Numbers

__all__ = ["id_type", "interaction_table", "item_table", "tag_table"]

# The last (1995), (2006-2007) or (2009- ) of a title: some go on after it, as in "(1995) (V)".
_YEAR_IN_TITLE = (
    r"TRY_CAST(regexp_extract_all(title, '\(([0-9]{4})(?:\s*[^\w\s)][^)]*)?\)', 1)[-1] AS INTEGER)"
)


def id_type(desk: Desk, role: str, tables: Sequence[Checked | None]) -> str:
    """``int64`` if the ids of all of these tables are whole numbers, else ``string``; DuckDB knows both names too."""
    whole = all(table.holds_whole_ids(desk, role) for table in tables if table is not None)
    return "int64" if whole else "string"


def interaction_table(
    desk: Desk, ratings: Checked, types: tuple[str, str], own_tags: Checked | None = None
) -> Table:
    """What people rated, then what they only tagged, in the order of the source."""
    user_type, item_type = types
    numbers = ratings.numbers and _kept(desk, ratings.numbers)
    time = TIMESTAMP if ratings.has(TIMESTAMP) else "CAST(NULL AS BIGINT)"
    place = "line" if numbers else "row_number() OVER (ORDER BY line) - 1"
    rated = f"""SELECT CAST({USER_ID} AS {user_type}) AS {USER_ID}, CAST({ITEM_ID} AS {item_type}) AS {ITEM_ID},
        {RATING}, {time} AS {TIMESTAMP}, {place} AS {POSITION}
        FROM {numbers.table if numbers else ratings.table} WHERE fault IS NULL"""
    name = fresh_name("interactions")
    if (
        not numbers
    ):  # what was judged goes with the desk; numbers lie on disk, in order, and are read from there
        desk.run(f"CREATE TABLE {name} AS {rated}")
        rated = f"SELECT * FROM {name}"
    if own_tags is not None:
        tagged = _tagged(own_tags, rated, first=ratings.account.rows_kept)
        desk.run(f"CREATE TABLE {name} AS {tagged}" if numbers else f"INSERT INTO {name} {tagged}")
        rated = f"{rated} UNION ALL SELECT * FROM {name}" if numbers else rated
    columns = {
        USER_ID: user_type,
        ITEM_ID: item_type,
        RATING: "float64",
        TIMESTAMP: "int64",
        POSITION: "int64",
    }
    return _expression(desk, rated, columns)


def _kept(desk: Desk, numbers: Numbers) -> Numbers:
    """The same rows, moved from the scratch folder to one that goes with the connection."""
    folder = Path(tempfile.mkdtemp(prefix="tastevec-numbers-"))
    weakref.finalize(desk.connection, shutil.rmtree, folder, ignore_errors=True)
    return numbers.moved(folder)


def _tagged(own_tags: Checked, rated: str, *, first: int) -> str:
    """SQL of what people only tagged, numbered from ``first``."""
    return f"""SELECT {USER_ID}, {ITEM_ID}, CAST(NULL AS DOUBLE) AS {RATING}, min({TIMESTAMP}) AS {TIMESTAMP},
        {first} - 1 + row_number() OVER (ORDER BY min(line)) AS {POSITION}
        FROM {own_tags.table} AS said WHERE fault IS NULL AND NOT EXISTS (
            SELECT 1 FROM ({rated}) AS rated WHERE rated.{USER_ID} = said.{USER_ID} AND rated.{ITEM_ID} = said.{ITEM_ID})
        GROUP BY {USER_ID}, {ITEM_ID}"""


def item_table(desk: Desk, items: Checked | None, item_type: str) -> Table:
    """What the films are; empty if nobody says."""
    name = fresh_name("items")
    desk.run(
        f"CREATE TABLE {name} ({ITEM_ID} {item_type}, {TITLE} VARCHAR, {YEAR} INTEGER, {GENRES} VARCHAR[])"
    )
    if items is not None:
        year = f"coalesce({YEAR}, {_YEAR_IN_TITLE})" if items.has(YEAR) else _YEAR_IN_TITLE
        genres = GENRES if items.has(GENRES) else "[]"
        desk.run(
            f"INSERT INTO {name} SELECT CAST({ITEM_ID} AS {item_type}), {TITLE}, {year}, {genres} FROM {items.table} WHERE fault IS NULL ORDER BY line"
        )
    return _expression(
        desk,
        f"SELECT * FROM {name}",
        {ITEM_ID: item_type, TITLE: "string", YEAR: "int32", GENRES: "array<string>"},
    )


def tag_table(desk: Desk, own: Checked | None, others: Sequence[Checked], types: tuple[str, str]) -> Table:
    """Words about films: the release's own with their users, those from elsewhere without.

    Args:
        desk: Where the table is made.
        own: The tags of the release's own people.
        others: Tags from elsewhere.
        types: The types of user and film ids.
    """
    name = fresh_name("tags")
    user_type, item_type = types
    desk.run(
        f"CREATE TABLE {name} ({USER_ID} {user_type}, {ITEM_ID} {item_type}, {TAG} VARCHAR, {WEIGHT} DOUBLE, {TIMESTAMP} BIGINT)"
    )
    for table in ([own] if own is not None else []) + list(others):
        user = USER_ID if table is own else "NULL"  # another release counts its users anew
        weight = WEIGHT if table.has(WEIGHT) else "1"
        time = TIMESTAMP if table.has(TIMESTAMP) else "NULL"
        desk.run(
            f"INSERT INTO {name} SELECT {user}, {ITEM_ID}, {TAG}, {weight}, {time} FROM {table.table} WHERE fault IS NULL ORDER BY line"
        )
    columns = {USER_ID: user_type, ITEM_ID: item_type, TAG: "string", WEIGHT: "float64", TIMESTAMP: "int64"}
    return _expression(desk, f"SELECT * FROM {name}", columns)


def _expression(desk: Desk, query: str, types: dict[str, str]) -> Table:
    """The query as an Ibis expression of types that are promised rather than asked for again."""
    import ibis  # noqa: PLC0415 -- importing the readers stays cheap

    return desk.connection.sql(query, schema=ibis.schema(types))

"""Reading of a source: a MovieLens release, a RecBole folder, or a table of interactions."""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tastevec.data.readers.formats import (
    GENOME_FILES,
    SourceLayout,
    find_layout,
    read_atomic_interactions,
    read_atomic_items,
    read_interaction_table,
    read_item_table,
    read_movielens_items,
    read_own_tags,
    read_ratings,
    read_tag_file,
)
from tastevec.data.readers.validate import ReaderContext, RowReport, ValidatedRows, fresh_name
from tastevec.errors import SettingsError, SourceError
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
    from collections.abc import Iterator, Sequence

    from ibis.backends.duckdb import Backend
    from ibis.expr.types import Table

    from tastevec.data.readers.validate import NumericRows

__all__ = [
    "ReadSettings",
    "RowReport",
    "Source",
    "id_type",
    "interaction_table",
    "item_table",
    "items_of",
    "rating_range_of",
    "read_interactions",
    "read_items",
    "read_source",
    "reader_context",
    "tag_table",
]


@dataclass(frozen=True)
class ReadSettings:
    """How a source is read.

    Attributes:
        tags: Files of tags from elsewhere: a ``tags.csv`` or ``tags.dat`` of MovieLens, or hetrec's
            ``movie_tags.dat`` with ``tags.dat`` beside it. They say what films are, not what people did.
        items: A table of item metadata, instead of the one that the source brings.
        skip_bad_rows: Count bad rows and set them aside instead of refusing the file.
        rating_range: The lowest and the highest rating; None is the release's own, and 0.5 to 5 for other tables.

    Raises:
        SettingsError: The range is empty.
    """

    tags: tuple[Path, ...] = ()
    items: Path | None = None
    skip_bad_rows: bool = False
    rating_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.rating_range and not -math.inf < self.rating_range[0] < self.rating_range[1] < math.inf:
            raise SettingsError(
                f"the rating range is {self.rating_range[0]:g} to {self.rating_range[1]:g}; expected the lowest rating first, then the highest"
            )


@dataclass(frozen=True, eq=False)
class Source:
    """A release or a table of one's own, read and checked, as tables of the connection it was read through.

    Attributes:
        name: The name of the folder, zip or file, without its ending.
        format: ``ml-100k``, ``ml-1m``, ``ml-10m``, ``movielens-csv``, ``recbole`` or ``table``.
        rating_range: The lowest and the highest rating that was accepted.
        interactions: ``user_id, item_id`` (int64 or string), ``rating`` float64 (NULL where a film was only
            tagged), ``timestamp`` int64 Unix seconds (NULL if unknown), ``position`` int64 from 0 (the order of
            the source, ratings before tags); one row per user and item.
        items: ``item_id, title`` string, ``year`` int32 or NULL, ``genres`` array of strings; empty if unknown.
        tags: ``user_id`` (NULL if the tag comes from elsewhere), ``item_id``, ``tag`` (lower case, stripped),
            ``weight`` float64 (1 per application, or the file's own), ``timestamp`` int64 (NULL if unknown).
        genome_folder: Where ``genome-scores.csv`` lies, if the release has one; out of a zip it is unpacked into a
            folder that lives as long as this value.
        row_reports: One per file that was read.
    """

    name: str
    format: str
    rating_range: tuple[float, float]
    interactions: Table
    items: Table
    tags: Table
    genome_folder: Path | None
    row_reports: tuple[RowReport, ...]


# ruff: noqa: S608 -- each query is built from our own words only


# The last (1995), (2006-2007) or (2009- ) of a title: some go on after it, as in "(1995) (V)".
_YEAR_IN_TITLE = (
    r"TRY_CAST(regexp_extract_all(title, '\(([0-9]{4})(?:\s*[^\w\s)][^)]*)?\)', 1)[-1] AS INTEGER)"
)


def id_type(context: ReaderContext, role: str, tables: Sequence[ValidatedRows | None]) -> str:
    """``int64`` if the ids of all of these tables are whole numbers, else ``string``; DuckDB knows both names too."""
    whole = all(table.has_int_ids(context, role) for table in tables if table is not None)
    return "int64" if whole else "string"


def interaction_table(
    context: ReaderContext,
    ratings: ValidatedRows,
    types: tuple[str, str],
    own_tags: ValidatedRows | None = None,
) -> Table:
    """What people rated, then what they only tagged, in the order of the source."""
    user_type, item_type = types
    numbers = ratings.numbers and _kept(context, ratings.numbers)
    time = TIMESTAMP if ratings.has(TIMESTAMP) else "CAST(NULL AS BIGINT)"
    place = "line" if numbers else "row_number() OVER (ORDER BY line) - 1"
    rated = f"""SELECT CAST({USER_ID} AS {user_type}) AS {USER_ID}, CAST({ITEM_ID} AS {item_type}) AS {ITEM_ID},
        {RATING}, {time} AS {TIMESTAMP}, {place} AS {POSITION}
        FROM {numbers.table if numbers else ratings.table} WHERE fault IS NULL"""
    name = fresh_name("interactions")
    if (
        not numbers
    ):  # what was judged goes with the desk; numbers lie on disk, in order, and are read from there
        context.run(f"CREATE TABLE {name} AS {rated}")
        rated = f"SELECT * FROM {name}"
    if own_tags is not None:
        tagged = _tagged(own_tags, rated, first=ratings.row_report.rows_kept)
        context.run(f"CREATE TABLE {name} AS {tagged}" if numbers else f"INSERT INTO {name} {tagged}")
        rated = f"{rated} UNION ALL SELECT * FROM {name}" if numbers else rated
    columns = {
        USER_ID: user_type,
        ITEM_ID: item_type,
        RATING: "float64",
        TIMESTAMP: "int64",
        POSITION: "int64",
    }
    return _expression(context, rated, columns)


def _kept(context: ReaderContext, numbers: NumericRows) -> NumericRows:
    """The same rows, moved from the scratch folder to one that goes with the connection."""
    folder = Path(tempfile.mkdtemp(prefix="tastevec-numbers-"))
    weakref.finalize(context.connection, shutil.rmtree, folder, ignore_errors=True)
    return numbers.moved(folder)


def _tagged(own_tags: ValidatedRows, rated: str, *, first: int) -> str:
    """SQL of what people only tagged, numbered from ``first``."""
    return f"""SELECT {USER_ID}, {ITEM_ID}, CAST(NULL AS DOUBLE) AS {RATING}, min({TIMESTAMP}) AS {TIMESTAMP},
        {first} - 1 + row_number() OVER (ORDER BY min(line)) AS {POSITION}
        FROM {own_tags.table} AS said WHERE fault IS NULL AND NOT EXISTS (
            SELECT 1 FROM ({rated}) AS rated WHERE rated.{USER_ID} = said.{USER_ID} AND rated.{ITEM_ID} = said.{ITEM_ID})
        GROUP BY {USER_ID}, {ITEM_ID}"""


def item_table(context: ReaderContext, items: ValidatedRows | None, item_type: str) -> Table:
    """What the films are; empty if nobody says."""
    name = fresh_name("items")
    context.run(
        f"CREATE TABLE {name} ({ITEM_ID} {item_type}, {TITLE} VARCHAR, {YEAR} INTEGER, {GENRES} VARCHAR[])"
    )
    if items is not None:
        year = f"coalesce({YEAR}, {_YEAR_IN_TITLE})" if items.has(YEAR) else _YEAR_IN_TITLE
        genres = GENRES if items.has(GENRES) else "[]"
        context.run(
            f"INSERT INTO {name} SELECT CAST({ITEM_ID} AS {item_type}), {TITLE}, {year}, {genres} FROM {items.table} WHERE fault IS NULL ORDER BY line"
        )
    return _expression(
        context,
        f"SELECT * FROM {name}",
        {ITEM_ID: item_type, TITLE: "string", YEAR: "int32", GENRES: "array<string>"},
    )


def tag_table(
    context: ReaderContext, own: ValidatedRows | None, others: Sequence[ValidatedRows], types: tuple[str, str]
) -> Table:
    """Words about films: the release's own with their users, those from elsewhere without.

    Args:
        context: Where the table is made.
        own: The tags of the release's own people.
        others: Tags from elsewhere.
        types: The types of user and film ids.
    """
    name = fresh_name("tags")
    user_type, item_type = types
    context.run(
        f"CREATE TABLE {name} ({USER_ID} {user_type}, {ITEM_ID} {item_type}, {TAG} VARCHAR, {WEIGHT} DOUBLE, {TIMESTAMP} BIGINT)"
    )
    for table in ([own] if own is not None else []) + list(others):
        user = USER_ID if table is own else "NULL"  # another release counts its users anew
        weight = WEIGHT if table.has(WEIGHT) else "1"
        time = TIMESTAMP if table.has(TIMESTAMP) else "NULL"
        context.run(
            f"INSERT INTO {name} SELECT {user}, {ITEM_ID}, {TAG}, {weight}, {time} FROM {table.table} WHERE fault IS NULL ORDER BY line"
        )
    columns = {USER_ID: user_type, ITEM_ID: item_type, TAG: "string", WEIGHT: "float64", TIMESTAMP: "int64"}
    return _expression(context, f"SELECT * FROM {name}", columns)


def _expression(context: ReaderContext, query: str, types: dict[str, str]) -> Table:
    """The query as an Ibis expression of types that are promised rather than asked for again."""
    import ibis  # noqa: PLC0415 -- importing the readers stays cheap

    return context.connection.sql(query, schema=ibis.schema(types))


_RANGES = {"ml-100k": (1.0, 5.0), "ml-1m": (1.0, 5.0)}
_HALF_STARS = (0.5, 5.0)  # every other release


def read_source(path: Path, *, connection: Backend, settings: ReadSettings) -> Source:
    """The release or table at ``path`` as tables of ``connection``.

    Args:
        path: A MovieLens release (folder or zip), a folder of RecBole's files or its ``.inter``, or one's own
            CSV, TSV or Parquet of interactions.
        connection: Ibis on DuckDB; the tables live as long as it does. Rows are counted in the order of the
            files, so its ``preserve_insertion_order`` is switched on.
        settings: Ranges, tags and items from elsewhere, and what happens to bad rows.

    Raises:
        SourceError: Nothing is there, nothing that we know, or a file is empty or has a wrong header.
        BadRowError: A row is wrong and ``skip_bad_rows`` is off.
    """
    with reader_context(connection, settings) as context:
        place = find_layout(path, context.scratch)
        rating_range = settings.rating_range or rating_range_of(place)
        ratings = _read_ratings(place, context, rating_range)
        items = read_item_table(settings.items, context) if settings.items else items_of(place, context)
        own = read_own_tags(place, context)
        item_type = id_type(context, ITEM_ID, [ratings, items])
        borrowed = [read_tag_file(file, context, int_ids=item_type == "int64") for file in settings.tags]
        _refuse_nothing(ratings)
        types = (id_type(context, USER_ID, [ratings]), item_type)
        checked = [ratings, items, own, *(table for tables in borrowed for table in tables)]
        source = Source(
            name=place.name,
            format=place.format,
            rating_range=rating_range,
            interactions=interaction_table(context, ratings, types, own),
            items=item_table(context, items, item_type),
            tags=tag_table(context, own, [tables[0] for tables in borrowed], types),
            genome_folder=_genome_folder(place, context),
            row_reports=tuple(table.row_report for table in checked if table is not None),
        )
    if source.genome_folder is not None and not path.is_dir():
        weakref.finalize(source, shutil.rmtree, source.genome_folder, ignore_errors=True)
    return source


def read_interactions(
    path: Path | Literal["-"], *, connection: Backend, settings: ReadSettings
) -> tuple[Table, RowReport]:
    """One's own table of interactions, ``-`` for a CSV on standard input, and where its rows went.

    Args:
        path: A CSV, TSV or Parquet with columns for user, item, rating and, if known, time.
        connection: As for ``read_source``.
        settings: The rating range and what happens to bad rows.

    Returns:
        A table with the columns of ``Source.interactions``, and its account.

    Raises:
        SourceError: The table cannot be read, is empty or lacks a column.
        BadRowError: A row is wrong and ``skip_bad_rows`` is off.
    """
    with reader_context(connection, settings) as context:
        name = None
        if path == "-":
            path, name = context.scratch / "input.csv", "standard input"
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        rows = read_interaction_table(Path(path), context, settings.rating_range or _HALF_STARS, name=name)
        _refuse_nothing(rows)
        types = (id_type(context, USER_ID, [rows]), id_type(context, ITEM_ID, [rows]))
        return interaction_table(context, rows, types), rows.row_report


def read_items(
    path: Path, *, connection: Backend, settings: ReadSettings
) -> tuple[Table, Table, tuple[RowReport, ...]]:
    """One's own table of films, the tags of ``settings.tags``, and where the rows of each file went.

    Args:
        path: A CSV, TSV or Parquet with columns for the film and its title and, if known, year and genres.
        connection: As for ``read_source``.
        settings: Files of tags and what happens to bad rows.

    Returns:
        Tables with the columns of ``Source.items`` and ``Source.tags``, and an account per file.

    Raises:
        SourceError: A table cannot be read, is empty or lacks a column.
        BadRowError: A row is wrong and ``skip_bad_rows`` is off.
    """
    with reader_context(connection, settings) as context:
        items = read_item_table(path, context)
        _refuse_nothing(items, "items")
        kind = id_type(context, ITEM_ID, [items])
        said = [read_tag_file(file, context, int_ids=kind == "int64") for file in settings.tags]
        tags = tag_table(context, None, [tables[0] for tables in said], ("int64", kind))
        row_reports = tuple(table.row_report for tables in [[items], *said] for table in tables)
        return item_table(context, items, kind), tags, row_reports


@contextmanager
def reader_context(connection: Backend, settings: ReadSettings) -> Iterator[ReaderContext]:
    """Where the files of one source are read; its scratch folder is gone afterwards."""
    # Rows are numbered as they stream past: without this setting DuckDB may shuffle them.
    connection.raw_sql("SET preserve_insertion_order = true")
    with tempfile.TemporaryDirectory(prefix="tastevec-") as scratch:
        context = ReaderContext(connection, Path(scratch), settings.skip_bad_rows)
        try:
            yield context
        finally:
            context.clear()


def _read_ratings(
    place: SourceLayout, context: ReaderContext, rating_range: tuple[float, float]
) -> ValidatedRows:
    if place.format == "table":
        return read_interaction_table(place.interactions, context, rating_range)
    if place.format == "recbole":
        return read_atomic_interactions(place.interactions, context, rating_range)
    return read_ratings(place, context, rating_range)


def items_of(place: SourceLayout, context: ReaderContext) -> ValidatedRows | None:
    """The rows of the films that lie beside the interactions."""
    if place.format == "table":
        return None
    if place.format == "recbole":
        path = place.file(f"{place.interactions.stem}.item")
        return read_atomic_items(path, context) if path else None
    return read_movielens_items(place, context)


def rating_range_of(place: SourceLayout) -> tuple[float, float]:
    """The lowest and the highest rating that the format allows."""
    return _RANGES.get(place.name if place.format == "recbole" else place.format, _HALF_STARS)


def _refuse_nothing(rows: ValidatedRows, expected: str = "interactions") -> None:
    if not rows.row_report.rows_kept:
        raise SourceError(
            f"{rows.row_report.file} has {rows.row_report.rows_read} rows and none of them is good; expected {expected}; {'; '.join(rows.row_report.examples[:1]) or 'export it again, then rerun'}"
        )


def _genome_folder(place: SourceLayout, context: ReaderContext) -> Path | None:
    """Where the genome lies; what a zip held of it moves out of the scratch folder, which is about to go."""
    scores = place.file(GENOME_FILES[0])
    if scores is None or not scores.is_relative_to(context.scratch):
        return scores and scores.parent
    kept = Path(tempfile.mkdtemp(prefix="tastevec-genome-"))
    for name in GENOME_FILES:
        if path := place.file(name):
            path.rename(kept / name)
    return kept

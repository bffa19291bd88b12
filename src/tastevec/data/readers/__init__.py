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

from tastevec.data.intake.source import Source
from tastevec.data.intake.validation import RowReport
from tastevec.data.readers.formats import (
    GENOME_FILES,
    SourceLayout,
    find_layout,
    read_interaction_table,
    read_item_table,
    read_items_of,
    read_own_tags,
    read_ratings,
    read_tag_file,
)
from tastevec.data.readers.validate import (
    NumericRows,
    ReaderContext,
    RowPolicy,
    ValidatedRows,
    fresh_name,
)
from tastevec.data.value_scale import ValueScale
from tastevec.errors import SettingsError, SourceError
from tastevec.schema import (
    GENRES,
    ITEM_ID,
    ITEM_NOUN,
    MOVIELENS_NOUN,
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
    from collections.abc import Iterator, Mapping, Sequence

    import ibis
    from ibis.backends.duckdb import Backend
    from ibis.expr.types import Table


__all__ = [
    "ReadSettings",
    "RowReport",
    "Source",
    "id_type",
    "interaction_schema",
    "interaction_table",
    "item_noun_of",
    "item_table",
    "rating_range_of",
    "read_interactions",
    "read_items",
    "read_source",
    "reader_context",
    "require_rows",
    "tag_table",
]


@dataclass(frozen=True)
class ReadSettings:
    """How a source is read.

    Attributes:
        tags: Files of tags from another release: a ``tags.csv`` or ``tags.dat`` of MovieLens, or hetrec's
            ``movie_tags.dat`` in a folder with its ``tags.dat``. They describe items; their users are ignored.
        items: A table of item metadata that replaces the source's own.
        skip_bad_rows: Skip and count invalid rows instead of refusing the file.
        rating_range: The lowest and the highest rating; by default the release's own, and 0.5 to 5 for other tables.
        model_scale: Whether ``rating_range`` is the scale of a model, which messages must not suggest to change.

    Raises:
        SettingsError: The range is empty.
    """

    tags: tuple[Path, ...] = ()
    items: Path | None = None
    skip_bad_rows: bool = False
    rating_range: tuple[float, float] | None = None
    model_scale: bool = False

    def __post_init__(self) -> None:
        if self.rating_range and not -math.inf < self.rating_range[0] < self.rating_range[1] < math.inf:
            low, high = self.rating_range
            raise SettingsError(f"rating range {low:g}:{high:g}. Expected LOW:HIGH, the lowest rating first.")


# ruff: noqa: S608 -- each query is built from constants and generated names

# The last (1995), (2006-2007) or (2009- ) of a title; some have more text after it, as in "(1995) (V)".
_YEAR_IN_TITLE = (
    r"TRY_CAST(regexp_extract_all(title, '\(([0-9]{4})(?:\s*[^\w\s)][^)]*)?\)', 1)[-1] AS INTEGER)"
)


def id_type(context: ReaderContext, role: str, tables: Sequence[ValidatedRows | None]) -> str:
    """Return ``int64`` if the IDs of all these tables are integers, else ``string``; DuckDB has both names, too."""
    integers = all(table.has_int_ids(context, role) for table in tables if table is not None)
    return "int64" if integers else "string"


def interaction_table(
    context: ReaderContext,
    ratings: ValidatedRows,
    types: tuple[str, str],
    own_tags: ValidatedRows | None = None,
) -> Table:
    """Return the rated interactions, then the tag-only ones, in the order of the source."""
    user_type, item_type = types
    numbers = ratings.numbers and _move(context, ratings.numbers)
    timestamp = TIMESTAMP if ratings.has(TIMESTAMP) else "CAST(NULL AS BIGINT)"
    position = "line" if numbers else "row_number() OVER (ORDER BY line) - 1"
    rated = f"""SELECT CAST({USER_ID} AS {user_type}) AS {USER_ID}, CAST({ITEM_ID} AS {item_type}) AS {ITEM_ID},
        {RATING}, {timestamp} AS {TIMESTAMP}, {position} AS {POSITION}
        FROM {numbers.table if numbers else ratings.table} WHERE error IS NULL"""
    name = fresh_name("interactions")
    if not numbers:  # validated tables are dropped with the context; numeric rows are a file, in order
        context.run(f"CREATE TABLE {name} AS {rated}")
        rated = f"SELECT * FROM {name}"
    if own_tags is not None:
        tagged = _tagged(own_tags, rated, first=ratings.row_report.rows_kept)
        context.run(f"CREATE TABLE {name} AS {tagged}" if numbers else f"INSERT INTO {name} {tagged}")
        rated = f"{rated} UNION ALL SELECT * FROM {name}" if numbers else rated
    # With the types given, DuckDB does not plan the query twice.
    return context.connection.sql(rated, schema=interaction_schema(types))


def interaction_schema(types: tuple[str, str]) -> ibis.Schema:
    """Return the schema of a table of interactions, with these types of user IDs and item IDs."""
    import ibis  # noqa: PLC0415 -- importing the readers stays cheap

    columns = (USER_ID, ITEM_ID, RATING, TIMESTAMP, POSITION)
    return ibis.schema(dict(zip(columns, (*types, "float64", "int64", "int64"), strict=True)))


def _move(context: ReaderContext, numbers: NumericRows) -> NumericRows:
    """Move the rows from the scratch folder to one that is removed with the connection."""
    folder = Path(tempfile.mkdtemp(prefix="tastevec-numbers-"))
    weakref.finalize(context.connection, shutil.rmtree, folder, ignore_errors=True)
    return NumericRows(Path(shutil.move(numbers.path, folder / numbers.path.name)), numbers.rows)


def _tagged(own_tags: ValidatedRows, rated: str, *, first: int) -> str:
    """Return SQL of the tag-only interactions, numbered from ``first``."""
    return f"""SELECT {USER_ID}, {ITEM_ID}, CAST(NULL AS DOUBLE) AS {RATING}, min({TIMESTAMP}) AS {TIMESTAMP},
        {first} - 1 + row_number() OVER (ORDER BY min(line)) AS {POSITION}
        FROM {own_tags.table} AS tagged WHERE error IS NULL AND NOT EXISTS (
            SELECT 1 FROM ({rated}) AS rated WHERE rated.{USER_ID} = tagged.{USER_ID} AND rated.{ITEM_ID} = tagged.{ITEM_ID})
        GROUP BY {USER_ID}, {ITEM_ID}"""


def item_table(context: ReaderContext, items: ValidatedRows | None, item_type: str) -> Table:
    """Return the item metadata; an empty table if there is none."""
    queries = []
    if items is not None:
        year = f"coalesce({YEAR}, {_YEAR_IN_TITLE})" if items.has(YEAR) else _YEAR_IN_TITLE
        genres = GENRES if items.has(GENRES) else "[]"
        queries = [f"SELECT CAST({ITEM_ID} AS {item_type}), {TITLE}, {year}, {genres} FROM {items.table}"]
    types = {ITEM_ID: item_type, TITLE: "string", YEAR: "int32", GENRES: "array<string>"}
    return _new_table(context, "items", types, queries)


def tag_table(
    context: ReaderContext, own: ValidatedRows | None, others: Sequence[ValidatedRows], types: tuple[str, str]
) -> Table:
    """Return the release's own tags with their users, then the tags of other releases without; ``types`` are those of IDs."""
    queries = []
    for table in ([own] if own is not None else []) + list(others):
        user = USER_ID if table is own else "NULL"  # another release has other users under the same IDs
        weight = WEIGHT if table.has(WEIGHT) else "1"
        timestamp = TIMESTAMP if table.has(TIMESTAMP) else "NULL"
        queries.append(f"SELECT {user}, {ITEM_ID}, {TAG}, {weight}, {timestamp} FROM {table.table}")
    columns = {USER_ID: types[0], ITEM_ID: types[1], TAG: "string", WEIGHT: "float64", TIMESTAMP: "int64"}
    return _new_table(context, "tags", columns, queries)


def _new_table(context: ReaderContext, name: str, types: dict[str, str], queries: Sequence[str]) -> Table:
    """Return a new table of the valid rows of each of the queries, in the order of the lines."""
    import ibis  # noqa: PLC0415 -- importing the readers stays cheap

    table = context.connection.create_table(fresh_name(name), schema=ibis.schema(types))
    for query in queries:
        context.run(f"INSERT INTO {table.get_name()} {query} WHERE error IS NULL ORDER BY line")
    return table


_RANGES = {"ml-100k": (1.0, 5.0), "ml-1m": (1.0, 5.0)}
_HALF_STARS = (0.5, 5.0)  # every other release


def read_source(path: Path, *, connection: Backend, settings: ReadSettings) -> Source:
    """Return the release or table at ``path`` as tables of ``connection``.

    Args:
        path: A MovieLens release (folder or zip), a folder of RecBole files or its ``.inter``, or a CSV, TSV or Parquet table.
        connection: Ibis on DuckDB; the tables exist as long as it does. Rows are numbered in the order of the files, so its
            ``preserve_insertion_order`` is switched on.
        settings: Rating range, other tags and items, and what happens to invalid rows.

    Raises:
        SourceError: The path does not exist, its format is unknown, or a file is empty or has a wrong header.
        BadRowError: A row is invalid and ``skip_bad_rows`` is off.
    """
    with reader_context(connection, settings, path) as context:
        layout = find_layout(path, context.scratch)
        rating_range = settings.rating_range or rating_range_of(layout)
        ratings = read_ratings(layout, context, rating_range)
        items = read_item_table(settings.items, context) if settings.items else read_items_of(layout, context)
        own = read_own_tags(layout, context)
        item_type = id_type(context, ITEM_ID, [ratings, items])
        others = [read_tag_file(file, context, int_ids=item_type == "int64") for file in settings.tags]
        require_rows(ratings.row_report)
        types = (id_type(context, USER_ID, [ratings]), item_type)
        files = [ratings, items, own, *(table for tables in others for table in tables)]
        source = Source(
            name=layout.name,
            format=layout.format,
            scale=ValueScale.explicit(*rating_range),
            feedback={"events": {}, "unrated": None, "repeats": "latest"},
            order="timestamp" if ratings.has(TIMESTAMP) else "file",
            item_noun=item_noun_of(layout),
            interactions=interaction_table(context, ratings, types, own),
            items=item_table(context, items, item_type),
            tags=tag_table(context, own, [tables[0] for tables in others], types),
            genome_folder=_genome_folder(layout, context),
            row_reports=tuple(table.row_report for table in files if table is not None),
        )
    if source.genome_folder is not None and not path.is_dir():
        weakref.finalize(source, shutil.rmtree, source.genome_folder, ignore_errors=True)
    return source


def read_interactions(
    path: Path | Literal["-"], *, connection: Backend, settings: ReadSettings
) -> tuple[Table, RowReport]:
    """Return a table with the columns of ``Source.interactions``, and its row report.

    ``path`` is a CSV, TSV or Parquet table with columns for user, item, rating and, if known, timestamp; ``-`` is a CSV on
    standard input.

    Raises:
        SourceError: The table cannot be read, is empty or lacks a column.
        BadRowError: A row is invalid and ``skip_bad_rows`` is off.
    """
    with reader_context(connection, settings, path) as context:
        name = None
        if path == "-":
            path, name = context.scratch / "input.csv", "standard input"
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        rows = read_interaction_table(Path(path), context, settings.rating_range or _HALF_STARS, name=name)
        require_rows(rows.row_report)
        types = (id_type(context, USER_ID, [rows]), id_type(context, ITEM_ID, [rows]))
        return interaction_table(context, rows, types), rows.row_report


def read_items(
    path: Path, *, connection: Backend, settings: ReadSettings
) -> tuple[Table, Table, tuple[RowReport, ...]]:
    """Return tables with the columns of ``Source.items`` and ``Source.tags``, and the row report of each file.

    ``path`` is a CSV, TSV or Parquet table with columns for the item and its title and, if known, year and genres. The tags are
    those of ``settings.tags``.

    Raises:
        SourceError: A table cannot be read, is empty or lacks a column.
        BadRowError: A row is invalid and ``skip_bad_rows`` is off.
    """
    with reader_context(connection, settings, path) as context:
        items = read_item_table(path, context)
        require_rows(items.row_report, "items")
        item_type = id_type(context, ITEM_ID, [items])
        tag_files = [read_tag_file(file, context, int_ids=item_type == "int64") for file in settings.tags]
        tags = tag_table(context, None, [tables[0] for tables in tag_files], ("int64", item_type))
        row_reports = tuple(table.row_report for tables in [[items], *tag_files] for table in tables)
        return item_table(context, items, item_type), tags, row_reports


@contextmanager
def reader_context(
    connection: Backend, settings: ReadSettings, source: Path | str
) -> Iterator[ReaderContext]:
    """Yield the context in which the files of one source are read; remove its scratch folder afterwards."""
    # Rows are numbered while they stream: without this setting DuckDB may shuffle them.
    connection.raw_sql("SET preserve_insertion_order = true")
    with tempfile.TemporaryDirectory(prefix="tastevec-") as scratch:
        policy = RowPolicy(settings.skip_bad_rows, str(source), settings.model_scale)
        context = ReaderContext(connection, Path(scratch), policy)
        try:
            yield context
        finally:
            context.clear()


def rating_range_of(layout: SourceLayout) -> tuple[float, float]:
    """Return the lowest and the highest rating of the format."""
    return _RANGES.get(layout.name if layout.format == "recbole" else layout.format, _HALF_STARS)


def item_noun_of(layout: SourceLayout) -> Mapping[str, str]:
    """Return what a source calls its items; a release that RecBole converted has the format recbole and its own name."""
    movielens = any(text.startswith(("ml-", "movielens")) for text in (layout.format, layout.name))
    return MOVIELENS_NOUN if movielens else ITEM_NOUN


def require_rows(report: RowReport, expected: str = "interactions") -> None:
    """Check that a file has a valid row.

    Raises:
        SourceError: It has none.
    """
    if not report.rows_kept:
        first = report.examples[0] if report.examples else "Export the file again."
        raise SourceError(
            f"{report.file}: {report.rows_read:,} rows, none of them valid. Expected {expected}. {first}"
        )


def _genome_folder(layout: SourceLayout, context: ReaderContext) -> Path | None:
    """Return the folder of the genome; files from a zip move out of the scratch folder, which is removed."""
    scores = layout.file(GENOME_FILES[0])
    if scores is None or not scores.is_relative_to(context.scratch):
        return scores and scores.parent
    folder = Path(tempfile.mkdtemp(prefix="tastevec-genome-"))
    for name in GENOME_FILES:
        if path := layout.file(name):
            path.rename(folder / name)
    return folder

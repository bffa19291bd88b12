"""Any MovieLens release or table of one's own, read into the same three tables with every row accounted for."""

from __future__ import annotations

import shutil
import sys
import tempfile
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tastevec.data.readers.assembly import id_type, interaction_table, item_table, tag_table
from tastevec.data.readers.movielens import read_films, read_own_tags, read_ratings
from tastevec.data.readers.own_tables import read_interaction_table, read_item_table
from tastevec.data.readers.places import GENOME_FILES, Place, find_place
from tastevec.data.readers.recbole import read_atomic_interactions, read_atomic_items
from tastevec.data.readers.rows import Checked, Desk
from tastevec.data.readers.sources import ReadSettings, RowAccount, Source
from tastevec.data.readers.tags import read_tag_file
from tastevec.errors import SourceError
from tastevec.schema import ITEM_ID, USER_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibis.backends.duckdb import Backend
    from ibis.expr.types import Table

__all__ = [
    "ReadSettings",
    "RowAccount",
    "Source",
    "films_of",
    "open_desk",
    "rating_range_of",
    "read_interactions",
    "read_items",
    "read_source",
]

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
    with open_desk(connection, settings) as desk:
        place = find_place(path, desk.scratch)
        rating_range = settings.rating_range or rating_range_of(place)
        ratings = _read_ratings(place, desk, rating_range)
        films = read_item_table(settings.items, desk) if settings.items else films_of(place, desk)
        own = read_own_tags(place, desk)
        item_type = id_type(desk, ITEM_ID, [ratings, films])
        borrowed = [read_tag_file(file, desk, whole_ids=item_type == "int64") for file in settings.tags]
        _refuse_nothing(ratings)
        types = (id_type(desk, USER_ID, [ratings]), item_type)
        checked = [ratings, films, own, *(table for tables in borrowed for table in tables)]
        source = Source(
            name=place.name,
            format=place.format,
            rating_range=rating_range,
            interactions=interaction_table(desk, ratings, types, own),
            items=item_table(desk, films, item_type),
            tags=tag_table(desk, own, [tables[0] for tables in borrowed], types),
            genome_folder=_genome_folder(place, desk),
            accounts=tuple(table.account for table in checked if table is not None),
        )
    if source.genome_folder is not None and not path.is_dir():
        weakref.finalize(source, shutil.rmtree, source.genome_folder, ignore_errors=True)
    return source


def read_interactions(
    path: Path | Literal["-"], *, connection: Backend, settings: ReadSettings
) -> tuple[Table, RowAccount]:
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
    with open_desk(connection, settings) as desk:
        name = None
        if path == "-":
            path, name = desk.scratch / "input.csv", "standard input"
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        rows = read_interaction_table(Path(path), desk, settings.rating_range or _HALF_STARS, name=name)
        _refuse_nothing(rows)
        types = (id_type(desk, USER_ID, [rows]), id_type(desk, ITEM_ID, [rows]))
        return interaction_table(desk, rows, types), rows.account


def read_items(
    path: Path, *, connection: Backend, settings: ReadSettings
) -> tuple[Table, Table, tuple[RowAccount, ...]]:
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
    with open_desk(connection, settings) as desk:
        films = read_item_table(path, desk)
        _refuse_nothing(films, "films")
        kind = id_type(desk, ITEM_ID, [films])
        said = [read_tag_file(file, desk, whole_ids=kind == "int64") for file in settings.tags]
        tags = tag_table(desk, None, [tables[0] for tables in said], ("int64", kind))
        accounts = tuple(table.account for tables in [[films], *said] for table in tables)
        return item_table(desk, films, kind), tags, accounts


@contextmanager
def open_desk(connection: Backend, settings: ReadSettings) -> Iterator[Desk]:
    """Where the files of one source are read; its scratch folder is gone afterwards."""
    # Rows are numbered as they stream past: without this setting DuckDB may shuffle them.
    connection.raw_sql("SET preserve_insertion_order = true")
    with tempfile.TemporaryDirectory(prefix="tastevec-") as scratch:
        desk = Desk(connection, Path(scratch), settings.skip_bad_rows)
        try:
            yield desk
        finally:
            desk.clear()


def _read_ratings(place: Place, desk: Desk, rating_range: tuple[float, float]) -> Checked:
    if place.format == "table":
        return read_interaction_table(place.interactions, desk, rating_range)
    if place.format == "recbole":
        return read_atomic_interactions(place.interactions, desk, rating_range)
    return read_ratings(place, desk, rating_range)


def films_of(place: Place, desk: Desk) -> Checked | None:
    """The rows of the films that lie beside the interactions."""
    if place.format == "table":
        return None
    if place.format == "recbole":
        path = place.file(f"{place.interactions.stem}.item")
        return read_atomic_items(path, desk) if path else None
    return read_films(place, desk)


def rating_range_of(place: Place) -> tuple[float, float]:
    """The lowest and the highest rating that the format allows."""
    return _RANGES.get(place.name if place.format == "recbole" else place.format, _HALF_STARS)


def _refuse_nothing(rows: Checked, expected: str = "interactions") -> None:
    if not rows.account.rows_kept:
        raise SourceError(
            f"{rows.account.file} has {rows.account.rows_read} rows and none of them is good; expected {expected}; {'; '.join(rows.account.examples[:1]) or 'export it again, then rerun'}"
        )


def _genome_folder(place: Place, desk: Desk) -> Path | None:
    """Where the genome lies; what a zip held of it moves out of the scratch folder, which is about to go."""
    scores = place.file(GENOME_FILES[0])
    if scores is None or not scores.is_relative_to(desk.scratch):
        return scores and scores.parent
    kept = Path(tempfile.mkdtemp(prefix="tastevec-genome-"))
    for name in GENOME_FILES:
        if path := place.file(name):
            path.rename(kept / name)
    return kept

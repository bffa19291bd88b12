"""File formats: MovieLens releases of every age, RecBole atomic files, tag files, CSV and Parquet tables."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tastevec.data.download import MOST_EXPANSION, unpacked_size_of_bomb
from tastevec.data.readers.columns import (
    LOOSE_YEAR,
    OPEN_ID,
    SECONDS,
    TAG_TEXT,
    TEXT,
    TEXT_ID,
    TIME,
    WEIGHT_NUMBER,
    WHOLE_ID,
    YEAR_NUMBER,
    Column,
    ColumnType,
    genre_flags,
    genre_list,
    known_tag,
    match_columns,
    rating_within,
    split_header,
)
from tastevec.data.readers.records import Records, parquet_records, plain_records, quoted_records
from tastevec.data.readers.text import TextFile, open_text, sql_path
from tastevec.data.readers.validate import ReaderContext, ValidatedRows, check_rows
from tastevec.errors import SourceError
from tastevec.schema import GENRES, ITEM_ID, RATING, TAG, TIMESTAMP, TITLE, USER_ID, WEIGHT, YEAR

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tastevec.data.readers.text import TextFile

__all__ = [
    "GENOME_FILES",
    "SourceLayout",
    "find_layout",
    "read_atomic_interactions",
    "read_atomic_items",
    "read_interaction_table",
    "read_item_table",
    "read_movielens_items",
    "read_own_tags",
    "read_ratings",
    "read_tag_file",
    "read_tag_lines",
    "read_tag_table",
]


def read_atomic_interactions(
    path: Path, context: ReaderContext, rating_range: tuple[float, float]
) -> ValidatedRows:
    """The ``.inter`` file: one row per user and item.

    Raises:
        SourceError: The file is empty or lacks a column.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    kinds = {USER_ID: OPEN_ID, ITEM_ID: OPEN_ID, RATING: rating_within(*rating_range), TIMESTAMP: TIME}
    return _read_recbole(path, context, kinds, optional=(TIMESTAMP,), unique=(USER_ID, ITEM_ID))


def read_atomic_items(path: Path, context: ReaderContext) -> ValidatedRows:
    """The ``.item`` file: id and title, year and genres if it has them.

    Raises:
        SourceError: The file is empty or lacks a column.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    kinds = {ITEM_ID: OPEN_ID, TITLE: TEXT, YEAR: LOOSE_YEAR, GENRES: genre_list(" ")}
    return _read_recbole(path, context, kinds, optional=(YEAR, GENRES), unique=(ITEM_ID,))


def _read_recbole(
    path: Path,
    context: ReaderContext,
    kinds: dict[str, ColumnType],
    *,
    optional: tuple[str, ...],
    unique: tuple[str, ...],
) -> ValidatedRows:
    text = open_text(path, context.scratch)
    names = [name.partition(":")[0] for name in text.first_line().split("\t")]  # 'rating:float' is the rating
    columns = match_columns(text.name, names, kinds, optional)
    return check_rows(context, plain_records(text, "\t", names, skip=1), columns, unique=unique)


_PARQUET = (".parquet", ".pq")
_WHOLE_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
# 1.0 is no id: pandas makes floats of whole numbers where one is missing, and they must not become texts.
_FLOAT_TYPES = ("FLOAT", "DOUBLE")
_ID_KINDS = dict.fromkeys(_WHOLE_TYPES + _FLOAT_TYPES, WHOLE_ID)


@dataclass(frozen=True)
class _Table:
    """A table as found: its rows as text, and what its column types say of the ids in them."""

    records: Records
    id_kinds: dict[str, ColumnType]


def read_interaction_table(
    path: Path, context: ReaderContext, rating_range: tuple[float, float], *, name: str | None = None
) -> ValidatedRows:
    """Who rated what how, and when if the table says so: one row per user and item.

    Times are Unix seconds or ISO dates (UTC unless they say otherwise), cut to whole seconds; a missing one is NULL.

    Args:
        path: The table.
        context: Where the rows are judged.
        rating_range: The lowest and the highest rating.
        name: What messages call it; the file's own name if not given.

    Raises:
        SourceError: The table cannot be read, is empty or lacks a column.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    kinds = {USER_ID: OPEN_ID, ITEM_ID: OPEN_ID, RATING: rating_within(*rating_range), TIMESTAMP: TIME}
    return _read_own(
        _open_own(path, context, name), context, kinds, optional=(TIMESTAMP,), unique=(USER_ID, ITEM_ID)
    )


def read_item_table(path: Path, context: ReaderContext) -> ValidatedRows:
    """What the items are: id and title, year and genres (between ``|``) if the table has them.

    Raises:
        SourceError: The table cannot be read, is empty or lacks a column.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    kinds = {ITEM_ID: OPEN_ID, TITLE: TEXT, YEAR: YEAR_NUMBER, GENRES: genre_list("|")}
    return _read_own(_open_own(path, context), context, kinds, optional=(YEAR, GENRES), unique=(ITEM_ID,))


def _read_own(
    table: _Table,
    context: ReaderContext,
    kinds: dict[str, ColumnType],
    *,
    optional: tuple[str, ...],
    unique: tuple[str, ...],
) -> ValidatedRows:
    columns = [
        replace(column, kind=table.id_kinds.get(column.name, OPEN_ID)) if column.kind is OPEN_ID else column
        for column in match_columns(table.records.file, table.records.names, kinds, optional)
    ]
    return check_rows(context, table.records, columns, unique=unique)


def _open_own(path: Path, context: ReaderContext, name: str | None = None) -> _Table:
    if path.suffix in _PARQUET:
        return _open_parquet(path, context)
    text = open_text(path, context.scratch, name=name)
    separator, names = split_header(text.first_line())
    return _Table(quoted_records(text, separator, names, context.connection), {})


def _open_parquet(path: Path, context: ReaderContext) -> _Table:
    """A Parquet file knows the types of its ids: whole numbers are whole numbers, and texts stay texts."""
    import duckdb  # noqa: PLC0415 -- importing the readers stays cheap

    try:
        described = context.run(f"DESCRIBE FROM read_parquet({sql_path(path)}, hive_partitioning = false)")
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


TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".pq")
GENOME_FILES = ("genome-scores.csv", "genome-tags.csv")
_NEEDED = (
    *("u.data", "u.item", "u.genre"),
    *("ratings.dat", "movies.dat", "tags.dat"),
    *("ratings.csv", "movies.csv", "tags.csv"),
    *GENOME_FILES,
)
_NEEDED_ENDINGS = (".inter", ".item")
_EXPECTED = "expected u.data (ml-100k), ratings.dat (ml-1m, ml-10m), ratings.csv (ml-20m and later) or one NAME.inter (RecBole)"


@dataclass(frozen=True)
class SourceLayout:
    """A release that was recognised.

    Attributes:
        interactions: The file that says who rated what.
        name: What the release is called.
        format: The layout of its files.
    """

    interactions: Path
    name: str
    format: str

    def file(self, name: str) -> Path | None:
        """The file of this name, if the release has it."""
        path = self.interactions.with_name(name)
        return path if path.is_file() else None


def find_layout(path: Path, scratch: Path) -> SourceLayout:
    """What is at ``path``: a release's folder or zip, a RecBole file, or a table.

    Args:
        path: Where to look.
        scratch: A folder into which a zip is unpacked.

    Raises:
        SourceError: Nothing is there, or nothing that we know.
    """
    if not path.exists():
        raise SourceError(
            f"{path} does not exist; expected a release or a table; fetch one with tastevec fetch"
        )
    if path.suffix in TABLE_ENDINGS and path.is_file():
        return SourceLayout(path, path.stem, "table")
    if path.suffix == ".inter":
        return SourceLayout(path, path.stem, "recbole")
    folder = path if path.is_dir() else _unpack(path, scratch)
    names = sorted(entry.name for entry in folder.iterdir())
    found = _recognise(names)
    if found is None:
        raise SourceError(
            f"{path} holds {', '.join(names[:8]) or 'none of the files of a release'}; {_EXPECTED}; name a release's folder or zip, or a table"
        )
    layout, main = found
    name = path.resolve().name if path.is_dir() else path.stem
    return SourceLayout(folder / main, Path(main).stem if layout == "recbole" else name, layout)


def _recognise(names: Iterable[str]) -> tuple[str, str] | None:
    """The layout of a folder with these files, and which of them holds the interactions."""
    present = set(names)
    if "u.data" in present:
        return "ml-100k", "u.data"
    if "ratings.dat" in present:
        return "ml-10m" if "tags.dat" in present else "ml-1m", "ratings.dat"
    if "ratings.csv" in present:
        return "movielens-csv", "ratings.csv"
    inter = [name for name in present if name.endswith(".inter")]
    return ("recbole", inter[0]) if len(inter) == 1 else None


def _unpack(path: Path, scratch: Path) -> Path:
    """The needed files of the zip, wherever one folder in it holds a release, straight into a new folder."""
    target = scratch / "unpacked"
    target.mkdir()
    try:
        with zipfile.ZipFile(path) as archive:
            members = _release_members(archive)
            _refuse_bomb(path, [archive.getinfo(member) for member in members])
            for member in members:
                # The name within the archive is not trusted: only its last part is used.
                with archive.open(member) as packed, (target / PurePosixPath(member).name).open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise SourceError(
            f"{path} is not a whole zip ({error}); expected a release's folder or zip, or a table ending in {', '.join(TABLE_ENDINGS)}; fetch it again with tastevec fetch"
        ) from error
    except OSError as error:
        raise SourceError(
            f"{path} cannot be unpacked ({error}); expected a zip and room for its files; check both and run again"
        ) from error
    return target


def _refuse_bomb(path: Path, members: list[zipfile.ZipInfo]) -> None:
    packed = path.stat().st_size
    if declared := unpacked_size_of_bomb(members, packed):
        raise SourceError(
            f"{path} would unpack {packed:,} bytes into {declared:,}; expected at most {MOST_EXPANSION} times as many, so nothing "
            "was unpacked; unpack it yourself where you trust it, and name the folder"
        )


def _release_members(archive: zipfile.ZipFile) -> list[str]:
    """The members to unpack: those of the topmost folder in which a release is recognised."""
    by_folder: dict[PurePosixPath, list[str]] = {}
    for member in archive.namelist():
        inner = PurePosixPath(member)
        if not member.endswith("/") and (inner.name in _NEEDED or inner.suffix in _NEEDED_ENDINGS):
            by_folder.setdefault(inner.parent, []).append(member)
    for folder in sorted(by_folder, key=lambda folder: (len(folder.parts), str(folder))):
        if _recognise(PurePosixPath(member).name for member in by_folder[folder]):
            return by_folder[folder]
    return []


_FILM_FILES = {
    "ml-100k": "u.item",
    "ml-1m": "movies.dat",
    "ml-10m": "movies.dat",
    "movielens-csv": "movies.csv",
}
_BEFORE_FLAGS = ("movie id", "movie title", "release date", "video release date", "IMDb URL")
_FLAGS = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *(
        "Fantasy",
        "Film-Noir",
        "Horror",
        "Musical",
        "Mystery",
        "Romance",
        "Sci-Fi",
        "Thriller",
        "War",
        "Western",
    ),
)


def read_ratings(
    place: SourceLayout, context: ReaderContext, rating_range: tuple[float, float]
) -> ValidatedRows:
    """The ratings of the release, one row per user and film.

    Raises:
        SourceError: The file is empty or its header is wrong.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    kinds = {USER_ID: WHOLE_ID, ITEM_ID: WHOLE_ID, RATING: rating_within(*rating_range), TIMESTAMP: SECONDS}
    text, unique = open_text(place.interactions, context.scratch), (USER_ID, ITEM_ID)
    if place.format == "movielens-csv":
        return _read_table(text, context, kinds, unique=unique)
    return _read_lines(text, "\t" if place.format == "ml-100k" else "::", context, kinds, unique=unique)


def read_movielens_items(place: SourceLayout, context: ReaderContext) -> ValidatedRows:
    """The films of the release: id, title and genres.

    Raises:
        SourceError: The file is missing or empty, or its header is wrong.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    name = _FILM_FILES[place.format]
    path = place.file(name)
    if path is None:
        raise SourceError(
            f"{place.interactions.parent} has no {name}; expected the films of {place.format} there; fetch the release again or name a table with --items"
        )
    kinds = {ITEM_ID: WHOLE_ID, TITLE: TEXT, GENRES: genre_list("|")}
    text = open_text(path, context.scratch, latin=place.format in {"ml-100k", "ml-1m"})
    if place.format == "ml-100k":
        return _read_flagged(text, _genres_of(place, context), context)
    if place.format == "movielens-csv":
        return _read_table(text, context, kinds, unique=(ITEM_ID,))
    return _read_lines(text, "::", context, kinds, unique=(ITEM_ID,))


def read_own_tags(place: SourceLayout, context: ReaderContext) -> ValidatedRows | None:
    """The tags that the release's own people gave, if it has any.

    Raises:
        SourceError: The file is empty or its header is wrong.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    if place.format == "movielens-csv" and (path := place.file("tags.csv")):
        return read_tag_table(open_text(path, context.scratch), context, WHOLE_ID)
    if place.format == "ml-10m" and (path := place.file("tags.dat")):
        return read_tag_lines(open_text(path, context.scratch), context, WHOLE_ID)
    return None


def read_tag_table(text: TextFile, context: ReaderContext, item_kind: ColumnType) -> ValidatedRows:
    """A ``tags.csv``: who said what of which film, and when.

    Raises:
        SourceError: The header is wrong.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    return _read_table(text, context, _tag_kinds(item_kind))


def read_tag_lines(text: TextFile, context: ReaderContext, item_kind: ColumnType) -> ValidatedRows:
    """A ``tags.dat`` of ml-10m: the same without a header, between ``::``.

    Raises:
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    return _read_lines(text, "::", context, _tag_kinds(item_kind))


def _tag_kinds(item_kind: ColumnType) -> dict[str, ColumnType]:
    return {USER_ID: WHOLE_ID, ITEM_ID: item_kind, TAG: TAG_TEXT, TIMESTAMP: SECONDS}


def _read_table(
    text: TextFile, context: ReaderContext, kinds: dict[str, ColumnType], *, unique: tuple[str, ...] = ()
) -> ValidatedRows:
    separator, names = split_header(text.first_line())
    columns = match_columns(text.name, names, kinds)
    return check_rows(
        context, quoted_records(text, separator, names, context.connection), columns, unique=unique
    )


def _read_lines(
    text: TextFile,
    separator: str,
    context: ReaderContext,
    kinds: dict[str, ColumnType],
    *,
    unique: tuple[str, ...] = (),
) -> ValidatedRows:
    """Columns that stand in the order of ``kinds``, under no header."""
    columns = [
        Column(role, role, f"fields[{place}]", kind) for place, (role, kind) in enumerate(kinds.items(), 1)
    ]
    return check_rows(context, plain_records(text, separator, tuple(kinds)), columns, unique=unique)


def _read_flagged(text: TextFile, genres: tuple[str, ...], context: ReaderContext) -> ValidatedRows:
    """The ``u.item`` of ml-100k, where each genre is a column of 0 and 1."""
    flags = f"array_to_string(fields[{len(_BEFORE_FLAGS) + 1}:], '|')"
    columns = (
        Column(ITEM_ID, _BEFORE_FLAGS[0], "fields[1]", WHOLE_ID),
        Column(TITLE, _BEFORE_FLAGS[1], "fields[2]", TEXT),
        Column(GENRES, "genres", flags, genre_flags(genres)),
    )
    return check_rows(
        context, plain_records(text, "|", (*_BEFORE_FLAGS, *genres)), columns, unique=(ITEM_ID,)
    )


def _genres_of(place: SourceLayout, context: ReaderContext) -> tuple[str, ...]:
    """The names in ``u.genre`` in the order of the flags, or those of the release where the file is missing."""
    path = place.file("u.genre")
    if path is None:
        return _FLAGS
    lines = open_text(path, context.scratch).path.read_text(encoding="utf-8-sig").split("\n")
    names = tuple(line.rpartition("|")[0] for line in lines if line)
    if not all(names) or len(set(names)) != len(names):
        raise SourceError(
            "u.genre does not name one genre a line; expected lines such as 'Action|1', each once; fetch ml-100k again"
        )
    return names


def read_tag_file(path: Path, context: ReaderContext, *, int_ids: bool) -> list[ValidatedRows]:
    """A file of tags, and the file it needs beside it.

    Args:
        path: ``tags.csv``, ``tags.dat`` of ml-10m, or ``movie_tags.dat`` of hetrec.
        context: Where the rows are judged.
        int_ids: Whether the films they are for have whole numbers as ids.

    Returns:
        The table with the tags of films first.

    Raises:
        SourceError: A file is missing or empty, or its header is wrong.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    kind = WHOLE_ID if int_ids else TEXT_ID
    if path.name == "movie_tags.dat":
        return _read_weights(path, context, kind)
    text = _open_tags(path, context)
    read = read_tag_lines if "::" in text.first_line() else read_tag_table
    return [read(text, context, kind)]


def _read_weights(path: Path, context: ReaderContext, kind: ColumnType) -> list[ValidatedRows]:
    """``movie_tags.dat`` (movie, number of a tag, weight) with the texts of ``tags.dat``."""
    words = path.with_name("tags.dat")
    if not words.is_file():
        raise SourceError(
            f"{words} is missing; expected it beside {path.name} with the text of each tag; put it there and run again"
        )
    texts = (Column("tag_id", "tagID", "fields[1]", WHOLE_ID), Column(TAG, "tagValue", "fields[2]", TAG_TEXT))
    known = _read_tabs(_open_tags(words, context, latin=True), context, texts, unique=("tag_id",))
    weights = (
        Column(ITEM_ID, "movieID", "fields[1]", kind),
        Column("tag_id", "tagID", "fields[2]", WHOLE_ID),
        Column(TAG, "tagID", "fields[2]", known_tag(known.table)),
        Column(WEIGHT, "tagWeight", "fields[3]", WEIGHT_NUMBER),
    )
    return [_read_tabs(_open_tags(path, context), context, weights, unique=(ITEM_ID, "tag_id")), known]


def _open_tags(path: Path, context: ReaderContext, *, latin: bool = False) -> TextFile:
    """The file, called by its folder as well, since many are called tags.csv."""
    return open_text(path, context.scratch, latin=latin, name=f"{path.resolve().parent.name}/{path.name}")


def _read_tabs(
    text: TextFile, context: ReaderContext, columns: tuple[Column, ...], *, unique: tuple[str, ...]
) -> ValidatedRows:
    """A hetrec file, whose header line may be missing."""
    has_header = text.first_line().startswith(columns[0].name) or text.first_line().startswith("id\t")
    names = list(dict.fromkeys(column.name for column in columns))
    return check_rows(context, plain_records(text, "\t", names, skip=int(has_header)), columns, unique=unique)

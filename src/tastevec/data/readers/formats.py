"""File formats: MovieLens releases of every age, RecBole atomic files, tag files, CSV and Parquet tables."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tastevec.data.download import MAX_EXPANSION, excessive_unpacked_size
from tastevec.data.readers.columns import (
    ANY_ID,
    ANY_TIME,
    INT_ID,
    TAG_TEXT,
    TEXT,
    TEXT_ID,
    UNIX_SECONDS,
    WEIGHT_NUMBER,
    YEAR_NUMBER,
    YEAR_TOKEN,
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
from tastevec.data.readers.validate import ReaderContext, ValidatedRows, validate_rows
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
]


def read_atomic_interactions(
    path: Path, context: ReaderContext, rating_range: tuple[float, float]
) -> ValidatedRows:
    """Read the ``.inter`` file: one row per user and item.

    Raises:
        SourceError: The file is empty or lacks a column.
        BadRowError: A row is invalid and invalid rows are not skipped.
    """
    types = {USER_ID: ANY_ID, ITEM_ID: ANY_ID, RATING: rating_within(*rating_range), TIMESTAMP: ANY_TIME}
    return _read_recbole(path, context, types, optional=(TIMESTAMP,), unique=(USER_ID, ITEM_ID))


def read_atomic_items(path: Path, context: ReaderContext) -> ValidatedRows:
    """Read the ``.item`` file: item ID and title, year and genres if it has them.

    Raises:
        SourceError: The file is empty or lacks a column.
        BadRowError: A row is invalid and invalid rows are not skipped.
    """
    types = {ITEM_ID: ANY_ID, TITLE: TEXT, YEAR: YEAR_TOKEN, GENRES: genre_list(" ")}
    return _read_recbole(path, context, types, optional=(YEAR, GENRES), unique=(ITEM_ID,))


def _read_recbole(
    path: Path,
    context: ReaderContext,
    types: dict[str, ColumnType],
    *,
    optional: tuple[str, ...],
    unique: tuple[str, ...],
) -> ValidatedRows:
    text = open_text(path, context.scratch)
    names = [
        name.partition(":")[0] for name in text.first_line().split("\t")
    ]  # without their types, as in 'rating:float'
    columns = match_columns(text.name, names, types, optional)
    return validate_rows(context, plain_records(text, "\t", names, skip=1), columns, unique=unique)


_PARQUET = (".parquet", ".pq")
_INT_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
# 1.0 is no ID: pandas turns integers into floats where one is missing, and they must not become texts.
_FLOAT_TYPES = ("FLOAT", "DOUBLE")
_ID_TYPES = dict.fromkeys(_INT_TYPES + _FLOAT_TYPES, INT_ID)


@dataclass(frozen=True)
class _Table:
    """A table: its rows as text, and the column types of the IDs in a Parquet file."""

    records: Records
    id_types: dict[str, ColumnType]


def read_interaction_table(
    path: Path, context: ReaderContext, rating_range: tuple[float, float], *, name: str | None = None
) -> ValidatedRows:
    """Read a table of interactions: one row per user and item.

    Timestamps are Unix seconds or ISO 8601 dates (UTC without an offset), truncated to seconds; a missing one is NULL.

    Args:
        path: The table.
        context: Where the rows are validated.
        rating_range: The lowest and the highest rating.
        name: The file's name in messages; by default its own.

    Raises:
        SourceError: The table cannot be read, is empty or lacks a column.
        BadRowError: A row is invalid and invalid rows are not skipped.
    """
    types = {USER_ID: ANY_ID, ITEM_ID: ANY_ID, RATING: rating_within(*rating_range), TIMESTAMP: ANY_TIME}
    return _read_table_rows(
        _open_table(path, context, name), context, types, optional=(TIMESTAMP,), unique=(USER_ID, ITEM_ID)
    )


def read_item_table(path: Path, context: ReaderContext) -> ValidatedRows:
    """Read a table of items: item ID and title, year and genres (separated by ``|``) if the table has them.

    Raises:
        SourceError: The table cannot be read, is empty or lacks a column.
        BadRowError: A row is invalid and invalid rows are not skipped.
    """
    types = {ITEM_ID: ANY_ID, TITLE: TEXT, YEAR: YEAR_NUMBER, GENRES: genre_list("|")}
    return _read_table_rows(
        _open_table(path, context), context, types, optional=(YEAR, GENRES), unique=(ITEM_ID,)
    )


def _read_table_rows(
    table: _Table,
    context: ReaderContext,
    types: dict[str, ColumnType],
    *,
    optional: tuple[str, ...],
    unique: tuple[str, ...],
) -> ValidatedRows:
    columns = [
        replace(column, type=table.id_types.get(column.name, ANY_ID)) if column.type is ANY_ID else column
        for column in match_columns(table.records.file, table.records.names, types, optional)
    ]
    return validate_rows(context, table.records, columns, unique=unique)


def _open_table(path: Path, context: ReaderContext, name: str | None = None) -> _Table:
    if path.suffix in _PARQUET:
        return _open_parquet(path, context)
    text = open_text(path, context.scratch, name=name)
    separator, names = split_header(text.first_line())
    return _Table(quoted_records(text, separator, names, context.connection), {})


def _open_parquet(path: Path, context: ReaderContext) -> _Table:
    """Open a Parquet file, in which integer IDs stay integers and text IDs stay texts."""
    import duckdb  # noqa: PLC0415 -- importing the readers stays cheap

    try:
        described = context.run(f"DESCRIBE FROM read_parquet({sql_path(path)}, hive_partitioning = false)")
    except duckdb.Error as error:
        raise SourceError(
            f"{path}: not readable as Parquet ({str(error).splitlines()[0][:200]}). Expected a table. Check the path, or export the file again."
        ) from error
    types = {row[0]: row[1] for row in described}
    id_types = {name: _ID_TYPES.get(type_name, TEXT_ID) for name, type_name in types.items()}
    texts = [_as_text(name, type_name) for name, type_name in types.items()]
    integers = frozenset(index for index, type_name in enumerate(types.values()) if type_name in _INT_TYPES)
    return _Table(parquet_records(path, list(types), texts, integers), id_types)


def _as_text(name: str, type_name: str) -> str:
    column = '"' + name.replace('"', '""') + '"'
    return f"array_to_string({column}, '|')" if type_name == "VARCHAR[]" else f"CAST({column} AS VARCHAR)"


TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".pq")
GENOME_FILES = ("genome-scores.csv", "genome-tags.csv")
_NEEDED = (
    *("u.data", "u.item", "u.genre"),
    *("ratings.dat", "movies.dat", "tags.dat"),
    *("ratings.csv", "movies.csv", "tags.csv"),
    *GENOME_FILES,
)
_NEEDED_ENDINGS = (".inter", ".item")
_EXPECTED = "Expected u.data (ml-100k), ratings.dat (ml-1m, ml-10m), ratings.csv (ml-20m and later) or one NAME.inter (RecBole)"


@dataclass(frozen=True)
class SourceLayout:
    """A recognized source.

    Attributes:
        interactions: The file of the interactions.
        name: The name of the source.
        format: The format of its files.
    """

    interactions: Path
    name: str
    format: str

    def file(self, name: str) -> Path | None:
        """Return the file of this name next to the interactions, if there is one."""
        path = self.interactions.with_name(name)
        return path if path.is_file() else None


def find_layout(path: Path, scratch: Path) -> SourceLayout:
    """Return the layout of the source at ``path``: a release (folder or zip), a RecBole file, or a table.

    Args:
        path: The source.
        scratch: A folder into which a zip is unpacked.

    Raises:
        SourceError: The path does not exist, or its format is unknown.
    """
    if not path.exists():
        raise SourceError(
            f"{path}: not found. Expected a release or a table. Download one: tastevec fetch ml-100k"
        )
    if path.suffix in TABLE_ENDINGS and path.is_file():
        return SourceLayout(path, path.stem, "table")
    if path.suffix == ".inter":
        return SourceLayout(path, path.stem, "recbole")
    folder = path if path.is_dir() else _unpack(path, scratch)
    names = sorted(entry.name for entry in folder.iterdir())
    found = _recognize(names)
    if found is None:
        raise SourceError(
            f"{path}: contains {', '.join(names[:8]) or 'no file of a release'}. {_EXPECTED}. Name a release (folder or zip) or a table."
        )
    format_name, main = found
    name = path.resolve().name if path.is_dir() else path.stem
    return SourceLayout(folder / main, Path(main).stem if format_name == "recbole" else name, format_name)


def _recognize(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the format of a folder with these files, and the file of its interactions."""
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
    """Unpack the files of the topmost release in the zip into a new folder, without its folders."""
    target = scratch / "unpacked"
    target.mkdir()
    try:
        with zipfile.ZipFile(path) as archive:
            members = _release_members(archive)
            _refuse_bomb(path, [archive.getinfo(member) for member in members])
            for member in members:
                # The name within the archive is untrusted: only its last part is used.
                with archive.open(member) as packed, (target / PurePosixPath(member).name).open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise SourceError(
            f"{path}: not a complete zip ({error}). Expected a release (folder or zip) or a table ({', '.join(TABLE_ENDINGS)}). Fetch or export the file again."
        ) from error
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be unpacked ({error}). Expected a zip and space for its files. Free space, then run again."
        ) from error
    return target


def _refuse_bomb(path: Path, members: list[zipfile.ZipInfo]) -> None:
    packed = path.stat().st_size
    if declared := excessive_unpacked_size(members, packed):
        raise SourceError(
            f"{path}: {packed:,} bytes would unpack into {declared:,}. Expected at most {MAX_EXPANSION} times as many. "
            "If you trust the file, unpack it and name the folder."
        )


def _release_members(archive: zipfile.ZipFile) -> list[str]:
    """Return the members to unpack: those of the topmost folder with a recognized release."""
    by_folder: dict[PurePosixPath, list[str]] = {}
    for member in archive.namelist():
        inner = PurePosixPath(member)
        if not member.endswith("/") and (inner.name in _NEEDED or inner.suffix in _NEEDED_ENDINGS):
            by_folder.setdefault(inner.parent, []).append(member)
    for folder in sorted(by_folder, key=lambda folder: (len(folder.parts), str(folder))):
        if _recognize(PurePosixPath(member).name for member in by_folder[folder]):
            return by_folder[folder]
    return []


_ITEM_FILES = {
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
    layout: SourceLayout, context: ReaderContext, rating_range: tuple[float, float]
) -> ValidatedRows:
    """Read the ratings of a MovieLens release: one row per user and item.

    Raises:
        SourceError: The file is empty or its header is wrong.
        BadRowError: A row is invalid and invalid rows are not skipped.
    """
    types = {USER_ID: INT_ID, ITEM_ID: INT_ID, RATING: rating_within(*rating_range), TIMESTAMP: UNIX_SECONDS}
    text, unique = open_text(layout.interactions, context.scratch), (USER_ID, ITEM_ID)
    if layout.format == "movielens-csv":
        return _read_table(text, context, types, unique=unique)
    return _read_lines(text, "\t" if layout.format == "ml-100k" else "::", context, types, unique=unique)


def read_movielens_items(layout: SourceLayout, context: ReaderContext) -> ValidatedRows:
    """Read the items of a MovieLens release: item ID, title and genres.

    Raises:
        SourceError: The file is missing or empty, or its header is wrong.
        BadRowError: A row is invalid and invalid rows are not skipped.
    """
    name = _ITEM_FILES[layout.format]
    path = layout.file(name)
    if path is None:
        raise SourceError(
            f"{layout.interactions.parent}: no {name}. Expected the items of {layout.format}. Fetch the release again, or name a table with --items."
        )
    types = {ITEM_ID: INT_ID, TITLE: TEXT, GENRES: genre_list("|")}
    text = open_text(path, context.scratch, latin=layout.format in {"ml-100k", "ml-1m"})
    if layout.format == "ml-100k":
        return _read_flagged(text, _genres_of(layout, context), context)
    if layout.format == "movielens-csv":
        return _read_table(text, context, types, unique=(ITEM_ID,))
    return _read_lines(text, "::", context, types, unique=(ITEM_ID,))


def read_own_tags(layout: SourceLayout, context: ReaderContext) -> ValidatedRows | None:
    """Read the tags that users of the release gave, if it has any.

    Raises:
        SourceError: The file is empty or its header is wrong.
        BadRowError: A row is invalid and invalid rows are not skipped.
    """
    if layout.format == "movielens-csv" and (path := layout.file("tags.csv")):
        return _read_tag_table(open_text(path, context.scratch), context, INT_ID)
    if layout.format == "ml-10m" and (path := layout.file("tags.dat")):
        return _read_tag_lines(open_text(path, context.scratch), context, INT_ID)
    return None


def _read_tag_table(text: TextFile, context: ReaderContext, item_type: ColumnType) -> ValidatedRows:
    """Read a ``tags.csv``: user, item, tag and timestamp.

    Raises:
        SourceError: The header is wrong.
        BadRowError: A row is invalid and invalid rows are not skipped.
    """
    return _read_table(text, context, _tag_types(item_type))


def _read_tag_lines(text: TextFile, context: ReaderContext, item_type: ColumnType) -> ValidatedRows:
    """Read a ``tags.dat`` of ml-10m: the same columns separated by ``::``, without a header.

    Raises:
        BadRowError: A row is invalid and invalid rows are not skipped.
    """
    return _read_lines(text, "::", context, _tag_types(item_type))


def _tag_types(item_type: ColumnType) -> dict[str, ColumnType]:
    return {USER_ID: INT_ID, ITEM_ID: item_type, TAG: TAG_TEXT, TIMESTAMP: UNIX_SECONDS}


def _read_table(
    text: TextFile, context: ReaderContext, types: dict[str, ColumnType], *, unique: tuple[str, ...] = ()
) -> ValidatedRows:
    separator, names = split_header(text.first_line())
    columns = match_columns(text.name, names, types)
    return validate_rows(
        context, quoted_records(text, separator, names, context.connection), columns, unique=unique
    )


def _read_lines(
    text: TextFile,
    separator: str,
    context: ReaderContext,
    types: dict[str, ColumnType],
    *,
    unique: tuple[str, ...] = (),
) -> ValidatedRows:
    """Read a file without a header whose columns are in the order of ``types``."""
    columns = [Column(role, role, f"fields[{number}]", types[role]) for number, role in enumerate(types, 1)]
    return validate_rows(context, plain_records(text, separator, tuple(types)), columns, unique=unique)


def _read_flagged(text: TextFile, genres: tuple[str, ...], context: ReaderContext) -> ValidatedRows:
    """Read the ``u.item`` of ml-100k, where each genre is a column of 0 and 1."""
    flags = f"array_to_string(fields[{len(_BEFORE_FLAGS) + 1}:], '|')"
    columns = (
        Column(ITEM_ID, _BEFORE_FLAGS[0], "fields[1]", INT_ID),
        Column(TITLE, _BEFORE_FLAGS[1], "fields[2]", TEXT),
        Column(GENRES, "genres", flags, genre_flags(genres)),
    )
    return validate_rows(
        context, plain_records(text, "|", (*_BEFORE_FLAGS, *genres)), columns, unique=(ITEM_ID,)
    )


def _genres_of(layout: SourceLayout, context: ReaderContext) -> tuple[str, ...]:
    """Return the names in ``u.genre`` in the order of the flags, or those of the release where it is missing."""
    path = layout.file("u.genre")
    if path is None:
        return _FLAGS
    lines = open_text(path, context.scratch).path.read_text(encoding="utf-8-sig").split("\n")
    names = tuple(line.rpartition("|")[0] for line in lines if line)
    if not all(names) or len(set(names)) != len(names):
        raise SourceError(
            "u.genre: not one genre per line. Expected lines such as 'Action|1', each once. Download it again: tastevec fetch ml-100k"
        )
    return names


def read_tag_file(path: Path, context: ReaderContext, *, int_ids: bool) -> list[ValidatedRows]:
    """Read a file of tags, and the file that it refers to.

    Args:
        path: ``tags.csv``, ``tags.dat`` of ml-10m, or ``movie_tags.dat`` of hetrec.
        context: Where the rows are validated.
        int_ids: Whether the item IDs are integers.

    Returns:
        The rows of each file; those of the item tags first.

    Raises:
        SourceError: A file is missing or empty, or its header is wrong.
        BadRowError: A row is invalid and invalid rows are not skipped.
    """
    item_type = INT_ID if int_ids else TEXT_ID
    if path.name == "movie_tags.dat":
        return _read_weights(path, context, item_type)
    text = _open_tags(path, context)
    read = _read_tag_lines if "::" in text.first_line() else _read_tag_table
    return [read(text, context, item_type)]


def _read_weights(path: Path, context: ReaderContext, item_type: ColumnType) -> list[ValidatedRows]:
    """Read ``movie_tags.dat`` (item, number of a tag, weight) with the texts of ``tags.dat``."""
    texts = path.with_name("tags.dat")
    if not texts.is_file():
        raise SourceError(
            f"{texts}: not found. Expected the texts of the tags in {path.name}. Copy the file there."
        )
    columns = (Column("tag_id", "tagID", "fields[1]", INT_ID), Column(TAG, "tagValue", "fields[2]", TAG_TEXT))
    known = _read_tabs(_open_tags(texts, context, latin=True), context, columns, unique=("tag_id",))
    weights = (
        Column(ITEM_ID, "movieID", "fields[1]", item_type),
        Column("tag_id", "tagID", "fields[2]", INT_ID),
        Column(TAG, "tagID", "fields[2]", known_tag(known.table)),
        Column(WEIGHT, "tagWeight", "fields[3]", WEIGHT_NUMBER),
    )
    return [_read_tabs(_open_tags(path, context), context, weights, unique=(ITEM_ID, "tag_id")), known]


def _open_tags(path: Path, context: ReaderContext, *, latin: bool = False) -> TextFile:
    """Open the file under the names of its folder and its own, since many are called tags.csv."""
    return open_text(path, context.scratch, latin=latin, name=f"{path.resolve().parent.name}/{path.name}")


def _read_tabs(
    text: TextFile, context: ReaderContext, columns: tuple[Column, ...], *, unique: tuple[str, ...]
) -> ValidatedRows:
    """Read a file of hetrec, which may lack its header."""
    has_header = text.first_line().startswith(columns[0].name) or text.first_line().startswith("id\t")
    names = list(dict.fromkeys(column.name for column in columns))
    return validate_rows(
        context, plain_records(text, "\t", names, skip=int(has_header)), columns, unique=unique
    )

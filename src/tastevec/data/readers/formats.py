"""File formats: MovieLens releases of every age, RecBole atomic files, tag files, CSV and Parquet tables.

Every reader returns the validated rows of one file. It raises a `SourceError` for a file that is missing, empty or
damaged and for a wrong header, and a `BadRowError` for an invalid row that is not skipped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tastevec.data.download import unpack_entries
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
    import zipfile
    from collections.abc import Iterable, Mapping

    from tastevec.data.readers.text import TextFile

PARQUET = (".parquet", ".pq")
TABLE_ENDINGS = (".csv", ".tsv", ".txt", *PARQUET)
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
    """A recognized source: the file of its interactions, its name, and the format of its files."""

    interactions: Path
    name: str
    format: str

    def file(self, name: str) -> Path | None:
        """Return the file of this name next to the interactions, if there is one."""
        path = self.interactions.with_name(name)
        return path if path.is_file() else None


def find_layout(path: Path, scratch: Path) -> SourceLayout:
    """Return the layout of the source at ``path``: a release (folder or zip), a RecBole file, or a table.

    A zip is unpacked into ``scratch``.

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

    def fail(details: str) -> SourceError:
        return SourceError(
            f"{path}: {details}. Expected a release (folder or zip) or a table ({', '.join(TABLE_ENDINGS)}). "
            "Fetch or export the file again, or unpack it and name the folder."
        )

    try:
        unpack_entries(path, target, _release_entries, fail)
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be unpacked ({error}). Expected a zip and space for its files. Free space, then run again."
        ) from error
    return target


def _release_entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the entries of the topmost folder with a recognized release, by file name: their paths are untrusted."""
    by_folder: dict[PurePosixPath, list[str]] = {}
    for member in archive.namelist():
        inner = PurePosixPath(member)
        if not member.endswith("/") and (inner.name in _NEEDED or inner.suffix in _NEEDED_ENDINGS):
            by_folder.setdefault(inner.parent, []).append(member)
    for folder in sorted(by_folder, key=lambda folder: (len(folder.parts), str(folder))):
        if _recognize(PurePosixPath(member).name for member in by_folder[folder]):
            return {PurePosixPath(member).name: archive.getinfo(member) for member in by_folder[folder]}
    return {}


# Of releases without a header.
SEPARATORS = {"ml-100k": "\t", "ml-1m": "::", "ml-10m": "::"}
_ITEM_FILES = {
    "ml-100k": "u.item",
    "ml-1m": "movies.dat",
    "ml-10m": "movies.dat",
    "movielens-csv": "movies.csv",
}
_TAG_FILES = {"ml-10m": "tags.dat", "movielens-csv": "tags.csv"}
_BEFORE_FLAGS = ("movie id", "movie title", "release date", "video release date", "IMDb URL")
_FLAGS = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip


def read_ratings(
    layout: SourceLayout, context: ReaderContext, rating_range: tuple[float, float]
) -> ValidatedRows:
    """Read the ratings of a source: one row per user and item."""
    path, unique = layout.interactions, (USER_ID, ITEM_ID)
    if layout.format == "table":
        return read_interaction_table(path, context, rating_range)
    types = interaction_types(layout.format, rating_range)
    if layout.format == "recbole":
        return _read_headed(_atomic_records(path, context), context, types, (TIMESTAMP,), unique)
    return _read_movielens(open_text(path, context.scratch), layout.format, context, types, unique)


def interaction_types(format_name: str, rating_range: tuple[float, float]) -> dict[str, ColumnType]:
    """Return the column types of interactions, by role: MovieLens has integers, other sources any IDs and times."""
    is_open = format_name in {"table", "recbole"}
    ids, timestamps = (ANY_ID, ANY_TIME) if is_open else (INT_ID, UNIX_SECONDS)
    return {USER_ID: ids, ITEM_ID: ids, RATING: rating_within(*rating_range), TIMESTAMP: timestamps}


def read_items_of(layout: SourceLayout, context: ReaderContext) -> ValidatedRows | None:
    """Read the source's own item metadata, if it has any: item ID, title, genres and perhaps year."""
    if layout.format == "table":
        return None
    if layout.format == "recbole":
        path = layout.file(f"{layout.interactions.stem}.item")
        types = {ITEM_ID: ANY_ID, TITLE: TEXT, YEAR: YEAR_TOKEN, GENRES: genre_list(" ")}
        if path is None:
            return None
        return _read_headed(_atomic_records(path, context), context, types, (YEAR, GENRES), (ITEM_ID,))
    name = _ITEM_FILES[layout.format]
    if (path := layout.file(name)) is None:
        raise SourceError(
            f"{layout.interactions.parent}: no {name}. Expected the items of {layout.format}. Fetch the release again, or name a table with --items."
        )
    text = open_text(path, context.scratch, latin=layout.format in {"ml-100k", "ml-1m"})
    if layout.format == "ml-100k":
        return _read_flagged(text, _genre_names(layout, context), context)
    types = {ITEM_ID: INT_ID, TITLE: TEXT, GENRES: genre_list("|")}
    return _read_movielens(text, layout.format, context, types, (ITEM_ID,))


def read_interaction_table(
    path: Path, context: ReaderContext, rating_range: tuple[float, float], *, name: str | None = None
) -> ValidatedRows:
    """Read a table of interactions: one row per user and item.

    Timestamps are Unix seconds or ISO 8601 dates (UTC without an offset), truncated to seconds; a missing one is NULL.
    ``name`` is the file's name in messages, by default its own.
    """
    types = interaction_types("table", rating_range)
    return _read_headed(_table_records(path, context, name), context, types, (TIMESTAMP,), (USER_ID, ITEM_ID))


def read_item_table(path: Path, context: ReaderContext) -> ValidatedRows:
    """Read a table of items: item ID and title, year and genres (separated by ``|``) if the table has them."""
    types = {ITEM_ID: ANY_ID, TITLE: TEXT, YEAR: YEAR_NUMBER, GENRES: genre_list("|")}
    return _read_headed(_table_records(path, context), context, types, (YEAR, GENRES), (ITEM_ID,))


def _read_headed(
    records: Records,
    context: ReaderContext,
    types: Mapping[str, ColumnType],
    optional: tuple[str, ...] = (),
    unique: tuple[str, ...] = (),
) -> ValidatedRows:
    """Read a file with a header."""
    columns = [
        replace(column, type=records.id_types.get(column.name, ANY_ID)) if column.type is ANY_ID else column
        for column in match_columns(records.file, records.names, types, optional)
    ]
    return validate_rows(context, records, columns, unique=unique)


def _atomic_records(path: Path, context: ReaderContext) -> Records:
    """Return the rows of a RecBole file; the type in a name such as ``rating:float`` is dropped."""
    text = open_text(path, context.scratch)
    names = [name.partition(":")[0] for name in text.first_line().split("\t")]
    return plain_records(text, "\t", names, skip=1)


def _table_records(path: Path, context: ReaderContext, name: str | None = None) -> Records:
    """Return the rows of a CSV, TSV or Parquet table."""
    if path.suffix in PARQUET:
        return _parquet_records(path, context)
    text = open_text(path, context.scratch, name=name)
    separator, names = split_header(text.first_line())
    return quoted_records(text, separator, names, context.connection)


_INT_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
# 1.0 is no ID: pandas turns integers into floats where one is missing, and they must not become texts.
_FLOAT_TYPES = ("FLOAT", "DOUBLE")
_ID_TYPES = dict.fromkeys(_INT_TYPES + _FLOAT_TYPES, INT_ID)


def _parquet_records(path: Path, context: ReaderContext) -> Records:
    """Return the rows of a Parquet file, in which integer IDs stay integers and text IDs stay texts."""
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
    return parquet_records(path, id_types, texts, integers)


def _as_text(name: str, type_name: str) -> str:
    column = '"' + name.replace('"', '""') + '"'
    return f"array_to_string({column}, '|')" if type_name == "VARCHAR[]" else f"CAST({column} AS VARCHAR)"


def _read_movielens(
    text: TextFile,
    format_name: str,
    context: ReaderContext,
    types: dict[str, ColumnType],
    unique: tuple[str, ...] = (),
) -> ValidatedRows:
    """Read a CSV with a header, or a file without one whose columns are in the order of ``types``."""
    if format_name == "movielens-csv":
        separator, names = split_header(text.first_line())
        records = quoted_records(text, separator, names, context.connection)
        return _read_headed(records, context, types, unique=unique)
    records = plain_records(text, SEPARATORS[format_name], tuple(types))
    return validate_rows(context, records, columns_in_order(types), unique=unique)


def columns_in_order(types: Mapping[str, ColumnType]) -> list[Column]:
    """Return the columns of a file without a header, in the order of ``types``."""
    return [Column(role, role, f"fields[{number}]", types[role]) for number, role in enumerate(types, 1)]


def _read_flagged(text: TextFile, genres: tuple[str, ...], context: ReaderContext) -> ValidatedRows:
    """Read the ``u.item`` of ml-100k, where each genre is a column of 0 and 1."""
    flags = f"array_to_string(fields[{len(_BEFORE_FLAGS) + 1}:], '|')"
    columns = (
        Column(ITEM_ID, _BEFORE_FLAGS[0], "fields[1]", INT_ID),
        Column(TITLE, _BEFORE_FLAGS[1], "fields[2]", TEXT),
        Column(GENRES, "genres", flags, genre_flags(genres)),
    )
    records = plain_records(text, "|", (*_BEFORE_FLAGS, *genres))
    return validate_rows(context, records, columns, unique=(ITEM_ID,))


def _genre_names(layout: SourceLayout, context: ReaderContext) -> tuple[str, ...]:
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


def read_own_tags(layout: SourceLayout, context: ReaderContext) -> ValidatedRows | None:
    """Read the tags that users of a MovieLens release gave, if it has any."""
    name = _TAG_FILES.get(layout.format)
    path = layout.file(name) if name else None
    return _read_tags(open_text(path, context.scratch), layout.format, context, INT_ID) if path else None


def _read_tags(
    text: TextFile, format_name: str, context: ReaderContext, item_type: ColumnType
) -> ValidatedRows:
    """Read user, item, tag and timestamp of a ``tags.csv`` with a header or of ml-10m's ``tags.dat`` without."""
    types = {USER_ID: INT_ID, ITEM_ID: item_type, TAG: TAG_TEXT, TIMESTAMP: UNIX_SECONDS}
    return _read_movielens(text, format_name, context, types)


def read_tag_file(path: Path, context: ReaderContext, *, int_ids: bool) -> list[ValidatedRows]:
    """Return the rows of a file of tags of another release, then those of the file that it refers to.

    ``path`` is a ``tags.csv``, the ``tags.dat`` of ml-10m, or the ``movie_tags.dat`` of hetrec.
    """
    item_type = INT_ID if int_ids else TEXT_ID
    if path.name == "movie_tags.dat":
        return _read_weights(path, context, item_type)
    text = _open_tags(path, context)
    format_name = "ml-10m" if "::" in text.first_line() else "movielens-csv"
    return [_read_tags(text, format_name, context, item_type)]


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
    has_header = text.first_line().startswith((columns[0].name, "id\t"))
    names = list(dict.fromkeys(column.name for column in columns))
    records = plain_records(text, "\t", names, skip=int(has_header))
    return validate_rows(context, records, columns, unique=unique)

"""Reading of a source on Spark into the same tables as on DuckDB."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import ibis

from tastevec.data.readers import Source, item_table, items_of, rating_range_of, reader_context, tag_table
from tastevec.data.readers import columns as kinds
from tastevec.data.readers.columns import Column, match_columns, split_header
from tastevec.data.readers.formats import (
    GENOME_FILES,
    SourceLayout,
    find_layout,
    read_item_table,
    read_own_tags,
    read_tag_file,
)
from tastevec.data.spark.session import address_of, is_address, plain_spark_errors, reader
from tastevec.data.spark.validate import (
    RawRows,
    SparkRows,
    first_line,
    on_spark,
    parquet,
    parquet_rows,
    rating_within,
    text_rows,
    validate_rows,
)
from tastevec.errors import SourceError
from tastevec.schema import ITEM_ID, POSITION, RATING, TIMESTAMP, USER_ID

if TYPE_CHECKING:
    import pyarrow as pa
    from ibis.backends.duckdb import Backend
    from pyspark.sql import DataFrame

    from tastevec.data.readers import ReadSettings
    from tastevec.data.readers.columns import ColumnType
    from tastevec.data.readers.validate import ReaderContext, ValidatedRows
    from tastevec.data.spark.session import Entry, SparkEngine
    from tastevec.data.spark.validate import Layout

__all__ = ["PARQUET", "SparkSource", "find_source", "read_source"]

PARQUET: Final = (".parquet", ".pq")
_TABLES: Final = (".csv", ".tsv", ".txt")
_INTERACTIONS: Final = ("u.data", "ratings.dat", "ratings.csv")
_BESIDE: Final = ("u.item", "u.genre", "movies.dat", "movies.csv", "tags.dat", "tags.csv", *GENOME_FILES)


@dataclass(frozen=True)
class SparkSource:
    """A source that was recognised.

    Attributes:
        address: Of the interactions, for Spark.
        place: The release as this process sees it: what lies beside the interactions is here, they themselves may not be.
        is_parquet: Whether they are a Parquet file or a folder of such.
    """

    address: str
    place: SourceLayout
    is_parquet: bool


def find_source(source: Path | str, engine: SparkEngine) -> SparkSource:
    """What is at ``source``, a path of this machine that the workers see too, or an address.

    Of a release at an address everything but its interactions is copied here: films, tags, genome.

    Raises:
        SourceError: Nothing is there, or nothing that we know.
    """
    if is_address(source):
        return _at_address(str(source).rstrip("/"), engine)
    path = Path(source)
    if path.is_dir() and _holds_parts(path.name, [entry.name for entry in path.iterdir()]):
        return SparkSource(address_of(path), SourceLayout(path, path.stem, "table"), is_parquet=True)
    place = find_layout(path, engine.local)
    return SparkSource(address_of(place.interactions), place, is_parquet=place.interactions.suffix in PARQUET)


def _at_address(address: str, engine: SparkEngine) -> SparkSource:
    name = PurePosixPath(address.partition("://")[2]).name
    with plain_spark_errors("looking at the source", source=address):
        is_folder = engine.storage.is_folder(address)
        entries = engine.storage.entries(address) if is_folder else []
    names = [entry.name for entry in entries]
    suffix = PurePosixPath(name).suffix
    if _holds_parts(name, names) if is_folder else suffix in PARQUET + _TABLES:
        place = SourceLayout(Path(name), PurePosixPath(name).stem, "table")
        return SparkSource(address, place, is_parquet=is_folder or suffix in PARQUET)
    if not is_folder:
        raise SourceError(
            f"{address} is no table that Spark can be given; expected a release's folder, a name ending in "
            f"{', '.join(_TABLES + PARQUET)}, or a folder of Parquet files; unpack a zip first"
        )
    place = find_layout(_copied(entries, name, engine), engine.local)
    return SparkSource(f"{address}/{place.interactions.name}", place, is_parquet=False)


def _holds_parts(name: str, names: list[str]) -> bool:
    return name.endswith(PARQUET) or any(name.endswith(PARQUET) for name in names)


def _copied(entries: list[Entry], name: str, engine: SparkEngine) -> Path:
    """A folder of this machine with what lies beside the interactions, and an empty file in their place."""
    folder = engine.local / "release" / name
    folder.mkdir(parents=True)
    with plain_spark_errors("fetching what lies beside the interactions"):
        for entry in entries:
            if entry.name in _BESIDE or entry.name.endswith(".item"):
                engine.storage.fetch(entry.address, folder / entry.name)
            elif entry.name in _INTERACTIONS or entry.name.endswith(".inter"):
                (folder / entry.name).touch()
    return folder


# ruff: noqa: S608 -- each query is built from our own words only


_SEPARATORS: Final = {"ml-100k": "\t", "ml-1m": "::", "ml-10m": "::"}  # of releases without a header
_NUMBERS: Final = (
    "tinyint",
    "smallint",
    "int",
    "bigint",
    "decimal(20,0)",
    "float",
    "double",
)  # as the readers have them
_AFTER_ALL: Final = 1 << 62  # the place of what was only tagged


def read_source(
    source: Path | str, *, engine: SparkEngine, connection: Backend, settings: ReadSettings
) -> Source:
    """What ``readers.read_source`` gives, with the interactions as a table of Spark.

    Args:
        source: A release (folder or zip) or a table on a disk that the workers see too, a folder of Parquet files, or
            the address of a release's folder or of a table.
        engine: Reads the interactions.
        connection: Ibis on DuckDB, which reads what lies beside them.
        settings: Ranges, tags and items from elsewhere, and what happens to bad rows.

    Raises:
        SourceError: Nothing is there, nothing that we know, or a file is empty or has a wrong header.
        BadRowError: A row is wrong and ``skip_bad_rows`` is off.
        SettingsError: Spark fails.
    """
    found = find_source(source, engine)
    place = found.place
    rating_range = settings.rating_range or rating_range_of(place)
    with reader_context(connection, settings) as context:
        with plain_spark_errors("reading the interactions", source=str(source)):
            rows, columns = _open(found, engine, rating_range)
            ratings = validate_rows(engine, rows, columns, skip_bad_rows=settings.skip_bad_rows)
        items = read_item_table(settings.items, context) if settings.items else items_of(place, context)
        own = read_own_tags(place, context)
        types = _id_type(ratings, columns, USER_ID), _id_type(ratings, columns, ITEM_ID)
        if items is not None and not items.has_int_ids(context, ITEM_ID):
            types = types[0], "string"
        borrowed = [read_tag_file(file, context, int_ids=types[1] == "int64") for file in settings.tags]
        checked = [items, own, *(table for tables in borrowed for table in tables)]
        genome = place.file(GENOME_FILES[0])
        return Source(
            name=place.name,
            format=place.format,
            rating_range=rating_range,
            interactions=_interactions(engine, ratings, types, _tagged(own, context)),
            items=ibis.memtable(connection.to_pyarrow(item_table(context, items, types[1]))),
            tags=tag_table(context, own, [tables[0] for tables in borrowed], types),
            genome_folder=genome and genome.parent,
            row_reports=(ratings.row_report, *(table.row_report for table in checked if table is not None)),
        )


def _open(
    found: SparkSource, engine: SparkEngine, rating_range: tuple[float, float]
) -> tuple[RawRows, list[Column]]:
    """The rows of the interactions as text, and what shall be taken out of them."""
    layout, file = found.place.format, found.address.rpartition("/")[2]
    is_open = layout in {"table", "recbole"}
    ids, times = (kinds.OPEN_ID, kinds.TIME) if is_open else (kinds.WHOLE_ID, kinds.SECONDS)
    asked = {
        USER_ID: on_spark(ids),
        ITEM_ID: on_spark(ids),
        RATING: rating_within(*rating_range),
        TIMESTAMP: on_spark(times),
    }
    optional = (TIMESTAMP,) if is_open else ()
    if found.is_parquet:
        return _open_parquet(found.address, file, engine, asked)
    if layout in _SEPARATORS:
        columns = [
            Column(role, role, f"fields[{place}]", kind)
            for place, (role, kind) in enumerate(asked.items(), 1)
        ]
        rows = text_rows(engine.session, found.address, _SEPARATORS[layout], tuple(asked), "plain")
        return rows, columns
    header = first_line(engine.session, found.address)
    if header is None:
        raise SourceError(
            f"{file} is empty (0 bytes); expected rows of text; fetch or export it again, then rerun"
        )
    separator, names = split_header(header)
    if layout == "recbole":
        separator, names = "\t", [name.partition(":")[0] for name in header.split("\t")]
    columns = match_columns(file, names, asked, optional)
    quotes: Layout = "headed" if layout == "recbole" else "quoted"
    return text_rows(engine.session, found.address, separator, names, quotes), columns


def _open_parquet(
    address: str, file: str, engine: SparkEngine, asked: dict[str, ColumnType]
) -> tuple[RawRows, list[Column]]:
    """A Parquet table knows the types of its ids: whole numbers are whole numbers, and texts stay texts."""
    types = parquet(engine.session, address).dtypes
    columns: list[Column] = []
    names: list[str] = []  # of many columns only these are read
    for column in match_columns(file, [name for name, _ in types], asked, (TIMESTAMP,)):
        name, type_name = types[column.place or 0]
        names.append(name)
        kind = _id_kind(type_name) if column.kind is on_spark(kinds.OPEN_ID) else column.kind
        columns.append(replace(column, text=f"fields[{len(names)}]", kind=kind))
    return parquet_rows(engine.session, address, names), columns


def _id_kind(type_name: str) -> ColumnType:
    return on_spark(kinds.WHOLE_ID if type_name in _NUMBERS else kinds.TEXT_ID)


def _id_type(ratings: SparkRows, columns: list[Column], role: str) -> str:
    """``int64`` or ``string``, as ``readers.assembly.id_type`` decides it."""
    kind = next(column.kind for column in columns if column.role == role)
    whole = ratings.whole[role] if kind is on_spark(kinds.OPEN_ID) else kind is on_spark(kinds.WHOLE_ID)
    return "int64" if whole else "string"


def _tagged(own: ValidatedRows | None, context: ReaderContext) -> pa.Table | None:
    """Whom the release's own tags tell of which film: the time of the first tag, and the order in which they stand."""
    if own is None:
        return None
    asked = f"""SELECT {USER_ID}, {ITEM_ID}, min({TIMESTAMP}) AS {TIMESTAMP}, row_number() OVER (ORDER BY min(line)) AS place
        FROM {own.table} WHERE fault IS NULL GROUP BY {USER_ID}, {ITEM_ID}"""
    return context.connection.raw_sql(asked).to_arrow_table()


def _interactions(
    engine: SparkEngine, ratings: SparkRows, types: tuple[str, str], tagged: pa.Table | None
) -> ibis.Table:
    """What people rated, then what they only tagged, in the order of the source."""
    casts = {"int64": "BIGINT", "string": "STRING"}
    frame = ratings.frame.selectExpr(
        f"CAST({USER_ID} AS {casts[types[0]]}) AS {USER_ID}",
        f"CAST({ITEM_ID} AS {casts[types[1]]}) AS {ITEM_ID}",
        *(RATING, TIMESTAMP, POSITION),
    )
    if tagged is not None:
        frame = frame.unionByName(_only_tagged(engine, frame, tagged))
    kinds_of = {
        USER_ID: types[0],
        ITEM_ID: types[1],
        RATING: "float64",
        TIMESTAMP: "int64",
        POSITION: "int64",
    }
    return engine.table(frame, kinds_of)


def _only_tagged(engine: SparkEngine, rated: DataFrame, tagged: pa.Table) -> DataFrame:
    """The tagged films that their people did not rate. Tags are few: they go to the ratings, not the other way round."""
    told, keys, address = engine.upload(tagged), [USER_ID, ITEM_ID], engine.fresh("tagged")
    both = rated.join(told.hint("broadcast"), keys, "left_semi").select(keys)
    only = told.join(both, keys, "left_anti")
    with plain_spark_errors("looking for what was only tagged"):
        only.selectExpr(
            *keys, f"CAST(NULL AS DOUBLE) AS {RATING}", TIMESTAMP, f"place + {_AFTER_ALL} AS {POSITION}"
        ).write.parquet(address)
        return reader(engine.session).parquet(address)

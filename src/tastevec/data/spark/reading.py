"""Read a source on Spark into the tables that DuckDB makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import ibis

from tastevec.data.readers import (
    Source,
    interaction_schema,
    item_noun_of,
    item_table,
    rating_range_of,
    reader_context,
    require_rows,
    tag_table,
)
from tastevec.data.readers.columns import ANY_ID, INT_ID, TEXT_ID, Column, match_columns, split_header
from tastevec.data.readers.formats import (
    GENOME_FILES,
    PARQUET,
    SEPARATORS,
    TABLE_ENDINGS,
    SourceLayout,
    columns_in_order,
    find_layout,
    interaction_types,
    read_item_table,
    read_items_of,
    read_own_tags,
    read_tag_file,
)
from tastevec.data.spark.session import address_of, is_address, reader, spark_errors
from tastevec.data.spark.validate import (
    RawRows,
    SparkRows,
    first_line,
    parquet,
    parquet_rows,
    text_rows,
    validate_rows,
)
from tastevec.data.value_scale import ValueScale
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
    from tastevec.data.spark.validate import TextFormat

# ruff: noqa: S608 -- each query is built from constants and generated names

_INTERACTIONS: Final = ("u.data", "ratings.dat", "ratings.csv")
_METADATA: Final = ("u.item", "u.genre", "movies.dat", "movies.csv", "tags.dat", "tags.csv", *GENOME_FILES)


@dataclass(frozen=True)
class SparkSource:
    """A recognized source: the address of its interactions, which may be a folder of Parquet files, and its local metadata."""

    address: str
    layout: SourceLayout
    is_parquet: bool


def find_source(source: Path | str, engine: SparkEngine) -> SparkSource:
    """Return the source at a path of this machine that the workers see, too, or at an address.

    Of a release at an address everything but its interactions is copied to this machine: items, tags, genome.

    Raises:
        SourceError: The source does not exist, or its format is unknown.
    """
    if is_address(source):
        return _find_remote(str(source).rstrip("/"), engine)
    path = Path(source)
    if path.is_dir() and _is_parquet_folder(path.name, [entry.name for entry in path.iterdir()]):
        return SparkSource(address_of(path), SourceLayout(path, path.stem, "table"), is_parquet=True)
    layout = find_layout(path, engine.local)
    file = layout.interactions
    return SparkSource(address_of(file), layout, is_parquet=file.suffix in PARQUET)


def _find_remote(address: str, engine: SparkEngine) -> SparkSource:
    name = PurePosixPath(address.partition("://")[2]).name
    with spark_errors("finding the source", source=address):
        is_folder = engine.storage.is_folder(address)
        entries = engine.storage.entries(address) if is_folder else []
    names = [entry.name for entry in entries]
    suffix = PurePosixPath(name).suffix
    if _is_parquet_folder(name, names) if is_folder else suffix in TABLE_ENDINGS:
        layout = SourceLayout(Path(name), PurePosixPath(name).stem, "table")
        return SparkSource(address, layout, is_parquet=is_folder or suffix in PARQUET)
    if not is_folder:
        raise SourceError(
            f"{address}: no table for Spark. Expected a release folder, a name that ends in {', '.join(TABLE_ENDINGS)}, "
            "or a folder of Parquet files. Unpack a zip first."
        )
    layout = find_layout(_copy_metadata(entries, name, engine), engine.local)
    return SparkSource(f"{address}/{layout.interactions.name}", layout, is_parquet=False)


def _is_parquet_folder(name: str, names: list[str]) -> bool:
    return name.endswith(PARQUET) or any(name.endswith(PARQUET) for name in names)


def _copy_metadata(entries: list[Entry], name: str, engine: SparkEngine) -> Path:
    """Return a local folder with copies of the metadata, and an empty file for the interactions."""
    folder = engine.local / "release" / name
    folder.mkdir(parents=True)
    with spark_errors("copying the metadata"):
        for entry in entries:
            if entry.name in _METADATA or entry.name.endswith(".item"):
                engine.storage.fetch(entry.address, folder / entry.name)
            elif entry.name in _INTERACTIONS or entry.name.endswith(".inter"):
                (folder / entry.name).touch()
    return folder


# Types whose IDs are integers, as on DuckDB.
_NUMBERS: Final = ("tinyint", "smallint", "int", "bigint", "decimal(20,0)", "float", "double")
_TAG_ONLY_FROM: Final = 1 << 62  # the positions of tag-only interactions


def read_source(
    source: Path | str, *, engine: SparkEngine, connection: Backend, settings: ReadSettings
) -> Source:
    """Return what ``readers.read_source`` returns, with the interactions as a table of Spark; DuckDB reads the metadata.

    ``source`` is a release (folder or zip) or a table on a disk that the workers see, too, a folder of Parquet files, or the
    address of a release folder or of a table.

    Raises:
        SourceError: The source does not exist, its format is unknown, or a file is empty or has a wrong header.
        BadRowError: A row is invalid and ``skip_bad_rows`` is off.
        SettingsError: Spark fails.
    """
    found = find_source(source, engine)
    layout = found.layout
    rating_range = settings.rating_range or rating_range_of(layout)
    with reader_context(connection, settings, source) as context:
        with spark_errors("reading the interactions", source=str(source)):
            rows, columns = _open(found, engine, rating_range)
            ratings = validate_rows(engine, rows, columns, context.policy)
        require_rows(ratings.row_report)
        items = read_item_table(settings.items, context) if settings.items else read_items_of(layout, context)
        own = read_own_tags(layout, context)
        types = _id_type(ratings, columns, USER_ID), _id_type(ratings, columns, ITEM_ID)
        if items is not None and not items.has_int_ids(context, ITEM_ID):
            types = types[0], "string"
        others = [read_tag_file(file, context, int_ids=types[1] == "int64") for file in settings.tags]
        files = [items, own, *(table for tables in others for table in tables)]
        genome = layout.file(GENOME_FILES[0])
        return Source(
            name=layout.name,
            format=layout.format,
            scale=ValueScale.explicit(*rating_range),
            feedback={"events": {}, "unrated": None, "repeats": "latest"},
            order="timestamp" if any(column.role == TIMESTAMP for column in columns) else "file",
            item_noun=item_noun_of(layout),
            interactions=_interactions(engine, ratings, types, _first_tags(own, context)),
            items=ibis.memtable(connection.to_pyarrow(item_table(context, items, types[1]))),
            tags=tag_table(context, own, [tables[0] for tables in others], types),
            genome_folder=genome and genome.parent,
            row_reports=(ratings.row_report, *(table.row_report for table in files if table is not None)),
        )


def _open(
    found: SparkSource, engine: SparkEngine, rating_range: tuple[float, float]
) -> tuple[RawRows, list[Column]]:
    """Return the rows of the interactions as text, and the columns to read."""
    layout, file = found.layout.format, found.address.rpartition("/")[2]
    types = interaction_types(layout, rating_range)
    if found.is_parquet:
        return _open_parquet(found.address, file, engine, types)
    if layout in SEPARATORS:
        rows = text_rows(engine.session, found.address, SEPARATORS[layout], tuple(types), "plain")
        return rows, columns_in_order(types)
    header = first_line(engine.session, found.address)
    if header is None:
        raise SourceError(f"{file}: empty (0 bytes). Expected rows of text. Fetch or export the file again.")
    separator, names = split_header(header)
    if layout == "recbole":
        separator, names = "\t", [name.partition(":")[0] for name in header.split("\t")]
    columns = match_columns(file, names, types, (TIMESTAMP,) if layout in {"table", "recbole"} else ())
    text_format: TextFormat = "headed" if layout == "recbole" else "quoted"
    return text_rows(engine.session, found.address, separator, names, text_format), columns


def _open_parquet(
    address: str, file: str, engine: SparkEngine, types: dict[str, ColumnType]
) -> tuple[RawRows, list[Column]]:
    """Open a Parquet table, in which integer IDs stay integers and text IDs stay texts."""
    found = parquet(engine.session, address).dtypes
    columns: list[Column] = []
    names: list[str] = []  # of many columns only these are read
    for column in match_columns(file, [name for name, _ in found], types, (TIMESTAMP,)):
        name, type_name = found[column.index or 0]
        names.append(name)
        id_type = INT_ID if type_name in _NUMBERS else TEXT_ID
        column_type = id_type if column.type is ANY_ID else column.type
        columns.append(replace(column, text=f"fields[{len(names)}]", type=column_type))
    return parquet_rows(engine.session, address, names), columns


def _id_type(ratings: SparkRows, columns: list[Column], role: str) -> str:
    """Return ``int64`` or ``string``, as ``readers.id_type`` does."""
    column_type = next(column.type for column in columns if column.role == role)
    integers = ratings.integer_ids[role] if column_type is ANY_ID else column_type is INT_ID
    return "int64" if integers else "string"


def _first_tags(own: ValidatedRows | None, context: ReaderContext) -> pa.Table | None:
    """Return the tagged pairs of user and item: the time of the first tag, and their order in the file."""
    if own is None:
        return None
    query = f"""SELECT {USER_ID}, {ITEM_ID}, min({TIMESTAMP}) AS {TIMESTAMP}, row_number() OVER (ORDER BY min(line)) AS tag_order
        FROM {own.table} WHERE error IS NULL GROUP BY {USER_ID}, {ITEM_ID}"""
    return context.connection.raw_sql(query).to_arrow_table()


def _interactions(
    engine: SparkEngine, ratings: SparkRows, types: tuple[str, str], tagged: pa.Table | None
) -> ibis.Table:
    """Return the rated interactions, then the tag-only ones, in the order of the source."""
    casts = {"int64": "BIGINT", "string": "STRING"}
    frame = ratings.frame.selectExpr(
        f"CAST({USER_ID} AS {casts[types[0]]}) AS {USER_ID}",
        f"CAST({ITEM_ID} AS {casts[types[1]]}) AS {ITEM_ID}",
        *(RATING, TIMESTAMP, POSITION),
    )
    if tagged is not None:
        frame = frame.unionByName(_tag_only(engine, frame, tagged))
    return engine.table(frame, interaction_schema(types))


def _tag_only(engine: SparkEngine, rated: DataFrame, tagged: pa.Table) -> DataFrame:
    """Return the tagged pairs without a rating. Tags are few: they are sent to the ratings, not the other way round."""
    tags, keys, address = engine.upload(tagged), [USER_ID, ITEM_ID], engine.fresh("tagged")
    both = rated.join(tags.hint("broadcast"), keys, "left_semi").select(keys)
    only = tags.join(both, keys, "left_anti")
    with spark_errors("finding tag-only interactions"):
        only.selectExpr(
            *keys,
            f"CAST(NULL AS DOUBLE) AS {RATING}",
            TIMESTAMP,
            f"tag_order + {_TAG_ONLY_FROM} AS {POSITION}",
        ).write.parquet(address)
        return reader(engine.session).parquet(address)

"""New items: added to a model after training, without retraining.

Dimensions: N items of the catalog, D dimensions.
"""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastevec.errors import DataError
from tastevec.schema import ADDED, ITEM_ID, TAG, TITLE, VECTOR_SOURCE, WEIGHT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.items.cold_start import ColdStartModel
    from tastevec.items.genome import Genome
    from tastevec.serving.bundle import Bundle

_MAX_NAMED = 10  # items in a message


@dataclass(frozen=True, eq=False)
class NewItems:
    """Items that a model does not know, with their metadata.

    Attributes:
        items: ``item_id``, ``title``, ``year``, ``genres``.
        tags: ``item_id``, ``tag``, ``weight``; tags of other items are ignored.
        genome: The tag genome; None without one.
    """

    items: pa.Table
    tags: pa.Table
    genome: Genome | None


def read_new_items(items: object, tags: object, genome: Path | None) -> NewItems:
    """Read items and their metadata from files, or from tables in memory.

    Args:
        items: A CSV or Parquet file, or a table: item_id, title and optional year and genres.
        tags: Tag files, or one table: item_id, tag and optional weight.
        genome: A folder with a tag genome, joined by item ID.

    Raises:
        DataError: A file or a table is invalid.
    """
    # Imported here: serving reads no files, and runs without DuckDB.
    from tastevec.data.expressions import connect  # noqa: PLC0415  as above
    from tastevec.items.genome import read_genome  # noqa: PLC0415  as above

    connection = connect()
    try:
        if isinstance(items, str | Path):
            tables = _read(Path(items), tags, connection)
        else:
            with tempfile.TemporaryDirectory(prefix="tastevec-") as scratch:
                path = Path(scratch) / "items.parquet"
                pq.write_table(_table(items, "items"), path)
                tables = _read(path, tags, connection)
        return NewItems(*tables, None if genome is None else read_genome(Path(genome), connection))
    finally:
        connection.disconnect()


def with_new_items(bundle: Bundle, new_items: NewItems) -> Bundle:
    """Return the bundle with new items; nothing changes for its known items.

    Raises:
        DataError: An item is known, has an ID of another type than the catalog, or no metadata that the model can use.
    """
    items = _unknown_items(new_items.items, bundle)
    vectors, known_by = _predicted(bundle.cold_start, dataclasses.replace(new_items, items=items))
    joined = _joined(bundle.items, items)
    order = np.argsort(joined[ITEM_ID].to_numpy(), kind="stable")  # items are found by binary search
    is_added = np.zeros(len(joined), bool)
    is_added[bundle.model.added_items] = True
    is_added[len(bundle.items) :] = True
    added = np.flatnonzero(is_added[order]).tolist()
    table = np.concatenate([bundle.model.table, vectors])  # (N, D)
    before = bundle.facts.get("added", {}).get("known_by", {})
    facts = {"items": len(added), "known_by": {name: before.get(name, 0) + n for name, n in known_by.items()}}
    rows = np.where(order < len(bundle.items), order, -1)
    return dataclasses.replace(
        bundle,
        model=bundle.model.with_items(table[order], added),
        item_map=bundle.item_map and bundle.item_map.with_items(rows, table[order]),
        items=joined.take(pa.array(order)),
        facts={**bundle.facts, "space": bundle.space, "added": facts},
    )


def _read(path: Path, tags: object, connection: Any) -> tuple[pa.Table, pa.Table]:  # noqa: ANN401  Ibis ships no types
    """Return the items of a file, and their tags."""
    from tastevec.data.readers import ReadSettings, read_items  # noqa: PLC0415  as above

    in_memory = hasattr(tags, "__arrow_c_stream__")
    settings = ReadSettings(tags=() if in_memory else _paths(tags))
    items, file_tags, _ = read_items(path, connection=connection, settings=settings)
    found = connection.to_pyarrow(items)
    return found, _tag_table(tags, found) if in_memory else connection.to_pyarrow(file_tags)


def _paths(tags: Any) -> tuple[Path, ...]:  # noqa: ANN401  any value that a caller passes
    if isinstance(tags, str | Path):
        return (Path(tags),)
    return tuple(map(Path, tags))


def _table(table: Any, name: str) -> pa.Table:  # noqa: ANN401  as above
    if not hasattr(table, "__arrow_c_stream__"):
        raise DataError(
            f"{name}: a {type(table).__name__}. Expected a table (Polars, pandas, Arrow) or the path of a file."
        )
    return pa.table(table)


def _tag_table(tags: object, items: pa.Table) -> pa.Table:
    """Return ``item_id``, ``tag`` as read from files, and ``weight``, 1 where the table has none."""
    table = _table(tags, "tags")
    names, expected = table.column_names, "Expected item_id, tag and optional weight."
    if missing := [name for name in (ITEM_ID, TAG) if name not in names]:
        raise DataError(f"tags: no column {missing[0]} among {', '.join(names)}. {expected}")
    if len(set(names)) < len(names):
        raise DataError(f"tags: a column occurs twice among {', '.join(names)}. {expected}")
    try:
        ids = table[ITEM_ID].cast(items[ITEM_ID].type)
        tag_names = pc.utf8_lower(pc.utf8_trim_whitespace(table[TAG].cast(pa.string())))
        weights = table[WEIGHT].cast(pa.float64()) if WEIGHT in names else np.ones(len(table))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"tags: cannot be read ({error}). Expected IDs of the type of the items, strings and numbers."
        ) from error
    return pa.table({ITEM_ID: ids, TAG: tag_names, WEIGHT: weights})


def _unknown_items(items: pa.Table, bundle: Bundle) -> pa.Table:
    """Return the items with IDs of the catalog's type; refuse known ones."""
    schema = pa.schema([bundle.items.schema.field(name) for name in items.column_names])
    try:
        items = items.cast(schema)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"items: an item_id is no integer ({error}). Expected integers, as in the catalog of the model."
        ) from error
    known = pc.is_in(items[ITEM_ID], bundle.items[ITEM_ID].combine_chunks())
    if pc.any(known).as_py():
        raise DataError(
            f"items: {_named(items.filter(known), items)} known to the model. Expected new items. Remove the known ones."
        )
    return items


def _predicted(cold_start: ColdStartModel, new_items: NewItems) -> tuple[NDArray[np.float32], dict[str, int]]:
    """Return the predicted embeddings (N, D), and the number of items with each kind of metadata."""
    raw = cold_start.features.read(new_items.items, new_items.tags, new_items.genome)
    rows = cold_start.features.normalize(raw)
    empty = np.flatnonzero(rows.getnnz(axis=1) == 0)
    if len(empty):
        raise DataError(
            f"items: {_named(new_items.items.take(pa.array(empty)), new_items.items)} without metadata that the model can use. "
            "Expected a year, a row of the genome, or genres, title words or tags of the training items."
        )
    blocks = cold_start.features.blocks(raw)
    counts = {name: int((block.getnnz(axis=1) > 0).sum()) for name, block in blocks.items()}
    return cold_start.predict(rows), counts


def _named(some: pa.Table, items: pa.Table) -> str:
    """Return how many of the items these are, and the first of them by ID and title."""
    named = [f"{item[ITEM_ID]!r} {item[TITLE]!r}" for item in some.slice(0, _MAX_NAMED).to_pylist()]
    return f"{len(some)} of {len(items)} items ({', '.join(named)}{', …' * (len(some) > _MAX_NAMED)})"


def _joined(old: pa.Table, new: pa.Table) -> pa.Table:
    """Return the items of the catalog, followed by the new items."""
    new = new.append_column(VECTOR_SOURCE, pa.array([ADDED] * len(new)))
    new = new.append_column("train_users", pa.array(np.zeros(len(new), np.int64)))
    return pa.concat_tables([old, new.select(old.column_names).cast(old.schema)])

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

from tastevec.data.prepared import with_shown_titles
from tastevec.errors import DataError, SettingsError
from tastevec.schema import ADDED, GENRES, ITEM_ID, TEXT_COLUMN, TITLE, VECTOR_SOURCE, YEAR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.intake.settings import ItemSettings
    from tastevec.items.cold_start import ColdStartModel
    from tastevec.items.content import ContentFeatures
    from tastevec.items.genome import Genome
    from tastevec.serving.bundle import Bundle

_MAX_NAMED = 10  # items in a message


@dataclass(frozen=True, eq=False)
class NewItems:
    """Items that a model does not know, with their metadata.

    Attributes:
        items: ``item_id``, ``title``, ``year``, ``genres``, and columns of numbers, vectors and texts.
        tags: ``item_id``, ``tag``, ``weight``; tags of other items are ignored.
        genome: The tag genome; None without one.
        notes: What of their metadata is not read, and why.
    """

    items: pa.Table
    tags: pa.Table
    genome: Genome | None
    notes: tuple[str, ...] = ()


def read_new_items(settings: ItemSettings, features: ContentFeatures, genome: Path | None = None) -> NewItems:
    """Read items and their metadata from files, or from tables in memory.

    Args:
        settings: Tables of items, tags and relevances, and how they are read.
        features: The features that the model reads.
        genome: A folder with a tag genome, joined by item ID.

    Raises:
        DataError: A file or a table is invalid.
        SettingsError: The sentence encoder is not that of the model.
    """
    # Imported here: serving reads no files, and runs without DuckDB.
    from tastevec.data.expressions import connect  # noqa: PLC0415  as above
    from tastevec.data.intake.items import read_items  # noqa: PLC0415  as above
    from tastevec.data.intake.metadata import TableContext  # noqa: PLC0415  as above
    from tastevec.data.intake.tags import read_relevances, read_tags  # noqa: PLC0415  as above
    from tastevec.items.genome import Genome, read_genome  # noqa: PLC0415  as above

    connection = connect()
    try:
        with tempfile.TemporaryDirectory(prefix="tastevec-") as scratch:
            context = TableContext(connection, Path(scratch), bad_rows=settings.bad_rows)
            items = read_items(settings, (), context, prefixed=features.prefixed).table
            tags = read_tags(settings, (), context, renumbered_users=True)
            relevances = read_relevances(settings, context)
        found = None
        if relevances is not None and relevances.is_dense:
            found = Genome.of(relevances)
        elif relevances is not None:
            tags = tags.with_relevances(relevances)
        if genome is not None:
            found = read_genome(genome, connection)
    finally:
        connection.disconnect()
    if not len(items):
        raise DataError("items: no row with an item. Expected items. Name a table of items.")
    listed = tags.table[ITEM_ID]
    if len(listed) and not pc.any(pc.is_in(listed, items[ITEM_ID].combine_chunks())).as_py():
        ours, theirs = listed[0].as_py(), items[ITEM_ID][0].as_py()
        raise DataError(
            f"tags: none of {len(listed):,} tags is of these items: item ids {ours!r} here, {theirs!r} there. Expected tags of them. "
            "Name another table of tags"
        )
    items, notes = _with_texts(items, features, settings.text_model)
    return NewItems(items, tags.table, found, notes)


def _with_texts(
    items: pa.Table, features: ContentFeatures, text_model: str | None
) -> tuple[pa.Table, tuple[str, ...]]:
    """Return the items with the embeddings that the model reads, and why it reads none of others."""
    from tastevec.items.text import find_encoder, with_embeddings  # noqa: PLC0415  as above

    if not features.text_model:
        return items, ()
    embedded = [
        name for name in items.column_names if name.startswith(TEXT_COLUMN) and name in features.reductions
    ]
    unread = [name for name in items.column_names if name.startswith(TEXT_COLUMN) and name not in embedded]
    items = items.drop_columns(unread)
    encoder = find_encoder(text_model) if embedded else ""
    label = encoder if isinstance(encoder, str) else encoder.label
    if label == features.text_model:
        return with_embeddings(items, text_model)[0], ()
    if text_model and not isinstance(encoder, str):
        raise SettingsError(
            f"--text-model {text_model}: {label}. Expected {features.text_model}, the sentence encoder of the model. Name its folder"
        )
    names = ", ".join(name.removeprefix(TEXT_COLUMN) for name in embedded)
    why = f"{names}: not read. The model reads texts with {features.text_model}: --text-model FOLDER"
    return items.drop_columns(embedded), (why,) if embedded else ()


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
    facts: dict[str, Any] = {
        "items": len(added),
        "known_by": {name: before.get(name, 0) + n for name, n in known_by.items()},
    }
    if new_items.notes:
        facts["notes"] = list(new_items.notes)
    rows = np.where(order < len(bundle.items), order, -1)
    model = bundle.model.with_items(table[order], added)
    directions = model.geometry.directions(model.item_vectors)
    return dataclasses.replace(
        bundle,
        model=model,
        item_map=bundle.item_map and bundle.item_map.with_items(rows, directions),
        calibration=bundle.calibration and bundle.calibration.with_items(rows),
        items=joined.take(pa.array(order)),
        facts={**bundle.facts, "space": bundle.space, "added": facts},
    )


def _unknown_items(items: pa.Table, bundle: Bundle) -> pa.Table:
    """Return the items with IDs of the catalog's type; refuse known ones."""
    for name in (ITEM_ID, TITLE, YEAR, GENRES):
        try:
            column = items[name].cast(bundle.items.schema.field(name).type)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"items: an item_id is no integer ({error}). Expected integers, as in the catalog of the model."
            ) from error
        items = items.set_column(items.column_names.index(name), name, column)
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
            "Expected a year, a row of the genome, or categories, words, tags, numbers or vectors as the training items have."
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
    new = with_shown_titles(new)
    new = new.append_column(VECTOR_SOURCE, pa.array([ADDED] * len(new)))
    new = new.append_column("train_users", pa.array(np.zeros(len(new), np.int64)))
    return pa.concat_tables([old, new.select(old.column_names).cast(old.schema)])

"""New items: added to a model after training, without retraining.

Dimensions: N films of the catalogue, D numbers a vector.
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
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tastevec.items.cold_start import ColdStartModel
    from tastevec.items.genome import Genome
    from tastevec.serving.bundle import Bundle

__all__ = ["NewItems", "read_new_items", "with_new_items"]

_NAMED = 10  # films that a message names


@dataclass(frozen=True, eq=False)
class NewItems:
    """Films that a model does not know, and what is said of them.

    Attributes:
        items: ``item_id``, ``title``, ``year``, ``genres``.
        tags: ``item_id``, ``tag``, ``weight``; those of other films are passed over.
        genome: Where one is borrowed.
    """

    items: pa.Table
    tags: pa.Table
    genome: Genome | None


def read_new_items(items: object, tags: object, genome: Path | None) -> NewItems:
    """Films and what is said of them, from files or from tables in memory.

    Args:
        items: A CSV or Parquet file, or a table: item, title and, if known, year and genres.
        tags: Files of tags, or one table: item, tag and, if it has them, weights.
        genome: A folder with a tag genome, borrowed by film id.

    Raises:
        DataError: A file or a table is not what it should be.
    """
    from tastevec.data.expressions import connect  # noqa: PLC0415  who serves reads no files, and has no DuckDB
    from tastevec.items.genome import read_genome  # noqa: PLC0415  as above

    connection = connect()
    try:
        if isinstance(items, str | Path):
            told = _read(Path(items), tags, connection)
        else:
            with tempfile.TemporaryDirectory(prefix="tastevec-") as scratch:
                path = Path(scratch) / "items.parquet"
                pq.write_table(_table(items, "items"), path)
                told = _read(path, tags, connection)
        return NewItems(*told, None if genome is None else read_genome(Path(genome), connection))
    finally:
        connection.disconnect()


def with_new_items(bundle: Bundle, new_items: NewItems) -> Bundle:
    """The bundle with these films in it, and everything that it knew where it was.

    Raises:
        DataError: A film is known already, its id is of another kind than the catalogue's, or nothing that the model
            can read is said of it.
    """
    items = _of_our_ids(new_items.items, bundle)
    vectors, known_by = _placed(bundle.cold_start, dataclasses.replace(new_items, items=items))
    grown = _joined(bundle.items, items)
    order = np.argsort(grown[ITEM_ID].to_numpy(), kind="stable")  # the catalogue is searched by id
    later = np.zeros(len(grown), bool)
    later[bundle.model.added_items] = True
    later[len(bundle.items) :] = True
    added = np.flatnonzero(later[order]).tolist()
    table = np.concatenate([bundle.model.table, vectors])  # (N, D)
    before = bundle.facts.get("added", {}).get("known_by", {})
    told = {"items": len(added), "known_by": {name: before.get(name, 0) + n for name, n in known_by.items()}}
    rows = np.where(order < len(bundle.items), order, -1)
    return dataclasses.replace(
        bundle,
        model=bundle.model.with_items(table[order], added),
        item_map=bundle.item_map and bundle.item_map.with_items(rows, table[order]),
        items=grown.take(pa.array(order)),
        facts={**bundle.facts, "space": bundle.space, "added": told},
    )


def _read(path: Path, tags: object, connection: Any) -> tuple[pa.Table, pa.Table]:  # noqa: ANN401  Ibis ships no types
    """The films of a file, and their tags."""
    from tastevec.data.readers import ReadSettings, read_items  # noqa: PLC0415  as above

    in_memory = hasattr(tags, "__arrow_c_stream__")
    files = () if in_memory else _paths(tags)
    items, said, _ = read_items(path, connection=connection, settings=ReadSettings(tags=files))
    found = connection.to_pyarrow(items)
    return found, _tags_in_table(tags, found) if in_memory else connection.to_pyarrow(said)


def _paths(tags: Any) -> tuple[Path, ...]:  # noqa: ANN401  whatever the caller told
    if isinstance(tags, str | Path):
        return (Path(tags),)
    several: Sequence[Path | str] = tags
    return tuple(map(Path, several))


def _table(told: Any, name: str) -> pa.Table:  # noqa: ANN401  as above
    if not hasattr(told, "__arrow_c_stream__"):
        raise DataError(
            f"{name} are a {type(told).__name__}; expected a table (Polars, pandas, Arrow) or the path of a file"
        )
    return pa.table(told)


def _tags_in_table(told: object, items: pa.Table) -> pa.Table:
    """``item_id``, ``tag`` as files of tags are read, and ``weight``, 1 where the table has none."""
    table = _table(told, "tags")
    names, expected = table.column_names, "expected item_id, tag and, if known, weight"
    if missing := [name for name in (ITEM_ID, TAG) if name not in names]:
        raise DataError(f"the table of tags has no column {missing[0]} among {', '.join(names)}; {expected}")
    if len(set(names)) < len(names):
        raise DataError(f"the table of tags has a column twice among {', '.join(names)}; {expected}")
    try:
        ids = table[ITEM_ID].cast(items[ITEM_ID].type)
        words = pc.utf8_lower(pc.utf8_trim_whitespace(table[TAG].cast(pa.string())))
        weights = table[WEIGHT].cast(pa.float64()) if WEIGHT in table.column_names else np.ones(len(table))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"the table of tags cannot be read ({error}); expected the items' own ids, texts and numbers"
        ) from error
    return pa.table({ITEM_ID: ids, TAG: words, WEIGHT: weights})


def _of_our_ids(items: pa.Table, bundle: Bundle) -> pa.Table:
    """The films with ids of the catalogue's type, none of which it has."""
    schema = pa.schema([bundle.items.schema.field(name) for name in items.column_names])
    try:
        items = items.cast(schema)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"the new films' ids do not fit the model's, which are whole numbers ({error}); number them, or train a model on "
            "ids of that kind"
        ) from error
    known = pc.is_in(items[ITEM_ID], bundle.items[ITEM_ID].combine_chunks())
    if pc.any(known).as_py():
        raise DataError(
            f"the model knows {_shown(items.filter(known), items)} already, and no known film is moved; leave them out"
        )
    return items


def _placed(cold_start: ColdStartModel, new_items: NewItems) -> tuple[NDArray[np.float32], dict[str, int]]:
    """(N, D) where each new film belongs, and how many of them each kind of information spoke of."""
    told = (new_items.items, new_items.tags, new_items.genome)
    raw = cold_start.features.read(*told)
    rows = cold_start.features.normalize(raw)
    unknown = np.flatnonzero(rows.getnnz(axis=1) == 0)
    if len(unknown):
        mute = new_items.items.take(pa.array(unknown))
        raise DataError(
            f"nothing that the model can read is said of {_shown(mute, new_items.items)}; expected a year, a row of the genome, "
            "or genres, title words or tags that its training's films have: say more of these films, or leave them out"
        )
    blocks = cold_start.features.blocks(raw)
    return cold_start.predict(rows), {
        name: int((block.getnnz(axis=1) > 0).sum()) for name, block in blocks.items()
    }


def _shown(some: pa.Table, items: pa.Table) -> str:
    """How many of the films these are, and the first of them by id and title."""
    named = [f"{item[ITEM_ID]!r} {item[TITLE]!r}" for item in some.slice(0, _NAMED).to_pylist()]
    return f"{len(some)} of the {len(items)} films ({', '.join(named)}{', …' * (len(some) > _NAMED)})"


def _joined(old: pa.Table, new: pa.Table) -> pa.Table:
    """The catalogue with the new films behind the old."""
    new = new.append_column(VECTOR_SOURCE, pa.array([ADDED] * len(new)))
    new = new.append_column("train_users", pa.array(np.zeros(len(new), np.int64)))
    return pa.concat_tables([old, new.select(old.column_names).cast(old.schema)])

"""Sources in memory, for tests of all stages after the readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import ibis
import pyarrow as pa

import worlds
from tastevec.data import expressions as tables
from tastevec.data.intake.source import Source
from tastevec.data.intake.validation import RowReport
from tastevec.data.prepared import Prepared, manifest_content, write_manifest
from tastevec.data.preprocess import PreprocessSettings, preprocess
from tastevec.data.value_scale import HALF_STARS, ValueScale
from tastevec.schema import ITEM_NOUN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ibis.backends.duckdb import Backend

    from tastevec.schema import Order


class Row(NamedTuple):
    """One interaction; a rating or a time may be missing."""

    user: Any
    item: Any
    rating: float | None = 3.0
    timestamp: int | None = None


def interactions(rows: Sequence[Row]) -> ibis.Table:
    """The rows as the readers give them, in this order."""
    users, items, ratings, timestamps = zip(*rows, strict=True) if rows else ([], [], [], [])
    ids = {
        name: pa.array(column, _id_type(column)) for name, column in (("user_id", users), ("item_id", items))
    }
    return ibis.memtable(
        pa.table(
            {
                **ids,
                "rating": pa.array(ratings, pa.float64()),
                "timestamp": pa.array(timestamps, pa.int64()),
                "position": pa.array(range(len(rows)), pa.int64()),
            }
        )
    )


def source(
    rows: Sequence[Row],
    indices: Sequence[tuple[Any, str, int | None, list[str]]] = (),
    *,
    scale: ValueScale = HALF_STARS,
    order: Order = "timestamp",
) -> Source:
    """Return these rows and items as ``read_source`` returns them."""
    ids, titles, years, genres = zip(*indices, strict=True) if indices else ([], [], [], [])
    item_type = _id_type([row.item for row in rows])
    items = pa.table(
        {
            "item_id": pa.array(ids, item_type),
            "title": pa.array(titles, pa.string()),
            "year": pa.array(years, pa.int32()),
            "genres": pa.array(genres, pa.list_(pa.string())),
        }
    )
    return Source(
        name="world",
        format="own",
        scale=scale,
        feedback={"events": {}, "unrated": None, "repeats": "latest"},
        order=order,
        item_noun=ITEM_NOUN,
        interactions=interactions(rows),
        items=ibis.memtable(items),
        tags=ibis.memtable(items.select(["item_id"])),  # nothing here reads tags
        genome_folder=None,
        row_reports=(RowReport(file="world", rows_read=len(rows), rows_kept=len(rows)),),
    )


def world() -> Source:
    """Return the tiny dataset of 12 users and 20 items, with its two tag-only interactions."""
    rated = [Row(r.user, r.item, float(r.stars), r.time) for r in worlds.ratings()]
    items = [(item.item, item.title, item.year, list(item.genres)) for item in worlds.items()]
    return source([*rated, Row(1, 4, None, 979_500_002), Row(7, 13, None, 985_500_002)], items)


def prepare(
    raw: Source, folder: Path, settings: PreprocessSettings | None = None, connection: Backend | None = None
) -> Prepared:
    """Preprocess the source into ``folder``, write its manifest and open it."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = connection or tables.connect("500MB", spill=folder.parent)
    counts, scale = preprocess(raw, folder, settings or PreprocessSettings(), engine)
    write_manifest(
        folder,
        manifest_content(
            source=raw,
            scale=scale,
            counts=counts,
            settings={"seed": 42},
            timings={"preprocess": 0.1},
            vectors={},
        ),
    )
    return Prepared.open(folder)


def _id_type(ids: Sequence[Any]) -> pa.DataType:
    return pa.string() if any(isinstance(value, str) for value in ids) else pa.int64()

"""Ibis expressions shared by DuckDB and Spark: histories, splits and statistics of interactions."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import duckdb
import ibis
import numpy as np

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.errors import SettingsError
from tastevec.schema import GENRES, ITEM_ID, POSITION, RATING, TIMESTAMP, TITLE, USER_ID, YEAR

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

__all__ = [
    "SECONDS_A_DAY",
    "before_split",
    "build_catalog",
    "connect",
    "histories",
    "indexed_histories",
    "join_catalog",
    "ratings_per_span",
    "totals",
    "users",
]

SECONDS_A_DAY = 86_400
_FINENESS = 2.0**32  # every float32 from 0.004 up to two thousand million is a whole number of such parts
_SILENT = 1e-5  # as in histories.normalise_ratings: a deviation below it says nothing


def connect(memory: str = "2GB", spill: Path | None = None, threads: int | None = None) -> Backend:
    """A DuckDB inside this process that holds at most ``memory`` and puts the rest on disk.

    Args:
        memory: DuckDB's limit, such as "2GB"; Python and Arrow come on top, about 200 MB.
        spill: The folder in which what does not fit is put, and taken away again when the connection closes; None
            is the system's temporary folder.
        threads: None is one a core.

    Raises:
        SettingsError: ``memory`` is not a size.
    """
    folder = (spill or Path(tempfile.gettempdir())) / f".tastevec-spill-{uuid.uuid4().hex}"
    config: dict[str, Any] = {"memory_limit": memory, "temp_directory": str(folder)}
    if threads is not None:
        config["threads"] = threads
    # preserve_insertion_order stays on: the readers number the rows of a file in the order in which they stand.
    try:
        return ibis.duckdb.connect(**config)
    except duckdb.ParserException as error:
        raise SettingsError(f"memory is {memory!r}; expected a size such as 500MB or 2GB") from error


def build_catalog(interactions: ibis.Table, items: ibis.Table) -> ibis.Table:
    """The catalogue by ascending id: every film of the metadata, then those that only interactions name, untitled."""
    columns = {TITLE: "string", YEAR: "int32", GENRES: "array<string>"}
    described = items.select(ITEM_ID, **{name: items[name].cast(kind) for name, kind in columns.items()})
    bare = interactions.select(ITEM_ID).distinct().anti_join(described, ITEM_ID)
    bare = bare.mutate(
        **{
            TITLE: ibis.literal(""),
            YEAR: ibis.null("int32"),
            GENRES: ibis.literal([], type="array<string>"),
        }
    )
    both = ibis.union(described.mutate(described=True), bare.mutate(described=False))
    return both.order_by(ITEM_ID)


def join_catalog(interactions: ibis.Table, catalog: ibis.Table) -> ibis.Table:
    """The interactions with each film's catalogue row: its index ``item`` and whether it is ``kept``."""
    return interactions.join(catalog.select(ITEM_ID, "item", "kept"), ITEM_ID)


def ratings_per_span(interactions: ibis.Table, seconds: int, since: int | None = None) -> ibis.Table:
    """How many ratings lie in each span of ``seconds``, by ascending time; those without a time in none.

    Args:
        interactions: As the readers give it.
        seconds: The length of a span.
        since: The first second of the one day that is looked at; None looks at all.

    Returns:
        start (its first second) and ratings, of the spans that have any.
    """
    timestamp = interactions[TIMESTAMP]
    rated = interactions.filter(interactions[RATING].notnull() & timestamp.notnull())
    if since is not None:
        rated = rated.filter(timestamp >= since, timestamp < since + SECONDS_A_DAY)
    spans = rated.group_by(start=(timestamp // seconds).cast("int64") * seconds).agg(ratings=rated.count())
    return spans.order_by("start")


def before_split(interactions: ibis.Table, cut: int, *, spared: ibis.Value) -> ibis.Table:
    """What happened before ``cut``, and all that happened to the ``spared`` (a boolean column); nothing untimed."""
    timestamp = interactions[TIMESTAMP]
    return interactions.filter(timestamp.notnull() & (spared | (timestamp < cut)))


def totals(interactions: ibis.Table) -> ibis.Table:
    """One row: interactions, ratings, untimed and users."""
    return interactions.agg(
        interactions=interactions.count(),
        ratings=interactions[RATING].count(),
        without_timestamp=interactions[TIMESTAMP].isnull().sum(),
        users=interactions[USER_ID].nunique(),
    )


def users(interactions: ibis.Table, *, positive_from: float | None = None) -> ibis.Table:
    """One row a person, with what his own scale needs.

    Args:
        interactions: The result of ``join_catalog``; ``rating`` is NULL where a film was only tagged.
        positive_from: The rating from which a film is liked, where ``positives`` shall be counted.

    Returns:
        user_id, and over **all** that the person touched, with or without a vector: interactions, ratings, untimed,
        mean, highest, lowest, and likes if they are asked for; and over what is kept: kept, first_day, last_day.
    """
    rating, day = _given(interactions), _days(interactions[TIMESTAMP])
    # Whole numbers add up to the same sum in every order, so that neither threads nor engines change a byte; and a rating
    # times a power of two, cut at the point, is the same one everywhere, while engines round decimals differently.
    total = (rating * _FINENESS).floor().cast("int64").cast("decimal(38, 0)").sum().cast(
        "float64"
    ) / _FINENESS
    # Compared in the width in which ratings are kept, so that the histories show the same likes.
    positives = (
        {} if positive_from is None else {"positives": (rating >= float(np.float32(positive_from))).sum()}
    )
    return interactions.group_by(USER_ID).agg(
        interactions=interactions.count(),
        ratings=rating.count(),
        without_timestamp=interactions[TIMESTAMP].isnull().sum(),
        mean=total / rating.count().nullif(0),
        highest=rating.max(),
        lowest=rating.min(),
        kept=interactions.kept.sum(),
        first_day=day.min(where=interactions.kept),
        last_day=day.max(where=interactions.kept),
        **positives,
    )


def histories(interactions: ibis.Table, chosen: ibis.Table, *, order: Literal["time", "item"]) -> ibis.Table:
    """The kept interactions of the chosen people, one person after another, each on his own scale.

    Args:
        interactions: The result of ``join_catalog``.
        chosen: Rows of ``users``.
        order: "time" is oldest first (where time is unknown, before the known ones), and in the order of the source
            within a second; "item" is by film id, the research note's order.

    Returns:
        items, ratings, normalised, times, in the types of ``Histories``; ratings NULL where a film was only tagged.
    """
    rows = interactions.filter(interactions.kept).join(chosen, USER_ID)
    rating = _given(rows)
    deviation = rating - rows["mean"]
    divisor = ibis.ifelse(deviation > 0, rows.highest - rows["mean"], rows["mean"] - rows.lowest)
    # Spark raises on a division by zero, DuckDB does not: nullif keeps them alike.
    scaled = ibis.ifelse(divisor >= _SILENT, deviation / divisor.nullif(0), 0.0).fill_null(0.0)
    return rows.order_by(_in_time(rows) if order == "time" else [USER_ID, ITEM_ID]).select(
        items=rows.item.cast("int32"),
        ratings=rating.cast("float32"),
        normalized_ratings=scaled.cast("float32"),
        timestamps=_time(rows),
    )


def indexed_histories(interactions: ibis.Table, item_ids: ibis.Table) -> ibis.Table:
    """Everything that anybody touched, person after person, oldest first; ``items`` is NULL where it is unknown.

    Args:
        interactions: As the readers give it.
        item_ids: item_id and its index ``item``. Ids of different types are compared as text.
    """
    if interactions[ITEM_ID].type() != item_ids[ITEM_ID].type():
        interactions, item_ids = (
            table.mutate(**{ITEM_ID: table[ITEM_ID].cast("string")}) for table in (interactions, item_ids)
        )
    rows = interactions.left_join(item_ids, ITEM_ID)
    return rows.order_by(_in_time(rows)).select(
        USER_ID,
        items=rows.item.cast("int32"),
        ratings=_given(rows).cast("float32"),
        timestamps=_time(rows),
    )


def _given(table: ibis.Table) -> ibis.Value:
    """The rating as it is kept (float32), in the width in which it is reckoned with."""
    return table[RATING].cast("float32").cast("float64")


def _days(timestamp: ibis.Value) -> ibis.Value:
    return (timestamp // SECONDS_A_DAY).cast("int32")


def _time(table: ibis.Table) -> ibis.Value:
    return table[TIMESTAMP].fill_null(NO_TIMESTAMP)


def _in_time(table: ibis.Table) -> list[ibis.Value]:
    return [table[USER_ID], _time(table), table[POSITION]]

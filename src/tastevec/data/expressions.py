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

SECONDS_A_DAY = 86_400
_FIXED_POINT = 2.0**32  # every float32 from 0.004 to 2 billion is an integer multiple of 1 / 2**32
_MIN_DIVISOR = 1e-5  # as in value_scale.normalize_ratings


def connect(memory: str = "2GB", spill: Path | None = None, threads: int | None = None) -> Backend:
    """Return a DuckDB connection in this process with a memory limit; larger data spill to disk.

    Args:
        memory: DuckDB's limit, such as "2GB"; Python and Arrow need about 200 MB more.
        spill: The folder for temporary files, which are removed when the connection closes; None is the system's
            temporary folder.
        threads: None is one per core.

    Raises:
        SettingsError: ``memory`` is not a size.
    """
    folder = (spill or Path(tempfile.gettempdir())) / f".tastevec-spill-{uuid.uuid4().hex}"
    config: dict[str, Any] = {"memory_limit": memory, "temp_directory": str(folder)}
    config["autoinstall_known_extensions"] = (
        False  # DuckDB would download and load code for a path such as s3://
    )
    if threads is not None:
        config["threads"] = threads
    # preserve_insertion_order stays on: the readers number the rows of a file in file order.
    try:
        return ibis.duckdb.connect(**config)
    except duckdb.ParserException as error:
        raise SettingsError(f"memory: {memory!r}. Expected a size such as 500MB or 2GB") from error


def build_catalog(interactions: ibis.Table, items: ibis.Table) -> ibis.Table:
    """Return the catalog by ascending id: all items with metadata, and items of interactions only, without a title."""
    columns = {TITLE: "string", YEAR: "int32", GENRES: "array<string>"}
    described = items.select(ITEM_ID, **{name: items[name].cast(kind) for name, kind in columns.items()})
    empty = {
        TITLE: ibis.literal(""),
        YEAR: ibis.null("int32"),
        GENRES: ibis.literal([], type="array<string>"),
    }
    others = interactions.select(ITEM_ID).distinct().anti_join(described, ITEM_ID).mutate(**empty)
    return ibis.union(described.mutate(described=True), others.mutate(described=False)).order_by(ITEM_ID)


def join_catalog(interactions: ibis.Table, catalog: ibis.Table) -> ibis.Table:
    """Return the interactions with the index ``item`` of each item and whether it is ``kept``."""
    return interactions.join(catalog.select(ITEM_ID, "item", "kept"), ITEM_ID)


def ratings_per_span(interactions: ibis.Table, seconds: int, since: int | None = None) -> ibis.Table:
    """Return the number of ratings in each span of ``seconds``, by ascending time; ratings without a timestamp do not count.

    The columns are start (first second) and ratings, of the spans with ratings. ``since`` is the first second of
    the only day to count; None counts all.
    """
    timestamp = interactions[TIMESTAMP]
    rated = interactions.filter(interactions[RATING].notnull() & timestamp.notnull())
    if since is not None:
        rated = rated.filter(timestamp >= since, timestamp < since + SECONDS_A_DAY)
    spans = rated.group_by(start=(timestamp // seconds).cast("int64") * seconds).agg(ratings=rated.count())
    return spans.order_by("start")


def before_split(interactions: ibis.Table, split_timestamp: int, *, test: ibis.Value) -> ibis.Table:
    """Return the interactions before ``split_timestamp``, and all of ``test`` users (a boolean column); none without a timestamp."""
    timestamp = interactions[TIMESTAMP]
    return interactions.filter(timestamp.notnull() & (test | (timestamp < split_timestamp)))


def totals(interactions: ibis.Table) -> ibis.Table:
    """Return one row: interactions, ratings, without_timestamp and users."""
    return interactions.agg(
        interactions=interactions.count(),
        ratings=interactions[RATING].count(),
        without_timestamp=interactions[TIMESTAMP].isnull().sum(),
        users=interactions[USER_ID].nunique(),
    )


def users(
    interactions: ibis.Table, *, positive_from: float | None = None, normalize: bool = True
) -> ibis.Table:
    """Return one row per user, with the statistics that normalize their ratings.

    Args:
        interactions: The result of `join_catalog`; ``rating`` is NULL in tag-only interactions.
        positive_from: The lowest positive value, to count ``positives``; None does not count them.
        normalize: Whether ratings are normalized per user, as those of explicit feedback are.

    Returns:
        user_id; over **all** interactions of the user: interactions, ratings, without_timestamp, and on request positives, and
        mean, highest, lowest; over kept interactions: kept, first_day, last_day.
    """
    rating, day = _rating(interactions), (interactions[TIMESTAMP] // SECONDS_A_DAY).cast("int32")
    requested = {}
    if normalize:
        # Integers have the same sum in every order, so that neither threads nor engines change a byte. A rating times a
        # power of two, truncated, is the same everywhere, while engines round decimals differently.
        fixed = (rating * _FIXED_POINT).floor().cast("int64").cast("decimal(38, 0)")
        total = fixed.sum().cast("float64") / _FIXED_POINT
        requested = {
            "mean": total / rating.count().nullif(0),
            "highest": rating.max(),
            "lowest": rating.min(),
        }
    if positive_from is not None:
        # Compared as float32, the stored type, so that the histories have the same positives.
        requested["positives"] = (rating >= float(np.float32(positive_from))).sum()
    return interactions.group_by(USER_ID).agg(
        interactions=interactions.count(),
        ratings=rating.count(),
        without_timestamp=interactions[TIMESTAMP].isnull().sum(),
        kept=interactions.kept.sum(),
        first_day=day.min(where=interactions.kept),
        last_day=day.max(where=interactions.kept),
        **requested,
    )


def without_time(interactions: ibis.Table) -> ibis.Table:
    """Return the interactions with unknown timestamps."""
    return interactions.mutate(**{TIMESTAMP: ibis.null("int64")})


def histories(
    interactions: ibis.Table,
    chosen: ibis.Table,
    *,
    order: Literal["time", "item", "hash"],
    normalize: bool = True,
) -> ibis.Table:
    """Return the kept interactions of these users, user by user, with ratings normalized per user.

    Args:
        interactions: The result of `join_catalog`.
        chosen: Rows of `users`.
        order: "time" is oldest first (without a timestamp before all others), and in the order of the source within
            a second; "item" is by item id, the research note's order; "hash" is by the MD5 of ``"user:item"``, which
            every engine computes alike, and which does not depend on the order of the rows. The rows of one item are
            oldest first in all of them.
        normalize: Whether ratings are normalized per user, as those of explicit feedback are.

    Returns:
        items, ratings, timestamps and on request normalized_ratings, in the types of ``Histories``; ratings are NULL in
        tag-only interactions.
    """
    rows = interactions.filter(interactions.kept).join(chosen, USER_ID)
    rating = _rating(rows)
    columns = {"items": rows.item.cast("int32"), "ratings": rating.cast("float32")}
    if normalize:
        deviation = rating - rows["mean"]
        divisor = ibis.ifelse(deviation > 0, rows.highest - rows["mean"], rows["mean"] - rows.lowest)
        # Spark raises on a division by zero, DuckDB does not: nullif keeps them alike.
        scaled = ibis.ifelse(divisor >= _MIN_DIVISOR, deviation / divisor.nullif(0), 0.0).fill_null(0.0)
        columns["normalized_ratings"] = scaled.cast("float32")
    pair = rows[USER_ID].cast("string") + ibis.literal(":") + rows[ITEM_ID].cast("string")
    keys: dict[str, list[ibis.Value]] = {"time": [], "item": [rows[ITEM_ID]], "hash": [pair.hexdigest("md5")]}
    user, *oldest_first = _time_order(rows)
    return rows.order_by([user, *keys[order], *oldest_first]).select(**columns, timestamps=_timestamp(rows))


def indexed_histories(interactions: ibis.Table, item_ids: ibis.Table) -> ibis.Table:
    """Return all interactions, user by user, oldest first; ``items`` is NULL for unknown items.

    ``item_ids`` has each item_id and its index ``item``; ids of different types are compared as text.
    """
    if interactions[ITEM_ID].type() != item_ids[ITEM_ID].type():
        interactions, item_ids = (
            table.mutate(**{ITEM_ID: table[ITEM_ID].cast("string")}) for table in (interactions, item_ids)
        )
    rows = interactions.left_join(item_ids, ITEM_ID)
    return rows.order_by(_time_order(rows)).select(
        USER_ID,
        items=rows.item.cast("int32"),
        ratings=_rating(rows).cast("float32"),
        timestamps=_timestamp(rows),
    )


def _rating(table: ibis.Table) -> ibis.Value:
    """Return the rating, rounded to float32 as it is stored, as float64 for arithmetic."""
    return table[RATING].cast("float32").cast("float64")


def _timestamp(table: ibis.Table) -> ibis.Value:
    return table[TIMESTAMP].fill_null(NO_TIMESTAMP)


def _time_order(table: ibis.Table) -> list[ibis.Value]:
    return [table[USER_ID], _timestamp(table), table[POSITION]]

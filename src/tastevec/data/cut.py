"""The moment that divides the ratings of a source in time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tastevec.data import tables
from tastevec.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from ibis.backends.duckdb import Backend

    from tastevec.data.readers import Source
    from tastevec.data.spark.engine import SparkEngine

__all__ = ["find_cut"]


def find_cut(source: Source, connection: Backend | SparkEngine, *, later: float) -> int:
    """The moment that divides the ratings of ``source`` in time, Unix seconds.

    Args:
        source: What the readers give.
        connection: The result of ``tables.connect``, or Spark, as the interactions are a table of the one or the other.
        later: The share of all ratings that lie at or after it, in (0, 1).

    Raises:
        DataError: No rating has a time.
    """
    days = connection.to_pyarrow(tables.ratings_per(source.interactions, tables.SECONDS_A_DAY))
    place = (int(days["ratings"].to_numpy().sum()) - 1) * (1 - later)  # between two ratings, counted from 0
    if place < 0:
        raise DataError(
            f"no rating of {source.name} has a time; expected timestamps to split by: give a column timestamp, or prepare with --split hash"
        )
    low, high = (_time_of(place, source, connection, days) for place in (math.floor(place), math.ceil(place)))
    return math.ceil(low + (high - low) * (place - math.floor(place)))


def _time_of(rank: int, source: Source, connection: Backend | SparkEngine, days: pa.Table) -> int:
    """The time of the rating that ``rank`` are earlier than: first its day, then its second, so that no engine sorts all."""
    day, earlier = _span_of(rank, days)
    seconds = connection.to_pyarrow(tables.ratings_per(source.interactions, 1, since=day))
    return _span_of(rank - earlier, seconds)[0]


def _span_of(rank: int, spans: pa.Table) -> tuple[int, int]:
    """The start of the span in which this rating lies, and how many ratings lie before it."""
    upto = np.cumsum(spans["ratings"].to_numpy())
    found = int(np.searchsorted(upto, rank, side="right"))
    return spans["start"][found].as_py(), int(upto[found - 1]) if found else 0

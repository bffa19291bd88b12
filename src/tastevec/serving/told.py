"""What a caller tells of people, as a table or as one person's list, turned into histories."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.histories import NO_TIME, Histories, normalise_ratings
from tastevec.errors import DataError, UnknownItemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tastevec.data.inputs import RatingScale
    from tastevec.data.streaming import HistoryStream

__all__ = ["histories_in_file", "histories_in_table", "history_of_one", "place_of"]


def histories_in_file(
    path: Path | str,
    item_ids: NDArray[Any],
    scale: RatingScale,
    *,
    skip_bad_rows: bool = False,
    memory: str = "2GB",
) -> HistoryStream:
    """The people of a CSV or Parquet file, or of CSV on standard input (``-``), a group at a time.

    Raises:
        SourceError: The file is no table of interactions.
        BadRowError: A row is wrong and ``skip_bad_rows`` is off.
    """
    from tastevec.data.expressions import connect  # noqa: PLC0415  as above
    from tastevec.data.readers import ReadSettings, read_interactions  # noqa: PLC0415  who serves reads no files, and has no DuckDB
    from tastevec.data.streaming import iter_histories  # noqa: PLC0415  as above

    settings = ReadSettings(skip_bad_rows=skip_bad_rows, rating_range=(scale.low, scale.high))
    source: Path | Literal["-"] = "-" if path == "-" else Path(path)
    table, _ = read_interactions(source, connection=connect(memory), settings=settings)
    return iter_histories(table, item_ids)


def histories_in_table(table: object, item_ids: NDArray[Any], scale: RatingScale) -> HistoryStream:
    """The people of a table in memory: Polars, pandas, Arrow, or anything else that speaks Arrow's interface.

    Raises:
        DataError: It is no table, or a row is wrong.
    """
    if not hasattr(table, "__arrow_c_stream__") and not hasattr(table, "__arrow_c_array__"):
        raise DataError(
            f"ratings are a {type(table).__name__}; expected a table (Polars, pandas, Arrow) or one person's [(item_id, rating), ...]"
        )
    with tempfile.TemporaryDirectory(prefix="tastevec-") as scratch:
        path = Path(scratch) / "ratings.parquet"
        pq.write_table(pa.table(table), path)
        return histories_in_file(path, item_ids, scale)


def history_of_one(
    ratings: Sequence[tuple[Any, float]], item_ids: NDArray[Any], scale: RatingScale
) -> Histories:
    """One person's ratings, oldest first; ids of other types than the catalogue's are compared as text, as in a table.

    Raises:
        UnknownItemError: A film is not in the catalogue.
        DataError: A rating is out of range, or a film stands twice.
    """
    try:
        ids = np.array([item for item, _ in ratings], dtype=object).astype(str).astype(item_ids.dtype)
        values = np.array([rating for _, rating in ratings], np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        kind = "text" if item_ids.dtype == object else "whole numbers"
        raise DataError(
            f"one person's ratings are not [(item_id, rating), ...] ({error}); the model's item ids are {kind}"
        ) from error
    places = np.searchsorted(item_ids, ids)
    unknown = item_ids[np.minimum(places, len(item_ids) - 1)] != ids
    if unknown.any():
        raise UnknownItemError(
            f"item {ids[unknown].tolist()[0]!r} is not in the model's catalogue of {len(item_ids)} films; leave it out"
        )
    wrong = ~((values >= scale.low) & (values <= scale.high))
    if wrong.any():
        raise DataError(
            f"item {ids[wrong].tolist()[0]!r} is rated {values[wrong][0]:g}; expected {scale.low:g} to {scale.high:g}, the model's own scale"
        )
    if len(np.unique(places)) < len(places):
        raise DataError("a film is rated twice; expected each film once, at its last rating")
    offsets = np.array([0, len(places)])
    return Histories(
        user_ids=np.array([0]),
        offsets=offsets,
        items=places.astype(np.int32),
        ratings=values,
        normalised=normalise_ratings(values, offsets),
        times=np.full(len(places), NO_TIME, np.int64),
    )


def place_of(item_id: object, item_ids: NDArray[Any]) -> int:
    """The position of a film in the catalogue, whose ids are in order, by its id, of whatever type.

    Raises:
        UnknownItemError: It is not there.
    """
    try:
        wanted = np.array([str(item_id)]).astype(item_ids.dtype)[0]
    except ValueError:
        wanted = None
    found = 0 if wanted is None else int(np.searchsorted(item_ids, wanted))
    if wanted is None or found == len(item_ids) or item_ids[found] != wanted:
        raise UnknownItemError(
            f"item {item_id!r} is not in the model's catalogue of {len(item_ids)} films; expected one of its ids"
        )
    return found

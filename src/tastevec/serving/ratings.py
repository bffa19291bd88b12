"""Ratings to histories: one conversion for lists and HTTP requests, one for tables and files."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.histories import NO_TIMESTAMP, Histories
from tastevec.errors import BadRowError, DataError, UnknownItemError
from tastevec.schema import USER_ID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tastevec.data.readers import RowReport
    from tastevec.data.streaming import HistoryStream
    from tastevec.data.value_scale import ValueScale


class ArrowTable(Protocol):
    """A table with Arrow's interface: Polars, pandas, Arrow, DuckDB and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the table as a capsule."""


OneUser = list[Any] | tuple[Any, ...]  # the interactions of one user
Table = ArrowTable


def is_one_user(interactions: object) -> bool:
    """Return whether interactions are those of one user, or are the vector of one user."""
    return isinstance(interactions, list | tuple | np.ndarray)


_Row = tuple[int, float, int]  # item index (-1: unknown), rating, timestamp


class Rated(NamedTuple):
    """A rated item; the timestamp is in Unix seconds."""

    item_id: Any
    rating: float
    timestamp: int | None = None


class InvalidRatingError(BadRowError):
    """A rating in memory is invalid.

    Attributes:
        where: Its location, such as ``users[0].ratings[3].rating``.
    """

    def __init__(self, where: str, details: str) -> None:
        super().__init__(f"{where}: {details}")
        self.where = where


@dataclass(frozen=True, eq=False)
class ParsedUsers:
    """B users: their interactions with known items, oldest first, all their interactions, and the unknown item IDs of each."""

    histories: Histories
    n_interactions: NDArray[np.int64]
    unknown: list[list[Any]]

    def block(self, users: slice) -> ParsedUsers:
        """Return some of the users."""
        histories = self.histories.take(np.arange(len(self.histories))[users])
        return ParsedUsers(histories, self.n_interactions[users], self.unknown[users])


def to_histories(
    users: Sequence[Sequence[Rated]],
    indices: Mapping[str, int],
    scale: ValueScale,
    where: str = "users[{}].ratings",
) -> ParsedUsers:
    """Return the histories of B users, sorted by time; without timestamps, the given order is the time order.

    Ratings are normalized over all items of a user, known or unknown, as they are for a file.

    Args:
        users: The ratings of each user.
        indices: The index of each item of the catalog, by its ID as text: IDs of different types are compared as text.
        scale: The value scale of the model.
        where: The location of a user's ratings in error messages; ``{}`` is the number of the user.

    Raises:
        InvalidRatingError: A rating is off the scale, an item is rated twice, or only some items have a timestamp.

    Examples:
        >>> from tastevec.data.value_scale import ValueScale
        >>> users = [[Rated("7", 5.0, 200), Rated(8, 1.0, 100), Rated("new", 4.0, 300)]]
        >>> parsed = to_histories(users, {"7": 0, "8": 1}, ValueScale.explicit(1, 5))
        >>> parsed.histories.items, parsed.unknown
        (array([1, 0], dtype=int32), [['new']])
    """
    rows: list[_Row] = []
    ends, unknown = [0], []
    for number, user in enumerate(users):
        own, unknown_ids = _user_rows(user, indices, scale, where.format(number))
        rows += own
        ends.append(len(rows))
        unknown.append(unknown_ids)
    items, ratings, timestamps = zip(*rows, strict=True) if rows else ((), (), ())
    flat, offsets = np.array(ratings, np.float32), np.array(ends, np.int64)
    histories = Histories(
        user_ids=np.arange(len(users)),
        offsets=offsets,
        items=np.array(items, np.int32),
        ratings=flat,
        normalized_ratings=scale.normalize(flat, offsets),
        timestamps=np.array(timestamps, np.int64),
        relative=scale.kind == "explicit",
    )
    return ParsedUsers(histories.keep(histories.items >= 0), histories.lengths, unknown)


def _user_rows(
    user: Sequence[Rated], indices: Mapping[str, int], scale: ValueScale, where: str
) -> tuple[list[_Row], list[Any]]:
    """Return the rows of one user in time order, and the unknown item IDs."""
    timed, count = sum(rated.timestamp is not None for rated in user), len(user)
    if timed not in (0, count):
        raise InvalidRatingError(where, f"{timed} of {count} items have a timestamp. Expected all or none.")
    rows: list[_Row] = []
    unknown: list[Any] = []
    first: dict[str, int] = {}
    for number, (item_id, rating, timestamp) in enumerate(user):
        low, high = scale.limits
        if not low <= rating <= high:  # NaN, too
            expected = f"Expected {low:g} to {high:g}, the rating scale of the model."
            raise InvalidRatingError(f"{where}[{number}].rating", f"{rating:g}. {expected}")
        text = str(item_id)
        if (before := first.setdefault(text, number)) != number:
            expected = "Expected each item once, with its latest rating."
            shown = repr(item_id)[:_SHOWN].encode("utf-8", "replace").decode()
            raise InvalidRatingError(
                f"{where}[{number}].item_id", f"{shown}, the same as {where}[{before}]. {expected}"
            )
        index = indices.get(text, -1)
        if index < 0:
            unknown.append(item_id)
        rows.append((index, rating, NO_TIMESTAMP if timestamp is None else timestamp))
    return sorted(rows, key=lambda row: row[2]), unknown


_SHOWN = 60  # characters of an ID in a message


def list_history(ratings: Any, indices: Mapping[str, int], scale: ValueScale) -> ParsedUsers:  # noqa: ANN401  any value
    """Return the history of one user, from a list of item ID and rating, oldest first; see `to_histories`.

    Raises:
        DataError: It is not such a list, a rating is off the scale, or an item is rated twice.
        UnknownItemError: An item is not in the catalog.
    """
    try:
        user = [Rated(item_id, float(rating)) for item_id, rating in ratings]
        parsed = to_histories([user], indices, scale, "ratings")
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"ratings: {error}. Expected [(item_id, rating), ...] of one user.") from error
    [unknown] = parsed.unknown
    if unknown:
        raise UnknownItemError(
            f"ratings: item {unknown[0]!r} is not in the catalog ({len(indices):,} items). Remove it, or add it with with_items."
        )
    return parsed


@dataclass(frozen=True, eq=False)
class UserFile:
    """The users of a file: their histories in batches, the rows read and skipped, the type of the IDs, and the file."""

    stream: HistoryStream
    row_report: RowReport
    id_type: pa.DataType
    path: Path | Literal["-"]


def open_file(
    path: Path | Literal["-"],
    item_ids: NDArray[Any],
    scale: ValueScale,
    *,
    skip_bad_rows: bool = False,
    memory: str = "2GB",
) -> UserFile:
    """Open the users of a CSV or Parquet file, or of CSV on standard input (``-``).

    Args:
        path: A table with user, item, rating and optional timestamp.
        item_ids: (N,) the catalog.
        scale: The value scale of the model.
        skip_bad_rows: Skip and count invalid rows instead of refusing the file.
        memory: DuckDB memory limit while the file is sorted; larger data spills to disk.

    Raises:
        SourceError: The file is not a table of interactions.
        BadRowError: A row is invalid and ``skip_bad_rows`` is off.
        SettingsError: ``memory`` is invalid or too small, or the disk is full.
    """
    # Imported here: serving reads no files, and runs without DuckDB.
    from tastevec.data.expressions import connect  # noqa: PLC0415  as above
    from tastevec.data.readers import ReadSettings, read_interactions  # noqa: PLC0415  as above
    from tastevec.data.streaming import iter_histories  # noqa: PLC0415  as above

    settings = ReadSettings(skip_bad_rows=skip_bad_rows, rating_range=scale.limits)
    table, row_report = read_interactions(path, connection=connect(memory), settings=settings)
    id_type = table.schema().to_pyarrow().field(USER_ID).type
    return UserFile(iter_histories(table, item_ids, scale), row_report, id_type, path)


def table_histories(table: Any, item_ids: NDArray[Any], scale: ValueScale) -> ParsedUsers:  # noqa: ANN401  any value
    """Return the histories of a table in memory: Polars, pandas, Arrow, or any other with the Arrow interface.

    Raises:
        DataError: It is not a table, or a row is invalid.
    """
    if not hasattr(table, "__arrow_c_stream__") and not hasattr(table, "__arrow_c_array__"):
        raise DataError(
            f"ratings: a {type(table).__name__}. Expected a table (Polars, pandas, Arrow), or [(item_id, rating), ...] of one user."
        )
    with tempfile.TemporaryDirectory(prefix="tastevec-") as scratch:
        path = Path(scratch) / "ratings.parquet"
        pq.write_table(pa.table(table), path)
        stream = open_file(path, item_ids, scale).stream
        parts = [(histories, stream.lengths) for histories in stream]
    histories = Histories.concatenate([part for part, _ in parts])
    return ParsedUsers(histories, np.concatenate([lengths for _, lengths in parts]), [])

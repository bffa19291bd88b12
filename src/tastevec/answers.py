"""Answers for a file of people, streamed into a Parquet file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.atomic import new_file
from tastevec.data.readers import ReadSettings, read_interactions
from tastevec.data.stream import iter_histories
from tastevec.data.tables import connect
from tastevec.schema import ITEM_ID, RANK, SCORE, USER_ID, VECTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tastevec.data.readers import RowAccount
    from tastevec.data.stream import HistoryStream
    from tastevec.schema import Horizon
    from tastevec.serving.recommender import Recommender

__all__ = ["People", "open_people", "write_recommendations", "write_vectors"]


@dataclass(frozen=True, eq=False)
class People:
    """The people of a file, as a model knows their films.

    Attributes:
        stream: Their histories, a group at a time, and the counts of what has passed.
        account: Where each row of the file went.
        id_type: Of the user ids.
        tell: Called with the number of people answered so far.
    """

    stream: HistoryStream
    account: RowAccount
    id_type: pa.DataType
    tell: Callable[[int], None]

    def written(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema, out: Path) -> int:
        """Write what the model says of them to ``out``, whole or not at all; the number of rows."""
        rows = 0
        with new_file(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
            for batch in batches:
                writer.write_batch(batch.cast(schema))
                rows += len(batch)
                self.tell(self.stream.users)
        return rows


def open_people(
    path: Path | Literal["-"],
    recommender: Recommender,
    *,
    skip_bad_rows: bool = False,
    tell: Callable[[int], None] = lambda _users: None,
) -> People:
    """The people of a CSV or Parquet file, or of CSV on standard input (``-``).

    Args:
        path: A table with user, item, rating and, if known, time.
        recommender: The model that will be asked; it knows its films and its scale of ratings.
        skip_bad_rows: Count bad rows and set them aside instead of refusing the file.
        tell: Called with the number of people answered so far.

    Raises:
        SourceError: The file is no table of interactions.
        BadRowError: A row is wrong and ``skip_bad_rows`` is off.
    """
    scale = recommender.bundle.reading.scale
    settings = ReadSettings(skip_bad_rows=skip_bad_rows, rating_range=(scale.low, scale.high))
    table, account = read_interactions(path, connection=connect(), settings=settings)
    id_type = table.schema().to_pyarrow().field(USER_ID).type
    return People(iter_histories(table, recommender.bundle.item_ids), account, id_type, tell)


def write_vectors(recommender: Recommender, people: People, out: Path, *, horizon: Horizon = "next") -> int:
    """Write ``user_id, vector`` (a fixed-size list of float32) of each person to ``out``; the number of rows."""
    dim = recommender.item_vectors.shape[1]
    columns = {USER_ID: people.id_type, VECTOR: pa.list_(pa.float32(), dim)}
    batches = recommender.encoded(people.stream, horizon)
    return people.written(batches, _schema(columns, recommender, horizon), out)


def write_recommendations(
    recommender: Recommender, people: People, out: Path, *, k: int = 10, horizon: Horizon = "next"
) -> int:
    """Write ``user_id, item_id, rank, score`` to ``out``, ``k`` films a person, ranks from 1; the number of rows.

    Raises:
        SettingsError: ``k`` is below 1.
    """
    item_type = recommender.bundle.items.schema.field(ITEM_ID).type
    columns = {USER_ID: people.id_type, ITEM_ID: item_type, RANK: pa.int32(), SCORE: pa.float32()}
    batches = recommender.recommended(people.stream, k=k, horizon=horizon)
    return people.written(batches, _schema(columns, recommender, horizon), out)


def _schema(columns: dict[str, pa.DataType], recommender: Recommender, horizon: Horizon) -> pa.Schema:
    """The file says which space its numbers live in: those of two spaces are not to be compared."""
    return pa.schema(columns, metadata={"space": recommender.bundle.space, "horizon": horizon})

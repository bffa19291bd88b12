"""Vectors of people whose histories are a table of Spark, each answered on one of its workers, without torch.

Dimensions: D numbers a vector.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.data.histories import NO_TIME
from tastevec.data.streaming import group_of, whole_people
from tastevec.errors import DataError, FormatError
from tastevec.schema import ITEM_ID, POSITION, RATING, TIMESTAMP, USER_ID, VECTOR
from tastevec.serving.bulk import vectors_of
from tastevec.serving.bundle import Bundle
from tastevec.serving.encoder import OnnxEncoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from pyspark.broadcast import Broadcast
    from pyspark.sql import DataFrame

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import Reading
    from tastevec.schema import Horizon

__all__ = ["encode_on_spark"]

_WHOLE: Final = ("tinyint", "smallint", "int", "bigint")


def encode_on_spark(
    model: Path | str | Bundle, histories: DataFrame, *, horizon: Horizon = "next"
) -> DataFrame:
    """``user_id, vector`` of everybody, in no particular order: the vectors that ``tastevec encode`` writes, within 1e-5.

    The histories are brought together by person and sorted, which spills to disk, and stream through each worker; the model
    travels to the workers once. They need tastevec with the extra ``serve``, and neither torch nor DuckDB.

    Args:
        model: A bundle's folder on this machine, or the bundle.
        histories: user_id, item_id, rating (NULL where a film was only tagged) and, if known, timestamp (Unix seconds) and
            position, which orders films of the same time; without one it is Spark's own order of the rows.
        horizon: What is asked.

    Returns:
        user_id (bigint or string) and vector (an array of D floats, whose metadata name the space and the horizon), in as
        many parts as ``spark.sql.shuffle.partitions`` says.

    Raises:
        DataError: A column is missing. In a worker, which fails Spark's job: a rating is out of range, or a film stands
            twice in a history.
        FormatError: The bundle cannot be read, or was made before bundles could answer without torch.
        ImportError: onnxruntime is not installed.
    """
    bundle = model if isinstance(model, Bundle) else Bundle.load(Path(model), "onnx")
    if not isinstance(bundle.model, OnnxEncoder):
        raise FormatError(
            "the bundle computes with torch, which workers do without; expected one with a graph: load it with runtime='onnx'"
        )
    rows = _rows(histories)
    told = _Model(bundle.model.parts, bundle.reading, bundle.item_ids, bundle.fingerprint)
    context = histories.sparkSession.sparkContext
    if (context.master or "").startswith("local") and "PYSPARK_PYTHON" not in os.environ:
        context.pythonExec = sys.executable  # workers inside this machine have the libraries of this process
    shipped = context.broadcast(told)
    schema = f"{USER_ID} {dict(rows.dtypes)[USER_ID]}, {VECTOR} array<float>"
    # A number of parts that is given stays: Spark would put small ones together, and leave all the work to one worker.
    parts = int(histories.sparkSession.conf.get("spark.sql.shuffle.partitions", "200") or 200)
    in_order = rows.repartition(parts, USER_ID).sortWithinPartitions(USER_ID, "times", POSITION)
    vectors = in_order.mapInArrow(_Encoding(shipped, horizon), schema)
    return vectors.withMetadata(VECTOR, {"space": bundle.space, "horizon": horizon})


def _rows(histories: DataFrame) -> DataFrame:
    """The histories in the types of `Histories`, each row with its place."""
    types = dict(histories.dtypes)
    if missing := [name for name in (USER_ID, ITEM_ID, RATING) if name not in types]:
        raise DataError(
            f"histories have the columns {', '.join(types)}; expected {USER_ID}, {ITEM_ID}, {RATING} and, if known, {TIMESTAMP}: "
            f"there is no {', no '.join(missing)}"
        )
    ids = {name: "BIGINT" if types[name] in _WHOLE else "STRING" for name in (USER_ID, ITEM_ID)}
    time = f"coalesce(CAST({TIMESTAMP} AS BIGINT), {NO_TIME}L)" if TIMESTAMP in types else f"{NO_TIME}L"
    place = POSITION if POSITION in types else "monotonically_increasing_id()"
    return histories.selectExpr(
        *(f"CAST({name} AS {kind}) AS {name}" for name, kind in ids.items()),
        f"CAST({RATING} AS FLOAT) AS ratings",
        f"{time} AS times",
        f"{place} AS {POSITION}",
    )


@dataclass(eq=False)
class _Model:
    """What travels to the workers."""

    parts: tuple[dict[str, Any], dict[str, NDArray[Any]], bytes]
    reading: Reading
    item_ids: NDArray[Any]
    fingerprint: str

    @cached_property
    def encoder(self) -> OnnxEncoder:
        """Made where it is used: on one core, since Spark gives each core a worker."""
        return OnnxEncoder(*self.parts, cores=1)

    @cached_property
    def catalogue(self) -> pa.Array:
        """(N,) the films' own ids."""
        return pa.array(self.item_ids.tolist())

    def group(self, table: pa.Table) -> Histories:
        """The people of a group with the films that the catalogue holds.

        Raises:
            DataError: A rating is out of range, or a film stands twice in a history.
        """
        ids, catalogue = table[ITEM_ID], self.catalogue
        if ids.type != catalogue.type:  # compared as text, as everywhere
            ids, catalogue = ids.cast(pa.string()), catalogue.cast(pa.string())
        told = group_of(table.append_column("items", pc.index_in(ids, catalogue)))
        known, scale = told.keep(told.items >= 0), self.reading.scale
        if not np.all(np.isnan(told.ratings) | (told.ratings >= scale.low) & (told.ratings <= scale.high)):
            wrong = np.flatnonzero((told.ratings < scale.low) | (told.ratings > scale.high))[0]
            person = told.user_ids[told.owners[wrong]]
            raise DataError(
                f"user {person} gave {told.ratings[wrong]:g}; expected {scale.low:g} to {scale.high:g}, the model's own scale"
            )
        pairs = known.owners * len(catalogue) + known.items
        if len(np.unique(pairs)) < len(pairs):
            places, counts = np.unique(pairs, return_counts=True)
            owner, film = divmod(int(places[counts > 1][0]), len(catalogue))
            raise DataError(
                f"user {known.user_ids[owner]} has item {self.item_ids[film]} twice; expected each film once"
            )
        return known


@dataclass(frozen=True)
class _Encoding:
    """What a worker does with its people."""

    shipped: Broadcast[_Model]
    horizon: Horizon

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """``user_id, vector`` of the people of a partition, of whom one may span several batches."""
        model = self.shipped.value  # the same one at each task of a worker, so that its encoder is made once
        for table in whole_people(batches):
            people = model.group(table)
            vectors = vectors_of(model.encoder, model.reading, people, self.horizon)
            ends = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
            lists = pa.ListArray.from_arrays(ends, pa.array(vectors.ravel()))
            ids = pa.array(people.user_ids.tolist(), table.schema.field(USER_ID).type)
            yield pa.RecordBatch.from_arrays([ids, lists], names=[USER_ID, VECTOR])

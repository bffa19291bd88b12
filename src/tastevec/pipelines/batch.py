"""Batch inference: embeddings and recommendations for a file of users, streamed and resumable, also on Spark.

Or, for people who outgrow one machine, Spark's answers in a folder of Parquet files.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastevec.data.expressions import connect
from tastevec.data.files import atomic_file
from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.readers import ReadSettings, read_interactions
from tastevec.data.shards import input_digest, open_shards
from tastevec.data.streaming import iter_histories, iter_user_batches, table_to_histories
from tastevec.errors import DataError, FormatError
from tastevec.schema import ITEM_ID, POSITION, RANK, RATING, SCORE, SIMILARITY, TIMESTAMP, USER_ID, VECTOR
from tastevec.serving.bundle import Bundle
from tastevec.serving.encoder import OnnxEncoder, encode_histories, gpu_available, on_gpu
from tastevec.serving.hub import open_bundle
from tastevec.serving.neighbors import Neighbors
from tastevec.serving.recommender import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray
    from pyspark.broadcast import Broadcast
    from pyspark.sql import DataFrame

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import InputConfig
    from tastevec.data.readers import RowReport
    from tastevec.data.streaming import HistoryStream
    from tastevec.schema import Horizon
    from tastevec.serving.recommender import Recommender

__all__ = [
    "BatchResult",
    "SparkConfig",
    "Users",
    "encode_on_spark",
    "load_for_batch",
    "open_users",
    "similar_among",
    "similar_items",
    "similar_users",
    "write_recommendations",
    "write_similar",
    "write_vectors",
    "write_vectors_on_spark",
]

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
    in_order = rows.repartition(parts, USER_ID).sortWithinPartitions(USER_ID, "timestamps", POSITION)
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
    time = (
        f"coalesce(CAST({TIMESTAMP} AS BIGINT), {NO_TIMESTAMP}L)"
        if TIMESTAMP in types
        else f"{NO_TIMESTAMP}L"
    )
    place = POSITION if POSITION in types else "monotonically_increasing_id()"
    return histories.selectExpr(
        *(f"CAST({name} AS {kind}) AS {name}" for name, kind in ids.items()),
        f"CAST({RATING} AS FLOAT) AS ratings",
        f"{time} AS timestamps",
        f"{place} AS {POSITION}",
    )


@dataclass(eq=False)
class _Model:
    """What travels to the workers."""

    parts: tuple[dict[str, Any], dict[str, NDArray[Any]], bytes]
    reading: InputConfig
    item_ids: NDArray[Any]
    fingerprint: str

    @cached_property
    def encoder(self) -> OnnxEncoder:
        """Made where it is used: on one core, since Spark gives each core a worker."""
        return OnnxEncoder(*self.parts, cores=1)

    @cached_property
    def catalog(self) -> pa.Array:
        """(N,) the films' own ids."""
        return pa.array(self.item_ids.tolist())

    def group(self, table: pa.Table) -> Histories:
        """The people of a group with the films that the catalogue holds.

        Raises:
            DataError: A rating is out of range, or a film stands twice in a history.
        """
        ids, catalog = table[ITEM_ID], self.catalog
        if ids.type != catalog.type:  # compared as text, as everywhere
            ids, catalog = ids.cast(pa.string()), catalog.cast(pa.string())
        told = table_to_histories(table.append_column("items", pc.index_in(ids, catalog)))
        known, scale = told.keep(told.items >= 0), self.reading.scale
        if not np.all(np.isnan(told.ratings) | (told.ratings >= scale.low) & (told.ratings <= scale.high)):
            wrong = np.flatnonzero((told.ratings < scale.low) | (told.ratings > scale.high))[0]
            user = told.user_ids[told.owners[wrong]]
            raise DataError(
                f"user {user} gave {told.ratings[wrong]:g}; expected {scale.low:g} to {scale.high:g}, the model's own scale"
            )
        pairs = known.owners * len(catalog) + known.items
        if len(np.unique(pairs)) < len(pairs):
            places, counts = np.unique(pairs, return_counts=True)
            owner, item = divmod(int(places[counts > 1][0]), len(catalog))
            raise DataError(
                f"user {known.user_ids[owner]} has item {self.item_ids[item]} twice; expected each film once"
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
        for table in iter_user_batches(batches):
            users = model.group(table)
            vectors = encode_histories(model.encoder, model.reading, users, self.horizon)
            ends = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
            lists = pa.ListArray.from_arrays(ends, pa.array(vectors.ravel()))
            ids = pa.array(users.user_ids.tolist(), table.schema.field(USER_ID).type)
            yield pa.RecordBatch.from_arrays([ids, lists], names=[USER_ID, VECTOR])


@dataclass(frozen=True, eq=False)
class Users:
    """The people of a file, as a model knows their films.

    Attributes:
        stream: Their histories, a group at a time, and the counts of what has passed.
        row_report: Where each row of the file went.
        id_type: Of the user ids.
        progress: Called with the number of people answered so far.
    """

    stream: HistoryStream
    row_report: RowReport
    id_type: pa.DataType
    progress: Callable[[int], None]


@dataclass(frozen=True)
class BatchResult:
    """What came of it.

    Attributes:
        rows: Of the file.
        found: People whose answers an interrupted run had left, so that they were not asked again.
    """

    rows: int
    found: int


@dataclass(frozen=True)
class SparkConfig:
    """Where Spark is.

    Attributes:
        master: Where it runs; None is what its own settings say.
        scratch: The address of a folder that all workers and this process reach; None is beside what is written.
    """

    master: str | None = None
    scratch: str | None = None


def load_for_batch(folder: Path) -> Recommender:
    """The recommender of a bundle folder, computed by what answers many people fastest here: a GPU, if torch sees one.

    Raises:
        FormatError: It is missing, damaged, or of another format version.
    """
    if gpu_available() and find_spec("torch"):
        recommender = load(folder, runtime="torch")
        if on_gpu(recommender.bundle.model):
            return recommender
    return load(folder)


def open_users(
    path: Path | Literal["-"],
    recommender: Recommender,
    *,
    skip_bad_rows: bool = False,
    memory: str = "512MB",
    progress: Callable[[int], None] = lambda _users: None,
) -> Users:
    """The people of a CSV or Parquet file, or of CSV on standard input (``-``).

    Args:
        path: A table with user, item, rating and, if known, time.
        recommender: The model that will be asked; it knows its films and its scale of ratings.
        skip_bad_rows: Count bad rows and set them aside instead of refusing the file.
        memory: What DuckDB may hold while it sorts the file; the rest goes to disk.
        progress: Called with the number of people answered so far.

    Raises:
        SourceError: The file is no table of interactions.
        BadRowError: A row is wrong and ``skip_bad_rows`` is off.
        SettingsError: ``memory`` is no size, or too little; or the disk is full.
    """
    settings = _read_settings(recommender.bundle.reading, skip_bad_rows=skip_bad_rows)
    table, row_report = read_interactions(path, connection=connect(memory), settings=settings)
    id_type = table.schema().to_pyarrow().field(USER_ID).type
    return Users(iter_histories(table, recommender.bundle.item_ids), row_report, id_type, progress)


def write_vectors(
    recommender: Recommender, users: Users, out: Path, *, horizon: Horizon = "next"
) -> BatchResult:
    """Write ``user_id, vector`` (a fixed-size list of float32) of each person to ``out``.

    What is answered is kept beside ``out``, in ``OUT.unfinished``, until the file is whole. The same call after it was
    interrupted, even killed, reads the people again but asks only for those who are missing; the file is then the same,
    byte for byte, as that of a run that was never interrupted.
    """
    dim = recommender.item_vectors.shape[1]
    columns = {USER_ID: users.id_type, VECTOR: pa.list_(pa.float32(), dim)}
    schema = _schema(columns, recommender, horizon)
    made_by = _made_by(recommender, answer="vectors", horizon=horizon)
    return _written(users, out, schema, made_by, lambda group: recommender.encode_batches([group], horizon))


def write_recommendations(
    recommender: Recommender, users: Users, out: Path, *, k: int = 10, horizon: Horizon = "next"
) -> BatchResult:
    """Write ``user_id, item_id, rank, score`` to ``out``, ``k`` films a person, ranks from 1; kept as `write_vectors` does.

    Raises:
        SettingsError: ``k`` is below 1.
    """
    item_type = recommender.bundle.items.schema.field(ITEM_ID).type
    columns = {USER_ID: users.id_type, ITEM_ID: item_type, RANK: pa.int32(), SCORE: pa.float32()}
    schema = _schema(columns, recommender, horizon)
    made_by = _made_by(recommender, answer="recommendations", horizon=horizon, k=k)
    return _written(
        users,
        out,
        schema,
        made_by,
        lambda group: recommender.recommend_batches([group], k=k, horizon=horizon),
    )


def write_vectors_on_spark(
    model: Path,
    histories: str,
    out: str,
    *,
    horizon: Horizon = "next",
    skip_bad_rows: bool = False,
    spark: SparkConfig | None = None,
) -> dict[str, Any]:
    """Write ``user_id, vector`` (an array of float) of each person into the folder ``out``, a Parquet file a partition.

    Args:
        model: A bundle's folder on this machine.
        histories: A table of interactions, a release, or a folder of Parquet files, as ``prepare`` takes them on Spark.
        out: A path, or an address such as ``s3a://bucket/vectors``, where nothing is yet.
        horizon: What is asked.
        skip_bad_rows: Count bad rows and set them aside instead of refusing the file.
        spark: Where it runs.

    Returns:
        rows, rows_set_aside, examples and space.

    Raises:
        FormatError: The model cannot be read or has no graph, or something is at ``out``.
        DataError: The histories cannot be understood, or a row is bad.
        SettingsError: Spark fails.
        MissingExtraError: PySpark is not installed.
    """
    from tastevec.data.spark.reading import read_source
    from tastevec.data.spark.session import (
        is_address,
        plain_spark_errors,
        spark_engine,
    )

    bundle, far, spark = open_bundle(model, "onnx"), is_address(out), spark or SparkConfig()
    if not far and Path(out).exists():
        raise FormatError(f"{out} is there already; expected a new folder: name one with --out, or remove it")
    near = Path(tempfile.gettempdir()) if far else Path(out).resolve().parent
    near.mkdir(parents=True, exist_ok=True)
    settings = _read_settings(bundle.reading, skip_bad_rows=skip_bad_rows)
    with spark_engine(near, master=spark.master, scratch=spark.scratch) as engine:
        source = read_source(histories, engine=engine, connection=connect(), settings=settings)
        [row_report, *_] = source.row_reports
        users = engine.session.table(source.interactions.get_name())
        address = out if far else f"file:{Path(out).resolve()}"
        with plain_spark_errors("encoding the people"):
            try:
                encode_on_spark(bundle, users, horizon=horizon).write.parquet(address)
                rows = engine.session.read.parquet(address).count()
            except BaseException:
                engine.storage.remove(address)
                raise
    facts = {"rows": rows, "rows_set_aside": row_report.skipped, "examples": row_report.examples}
    return facts | {"space": bundle.space}


def _read_settings(reading: InputConfig, *, skip_bad_rows: bool) -> ReadSettings:
    """How a table is read for a model, which knows one scale of ratings."""
    scale = reading.scale
    return ReadSettings(skip_bad_rows=skip_bad_rows, rating_range=(scale.low, scale.high), model_scale=True)


def _written(
    users: Users,
    out: Path,
    schema: pa.Schema,
    made_by: str,
    ask: Callable[[Histories], Iterable[pa.RecordBatch]],
) -> BatchResult:
    """What the model says of the people, in the file ``out``, whole or not at all."""
    found = 0
    with closing(users.stream) as groups, open_shards(out, schema) as parts:
        for group in groups:
            if not parts.add(input_digest(group, made_by), partial(ask, group)):
                found += len(group)
            users.progress(groups.users)
        return BatchResult(parts.join(), found)


def _made_by(recommender: Recommender, **asked: Any) -> str:  # noqa: ANN401  plain values
    """All that an answer depends on besides the person's history."""
    told = {"tastevec": version("tastevec"), "model": recommender.bundle.fingerprint, **asked}
    return json.dumps(told, sort_keys=True)


def _schema(columns: dict[str, pa.DataType], recommender: Recommender, horizon: Horizon) -> pa.Schema:
    """The file says which space its numbers live in: those of two spaces are not to be compared."""
    return pa.schema(columns, metadata={"space": recommender.bundle.space, "horizon": horizon})


_ASKED = 4096  # at once: faiss multiplies matrices, six times as fast, from 128,000 numbers on


def similar_items(recommender: Recommender, *, k: int) -> Iterator[pa.RecordBatch]:
    """``item_id, similar_item_id, rank, similarity`` of all films that have a vector, among themselves, a group at a time."""
    there = recommender.item_vectors.any(axis=1)
    items = Neighbors(recommender.bundle.item_ids[there], recommender.item_vectors[there])
    return similar_among(items, ITEM_ID, k=k)


def similar_users(
    recommender: Recommender, users: Iterable[Histories], known: Neighbors, *, k: int, horizon: Horizon
) -> Iterator[pa.RecordBatch]:
    """``user_id, similar_user_id, rank, similarity`` of people who are told as histories, a group at a time.

    Args:
        recommender: The model.
        users: Groups of them.
        known: Among whom; one of them is found too where he asks for himself.
        k: How many; fewer where fewer are known.
        horizon: That of the vectors of those who are known.
    """
    for group in users:
        nearest = known.nearest(recommender.vectors(group, horizon), k)
        yield _batch(USER_ID, group.user_ids, known.ids, *nearest)


def similar_among(known: Neighbors, name: str, *, k: int) -> Iterator[pa.RecordBatch]:
    """Each one's nearest others, a group at a time: its id, ``similar_`` and the other's id, rank from 1, similarity.

    Memory is that of the vectors, twice, and of one group, however many there are.

    Args:
        known: Whose neighbours among each other are wanted.
        name: What their ids are called: ``user_id`` or ``item_id``.
        k: How many; fewer where there are fewer others.
    """
    for start in range(0, len(known), _ASKED):
        asked = np.arange(start, min(start + _ASKED, len(known)))
        places, scores = known.nearest(known.vectors[asked], k + 1)
        # Itself stands anywhere among its equals, or behind them all; false sorts before true, and else nothing moves.
        others = np.argsort(places == asked[:, None], axis=1, kind="stable")[:, : min(k, len(known) - 1)]
        yield _batch(
            name,
            known.ids[asked],
            known.ids,
            np.take_along_axis(places, others, 1),
            np.take_along_axis(scores, others, 1),
        )


def write_similar(
    batches: Iterable[pa.RecordBatch], out: Path, told: dict[str, str], progress: Callable[[int], None]
) -> int:
    """Write the table to ``out``, whole or not at all; the number of rows.

    Args:
        batches: Groups of the rows.
        out: A Parquet file; an earlier one is replaced.
        told: What the file says of its numbers: their space and horizon.
        progress: Called with the number of rows so far.

    Raises:
        DataError: There is nobody.
    """
    rows, groups = 0, iter(batches)
    if (first := next(groups, None)) is None:
        raise DataError(
            "nobody is asked, and no film has a vector; expected at least one whose neighbours are wanted"
        )
    schema = first.schema.with_metadata(told)
    with atomic_file(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for batch in (first, *groups):
            writer.write_batch(batch.cast(schema))
            rows += len(batch)
            progress(rows)
    return rows


def _batch(
    name: str,
    asked: NDArray[Any],
    known: NDArray[Any],
    places: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> pa.RecordBatch:
    nearest = places.shape[1]
    ranks = np.tile(np.arange(1, nearest + 1, dtype=np.int32), len(asked))
    columns = {
        name: pa.array(np.repeat(asked, nearest)),
        f"similar_{name}": pa.array(known[places.ravel()]),
        RANK: pa.array(ranks),
        SIMILARITY: pa.array(scores.ravel()),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

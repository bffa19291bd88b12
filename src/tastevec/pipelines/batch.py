"""Batch inference: embeddings and recommendations for a file of users, streamed and resumable, also on Spark.

Dimensions: B users, N items of the catalog, D dimensions, K nearest.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastevec.data.arrays import check_ids
from tastevec.data.files import allow_by_umask, check_replaceable, result_file
from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.intake.settings import IntakeSettings
from tastevec.data.shards import input_digest, open_shards
from tastevec.data.streaming import iter_user_batches, table_to_histories
from tastevec.errors import DataError, FormatError
from tastevec.model.direction import DirectionEncoder
from tastevec.schema import (
    DEFAULT_DISLIKE_WEIGHT,
    DISLIKE_WEIGHT,
    ITEM_ID,
    MEANINGS,
    METRIC,
    NORM,
    POSITION,
    PROBABILITY,
    RANK,
    RANKS_ALIKE,
    RATING,
    TIMESTAMP,
    USER_ID,
    VECTOR,
)
from tastevec.serving.bundle import Bundle
from tastevec.serving.encoder import (
    OnnxEncoder,
    check_dislike_weight,
    encode_histories,
    gpu_available,
    on_gpu,
)
from tastevec.serving.hub import open_bundle
from tastevec.serving.neighbors import Neighbors, neighbor_pairs
from tastevec.serving.parsed_users import ModelReading
from tastevec.serving.recommender import load
from tastevec.serving.user_files import read_users

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray
    from pyspark.broadcast import Broadcast
    from pyspark.sql import DataFrame

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import InputConfig
    from tastevec.data.value_scale import ValueScale
    from tastevec.schema import Horizon, Unknown
    from tastevec.serving.encoder import Encoder
    from tastevec.serving.filters import ItemFilter
    from tastevec.serving.recommender import Recommender
    from tastevec.serving.user_files import UserFile


def load_for_batch(folder: Path) -> Recommender:
    """Load the model with the runtime that is fastest for many users: torch on a GPU if there is one, else ONNX.

    Raises:
        FormatError: The model is missing, damaged, or of another format version.
    """
    if gpu_available() and find_spec("torch"):
        recommender = load(folder, runtime="torch")
        if on_gpu(recommender.bundle.model):
            return recommender
    return load(folder)


@dataclass(frozen=True)
class BatchResult:
    """A finished batch run: rows of the output file, users whose results came from an interrupted run, and what to say."""

    rows: int
    resumed: int
    notes: tuple[str, ...] = ()


def write_vectors(
    recommender: Recommender,
    users: UserFile,
    out: Path,
    *,
    horizon: Horizon = "overall",
    dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
    unknown: Unknown = "warn",
    progress: Callable[[int], None] = lambda _users: None,
) -> BatchResult:
    """Write ``user_id, vector`` (a fixed-size list of float32), ``norm`` of each user to ``out``.

    Finished batches stay in ``OUT.unfinished`` until the file is complete. After an interruption, even a kill, the same call
    reads the users again but encodes only the missing ones. The file is then byte for byte that of an uninterrupted run.

    ``users`` are from `Recommender.open_file`, and stand in the file by ascending ID; ``progress`` is called with the number of
    users so far.

    Raises:
        DataError: Hardly an item is known, and ``unknown`` is not "ignore"; the finished batches stay.
        UnknownItemError: An item is unknown, and ``unknown`` is "raise".
    """
    dim = recommender.item_vectors.shape[1]
    columns = {USER_ID: users.id_type, VECTOR: pa.list_(pa.float32(), dim), NORM: pa.float32()}
    how: dict[str, Any] = {"horizon": horizon, DISLIKE_WEIGHT: check_dislike_weight(dislike_weight)}
    key = _key(recommender, answer="vectors", **how)
    schema = _schema(columns, recommender, how, **{METRIC: RANKS_ALIKE})
    users = replace(users, unknown=unknown)
    return _write_shards(
        users, out, schema, key, lambda batch: recommender.encode_batches([batch], **how), progress
    )


def write_recommendations(
    recommender: Recommender,
    users: UserFile,
    out: Path,
    *,
    k: int = 10,
    horizon: Horizon = "overall",
    dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
    unknown: Unknown = "warn",
    chosen: ItemFilter | None = None,
    progress: Callable[[int], None] = lambda _users: None,
) -> BatchResult:
    """Write ``user_id, item_id, rank`` and `MEANINGS` to ``out``, ``k`` items per user, ranks from 1; resumable as `write_vectors`.

    Without a calibration there is no probability.

    ``chosen`` is from `Recommender.item_filter`.

    Raises:
        SettingsError: ``k`` is below 1.
        DataError, UnknownItemError: As `write_vectors`.
    """
    item_type = recommender.bundle.items.schema.field(ITEM_ID).type
    meaning = dict(MEANINGS)
    if recommender.bundle.calibration is None:
        del meaning[PROBABILITY]
    columns = {USER_ID: users.id_type, ITEM_ID: item_type, RANK: pa.int32()}
    columns |= dict.fromkeys(meaning, pa.float32())
    how: dict[str, Any] = {"horizon": horizon, DISLIKE_WEIGHT: check_dislike_weight(dislike_weight)}
    chosen = chosen or recommender.item_filter()
    key = _key(recommender, answer="recommendations", **how, k=k, filter=chosen.digest)
    schema = _schema(columns, recommender, how, **chosen.facts, **meaning)
    ids = [np.zeros(0, np.int64)]  # those of all users, where a list is by user

    def compute(batch: Histories) -> Iterator[pa.RecordBatch]:
        return recommender.recommend_batches([batch], k=k, **how, chosen=chosen)

    def each(user_ids: NDArray[Any]) -> None:
        if chosen.by_user:
            ids.append(user_ids)

    users = replace(users, unknown=unknown)
    written = _write_shards(users, out, schema, key, compute, progress, each=each)
    with pq.ParquetFile(out) as file:
        ranks = (batch[RANK] for batch in file.iter_batches(columns=[RANK]))
        full = sum(int(pc.sum(pc.equal(rank, k)).as_py() or 0) for rank in ranks)
    notes = (*chosen.notes_for(users.stream.users, full, k), *chosen.not_met(np.concatenate(ids)))
    return replace(written, notes=notes)


def _write_shards(
    users: UserFile,
    out: Path,
    schema: pa.Schema,
    key: str,
    compute: Callable[[Histories], Iterable[pa.RecordBatch]],
    progress: Callable[[int], None],
    *,
    each: Callable[[NDArray[Any]], None] = lambda _user_ids: None,
) -> BatchResult:
    """Write a shard per batch of users, then join them to the file ``out``; ``each`` is called with the IDs of each batch."""
    resumed = 0
    with closing(users.stream) as batches, open_shards(out, schema, inputs=(users.path,)) as shards:
        for batch in batches:
            each(batch.user_ids)
            if not shards.add(input_digest(batch, key), partial(compute, batch)):
                resumed += len(batch)
            progress(batches.users)
        users.check_unknown()
        return BatchResult(shards.join(), resumed)


def _key(recommender: Recommender, **settings: Any) -> str:  # noqa: ANN401  plain values
    """Return all that a result depends on except the history, as text."""
    facts = {"tastevec": version("tastevec"), "model": recommender.bundle.fingerprint, **settings}
    return json.dumps(facts, sort_keys=True)


def _schema(
    columns: dict[str, pa.DataType], recommender: Recommender, how: Mapping[str, Any], **facts: str
) -> pa.Schema:
    """Return the schema of a file that names its space, how users were encoded, and its order.

    Vectors of two spaces are not comparable.
    """
    encoded = {"horizon": how["horizon"], DISLIKE_WEIGHT: f"{how[DISLIKE_WEIGHT]:g}"}
    metadata = {"space": recommender.bundle.space, **encoded, "order": USER_ID, **facts}
    return pa.schema(columns, metadata=metadata)


# ---- Spark ----

_INTEGERS: Final = ("tinyint", "smallint", "int", "bigint")


@dataclass(frozen=True)
class SparkConfig:
    """Where Spark runs."""

    master: str | None = None  # None takes Spark's own settings
    scratch: str | None = None  # a folder that all workers and this process reach; None is next to the output


def write_vectors_on_spark(
    model: Path,
    histories: str,
    out: str,
    *,
    horizon: Horizon = "overall",
    dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
    settings: IntakeSettings | None = None,
    spark: SparkConfig | None = None,
) -> dict[str, Any]:
    """Write ``user_id, vector`` (an array of float), ``norm`` of each user to the folder ``out``, a Parquet file per partition.

    Args:
        model: A model folder on this machine.
        histories: A table of interactions, a release, or a folder of Parquet files, as ``prepare`` takes them on Spark.
        out: A path, or an address such as ``s3a://bucket/vectors``, where nothing exists.
        horizon: The horizon of the vectors.
        dislike_weight: How far ratings below the middle of the scale push away, from 0 to 1.
        settings: How the histories are read.
        spark: Where Spark runs.

    Returns:
        rows, rows_skipped, examples and space.

    Raises:
        FormatError: The model cannot be read or has no graph, or ``out`` exists.
        DataError: The histories cannot be read, or a row is invalid.
        SettingsError: Spark fails, or the weight of dislikes is not from 0 to 1.
        MissingExtraError: PySpark is not installed.
    """
    # Imported here: Spark workers import this module, without DuckDB.
    from tastevec.data.spark.session import address_of, is_address, spark_engine, spark_errors
    from tastevec.data.spark.tables import SparkIntake

    remote, spark, weight = is_address(out), spark or SparkConfig(), check_dislike_weight(dislike_weight)
    if not remote:
        _check_new_folder(Path(out), model, histories)
    bundle = open_bundle(model, "onnx")
    local = Path(tempfile.gettempdir()) if remote else Path(out).resolve().parent
    local.mkdir(parents=True, exist_ok=True)
    with spark_engine(local, master=spark.master, scratch=spark.scratch) as engine:
        reading = ModelReading.of(bundle.facts, bundle.reading.scale, {})
        read, _ = read_users(histories, SparkIntake(engine), reading, settings or IntakeSettings())
        row_report, users = read.row_report, engine.frame(read.table)
        written = engine.local / "vectors"  # next to the output, with the permissions that the umask allows
        address = out if remote else address_of(written)
        with spark_errors("encoding the users"):
            try:
                vectors = encode_on_spark(bundle, users, horizon=horizon, dislike_weight=weight)
                vectors.write.parquet(address)
                rows = engine.session.read.parquet(address).count()
            except BaseException:
                engine.storage.remove(address)
                raise
        if not remote:
            written.chmod(engine.local.stat().st_mode)
            allow_by_umask(written)
            _check_new_folder(Path(out), model, histories)
            written.rename(out)
    skipped = {"rows_skipped": row_report.skipped, "examples": row_report.examples}
    return {"rows": rows, **skipped, "space": bundle.space}


def _check_new_folder(out: Path, model: Path, histories: str) -> None:
    if out.exists():
        raise FormatError(f"{out}: exists. Expected a new folder. Name one with --out, or remove it.")
    check_replaceable(out, marker_file="_SUCCESS", files=("part-*",), inputs=(model, histories))


def encode_on_spark(
    model: Path | str | Bundle,
    histories: DataFrame,
    *,
    horizon: Horizon = "overall",
    dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
) -> DataFrame:
    """Return ``user_id, vector, norm`` of each user, in no particular order: the vectors of ``tastevec encode``, within 1e-5.

    Spark groups and sorts the histories by user, which spills to disk, and streams them through each worker; the model
    travels to each worker once. Workers need tastevec with the extra ``serve``, and neither torch nor DuckDB.

    Args:
        model: A model folder on this machine, or the bundle.
        histories: user_id, item_id, rating (NULL where an item was only tagged) and optional timestamp (Unix seconds) and
            position, which orders items of the same time; without it, Spark's own order of the rows.
        horizon: The horizon of the vectors.
        dislike_weight: How far ratings below the middle of the scale push away, from 0 to 1.

    Returns:
        user_id (bigint or string), vector (an array of D floats, whose metadata name the space, the horizon, the weight of
        dislikes and the metrics that rank alike) and norm, in ``spark.sql.shuffle.partitions`` partitions.

    Raises:
        DataError: A column is missing. In a worker, which fails the Spark job: an ID contains a control character, a rating
            is off the scale, or an item is rated twice by a user and the model keeps no repeats.
        FormatError: The model cannot be read, or has no graph.
        ImportError: onnxruntime is not installed.
        SettingsError: The weight of dislikes is not from 0 to 1.
    """
    how: dict[str, Any] = {"horizon": horizon, DISLIKE_WEIGHT: check_dislike_weight(dislike_weight)}
    bundle = model if isinstance(model, Bundle) else Bundle.load(Path(model), "onnx")
    if not isinstance(bundle.model, OnnxEncoder | DirectionEncoder):
        raise FormatError(
            "the model: runtime torch, which workers do not need. Expected runtime onnx. Load it with runtime='onnx'."
        )
    rows = _typed_rows(histories)
    repeats = ModelReading.of(bundle.facts, bundle.reading.scale, {}).kept_repeats
    if repeats is not None:
        rows = _delivered_once(rows)
    context = histories.sparkSession.sparkContext
    if (context.master or "").startswith("local") and "PYSPARK_PYTHON" not in os.environ:
        context.pythonExec = sys.executable  # workers on this machine have the libraries of this process
    shipped = context.broadcast(
        _Model(
            bundle.model if isinstance(bundle.model, DirectionEncoder) else bundle.model.parts,
            *(bundle.reading, bundle.item_ids, bundle.fingerprint, repeats),
        )
    )
    schema = f"{USER_ID} {dict(rows.dtypes)[USER_ID]}, {VECTOR} array<float>, {NORM} float"
    # An explicit number of partitions: Spark would join small ones, and leave all the work to one worker.
    partitions = int(histories.sparkSession.conf.get("spark.sql.shuffle.partitions", "200") or 200)
    in_order = rows.repartition(partitions, USER_ID).sortWithinPartitions(USER_ID, "timestamps", POSITION)
    vectors = in_order.mapInArrow(_Encoding(shipped, **how), schema)
    return vectors.withMetadata(VECTOR, {"space": bundle.space, **how, METRIC: RANKS_ALIKE})


def _typed_rows(histories: DataFrame) -> DataFrame:
    """Return the histories in the types of `Histories`, each row with its position."""
    types = dict(histories.dtypes)
    if missing := [name for name in (USER_ID, ITEM_ID, RATING) if name not in types]:
        raise DataError(
            f"histories: no column {', '.join(missing)} among {', '.join(types)}. Expected {USER_ID}, {ITEM_ID}, {RATING} and "
            f"optional {TIMESTAMP}."
        )
    ids = {name: "BIGINT" if types[name] in _INTEGERS else "STRING" for name in (USER_ID, ITEM_ID)}
    unknown = f"{NO_TIMESTAMP}L"
    time = f"coalesce(CAST({TIMESTAMP} AS BIGINT), {unknown})" if TIMESTAMP in types else unknown
    position = POSITION if POSITION in types else "monotonically_increasing_id()"
    return histories.selectExpr(
        *(f"CAST({name} AS {kind}) AS {name}" for name, kind in ids.items()),
        f"CAST({RATING} AS FLOAT) AS ratings",
        f"{time} AS timestamps",
        f"{position} AS {POSITION}",
    )


def _delivered_once(rows: DataFrame) -> DataFrame:
    """Return the rows without those that a later one equals, time included; one without a time is one of its own."""
    apart = rows.selectExpr("*", f"IF(timestamps = {NO_TIMESTAMP}L, {POSITION}, -1L) AS alone")
    equal = apart.groupBy(USER_ID, ITEM_ID, "ratings", "timestamps", "alone")
    return equal.agg({POSITION: "max"}).selectExpr(*rows.columns[:-1], f"`max({POSITION})` AS {POSITION}")


@dataclass(eq=False)
class _Model:
    """What travels to the workers."""

    parts: tuple[dict[str, Any], dict[str, NDArray[Any]], bytes] | DirectionEncoder
    reading: InputConfig
    item_ids: NDArray[Any]
    fingerprint: str
    repeats: ValueScale | None

    @cached_property
    def encoder(self) -> Encoder:
        """Created in the worker; on one core, because Spark starts a worker per core."""
        return self.parts if isinstance(self.parts, DirectionEncoder) else OnnxEncoder(*self.parts, cores=1)

    @cached_property
    def catalog(self) -> pa.Array:
        """The item IDs (N,)."""
        return pa.array(self.item_ids.tolist())

    def histories(self, table: pa.Table) -> Histories:
        """Return the histories of the users of a table, with known items only.

        Raises:
            DataError: An ID contains a control character, a rating is off the scale, or an item is rated twice by a user
                and the model keeps no repeats.
        """
        for name in (USER_ID, ITEM_ID):
            check_ids(table[name], f"histories, column {name}")
        ids, catalog = table[ITEM_ID], self.catalog
        if ids.type != catalog.type:  # compared as text, as everywhere
            ids, catalog = ids.cast(pa.string()), catalog.cast(pa.string())
        every = table_to_histories(
            table.append_column("items", pc.index_in(ids, catalog)), self.reading.scale, self.repeats
        )
        known, (low, high) = every.keep(every.items >= 0), self.reading.scale.limits
        wrong = np.flatnonzero((every.ratings < low) | (every.ratings > high))  # NaN: only tagged
        if len(wrong):
            raise DataError(
                f"user {every.user_ids[every.owners[wrong[0]]]}: rating {every.ratings[wrong[0]]:g}. "
                f"Expected {low:g} to {high:g}, the rating scale of the model."
            )
        pairs, counts = np.unique(known.owners * len(catalog) + known.items, return_counts=True)
        if len(pairs) < len(known.items) and self.repeats is None:
            owner, item = divmod(int(pairs[counts > 1][0]), len(catalog))
            raise DataError(
                f"user {known.user_ids[owner]}: item {self.item_ids[item]} is rated twice. Expected each item once."
            )
        return known


@dataclass(frozen=True)
class _Encoding:
    """The function that a worker applies to a partition."""

    shipped: Broadcast[_Model]
    horizon: Horizon
    dislike_weight: float

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield ``user_id, vector, norm`` of the users of a partition; a user may span several batches."""
        model = self.shipped.value  # the same object for each task of a worker: its encoder is created once
        for table in iter_user_batches(batches):
            users = model.histories(table)
            how = self.horizon, self.dislike_weight
            vectors, norms = encode_histories(model.encoder, model.reading, users, *how)
            ends = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
            lists = pa.ListArray.from_arrays(ends, pa.array(vectors.ravel()))
            ids = pa.array(users.user_ids.tolist(), table.schema.field(USER_ID).type)
            columns = {USER_ID: ids, VECTOR: lists, NORM: pa.array(norms)}
            yield pa.record_batch(columns)


# ---- similar items and users ----

_QUERIES: Final = 4096  # at once: faiss multiplies matrices, six times as fast, from 128,000 numbers on


def similar_items(recommender: Recommender, *, k: int) -> Iterator[pa.RecordBatch]:
    """Yield ``item_id, similar_item_id, rank, similarity`` of all items with a vector, in batches."""
    directions = recommender.item_directions
    present = directions.any(axis=1)
    items = Neighbors(recommender.bundle.item_ids[present], directions[present])
    return similar_among(items, ITEM_ID, k=k)


def similar_users(
    recommender: Recommender,
    users: Iterable[Histories],
    known: Neighbors,
    *,
    k: int,
    horizon: Horizon,
    dislike_weight: float = DEFAULT_DISLIKE_WEIGHT,
) -> Iterator[pa.RecordBatch]:
    """Yield ``user_id, similar_user_id, rank, similarity`` of the users of histories, in batches.

    A user who is among the ``known`` users finds themself, too. ``horizon`` is that of the known vectors.
    """
    for batch in users:
        nearest = known.nearest(recommender.vectors(batch, horizon, dislike_weight), k)
        yield neighbor_pairs(USER_ID, batch.user_ids, known.ids, *nearest)


def similar_among(known: Neighbors, name: str, *, k: int) -> Iterator[pa.RecordBatch]:
    """Yield the nearest others of each vector, in batches: its ID, ``similar_`` and the other's ID, rank from 1, similarity.

    ``name`` is the column of the IDs: ``user_id`` or ``item_id``. Memory is that of the vectors, twice, and of one batch.
    """
    for start in range(0, len(known), _QUERIES):
        rows = np.arange(start, min(start + _QUERIES, len(known)))
        indices, cosines = known.nearest(known.vectors[rows], k + 1)
        # A vector itself can have any rank among equals, or none; false sorts before true, and the sort is stable.
        others = np.argsort(indices == rows[:, None], axis=1, kind="stable")[:, : min(k, len(known) - 1)]
        indices, cosines = np.take_along_axis(indices, others, 1), np.take_along_axis(cosines, others, 1)
        yield neighbor_pairs(name, known.ids[rows], known.ids, indices, cosines)


def write_similar(
    batches: Iterable[pa.RecordBatch], out: Path, facts: dict[str, str], progress: Callable[[int], None]
) -> int:
    """Write a table of pairs to ``out``, complete or not at all; return the number of rows.

    The metadata of the file are ``facts``; ``progress`` is called with the number of rows so far.

    Raises:
        DataError: There are no rows.
    """
    rows, rest = 0, iter(batches)
    if (first := next(rest, None)) is None:
        raise DataError(
            f"{out}: no users, and no item with a vector. Expected at least one user or item to compare."
        )
    schema = first.schema.with_metadata(facts)
    with result_file(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for batch in (first, *rest):
            writer.write_batch(batch.cast(schema))
            rows += len(batch)
            progress(rows)
    return rows

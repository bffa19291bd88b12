"""Answers for a file of people, streamed into a Parquet file; a killed run goes on where it stopped.

Or, for people who outgrow one machine, Spark's answers in a folder of Parquet files.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from tastevec.data.expressions import connect
from tastevec.data.readers import ReadSettings, read_interactions
from tastevec.data.shards import fingerprint, parts_of
from tastevec.data.streaming import iter_histories
from tastevec.errors import FormatError
from tastevec.schema import ITEM_ID, RANK, SCORE, USER_ID, VECTOR
from tastevec.serving.bulk import on_gpu, sees_gpu
from tastevec.serving.hub import open_bundle
from tastevec.serving.recommender import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import Reading
    from tastevec.data.readers import RowAccount
    from tastevec.data.streaming import HistoryStream
    from tastevec.schema import Horizon
    from tastevec.serving.recommender import Recommender

__all__ = [
    "People",
    "SparkPlace",
    "Written",
    "load_for_many",
    "open_people",
    "write_recommendations",
    "write_vectors",
    "write_vectors_on_spark",
]


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


@dataclass(frozen=True)
class Written:
    """What came of it.

    Attributes:
        rows: Of the file.
        found: People whose answers an interrupted run had left, so that they were not asked again.
    """

    rows: int
    found: int


@dataclass(frozen=True)
class SparkPlace:
    """Where Spark is.

    Attributes:
        master: Where it runs; None is what its own settings say.
        scratch: The address of a folder that all workers and this process reach; None is beside what is written.
    """

    master: str | None = None
    scratch: str | None = None


def load_for_many(folder: Path) -> Recommender:
    """The recommender of a bundle folder, computed by what answers many people fastest here: a GPU, if torch sees one.

    Raises:
        FormatError: It is missing, damaged, or of another format version.
    """
    if sees_gpu() and find_spec("torch"):
        recommender = load(folder, runtime="torch")
        if on_gpu(recommender.bundle.model):
            return recommender
    return load(folder)


def open_people(
    path: Path | Literal["-"],
    recommender: Recommender,
    *,
    skip_bad_rows: bool = False,
    memory: str = "512MB",
    tell: Callable[[int], None] = lambda _users: None,
) -> People:
    """The people of a CSV or Parquet file, or of CSV on standard input (``-``).

    Args:
        path: A table with user, item, rating and, if known, time.
        recommender: The model that will be asked; it knows its films and its scale of ratings.
        skip_bad_rows: Count bad rows and set them aside instead of refusing the file.
        memory: What DuckDB may hold while it sorts the file; the rest goes to disk.
        tell: Called with the number of people answered so far.

    Raises:
        SourceError: The file is no table of interactions.
        BadRowError: A row is wrong and ``skip_bad_rows`` is off.
        SettingsError: ``memory`` is no size, or too little; or the disk is full.
    """
    settings = _read_settings(recommender.bundle.reading, skip_bad_rows=skip_bad_rows)
    table, account = read_interactions(path, connection=connect(memory), settings=settings)
    id_type = table.schema().to_pyarrow().field(USER_ID).type
    return People(iter_histories(table, recommender.bundle.item_ids), account, id_type, tell)


def write_vectors(
    recommender: Recommender, people: People, out: Path, *, horizon: Horizon = "next"
) -> Written:
    """Write ``user_id, vector`` (a fixed-size list of float32) of each person to ``out``.

    What is answered is kept beside ``out``, in ``OUT.unfinished``, until the file is whole. The same call after it was
    interrupted, even killed, reads the people again but asks only for those who are missing; the file is then the same,
    byte for byte, as that of a run that was never interrupted.
    """
    dim = recommender.item_vectors.shape[1]
    columns = {USER_ID: people.id_type, VECTOR: pa.list_(pa.float32(), dim)}
    schema = _schema(columns, recommender, horizon)
    made_by = _made_by(recommender, answer="vectors", horizon=horizon)
    return _written(people, out, schema, made_by, lambda group: recommender.encoded([group], horizon))


def write_recommendations(
    recommender: Recommender, people: People, out: Path, *, k: int = 10, horizon: Horizon = "next"
) -> Written:
    """Write ``user_id, item_id, rank, score`` to ``out``, ``k`` films a person, ranks from 1; kept as `write_vectors` does.

    Raises:
        SettingsError: ``k`` is below 1.
    """
    item_type = recommender.bundle.items.schema.field(ITEM_ID).type
    columns = {USER_ID: people.id_type, ITEM_ID: item_type, RANK: pa.int32(), SCORE: pa.float32()}
    schema = _schema(columns, recommender, horizon)
    made_by = _made_by(recommender, answer="recommendations", horizon=horizon, k=k)
    return _written(
        people, out, schema, made_by, lambda group: recommender.recommended([group], k=k, horizon=horizon)
    )


def write_vectors_on_spark(
    model: Path,
    histories: str,
    out: str,
    *,
    horizon: Horizon = "next",
    skip_bad_rows: bool = False,
    spark: SparkPlace | None = None,
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
    from tastevec.data.spark.reading import read_source  # noqa: PLC0415  as above
    from tastevec.data.spark.session import (  # noqa: PLC0415  as above
        is_address,
        plain_spark_errors,
        spark_engine,
    )
    from tastevec.serving.on_spark import encode_on_spark  # noqa: PLC0415  as above

    bundle, far, spark = open_bundle(model, "onnx"), is_address(out), spark or SparkPlace()
    if not far and Path(out).exists():
        raise FormatError(f"{out} is there already; expected a new folder: name one with --out, or remove it")
    near = Path(tempfile.gettempdir()) if far else Path(out).resolve().parent
    near.mkdir(parents=True, exist_ok=True)
    settings = _read_settings(bundle.reading, skip_bad_rows=skip_bad_rows)
    with spark_engine(near, master=spark.master, scratch=spark.scratch) as engine:
        source = read_source(histories, engine=engine, connection=connect(), settings=settings)
        [account, *_] = source.accounts
        people = engine.session.table(source.interactions.get_name())
        address = out if far else f"file:{Path(out).resolve()}"
        with plain_spark_errors("encoding the people"):
            try:
                encode_on_spark(bundle, people, horizon=horizon).write.parquet(address)
                rows = engine.session.read.parquet(address).count()
            except BaseException:
                engine.storage.remove(address)
                raise
    facts = {"rows": rows, "rows_set_aside": account.set_aside, "examples": account.examples}
    return facts | {"space": bundle.space}


def _read_settings(reading: Reading, *, skip_bad_rows: bool) -> ReadSettings:
    """How a table is read for a model, which knows one scale of ratings."""
    scale = reading.scale
    return ReadSettings(skip_bad_rows=skip_bad_rows, rating_range=(scale.low, scale.high))


def _written(
    people: People,
    out: Path,
    schema: pa.Schema,
    made_by: str,
    ask: Callable[[Histories], Iterable[pa.RecordBatch]],
) -> Written:
    """What the model says of the people, in the file ``out``, whole or not at all."""
    found = 0
    with closing(people.stream) as groups, parts_of(out, schema) as parts:
        for group in groups:
            if not parts.add(fingerprint(group, made_by), partial(ask, group)):
                found += len(group)
            people.tell(groups.users)
        return Written(parts.join(), found)


def _made_by(recommender: Recommender, **asked: Any) -> str:  # noqa: ANN401  plain values
    """All that an answer depends on besides the person's history."""
    told = {"tastevec": version("tastevec"), "model": recommender.bundle.fingerprint, **asked}
    return json.dumps(told, sort_keys=True)


def _schema(columns: dict[str, pa.DataType], recommender: Recommender, horizon: Horizon) -> pa.Schema:
    """The file says which space its numbers live in: those of two spaces are not to be compared."""
    return pa.schema(columns, metadata={"space": recommender.bundle.space, "horizon": horizon})

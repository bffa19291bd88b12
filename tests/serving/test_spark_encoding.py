"""Encoding on Spark equals encoding in one process."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tastevec.cli.app import app
from tastevec.data.inputs import InputConfig
from tastevec.data.value_scale import HALF_STARS
from tastevec.errors import DataError, FormatError
from tastevec.pipelines.batch import encode_on_spark, write_vectors
from tastevec.serving.bundle import Bundle
from tastevec.serving.encoder import OnnxEncoder
from tastevec.serving.recommender import Recommender, load

pytestmark = pytest.mark.slow
REAL = Path(__file__).parents[3] / "shared" / "data" / "ml-latest-small"
HORIZONS = pytest.mark.parametrize("horizon", ["next", "overall"])


@pytest.fixture(scope="module", name="spark")
def _spark(tmp_path_factory):
    """Return a session with seven rows per batch, so that users span batches."""
    pytest.importorskip("pyspark", reason="pyspark is not installed: pip install 'tastevec[spark]'")
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java", path=home and f"{home}/bin") is None:
        pytest.skip("Spark needs Java, and there is none")
    from pyspark import SparkContext  # noqa: PLC0415  only where it is installed
    from pyspark.sql import SparkSession  # noqa: PLC0415  as above

    from tastevec.data.spark.session import launch_conf  # noqa: PLC0415  as above

    running = SparkContext._active_spark_context
    builder = SparkSession.builder
    for name, value in launch_conf("local[2]", tmp_path_factory.mktemp("spark")).items():
        builder = builder.config(name, value)
    shared = builder.getOrCreate()
    session = shared.newSession()
    session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "7")
    session.conf.set("spark.sql.shuffle.partitions", "3")
    yield session
    if running is None:
        shared.stop()


@pytest.fixture(scope="module", name="real_model")
def _real_model(tmp_path_factory):
    """Return a tiny untrained network over the items of the real release."""
    if not REAL.is_dir():
        pytest.skip("the real data are not here")
    from encoders import SCALE, TASTE, encoder  # noqa: PLC0415  torch
    from tastevec.model.export import export_onnx  # noqa: PLC0415  as above

    folder = tmp_path_factory.mktemp("real")
    items = pa.compute.unique(pcsv.read_csv(REAL / "ratings.csv")["movieId"]).sort()
    model = encoder(items=len(items), **TASTE)
    model.save_pretrained(folder)
    export_onnx(model, folder / "encoder.onnx")
    reading = InputConfig(
        dataclasses.replace(HALF_STARS, n_bins=SCALE.n_bins), max_history=12, max_history_overall=100
    )
    return Bundle(OnnxEncoder.load(folder), reading, pa.table({"item_id": items}), {"space": "tiny"}, None)


def here(model, histories, out, horizon):
    """Return the vectors of one process, by user."""
    recommender = Recommender(model) if isinstance(model, Bundle) else load(model)
    write_vectors(recommender, recommender.open_file(histories), out, horizon=horizon)
    return by_user(pq.read_table(out).to_pylist())


def there(encoded, folder):
    """Return the vectors of Spark, by user; written to files, because PySpark leaves the sockets of `collect` open."""
    encoded.write.parquet(str(folder))
    return by_user(pq.read_table(folder).to_pylist())


def nowhere(encoded):
    """Compute all vectors without storing them."""
    encoded.write.format("noop").mode("overwrite").save()


def by_user(rows):
    return {row["user_id"]: row["vector"] for row in rows}


def alike(found, expected):
    assert sorted(found) == sorted(expected)
    for user, vector in expected.items():
        np.testing.assert_allclose(found[user], vector, rtol=1e-5, atol=1e-5)


def crowd(users=200, seed=1):
    """Return users with 1 to 22 items, four of them unknown, many equal timestamps and some tag-only rows."""
    rng = np.random.default_rng(seed)
    rows = [
        (
            user,
            item,
            None if rng.random() < 0.05 else float(rng.integers(1, 6)),
            1_000_000_000 + int(rng.integers(0, 4)) * 90_000,
        )
        for user in range(1, users + 1)
        for item in rng.choice(24, int(rng.integers(1, 23)), replace=False).tolist()
    ]
    columns = list(zip(*rows, strict=True))
    return pa.table(dict(zip(("user_id", "item_id", "rating", "timestamp"), columns, strict=True)))


def untagged(table):
    """Drop the tag-only rows, which a plain table cannot contain."""
    return table.filter(pa.compute.is_valid(table["rating"]))


@HORIZONS
@pytest.mark.parametrize("ids", ["numbers", "names"])
def test_spark_vectors_of_generated_users_equal_one_process(horizon, ids, spark, bundle_folder, tmp_path):
    table = untagged(crowd())
    if ids == "names":
        names = pa.array([f"person {user}" for user in table["user_id"].to_pylist()])
        table = table.set_column(0, "user_id", names).set_column(
            1, "item_id", table["item_id"].cast(pa.string())
        )
    pq.write_table(table, tmp_path / "h.parquet", row_group_size=500)
    frame = spark.read.parquet(str(tmp_path / "h.parquet"))
    encoded = encode_on_spark(bundle_folder, frame, horizon=horizon)
    assert encoded.schema["vector"].metadata == {
        "space": Bundle.load(bundle_folder).space,
        "horizon": horizon,
        "dislike_weight": 0.4,
        "metric": "inner product, cosine and Euclidean distance rank items alike",
    }
    expected = here(bundle_folder, tmp_path / "h.parquet", tmp_path / "v.parquet", horizon)
    alike(there(encoded, tmp_path / "vectors"), expected)
    assert (
        len(list((tmp_path / "vectors").glob("part-*.parquet"))) == 3
    )  # one user per partition: no work was combined


def test_spark_reads_tag_only_interactions(spark, bundle_folder, tmp_path):
    table = crowd(60)
    rows = list(zip(*table.to_pydict().values(), strict=True))
    frame = spark.createDataFrame(rows, "user_id long, item_id long, rating double, timestamp long")
    encoded = there(encode_on_spark(bundle_folder, frame), tmp_path / "vectors")
    with_stars = there(encode_on_spark(bundle_folder, frame.na.fill({"rating": 3.0})), tmp_path / "stars")
    assert sorted(encoded) == list(range(1, 61))
    assert any(not np.allclose(encoded[user], with_stars[user]) for user in encoded)


@HORIZONS
def test_spark_vectors_of_real_users_equal_one_process(horizon, spark, real_model, tmp_path):
    frame = spark.read.option("header", "true").option("inferSchema", "true").csv(str(REAL / "ratings.csv"))
    frame = frame.withColumnsRenamed({"userId": "user_id", "movieId": "item_id"})
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "1000")
    encoded = there(encode_on_spark(real_model, frame, horizon=horizon), tmp_path / "vectors")
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "7")
    alike(encoded, here(real_model, REAL / "ratings.csv", tmp_path / "v.parquet", horizon))


@pytest.mark.usefixtures("spark")
def test_encode_command_on_spark_writes_parts_with_all_users(bundle_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = untagged(crowd())
    pcsv.write_csv(table, tmp_path / "h.csv")
    before = os.umask(0o077)
    try:
        result = CliRunner().invoke(
            app, ["encode", str(bundle_folder), "h.csv", "--engine", "spark", "--out", "vectors", "--json"]
        )
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "vectors").iterdir()} == {0o600}
    assert (tmp_path / "vectors").stat().st_mode & 0o777 == 0o700
    assert result.exit_code == 0, result.stderr
    assert f'"rows": {len(table["user_id"].unique())}' in result.stdout
    assert (tmp_path / "vectors" / "_SUCCESS").exists()
    expected = here(bundle_folder, Path("h.csv"), Path("v.parquet"), "overall")
    alike(by_user(pq.read_table(tmp_path / "vectors").to_pylist()), expected)
    again = CliRunner().invoke(
        app, ["encode", str(bundle_folder), "h.csv", "--engine", "spark", "--out", "vectors"]
    )
    assert again.exit_code == 1
    assert "vectors: exists" in again.stderr
    inside = CliRunner().invoke(
        app, ["encode", str(bundle_folder), "h.csv", "--engine", "spark", "--out", str(bundle_folder / "v")]
    )
    assert "inside the input" in inside.stderr


@pytest.mark.usefixtures("spark")
def test_invalid_rows_on_spark_are_refused_or_skipped_without_partial_output(
    bundle_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    rows = ["user_id,item_id,rating", "ann,1,5", "ann,2,eleven", "bob,3,4"]
    (tmp_path / "odd.csv").write_text("\n".join(rows) + "\n")
    command = ["encode", str(bundle_folder), "odd.csv", "--engine", "spark", "--out", "vectors"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 1
    assert "odd.csv, line 3" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["odd.csv"]
    spoken = CliRunner().invoke(app, [*command, "--bad-rows", "drop:50%"])
    assert "Wrote 2 user vectors to vectors (" in spoken.stdout
    assert "Skipped 1 row: 1 rating: not a number" in spoken.stdout


def test_spark_worker_refuses_invalid_input(spark, bundle_folder):
    from pyspark.errors import PythonException  # noqa: PLC0415  only where it is installed

    twice = spark.createDataFrame([(1, 3, 4.0), (1, 3, 5.0)], "user_id long, item_id long, rating double")
    with pytest.raises(PythonException, match=r"user 1: item 3 is rated twice. Expected each item once"):
        nowhere(encode_on_spark(bundle_folder, twice))
    high = spark.createDataFrame([(1, 3, 4.0), (2, 3, 50.0)], "user_id long, item_id long, rating double")
    with pytest.raises(
        PythonException, match=r"user 2: rating 50. Expected [0-9.]+ to 5, the rating scale of the model"
    ):
        nowhere(encode_on_spark(bundle_folder, high))
    control = spark.createDataFrame([("a\nb", "3", 4.0)], "user_id string, item_id string, rating double")
    with pytest.raises(PythonException, match=r"column user_id: 'a\\nb' contains a control character"):
        nowhere(encode_on_spark(bundle_folder, control))


def test_spark_reads_kept_repeats(spark, bundle_folder):
    bundle = Bundle.load(bundle_folder, "onnx")
    data = {**bundle.facts["data"], "feedback": {**bundle.facts["data"]["feedback"], "repeats": "keep"}}
    bundle = dataclasses.replace(bundle, facts={**bundle.facts, "data": data})
    rows = [(3, 4.0, 50), (5, 2.0, 60), (3, 1.0, 70), (5, 2.0, 60), (8, 5.0, 90)]
    frame = spark.createDataFrame(
        [(1, *row) for row in rows], "user_id long, item_id long, rating double, timestamp long"
    )
    [found] = encode_on_spark(bundle, frame, horizon="next").collect()
    expected = Recommender(bundle).encode(
        [(item, value, 1_600_000_000 + time) for item, value, time in rows], horizon="next"
    )
    np.testing.assert_allclose(found["vector"], expected, atol=1e-5)


def test_missing_column_or_torch_bundle_is_refused_before_spark_starts(spark, bundle_folder):
    frame = spark.createDataFrame([(1, 3)], "user_id long, item_id long")
    with pytest.raises(DataError, match="no column rating"):
        encode_on_spark(bundle_folder, frame)
    with pytest.raises(FormatError, match="the model: runtime torch, which workers do not need"):
        encode_on_spark(Bundle.load(bundle_folder, "torch"), frame)


# A separate session with task retries; the first worker is killed during its task.
KILLED = """
    import os, signal, sys, tempfile
    from pathlib import Path
    from pyspark.sql import SparkSession
    from tastevec.data.spark.session import launch_conf
    from tastevec.pipelines import batch as pipeline

    model, histories, out, mark = sys.argv[1:]

    class Killed(pipeline._Encoding):
        def __call__(self, batches):
            for number, batch in enumerate(super().__call__(batches)):
                yield batch
                if not Path(mark).exists():
                    Path(mark).touch()
                    os.kill(os.getpid(), signal.SIGKILL)

    pipeline._Encoding = Killed
    with tempfile.TemporaryDirectory() as scratch:
        builder = SparkSession.builder
        for name, value in launch_conf("local[2,3]", Path(scratch)).items():
            builder = builder.config(name, value)
        spark = builder.getOrCreate()
        frame = spark.read.parquet(histories)
        pipeline.encode_on_spark(model, frame).write.parquet(out)
        spark.stop()
"""


def test_killed_spark_worker_is_replaced_without_lost_users(spark, bundle_folder, tmp_path):
    del spark  # only requires Spark
    histories, mark = tmp_path / "h.parquet", tmp_path / "killed"
    pq.write_table(untagged(crowd()), histories)
    arguments = [bundle_folder, histories, tmp_path / "vectors", mark]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert mark.exists()
    found = pq.read_table(tmp_path / "vectors").to_pylist()
    assert len(found) == len(by_user(found))  # no duplicate users
    alike(by_user(found), here(bundle_folder, histories, tmp_path / "v.parquet", "overall"))

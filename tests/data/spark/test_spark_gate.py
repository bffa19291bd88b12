"""The small set of Spark tests that runs in every gate: prepare as on DuckDB, encode as in one process."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import worlds
from engines import preprocessed_by
from tastevec.data.spark import session
from tastevec.pipelines.batch import encode_on_spark
from tastevec.serving.recommender import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    ),
]


@pytest.fixture(autouse=True)
def _not_compiled(spark, monkeypatch):
    """Switch off Spark's compiler, which takes longer than tables of a few rows."""
    del spark
    monkeypatch.setitem(session.SESSION_CONF, "spark.sql.codegen.wholeStage", "false")
    monkeypatch.setitem(session.SESSION_CONF, "spark.sql.codegen.factoryMode", "NO_CODEGEN")


def test_release_with_tags_and_broken_rows_is_preprocessed_as_on_duckdb(tmp_path):
    folder = worlds.write_csv_release(tmp_path / "release")
    with (folder / "ratings.csv").open("ab") as file:
        file.write(b"1,1,five,5\n1,1,5\n1,1,5\r,5\n,1,5,5\n\n")
    by_duckdb, by_spark = (
        preprocessed_by(engine, folder, tmp_path, bad_rows=0.1) for engine in ("duckdb", "spark")
    )
    assert by_spark == by_duckdb
    assert sum(by_spark["row_reports"][0].skipped.values()) == 4


def test_users_are_encoded_as_in_one_process(spark, bundle_folder, tmp_path):
    columns = zip(*worlds.ratings(), strict=True)
    table = pa.table(dict(zip(("user_id", "item_id", "rating", "timestamp"), columns, strict=True)))
    pq.write_table(table, tmp_path / "histories.parquet")
    frame = spark.read.parquet(str(tmp_path / "histories.parquet"))
    encode_on_spark(bundle_folder, frame).write.parquet(str(tmp_path / "vectors"))
    found, expected = (
        pq.read_table(tmp_path / "vectors").sort_by("user_id"),
        load(bundle_folder).encode(table).to_arrow(),
    )
    expected = expected.sort_by("user_id")
    assert found["user_id"].to_pylist() == expected["user_id"].to_pylist()
    np.testing.assert_allclose(
        found["vector"].to_pylist(), expected["vector"].to_pylist(), rtol=1e-5, atol=1e-5
    )

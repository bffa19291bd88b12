"""The small set of Spark tests that runs in every gate: prepare as on DuckDB, encode as in one process."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import worlds
from engines import prepared_by_both, read_by
from tastevec.data.spark import session
from tastevec.errors import BadRowError
from tastevec.pipelines.batch import encode_on_spark
from tastevec.serving.recommender import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    ),
]
INVALID = b"1,1,five,5\n1,01,5,5\n,1,5,5\n1,1,5,yesterday\n1,1,5\n1,1,5\r,5\n1,16,3,99\n"


@pytest.fixture(autouse=True)
def _not_compiled(spark, monkeypatch):
    """Switch off Spark's compiler, which takes longer than tables of a few rows."""
    del spark
    monkeypatch.setitem(session.SESSION_CONF, "spark.sql.codegen.wholeStage", "false")
    monkeypatch.setitem(session.SESSION_CONF, "spark.sql.codegen.factoryMode", "NO_CODEGEN")


def test_release_with_invalid_rows_is_prepared_and_refused_as_on_duckdb(tmp_path):
    folder = worlds.write_csv_release(tmp_path / "release")
    with (folder / "ratings.csv").open("ab") as file:
        file.write(INVALID)
    by_duckdb, by_spark = prepared_by_both(folder, tmp_path, skip_bad_rows=True)
    assert by_spark == by_duckdb
    assert sum(by_spark["source"]["files"][0]["skipped"].values()) == INVALID.count(b"\n")
    messages = []
    for engine in ("duckdb", "spark"):
        with (
            pytest.raises(
                BadRowError, match=r"ratings\.csv, line 194, column rating: 'five' \(7 of 199"
            ) as caught,
            read_by(engine, folder, tmp_path),
        ):
            pass
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_control_characters_in_ids_are_invalid_as_on_duckdb(tmp_path):
    table = tmp_path / "mine.csv"
    ids = ["a\tb", "a\x01b", "a\x7fb", "a\x9fb"]
    table.write_text("user,item,rating\n" + "".join(f"{name},1,5\n" for name in [*ids, "Zoë\u00a0"]))
    reports = []
    for engine in ("duckdb", "spark"):
        with read_by(engine, table, tmp_path, skip_bad_rows=True) as (source, _):
            reports.append(source.row_reports[0])
    assert reports[0] == reports[1]
    assert (reports[0].rows_kept, reports[0].skipped) == (1, {"control character": 4})


def test_release_in_the_format_of_ml_10m_is_prepared_as_on_duckdb(tmp_path):
    by_duckdb, by_spark = prepared_by_both(worlds.write_10m(tmp_path / "release"), tmp_path)
    assert by_spark == by_duckdb
    assert by_spark["counts"]["tag_only"] == 2


def test_users_are_encoded_as_in_one_process(spark, bundle_folder, tmp_path):
    columns = zip(*worlds.ratings(), strict=True)
    table = pa.table(dict(zip(("user_id", "item_id", "rating", "timestamp"), columns, strict=True)))
    pq.write_table(table, tmp_path / "histories.parquet")
    frame = spark.read.parquet(str(tmp_path / "histories.parquet"))
    encode_on_spark(bundle_folder, frame).write.parquet(str(tmp_path / "vectors"))
    found, expected = (
        pq.read_table(tmp_path / "vectors").sort_by("user_id"),
        load(bundle_folder).encode(table),
    )
    expected = expected.sort_by("user_id")
    assert found["user_id"].to_pylist() == expected["user_id"].to_pylist()
    np.testing.assert_allclose(
        found["vector"].to_pylist(), expected["vector"].to_pylist(), rtol=1e-5, atol=1e-5
    )

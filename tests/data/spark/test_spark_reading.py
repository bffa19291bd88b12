"""Spark reads, refuses and skips the same rows as DuckDB."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import worlds
from engines import preprocessed_by, read_by
from tastevec.data.readers import validate as rows
from tastevec.data.spark import session, validate
from tastevec.data.spark.session import Storage
from tastevec.errors import BadRowError
from tastevec.pipelines.prepare import PrepareSettings
from tastevec.pipelines.prepare import write_prepared as prepare

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("spark"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    ),
]
REMOVE = Storage.remove
HEADER = b"userId,movieId,rating,timestamp"
BAD = [
    *(
        b"1,1,five,5",
        b"1,1,1_0,5",
        b"1,1,,5",
        b"1,1,5.5,5",
        b"1,1,nan,5",
        b"1,1,-inf,5",
        b"one,1,5,5",
        b"1,1.5,5,5",
    ),
    *(
        b"1,01,5,5",
        b"1,99999999999999999999,5,5",
        b",1,5,5",
        b"1,1,5,yesterday",
        b"1,1,5,980650000000",
        b"1,1,5,-1",
    ),
    *(b"1,1,5", b"1,1,5,5,", b"1,1,5\0,5", b"1,1,5\r,5", b'1,1,"5,5', b'1,1,5",9"5', b" 1,1,5,5", HEADER),
]
GOOD = [b"1,1,5,5", b'"2","1",4.5,6', b"", b"3,1,+4,7", b"4,1, 4e0 ,8", b"-5,1,.5,9"]
REPEATED = [b"1,1,3,99", b"2,1,3,99", b"1,1,4,99"]
UNDECODABLE = [b"6,1,5,98065\xff0000", "7,1,5\U0010ffff,5".encode()]


@pytest.fixture(autouse=True)
def _not_compiled(monkeypatch):
    """Switch off Spark's compiler, which takes longer than tables of a few rows."""
    monkeypatch.setitem(session.SESSION_CONF, "spark.sql.codegen.wholeStage", "false")
    monkeypatch.setitem(session.SESSION_CONF, "spark.sql.codegen.factoryMode", "NO_CODEGEN")


@pytest.fixture
def all_examples(monkeypatch):
    """Make every invalid row an example."""
    for module in (rows, validate):
        monkeypatch.setattr(module, "EXAMPLES", 1_000)


def row_reports(path, folder, engines=("duckdb", "spark"), **settings):
    """Return the row reports of each engine."""
    found = []
    for engine in engines:
        with read_by(engine, path, folder, skip_bad_rows=True, **settings) as (source, _):
            found.append(source.row_reports)
    return found


def refused(engine, path, folder):
    with pytest.raises(BadRowError) as caught, read_by(engine, path, folder):
        pass
    return str(caught.value)


@pytest.mark.usefixtures("all_examples")
def test_invalid_rows_are_counted_and_described_as_on_duckdb(tmp_path):
    folder = worlds.write_csv_release(tmp_path / "release")
    lines = [HEADER, *GOOD, *BAD, *REPEATED, b"8,1,4,10"]
    (folder / "ratings.csv").write_bytes(b"\r\n".join(lines) + b"\r\n")
    by_duckdb, by_spark = row_reports(folder, tmp_path)
    assert by_spark == by_duckdb
    assert by_spark[0].rows_kept == 6
    assert refused("spark", folder, tmp_path) == refused("duckdb", folder, tmp_path)


@pytest.mark.usefixtures("all_examples")
def test_undecodable_bytes_are_counted_as_on_duckdb(tmp_path):
    folder = worlds.write_csv_release(tmp_path / "release")
    (folder / "ratings.csv").write_bytes(b"\n".join([HEADER, *GOOD, *UNDECODABLE]))
    (by_duckdb, *_), (by_spark, *_) = row_reports(folder, tmp_path)
    assert by_spark.skipped == by_duckdb.skipped == {"undecodable byte": 2}
    found = "ratings.csv, line 8, column timestamp: '98065\ufffd0000' contains an undecodable byte"
    assert by_spark.examples[0].startswith(found)


@pytest.mark.parametrize(
    "write",
    [worlds.write_100k, worlds.write_1m, worlds.write_10m, worlds.write_recbole],
    ids=lambda w: w.__name__,
)
def test_every_format_is_read_as_on_duckdb(write, tmp_path):
    folder = write(tmp_path / "release")
    assert preprocessed_by("spark", folder, tmp_path) == preprocessed_by("duckdb", folder, tmp_path)


def test_order_of_a_file_in_many_pieces_breaks_ties(tmp_path, monkeypatch):
    monkeypatch.setitem(session.SESSION_CONF, "spark.sql.files.maxPartitionBytes", "2000")
    items = np.random.default_rng(7).permutation(1_500)
    lines = [f"{item % 3},{item},4,{item % 2}" for item in items.tolist()]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["user_id,item_id,rating,timestamp", *lines]), encoding="utf-8-sig")
    by_spark = preprocessed_by("spark", path, tmp_path)
    assert by_spark == preprocessed_by("duckdb", path, tmp_path)
    with read_by("spark", path, tmp_path) as (_, engine):
        assert engine.session.read.text(str(path)).rdd.getNumPartitions() > 5


def parquet(path, users, items, times):
    """One Parquet of interactions, in row groups of 7."""
    ratings = pa.array([3.5 + row % 2 for row in range(len(users))], pa.float32())
    table = pa.table({"User ID": users, "movie": items, "rating": ratings, "date": times})
    pq.write_table(table, path, row_group_size=7)
    return table


def test_folder_of_parts_is_read_in_the_order_of_their_names(tmp_path):
    folder = tmp_path / "odd [1] {a} %41 ü"
    parts = folder / "parts"
    parts.mkdir(parents=True)
    days = [datetime(2024, 1, day, tzinfo=UTC) for day in (3, 3, 1, 2, 2) * 8]
    tables = [
        parquet(
            parts / f"part {number} %41.parquet",
            pa.array([2**60 + row % 3 for row in range(40)]),
            pa.array(range(40 * number, 40 * number + 40), pa.int32()),
            pa.array(days, pa.timestamp("us")),
        )
        for number in (2, 0, 1)
    ]
    (parts / "_SUCCESS").touch()
    joined = tmp_path / "joined.parquet"
    pq.write_table(pa.concat_tables([tables[1], tables[2], tables[0]]), joined)
    by_spark, by_duckdb = preprocessed_by("spark", parts, folder), preprocessed_by("duckdb", joined, folder)
    assert (by_spark["files"], by_spark["counts"]) == (by_duckdb["files"], by_duckdb["counts"])


TYPES = {
    "numbers": (
        pa.array([1, None, 3, 1]),
        pa.array(["a", "b", "", "a"]),
        pa.array([978_300_760.5, None, -5.0, 1e9]),
    ),
    "texts": (
        pa.array(["1", None, "3", "007"]),
        pa.array([1, 2, 3, None], pa.decimal128(4, 0)),
        pa.array(["2001-01-01", "", "2001-01-01 10:00:00+02", "soon"]),
    ),
    "numbers with points": (pa.array([1.5, 2.0, None, 4.0]), pa.array([1, 2, 3, 4]), pa.array([1, 2, 3, 4])),
}


@pytest.mark.parametrize("columns", TYPES.values(), ids=TYPES)
def test_parquet_columns_of_every_type_are_validated_as_on_duckdb(columns, tmp_path):
    path = tmp_path / "own.parquet"
    parquet(path, *columns)
    assert refused("spark", path, tmp_path) == refused("duckdb", path, tmp_path)


@pytest.fixture
def collection(spark, tmp_path):
    """Return a folder and an address at which only Spark can read it."""
    folder = tmp_path / "remote"
    folder.mkdir()
    conf = spark._jsc.hadoopConfiguration()
    conf.set("fs.viewfs.mounttable.remote.link./data", f"file:{folder}")
    conf.set("fs.viewfs.impl.disable.cache", "true")
    return folder, "viewfs://remote/data"


def test_release_at_an_address_is_prepared_as_on_duckdb_and_scratch_is_left_empty(collection, tmp_path):
    folder, address = collection
    release = worlds.write_csv_release(folder / "release", genome=True)
    (folder / "scratch").mkdir()
    by_duckdb = prepare(release, tmp_path / "duckdb", settings=PrepareSettings(preset="bert-cosine"))
    how = PrepareSettings(preset="bert-cosine", engine="spark", scratch=f"{address}/scratch")
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Storage, "remove", lambda storage, address: seen.append(address) or REMOVE(storage, address)
        )
        by_spark = prepare(f"{address}/release", tmp_path / "spark", settings=how)
    assert by_spark.fingerprint == by_duckdb.fingerprint
    assert by_spark.manifest["source"] == by_duckdb.manifest["source"]
    assert all(found.startswith(f"{address}/scratch/.tastevec-spark-") for found in seen)
    assert not any((folder / "scratch").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["duckdb", "remote", "spark"]

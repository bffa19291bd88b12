"""Spark reads, refuses and skips the same rows as DuckDB."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import worlds
from engines import preprocessed_by, read_by
from tastevec.data.spark import session
from tastevec.data.spark.session import Storage
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
HEADER = "userId,movieId,rating,timestamp\n"
GOOD = "".join(f"{row % 7},{row % 11},{1 + row % 5},{978_300_760 + 50 * row}\n" for row in range(60))
# What a file of rows may hold besides good ones, and the share of bad rows that is dropped.
ODD = {
    "broken rows": ('1,1,5\n1,1,5,5,\n1,1,5\r,5\n1,1,5",9"5\n"1"x,2,3,4\n \n\n1,1,5\0,5\n', 0.2),
    "broken row": ("1,1,5\n", None),
    "too many": ("1,1,5\n" * 9, 0.05),
    "bytes that are no text": ("6,Zoë,5,98065\udcff0000\n7,1,5\U0010ffff,5\n", 0.1),
    "ISO-8859-1": ("6,caf\udce9,5,978300760\n", None),
    "quote left open": ('1,1,"5,5\n2,2,2,2\n', 0.2),
    "quote that a later one closes": ('1,1,"5,5\n2,2,2,2\n2,"3",4,5\n', 0.2),
    "quote on the last line": ('1,1,5,"5\n', 0.2),
    "quoted fields": ('"8","a,""b""",4.5,978300760\r\n\r\n', None),
    "no number": ("1,2,five,978300760\n", None),
    "no numbers": ("1,2,five,978300760\n,4,5,978300760\nnan,4,,978300760\n", 0.1),
    "no id": ("NULL,2,5,978300760\n", None),
    "no time": ("1,20,5,soon\n", None),
    "repeats": ("1,1,3,978300760\n1,1,4,978300761\n2,2,1,978300760\n2,2,1,978300760\n", None),
    "rows without a time": ("1,20,3,\n2,20,4,\n", None),
}
OWN = {
    "implicit": "user;item\na;x\na;y\nb;x\nb;z\nb;x\n",
    "weighted": "user\titem\thours\tdate\n"
    + "".join(f"u{row % 7}\t{row % 5}\t{row * 1.1:.1f}\t2019-10-{1 + row % 20:02}\n" for row in range(60)),
    "events": "user,item,event\n"
    + "".join(f"{row % 7},{row % 5},{('view', 'cart', 'dislike')[row % 3]}\n" for row in range(60)),
    "sorted ties": "user,item,rating,time\n"
    + "".join(f"{user},{item},{1 + item % 5},86400000\n" for user in (1, 2, 3) for item in range(9)),
    "constant": "user,item,rating\n" + "".join(f"{row % 4},i{row},1\n" for row in range(16)),
    "a strange name": "reader,book,points\n" + "".join(f"{row % 4},{row},{row % 7}\n" for row in range(28)),
    "no positive": "user,item,rating\n" + "".join(f"{row % 4},{row},{row % 2 + 1}\n" for row in range(28)),
}


@pytest.fixture(autouse=True)
def _not_compiled(monkeypatch):
    """Switch off Spark's compiler, which takes longer than tables of a few rows."""
    monkeypatch.setitem(session.SESSION_CONF, "spark.sql.codegen.wholeStage", "false")
    monkeypatch.setitem(session.SESSION_CONF, "spark.sql.codegen.factoryMode", "NO_CODEGEN")


def both(source, folder, **settings):
    """Return what Spark makes of the source, which is what DuckDB makes of it."""
    by_duckdb, by_spark = (
        preprocessed_by(engine, source, folder, **settings) for engine in ("duckdb", "spark")
    )
    assert by_spark == by_duckdb
    return by_spark


@pytest.mark.parametrize(("rows", "share"), ODD.values(), ids=ODD)
def test_odd_rows_are_counted_dropped_and_refused_as_on_duckdb(rows, share, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_bytes((HEADER + GOOD + rows).encode(errors="surrogateescape"))
    both(path, tmp_path, bad_rows=share)


@pytest.mark.parametrize("text", OWN.values(), ids=OWN)
def test_every_kind_of_feedback_is_read_as_on_duckdb(text, tmp_path):
    (tmp_path / "mine.csv").write_text(text)
    both(tmp_path / "mine.csv", tmp_path)


KEPT = {
    "with times": OWN["weighted"] + "u1\t2\t9\t2019-10-09\n" * 2,
    "without times": OWN["events"],
    "sorted ties": OWN["sorted ties"].replace("86400000\n", "86400000\n1,3,5,86400000\n", 1)
    + "".join(f"2,{item},{1 + item % 3},86400000\n" for item in range(9)),
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_kept_repeats_are_read_as_on_duckdb(text, tmp_path):
    (tmp_path / "mine.csv").write_text(text)
    both(tmp_path / "mine.csv", tmp_path, repeats="keep")


@pytest.mark.parametrize(
    "write",
    [worlds.write_100k, worlds.write_1m, worlds.write_10m, worlds.write_recbole],
    ids=lambda w: w.__name__,
)
def test_every_format_is_read_as_on_duckdb(write, tmp_path):
    both(write(tmp_path / "release"), tmp_path)


def test_order_of_a_file_in_many_pieces_breaks_ties(tmp_path, monkeypatch):
    monkeypatch.setitem(session.SESSION_CONF, "spark.sql.files.maxPartitionBytes", "2000")
    items = np.random.default_rng(7).permutation(1_500)
    lines = [f"{item % 3},{item},4,{978_300_760 + item % 2}" for item in items.tolist()]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["user_id,item_id,rating,timestamp", *lines]), encoding="utf-8-sig")
    both(path, tmp_path)
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
    for year in (2023, 2024):
        (parts / f"year={year}").mkdir(parents=True)
    days = [datetime(2024, 1, day, tzinfo=UTC) for day in (3, 3, 1, 2, 2) * 8]
    for number in (2, 0, 1):
        parquet(
            parts / f"year={2023 + number // 2}" / f"part {number} %41.parquet",
            pa.array([2**60 + row % 3 for row in range(40)]),
            pa.array(range(40 * number, 40 * number + 40), pa.int32()),
            pa.array(days, pa.timestamp("us")),
        )
    (parts / "_SUCCESS").touch()
    both(parts, folder)


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
    both(path, tmp_path)


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

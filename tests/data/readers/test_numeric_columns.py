"""Which files are read as numeric columns; that the result is the same is tested in tests/properties."""

import gc
import tempfile
from contextlib import suppress
from pathlib import Path

import duckdb
import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import worlds
from tastevec.data.readers import ReadSettings, read_interactions, read_source
from tastevec.data.readers import validate as rows
from tastevec.errors import BadRowError, SettingsError, SourceError

PLAIN = ReadSettings()
HEADER = b"user,item,rating,time\n"
CLEAN = HEADER + b"1,2,5,1000000000\n1,3,4.5,1000000001\n2,2,0.5,999999999\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Return a folder in which all temporary files are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path


@pytest.fixture
def numeric(monkeypatch):
    """Return a list with each file that is read and whether its columns were read as numbers."""
    calls = []
    read_numeric = rows.read_numeric

    def spy(context, records, *rest):
        found = read_numeric(context, records, *rest)
        calls.append((records.file, found is not None))
        return found

    monkeypatch.setattr(rows, "read_numeric", spy)
    return calls


def rated(source):
    table = source.interactions.filter(source.interactions.rating.notnull()).order_by("position").to_pyarrow()
    return [tuple(row.values())[:4] for row in table.to_pylist()]


@pytest.mark.parametrize(
    ("write", "file"),
    [
        (worlds.write_100k, "u.data"),
        (worlds.write_1m, "ratings.dat"),
        (worlds.write_10m, "ratings.dat"),
        (worlds.write_csv_release, "ratings.csv"),
        (worlds.write_recbole, "tiny.inter"),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_ratings_of_every_release_are_read_as_numeric_columns(
    write, file, end, tmp_path, connection, numeric
):
    folder = write(tmp_path / "release")
    (folder / file).write_bytes((folder / file).read_bytes().replace(b"\n", end))
    source = read_source(folder, connection=connection, settings=PLAIN)
    assert dict(numeric)[file]
    assert not any(by_columns for name, by_columns in numeric if name != file)
    assert rated(source) == worlds.ratings()
    assert source.row_reports[0].rows_read == source.row_reports[0].rows_kept == 192


@pytest.mark.parametrize(
    "content",
    [
        CLEAN,
        CLEAN.rstrip(b"\n"),
        CLEAN.replace(b"\n", b"\r\n"),
        CLEAN.replace(b",", b"\t"),
        HEADER + b"3,1,5,\n1,2,5,1000000000\n",  # in no order, and a time is missing
        b"item,note,stars,user\n7,000.1,3,8\n",  # an unused column may contain any number
        b'"user","item","rating"\n0,9223372036854775807,5\n',
    ],
)
def test_numeric_table_is_read_as_numeric_columns(content, tmp_path, connection, numeric):
    (tmp_path / "mine.csv").write_bytes(content)
    table, row_report = read_interactions(tmp_path / "mine.csv", connection=connection, settings=PLAIN)
    assert numeric == [("mine.csv", True)]
    assert row_report.rows_kept == table.to_pyarrow().num_rows


@pytest.mark.parametrize(
    "row",
    [
        *(b"007,2,5,1", b"1,2.0,5,1", b"1,2,5,1.", b"1e2,2,5,1", b"+1,2,5,1", b"-1,2,5,1", b" 1,2,5,1", b"1,2,5_0,1"),
        *(b"1,2,5,20240131", b"1,2,5,2024-01-31", b"1,2,5.5,1", b"1,2,,1", b"1,2,nan,1", b"1,,5,1", b",2,5,1"),
        *(b"1,2,5", b"1,2,5,1,", b"1,2,5,1,6", b"", b"\r", b"1,2,5,1\r", b'"1",2,5,1', b"1,2,5,1\0", "é,2,5,1".encode()),
        *(b"9223372036854775808,2,5,1", b"1,2,5,100000000001", b"1,3,4.5,1000000001"),
        b"1e2,2,5,1\n05,2,5,1",  # as many bytes as 100 and 5 would take
    ],
)  # fmt: skip
def test_table_with_one_irregular_row_is_validated_row_by_row(row, tmp_path, connection, numeric):
    (tmp_path / "mine.csv").write_bytes(CLEAN + row + b"\n")
    read_interactions(tmp_path / "mine.csv", connection=connection, settings=ReadSettings(skip_bad_rows=True))
    assert numeric == [("mine.csv", False)]


@pytest.mark.parametrize(
    ("columns", "by_columns"),
    [
        ({}, True),
        ({"user": pa.array([1, 2], pa.uint8())}, True),
        ({"rating": pa.array([5, 4], pa.int32())}, True),
        ({"time": pa.array([None, 3_000_000_000])}, True),
        ({"time": pa.array([1, 19_700_101])}, False),  # the latter is a date
        ({"user": ["1", "2"]}, False),
        ({"item": [3.5, 4.0]}, False),
        ({"user": [1, None]}, False),
        ({"user": [1, -2]}, False),
        ({"rating": [5.0, None]}, False),
        ({"rating": [5.0, 6.0]}, False),
        ({"user": [1, 1]}, False),
    ],
)
def test_numeric_parquet_is_read_as_numeric_columns(columns, by_columns, tmp_path, connection, numeric):
    table = {"user": [1, 2], "item": [3, 3], "rating": [5.0, 0.5], "time": [1_000_000_000, 1_000_000_001]}
    pq.write_table(pa.table(table | columns), tmp_path / "mine.parquet")
    skip = ReadSettings(skip_bad_rows=True)
    with suppress(SourceError):  # where no row is left
        read_interactions(tmp_path / "mine.parquet", connection=connection, settings=skip)
    assert numeric == [("mine.parquet", by_columns)]


def test_numeric_rows_are_removed_with_the_connection(root):
    connection = ibis.duckdb.connect(threads=1)
    source = read_source(worlds.write_csv_release(root / "x"), connection=connection, settings=PLAIN)
    assert [folder.name[:16] for folder in (root / "temporary").iterdir()] == ["tastevec-numbers"]
    connection.disconnect()
    del source, connection
    gc.collect()
    assert list((root / "temporary").iterdir()) == []


def test_failed_reading_leaves_no_file(root, connection):
    folder = worlds.write_csv_release(root / "x")
    (folder / "tags.csv").write_text("userId,movieId,tag,timestamp\nbad\n")
    with pytest.raises(BadRowError):
        read_source(folder, connection=connection, settings=PLAIN)
    assert list((root / "temporary").iterdir()) == []


def test_full_disk_is_a_settings_error(root, connection, monkeypatch):
    (root / "mine.csv").write_bytes(CLEAN)
    run = rows.ReaderContext.run

    def full(context, sql):
        if sql.startswith("COPY"):
            raise duckdb.IOException("IO Error: Could not write file: No space left on device")
        return run(context, sql)

    monkeypatch.setattr(rows.ReaderContext, "run", full)
    with pytest.raises(
        SettingsError, match=r"no space left while reading mine.csv \(IO Error: Could not write"
    ):
        read_interactions(root / "mine.csv", connection=connection, settings=PLAIN)
    assert list(Path(tempfile.gettempdir()).iterdir()) == []

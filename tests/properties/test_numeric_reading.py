"""Reading a file as numeric columns gives what the validation of every row gives."""

import tempfile
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tastevec.data.readers import ReadSettings, read_source, text
from tastevec.data.readers import validate as rows
from tastevec.errors import DataError

FEW = settings(max_examples=25, deadline=None)
HALF_STARS = st.integers(1, 10).map(lambda half: f"{half / 2}")
RATINGS = HALF_STARS | st.sampled_from(["5", "3", "4.50", "0.75", "2.125", "00.5", "5."])
IDS = st.integers(0, 12) | st.integers(0, 2**63 - 1)
TIMES = st.integers(0, 100_000_000_000) | st.integers(800_000_000, 1_700_000_000)
# Spellings of numbers that are no integer in its own spelling, or no number.
IRREGULAR = st.sampled_from(
    [
        *(
            "007",
            "+5",
            "5e0",
            "1e2",
            "2E2",
            "5.0",
            "5.",
            ".5",
            " 5",
            "5 ",
            "",
            "nan",
            "inf",
            "1_0",
            "0_5",
            "0x1",
            "0b1",
        ),
        *(
            "-1",
            "-0",
            "9223372036854775807",
            "9223372036854775808",
            "99999999999999999999",
            "20240131",
            "5.5.",
            ".",
        ),
        *(
            "5\0",
            "5\r",
            "é",
            "\N{DIGIT FIVE}",
            "five",
            '5"',
            '"5"',
            '"5',
            "1,000",
            "1'000",
            "5\t",
            "2:3",
            "0",
            "1",
        ),
    ]
)
LINES = st.sampled_from(
    ["", "\r", " ", ",", ",,,", "1,2", "1,2,3,4,5", "1,2,3,4,", "#", '"', "1\t2\t3\t4", "\ufeff"]
)
LAYOUTS = st.sampled_from(
    [
        ("ratings.csv", ",", "userId,movieId,rating,timestamp"),
        ("ratings.csv", ",", '"userId","movieId","rating","timestamp"'),
        ("ratings.csv", ",", "movieId,timestamp,extra,userId,rating"),
        ("u.data", "\t", None),
        ("ratings.dat", "::", None),
        ("mine.inter", "\t", "user_id:token\titem_id:token\trating:float\ttimestamp:float"),
        ("mine.csv", ",", "user,item,rating,time"),
        ("mine.csv", ",", "user,item,rating"),
        ("mine.tsv", "\t", "stars\titem\tuser"),
    ]
)  # fmt: skip


@pytest.fixture(scope="module")
def connection():
    backend = ibis.duckdb.connect(threads=2)
    yield backend
    backend.disconnect()


@contextmanager
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@st.composite
def files(draw, irregular):
    """Draw the name and the bytes of a file with at least ``irregular`` irregular fields."""
    name, separator, header = draw(LAYOUTS)
    width = len(header.split(separator)) if header else 4
    table = draw(st.lists(st.tuples(IDS, IDS, RATINGS, TIMES, IDS), min_size=1, max_size=12))
    if draw(st.booleans()):
        table.sort()
    lines = [list(map(str, _in_file_order(name, header, row)[:width])) for row in table]
    for _ in range(irregular):
        line = draw(st.sampled_from(lines))
        line[draw(st.integers(0, len(line) - 1))] = draw(IRREGULAR)
    written = [separator.join(line) for line in lines]
    for _ in range(irregular and draw(st.integers(0, 1))):
        written.insert(draw(st.integers(0, len(written))), draw(LINES))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    content = end.join([*([header] if header else []), *written]) + end * draw(st.integers(0, 1))
    mark = draw(st.sampled_from(["", "", "\ufeff"]))
    return name, (mark + content).encode()


def _in_file_order(name, header, row):
    """Return the fields of a row in the order of the file's columns."""
    user, item, rating, time, extra = row
    if header and header.startswith("movieId"):
        return item, time, extra, user, rating
    return (rating, item, user) if name == "mine.tsv" else (user, item, rating, time)


def read(path, connection, *, skip, by_columns=True):
    """Return the schema, the values and the row reports, or the error message."""
    read_settings = ReadSettings(skip_bad_rows=skip, rating_range=(0.5, 5))
    with patch.object(rows, "read_numeric", rows.read_numeric if by_columns else lambda *_: None):
        try:
            source = read_source(path, connection=connection, settings=read_settings)
        except DataError as error:
            return str(error)
    found = source.interactions.order_by("position").to_pyarrow()
    return found.schema, found.to_pydict(), source.row_reports


def check(name, content, connection):
    """Compare reading by numeric columns with the validation of every row."""
    with folder() as root:
        release = root / "release"
        release.mkdir()
        (release / name).write_bytes(content)
        if name in {"ratings.csv", "ratings.dat"}:
            (release / name.replace("ratings", "movies")).write_text(
                "movieId,title,genres\n1,A,\n" if name == "ratings.csv" else "1::A::\n"
            )
        if name == "u.data":
            (release / "u.item").write_text(f"1|A|||{'|0' * 19}\n")
        path = release / name if name.startswith("mine") else release
        for skip in (False, True):
            assert read(path, connection, skip=skip) == read(path, connection, skip=skip, by_columns=False)


@FEW
@given(files(irregular=0))
def test_numeric_columns_equal_row_by_row_validation(connection, file):
    check(*file, connection)


@FEW
@given(files(irregular=1) | files(irregular=2))
@example(("mine.csv", b"user,item,rating\n1e2,05,5\n7,8,5\n"))  # as many bytes as 100,5 would take
@example(("mine.csv", b"user,item,rating\n1,2,5\n\n1e3,2,5\n"))
@example(("ratings.dat", b"1::2:::5::7\n"))
def test_irregular_file_is_validated_row_by_row(connection, file):
    check(*file, connection)


@FEW
@given(files(irregular=0), st.sampled_from([1, 2, 3, 7, 4096]))
def test_block_size_of_the_scan_changes_nothing(connection, file, block):
    with patch.object(text, "_BLOCK", block):
        check(*file, connection)


@FEW
@given(
    st.lists(st.tuples(IDS, IDS, st.floats(0.5, 5, width=32), st.none() | TIMES), min_size=1, max_size=12),
    st.sampled_from([pa.int64(), pa.uint64(), pa.string(), pa.float64()]),
    st.sampled_from([pa.float32(), pa.float64(), pa.string()]),
)
def test_numeric_parquet_equals_row_by_row_validation(connection, table, ids, stars):
    users, items, ratings, times = zip(*table, strict=True)
    columns = {
        "user": pa.array(map(str, users) if ids == pa.string() else users).cast(ids, safe=False),
        "item": pa.array(items),
        "rating": pa.array(map(str, ratings) if stars == pa.string() else ratings).cast(stars),
        "time": pa.array(times, pa.int64()),
    }
    with folder() as root:
        pq.write_table(pa.table(columns), root / "mine.parquet")
        for skip in (False, True):
            validated = read(root / "mine.parquet", connection, skip=skip, by_columns=False)
            assert read(root / "mine.parquet", connection, skip=skip) == validated

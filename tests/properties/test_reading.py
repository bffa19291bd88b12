import csv
import tempfile
from contextlib import contextmanager
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worlds
from tastevec.data.readers import ReadSettings, read_interactions, read_source, text
from tastevec.errors import DataError

PLAIN, SKIP = ReadSettings(), ReadSettings(skip_bad_rows=True)
FEW = settings(max_examples=40, deadline=None)
IDS = st.integers(-(2**63), 2**63 - 1)
# No surrogates (no file can contain them), no NUL, no lone carriage return, no mark of undecodable bytes.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\U0010ffff"), max_size=12)
# No control characters, either.
TEXT_IDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\U0010ffff"),
    min_size=1,
    max_size=12,
)
HALF_STARS = st.integers(1, 10).map(lambda half: half / 2)
# Numbers between these look like dates, such as 20240131, and are refused.
SECONDS = st.integers(0, 19_000_000) | st.integers(22_000_000, 2_000_000_000)


@pytest.fixture(scope="module")
def connection():
    backend = ibis.duckdb.connect(threads=2)
    yield backend
    backend.disconnect()


@contextmanager
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def values(table, order="position"):
    return table.get_backend().con.sql(table.order_by(order).drop(order).compile()).fetchall()


def write_csv(path, header, rows, quoting=csv.QUOTE_MINIMAL):
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n", quoting=quoting)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def tables(ids, times=SECONDS):
    row = st.tuples(ids, ids, HALF_STARS, times)
    return st.lists(row, min_size=1, max_size=30, unique_by=lambda row: row[:2])


@FEW
@given(tables(IDS), st.sampled_from(["::", "\t", ","]), st.booleans(), st.booleans())
def test_ratings_in_any_format_are_read_back(connection, rows, separator, windows, ends):
    names = {"::": "ratings.dat", "\t": "u.data", ",": "ratings.csv"}
    newline = "\r\n" if windows else "\n"
    lines = [separator.join(map(str, row)) for row in rows]
    with folder() as root:
        {"::": worlds.write_10m, "\t": worlds.write_100k, ",": worlds.write_csv_release}[separator](root)
        for tags in root.glob("tags.*"):
            tags.unlink()
        if separator == ",":
            lines.insert(0, "userId,movieId,rating,timestamp")
        content = newline.join(lines) + newline * ends
        (root / names[separator]).write_bytes(content.encode())
        found = read_source(root, connection=connection, settings=ReadSettings(rating_range=(0.5, 5)))
    assert values(found.interactions) == rows


@FEW
@given(
    tables(TEXT_IDS, st.none() | SECONDS),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from([1, 2, 3, 7, 4096]),
)
def test_text_ids_with_quotes_and_separators_are_read_back(connection, rows, quoting, block):
    with folder() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_BLOCK", block)  # so that block ends are everywhere
        path = write_csv(root / "mine.csv", ("user", "item", "rating", "time"), rows, quoting)
        found, row_report = read_interactions(path, connection=connection, settings=PLAIN)
        read = values(found)
    integer_ids = [all(_is_canonical(row[column]) for row in rows) for column in (0, 1)]
    expected = [
        tuple(int(value) if column < 2 and integer_ids[column] else value for column, value in enumerate(row))
        for row in rows
    ]
    assert read == expected
    assert row_report.rows_read == row_report.rows_kept == len(rows)


@FEW
@given(tables(st.integers(-(2**31), 2**31 - 1) | TEXT_IDS, st.none() | SECONDS))
def test_parquet_of_texts_is_read_back(connection, rows):
    rows = list(
        {(str(user), str(item)): (str(user), str(item), *rest) for user, item, *rest in rows}.values()
    )
    columns = dict(zip(("user_id", "item_id", "rating", "timestamp"), zip(*rows, strict=True), strict=True))
    columns["timestamp"] = pa.array(columns["timestamp"], pa.int64())
    with folder() as root:
        pq.write_table(pa.table(columns), root / "mine.parquet")
        found, _ = read_interactions(root / "mine.parquet", connection=connection, settings=PLAIN)
    assert values(found) == rows


@FEW
@given(st.lists(TEXTS, min_size=1, max_size=10))
def test_titles_are_read_back_exactly(connection, titles):
    with folder() as root:
        write_csv(root / "items.csv", ("item_id", "title"), list(enumerate(titles)))
        write_csv(root / "mine.csv", ("user", "item", "rating"), [(1, 1, 5)])
        read_settings = ReadSettings(items=root / "items.csv")
        source = read_source(root / "mine.csv", connection=connection, settings=read_settings)
    assert [row[0] for row in values(source.items.select("title", "item_id"), "item_id")] == titles


# An inserted digit, sign or point, or a missing digit, can make another valid number, which no reader can detect.
INSERTED = [bytes([byte]) for byte in b'\0\r\n\t ",:|;x_\xff\xc3']


@FEW
@given(st.sampled_from([worlds.write_100k, worlds.write_1m, worlds.write_csv_release]), st.data())
def test_inserted_byte_is_reported_or_changes_nothing(connection, write, data):
    with folder() as root:
        write(root)
        (file,) = (root / name for name in ("u.data", "ratings.dat", "ratings.csv") if (root / name).exists())
        content = file.read_bytes()
        at = data.draw(st.integers(0, len(content) - 1))
        replaced = not content[at : at + 1].isdigit() and data.draw(st.booleans())
        inserted = data.draw(st.sampled_from([*INSERTED, b""] if replaced else INSERTED))
        file.write_bytes(content[:at] + inserted + content[at + replaced :])
        found, message = _read(root, connection, PLAIN)
        if message is None:
            rated = found.interactions.filter(found.interactions.rating.notnull())
            assert values(rated) == worlds.ratings()
            return
        assert file.name in message
        found, message = _read(root, connection, SKIP)
    if message is not None:  # the header is invalid
        assert "line 1:" in message or "none of them valid" in message
        return
    row_report = found.row_reports[0]
    assert row_report.rows_read == row_report.rows_kept + sum(row_report.skipped.values())
    assert row_report.rows_kept >= len(worlds.ratings()) - 2


def _read(root, connection, read_settings):
    """Return the source, or the error message."""
    try:
        return read_source(root, connection=connection, settings=read_settings), None
    except DataError as error:
        return None, str(error)


def _is_canonical(value):
    try:
        return str(int(value)) == value and -(2**63) <= int(value) < 2**63
    except ValueError:
        return False

"""Files are read back as they were written, and damage is reported."""

import csv
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worlds
from tastevec.data.expressions import connect
from tastevec.data.intake import text
from tastevec.data.intake.engine import DuckEngine
from tastevec.data.intake.report import Findings
from tastevec.data.intake.settings import IntakeSettings, ItemSettings
from tastevec.data.intake.source import read_histories, read_source
from tastevec.data.intake.values import BadValueError, read_id
from tastevec.data.value_scale import HALF_STARS
from tastevec.errors import DataError

FEW = settings(max_examples=10, deadline=None)
IDS = st.integers(-(2**63) + 1, 2**63 - 1)
# No surrogates (no file can contain them), no NUL, no carriage return, no mark of undecodable bytes.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\U0010ffff"), max_size=12)
# No control characters, either.
TEXT_IDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\U0010ffff"),
    min_size=1,
    max_size=12,
)
STARS = st.integers(1, 10).map(lambda half: half / 2)
SECONDS = st.integers(800_000_000, 2_000_000_000)


def canonical(value):
    """Return the ID of a cell by the rule for single values; None where it is none."""
    with suppress(BadValueError):
        return read_id(value)
    return None


@pytest.fixture(scope="module")
def connection():
    backend = connect("500MB", threads=2)
    yield backend
    backend.disconnect()


@contextmanager
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def histories(path, connection):
    """Return the rows of a file that a model reads."""
    return read_histories(
        path,
        engine=DuckEngine(connection),
        model=HALF_STARS,
        settings=IntakeSettings(),
        events={},
        findings=Findings(),
    )


def rows_of(table, connection):
    names = ["user_id", "item_id", "rating", "timestamp"]
    return [tuple(row.values()) for row in connection.to_pyarrow(table).select(names).to_pylist()]


def as_texts(rows):
    """Return rows without an order, with IDs as texts."""
    return sorted((str(user), str(item), rating, time or 0) for user, item, rating, time in rows)


def write_csv(path, header, rows, quoting=csv.QUOTE_MINIMAL):
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n", quoting=quoting)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def tables(ids, times=SECONDS):
    row = st.tuples(ids, ids, STARS, times)
    return st.lists(
        row, min_size=1, max_size=30, unique_by=lambda row: (canonical(row[0]), canonical(row[1]))
    )


@FEW
@given(tables(IDS), st.sampled_from(["::", "\t", ","]), st.booleans(), st.booleans())
def test_ratings_in_any_format_are_read_back(connection, rows, separator, windows, ends):
    names = {"::": "ratings.dat", "\t": "u.data", ",": "ratings.csv"}
    newline = "\r\n" if windows else "\n"
    lines = [separator.join(map(str, row)) for row in rows]
    with folder() as root:
        {"::": worlds.write_10m, "\t": worlds.write_100k, ",": worlds.write_csv_release}[separator](root)
        if separator == ",":
            lines.insert(0, "userId,movieId,rating,timestamp")
        content = newline.join(lines) + newline * ends
        (root / names[separator]).write_bytes(content.encode())
        read = histories(root, connection)
        assert as_texts(rows_of(read.table, connection)) == as_texts(rows)
        assert read.table.user_id.type().is_integer()


@FEW
@given(
    tables(TEXT_IDS.filter(canonical)),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from([1, 2, 3, 7, 4096]),
)
def test_text_ids_with_quotes_and_separators_are_read_back(connection, rows, quoting, block):
    with folder() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_BLOCK", block)  # so that block ends are everywhere
        path = write_csv(root / "mine.csv", ("user", "item", "rating", "time"), rows, quoting)
        read = histories(path, connection)
        found = rows_of(read.table, connection)
    expected = [(canonical(user), canonical(item), *rest) for user, item, *rest in rows]
    assert as_texts(found) == as_texts(expected)
    assert read.row_report.rows_read == read.row_report.rows_kept == len(rows)


@FEW
@given(tables((st.integers(-(2**31), 2**31 - 1) | TEXT_IDS).map(str).filter(canonical)))
def test_parquet_of_texts_is_read_back(connection, rows):
    columns = dict(zip(("user_id", "item_id", "rating", "timestamp"), zip(*rows, strict=True), strict=True))
    with folder() as root:
        pq.write_table(pa.table(columns), root / "mine.parquet")
        found = rows_of(histories(root / "mine.parquet", connection).table, connection)
    expected = [(canonical(user), canonical(item), *rest) for user, item, *rest in rows]
    assert as_texts(found) == as_texts(expected)


@FEW
@given(st.lists(TEXTS, min_size=1, max_size=10))
def test_titles_are_read_back_without_space_at_their_ends(connection, titles):
    with folder() as root:
        write_csv(
            root / "items.csv", ("item_id", "title"), [(n, f"a{title}") for n, title in enumerate(titles)]
        )
        rows = [(user, item, 5 - item) for user in (1, 2) for item in (0, 1)]
        write_csv(root / "mine.csv", ("user", "item", "rating"), rows)
        items = ItemSettings(items=(root / "items.csv",))
        source = read_source(root / "mine.csv", connection=connection, items=items)
        found = connection.to_pyarrow(source.items.order_by("item_id"))["title"].to_pylist()
    assert [title.strip().strip("\ufeff") for title in found] == found
    assert [title.split() for title in found] == [f"a{title}".strip("\ufeff").split() for title in titles]


# An inserted digit, sign or point, or a missing digit, can make another valid number, which no reader can detect.
INSERTED = [bytes([byte]) for byte in b'\0\r\n\t ",:|;x_\xff\xc3']


@FEW
@given(st.sampled_from([worlds.write_100k, worlds.write_1m, worlds.write_csv_release]), st.data())
def test_inserted_byte_is_reported_or_leaves_other_rows_as_they_are(connection, write, data):
    with folder() as root:
        write(root)
        (file,) = (root / name for name in ("u.data", "ratings.dat", "ratings.csv") if (root / name).exists())
        content = file.read_bytes()
        at = data.draw(st.integers(0, len(content) - 1))
        replaced = not content[at : at + 1].isdigit() and data.draw(st.booleans())
        inserted = data.draw(st.sampled_from([*INSERTED, b""] if replaced else INSERTED))
        file.write_bytes(content[:at] + inserted + content[at + replaced :])
        plain, message = _read(root, connection, IntakeSettings())
        if message is not None:
            assert file.name in message or "scale" in message
            plain, message = _read(root, connection, IntakeSettings(bad_rows=0.05))
            if message is not None:  # the header, a column, or a value that is not to be dropped
                return
        rated = plain.interactions.filter(plain.interactions.rating.notnull())
        found = set(as_texts(rows_of(rated, connection)))
    [row_report] = plain.row_reports
    assert row_report.rows_read == row_report.rows_kept + sum(row_report.skipped.values())
    assert len(set(as_texts(worlds.ratings())) - found) <= 2


def _read(root, connection, how):
    """Return the source, or the error message."""
    try:
        return read_source(root, connection=connection, settings=how), None
    except DataError as error:
        return None, str(error)

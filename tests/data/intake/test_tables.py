"""Files, folders and tables in memory as one query with numbered rows."""

import csv
import gzip
import io
import json
import os
import threading
import zipfile

import duckdb
import ibis
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from scipy import sparse

from tastevec.data.intake.memory import MemoryTable
from tastevec.data.intake.settings import FileFormat
from tastevec.data.intake.tables import open_table
from tastevec.errors import BadRowError, SourceError

_CONNECTION = ibis.duckdb.connect()
HEADER = "user_id,item_id,rating\n"


@pytest.fixture
def opened(tmp_path):
    """Return a function that opens a table and returns it with its rows in order."""
    connection = ibis.duckdb.connect()

    def open_rows(source, **settings):
        table = open_table(source, connection=connection, scratch=tmp_path, **settings)
        columns = ", ".join(f"c{index}" for index in range(len(table.names)))
        query = f"SELECT {columns} FROM ({table.query}) ORDER BY position"  # noqa: S608 -- names made here
        return table, connection.raw_sql(query).fetchall()

    return open_rows


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="ratings.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def test_csv_with_header_has_rows_in_order(opened, write):
    table, rows = opened(write(HEADER + "1,50,4\n1,127,\n"))
    assert (table.names, rows) == (("user_id", "item_id", "rating"), [("1", "50", "4"), ("1", "127", None)])
    assert (table.format, table.rows, table.delimiter, table.encoding) == ("csv", 2, ",", "utf-8")


def test_open_quote_over_lines_is_refused_even_if_bad_rows_are_dropped(opened, write):
    content = HEADER + '1,2,3\n5,"x,3\n' + "1,2,3\n" * 997
    with pytest.raises(BadRowError, match="line 3 opens a quote that takes in 997 more lines"):
        opened(write(content), bad_rows=0.05)


def test_short_rows_within_the_share_are_dropped_and_counted(opened, write):
    table, rows = opened(write(HEADER + "1,2,3\n" * 997 + "1,2\n" * 3), bad_rows=0.05)
    assert (table.rows, table.broken.count, len(rows)) == (1000, 3, 997)


def test_short_rows_over_the_share_are_refused_with_a_share_that_suffices(opened, write):
    path = write(HEADER + "1,2,3\n" * 920 + "1,2\n" * 80)
    message = "8.0 % of rows are bad, more than 5 %: --bad-rows drop:10%"
    with pytest.raises(BadRowError, match=message):
        opened(path, bad_rows=0.05)
    assert opened(path, bad_rows=0.1)[0].broken.count == 80


CELLS = st.text(st.sampled_from("ab1,;\t|\"'\n ::^é"), max_size=8)


@settings(max_examples=60)
@given(
    st.integers(2, 4).flatmap(
        lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=12)
    ),
    st.sampled_from([",", ";", "\t", "|", "^"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_written_rows_come_back_in_order_with_their_lines(tmp_path_factory, rows, delimiter, quoting, end):
    folder = tmp_path_factory.mktemp("rows")
    names = [f"name {number}" for number in range(len(rows[0]))]
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator=end)
    lines = []
    for row in [names, *rows]:
        lines.append(buffer.getvalue().count("\n") + 1)
        writer.writerow(row)
    (folder / "rows.csv").write_text(buffer.getvalue(), encoding="utf-8", newline="")
    table = open_table(
        folder / "rows.csv",
        connection=_CONNECTION,
        scratch=folder,
        file_format=FileFormat(delimiter=delimiter),
    )
    columns = ", ".join(f"coalesce(c{index}, '')" for index in range(len(names)))
    query = f"SELECT position, {columns} FROM ({table.query}) ORDER BY position"  # noqa: S608 -- names made here
    found = _CONNECTION.raw_sql(query).fetchall()
    assert list(table.names) == names
    assert [row[1:] for row in found] == [tuple(row) for row in rows]
    assert [table.line_of(row[0]) for row in found] == lines[1:]


@settings(max_examples=60)
@given(
    st.lists(
        st.sampled_from(["1,2", "", "1", "1,2,3", '"1","2"', '"x"y,2', '"a\nb",2', '"a\n\nb",2', "  "]),
        max_size=12,
    )
)
def test_every_line_is_a_row_or_empty_or_broken(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("lines")
    (folder / "rows.csv").write_text("\n".join(["user_id,item_id", *lines]) + "\n", encoding="utf-8")
    table = open_table(folder / "rows.csv", connection=_CONNECTION, scratch=folder, bad_rows=1)
    good = {"1,2", '"1","2"', '"a\nb",2', '"a\n\nb",2'}
    starts, line = [], 2
    for text in lines:
        starts += [line] * (text in good)
        line += 1 + text.count("\n")
    assert table.rows - table.broken.count == len(starts)
    assert table.broken.count == sum(bool(text.strip()) and text not in good for text in lines)
    query = f"SELECT position FROM ({table.query}) ORDER BY position"  # noqa: S608 -- as above
    assert [table.line_of(row[0]) for row in _CONNECTION.raw_sql(query).fetchall()] == starts


def test_broken_rows_name_their_lines_and_faults(opened, write):
    table, rows = opened(write(HEADER + '1,2,3\n\n"a\nb",2,3\n1,2\n1,"2"x,3\n7,8,9\n'), bad_rows=0.5)
    assert rows == [("1", "2", "3"), ("a\nb", "2", "3"), ("7", "8", "9")]
    assert table.broken.reasons == {"a wrong number of columns": 1, "broken quotes": 1}
    assert table.broken.examples[0] == "ratings.csv, line 6: '1,2' has a wrong number of columns"
    assert [table.line_of(position) for position in range(3)] == [2, 4, 8]


def test_first_broken_row_is_refused_with_its_line(opened, write):
    message = r"ratings.csv, line 3: '1,2' has a wrong number of columns \(1 of 2 rows is broken, 50.0 %\). Expected 3 columns"
    with pytest.raises(BadRowError, match=message):
        opened(write(HEADER + "1,2,3\n1,2\n"))


def test_bytes_that_are_no_text_break_their_row_alone(opened, write):
    table, rows = opened(
        write(HEADER.encode() + "é,2,3\nü,2,3\n".encode() + b"\xff,2,3\n4,5,\x006\n"), bad_rows=0.5
    )
    assert rows == [("é", "2", "3"), ("ü", "2", "3")]
    assert table.broken.reasons == {"bytes that are no text": 2}
    assert table.broken.examples[0] == "ratings.csv, line 4: '\\xff,2,3' contains bytes that are no text"


def test_quote_that_another_one_closes_far_below_is_refused(opened, write):
    content = HEADER + '1,2,"3\n' + "1,2,3\n" * 150 + '1,2,3"\n' + "1,2,3\n"
    with pytest.raises(BadRowError, match="line 2 opens a quote that takes in 151 more lines"):
        opened(write(content), bad_rows=0.05)


@pytest.mark.parametrize("line", [3, 250_000])
def test_quote_open_over_megabytes_is_refused_with_its_line(line, opened, write):
    rows = ["1,2,3"] * 400_000
    rows[line - 2] = '1,"2,3'
    with pytest.raises(
        BadRowError, match=f"line {line} opens a quote that takes in {400_001 - line:,} more lines"
    ):
        opened(write(HEADER + "\n".join(rows) + "\n"), bad_rows=0.05)


def test_quotes_are_text_if_stated(opened, write):
    _, rows = opened(write(HEADER + '1,"2,3\n'), file_format=FileFormat(quote=False))
    assert rows == [("1", '"2', "3")]


def test_single_column_passes_over_empty_lines(opened, write):
    table, rows = opened(write("item_id\n5\n\n7\n"))
    assert (rows, table.rows, table.line_of(1)) == ([("5",), ("7",)], 2, 4)


def test_header_alone_is_a_table_without_rows(opened, write):
    assert opened(write(HEADER))[0].rows == 0


def test_line_over_the_limit_is_a_broken_row(opened, write):
    table, rows = opened(write(HEADER + f"1,2,{'3' * 2_100_000}\n1,2,3\n"), bad_rows=0.5)
    assert (rows, table.broken.count) == ([("1", "2", "3")], 1)


@pytest.mark.parametrize("codec", ["utf-16", "iso-8859-1", "utf-8-sig"])
def test_encodings_and_line_ends_give_the_same_rows(codec, opened, write):
    table, rows = opened(write("user_id;title\r\n1;Amélie\n2;Léon\r\n".encode(codec)))
    assert rows == [("1", "Amélie"), ("2", "Léon")]
    assert table.encoding == codec.removesuffix("-sig")


def test_decimal_comma_is_possible_where_the_delimiter_is_no_comma(opened, write):
    assert opened(write("user_id;item_id;rating\n1;2;4,5\n"))[0].decimal_comma
    assert not opened(write(HEADER + "1,2,3\n"))[0].decimal_comma


def _packings(folder, table):
    """Write the same table as files of each kind."""
    rows = table.to_pylist()
    plain = HEADER + "".join(f"{row['user_id']},{row['item_id']},{row['rating']}\n" for row in rows)
    (folder / "RATINGS.CSV").write_text(plain)
    (folder / "a.csv.gz").write_bytes(gzip.compress(plain.encode()))
    with pa.CompressedOutputStream(str(folder / "a.csv.zst"), "zstd") as stream:
        stream.write(plain.encode())
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("in/a.csv", plain)
    (folder / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    for name, writer in (("a.arrow", pa.ipc.new_file), ("a.arrows", pa.ipc.new_stream)):
        with writer(str(folder / name), table.schema) as opened:
            opened.write_table(table)
    parquet.write_table(table, folder / "a.parquet")
    (folder / "parts").mkdir()
    for number in range(3):
        parquet.write_table(table.slice(4 * number, 4), folder / "parts" / f"part-{number}.parquet")
    (folder / "parts" / "_SUCCESS").touch()
    return [
        "RATINGS.CSV",
        "a.csv.gz",
        "a.csv.zst",
        "a.zip",
        "a.jsonl",
        "a.arrow",
        "a.arrows",
        "a.parquet",
        "parts",
    ]


def test_same_rows_in_any_file_are_the_same_table(opened, tmp_path):
    table = pa.table(
        {
            "user_id": list(range(12)),
            "item_id": [f"i{n}" for n in range(12)],
            "rating": [n / 2 for n in range(12)],
        }
    )
    expected = [tuple(map(str, row.values())) for row in table.to_pylist()]
    (tmp_path / "files").mkdir()
    for name in _packings(tmp_path / "files", table):
        found, rows = opened(tmp_path / "files" / name)
        assert found.names == ("user_id", "item_id", "rating")
        assert [tuple(map(str, row)) for row in rows] == expected, name
        assert (found.rows, found.line_of(1)) == (12, {"csv": 3}.get(found.format, 2))


def test_partition_folders_are_columns_and_folders_above_are_not(opened, tmp_path):
    for day in ("2020-01-02", "2020-01-01"):
        folder = tmp_path / "run=5" / f"day={day}"
        folder.mkdir(parents=True)
        parquet.write_table(pa.table({"user_id": [day[-1]]}), folder / "[a]*.parquet")
    table, rows = opened(tmp_path / "run=5")
    assert (table.names, rows) == (("user_id", "day"), [("1", "2020-01-01"), ("2", "2020-01-02")])


def test_parts_of_different_columns_or_damaged_files_are_refused(opened, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    parquet.write_table(pa.table({"a": [1]}), folder / "1.parquet")
    parquet.write_table(pa.table({"a": ["x"]}), folder / "2.parquet")
    with pytest.raises(SourceError, match=r"2.parquet: other columns than 1.parquet"):
        opened(folder)
    (folder / "3.parquet").write_bytes(b"PAR1\x00 damaged")
    with pytest.raises(SourceError, match=r"3.parquet: not readable as Parquet"):
        opened(folder / "3.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"contains nothing. Expected Parquet files"):
        opened(tmp_path / "empty")


def test_json_lines_keep_lists_as_json_and_count_other_lines(opened, write):
    content = '{"user_id": 1, "a/b": ["x", "y"], "n": 1.5}\n\nno json\n[1]\n{"user_id": "u", "n": null, "more": {"k": 1}}\n'
    table, rows = opened(write(content, "a.jsonl"), bad_rows=0.5)
    assert table.names == ("user_id", "a/b", "n", "more")
    assert rows == [("1", '["x","y"]', "1.5", None), ("u", None, None, '{"k":1}')]
    assert table.broken.examples == (
        "a.jsonl, line 3: 'no json' is no JSON object",
        "a.jsonl, line 4: '[1]' is no JSON object",
    )
    with pytest.raises(SourceError, match=r"a.jsonl, line 1: no JSON object"):
        opened(write("{no json}\n", "a.jsonl"))


def test_standard_input_is_a_table(opened, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"user_id,item_id\n1,2\n")))
    table, rows = opened("-")
    assert (table.file, rows) == ("standard input", [("1", "2")])


def test_missing_file_is_named(opened, tmp_path):
    with pytest.raises(SourceError, match=r"none.csv: not found"):
        opened(tmp_path / "none.csv")


COLUMNS = {"user_id": [3, 1, 3], "item_id": ["a", "b", "c"], "rating": [1.0, 2.5, 4.0]}
ROWS = list(zip(*COLUMNS.values(), strict=True))


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame(COLUMNS),
        pd.DataFrame(COLUMNS).set_index("rating")[["user_id", "item_id"]],
        pl.DataFrame(COLUMNS),
        pl.LazyFrame(COLUMNS),
        pa.table(COLUMNS),
        pa.table(COLUMNS).to_reader(),
        COLUMNS,
        {name: np.array(values) for name, values in COLUMNS.items()},
        ROWS,
        [dict(zip(COLUMNS, row, strict=True)) for row in ROWS],
    ],
)
def test_tables_in_memory_are_the_same_table(table, opened):
    found, rows = opened(table)
    assert (found.names, rows, found.file, found.format) == (tuple(COLUMNS), ROWS, "interactions", "table")
    assert (found.line_of(2), found.file_unit) == (3, "row")


def test_duckdb_relation_is_a_table(opened):
    relation = duckdb.sql("SELECT * FROM (VALUES (3, 'a'), (1, 'b')) AS t(user_id, item_id)")
    assert opened(relation)[1] == [(3, "a"), (1, "b")]


def test_sparse_matrix_has_rows_and_columns_as_ids(opened):
    matrix = sparse.csr_matrix([[0, 2.0], [3.0, 0]])
    assert opened(matrix)[1] == [(0, 1, 2.0), (1, 0, 3.0)]
    named = MemoryTable(matrix, user_ids=["anna", "boris"], item_ids=np.array([50, 127]))
    assert opened(named)[1] == [("anna", 127, 2.0), ("boris", 50, 3.0)]
    with pytest.raises(SourceError, match="1 user_ids for 2 rows"):
        opened(MemoryTable(matrix, user_ids=["anna"]))


def test_mixed_column_is_text_and_one_of_objects_is_unreadable(opened):
    frame = pd.DataFrame({"user_id": [50, "127", 50.0, None], "notes": [1, "a", {}, []]})
    table, rows = opened(frame)
    assert rows == [("50", None), ("127", None), ("50.0", None), (None, None)]
    assert list(table.unreadable) == [1]


def test_missing_values_of_pandas_are_null(opened):
    frame = pd.DataFrame({"user_id": [1, None], "time": pd.to_datetime(["2020-01-01", None])})
    table, rows = opened(frame)
    assert rows[1] == (None, None)
    assert table.types[0] == "DOUBLE"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (5, "interactions: int. Expected a path, a table"),
        ([(1, 2), (1,)], "interactions: rows of 1, 2 values. Expected tuples"),
        ({"user_id": [1], "item_id": [1, 2]}, r"columns of different lengths \(user_id 1, item_id 2\)"),
    ],
)
def test_what_is_no_table_is_refused(source, message, opened):
    with pytest.raises(SourceError, match=message):
        opened(source)


def test_empty_tables_have_no_rows(opened):
    assert opened([])[0].rows == 0
    assert opened(pd.DataFrame({"user_id": [], "item_id": []}))[0].rows == 0


def test_byte_order_mark_changes_no_line(opened, write):
    content = b"\xef\xbb\xbf" + HEADER.encode() + b"1,2,3\n1,2\n4,5,6\n"
    table, rows = opened(write(content), bad_rows=0.5)
    assert rows == [("1", "2", "3"), ("4", "5", "6")]
    assert table.broken.examples[0].startswith("ratings.csv, line 3: '1,2'")
    assert table.line_of(1) == 4


def test_pipe_is_read_once(opened, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=["user_id,item_id\n1,2\n"])
    writer.start()
    assert opened(tmp_path / "pipe")[1] == [("1", "2")]
    writer.join()


def test_types_that_duckdb_does_not_know_spoil_no_other_column(opened):
    half = pa.array([np.float16(1.5)])
    table = pa.table(
        {"user_id": pa.array(["a"]).dictionary_encode(), "half": half, "id": pa.array([bytes(16)], pa.uuid())}
    )
    found, rows = opened(table)
    assert (rows[0][0], found.types[0]) == ("a", "VARCHAR")
    assert str(rows[0][2]) == "00000000-0000-0000-0000-000000000000"
    assert set(found.unreadable) <= {1}


def test_delta_table_is_refused(opened, tmp_path):
    (tmp_path / "delta" / "_delta_log").mkdir(parents=True)
    with pytest.raises(SourceError, match="is a Delta table"):
        opened(tmp_path / "delta")

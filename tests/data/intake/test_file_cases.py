"""Files and tables in memory: the same interactions in every form, and files that are no such table."""

from __future__ import annotations

import gzip
import io
import json
import zipfile

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import sparse

import crowds
import tastevec
from crowds import crowd, read, real, stars, times
from tastevec.errors import BadRowError, DataError, SourceError


@pytest.fixture(name="table", scope="module")
def _table():
    return crowd(rating=stars, timestamp=times)


@pytest.fixture(name="expected", scope="module")
def _expected(table):
    return crowds.rows(read(table))


def refuse(source, error=SourceError, **stated):
    with pytest.raises(error) as caught:
        read(source, **stated)
    return str(caught.value)


# Names and formats


def test_columns_of_book_crossing_are_known_by_their_names(tmp_path):
    """Case 51."""
    table = crowd(rating=lambda row: row % 11)
    isbn = [f"0{item:08d}X" for item in table["item_id"]]
    named = {"User-ID": table["user_id"], "ISBN": isbn, "Book-Rating": table["rating"]}
    path = crowds.write(tmp_path / "BX-Book-Ratings.csv", named, delimiter=";")
    path.write_text('"User-ID";"ISBN";"Book-Rating"\n' + path.read_text().partition("\n")[2])

    found = read(path)

    assert found.format == "book-crossing"
    lines = crowds.lines(found)
    assert lines["User-ID"] == "user 20 whole numbers"
    assert lines["ISBN"] == "item 40 texts"
    assert lines["Book-Rating"].startswith("explicit 0 to 10 seen; scale 0:10, inferred")


def pack(path, table):
    """Write a table in the format of the name."""
    plain = io.StringIO()
    pd.DataFrame(table).to_csv(plain, index=False)
    content = plain.getvalue().encode()
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(content))
    elif path.name.endswith(".zst"):
        path.write_bytes(pa.compress(content, codec="zstd", asbytes=True))
    elif path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("README.md", "which rates what")
            archive.writestr("ratings.csv", content)
    elif path.name.endswith(".jsonl"):
        rows = pd.DataFrame(table).to_dict(orient="records")
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.name.endswith(".arrow"):
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, pa.table(table).schema) as writer:
            writer.write_table(pa.table(table))
    else:
        path.write_bytes(content)
    return path


FORMS = ["RATINGS.CSV", "ratings.csv.gz", "ratings.csv.zst", "ratings.zip", "ratings.jsonl", "ratings.arrow"]


@pytest.mark.parametrize("name", FORMS)
def test_every_format_has_the_same_rows(tmp_path, table, expected, name):
    """Case 52."""
    assert crowds.rows(read(pack(tmp_path / name, table))) == expected


def test_a_packed_file_has_the_fingerprint_of_the_plain_one(tmp_path, table):
    """Case 52: the fingerprint."""
    prepared = [
        tastevec.prepare(pack(tmp_path / name, table), tmp_path / f"{name}-out") for name in FORMS[:5:4]
    ]

    assert len({one.fingerprint for one in prepared}) == 1


def test_a_folder_of_parquet_parts_is_one_table_in_the_order_of_names(tmp_path):
    """Case 53: without times, so that the order of the parts counts."""
    table = pa.table(crowd(rating=stars))
    for part, start in (("b-1", 200), ("a-2", 100), ("a-1", 0)):
        (tmp_path / "parts").mkdir(exist_ok=True)
        pq.write_table(
            table.slice(start, 120 if start == 200 else 100), tmp_path / "parts" / f"{part}.parquet"
        )

    found = read(tmp_path / "parts")

    assert crowds.rows(found) == crowds.rows(read(table))
    assert crowds.history(found, 7) == crowd()["item_id"][96:112]


def test_a_file_without_a_header_is_refused_and_its_columns_can_be_named(tmp_path):
    """Cases 54 and 55."""
    table = crowd(rating=lambda row: float(stars(row)), timestamp=times)
    table = {
        **table,
        "user_id": [f"A{user}KX" for user in table["user_id"]],
        "item_id": [f"01327{item:05d}" for item in table["item_id"]],
    }
    path = crowds.write(tmp_path / "ratings.csv", table, header=False)

    assert "line 1 looks like a row, not a header: --columns user_id,item_id,rating,timestamp" in refuse(path)

    found = read(path, columns="user_id,item_id,rating,timestamp")
    assert {name: line.partition(" ")[0] for name, line in crowds.lines(found).items() if name in table} == {
        "user_id": "user",
        "item_id": "item",
        "rating": "explicit",
        "timestamp": "time",
    }
    assert crowds.rows(found)[0]["item_id"].startswith("01327")


def test_columns_without_a_header_can_be_stated_by_number(tmp_path):
    """Cases 54 and 55: --no-header."""
    table = crowd(rating=stars)
    path = crowds.write(tmp_path / "ratings.csv", table, header=False)

    found = read(path, no_header=True, column=["user_id=1", "item_id=2", "rating=3"])

    assert crowds.rows(found) == crowds.rows(read(table))


@pytest.mark.parametrize(("name", "delimiter"), [("world.inter", "\t"), ("world.csv", ",")])
def test_typed_headers_are_known_in_any_file(tmp_path, table, expected, name, delimiter):
    """Case 56: prepare; encode and recommend are tested with the model."""
    types = dict(zip(table, ("token", "token", "float", "float"), strict=True))
    typed = {f"{column}:{types[column]}": values for column, values in table.items()}

    assert crowds.rows(read(crowds.write(tmp_path / name, typed, delimiter=delimiter))) == expected


# MovieTweetings


def tweetings(folder):
    """Write a folder as MovieTweetings has it: IDs of 7 digits, no header, two colons."""
    table = crowd(rating=lambda row: row % 11, timestamp=times)
    folder.mkdir()
    rows = zip(*table.values(), strict=True)
    (folder / "ratings.dat").write_text("".join(f"{u}::{i:07d}::{r}::{t}\n" for u, i, r, t in rows))
    titles = "".join(f"{item:07d}::Film {item} (1999)::Drama|Horror\n" for item in range(1, 41))
    (folder / "movies.dat").write_text(titles)
    return folder


def test_movietweetings_are_known_as_a_folder_and_as_a_file(tmp_path):
    """Case 57."""
    folder = tweetings(tmp_path / "tweets")

    whole, alone = read(folder), read(folder / "ratings.dat")

    for found in (whole, alone):
        assert found.format == "movietweetings"
        assert found.item_noun["many"] == "films"
        assert (found.scale.low, found.scale.high) == (0, 10)
        assert "0000001" in {row["item_id"] for row in crowds.rows(found)}
    assert "40 of 40 films have metadata" in str(whole.report)
    assert "metadata" not in str(alone.report)


@pytest.mark.slow
def test_real_movietweetings_are_known_as_a_folder_and_as_a_file():
    """Case 57: the real files."""
    ratings = real("movietweetings", "ratings.dat")

    whole, alone = str(tastevec.inspect(ratings.parent)), str(tastevec.inspect(ratings))

    for report in (whole, alone):
        assert "scale 0:10, inferred" in report
        assert ">= 7.5: 50,542 (50.5 %)" in report
        assert "7,457 of 16,554 users (45.0 %) have 1 interaction" in report
    assert "10,506 of 10,506 films have metadata" in whole


# Broken rows


def lines_of(rows):
    return ["user_id,item_id,rating", *(f"{1 + row // 50},{row},{1 + row % 5}" for row in range(rows))]


def test_a_quote_that_takes_in_lines_is_refused_though_bad_rows_may_be_dropped(tmp_path):
    """Case 58."""
    lines = lines_of(999)
    lines[2] = '1,"1,2'
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines) + "\n")

    assert "line 3 opens a quote that takes in 997 more lines" in refuse(path, BadRowError, bad_rows="drop")


def test_few_broken_rows_are_dropped_and_counted_and_many_are_refused(tmp_path):
    """Case 59."""
    path = tmp_path / "rows.csv"

    def write(broken):
        lines = lines_of(1000)
        lines[1 : 12 * broken : 12] = ["1,1"] * broken
        path.write_text("\n".join(lines) + "\n")

    write(3)
    found = read(path, bad_rows="drop")
    assert found.row_reports[0].skipped == {"a wrong number of columns": 3}
    assert crowds.lines(found)["dropped"] == " 3 rows: a wrong number of columns"
    write(80)
    assert "8.0 % of rows are bad, more than 5 %: --bad-rows drop:10%" in refuse(
        path, DataError, bad_rows="drop"
    )


def test_bad_values_over_the_limit_are_refused_with_the_next_limit(tmp_path):
    """Case 59: bad IDs."""
    table = crowd()
    path = crowds.write(
        tmp_path / "rows.csv", crowds.changed(table, "user_id", dict.fromkeys(range(26), "nan"))
    )

    assert "8.1 % of rows are bad, more than 5 %: --bad-rows drop:10%" in refuse(
        path, DataError, bad_rows="drop"
    )


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1"])
def test_encodings_and_line_ends_are_found_and_said(tmp_path, encoding):
    """Case 60."""
    table = crowd(rating=stars)
    table = {**table, "user_id": [f"Zoë{user}" for user in table["user_id"]]}
    lines = crowds.write(tmp_path / "plain.csv", table).read_text(encoding="utf-8").splitlines()
    text = "".join(line + ("\r\n", "\n")[at % 2] for at, line in enumerate(lines))
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode(encoding))

    found = read(path)

    assert crowds.rows(found) == crowds.rows(read(table))
    assert encoding.removesuffix("-sig") in str(found.report).partition("\n")[0]


def test_decimal_commas_are_read_where_the_separator_is_none(tmp_path):
    """Case 61."""
    table = crowd(rating=lambda row: 0.5 * (1 + row % 10))
    written = {**table, "rating": [str(value).replace(".", ",") for value in table["rating"]]}

    found = read(crowds.write(tmp_path / "rows.csv", written, delimiter=";"))

    assert crowds.rows(found) == crowds.rows(read(table))


def test_an_excel_file_is_refused_with_the_way_out(tmp_path):
    """Case 61: ratings.xlsx."""
    path = tmp_path / "ratings.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")

    assert "is an Excel file: save it as CSV" in refuse(path)


# Tables in memory


def matrix(table):
    """Return the table as a sparse matrix, in which users and items are numbers from 0."""
    places = (np.array(table["user_id"]), np.array(table["item_id"]))
    return sparse.csr_matrix((np.array(table["rating"], float), places))


TABLES = {
    "pandas": pd.DataFrame,
    "pandas index": lambda table: pd.DataFrame(table).set_index(["user_id", "item_id"]),
    "Polars": pl.DataFrame,
    "lazy": pl.LazyFrame,
    "Arrow": pa.table,
    "Arrow batches": lambda table: pa.table(table).to_reader(max_chunksize=50),
    "DuckDB": lambda table: duckdb.from_arrow(pa.table(table)),
    "tuples": lambda table: list(zip(*table.values(), strict=True)),
    "dicts": lambda table: [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)],
    "arrays": lambda table: {name: np.array(values) for name, values in table.items()},
}


@pytest.mark.parametrize("kind", TABLES)
def test_every_table_has_the_same_rows(table, expected, kind):
    """Case 62."""
    assert crowds.rows(read(TABLES[kind](table))) == expected


def test_a_sparse_matrix_has_the_same_rows():
    """Case 62: CSR."""
    table = crowd(rating=stars)

    assert crowds.rows(read(matrix(table))) == crowds.rows(read(table))


def test_a_table_has_the_fingerprint_of_its_file(tmp_path, table):
    """Case 62: the fingerprint, of prepare and of fit."""
    path = crowds.write(tmp_path / "rows.csv", table)

    prepared = [
        tastevec.prepare(rows, tmp_path / name)
        for name, rows in (("file", path), ("table", pl.DataFrame(table)))
    ]

    assert prepared[0].fingerprint == prepared[1].fingerprint


def test_a_column_that_is_not_read_may_hold_anything(table, expected):
    """Case 63."""
    frame = pd.DataFrame(table)
    frame["mixed"] = pd.Series([{"a": 1}, [2], object(), "x"] * 80, dtype=object)

    found = read(frame)

    assert crowds.rows(found) == expected
    assert crowds.lines(found)["mixed"].startswith("ignored mixed values")


def test_a_column_of_objects_of_arrow_is_ignored(table, expected):
    """Case 63: structs and lists."""
    nested = pa.table({**table, "place": [{"x": 1.5}] * 320, "seen_at": [[1]] * 320})

    assert crowds.rows(read(nested)) == expected


def test_a_column_of_ids_that_cannot_be_read_is_refused(table):
    """Case 63: a column that is read."""
    frame = pd.DataFrame(table)
    frame["user_id"] = pd.Series([{"a": 1}, [2], object(), "x"] * 80, dtype=object)

    assert "column user_id: mixed values" in refuse(frame, DataError)

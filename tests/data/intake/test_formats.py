"""What a file is by its content, and the dialect of a text file."""

import io
import pickle
import sqlite3
import zipfile

import pyarrow as pa
import pytest
from pyarrow import parquet

from tastevec.data.intake.formats import infer_dialect, sniff, unzip_table
from tastevec.data.intake.settings import FileFormat
from tastevec.data.intake.text import open_text
from tastevec.errors import SourceError

ROLES = ("user_id", "item_id", "rating", "timestamp")


@pytest.fixture
def dialect(tmp_path):
    """Return a function that infers the dialect of a text."""

    def infer(content, **stated):
        path = tmp_path / "ratings.csv"
        path.write_text(content, encoding="utf-8")
        return infer_dialect(open_text(path, tmp_path, name=path.name), FileFormat(**stated), ROLES)

    return infer


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "::", "^"])
def test_delimiter_is_the_one_that_divides_all_lines_alike(delimiter, dialect):
    lines = [("user_id", "item_id", "title"), ("1", "2", "a b"), ("3", "4", "one; two, three")]
    found = dialect("".join(delimiter.join(line) + "\n" for line in lines[: 2 if delimiter in ";," else 3]))
    assert (found.delimiter, found.names) == (delimiter, lines[0])


def test_delimiter_with_the_most_columns_is_preferred(dialect):
    assert dialect("1;2;4,5\n3;4;3,5\n", header=False).delimiter == ";"
    assert dialect("a,b,c\n1,x|y,2\n2,x|y,3\n").delimiter == ","


def test_delimiter_of_a_ragged_file_is_the_one_of_its_header(dialect):
    found = dialect("user_id,item_id,genres\n1,2,a|b\n1,2\n3,4,a|b\n")
    assert (found.delimiter, len(found.names)) == (",", 3)


def test_delimiters_and_newlines_in_quotes_are_text(dialect):
    found = dialect('id;"a;\nb"\n1;"x;y"\n2;"x\n;\n;"\n')
    assert (found.delimiter, found.names, found.header_lines) == (";", ("id", "a;\nb"), 2)


def test_single_column_is_allowed_if_nothing_divides(dialect):
    assert dialect("item_id\n1\n2\n").names == ("item_id",)


def test_recbole_header_loses_its_types(dialect):
    found = dialect("user_id:token\tgenres:token_seq\tnote\n1\ta b\t\n")
    assert (found.names, found.declared) == (("user_id", "genres", "note"), ("token", "token_seq", None))


@pytest.mark.parametrize(
    ("first", "names"),
    [
        ("A1KX,0132793040,5.0,1365811200", "user_id,item_id,rating,timestamp"),
        ("1,2,1365811200", "user_id,item_id,timestamp"),
        ("1,2,2019-10-01,4", "user_id,item_id,timestamp,rating"),
        ("u1\ti1", None),
        ("anna;50", "user_id,item_id"),
        ("1;Toy Story;Comedy", "user_id,item_id,column3"),
    ],
)
def test_first_line_that_looks_like_a_row_is_refused_with_its_names(first, names, dialect):
    if names is None:
        assert dialect(first + "\n").names == ("u1", "i1")
        return
    with pytest.raises(SourceError, match=f"line 1 looks like a row, not a header: --columns {names}"):
        dialect(first + "\n")


def test_stated_names_replace_a_header(dialect):
    assert dialect("1,2\n", columns=("a", "b")).has_header is False
    assert dialect("x,y\n1,2\n", columns=("a", "b"), header=True).names == ("a", "b")
    assert dialect("1,2\n", header=False).names == ("1", "2")
    with pytest.raises(SourceError, match=r"line 1: 2 columns. Expected 3: a, b, c"):
        dialect("1,2\n", columns=("a", "b", "c"))


def test_empty_lines_before_the_header_are_skipped(dialect):
    found = dialect("\n \nuser_id,item_id\n1,2\n")
    assert (found.skip, found.names) == (2, ("user_id", "item_id"))


def _bytes_of(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _zipped(**files):
    def write(buffer):
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in files.items():
                archive.writestr(name.replace("__", "/").replace("_", "."), content)

    return _bytes_of(write)


def _arrow(buffer, writer):
    table = pa.table({"a": [1]})
    with writer(buffer, table.schema) as opened:
        opened.write_table(table)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"a,b\n", "text"),
        (b"\xef\xbb\xbf{}", "jsonl"),
        (b"[user],b\n", "text"),
        (b"ORCID,PK\n", "text"),
        (b"PK,BZh\n", "text"),
        (_bytes_of(lambda b: parquet.write_table(pa.table({"a": [1]}), b)), "parquet"),
        (_bytes_of(lambda b: _arrow(b, pa.ipc.new_file)), "arrow"),
        (_bytes_of(lambda b: _arrow(b, pa.ipc.new_stream)), "arrow"),
        (_zipped(a_csv=b"a"), "zip"),
    ],
)
def test_file_is_known_by_its_content(content, kind, tmp_path):
    (tmp_path / "file").write_bytes(content)
    assert sniff(tmp_path / "file", name="file") == kind


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "file is an Excel file: save it as CSV"),
        (pickle.dumps([1]), "is a pickle: save the table as Parquet or CSV"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        (b'[{"user_id": 1}]', "is one JSON array: write one object a line"),
        (b"<!DOCTYPE html><html>", "is a page of HTML"),
        (bytes(257) + b"ustar", "is an archive: unpack it"),
    ],
)
def test_other_file_is_refused_with_the_way_out(content, message, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SourceError, match=message.replace("file is", "file: is")):
        sniff(tmp_path / "file", name="file")


def test_database_is_refused_with_the_way_out(tmp_path):
    connection = sqlite3.connect(tmp_path / "file.db")
    connection.execute("CREATE TABLE a (b)")
    connection.close()
    with pytest.raises(SourceError, match="is an SQLite database: export the table as CSV"):
        sniff(tmp_path / "file.db", name="file.db")


def test_zip_of_one_table_is_unpacked(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(_zipped(in__a_csv=b"a,b\n", README_txt=b"x", __MACOSX___a_csv=b"x"))
    assert unzip_table(path, tmp_path, name="a.zip").read_bytes() == b"a,b\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"xl__workbook_xml": b"x"}, "is an Excel file: save it as CSV"),
        ({"a_csv": b"x", "b_csv": b"x"}, "the zip has a.csv, b.csv"),
        ({}, "the zip has no file"),
    ],
)
def test_zip_without_exactly_one_table_is_refused(files, message, tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(_zipped(**files))
    with pytest.raises(SourceError, match=message):
        unzip_table(path, tmp_path, name="a.zip")


def test_damaged_zip_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(_zipped(a_csv=b"x" * 1000)[:-30])
    with pytest.raises(SourceError, match="truncated or damaged"):
        unzip_table(path, tmp_path, name="a.zip")

"""Text files as clean UTF-8: encodings, line ends, bytes that are no text, compression."""

import gzip
import re

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tastevec.data.intake.text import UNDECODED, decompress, open_text, show
from tastevec.errors import SourceError

TEXT = "user_id,title\n1,Amélie\n2,Léon\n"


@pytest.fixture
def opened(tmp_path):
    """Return a function that opens bytes, and returns the file and its text."""

    def open_bytes(content, **settings):
        path = tmp_path / "titles.csv"
        path.write_bytes(content)
        text = open_text(path, tmp_path, name=path.name, **settings)
        return text, "".join(text.read_lines())

    return open_bytes


@pytest.mark.parametrize(
    ("codec", "encoding"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16"),
        ("utf-16-be", "utf-16"),
        ("iso-8859-1", "iso-8859-1"),
    ],
)
def test_text_in_any_encoding_is_the_same(codec, encoding, opened):
    text, content = opened(TEXT.encode(codec))
    assert (content, text.encoding, text.has_undecoded) == (TEXT, encoding, False)


def test_stated_encoding_is_used(opened):
    assert opened("é\n".encode(), encoding="iso-8859-1")[1] == "Ã©\n"
    with pytest.raises(SourceError, match="not readable as utf-16"):
        opened(b"odd", encoding="utf-16")


def test_clean_file_is_read_where_it_is(opened, tmp_path):
    text, _ = opened(TEXT.encode())
    assert text.path == tmp_path / "titles.csv"


@pytest.mark.parametrize(
    "content", ["a\r\nb\nc\r\n", "a\rb\rc\r", "a\nb\nc\n", "a\r\nb\r\nc\r\n", "a\r\r\nb\r\r\nc"]
)
def test_lines_end_in_one_way(content, opened):
    text, found = opened(content.encode())
    assert [line.strip() for line in found.splitlines()] == ["a", "b", "c"]
    assert (text.lines, text.blank_lines) == (3, 0)


@pytest.mark.parametrize("byte", [b"\xff", b"\x00", b"\r"])
def test_byte_that_is_no_text_is_marked_and_shown(byte, opened):
    text, content = opened(b"1,a" + byte + "é\n2,b\n".encode())
    assert text.has_undecoded
    marked = content.split("\n")[0]
    assert marked == f"1,a{UNDECODED}{byte.hex()}é"
    assert show(marked) == f"'1,a\\x{byte.hex()}é'"


def test_damaged_byte_in_utf_8_does_not_make_it_latin(opened):
    text, _ = opened("Amélie\nLéon\n".encode() + b"\xe9\n")
    assert (text.encoding, text.has_undecoded) == ("utf-8", True)


@example("\r\r\r\r\n")
@given(st.text(alphabet='a\n\r"é', max_size=40))
def test_lines_and_empty_lines_are_counted(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("lines")
    (folder / "lines.txt").write_text(content + "a", encoding="utf-8", newline="")
    text = open_text(folder / "lines.txt", folder, name="lines.txt")
    # Three returns before a line feed are a line end of Windows, once more by Windows; a fourth is content.
    lines = [re.sub(r"\r{0,3}\n?\Z", "", line) for line in text.read_lines()]
    assert (text.lines, text.blank_lines, text.has_quotes) == (len(lines), lines.count(""), '"' in content)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_file_is_unpacked(compression, tmp_path):
    with pa.CompressedOutputStream(str(tmp_path / "packed"), compression) as stream:
        stream.write(TEXT.encode())
    assert decompress(tmp_path / "packed", tmp_path, compression, name="packed").read_text() == TEXT


def test_gzip_of_several_members_is_unpacked_whole(tmp_path):
    (tmp_path / "packed").write_bytes(gzip.compress(b"a\n") + gzip.compress(b"b\n"))
    assert decompress(tmp_path / "packed", tmp_path, "gzip", name="packed").read_text() == "a\nb\n"


def test_truncated_or_exploding_gzip_is_refused(tmp_path):
    path = tmp_path / "packed.gz"
    path.write_bytes(gzip.compress(TEXT.encode() * 100)[:-20])
    with pytest.raises(SourceError, match="truncated or damaged"):
        decompress(path, tmp_path, "gzip", name=path.name)
    path.write_bytes(gzip.compress(bytes(11 << 20)))
    with pytest.raises(SourceError, match="unpacks into more than 200 times its size"):
        decompress(path, tmp_path, "gzip", name=path.name)


def test_empty_or_missing_file_is_refused(opened, tmp_path):
    with pytest.raises(SourceError, match=r"titles.csv: empty \(0 bytes\)"):
        opened(b"")
    with pytest.raises(SourceError, match="not readable"):
        open_text(tmp_path / "none", tmp_path, name="none")

"""Text files as lines of valid UTF-8 that DuckDB can read and number."""

# ruff: noqa: S608 -- the one query is built from a path that `literal` has quoted

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tastevec.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NUMERIC", "STRAY", "TextFile", "lines_of", "literal", "open_text", "show", "sql_path"]

# A noncharacter of Unicode: stands, with two hexadecimal digits, where a byte was that no text holds.
STRAY = "\U0010ffff"
_BLOCK = 1 << 20  # characters in memory at a time
_LONGEST_LINE = 2_000_000  # as DuckDB has it
_NOT_TEXT = re.compile("[\x00\ud800-\udfff\U0010ffff]|\r(?!\n)")
_UNDECODED = re.compile("[\ud800-\udfff]")
NUMERIC = b"0123456789.,:\t\r\n"  # digits, points, and what separates fields and lines


@dataclass(frozen=True)
class TextFile:
    """A text file that DuckDB can read line by line.

    Attributes:
        path: The file itself, or a copy in UTF-8 where the file was not.
        name: The file's own name, for messages.
        encoding: How its bytes were read.
        has_quotes: Whether a double quote is anywhere in it.
        has_strays: Whether bytes were found that no text holds; they are marked with ``STRAY``.
        is_numeric: Whether there are only digits, points, separators and line ends of one kind after the first line.
    """

    path: Path
    name: str
    encoding: str
    has_quotes: bool
    has_strays: bool
    is_numeric: bool = False

    def first_line(self) -> str:
        """The first line without its ending, shown in messages as it stands."""
        with self.path.open(encoding="utf-8-sig", newline="") as handle:
            return handle.readline(_LONGEST_LINE).rstrip("\r\n")


def open_text(path: Path, scratch: Path, *, latin: bool = False, name: str | None = None) -> TextFile:
    """The file made readable: as it is where it can be, else as a copy in ``scratch`` with clean line endings.

    Args:
        path: The file.
        scratch: A folder for the copy.
        latin: Whether the file is known to be in ISO-8859-1, unless all of it is UTF-8.
        name: What messages call the file; its own name if not given.

    Raises:
        SourceError: The file is missing, empty or cannot be opened.
    """
    shown, encoding = name or path.name, "utf-8"
    try:
        scan = _scan(path, "utf-8-sig")
        if latin and not scan.is_decoded:
            scan, encoding = _scan(path, "iso-8859-1"), "iso-8859-1"
        if not scan.size:
            raise SourceError(
                f"{shown} is empty (0 bytes); expected rows of text; fetch or export it again, then rerun"
            )
        if encoding == "utf-8" and scan.is_clean:
            return TextFile(
                path, shown, encoding, scan.has_quotes, has_strays=False, is_numeric=scan.is_numeric
            )
        copy = _rewrite(path, scratch, "utf-8-sig" if encoding == "utf-8" else encoding)
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read ({error.strerror}); expected a text file; check the path and run again"
        ) from error
    return TextFile(copy, shown, encoding, scan.has_quotes, has_strays=not scan.is_clean)


def lines_of(text: TextFile, *, skip: int = 0) -> str:
    """SQL for ``line`` (from 1) and ``text`` of every line after the first ``skip``, blank lines as NULL.

    No delimiter and no quote is told to DuckDB, so that it neither drops nor pads nor guesses: a line is a line.
    """
    return (
        "SELECT line, text FROM (SELECT row_number() OVER () AS line, text "
        f"FROM read_csv({sql_path(text.path)}, delim = '', quote = '', escape = '', header = false, "
        "columns = {'text': 'VARCHAR'}, auto_detect = false, compression = 'none', hive_partitioning = false)) "
        f"WHERE line > {skip}"
    )


def literal(value: str) -> str:
    """The text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def sql_path(path: Path) -> str:
    """The path as an SQL literal in which DuckDB sees no pattern."""
    return literal(re.sub(r"([*?\[])", r"[\1]", str(path)))


def show(value: str | None, limit: int = 40) -> str:
    """The text as it stood in the file, quoted, cut short, and its stray bytes written as escapes."""
    value = value or ""
    cut = value if len(value) <= limit else value[: limit - 3] + "..."
    return repr(cut).replace(repr(STRAY)[1:-1], "\\x")


@dataclass(frozen=True)
class _Scan:
    """What one pass over a file found: whether every byte is decoded, and whether DuckDB can take it as it is."""

    size: int
    has_quotes: bool
    is_decoded: bool
    is_clean: bool
    is_numeric: bool = False


def _scan(path: Path, encoding: str) -> _Scan:
    return _scan_ascii(path) or _scan_text(path, encoding)


def _scan_ascii(path: Path) -> _Scan | None:
    """The same without decoding anything, five times as fast; None at the first byte that is not ASCII."""
    size = newlines = pairs = returns = 0
    quotes = nothing = False
    numeric = True
    for block in _ascii_blocks(path):
        if not block.isascii():
            return None
        numeric = numeric and (not size or not block.translate(None, NUMERIC))  # the first may be a header
        size += len(block)
        quotes = quotes or b'"' in block
        nothing = nothing or b"\x00" in block
        if b"\r" in block:
            returns, pairs = returns + block.count(b"\r"), pairs + block.count(b"\r\n")
            newlines += block.count(b"\n")
        else:
            newlines += b"\n" in block  # that there are some is all that counts
    clean = not nothing and returns == pairs and returns in (0, newlines)
    return _Scan(size, quotes, is_decoded=True, is_clean=clean, is_numeric=numeric)


def _ascii_blocks(path: Path) -> Iterator[bytes]:
    """The file's bytes, its first line and then some at a time, never cut between a carriage return and its newline."""
    with path.open("rb") as handle:
        block = handle.readline(_LONGEST_LINE)
        while block:
            while block.endswith(b"\r") and (more := handle.read(1)):
                block += more
            yield block
            block = handle.read(_BLOCK)


def _scan_text(path: Path, encoding: str) -> _Scan:
    size = newlines = returns = 0
    quotes = strays = broken = False
    for block in _blocks(path, encoding):
        size += len(block)
        quotes = quotes or '"' in block
        newlines += block.count("\n")
        returns += block.count("\r\n")
        if (
            not block.isascii() or "\x00" in block or "\r" in block
        ):  # searched only where it may find something
            strays = strays or _NOT_TEXT.search(block) is not None
            broken = broken or _UNDECODED.search(block) is not None
    return _Scan(size, quotes, is_decoded=not broken, is_clean=not strays and returns in (0, newlines))


def _blocks(path: Path, encoding: str) -> Iterator[str]:
    """The file's text, some at a time, never cut between a carriage return and its newline."""
    with path.open(encoding=encoding, errors="surrogateescape", newline="") as handle:
        while block := handle.read(_BLOCK):
            while block.endswith("\r") and (more := handle.read(1)):
                block += more
            yield block


def _rewrite(path: Path, scratch: Path, encoding: str) -> Path:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="", dir=scratch, suffix=".txt", delete=False
    ) as copy:
        for block in _blocks(path, encoding):
            copy.write(_NOT_TEXT.sub(_mark, block.replace("\r\n", "\n")))
    return Path(copy.name)


def _mark(match: re.Match[str]) -> str:
    """A stray byte as ``STRAY`` and two digits; the noncharacter itself, found in the file, as ff."""
    return f"{STRAY}{ord(match.group()) & 0xFF:02x}"

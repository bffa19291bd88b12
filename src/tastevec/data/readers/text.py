"""Text files as lines of valid UTF-8 that DuckDB can read and number."""

# ruff: noqa: S608 -- the query is built from a path that `literal` has quoted

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, AnyStr

from tastevec.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

# A Unicode noncharacter that replaces a byte which is no text; two hexadecimal digits of the byte follow it.
UNDECODED = "\U0010ffff"
_BLOCK = 1 << 20  # characters in memory at a time
_LONGEST_LINE = 2_000_000  # DuckDB's limit
_NOT_TEXT = re.compile("[\x00\ud800-\udfff\U0010ffff]|\r(?!\n)")
_SURROGATE = re.compile("[\ud800-\udfff]")
NUMERIC = b"0123456789.,:\t\r\n"  # digits, points, and the separators of fields and lines


@dataclass(frozen=True)
class TextFile:
    """A text file that DuckDB can read line by line.

    Attributes:
        path: The file itself, or a clean copy in UTF-8.
        name: The file's name in messages.
        encoding: How its bytes were read.
        has_quotes: Whether it contains a double quote.
        has_undecoded: Whether it contains bytes that are no text; the copy marks them with ``UNDECODED``.
        is_numeric: Whether only digits, points, separators and line ends of one kind follow the first line.
    """

    path: Path
    name: str
    encoding: str
    has_quotes: bool
    has_undecoded: bool
    is_numeric: bool = False

    def first_line(self) -> str:
        """Return the first line without its ending."""
        with self.path.open(encoding="utf-8-sig", newline="") as handle:
            return handle.readline(_LONGEST_LINE).rstrip("\r\n")


def open_text(path: Path, scratch: Path, *, latin: bool = False, name: str | None = None) -> TextFile:
    """Return the file, or a copy of it in ``scratch`` in UTF-8 with clean line ends where DuckDB needs one.

    With ``latin``, a file that is not valid UTF-8 is in ISO-8859-1. ``name`` is its name in messages.
    """
    shown, encoding = name or path.name, "utf-8"
    try:
        scan = _scan(path, "utf-8-sig")
        if latin and not scan.is_decoded:
            scan, encoding = _scan(path, "iso-8859-1"), "iso-8859-1"
        if not scan.size:
            raise SourceError(
                f"{shown}: empty (0 bytes). Expected rows of text. Fetch or export the file again."
            )
        if encoding == "utf-8" and scan.is_clean:
            return TextFile(
                path, shown, encoding, scan.has_quotes, has_undecoded=False, is_numeric=scan.is_numeric
            )
        copy = _rewrite(path, scratch, "utf-8-sig" if encoding == "utf-8" else encoding)
    except OSError as error:
        raise SourceError(
            f"{path}: not readable ({error.strerror}). Expected a text file. Check the path."
        ) from error
    return TextFile(copy, shown, encoding, scan.has_quotes, has_undecoded=not scan.is_clean)


def lines_of(text: TextFile, *, skip: int = 0) -> str:
    """Return SQL of ``line`` (from 1) and ``text`` of every line after the first ``skip``; a blank line is NULL.

    DuckDB gets no delimiter and no quote, so that it drops, pads and guesses nothing.
    """
    return (
        "SELECT line, text FROM (SELECT row_number() OVER () AS line, text "
        f"FROM read_csv({sql_path(text.path)}, delim = '', quote = '', escape = '', header = false, "
        "columns = {'text': 'VARCHAR'}, auto_detect = false, compression = 'none', hive_partitioning = false)) "
        f"WHERE line > {skip}"
    )


def literal(value: str) -> str:
    """Return the text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def sql_path(path: Path) -> str:
    """Return the path as an SQL literal in which DuckDB finds no glob pattern."""
    return literal(re.sub(r"([*?\[])", r"[\1]", str(path)))


def show(value: str | None, limit: int = 40) -> str:
    """Return the text as the file has it: quoted, at most ``limit`` characters, undecodable bytes as escapes."""
    value = value or ""
    cut = value if len(value) <= limit else value[: limit - 3] + "..."
    return repr(cut).replace(repr(UNDECODED)[1:-1], "\\x")


@dataclass(frozen=True)
class _Scan:
    """The result of one pass over a file: whether every byte is decoded, and whether DuckDB can read it directly."""

    size: int
    has_quotes: bool
    is_decoded: bool
    is_clean: bool
    is_numeric: bool = False


def _scan(path: Path, encoding: str) -> _Scan:
    return _scan_ascii(path) or _scan_text(path, encoding)


def _scan_ascii(path: Path) -> _Scan | None:
    """Return the scan of an ASCII file without decoding it, five times as fast; None if a byte is not ASCII."""
    size = newlines = pairs = returns = 0
    quotes = nulls = False
    numeric = True
    with path.open("rb") as file:
        for block in _blocks(file):
            if not block.isascii():
                return None
            # The first block may be a header.
            numeric = numeric and (not size or not block.translate(None, NUMERIC))
            size += len(block)
            quotes = quotes or b'"' in block
            nulls = nulls or b"\x00" in block
            if b"\r" in block:
                returns, pairs = returns + block.count(b"\r"), pairs + block.count(b"\r\n")
                newlines += block.count(b"\n")
            else:
                newlines += b"\n" in block  # without carriage returns one newline is enough to know
    clean = not nulls and returns == pairs and returns in (0, newlines)
    return _Scan(size, quotes, is_decoded=True, is_clean=clean, is_numeric=numeric)


def _blocks(file: IO[AnyStr]) -> Iterator[AnyStr]:
    """Yield the first line and then blocks, never cut between a carriage return and its newline."""
    block = file.readline(_LONGEST_LINE)
    while block:
        while block[-1:] in {"\r", b"\r"} and (more := file.read(1)):
            block += more
        yield block
        block = file.read(_BLOCK)


def _scan_text(path: Path, encoding: str) -> _Scan:
    size = newlines = returns = 0
    quotes = undecoded = broken = False
    with path.open(encoding=encoding, errors="surrogateescape", newline="") as file:
        for block in _blocks(file):
            size += len(block)
            quotes = quotes or '"' in block
            newlines += block.count("\n")
            returns += block.count("\r\n")
            if not block.isascii() or "\x00" in block or "\r" in block:  # others have nothing to find
                undecoded = undecoded or _NOT_TEXT.search(block) is not None
                broken = broken or _SURROGATE.search(block) is not None
    return _Scan(size, quotes, is_decoded=not broken, is_clean=not undecoded and returns in (0, newlines))


def _rewrite(path: Path, scratch: Path, encoding: str) -> Path:
    with (
        path.open(encoding=encoding, errors="surrogateescape", newline="") as file,
        tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=scratch, suffix=".txt", delete=False
        ) as copy,
    ):
        for block in _blocks(file):
            copy.write(_NOT_TEXT.sub(_mark, block.replace("\r\n", "\n")))
    return Path(copy.name)


def _mark(match: re.Match[str]) -> str:
    """Return ``UNDECODED`` and the byte's two digits; for the noncharacter itself, ff."""
    return f"{UNDECODED}{ord(match.group()) & 0xFF:02x}"

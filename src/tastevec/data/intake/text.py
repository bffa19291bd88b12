"""Text files as clean lines of UTF-8, whatever their encoding, line ends and compression."""

# ruff: noqa: S608 -- the query is built from a path that `literal` has quoted

from __future__ import annotations

import codecs
import csv
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, AnyStr, Final

import pyarrow as pa

from tastevec.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# A Unicode noncharacter that replaces a byte which is no text; two hexadecimal digits of the byte follow it.
UNDECODED: Final = "\U0010ffff"
LONGEST_LINE: Final = 2_000_000  # bytes, DuckDB's limit
_BLOCK = 1 << 20  # characters in memory at a time
_MAX_EXPANSION = 200  # text of ids and numbers shrinks to a tenth; only a bomb unpacks into more than this
_SMALL = 10 << 20  # bytes that any file may unpack into
_NOT_TEXT = re.compile("[\x00\r\ud800-\udfff\U0010ffff]")  # of lines without their ends
_SURROGATES = re.compile("[\ud800-\udfff]")
_LATIN = re.compile("[\udca0-\udcfe]")  # bytes that are letters and signs in ISO-8859-1
_BLANK, _BLANK_BYTES = re.compile(r"(?<=\n)\n"), re.compile(rb"(?<=\n)\n")


@dataclass(frozen=True)
class TextFile:
    """A text file that DuckDB can read line by line.

    Attributes:
        path: The file itself, or a clean copy in UTF-8.
        name: The file's name in messages.
        encoding: How its bytes were read: ``utf-8``, ``utf-16`` or ``iso-8859-1``.
        has_quotes: Whether it contains a double quote.
        has_undecoded: Whether it contains bytes that are no text; the copy marks them with ``UNDECODED``.
        lines: Number of lines.
        blank_lines: How many of them are empty, those inside quotes included.
    """

    path: Path
    name: str
    encoding: str
    has_quotes: bool
    has_undecoded: bool
    lines: int
    blank_lines: int

    def read_lines(self) -> Iterator[str]:
        """Yield the lines with their ends; a line over ``LONGEST_LINE`` comes in pieces."""
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            while line := file.readline(LONGEST_LINE):
                yield line


def open_text(path: Path, scratch: Path, *, name: str, encoding: str | None = None) -> TextFile:
    """Return the file, or a copy of it in ``scratch`` in UTF-8 with line ends of one kind where DuckDB needs one.

    Args:
        path: The file.
        scratch: A folder for the copy.
        name: The file's name in messages.
        encoding: The encoding, if it is known; by default UTF-16 if the file begins so, else UTF-8, else ISO-8859-1 if most
            bytes that are not ASCII are letters there and no UTF-8.

    Raises:
        SourceError: The file is empty, cannot be read, or is not in the stated encoding.
    """
    try:
        chosen = encoding or _utf_16(path) or "utf-8"
        scan = _scan_ascii(path) if chosen != "utf-16" else None
        scan = scan or _scan_text(path, chosen)
        if encoding is None and chosen == "utf-8" and scan.is_latin:
            scan, chosen = _scan_text(path, "iso-8859-1"), "iso-8859-1"
        if not scan.size:
            raise SourceError(
                f"{name}: empty (0 bytes). Expected rows of text. Fetch or export the file again."
            )
        clean = scan.is_clean and (chosen == "utf-8" or scan.is_ascii)
        copy = path if clean else _rewrite(path, scratch, chosen, returns_end_lines=scan.returns_end_lines)
        counts = _scan_text(copy, "utf-8") if scan.returns_end_lines else scan
    except UnicodeError as error:
        raise SourceError(
            f"{name}: not readable as {encoding or chosen}. Expected text. State its encoding, or export the file as UTF-8."
        ) from error
    except OSError as error:
        raise SourceError(
            f"{path}: not readable ({error.strerror}). Expected a text file. Check the path."
        ) from error
    return TextFile(copy, name, chosen, scan.has_quotes, scan.has_undecoded, counts.lines, counts.blank_lines)


def decompress(path: Path, scratch: Path, compression: str, *, name: str) -> Path:
    """Return an unpacked copy of a ``gzip`` or ``zstd`` file.

    Raises:
        SourceError: The file is damaged, or unpacks into too much.
    """
    limit = max(_MAX_EXPANSION * path.stat().st_size, _SMALL)
    try:
        with (
            pa.OSFile(str(path)) as packed,
            pa.CompressedInputStream(packed, compression) as stream,
            tempfile.NamedTemporaryFile(dir=scratch, delete=False) as copy,
        ):
            while block := stream.read(_BLOCK):
                copy.write(block)
                if copy.tell() > limit:
                    raise SourceError(
                        f"{name}: unpacks into more than {_MAX_EXPANSION} times its size. Expected a table. Unpack it, and name the unpacked file."
                    )
    except (OSError, pa.ArrowException) as error:
        raise SourceError(
            f"{name}: the {compression} file is truncated or damaged ({error}). Expected a whole file. Fetch or export it again."
        ) from error
    return Path(copy.name)


def lines_of(text: TextFile) -> str:
    """Return SQL of ``line`` (from 1) and ``text`` of every line; a blank line is NULL.

    DuckDB gets no delimiter and no quote, so that it drops, pads and guesses nothing.
    """
    return (
        "SELECT row_number() OVER () AS line, text "
        f"FROM read_csv({sql_path(text.path)}, delim = '', quote = '', escape = '', header = false, "
        f"columns = {{'text': 'VARCHAR'}}, auto_detect = false, compression = 'none', hive_partitioning = false)"
    )


def csv_reader(lines: Iterable[str], delimiter: str, quote: str, escape: str) -> Any:  # noqa: ANN401 -- a type without a name
    """Return the rows of delimited lines with quotes, as Python's own reader divides them."""
    doubled = escape == quote
    return csv.reader(
        lines,
        delimiter=delimiter,
        quotechar=quote,
        doublequote=doubled,
        escapechar=None if doubled else escape,
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


@dataclass
class _Scan:
    """What one pass over a file finds.

    Attributes:
        is_ascii: Whether all bytes are ASCII.
        size: Characters or bytes.
        blank_lines: How many lines are empty.
        has_quotes: Whether there is a double quote.
        not_text: Whether something is no text, apart from carriage returns.
        invalid: Number of bytes that are no text in the encoding.
        is_latin: Whether these are more than the valid characters that are not ASCII, and letters in ISO-8859-1.
    """

    is_ascii: bool = False
    size: int = 0
    blank_lines: int = 0
    has_quotes: bool = False
    not_text: bool = False
    invalid: int = 0
    is_latin: bool = False
    newlines: int = 0
    returns: int = 0
    pairs: int = 0  # a return and a newline
    doubled: int = 0
    at_line_start: bool = True

    def add(self, block: AnyStr, newline: AnyStr, carriage_return: AnyStr, blank: re.Pattern[AnyStr]) -> None:
        """Count the lines, empty lines and kinds of line ends of the next block."""
        self.size += len(block)
        if carriage_return in block:
            # Windows adds a return to the line end of a CSV that Python did not open with newline="".
            doubled = carriage_return + carriage_return + newline
            self.doubled += block.count(doubled)
            block = block.replace(doubled, newline)
            self.returns += block.count(carriage_return)
            self.pairs += block.count(carriage_return + newline)
            block = block.replace(carriage_return + newline, newline)
        self.newlines += block.count(newline)
        self.blank_lines += block.startswith(newline) and self.at_line_start
        if newline + newline in block:
            self.blank_lines += len(blank.findall(block))
        self.at_line_start = block.endswith(newline)

    @property
    def returns_end_lines(self) -> bool:
        """Whether carriage returns alone end the lines."""
        return not self.newlines and self.returns - self.pairs > 1

    @property
    def has_undecoded(self) -> bool:
        """Whether something is no text."""
        return self.not_text or (self.returns > self.pairs and not self.returns_end_lines)

    @property
    def is_clean(self) -> bool:
        """Whether lines end in one way, which DuckDB reads, and nothing is no text."""
        same_ends = self.returns == self.pairs and not self.doubled and self.pairs in (0, self.newlines)
        return same_ends and not self.has_undecoded

    @property
    def lines(self) -> int:
        """Number of lines."""
        newlines = self.returns - self.pairs if self.returns_end_lines else self.newlines
        return newlines + (self.size > 0 and not self.at_line_start)


def _scan_ascii(path: Path) -> _Scan | None:
    """Return the scan of an ASCII file without decoding it, five times as fast; None if a byte is not ASCII."""
    scan = _Scan(is_ascii=True)
    with path.open("rb") as file:
        for block in _blocks(file.read, b"\r"):
            if not block.isascii():
                return None
            scan.add(block, b"\n", b"\r", _BLANK_BYTES)
            scan.has_quotes |= b'"' in block
            scan.not_text |= b"\x00" in block
    return scan


def _scan_text(path: Path, encoding: str) -> _Scan:
    scan, latin, valid = _Scan(), 0, 0
    with _open_as(path, encoding) as file:
        for block in _blocks(file.read, "\r"):
            scan.add(block, "\n", "\r", _BLANK)
            scan.has_quotes |= '"' in block
            if block.isascii():
                scan.not_text |= "\x00" in block
                continue
            scan.not_text |= _NOT_TEXT.search(block.replace("\r", "")) is not None
            wrong = len(_SURROGATES.findall(block))
            scan.invalid, latin = scan.invalid + wrong, latin + (len(_LATIN.findall(block)) if wrong else 0)
            valid += len(block) - len(block.encode("ascii", "ignore")) - wrong
    # Quotes of Windows are no letters.
    scan.is_latin = 10 * latin >= 9 * scan.invalid and scan.invalid > valid
    return scan


def _blocks(read: Callable[[int], AnyStr], carriage_return: AnyStr) -> Iterator[AnyStr]:
    """Yield blocks that are never cut between a carriage return and its newline."""
    while block := read(_BLOCK):
        while block.endswith(carriage_return) and (more := read(1)):
            block += more
        yield block


def _utf_16(path: Path) -> str | None:
    """Return ``utf-16`` if the file begins with its mark, or with ASCII letters in two bytes each."""
    with path.open("rb") as file:
        head = file.read(1000)
    nulls = (head[::2].count(0), head[1::2].count(0))
    marked = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if marked or (max(nulls) > len(head) // 3 and not min(nulls)) else None


def _open_as(path: Path, encoding: str) -> IO[str]:
    """Open the file; bytes that are no text become surrogates, except in UTF-16, which has no such bytes."""
    if encoding != "utf-16":
        codec = "utf-8-sig" if encoding == "utf-8" else encoding
        return path.open(encoding=codec, errors="surrogateescape", newline="")
    with path.open("rb") as file:
        head = file.read(1000)
    if not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16-be" if head[::2].count(0) > head[1::2].count(0) else "utf-16-le"
    return path.open(encoding=encoding, newline="")


def _rewrite(path: Path, scratch: Path, encoding: str, *, returns_end_lines: bool) -> Path:
    with (
        _open_as(path, encoding) as file,
        tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=scratch, suffix=".txt", delete=False
        ) as copy,
    ):
        for block in _blocks(file.read, "\r"):
            lines = block.replace("\r\r\n", "\n").replace("\r\n", "\n")
            copy.write(_NOT_TEXT.sub(_mark, lines.replace("\r", "\n") if returns_end_lines else lines))
    return Path(copy.name)


def mark_undecoded(line: bytes, encoding: str) -> str:
    """Return a line as the copy of its file has it: what is no text is marked."""
    return _NOT_TEXT.sub(_mark, line.decode(encoding, "surrogateescape"))


def _mark(match: re.Match[str]) -> str:
    """Return ``UNDECODED`` and the byte's two digits; for the noncharacter itself, ff."""
    return f"{UNDECODED}{ord(match.group()) & 0xFF:02x}"

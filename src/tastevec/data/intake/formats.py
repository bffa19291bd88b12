"""File formats: what a file is by its content, and the dialect of a text file."""

from __future__ import annotations

import codecs
import csv
import json
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

from tastevec.data.download import unpack_entries
from tastevec.data.intake.text import csv_reader
from tastevec.errors import SourceError
from tastevec.schema import RATING, TIMESTAMP

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Callable, Sequence

    from tastevec.data.intake.settings import FileFormat
    from tastevec.data.intake.text import TextFile

FileKind = Literal["text", "jsonl", "parquet", "arrow", "gzip", "zstd", "zip"]
_MAGIC: Final[tuple[tuple[bytes, FileKind], ...]] = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),  # a stream
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # without an entry
)
_EXCEL, _UNPACK = "is an Excel file: save it as CSV", "is an archive: unpack it and name the table in it"
_REFUSED: Final = (
    (b"\xd0\xcf\x11\xe0", _EXCEL),
    (b"SQLite format 3\x00", "is an SQLite database: export the table as CSV"),
    (b"\x89HDF\r\n", "is an HDF5 file: save the table as Parquet or CSV"),
    (b"\x93NUMPY", "is a NumPy array: save it as CSV"),
    (b"FEA1", "is a Feather file of version 1: save it as Parquet"),
    (b"ORC", "is an ORC file: save it as Parquet"),
    (b"Obj\x01", "is an Avro file: save it as Parquet"),
    (b"%PDF", "is a PDF file: save the table as CSV"),
    (b"BZh", _UNPACK),
    (b"\xfd7zXZ", _UNPACK),
    (b"7z\xbc\xaf", _UNPACK),
    (b"Rar!", _UNPACK),
)  # fmt: skip
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_PAGE = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)
TABLES = "a table (CSV, Parquet, JSON lines or Arrow; gzip, zstd or a zip of one)"


def sniff(path: Path, *, name: str) -> FileKind:
    """Return what the file is, by its content.

    Raises:
        SourceError: It cannot be read as a table; the message has the way out.
    """
    try:
        with path.open("rb") as file:
            head = file.read(1000)
    except OSError as error:
        raise SourceError(
            f"{path}: not readable ({error.strerror}). Expected {TABLES}. Check the path."
        ) from error
    kinds: list[FileKind] = []
    refusals = []
    if not _is_text(head):  # a header may begin with ORC or PAR1, too
        kinds = [kind for magic, kind in _MAGIC if head.startswith(magic)]
        refusals = [way_out for magic, way_out in _REFUSED if head.startswith(magic)]
    refusals += ["is a pickle: save the table as Parquet or CSV"] * bool(_PICKLE.match(head))
    refusals += ["is a DuckDB database: export the table as Parquet or CSV"] * (head[8:12] == b"DUCK")
    refusals += [_UNPACK] * (head[257:262] == b"ustar")
    refusals += ["is a page of HTML: download the file itself"] * bool(_PAGE.match(head))
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    refusals += ["is one JSON array: write one object a line"] * bool(re.match(rb"\[\s*\{", text))
    if refusals:
        raise SourceError(f"{name}: {refusals[0]}. Expected {TABLES}.")
    kinds.append("jsonl" if text.startswith(b"{") else "text")
    return kinds[0]


def unzip_table(path: Path, scratch: Path, *, name: str) -> Path:
    """Unpack the only table of a zip into ``scratch``.

    Raises:
        SourceError: The zip is damaged, has no table or several, or is an Excel file.
    """

    def fail(details: str) -> SourceError:
        return SourceError(f"{name}: {details}. Expected a zip of one table. Unpack it and name the table.")

    def choose(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        if any(entry.filename in {"xl/workbook.xml", "content.xml"} for entry in entries):
            raise SourceError(f"{name}: {_EXCEL}. Expected {TABLES}.")
        files = [
            entry
            for entry in entries
            if not any(part.startswith((".", "_")) for part in PurePosixPath(entry.filename).parts)
        ]
        tables = [entry for entry in files if not _NO_TABLE.search(entry.filename)]
        if len(tables) != 1:
            shown = ", ".join(sorted(entry.filename for entry in files)[:8]) or "no file"
            raise fail(f"the zip has {shown}")
        return {PurePosixPath(tables[0].filename).name: tables[0]}

    folder = scratch / f"zip-{len(list(scratch.iterdir()))}"
    folder.mkdir()
    unpack_zip(path, folder, choose, fail)
    return next(folder.iterdir())


def _is_text(head: bytes) -> bool:
    try:
        return b"\x00" not in head and bool(codecs.getincrementaldecoder("utf-8")().decode(head))
    except UnicodeDecodeError:
        return False


# What accompanies a table in a zip.
_NO_TABLE = re.compile(r"(readme|license)|\.(md|pdf|html?|jpe?g|png)$", re.IGNORECASE)


def unpack_zip(
    path: Path,
    folder: Path,
    choose: Callable[[zipfile.ZipFile], dict[str, zipfile.ZipInfo]],
    fail: Callable[[str], SourceError],
) -> None:
    """Unpack the chosen entries of a zip into ``folder``; see `tastevec.data.download.unpack_entries`."""
    try:
        unpack_entries(path, folder, choose, fail)
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be unpacked ({error}). Expected a zip and space for its files. Free space, then run again."
        ) from error


# The order decides between two that split a file into as many columns: a text more often contains a comma or a bar.
DELIMITERS: Final = ("\t", ";", "::", "^", ",", "|")
_SAMPLE = 100  # lines
_TYPED: Final = {"\\t": "\t", "tab": "\t"}  # as a shell has it
_DECLARED = re.compile(r"(.+):(token|token_seq|float|float_seq)")


@dataclass(frozen=True)
class Dialect:
    """How a text file is divided into fields.

    Attributes:
        delimiter: Between two fields.
        quote: Around a field; empty in a format without quotes.
        escape: Before a quote inside a quoted field: the quote itself, or a backslash.
        names: The columns.
        declared: The types that a RecBole header declares, such as ``token_seq``; None without one.
        has_header: Whether the first line has names.
        skip: Number of empty lines before the first.
        header_lines: Number of lines of the header.
    """

    delimiter: str
    quote: str
    escape: str
    names: tuple[str, ...]
    declared: tuple[str | None, ...]
    has_header: bool
    skip: int
    header_lines: int


def infer_dialect(text: TextFile, stated: FileFormat, expected: Sequence[str]) -> Dialect:
    """Return the dialect of a text file; what is ``stated`` is not inferred.

    ``expected`` are the roles of its columns, for the message about a file without a header.

    Raises:
        SourceError: The file has no row, its first line is not a header, or ``stated.columns`` are not as many.
    """
    lines = list(islice(text.read_lines(), 2 * _SAMPLE))
    skip = next((index for index, line in enumerate(lines) if line.strip()), len(lines))
    sample = [line for line in lines if line.strip()][:_SAMPLE]
    if not sample:
        raise SourceError(
            f"{text.name}: {text.lines} empty lines. Expected rows of text. Export the file again."
        )
    quote = '"' if stated.quote else ""
    delimiter = _TYPED.get(stated.delimiter or "", stated.delimiter) or _delimiter(sample, stated, quote)
    quote = "" if delimiter == "::" else quote  # MovieLens has titles with quotes that open nothing
    rows = _fields(sample, delimiter, quote, stated.escape)
    first = [cell.strip() for cell in rows[0]]
    has_header = not stated.columns if stated.header is None else stated.header
    declared: tuple[str | None, ...] = (None,) * len(first)
    if has_header:
        if delimiter == "\t" and all(map(_DECLARED.fullmatch, first)):
            quote = ""  # RecBole writes no quotes
        matches = [_DECLARED.fullmatch(cell) for cell in first]
        declared = tuple(match and match[2] for match in matches)
        first = [match[1] if match else cell for match, cell in zip(matches, first, strict=True)]
        if not any(declared) and not stated.columns:
            _check_header(first, text.name, skip + 1, expected)
    names = stated.columns or (first if has_header else [str(number) for number in range(1, len(first) + 1)])
    if len(names) != len(first):
        raise SourceError(
            f"{text.name}, line {skip + 1}: {len(first)} columns. Expected {len(names)}: {', '.join(names)}. State as many names, or the delimiter."
        )
    n_header = 1 + sum(cell.count("\n") for cell in rows[0]) if has_header else 0
    return Dialect(delimiter, quote, stated.escape, tuple(names), declared, has_header, skip, n_header)


def _delimiter(sample: list[str], stated: FileFormat, quote: str) -> str:
    """Return the delimiter that divides the most lines into as many fields as the first, then into the most fields."""
    best, best_key = ",", (0.0, 1)
    for delimiter in DELIMITERS:
        rows = _fields(sample, delimiter, quote, stated.escape)
        width = len(stated.columns) or len(rows[0])
        alike = sum(len(row) == width for row in rows) / len(rows)
        if width > 1 and alike and (alike, width) > best_key:
            best, best_key = delimiter, (alike, width)
    return best


def _fields(sample: list[str], delimiter: str, quote: str, escape: str) -> list[list[str]]:
    if len(delimiter) > 1 or not quote:
        return [line.rstrip("\r\n").split(delimiter) for line in sample]
    reader = csv_reader(sample, delimiter, quote, escape)
    rows: list[list[str]] = []
    try:
        rows.extend(row for row in reader if row)
    except csv.Error:  # a field of more than 131,072 characters
        rows = rows or [next(iter(sample)).rstrip("\r\n").split(delimiter)]
    # The end of the sample may cut the last row inside its quotes.
    return rows[:-1] if len(rows) > 1 and reader.line_num == _SAMPLE and len(rows) < _SAMPLE else rows


_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
_DATE = re.compile(r"\d{4}[-/]\d\d?[-/]\d\d?.*")
_CODE = re.compile(r"(?=\S*\d)[\w.:-]{3,}")
_FIRST_TIME = 1e8  # Unix seconds of 1973


def _check_header(cells: Sequence[str], name: str, line: int, expected: Sequence[str]) -> None:
    """Refuse a first line with a number or a date among its first two cells, or among cells that are mostly numbers or codes."""
    values = [bool(_NUMBER.fullmatch(cell) or _DATE.fullmatch(cell)) for cell in cells]
    alike = [value or bool(_CODE.fullmatch(cell)) for value, cell in zip(values, cells, strict=True)]
    if any(values[:2]) or (any(values) and 2 * sum(alike) >= len(cells)):
        raise SourceError(
            f"{name}: line {line} looks like a row, not a header: --columns {','.join(_guess(cells, expected))}. "
            "Expected a header, or the names of the columns in their order."
        )


def _guess(cells: Sequence[str], expected: Sequence[str]) -> list[str]:
    """Return a name for each cell: the expected roles in order, with values and times where the cells look like them."""
    names = list(expected[:2])
    values = [role for role in expected[2:] if role != TIMESTAMP]
    for number, cell in enumerate(cells[len(names) :], len(names) + 1):
        is_number = _NUMBER.fullmatch(cell) is not None
        is_time = _DATE.fullmatch(cell) or (is_number and float(cell.replace(",", ".")) >= _FIRST_TIME)
        if is_time and TIMESTAMP in expected and TIMESTAMP not in names:
            names.append(TIMESTAMP)
        elif values and (is_number or values[0] != RATING):
            names.append(values.pop(0))
        else:
            names.append(f"column{number}")
    return names[: len(cells)]


def json_names(text: TextFile) -> tuple[str, ...]:
    """Return the keys of a file of JSON lines in the order of their first appearance in its first lines.

    Raises:
        SourceError: The first line is no JSON object.
    """
    names: dict[str, None] = {}
    for number, line in enumerate(islice(text.read_lines(), _SAMPLE * 10), 1):
        try:
            row = json.loads(line) if line.strip() else {}
        except ValueError:
            row = None
        if isinstance(row, dict):
            names.update(dict.fromkeys(map(str, row)))
        elif not names:
            raise SourceError(
                f"{text.name}, line {number}: no JSON object. Expected one object a line. Export the file again."
            )
    return tuple(names)

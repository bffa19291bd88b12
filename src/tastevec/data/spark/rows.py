"""Rows of text as Spark finds them: split into fields, with nothing dropped or guessed, each with its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tastevec.data.spark.storage import reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame, SparkSession

__all__ = ["FoundRows", "Layout", "first_line", "parquet", "parquet_rows", "text_rows"]

Layout = Literal["plain", "headed", "quoted"]
# The place of a row: its file, where in the file the piece begins that one worker read, and its number there. Spark
# numbers the rows of a piece in their order, from wherever it likes.
_PLACE = (
    "_metadata.file_path AS file",
    "_metadata.file_block_start AS block",
    "monotonically_increasing_id() AS row",
)


@dataclass(frozen=True)
class FoundRows:
    """Rows that wait to be judged.

    Attributes:
        frame: ``file``, ``block`` and ``row``; ``text`` (the whole row; NULL where nothing stands there, or a header) and
            ``fields`` (an array of strings, NULL where the quotes of a row are broken).
        names: The columns, in order; a row must have as many fields.
        file: What messages call the source.
        encoding: ``utf-8`` or ``parquet``.
    """

    frame: DataFrame
    names: tuple[str, ...]
    file: str
    encoding: str


def first_line(session: SparkSession, address: str) -> str | None:
    """The first line of a text file without its ending; None where the file is empty."""
    lines = _lines(session, address).where("block = 0").limit(1).collect()
    return lines[0].text if lines else None


def text_rows(
    session: SparkSession, address: str, separator: str, names: Sequence[str], layout: Layout
) -> FoundRows:
    """Rows of one text file, a row a line.

    Args:
        session: What reads them.
        address: Of the file.
        separator: What stands between two fields.
        names: What the columns are called.
        layout: "plain" has no header, "headed" has one, and in "quoted", which has one too, a field may be quoted by RFC
            4180 and then hold separators; not newlines, since a file is read in pieces that begin at any line.
    """
    # The first row of the first piece of the only file.
    nothing = "text = ''" if layout == "plain" else "text = '' OR row = 0"
    fields = _quoted(separator) if layout == "quoted" else _plain(separator)
    frame = _lines(session, address).selectExpr(
        "file", "block", "row", f"CASE WHEN NOT ({nothing}) THEN text END AS text", f"{fields} AS fields"
    )
    return FoundRows(frame, tuple(names), address.rpartition("/")[2], "utf-8")


def parquet(session: SparkSession, address: str) -> DataFrame:
    """A Parquet file or a folder of them as it is; names of folders in it make no columns."""
    return reader(session).option("recursiveFileLookup", "true").parquet(address)


def parquet_rows(session: SparkSession, address: str, names: Sequence[str]) -> FoundRows:
    """Rows of a Parquet file, or of a folder of them in the order of their names: these columns as text.

    A NULL is the empty text.
    """
    texts = ", ".join(f"coalesce(CAST(`{name.replace('`', '``')}` AS STRING), '')" for name in names)
    frame = parquet(session, address).selectExpr(*_PLACE, f"array({texts}) AS fields")
    frame = frame.selectExpr("file", "block", "row", "array_join(fields, ', ') AS text", "fields")
    return FoundRows(frame, tuple(names), address.rpartition("/")[2], "parquet")


def _lines(session: SparkSession, address: str) -> DataFrame:
    """Every line, blank ones too; a line ends with a newline, and a carriage return before it is a part of its end."""
    ended = "CASE WHEN endswith(value, '\\r') THEN left(value, length(value) - 1) ELSE value END AS text"
    return reader(session).option("lineSep", "\n").text(address).selectExpr(*_PLACE, ended)


def _plain(separator: str) -> str:
    """SQL for the fields between separators."""
    return f"split(text, r'\\Q{separator}\\E', -1)"


def _quoted(separator: str) -> str:
    """SQL for the fields of a row in which some may be quoted; NULL where the quotes are broken."""
    field = rf'"[^"]*(?:""[^"]*)*"|[^"{separator}]*'
    well_formed = rf"\A(?:{field})(?:{separator}(?:{field}))*\z"
    # Each match begins with a separator, so that an empty field is a match as well.
    found = f"regexp_extract_all(concat('{separator}', text), r'{separator}({field})', 1)"
    unquoted = """f -> CASE WHEN startswith(f, '"') THEN replace(substring(f, 2, length(f) - 2), '""', '"') ELSE f END"""
    return (
        f"CASE WHEN NOT contains(text, '\"') THEN {_plain(separator)} "
        f"WHEN rlike(text, r'{well_formed}') THEN transform({found}, {unquoted}) END"
    )

"""Tables whose columns may be read as they are, without a look at each row's text, as SQL that DuckDB streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tastevec.data.readers.text import NUMERIC, TextFile, literal, sql_path

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from tastevec.data.readers.rows import Column

__all__ = ["ByColumns", "Layout", "numeric_text", "parquet_columns"]


@dataclass(frozen=True)
class Layout:
    """How a text of numbers fills its file.

    Attributes:
        separator: What stands between two fields.
        end: The bytes of a line's end.
        size: The bytes of all rows, as if the last of them had its line end.
    """

    separator: str
    end: int
    size: int

    def around(self, columns: int) -> int:
        """The bytes of each row that are of no field."""
        return len(self.separator) * (columns - 1) + self.end


@dataclass(frozen=True)
class ByColumns:
    """A table's columns.

    Attributes:
        path: The file.
        names: SQL of each column.
        texts: SQL of each column as text.
        whole: The columns that may be read as whole numbers, from 0.
        skip: Header lines.
        layout: Of a text; None is a Parquet.
    """

    path: Path
    names: tuple[str, ...]
    texts: tuple[str, ...]
    whole: frozenset[int]
    skip: int = 0
    layout: Layout | None = None

    def hold(self, columns: Sequence[Column]) -> bool:
        """Whether each of these is one of the columns and of numbers, and may be read as whole if it is of whole ones."""
        return all(
            column.place in self.whole
            if column.kind.whole
            else column.place is not None and column.kind.is_number
            for column in columns
        )

    def source(self, whole: Collection[int | None]) -> str:
        """SQL to select from, in which these columns are read as whole numbers."""
        if self.layout is None:
            return f"read_parquet({sql_path(self.path)}, hive_partitioning = false)"
        types = [
            f"{name}: '{'BIGINT' if place in whole else 'VARCHAR'}'" for place, name in enumerate(self.names)
        ]
        return (
            f"read_csv({sql_path(self.path)}, delim = {literal(self.layout.separator)}, quote = '', escape = '', header = false, "
            f"skip = {self.skip}, columns = {{{', '.join(types)}}}, auto_detect = false, compression = 'none', hive_partitioning = false)"
        )


def numeric_text(text: TextFile, separator: str, columns: int, *, skip: int) -> ByColumns | None:
    """The columns of a text of numbers; None where there is more in it.

    Args:
        text: The file.
        separator: What stands between two fields.
        columns: How many there are.
        skip: Header lines, 0 or 1.
    """
    if not text.is_numeric:
        return None
    with text.path.open("rb") as handle:
        first = handle.readline()
        end = b"\r\n" if first.endswith(b"\r\n") else b"\n"
        size = handle.seek(0, 2)
        handle.seek(max(size - len(end), 0))
        lacking = 0 if handle.read() == end else len(end)
    if not skip and first.translate(None, NUMERIC):
        return None
    names = tuple(f"c{place}" for place in range(columns))
    layout = Layout(separator, len(end), size + lacking - (len(first) if skip else 0))
    return ByColumns(text.path, names, names, frozenset(range(columns)), skip, layout)


def parquet_columns(
    path: Path, names: Sequence[str], texts: Sequence[str], whole: frozenset[int]
) -> ByColumns:
    """The columns of a Parquet file.

    Args:
        path: The file.
        names: What they are called there.
        texts: SQL of each as text.
        whole: Those of whole numbers, from 0.
    """
    quoted = tuple('"' + name.replace('"', '""') + '"' for name in names)
    return ByColumns(path, quoted, tuple(texts), whole)

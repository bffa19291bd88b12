"""Tables in memory as Arrow columns: pandas, Polars, Arrow, DuckDB relations, dicts, lists and SciPy matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from numbers import Number
from typing import Any
from uuid import UUID

import pyarrow as pa

from tastevec.data.intake.arrow import as_text
from tastevec.errors import SourceError
from tastevec.schema import ITEM_ID, RATING, TIMESTAMP, USER_ID

_TEXTS = (str, bytes, Number, Decimal, UUID, date, type(None))  # what a text can stand for
_ROLES = (USER_ID, ITEM_ID, RATING, TIMESTAMP)  # of the values of a tuple


@dataclass(frozen=True, eq=False)
class MemoryTable:
    """A table in memory with its name in messages.

    Attributes:
        table: The table.
        name: Its name in messages.
        user_ids: The user of each row of a sparse matrix; by default the numbers of its rows.
        item_ids: The item of each column of a sparse matrix; by default the numbers of its columns.
    """

    table: Any
    name: str = "interactions"
    user_ids: Any = None
    item_ids: Any = None


@dataclass(frozen=True, eq=False)
class ArrowColumns:
    """The columns of a table; one that Arrow cannot have is NULL, with the reason in ``unreadable`` by its index."""

    names: tuple[str, ...]
    table: pa.Table
    unreadable: Mapping[int, str]


def to_columns(source: MemoryTable, names: Sequence[str] = (), *, for_database: bool = True) -> ArrowColumns:
    """Return the columns of the table, converted one by one.

    Args:
        source: The table.
        names: Of the columns of a list of tuples.
        for_database: Whether DuckDB must be able to read them; without, it need not be installed.

    Raises:
        SourceError: It is no table, or its columns have different lengths.
    """
    found = list(_columns(source, names))
    arrays, unreadable = [], {}
    for index, (_, values) in enumerate(found):
        array = _to_arrow(values)
        reason = array if isinstance(array, str) else _why_unreadable(array) if for_database else None
        if reason:
            unreadable[index] = reason
            array = pa.nulls(len(values))
        arrays.append(array.cast(array.type.value_type) if pa.types.is_dictionary(array.type) else array)
    lengths = {name: len(array) for (name, _), array in zip(found, arrays, strict=True)}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise SourceError(
            f"{source.name}: columns of different lengths ({shown}). Expected as many values in each."
        )
    table = pa.table(arrays, names=[f"c{index}" for index in range(len(arrays))])
    return ArrowColumns(tuple(name for name, _ in found), table, unreadable)


def _why_unreadable(array: Any) -> str | None:  # noqa: ANN401 -- an Arrow array
    """Return why DuckDB cannot read the array, as of a type that it does not know."""
    plain = (pa.types.is_integer, pa.types.is_floating, pa.types.is_string, pa.types.is_large_string)
    if any(is_type(array.type) for is_type in plain) and not pa.types.is_float16(array.type):
        return None
    import duckdb  # noqa: PLC0415 -- as above

    try:
        duckdb.connect().from_arrow(
            pa.table({"c": array[:1]})
        ).to_arrow_table()  # Python values of times need pytz
    except duckdb.Error as error:
        return f"{array.type}: {error}".split("\n", maxsplit=1)[0][:100]
    return None


def _columns(source: MemoryTable, names: Sequence[str]) -> list[tuple[str, Any]]:
    """Return name and values of each column, not yet converted."""
    table = source.table
    library = type(table).__module__.partition(".")[0]
    if hasattr(table, "tocoo"):
        return _of_matrix(source)
    if library == "pandas":
        frame = table.to_frame() if hasattr(table, "to_frame") and not hasattr(table, "columns") else table
        index = frame.index
        levels = [
            (str(name), index.get_level_values(number))
            for number, name in enumerate(index.names)
            if name is not None
        ]
        columns = [(str(name), frame.iloc[:, number]) for number, name in enumerate(frame.columns)]
        return columns + [level for level in levels if level[0] not in map(str, frame.columns)]
    if library == "polars":
        frame = table.collect() if hasattr(table, "collect") else table
        return [(column.name, column) for column in frame.get_columns()]
    if isinstance(table, Mapping):
        return [(str(name), values) for name, values in table.items()]
    if hasattr(table, "__arrow_c_stream__"):
        arrow = pa.table(table)
        return list(zip(arrow.column_names, arrow.columns, strict=True))
    if isinstance(table, Sequence) and not isinstance(table, str | bytes):
        return _of_rows(source, names)
    raise SourceError(
        f"{source.name}: {type(table).__name__}. Expected a path, a table of pandas, Polars, Arrow or DuckDB, a dict of columns, "
        "a list of tuples or dicts, or a sparse matrix."
    )


def _of_matrix(source: MemoryTable) -> list[tuple[str, Any]]:
    matrix = source.table.tocoo()
    ids = []
    for axis, (name, given) in enumerate((("user_ids", source.user_ids), ("item_ids", source.item_ids))):
        numbers = matrix.row if axis == 0 else matrix.col
        if given is not None and len(given) != matrix.shape[axis]:
            raise SourceError(
                f"{source.name}: {len(given):,} {name} for {matrix.shape[axis]:,} {'columns' if axis else 'rows'}. Expected as many."
            )
        ids.append(numbers if given is None else _taken(given, numbers))
    return [(USER_ID, ids[0]), (ITEM_ID, ids[1]), (RATING, matrix.data)]


def _taken(ids: Any, numbers: Any) -> Any:  # noqa: ANN401 -- arrays and lists of any library

    array = _to_arrow(ids)
    return (
        array.take(pa.array(numbers)) if not isinstance(array, str) else [ids[number] for number in numbers]
    )


def _of_rows(source: MemoryTable, names: Sequence[str]) -> list[tuple[str, Any]]:
    rows = source.table
    if rows and all(isinstance(row, Mapping) for row in rows):
        keys = dict.fromkeys(key for row in rows for key in row)
        return [(str(key), [row.get(key) for row in rows]) for key in keys]
    names = names or _ROLES
    widths = {len(row) if isinstance(row, list | tuple) else 0 for row in rows}
    if widths - set(range(1, len(names) + 1)) or len(widths) > 1:
        raise SourceError(
            f"{source.name}: rows of {', '.join(map(str, sorted(widths)))} values. Expected tuples of ({', '.join(names)}), or dicts."
        )
    width = max(widths, default=len(names))
    return [(name, [row[number] for row in rows]) for number, name in enumerate(names[:width])]


def _to_arrow(values: Any) -> Any:  # noqa: ANN401 -- an Arrow array, or why there is none
    """Return the values as an Arrow array, mixed ones as texts; a text with the reason where that is not possible."""
    try:
        if hasattr(values, "to_arrow"):
            return values.to_arrow()
        if values is None or isinstance(values, pa.Array | pa.ChunkedArray):
            return pa.chunked_array([]) if values is None else values
        return pa.array(values, from_pandas=True) if hasattr(values, "dtype") else pa.array(list(values))
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        reason = str(error).split("\n", maxsplit=1)[0][:100]
    except Exception as error:  # noqa: BLE001 -- a library's own error for a column of objects
        return f"{type(error).__name__}: {error}"[:100]
    try:
        return pa.array([_as_text(value) for value in values], pa.string())
    except (TypeError, UnicodeDecodeError):
        return f"mixed values ({reason})"


def _as_text(value: Any) -> str | None:  # noqa: ANN401 -- any value of a caller's column
    """Return a single value of a mixed column as text: 50.0 is '50.0', which the ID rule reads as 50."""
    if isinstance(value, bool) or not isinstance(value, _TEXTS):
        raise TypeError(type(value).__name__)
    return value.decode() if isinstance(value, bytes) else as_text(value)

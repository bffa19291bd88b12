"""Tables of ours on disk, in Parquet: read with the columns that they must have, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastevec.errors import FormatError
from tastevec.schema import USER_ID, VECTOR

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

__all__ = ["DAMAGE", "IDS", "read_columns", "vector_type"]

# What Arrow raises at a file that is none of its own; of a name that is no text, Python's own error.
DAMAGE: Final = (OSError, ValueError, pa.ArrowException)
IDS: Final = (pa.int64(), pa.string(), pa.large_string())


def vector_type(schema: pa.Schema) -> pa.FixedSizeListType | None:
    """What the vectors of a table of people are; None where it is none: ids and lists of one length, of numbers."""
    if not all(len(schema.get_all_field_indices(name)) == 1 for name in (USER_ID, VECTOR)):
        return None
    kind = schema.field(VECTOR).type
    fits = (
        isinstance(kind, pa.FixedSizeListType)
        and kind.list_size > 0
        and pa.types.is_floating(kind.value_type)
    )
    return kind if fits and schema.field(USER_ID).type in IDS else None


def read_columns(
    path: Path,
    columns: Mapping[str, Collection[pa.DataType]],
    again: str,
    *,
    full: Collection[str] = (),
    ascending: str | None = None,
) -> pa.Table:
    """The table of a file.

    Args:
        path: The file.
        columns: What it must hold, each with the types that it may be of; any where none is named.
        again: What to do where it does not.
        full: Those of them that hold no null.
        ascending: The one of them by which the rows are ordered, each value once.

    Raises:
        FormatError: It is missing or damaged, or lacks a column.
    """
    try:
        table = pq.read_table(path)
        table.validate(full=True)
    except DAMAGE as error:
        raise FormatError(f"{path} cannot be read ({error}); {again}") from error
    for name, kinds in columns.items():
        if table.column_names.count(name) != 1:
            found = ", ".join(table.column_names)
            raise FormatError(f"{path} holds no one column {name}, but {found or 'none'}; {again}")
        column = table[name]
        if (kinds and column.type not in kinds) or (name in full and column.null_count):
            raise FormatError(
                f"{path} holds {name} as {column.type} with {column.null_count} nulls; expected "
                f"{' or '.join(map(str, kinds))}{' without any' * (name in full)}; {again}"
            )
    if ascending is not None:
        keys = table[ascending].combine_chunks()
        if not pc.all(pc.less(keys[:-1], keys[1:]), min_count=0).as_py():
            raise FormatError(f"{path} is not in the order of {ascending}, each once; {again}")
    return table

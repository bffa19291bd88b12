"""Numeric arrays on disk: safetensors headers, Parquet columns, shapes and types checked before use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic_core import from_json
from safetensors import SafetensorError, safe_open

from tastevec.data.files import validate_json
from tastevec.errors import FormatError
from tastevec.schema import USER_ID, VECTOR

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "HEADER",
    "ID_TYPES",
    "READ_ERRORS",
    "array_shapes",
    "check_shapes",
    "read_arrays",
    "read_columns",
    "read_header",
    "vector_type",
]

HEADER: Final = "header"  # the header's only entry: several would be written in any order, and the same data as other bytes


def read_arrays(path: Path, again: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The arrays of a file, and the words in its header.

    Args:
        path: The file.
        again: What to do where it is damaged.

    Raises:
        FormatError: It is missing or damaged, or holds numbers that NumPy does not know.
    """
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
            return arrays, dict(file.metadata() or {})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:  # numbers of another library
        raise FormatError(f"{path} cannot be read ({error}); {again}") from error


def array_shapes(path: Path, again: str) -> dict[str, NDArray[Any]]:
    """Stand-ins for the arrays of a file, of their shapes and of no memory, so that large ones need not be read to be refused.

    Raises:
        FormatError: It is missing or damaged.
    """
    try:
        with safe_open(path, "numpy") as file:
            return {
                name: np.broadcast_to(np.float32(0), file.get_slice(name).get_shape())
                for name in file.keys()  # noqa: SIM118  it is no mapping
            }
    except (OSError, SafetensorError, ValueError) as error:
        raise FormatError(f"{path} cannot be read ({error}); {again}") from error


def read_header(path: Path, told: Mapping[str, str], shape: Any, again: str) -> Any:  # noqa: ANN401  what JSON can hold
    """What the header of such a file says in JSON.

    Raises:
        FormatError: It says nothing, or nothing of this shape.
    """
    try:
        return validate_json(path, from_json(told.get(HEADER, "")), shape, again)
    except ValueError as error:
        raise FormatError(f"{path} says nothing of its arrays ({error}); {again}") from error


def check_shapes(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    shapes: Mapping[str, tuple[str | int, ...]],
    again: str,
    *,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """How large each dimension is, where every array has the shape that it must have.

    Args:
        path: Where the arrays are from, for the message.
        arrays: What was read.
        shapes: What each of them must be: a letter is a size that all who name it share, a number that size alone.
        again: What to do where one is not.
        sizes: Those letters whose size is known.

    Raises:
        FormatError: One is missing, of another shape, or of what is no number.

    Examples:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> check_shapes(Path("a"), {"x": np.zeros((2, 3)), "y": np.zeros(3)}, {"x": ("N", "D"), "y": ("D",)}, "try again")
        {'N': 2, 'D': 3}
    """
    known = dict(sizes or {})
    for name, wanted in shapes.items():
        found = arrays.get(name)
        if found is None:
            raise FormatError(f"{path} holds no {name}, but {', '.join(arrays) or 'nothing'}; {again}")
        if len(found.shape) == len(wanted):
            for letter, size in zip(wanted, found.shape, strict=True):
                if isinstance(letter, str):
                    known.setdefault(letter, size)
        expected = tuple(known.get(letter, 0) if isinstance(letter, str) else letter for letter in wanted)
        if found.shape != expected or found.dtype.kind not in "fiu":
            raise FormatError(
                f"{path} holds {name} as {found.dtype} of the shape {found.shape}; expected numbers of the shape "
                f"({', '.join(map(str, wanted))}), here {expected}; {again}"
            )
    return known


# What Arrow raises at a file that is none of its own; of a name that is no text, Python's own error.
READ_ERRORS: Final = (OSError, ValueError, pa.ArrowException)
ID_TYPES: Final = (pa.int64(), pa.string(), pa.large_string())


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
    return kind if fits and schema.field(USER_ID).type in ID_TYPES else None


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
    except READ_ERRORS as error:
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

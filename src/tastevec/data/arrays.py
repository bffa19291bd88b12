"""Numeric arrays on disk: safetensors headers, Parquet columns, shapes and types checked before use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic_core import from_json
from safetensors import SafetensorError, safe_open

from tastevec.data.files import damaged, validate_json
from tastevec.errors import DataError
from tastevec.schema import CONTROL_CHARACTERS, USER_ID, VECTOR

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.errors import FormatError

# The header's only entry: several are written in any order, so that equal data give other bytes.
HEADER: Final = "header"


def read_arrays(path: Path, repair: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the arrays of a safetensors file and the texts in its header.

    Raises:
        FormatError: The file is missing or damaged, or has a data type that NumPy lacks.
    """
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
            return arrays, dict(file.metadata() or {})
    # KeyError and TypeError: data types of another library.
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, error, "a safetensors file", repair) from error


def array_shapes(path: Path, repair: str) -> dict[str, NDArray[Any]]:
    """Return arrays of the shapes in a file that take no memory, so that large arrays are checked without reading them.

    Raises:
        FormatError: The file is missing or damaged.
    """
    try:
        with safe_open(path, "numpy") as file:
            return {
                name: np.broadcast_to(np.float32(0), file.get_slice(name).get_shape())
                for name in file.keys()  # noqa: SIM118  not a mapping
            }
    except (OSError, SafetensorError, ValueError) as error:
        raise _unreadable(path, error, "a safetensors file", repair) from error


def read_header(path: Path, texts: Mapping[str, str], schema: Any, repair: str) -> Any:  # noqa: ANN401  any JSON value
    """Return the JSON value in the header of a safetensors file.

    Raises:
        FormatError: There is none, or it has another type than ``schema``.
    """
    try:
        return validate_json(path, from_json(texts.get(HEADER, "")), schema, repair)
    except ValueError as error:
        raise _unreadable(path, error, "JSON in the header", repair) from error


def check_shapes(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    shapes: Mapping[str, tuple[str | int, ...]],
    repair: str,
    *,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Return the size of each dimension letter, if every array has its expected shape.

    Args:
        path: The file of the arrays, for messages.
        arrays: The arrays.
        shapes: The expected shapes. Equal letters are equal sizes; a number is that size.
        repair: What to do if a shape differs, as a sentence.
        sizes: Known sizes of letters.

    Raises:
        FormatError: An array is missing, not numeric, or of another shape.

    Examples:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> check_shapes(Path("a"), {"x": np.zeros((2, 3)), "y": np.zeros(3)}, {"x": ("N", "D"), "y": ("D",)}, "Rerun.")
        {'N': 2, 'D': 3}
    """
    known = dict(sizes or {})
    for name, shape in shapes.items():
        found = arrays.get(name)
        if found is None:
            raise damaged(path, ", ".join(arrays) or "no arrays", f"an array {name}", repair)
        if len(found.shape) == len(shape):
            for letter, size in zip(shape, found.shape, strict=True):
                if isinstance(letter, str):
                    known.setdefault(letter, size)
        expected = tuple(known.get(letter, 0) if isinstance(letter, str) else letter for letter in shape)
        if found.shape != expected or found.dtype.kind not in "fiu":
            numbers = f"numbers of shape ({', '.join(map(str, shape))}), here {expected}"
            raise damaged(f"{path}, array {name}", f"{found.dtype} of shape {found.shape}", numbers, repair)
    return known


# What Arrow raises for a damaged file; for a name that is not a text, Python's own error.
READ_ERRORS: Final = (OSError, ValueError, pa.ArrowException)
ID_TYPES: Final = (pa.int64(), pa.string(), pa.large_string())


def vector_type(schema: pa.Schema) -> pa.FixedSizeListType | None:
    """Return the vector type of a table of user vectors: ids, and lists of floats of one length; None for another table."""
    if not all(len(schema.get_all_field_indices(name)) == 1 for name in (USER_ID, VECTOR)):
        return None
    kind = schema.field(VECTOR).type
    if not isinstance(kind, pa.FixedSizeListType) or schema.field(USER_ID).type not in ID_TYPES:
        return None
    return kind if kind.list_size > 0 and pa.types.is_floating(kind.value_type) else None


def check_ids(ids: pa.ChunkedArray, where: str) -> None:
    """Check that no ID contains a control character, as the readers of tables do.

    Raises:
        DataError: One does.
    """
    if pa.types.is_integer(ids.type):
        return
    wrong = ids.filter(pc.match_substring_regex(ids, CONTROL_CHARACTERS))
    if len(wrong):
        raise DataError(
            f"{where}: {wrong[0].as_py()[:40]!r} contains a control character. Expected an ID. Rename it."
        )


def read_columns(
    path: Path,
    columns: Mapping[str, Collection[pa.DataType]],
    repair: str,
    *,
    not_null: Collection[str] = (),
    ascending: str | None = None,
    rows: int | None = None,
) -> pa.Table:
    """Return the table of a Parquet file.

    Args:
        path: The file.
        columns: The required columns with their allowed types; an empty collection allows any type.
        repair: The next step for the message, as a sentence.
        not_null: Columns without nulls.
        ascending: The column by which rows are sorted, without duplicates.
        rows: The expected number of rows, checked before any is read: a small file can declare billions.

    Raises:
        FormatError: The file is missing or damaged, or a column differs.
    """
    try:
        with pq.ParquetFile(path) as file:  # pq.read_table would import 10 MB more
            if rows is not None and (found := file.metadata.num_rows) != rows:
                raise damaged(path, f"{found:,} rows", f"{rows:,}", repair)
            table = file.read()
        table.validate(full=True)
    except READ_ERRORS as error:
        raise _unreadable(path, error, "a Parquet file", repair) from error
    for name, kinds in columns.items():
        if table.column_names.count(name) != 1:
            found = ", ".join(table.column_names) or "(none)"
            raise damaged(path, f"the columns {found}", f"one column {name}", repair)
        column = table[name]
        if (kinds and column.type not in kinds) or (name in not_null and column.null_count):
            expected = f"{' or '.join(map(str, kinds))}{' without nulls' * (name in not_null)}"
            found = f"{column.type} with {column.null_count} nulls"
            raise damaged(f"{path}, column {name}", found, expected, repair)
    if ascending is not None:
        keys = table[ascending].combine_chunks()
        if not pc.all(pc.less(keys[:-1], keys[1:]), min_count=0).as_py():
            raise damaged(path, f"not sorted by {ascending}", "ascending, unique values", repair)
    return table


def _unreadable(path: Path, error: Exception, expected: str, repair: str) -> FormatError:
    return damaged(path, f"cannot be read ({error})", expected, repair)

"""Values of any Python source as Arrow arrays, each place with a value or the reason why there is none."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.data.intake import spelling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Values: TypeAlias = Sequence[Any] | NDArray[Any] | pa.Array | pa.ChunkedArray
    Read: TypeAlias = tuple[
        pa.Array, pa.StringArray
    ]  # values and reasons; in each place, one of both is NULL

NULL_TYPES: Final = ("NAType", "NaTType")  # of pandas' missing values, whose module need not be there


def as_array(values: Values) -> pa.Array | None:
    """Return values as one Arrow array; None where they are of several types."""
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    if isinstance(values, pa.Array):
        return values
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return None


def as_plain_array(values: Values) -> pa.Array:
    """Return values as one Arrow array without a dictionary, those of several types as texts."""
    array = as_array(values)
    if array is None:
        return pa.array([as_text(value) for value in values], pa.string())
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def is_text(kind: pa.DataType) -> bool:
    """Return whether this is a type of texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_binary(kind: pa.DataType) -> bool:
    """Return whether this is a type of bytes."""
    kinds = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )
    return any(is_kind(kind) for is_kind in kinds)


def is_number(kind: pa.DataType) -> bool:
    """Return whether this is a type of numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def clean(texts: pa.StringArray) -> pa.StringArray:
    """Return texts without white space at both ends."""
    return pc.utf8_trim(texts, characters=spelling.SPACE)


def as_text(value: object) -> str | None:
    """Return one value among others of several types as a text; None where it is missing."""
    if value is None or type(value).__name__ in NULL_TYPES:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Decimal):
        return None if value.is_nan() else format(value, "f")
    if isinstance(value, float | np.floating):
        return None if math.isnan(value) else repr(float(value))
    return value if isinstance(value, str) else str(value)


def take(read: Read, indices: pa.Array, empty: str) -> Read:
    """Return values and errors at these places; ``empty`` is the error where there is none."""
    value, error = read
    return value.take(indices), pc.if_else(indices.is_null(), empty, error.take(indices))


def reasons(*cases: tuple[NDArray[np.bool_], str]) -> pa.StringArray:
    """Return for each place the reason of the first condition that is true, NULL where none is."""
    codes = np.select([condition for condition, _ in cases], range(len(cases)), default=-1)
    names = pa.array([reason for _, reason in cases], pa.string())
    return names.take(pa.array(codes, mask=codes < 0))


def nothing(array: pa.Array, kind: pa.DataType, empty: str, wrong: str) -> Read:
    """Return an array whose type makes every value wrong."""
    return pa.nulls(len(array), kind), pc.if_else(array.is_null(), empty, wrong)


def floats(array: pa.Array) -> NDArray[np.float64]:
    """Return numbers as float64, NaN where there is none."""
    found: NDArray[np.float64] = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return found


def matches(texts: pa.StringArray, pattern: str) -> NDArray[np.bool_]:
    """Return which texts contain the pattern; NULL contains none."""
    found: NDArray[np.bool_] = (
        pc.match_substring_regex(texts, pattern).fill_null(False).to_numpy(zero_copy_only=False)  # noqa: FBT003 -- Arrow names no argument
    )
    return found


def missing(array: pa.Array) -> NDArray[np.bool_]:
    """Return where there is no value."""
    found: NDArray[np.bool_] = array.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    return found

"""The rules of IDs and numbers for Python values and Arrow arrays: the same as `rules`, without a database."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.data.intake import arrow, spelling, times
from tastevec.data.intake.settings import MISSING
from tastevec.schema import CONTROL_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    IdOrReason: TypeAlias = tuple[str | None, str | None]  # an ID or the reason why there is none

_SHOWN: Final = 100  # letters of a value that a message shows
_SHORT: Final = 19  # digits of the last integer: fewer are surely within 63 bits
_LAST_INT: Final = 2**63 - 1
_GOOD: Final = "good"

read_times = times.read_times


class BadValueError(ValueError):
    """A value that is no ID: ``code`` is a reason of `spelling`, ``shown`` is the value for a message."""

    def __init__(self, code: str, value: object) -> None:
        """Take the reason and the value."""
        self.code = code
        self.shown = repr(value)[:_SHOWN]
        super().__init__(f"{self.shown}: {code}")


def read_id(value: object, missing: Collection[str] = MISSING) -> str | None:
    """Return the canonical text of one ID of any Python or NumPy type; None where there is none.

    Raises:
        BadValueError: The value is no ID.
    """
    found, error = _id_text(value, missing)
    if error is not None and error != spelling.NO_ID:
        raise BadValueError(error, value)
    return found


def read_ids(values: arrow.Values, missing: Collection[str] = MISSING) -> arrow.Read:
    """Return IDs of any type as canonical texts, and why a value is none; in each place, one of both is NULL."""
    tokens = frozenset(missing)
    array = arrow.as_array(values)
    if array is None:
        return _each(list(values), tokens)
    if pa.types.is_dictionary(array.type):
        return arrow.take(read_ids(array.dictionary, missing), array.indices, spelling.NO_ID)
    if arrow.is_binary(array.type):
        try:
            array = array.cast(pa.binary()).cast(pa.string())
        except pa.ArrowInvalid:  # some are not UTF-8
            return _each(array.to_pylist(), tokens)
    return _each(array.to_pylist(), tokens) if array.type == pa.uuid() else _array_ids(array, tokens)


def _array_ids(array: pa.Array, tokens: frozenset[str]) -> arrow.Read:
    if pa.types.is_integer(array.type):
        return array.cast(pa.string()), pc.if_else(array.is_null(), spelling.NO_ID, None)
    if pa.types.is_floating(array.type):
        return _float_ids(array)
    if pa.types.is_decimal(array.type) or arrow.is_text(array.type):
        coded = array.cast(pa.string()).dictionary_encode()
        return arrow.take(_distinct_ids(coded.dictionary, tokens), coded.indices, spelling.NO_ID)
    return arrow.nothing(array, pa.string(), spelling.NO_ID, spelling.NOT_AN_ID)


def whole(ids: pa.StringArray) -> pa.Int64Array:
    """Return the integers that canonical IDs are, NULL where one is a text or needs more than 63 bits."""
    digits = pc.utf8_ltrim(ids, "-")
    length = pc.binary_length(digits)
    last = pc.if_else(pc.starts_with(ids, "-"), str(_LAST_INT + 1), str(_LAST_INT))
    fits = pc.or_(pc.less(length, _SHORT), pc.and_(pc.equal(length, _SHORT), pc.less_equal(digits, last)))
    is_whole = pc.and_(pc.match_substring_regex(ids, spelling.WHOLE), fits)
    return pc.if_else(is_whole, ids, None).cast(pa.int64())


def read_numbers(values: arrow.Values) -> tuple[NDArray[np.float64], pa.StringArray]:
    """Return finite numbers as float64, NaN where a value is none, and why it is none; NaN itself is a missing value."""
    array = arrow.as_plain_array(values)
    if arrow.is_text(array.type):
        coded = array.cast(pa.string()).dictionary_encode()
        numbers, errors = _distinct_numbers(coded.dictionary)
        found, errors = arrow.take((pa.array(numbers), errors), coded.indices, spelling.EMPTY)
        return arrow.floats(found), errors
    if not arrow.is_number(array.type):
        found, errors = arrow.nothing(array, pa.float64(), spelling.EMPTY, spelling.NOT_A_NUMBER)
        return arrow.floats(found), errors
    found = arrow.floats(array)
    infinite = np.isinf(found)
    errors = arrow.reasons((np.isnan(found), spelling.EMPTY), (infinite, spelling.NOT_FINITE))
    return np.where(infinite, np.nan, found), errors


def _id_text(value: object, tokens: Collection[str]) -> IdOrReason:
    """Return the ID of one value, or why it is none."""
    if value is None or type(value).__name__ in arrow.NULL_TYPES:
        return None, spelling.NO_ID
    if isinstance(value, float | np.floating):
        return _float_id(float(value), value.dtype.itemsize * 8 if isinstance(value, np.floating) else 64)
    text = _as_text(value)
    return (None, spelling.NOT_AN_ID) if text is None else _text_id(text, tokens)


def _as_text(value: object) -> str | None:
    """Return the text of a value of a type that may be an ID."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, Decimal):
        return format(value, "f")
    is_id = isinstance(value, int | np.integer | UUID) and not isinstance(value, bool)
    return str(value) if is_id else None


def _float_id(number: float, bits: int) -> IdOrReason:
    if math.isnan(number):
        return None, spelling.NO_ID
    if math.isinf(number) or number != math.floor(number):
        return None, spelling.NOT_AN_ID
    if abs(number) >= spelling.EXACT_UP_TO[min(bits, 64)]:
        return None, spelling.LOST_DIGITS
    return str(int(number)), None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace(r"\z", r"\Z"))  # before Python 3.14 the end is \Z


def _text_id(text: str, tokens: Collection[str]) -> IdOrReason:
    text = text.strip(spelling.SPACE)
    if not text or text.lower() in tokens:
        return None, spelling.NO_ID
    if whole := _compiled(spelling.WHOLE_DECIMAL).match(text):
        text = whole[1]
    elif _compiled(spelling.SCIENTIFIC).match(text):
        return None, spelling.LOST_DIGITS
    elif _compiled(spelling.DECIMAL).match(text):
        return None, spelling.NOT_AN_ID
    if _compiled(CONTROL_CHARACTERS).search(text):
        return None, spelling.CONTROL
    if len(text) > spelling.LONGEST_ID:
        return None, spelling.TOO_LONG
    return "0" if text == "-0" else text, None


def _each(values: Sequence[object], tokens: Collection[str]) -> arrow.Read:
    """Return IDs of values of several types; 50 and 50.0 are equal keys, and True is 1, so that a key has the type."""
    known: dict[object, IdOrReason] = {}
    rows = []
    for value in values:
        if not isinstance(value, str | int | float | bytes | UUID | np.generic):
            rows.append(_id_text(value, tokens))
            continue
        key = (type(value), value)
        if key not in known:
            known[key] = _id_text(value, tokens)
        rows.append(known[key])
    return _columns(rows)


def _columns(rows: Sequence[IdOrReason]) -> arrow.Read:
    return pa.array([text for text, _ in rows], pa.string()), pa.array([why for _, why in rows], pa.string())


def _float_ids(array: pa.Array) -> arrow.Read:
    number = arrow.floats(array)
    with np.errstate(invalid="ignore"):
        errors = arrow.reasons(
            (np.isnan(number), spelling.NO_ID),
            (np.isinf(number) | (number != np.floor(number)), spelling.NOT_AN_ID),
            (np.abs(number) >= spelling.EXACT_UP_TO[array.type.bit_width], spelling.LOST_DIGITS),
        )
    bad = errors.is_valid().to_numpy(zero_copy_only=False)
    return pa.array(np.where(bad, 0, number).astype(np.int64), mask=bad).cast(pa.string()), errors


def _distinct_ids(texts: pa.StringArray, tokens: frozenset[str]) -> arrow.Read:
    """Return the IDs of distinct texts: most are found by Arrow, the rest one by one."""
    plain = arrow.matches(texts, spelling.PLAIN_TEXT) & (
        arrow.floats(pc.utf8_length(texts)) <= spelling.LONGEST_ID
    )
    if tokens:
        plain &= ~pc.is_in(pc.utf8_lower(texts), pa.array(sorted(tokens))).to_numpy(zero_copy_only=False)
    rest = ~(arrow.matches(texts, spelling.WHOLE) & (arrow.floats(pc.binary_length(texts)) < _SHORT) | plain)
    errors = pa.nulls(len(texts), pa.string())
    if not rest.any():
        return texts, errors
    mask = pa.array(rest)
    value, error = _columns([_id_text(text, tokens) for text in texts.filter(mask).to_pylist()])
    return pc.replace_with_mask(texts, mask, value), pc.replace_with_mask(errors, mask, error)


def _distinct_numbers(texts: pa.StringArray) -> arrow.Read:
    cleaned = arrow.clean(texts)
    good = arrow.matches(cleaned, spelling.NUMBER)
    number = np.full(len(texts), np.nan)
    number[good] = np.array(cleaned.filter(pa.array(good)).to_pylist(), dtype=np.float64)
    infinite = np.isinf(number)
    errors = arrow.reasons(
        (good & ~infinite, _GOOD),
        (infinite | arrow.matches(cleaned, spelling.INFINITE), spelling.NOT_FINITE),
        (pc.equal(pc.fill_null(cleaned, ""), "").to_numpy(zero_copy_only=False), spelling.EMPTY),
        (np.ones(len(texts), bool), spelling.NOT_A_NUMBER),
    )
    errors = pc.if_else(pc.equal(errors, _GOOD), None, errors)
    return pa.array(number, mask=infinite | ~good), errors

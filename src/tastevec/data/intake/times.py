"""The time rule for Python values and Arrow arrays: the same as in `rules`, without a database."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.intake import arrow, spelling
from tastevec.data.intake.spelling import SHAPE

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from tastevec.data.intake.spelling import TimeFormat

    Ints = NDArray[np.int64]

_TICKS: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_PATTERNS: Final = {
    "iso": (spelling.ISO, "123"),  # with the places of year, month and day
    "year_first": (spelling.YEAR_FIRST, "123"),
    "dots": (spelling.DOTS, "321"),
    "slashes": (spelling.SLASHES, "312"),
}
_SHORT_DIGITS: Final = r"\A[0-9]{1,18}\z"
_LAST: Final = 2**63


def read_times(
    values: arrow.Values, stated: str | None = None, *, accept: Collection[str] = ()
) -> tuple[Ints, pa.StringArray]:
    """Return times as whole Unix seconds, `NO_TIMESTAMP` where a value is none, and why it is none.

    Args:
        values: Texts, numbers, dates or timestamps.
        stated: A pattern of strptime, or "excel".
        accept: Codes of `TimeError` that are accepted.

    Raises:
        TimeError: The values mix units, do not tell days from months, or are all in 1970.
    """
    array = arrow.as_plain_array(values)
    kind = array.type
    if stated is None and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        moments = array if pa.types.is_timestamp(kind) else array.cast(pa.timestamp("s"))
        seconds = _filled(moments.cast(pa.int64())) // _TICKS[moments.type.unit]
        return _in_limits(seconds, arrow.missing(array))
    if not arrow.is_text(kind) and not arrow.is_number(kind):
        _, errors = arrow.nothing(array, pa.int64(), spelling.EMPTY, spelling.NOT_A_TIME)
        return np.full(len(array), NO_TIMESTAMP), errors
    coded = array.dictionary_encode()
    distinct = coded.dictionary.cast(pa.string()) if arrow.is_text(kind) else coded.dictionary
    if stated is not None:
        found = [_stated(value, stated) for value in distinct.to_pylist()]
        seconds, empty = np.array(found, np.int64), _is_empty(distinct)
    else:
        times = _text_times(distinct) if arrow.is_text(kind) else _number_times(distinct)
        how = spelling.time_format(times.counts(coded.indices), accept=accept)
        seconds, empty = times.seconds(how), times.shape == SHAPE["empty"]
    seconds, errors = _in_limits(seconds, empty)
    places = _filled(coded.indices, len(seconds))  # a row without an index is empty
    errors = arrow.take((errors, errors), coded.indices, spelling.EMPTY)[1]
    return np.append(seconds, NO_TIMESTAMP)[places], errors


@dataclass(frozen=True)
class _Times:
    """Distinct values: their numbers (-1 where one is none), their shapes, and the dates among them by pattern."""

    number: Ints
    shape: Ints
    dates: dict[str, tuple[NDArray[np.intp], list[pa.StringArray]]]

    def counts(self, indices: pa.Array) -> dict[str, int | None]:
        """Return what `rules.count_times` returns, of all rows."""
        rows = np.append(self.shape, SHAPE["empty"])[_filled(indices, len(self.shape))]
        found = np.bincount(rows, minlength=len(SHAPE))
        counts: dict[str, int | None] = {name: int(found[code]) for name, code in SHAPE.items()}
        numbers = self.number[self.shape <= SHAPE["compact"]]
        counts["lowest"], counts["highest"] = (
            (int(numbers.min()), int(numbers.max())) if len(numbers) else (None, None)
        )
        for unit in spelling.DIVISORS:
            counts[f"first_{unit}"] = int(np.argmax(rows == SHAPE[unit])) if counts[unit] else None
        return counts

    def seconds(self, how: TimeFormat) -> Ints:
        """Return Unix seconds, -1 where a value is no time."""
        number = self.number
        dated = (spelling.COMPACT_DATES[0] <= number) & (number <= spelling.COMPACT_DATES[1])
        if how.compact:
            days, exists = _days(number // 10_000, number // 100 % 100, number % 100)
            seconds = np.where(dated & exists, days * spelling.DAY, -1)
        else:
            seconds = number // spelling.DIVISORS[how.unit]  # rounded down, so that -1 stays
            if how.unit == "seconds":
                seconds = np.where(dated, -1, seconds)
        for name, (places, groups) in self.dates.items():
            order = "321" if name == "slashes" and how.day_first else _PATTERNS[name][1]
            seconds[places] = _date_seconds([groups[int(place) - 1] for place in order], groups)
        return seconds


def _number_times(array: pa.Array) -> _Times:
    missing = arrow.missing(array)
    if pa.types.is_integer(array.type):
        # Unsigned numbers beyond 63 bits become negative, which is no time, either.
        number = np.maximum(_filled(array.cast(pa.int64(), safe=False), -1), -1)
    else:
        decimals = arrow.floats(array)
        missing |= np.isnan(decimals)
        number = _rounded_down(decimals)
    shape = _number_shape(number)
    shape[missing] = SHAPE["empty"]
    return _Times(number, shape, {})


def _text_times(texts: pa.StringArray) -> _Times:
    cleaned = arrow.clean(texts)
    digits = arrow.matches(cleaned, _SHORT_DIGITS)
    number = _filled(pc.if_else(pa.array(digits), cleaned, None).cast(pa.int64()), -1)
    for place in np.flatnonzero(arrow.matches(cleaned, spelling.NUMBER) & ~digits):
        text = cleaned[int(place)].as_py()
        exact = int(text) if re.fullmatch("[0-9]+", text) else int(_rounded_down(np.array([float(text)]))[0])
        number[place] = exact if exact < _LAST else -1
    shape = _number_shape(number)
    empty = _is_empty(cleaned)
    shape[empty] = SHAPE["empty"]
    dates = {}
    rest = np.flatnonzero((shape == SHAPE["other"]) & ~empty)
    for name, (pattern, _) in _PATTERNS.items():
        if not len(rest):
            break
        found = pc.extract_regex(cleaned.take(pa.array(rest)), _named(pattern))
        good = found.is_valid().to_numpy(zero_copy_only=False)
        if not good.any():
            continue
        found = found.filter(pa.array(good))
        dates[name] = (rest[good], groups := found.flatten())
        shape[rest[good]] = _slash_shape(groups) if name == "slashes" else SHAPE[name]
        rest = rest[~good]
    return _Times(number, shape, dates)


def _named(pattern: str) -> str:
    """Return the pattern with names of its groups, g1 and so on, as Arrow needs them."""
    numbers = iter(range(1, spelling.CLOCK_GROUPS + 1))
    return re.sub(r"\((?!\?)", lambda _: f"(?P<g{next(numbers)}>", pattern)


def _number_shape(number: Ints) -> Ints:
    units = list(spelling.UNITS_FROM.items())
    low, high = spelling.COMPACT_DATES
    cases = [(number >= low) & (number <= high), *(number >= least for _, least in reversed(units))]
    codes = [SHAPE["compact"], *(SHAPE[unit] for unit, _ in reversed(units))]
    return np.select(cases, codes, default=SHAPE["other"])


def _slash_shape(groups: list[pa.StringArray]) -> Ints:
    first, second = map(_int, groups[:2])
    cases = [first > spelling.MONTHS, second > spelling.MONTHS, first == second]
    codes = [SHAPE["day_first"], SHAPE["month_first"], SHAPE["same"]]
    return np.select(cases, codes, default=SHAPE["day_or_month"])


def _date_seconds(date: list[pa.StringArray], groups: list[pa.StringArray]) -> Ints:
    """Return the Unix seconds of dates and clocks, -1 where there is no such time."""
    days, exists = _days(*map(_int, date))
    hour, minute, second = map(_int, groups[4:7])
    half = groups[7].to_numpy(zero_copy_only=False)
    is_half, is_pm = half != "", (half == "p") | (half == "P")
    exists &= ~is_half | (hour >= 1) & (hour <= spelling.HALF_DAY)
    hour = np.where(is_half, hour % spelling.HALF_DAY + spelling.HALF_DAY * is_pm, hour)
    exists &= spelling.is_clock(hour, minute, second)
    west = groups[8].to_numpy(zero_copy_only=False) == "-"
    offset = (_int(groups[9]) * 60 + _int(groups[10])) * 60
    seconds = days * spelling.DAY + hour * 3_600 + minute * 60 + second - np.where(west, -offset, offset)
    return np.where(exists, seconds, -1)


def _days(year: Ints, month: Ints, day: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the days since 1970 of dates, and whether there is such a date."""
    return spelling.days_since_1970(year, month, day), spelling.is_date(year, month, day)


def _rounded_down(number: NDArray[np.float64]) -> Ints:
    """Return floats from 0 in 63 bits, rounded down; -1 for all others."""
    good = (number >= 0) & (number < float(_LAST))
    return np.where(good, np.floor(np.where(good, number, 0)), -1).astype(np.int64)


def _int(texts: pa.StringArray) -> Ints:
    """Return texts of digits as integers, 0 where one is empty."""
    return _filled(pc.if_else(pc.equal(texts, ""), "0", texts).cast(pa.int64()))


def _filled(array: pa.Array, value: int = 0) -> Ints:
    """Return integers as they are, ``value`` where there is none."""
    filled: Ints = array.fill_null(value).to_numpy(zero_copy_only=False).astype(np.int64)
    return filled


def _is_empty(array: pa.Array) -> NDArray[np.bool_]:
    if arrow.is_text(array.type):
        empty: NDArray[np.bool_] = pc.equal(arrow.clean(array).fill_null(""), "").to_numpy(
            zero_copy_only=False
        )
        return empty
    return arrow.missing(array)


def _stated(value: Any, pattern: str) -> int:  # noqa: ANN401 -- a value of a list or an array
    """Return the Unix seconds of one value in a stated format, -1 where it does not follow it."""
    text = arrow.as_text(value)
    if text is None:
        return -1
    text = text.strip(spelling.SPACE)
    try:
        if pattern == "excel":
            seconds = (float(text) - spelling.EXCEL_1970) * spelling.DAY + 0.5
            return math.floor(seconds) if 0 <= seconds < spelling.LATEST else -1
        moment = datetime.strptime(text.removesuffix(".0"), pattern)  # noqa: DTZ007 -- without an offset it is UTC
    except (ValueError, OverflowError):
        return -1
    return math.floor((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _in_limits(seconds: Ints, empty: NDArray[np.bool_]) -> tuple[Ints, pa.StringArray]:
    good = ~empty & (seconds >= 0) & (seconds < spelling.LATEST)
    errors = arrow.reasons((empty, spelling.EMPTY), (~good, spelling.NOT_A_TIME))
    return np.where(good, seconds, NO_TIMESTAMP), errors

"""The rules of IDs, numbers and times as Ibis expressions, with the same results on DuckDB and Spark."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 -- Ibis reads the annotation
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import ibis

from tastevec.data.intake import spelling
from tastevec.data.intake.settings import MISSING
from tastevec.data.intake.spelling import SHAPE
from tastevec.schema import CONTROL_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tastevec.data.intake.spelling import TimeFormat

_EPOCH = ibis.date(1970, 1, 1)


# Functions of DuckDB that Ibis has no name for.
@ibis.udf.scalar.builtin(name="try_strptime")  # type: ignore[untyped-decorator]  # Ibis declares no types
def _try_strptime(text: str, pattern: str) -> datetime:  # type: ignore[empty-body]  # as above
    """Return the time of a text, NULL where it does not follow the pattern."""


@ibis.udf.scalar.builtin(name="decode")  # type: ignore[untyped-decorator]  # as above
def _decode(raw: bytes) -> str:  # type: ignore[empty-body]  # as above
    """Return the text of bytes in UTF-8."""


@ibis.udf.scalar.builtin(name="try")  # type: ignore[untyped-decorator]  # as above
def _try(text: str) -> str:  # type: ignore[empty-body]  # as above
    """Return NULL where computing the text fails."""


@dataclass(frozen=True)
class Read:
    """A column as it is read: ``value``, and ``error`` with the reason where there is none; one of both is NULL."""

    value: ibis.Value
    error: ibis.Value


def clean(text: ibis.Value) -> ibis.Value:
    """Return the text without white space at both ends, no-break spaces and byte order marks included."""
    return text.re_replace(spelling.SPACE_AT_ENDS, "")


def read_id(column: ibis.Value, missing: tuple[str, ...] = MISSING) -> Read:
    """Return a column of IDs of any type as canonical texts: 50, 50.0 and " 50" are "50".

    Args:
        column: Texts, integers, floats, decimals, UUIDs or bytes in UTF-8 (on DuckDB); of every other type, none is an ID.
        missing: Texts in lower case that are no ID; the empty text is none, either.
    """
    kind = column.type()
    if kind.is_integer():
        return Read(column.cast("string"), ibis.ifelse(column.isnull(), spelling.NO_ID, _no_text()))
    if kind.is_floating():
        return _float_id(column)
    if kind.is_binary():
        text = _try(_decode(column))
        read = _text_id(text, missing)
        return Read(read.value, ibis.ifelse(column.notnull() & text.isnull(), spelling.NOT_AN_ID, read.error))
    if kind.is_string() or kind.is_decimal() or kind.is_uuid():
        return _text_id(column.cast("string"), missing)
    return _no_value(column, "string", spelling.NO_ID, spelling.NOT_AN_ID)


def whole(column: ibis.Value) -> ibis.Value:
    """Return the integers of a column, of texts those in their canonical digits; NULL where one needs more than 63 bits."""
    if not (column.type().is_string() or column.type().is_integer()):
        return ibis.null("int64")
    number = column.try_cast("int64")
    return (
        number if column.type().is_integer() else ibis.ifelse(_is_whole(column), number, ibis.null("int64"))
    )


def short_number(column: ibis.Value) -> ibis.Value:
    """Return the numbers of a few plain digits, as nearly all ratings are; NULL where `read_number` must look."""
    if not column.type().is_string():
        return ibis.null("float64")
    is_short = column.re_search(spelling.SHORT_NUMBER)
    return ibis.ifelse(is_short, column.try_cast("float64"), ibis.null("float64"))


def plain_seconds(column: ibis.Value, how: TimeFormat) -> ibis.Value:
    """Return the numbers that can only be Unix seconds; NULL where `read_time` must look."""
    if how.pattern is not None or how.unit != "seconds" or how.compact:
        return ibis.null("int64")
    number = whole(column)
    certain = number.between(spelling.COMPACT_DATES[1] + 1, spelling.LATEST - 1)
    return ibis.ifelse(certain, number, ibis.null("int64"))


def _text_id(text: ibis.Value, missing: tuple[str, ...]) -> Read:
    plain = (text.length() <= spelling.LONGEST_ID) & text.re_search(spelling.PLAIN_TEXT)
    if missing:
        plain &= ~_is_one_of(text.lower(), missing)
    # An engine computes only the branch that a row takes, but of a disjunction always both sides.
    quick = ((_is_whole(text), text), (plain, text))
    good = ((condition, _no_text()) for condition, _ in quick)
    value = ibis.cases(*quick, else_=_let(clean(text), lambda cleaned: _slow_id(cleaned, missing).value))
    return Read(
        value, ibis.cases(*good, else_=_let(clean(text), lambda cleaned: _slow_id(cleaned, missing).error))
    )


def _is_one_of(text: ibis.Value, words: tuple[str, ...]) -> ibis.Value:
    """Return whether the text is one of the words. DuckDB makes a join of a long IN, which every row would pass."""
    return reduce(or_, (text == word for word in words))


def _slow_id(cleaned: Any, missing: tuple[str, ...]) -> Read:  # noqa: ANN401  a text without white space at both ends
    digits = cleaned.re_extract(spelling.WHOLE_DECIMAL, 1)
    canonical = ibis.cases(
        (cleaned == "-0", "0"), (digits == "", cleaned), (digits == "-0", "0"), else_=digits
    )
    error = ibis.cases(
        (cleaned.isnull() | _is_one_of(cleaned.lower(), ("", *missing)), spelling.NO_ID),
        (cleaned.re_search(spelling.SCIENTIFIC), spelling.LOST_DIGITS),
        ((digits == "") & cleaned.re_search(spelling.DECIMAL), spelling.NOT_AN_ID),
        (cleaned.re_search(CONTROL_CHARACTERS), spelling.CONTROL),
        (canonical.length() > spelling.LONGEST_ID, spelling.TOO_LONG),
        else_=_no_text(),
    )
    return Read(ibis.ifelse(error.isnull(), canonical, _no_text()), error)


def _is_whole(text: ibis.Value) -> ibis.Value:
    """Return whether the text is an integer of 63 bits in its digits: nearly every ID and time, found quickly."""
    return text.try_cast("int64").cast("string") == text


def _float_id(column: ibis.Value) -> Read:
    limit = spelling.EXACT_UP_TO[column.type().nbytes * 8]
    number = column.cast("float64")
    size = number.abs()
    error = ibis.cases(
        (number.isnull() | number.isnan(), spelling.NO_ID),
        (~_is_finite(number), spelling.NOT_AN_ID),
        (number % 1 != 0, spelling.NOT_AN_ID),  # floor would fail beyond 63 bits
        (size >= limit, spelling.LOST_DIGITS),
        else_=_no_text(),
    )
    return Read(ibis.ifelse(error.isnull(), number.try_cast("int64").cast("string"), _no_text()), error)


def _is_finite(number: ibis.Value) -> ibis.Value:
    """Return whether a number is finite; NULL for NULL. Ibis's own test finds no infinity on Spark."""
    return number.abs() <= spelling.LARGEST


def read_number(column: ibis.Value, *, decimal_comma: bool = False) -> Read:
    """Return a column of finite numbers as float64; NaN in a column of floats is a missing value."""
    kind = column.type()
    if kind.is_numeric() and not kind.is_boolean():
        number = column.cast("float64")
        number = (
            number if not kind.is_floating() else ibis.ifelse(number.isnan(), ibis.null("float64"), number)
        )
        return Read(
            ibis.ifelse(_is_finite(number), number, ibis.null("float64")),
            ibis.cases(
                (number.isnull(), spelling.EMPTY),
                (~_is_finite(number), spelling.NOT_FINITE),
                else_=_no_text(),
            ),
        )
    if not kind.is_string():
        return _no_value(column, "float64", spelling.EMPTY, spelling.NOT_A_NUMBER)
    cleaned = clean(column)
    if decimal_comma:
        comma = cleaned.re_search(spelling.COMMA_NUMBER)
        cleaned = ibis.ifelse(comma, cleaned.replace(",", "."), cleaned)
    is_number = cleaned.re_search(spelling.NUMBER)
    slow = ibis.ifelse(is_number, cleaned.try_cast("float64"), ibis.null("float64"))
    slow = ibis.ifelse(_is_finite(slow), slow, ibis.null("float64"))
    error = ibis.cases(
        (cleaned.isnull() | (cleaned == ""), spelling.EMPTY),
        (is_number & slow.notnull(), _no_text()),
        (is_number | cleaned.re_search(spelling.INFINITE), spelling.NOT_FINITE),
        else_=spelling.NOT_A_NUMBER,
    )
    return Read(slow, error)


def count_times(table: ibis.Table, column: ibis.Value, position: ibis.Value | None = None) -> ibis.Table:
    """Return one row of counts for `spelling.time_format`: values by shape, and the lowest and highest number.

    Args:
        table: The rows.
        column: Texts or numbers of ``table``.
        position: Where a row is in its source; adds the first position of each unit, as ``first_seconds``.
    """
    position = ibis.null("int64") if position is None else position
    rows = table.select(shape=_shape(column), number=_time_number(column), position=position)
    counts: dict[str, Any] = {name: (rows.shape == code).sum().fill_null(0) for name, code in SHAPE.items()}
    is_number = rows.shape <= SHAPE["compact"]
    counts["lowest"], counts["highest"] = (
        rows.number.min(where=is_number),
        rows.number.max(where=is_number),
    )
    for unit in spelling.DIVISORS:
        counts[f"first_{unit}"] = rows.position.min(where=rows.shape == SHAPE[unit])
    return rows.agg(**counts)


def read_time(column: ibis.Value, how: TimeFormat) -> Read:
    """Return a column of times as whole Unix seconds; texts, numbers, dates and timestamps of every unit."""
    kind = column.type()
    if how.pattern is not None:
        return _in_limits(_stated(column, how.pattern), _is_empty(column))
    if kind.is_timestamp() or kind.is_date():
        # Truncated first: an engine rounds when it casts the seconds of a fraction to an integer.
        seconds = column.cast("timestamp") if kind.is_date() else column.truncate("s")
        return _in_limits(seconds.epoch_seconds().cast("int64"), column.isnull())
    if not (kind.is_numeric() or kind.is_string()) or kind.is_boolean():
        return _no_value(column, "int64", spelling.EMPTY, spelling.NOT_A_TIME)
    if kind.is_string():
        return _text_time(column, how)
    return _in_limits(_from_number(_time_number(column), how), _is_empty(column))


def _text_time(column: ibis.Value, how: TimeFormat) -> Read:
    """Return a column of texts as times; plain ISO dates are found quickly."""
    dates = spelling.DATES if how.shapes is None else spelling.DATES & how.shapes

    def seconds_of(text: Any) -> ibis.Value:  # noqa: ANN401  a text without white space at both ends
        number = _from_number(_time_number(text), how)
        return (
            ibis.ifelse(text.re_search(spelling.NUMBER), number, _from_date(text, how, dates))
            if dates
            else number
        )

    slow = _in_limits(_let(clean(column), seconds_of), _is_empty(column))
    if "iso" not in dates:
        return slow
    day = column.substr(0, 10).try_cast("date")
    hour, minute, second = (_int(column.substr(place, 2)) for place in (11, 14, 17))
    seconds = day.delta(_EPOCH, unit="day") * spelling.DAY + hour * 3_600 + minute * 60 + second
    is_plain = column.re_search(spelling.PLAIN_ISO) & day.notnull()
    return Read(ibis.ifelse(is_plain, seconds, slow.value), ibis.ifelse(is_plain, _no_text(), slow.error))


def _let(value: ibis.Value, body: Callable[[Any], ibis.Value]) -> ibis.Value:
    """Return ``body`` of a value that is computed once: else its expression stands wherever the body uses it."""
    return ibis.array([value]).map(body)[0]


def _is_empty(column: ibis.Value) -> ibis.Value:
    if column.type().is_string():
        return column.isnull() | column.re_search(spelling.BLANK)
    return column.isnull() | column.isnan() if column.type().is_floating() else column.isnull()


def _in_limits(seconds: ibis.Value, empty: ibis.Value) -> Read:
    def is_time(found: Any) -> ibis.Value:  # noqa: ANN401  seconds
        return found.between(0, spelling.LATEST - 1)

    wrong = ibis.ifelse(empty, spelling.EMPTY, spelling.NOT_A_TIME)
    return Read(
        _let(seconds, lambda found: ibis.ifelse(is_time(found), found, ibis.null("int64"))),
        ibis.ifelse(_let(seconds, is_time), _no_text(), wrong),
    )


def _time_number(column: ibis.Value) -> ibis.Value:
    """Return the numbers of a column as integers, rounded down; NULL where there is none from 0 in 63 bits."""
    kind = column.type()
    if kind.is_unsigned_integer():
        return column.try_cast("int64")
    if kind.is_integer():
        return ibis.ifelse(column >= 0, column.cast("int64"), ibis.null("int64"))
    if not kind.is_string():
        return _rounded_down(column.cast("float64"))
    digits = column.try_cast("int64")
    return ibis.cases(
        (_is_whole(column), ibis.ifelse(digits >= 0, digits, ibis.null("int64"))),
        (column.isnull(), ibis.null("int64")),
        else_=_let(clean(column), _number_of),
    )


def _number_of(cleaned: Any) -> ibis.Value:  # noqa: ANN401  a text without white space at both ends
    return ibis.cases(
        (cleaned.re_search(spelling.DIGITS), cleaned.try_cast("int64")),
        (cleaned.re_search(spelling.NUMBER), _rounded_down(cleaned.try_cast("float64"))),
        else_=ibis.null("int64"),
    )


def _rounded_down(number: ibis.Value) -> ibis.Value:
    """Return floats from 0 in 63 bits as integers, rounded down, and NULL for all others."""
    good = (number >= 0) & (number < 2.0**63) & ~number.isnan()
    return ibis.ifelse(good, number, ibis.null("float64")).floor().try_cast("int64")


def _from_number(number: ibis.Value, how: TimeFormat) -> ibis.Value:
    low, high = spelling.COMPACT_DATES
    if how.compact:
        text = number.cast("string")
        day = (text.substr(0, 4) + "-" + text.substr(4, 2) + "-" + text.substr(6, 2)).try_cast("date")
        days = day.delta(_EPOCH, unit="day") * spelling.DAY
        return ibis.ifelse(number.between(low, high), days, ibis.null("int64"))
    if how.unit == "seconds":
        return ibis.ifelse(number.between(low, high), ibis.null("int64"), number)
    divisor = spelling.DIVISORS[how.unit]
    # Engines divide floats. Of an exact multiple the quotient is exact, too.
    return ((number - number % divisor) / divisor).cast("int64")


def _shape(column: ibis.Value) -> ibis.Value:
    """Return the code of each value's shape."""
    number = _time_number(column)
    units = [(number >= low, SHAPE[unit]) for unit, low in reversed(spelling.UNITS_FROM.items())]
    by_number = ibis.cases((number.between(*spelling.COMPACT_DATES), SHAPE["compact"]), *units)
    if not column.type().is_string():
        return ibis.cases(
            (number.notnull(), by_number), (_is_empty(column), SHAPE["empty"]), else_=SHAPE["other"]
        )
    cleaned = clean(column)
    first, second = (cleaned.re_extract(spelling.SLASHES, group).try_cast("int32") for group in (1, 2))
    slashes = ibis.cases(
        (first > spelling.MONTHS, SHAPE["day_first"]),
        (second > spelling.MONTHS, SHAPE["month_first"]),
        (first == second, SHAPE["same"]),
        else_=SHAPE["day_or_month"],
    )
    return ibis.cases(
        (column.re_search(spelling.PLAIN_ISO), SHAPE["iso"]),
        (number.notnull(), by_number),
        (cleaned.isnull() | (cleaned == ""), SHAPE["empty"]),
        (cleaned.re_search(spelling.ISO), SHAPE["iso"]),
        (cleaned.re_search(spelling.YEAR_FIRST), SHAPE["year_first"]),
        (cleaned.re_search(spelling.DOTS), SHAPE["dots"]),
        (cleaned.re_search(spelling.SLASHES), slashes),
        else_=SHAPE["other"],
    )


def _from_date(text: ibis.Value, how: TimeFormat, dates: frozenset[str]) -> ibis.Value:
    """Return the Unix seconds of dates with or without a clock; NULL where a text is none."""
    branches = []
    if "iso" in dates:
        # An ISO date has fixed places, so that most texts need one pattern.
        clock = text.substr(11)
        places = (text.substr(0, 4), text.substr(5, 2), text.substr(8, 2))
        iso = _seconds(*places, ibis.ifelse(clock.startswith(" "), clock.substr(1), clock))
        branches.append((text.re_search(spelling.ISO), iso))
    for shapes, pattern, groups in (
        ({"year_first"}, spelling.YEAR_FIRST, (1, 2, 3)),
        ({"dots"}, spelling.DOTS, (3, 2, 1)),
        (
            {"day_first", "month_first", "day_or_month", "same"},
            spelling.SLASHES,
            (3, 2, 1) if how.day_first else (3, 1, 2),
        ),
    ):
        if shapes & dates:
            parts = (text.re_extract(pattern, group) for group in (*groups, 4))
            branches.append((text.re_search(pattern), _seconds(*parts)))
    return ibis.cases(*branches, else_=ibis.null("int64"))


def _seconds(year: ibis.Value, month: ibis.Value, day: ibis.Value, clock: ibis.Value) -> ibis.Value:
    """Return the Unix seconds of the parts of a date, as texts, and of a clock, such as ``8:55:22 AM`` or nothing."""
    padded = ibis.ifelse(clock.substr(1, 1) == ":", ibis.literal("0") + clock, clock)
    date = ibis.struct(
        {name: part.try_cast("int64") for name, part in (("y", year), ("m", month), ("d", day))}
    )
    days = _let(date, lambda part: _days(part.y, part.m, part.d))
    return days * spelling.DAY + ibis.ifelse(clock == "", 0, _let(padded, _seconds_of_day))


def _seconds_of_day(clock: ibis.Value) -> ibis.Value:
    """Return the seconds from midnight UTC of a clock; NULL where it is none."""
    half = clock.re_extract("([AaPp])[Mm]", 1).lower()
    second = ibis.ifelse(clock.substr(5, 1) == ":", _int(clock.substr(6, 2)), 0)
    read = ibis.struct(
        {"h": _int(clock.substr(0, 2)), "m": _int(clock.substr(3, 2)), "s": second, "half": half}
    )
    sign, hours, minutes = (clock.re_extract(spelling.OFFSET, group) for group in (1, 2, 3))
    offset = (_int(hours) * 60 + _int(minutes)) * 60
    return _let(read, _local_seconds) - ibis.cases((sign == "", 0), (sign == "-", -offset), else_=offset)


def _local_seconds(clock: Any) -> ibis.Value:  # noqa: ANN401  a struct: hour, minute, second, half of the day
    twelve = clock.h % spelling.HALF_DAY
    hour = ibis.cases(
        (clock.half == "", clock.h),
        (~clock.h.between(1, spelling.HALF_DAY), ibis.null("int64")),
        (clock.half == "p", twelve + spelling.HALF_DAY),
        else_=twelve,
    )
    is_clock = spelling.is_clock(hour, clock.m, clock.s)
    return ibis.ifelse(is_clock, hour * 3_600 + clock.m * 60 + clock.s, ibis.null("int64"))


def _int(text: ibis.Value) -> ibis.Value:
    return text.try_cast("int64").fill_null(0)


def _days(year: ibis.Value, month: ibis.Value, day: ibis.Value) -> ibis.Value:
    """Return the days since 1970 of a date, NULL where there is no such date."""
    days = spelling.days_since_1970(year, month, day)
    return ibis.ifelse(spelling.is_date(year, month, day), days, ibis.null("int64"))


def _stated(column: ibis.Value, pattern: str) -> ibis.Value:
    """Return the Unix seconds of a column in a stated format, on DuckDB."""
    if pattern == "excel":
        number = read_number(column).value
        seconds = (number - spelling.EXCEL_1970) * spelling.DAY
        return _rounded_down(seconds + 0.5)
    text = clean(column) if column.type().is_string() else read_id(column).value
    return _try_strptime(text, ibis.literal(pattern)).truncate("s").epoch_seconds().cast("int64")


def _no_text() -> ibis.Value:
    return ibis.null("string")


def _no_value(column: ibis.Value, kind: str, empty: str, wrong: str) -> Read:
    """Return a column whose type makes every value wrong."""
    return Read(ibis.null(kind), ibis.ifelse(column.isnull(), empty, wrong))

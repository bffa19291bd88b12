"""How IDs, numbers and times may be spelled: the patterns and choices that `rules` (Ibis) and `values` (Arrow) share."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# Why a value is none. Of an ID:
NO_ID: Final = "no id"  # missing: null, NaN, empty or a word for it
NOT_AN_ID: Final = "not an id"  # 50.5, or a type that is none
LOST_DIGITS: Final = "lost digits"  # 9.78E+12
CONTROL: Final = "control character"
TOO_LONG: Final = "too long"
# Of a number and of a time:
EMPTY: Final = "empty"
NOT_A_NUMBER: Final = "not a number"
NOT_FINITE: Final = "not finite"
NOT_A_TIME: Final = "not a time"

LARGEST: Final = sys.float_info.max
LONGEST_ID: Final = 1_000  # letters
EXACT_UP_TO: Final = {32: 2.0**24, 64: 2.0**53, 16: 2.0**11}  # by bits: from here a float has lost digits

# Unicode's white space and the byte order mark. Every pattern below means the same to RE2, Java and Python.
SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680"
    + "".join(map(chr, range(0x2000, 0x200B)))
    + "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
BLANK: Final = rf"\A[{SPACE}]*\z"
SPACE_AT_ENDS: Final = rf"\A[{SPACE}]+|[{SPACE}]+\z"
# Most text IDs, which need no other rule: a character that no number has, no white space at the ends, none of control.
_CONTROL: Final = r"\x00-\x1f\x7f-\x9f" "\u2028\u2029"
_ENDS: Final = rf"[^{_CONTROL}{SPACE}]"
_NO_DIGIT: Final = rf"[^\x00-@E\[-\^`e\x7b-\x9f{SPACE}]"
PLAIN_TEXT: Final = rf"\A(?:{_ENDS}[^{_CONTROL}]*)?{_NO_DIGIT}(?:[^{_CONTROL}]*{_ENDS})?\z"
WHOLE: Final = r"\A(?:0|-?[1-9][0-9]*)\z"
WHOLE_DECIMAL: Final = r"\A(-?(?:0|[1-9][0-9]*))[.]0*\z"  # 50.0, as tables with missing values write 50
DECIMAL: Final = r"\A[+-]?(?:[0-9]+[.][0-9]*|[.][0-9]+)\z"
# A spreadsheet writes 9.78E+12, Java 9.78E12. Without a point or a sign (12e5) it is rather a code.
SCIENTIFIC: Final = r"\A[+-]?(?:[0-9]*[.][0-9]*[eE][+-]?|[0-9]+[eE][+-])[0-9]+\z"
NUMBER: Final = r"\A[+-]?(?:[0-9]+[.]?[0-9]*|[.][0-9]+)(?:[eE][+-]?[0-9]+)?\z"
SHORT_NUMBER: Final = r"\A[0-9]{1,6}(?:[.][0-9]{1,6})?\z"  # nearly all ratings, found quickly
DIGITS: Final = r"\A[0-9]+\z"
COMMA_NUMBER: Final = r"\A[+-]?(?:[0-9]+,[0-9]*|,[0-9]+)(?:[eE][+-]?[0-9]+)?\z"
INFINITE: Final = r"\A[+-]?(?:[iI][nN][fF](?:[iI][nN][iI][tT][yY])?|[nN][aA][nN])\z"

# The clock as a whole, then its hour, minute, second, half of the day, and the sign, hours and minutes of its offset.
_CLOCK = (
    r"(?:(?:T|,? )(([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,][0-9]+)?)?(?: ?([AaPp])[Mm])?"
    r"(?: ?(?:[Zz]|UTC|GMT|([+-])([0-9]{2})(?::?([0-9]{2}))?))?))?\z"
)
# Three numbers of a date, then the clock.
ISO: Final = r"\A([0-9]{4})-([0-9]{2})-([0-9]{2})" + _CLOCK
YEAR_FIRST: Final = r"\A([0-9]{4})/([0-9]{1,2})/([0-9]{1,2})" + _CLOCK
DOTS: Final = r"\A([0-9]{1,2})[.]([0-9]{1,2})[.]([0-9]{4})" + _CLOCK  # the day first
SLASHES: Final = r"\A([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})" + _CLOCK  # the day or the month first
# Most dates with a clock: nothing that could be wrong but the day of the month, in UTC.
PLAIN_ISO: Final = (
    r"\A(?:19[7-9][0-9]|[2-4][0-9]{3})-(?:0[1-9]|1[0-2])-[0-3][0-9]"
    r"(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.][0-9]+)?(?: ?(?:Z|UTC|[+]00:?00))?)?\z"
)
OFFSET: Final = r"([+-])([0-9]{2}):?([0-9]{2})?\z"

LATEST: Final = 100_000_000_000  # seconds: the year 5138
COMPACT_DATES: Final = (
    19_000_101,
    21_001_231,
)  # 20240131 is a date to its writer, and a day in 1970 as seconds
DAY: Final = 86_400
_YEAR: Final = 365 * DAY
CLOCK_GROUPS: Final = 11  # of each pattern of a date
EXCEL_1970: Final = 25_569  # the number of 1970-01-01 in a spreadsheet
MONTHS: Final = 12
HALF_DAY: Final = 12  # hours
_SIXTY: Final = 60

Unit = Literal["seconds", "milliseconds", "microseconds", "nanoseconds"]
DIVISORS: Final[dict[Unit, int]] = {
    "seconds": 1,
    "milliseconds": 1_000,
    "microseconds": 1_000_000,
    "nanoseconds": 1_000_000_000,
}
# From which number on it is this unit.
UNITS_FROM: Final[dict[Unit, int]] = {
    "seconds": 0,
    "milliseconds": LATEST,
    "microseconds": LATEST * 1_000,
    "nanoseconds": LATEST * 1_000_000,
}
# What a text may be as a time, in the order of codes; the units come first.
SHAPES: Final = (
    *DIVISORS,
    "compact",
    "iso",
    "year_first",
    "dots",
    "day_first",
    "month_first",
    "day_or_month",
    "same",
    "other",
    "empty",
)
SHAPE: Final = {name: code for code, name in enumerate(SHAPES)}
DATES: Final = frozenset(
    ("iso", "year_first", "dots", "day_first", "month_first", "day_or_month", "same")
)  # shapes of texts
MIXED_UNITS: Final = "mixed-time-units"
DAY_OR_MONTH: Final = "day-or-month"
READ_AS_1970: Final = "times-1970"


class TimeError(ValueError):
    """A column of times that can be read in two ways, or only as 1970.

    Attributes:
        code: MIXED_UNITS, DAY_OR_MONTH or READ_AS_1970.
        first: Of mixed units, the position of the first row of the rarer one.
    """

    def __init__(self, code: str, message: str, first: int | None = None) -> None:
        """Take the code, the words of a message, and the first row."""
        super().__init__(message)
        self.code, self.first = code, first


@dataclass(frozen=True)
class TimeFormat:
    """How the times of one column are read.

    Attributes:
        unit: Of numbers.
        day_first: Whether 03/04/2019 is in April; None where no value needs to know.
        compact: Whether each number is a date such as 20240131.
        pattern: A stated pattern of strptime, or "excel"; it overrules the others.
        shapes: The shapes of ``SHAPES`` that occur, so that no other is tried; None is any.
    """

    unit: Unit = "seconds"
    day_first: bool | None = None
    compact: bool = False
    pattern: str | None = None
    shapes: frozenset[str] | None = None


def time_format(
    counts: Mapping[str, int | None],
    stated: str | None = None,
    *,
    typed: bool = False,
    accept: Collection[str] = (),
) -> TimeFormat:
    """Return how a column of times is read.

    Args:
        counts: The row of `rules.count_times`.
        stated: The pattern that the user stated.
        typed: Whether the column has a type of times, which needs no choice.
        accept: Codes of `TimeError` that are accepted. Numbers of 1970 are then read; the others cannot be accepted.

    Raises:
        TimeError: The column mixes units, does not tell days from months, or is all in 1970.
    """
    if stated is not None or typed:
        return TimeFormat(pattern=None if typed else stated)
    found = {shape: counts.get(shape) or 0 for shape in SHAPES}
    total = sum(found.values()) - found["empty"]
    compact = 0 < found["compact"] == total
    units: list[Unit] = [unit for unit in DIVISORS if found[unit]]
    if len(units) > 1:
        rarer = min(units, key=found.__getitem__)
        raise TimeError(MIXED_UNITS, f"mixes {' and '.join(units)}", counts.get(f"first_{rarer}"))
    if (found["day_first"] and found["month_first"]) or (
        found["day_or_month"] and not found["day_first"] and not found["month_first"]
    ):
        raise TimeError(
            DAY_OR_MONTH,
            "no value shows which is the day and which the month: --time-format %m/%d/%Y or %d/%m/%Y",
        )
    highest = counts.get("highest")
    if READ_AS_1970 not in accept and highest is not None and found["seconds"] == total and highest < _YEAR:
        stated = _format_of(counts.get("lowest") or 0, highest)
        raise TimeError(READ_AS_1970, f"these times read as 1970: --time-format {stated or 'FORMAT'}")
    shapes = frozenset(shape for shape, count in found.items() if count)
    return TimeFormat(
        units[0] if units else "seconds", found["day_first"] > 0 or None, compact, shapes=shapes
    )


def _format_of(lowest: int, highest: int) -> str | None:
    """Return the format of numbers that look like years, months or the days of a spreadsheet."""
    for pattern, low, high in (("%Y", 1900, 2100), ("%Y%m", 190_001, 210_012), ("excel", 20_000, 80_000)):
        if low <= lowest <= highest <= high:
            return pattern
    return None


def days_since_1970(year: Any, month: Any, day: Any) -> Any:  # noqa: ANN401 -- integers of Python, NumPy or Ibis
    """Return the days from 1970-01-01 to a date, of integers, arrays or expressions; month 13 is the next January."""
    late = (
        14 - month
    ) // MONTHS  # January and February belong to the year before, so that a leap day is the last
    year, month = year - late, month + MONTHS * late - 3
    return day + (153 * month + 2) // 5 + 365 * year + year // 4 - year // 100 + year // 400 - 719_469


def is_date(year: Any, month: Any, day: Any) -> Any:  # noqa: ANN401 -- as above
    """Return whether there is such a date."""
    next_month = days_since_1970(year, month + 1, 1)
    return (month >= 1) & (month <= MONTHS) & (day >= 1) & (days_since_1970(year, month, day) < next_month)


def is_clock(hour: Any, minute: Any, second: Any) -> Any:  # noqa: ANN401 -- as above
    """Return whether there is such a time of day; midnight may be 24:00:00."""
    midnight = (hour == 2 * HALF_DAY) & (minute == 0) & (second == 0)
    return (hour < 2 * HALF_DAY) & (minute < _SIXTY) & (second < _SIXTY) | midnight

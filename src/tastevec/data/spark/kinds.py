"""What the text of a column may say, in Spark's SQL: the twin of ``readers.kinds``, which says it in DuckDB's."""

from __future__ import annotations

from tastevec.data.readers import columns as kinds
from tastevec.data.readers.columns import Kind

__all__ = ["is_whole", "on_spark", "rating_within"]

_LATEST = 100_000_000_000  # the year 5138: larger numbers are milliseconds
# '007' is a text and 5.7 no whole number: only what is written as the number itself would be counts.
_BIGINT = "try_cast({t} AS BIGINT)"
_WHOLE = f"(CASE WHEN CAST({_BIGINT} AS STRING) = {{t}} THEN {_BIGINT} END)"
_SPACE = r"[ \t\n\x0B\f\r]*"
# As DuckDB reads one, which takes "+-5" for -5 and "nan(1)" for no number in particular; a group for each.
_PLAIN = rf"\A{_SPACE}\+?(-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?){_SPACE}\z"
_NAMED = rf"(?i)\A{_SPACE}\+?(-?)(?:(inf|infinity)|nan(?:\([0-9a-z]*\))?){_SPACE}\z"
_NUMBER = (
    "(CASE WHEN rlike({t}, r'\\A[0-9]+[.]?[0-9]*\\z') THEN CAST({t} AS DOUBLE) "  # nearly all, and quickly
    f"WHEN rlike({{t}}, r'{_PLAIN}') THEN try_cast(regexp_extract({{t}}, r'{_PLAIN}', 1) AS DOUBLE) "
    f"WHEN rlike({{t}}, r'{_NAMED}') THEN CASE WHEN regexp_extract({{t}}, r'{_NAMED}', 2) = '' THEN DOUBLE('NaN') "
    f"WHEN regexp_extract({{t}}, r'{_NAMED}', 1) = '-' THEN DOUBLE('-Infinity') ELSE DOUBLE('Infinity') END END)"
)
_DAY, _CLOCK = "([0-9]{4}-[0-9]{2}-[0-9]{2})", "([0-9]{2}):([0-9]{2})"
_LOCAL = rf"\A{_DAY}(?:[ T]{_CLOCK}(?::([0-9]{{2}})(?:[.][0-9]+)?)?)?\z"
_EAST = r"(?:Z|([+-])([0-9]{2})(?:([0-9]{2})|:|:([0-9]{2}):?|:([0-9]{2}):([0-9]{2}))?)"
_ZONED = rf"\A{_DAY}[ T]{_CLOCK}:([0-9]{{2}})(?:[.][0-9]+)?{_EAST}\z"


def _part(pattern: str, group: int) -> str:
    """The number that a group of the pattern found, 0 where it found none."""
    return f"coalesce(try_cast(regexp_extract({{t}}, r'{pattern}', {group}) AS INT), 0)"


def _since_1970(pattern: str) -> str:
    """Whole seconds of the day and the clock that a pattern finds, NULL where there is no such moment."""
    hour, minute, second = (_part(pattern, group) for group in (2, 3, 4))
    day = f"unix_date(try_cast(regexp_extract({{t}}, r'{pattern}', 1) AS DATE))"
    # Midnight may be the end of a day, as long as nothing follows it.
    midnight = f"({hour} = 24 AND {minute} = 0 AND {second} = 0 AND NOT contains({{t}}, '.'))"
    valid = f"({hour} < 24 AND {minute} < 60 AND {second} < 60 OR {midnight})"
    return f"CASE WHEN {valid} THEN {day} * 86400L + {hour} * 3600 + {minute} * 60 + {second} END"


def _east() -> str:
    """Seconds east of Greenwich."""
    minutes = " + ".join(_part(_ZONED, group) for group in (7, 8, 9))
    size = f"({_part(_ZONED, 6)} * 3600 + ({minutes}) * 60 + {_part(_ZONED, 10)})"
    return f"CASE WHEN regexp_extract({{t}}, r'{_ZONED}', 5) = '-' THEN -{size} ELSE {size} END"


_ISO = (
    f"CAST(CASE WHEN rlike({{t}}, r'{_LOCAL}') THEN {_since_1970(_LOCAL)} "
    f"WHEN rlike({{t}}, r'{_ZONED}') THEN ({_since_1970(_ZONED)}) - ({_east()}) END AS DOUBLE)"
)
# 20240131 is a date to its writer and a day in 1970 to us.
_DATES = "BETWEEN 19000101 AND 21001231"
_ANY_SECONDS = f"CASE WHEN NOT {_NUMBER} {_DATES} THEN {_NUMBER} ELSE {_ISO} END"
_SECONDS = (
    "CASE WHEN rlike({t}, r'\\A[0-9]{1,12}\\z') "  # nearly all, and quickly
    f"THEN CASE WHEN NOT CAST({{t}} AS BIGINT) {_DATES} THEN CAST({{t}} AS BIGINT) END "
    # What is beyond these is no time and, infinite or no number at all, must not be cut to one.
    f"WHEN {_ANY_SECONDS} BETWEEN -1e15D AND 1e15D THEN floor({_ANY_SECONDS}) END"
)


def _twin(kind: Kind, value: str, *conditions: str) -> Kind:
    """The same kind, judged for the same reasons; in a condition ``{v}`` is the value."""
    reasons = [reason for reason, _ in kind.faults]
    return Kind(value, tuple(zip(reasons, conditions, strict=True)), kind.expected)


_EMPTY = "{t} = ''"
_TWINS = {
    kinds.WHOLE_ID: _twin(kinds.WHOLE_ID, _WHOLE, _EMPTY, "{v} IS NULL"),
    kinds.OPEN_ID: _twin(kinds.OPEN_ID, "{t}", _EMPTY),
    kinds.TEXT_ID: _twin(kinds.TEXT_ID, "{t}", _EMPTY),
    kinds.SECONDS: _twin(kinds.SECONDS, _WHOLE, "{v} IS NULL", f"NOT {{v}} BETWEEN 0 AND {_LATEST}"),
    kinds.TIME: _twin(
        kinds.TIME,
        _SECONDS,
        f"{{t}} <> '' AND NOT coalesce({{v}} BETWEEN 0 AND {_LATEST}, false)",
    ),
}


def on_spark(kind: Kind) -> Kind:
    """The twin of one of DuckDB's kinds."""
    return _TWINS[kind]


def rating_within(lowest: float, highest: float) -> Kind:
    """A rating from ``lowest`` to ``highest``."""
    return _twin(
        kinds.rating_within(lowest, highest),
        _NUMBER,
        "{v} IS NULL",
        "isnan({v}) OR abs({v}) = DOUBLE('Infinity')",
        f"NOT {{v}} BETWEEN DOUBLE('{lowest!r}') AND DOUBLE('{highest!r}')",
    )


def is_whole(text: str) -> str:
    """Whether a text is a whole number in its own writing: '007' and '1.0' are not."""
    return f"({_WHOLE.replace('{t}', text)} IS NOT NULL)"

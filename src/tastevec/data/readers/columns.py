"""Column types: the rules that a value must meet on every engine, and the accepted header names."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tastevec.data.readers.text import literal, show
from tastevec.errors import SourceError
from tastevec.schema import CONTROL_CHARACTERS, GENRES, ITEM_ID, RATING, TAG, TIMESTAMP, TITLE, USER_ID, YEAR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


# ruff: noqa: S608 -- each query is built from constants and from values that `literal` has quoted


@dataclass(frozen=True)
class Dialect:
    """How an engine's SQL parses a text ``{t}``; NULL where the text is no such value. Nothing may raise.

    Attributes:
        integer: A 64-bit integer in its own spelling: neither ``007`` nor ``5.0``.
        number: A float64.
        seconds: Whole Unix seconds (int64) from a number or from an ISO 8601 date.
        control: Whether the text contains a control character.
    """

    integer: str
    number: str
    seconds: str
    control: str


@dataclass(frozen=True)
class IntRange:
    """The integers of a column type, from 0 to ``2**63 - 1``, that are valid as they are; other values need the rules.

    If it ``may_be_missing``, an empty field is valid, too, and means NULL.
    """

    lowest: int
    highest: int
    may_be_missing: bool = False


@dataclass(frozen=True)
class ColumnType:
    """A column type: the value of a field and the rules that make its row invalid, for every engine.

    In both templates ``{t}`` is the field's text; ``{integer}``, ``{number}``, ``{seconds}``, ``{control}`` are the `Dialect`'s.

    Attributes:
        value: SQL template of the value; it must not raise for any text.
        errors: Reasons with their SQL conditions, in which ``{v}`` is the value; the first that is true counts.
        expected: What an error message expects.
        int_range: Of a type whose columns can be read as integers without a look at their text.
        is_number: Whether a valid value is always a number, never NULL, and its rules need no text.
        limits: The lowest and the highest valid number, of ratings.
    """

    value: str
    errors: tuple[tuple[str, str], ...] = ()
    expected: str = "text"
    int_range: IntRange | None = None
    is_number: bool = False
    limits: tuple[float, float] | None = None

    def error_sql(self, dialect: Dialect, value: str, text: str) -> list[tuple[str, str]]:
        """Return the reasons and their conditions, for a value and a text of these names."""
        return [
            (reason, parse(condition, dialect, text).replace("{v}", value))
            for reason, condition in self.errors
        ]


def parse(template: str, dialect: Dialect, text: str) -> str:
    """Return the template in the dialect's SQL, with the name of the text in it."""
    for name in ("integer", "number", "seconds", "control"):
        template = template.replace(f"{{{name}}}", getattr(dialect, name))
    return template.replace("{t}", text)


BLANK = "blank"  # a tag without text; ml-10m has some, and they are no error
OUT_OF_RANGE = "out of range"
CONTROL = "control character"  # in an ID: it would break lines of logs and CSV, and paths of HTTP requests
_LATEST = 100_000_000_000  # the year 5138: larger numbers are milliseconds
# Numbers that look like dates: 20240131 is a date to its writer and a day in 1970 as seconds.
_LAST_DATE = 21001231
DATES: Final = f"BETWEEN 19000101 AND {_LAST_DATE}"

# DuckDB reads 1_0 as 10.
_NUMBER = "(CASE WHEN NOT contains({t}, '_') THEN TRY_CAST({t} AS DOUBLE) END)"
# Without an offset of its own a timestamp is UTC, whatever the machine's zone; a cast to TIMESTAMP would drop the offset.
_CLOCK = "[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?)?"
_ISO = (
    f"CASE WHEN regexp_full_match({{t}}, '{_CLOCK}') THEN epoch(TRY_CAST({{t}} AS TIMESTAMP)) "
    f"WHEN regexp_full_match({{t}}, '{_CLOCK} ?([zZ]|[+-][0-9:]+)') THEN epoch(TRY_CAST({{t}} AS TIMESTAMPTZ)) END"
)
DUCKDB: Final = Dialect(
    integer="(CASE WHEN CAST(TRY_CAST({t} AS BIGINT) AS VARCHAR) = {t} THEN TRY_CAST({t} AS BIGINT) END)",
    number=_NUMBER,
    seconds=f"TRY_CAST(floor(CASE WHEN NOT {_NUMBER} {DATES} THEN {_NUMBER} ELSE {_ISO} END) AS BIGINT)",
    control=f"regexp_matches({{t}}, '{CONTROL_CHARACTERS}')",
)

_EMPTY = ("empty", "{t} = ''")
_NOT_AN_INTEGER = ("not an integer", "{v} IS NULL")
_CONTROL = (CONTROL, "{control}")
_ANY_INTEGER = IntRange(0, 2**63 - 1)
INT_ID = ColumnType("{integer}", (_EMPTY, _NOT_AN_INTEGER), "an integer", _ANY_INTEGER)
ANY_ID = ColumnType("{t}", (_EMPTY, _CONTROL), "an ID", _ANY_INTEGER)  # an integer if all of its column are
TEXT_ID = ColumnType("{t}", (_EMPTY, _CONTROL), "a text")
TEXT = ColumnType("{t}")
UNIX_SECONDS = ColumnType(
    "{integer}",
    (_NOT_AN_INTEGER, ("not a timestamp", f"NOT {{v}} BETWEEN 0 AND {_LATEST}")),
    "Unix seconds",
    IntRange(0, _LATEST),
)
ANY_TIME = ColumnType(
    "{seconds}",
    (("not a timestamp", f"{{t}} <> '' AND NOT coalesce({{v}} BETWEEN 0 AND {_LATEST}, false)"),),
    "Unix seconds, an ISO 8601 date or an empty field",
    IntRange(_LAST_DATE + 1, _LATEST, may_be_missing=True),
)
YEAR_NUMBER = ColumnType(
    "TRY_CAST({number} AS INTEGER)",
    (
        (
            "not a year",
            "{t} <> '' AND NOT coalesce({number} BETWEEN 0 AND 9999 AND {number} = floor({number}), false)",
        ),
    ),
    "a year or an empty field",
)
# RecBole's year is a token: ml-100k has 'V' and 'unkonwn' there.
YEAR_TOKEN = ColumnType("CASE WHEN regexp_full_match({t}, '[0-9]{4}') THEN CAST({t} AS INTEGER) END")
TAG_TEXT = ColumnType(
    "lower(trim({t}, ' ' || chr(9) || chr(10) || chr(13) || chr(160)))", ((BLANK, "{v} = ''"),)
)
WEIGHT_NUMBER = ColumnType(
    "{number}",
    (("not a number", "{v} IS NULL"), (OUT_OF_RANGE, "NOT ({v} > 0 AND {v} < 1e18)")),
    "a weight above 0",
)


def rating_within(lowest: float, highest: float) -> ColumnType:
    """Return the type of a rating from ``lowest`` to ``highest``."""
    errors = (
        ("not a number", "{v} IS NULL"),
        ("not finite", "isnan({v}) OR abs({v}) = CAST('Infinity' AS DOUBLE)"),
        (OUT_OF_RANGE, f"NOT {{v}} BETWEEN CAST('{lowest!r}' AS DOUBLE) AND CAST('{highest!r}' AS DOUBLE)"),
    )
    expected = f"a number from {lowest:g} to {highest:g}"
    return ColumnType("{number}", errors, expected, is_number=True, limits=(lowest, highest))


def genre_list(separator: str) -> ColumnType:
    """Return the type of genres in one text; ``(no genres listed)`` and ``unknown`` are no genres."""
    names = (
        f"list_filter(string_split({{t}}, {literal(separator)}), lambda g: lower(g) NOT IN ('', 'unknown'))"
    )
    none = "CAST([] AS VARCHAR[])"
    return ColumnType(f"CASE WHEN lower({{t}}) = '(no genres listed)' THEN {none} ELSE {names} END")


def genre_flags(names: Sequence[str]) -> ColumnType:
    """Return the type of ml-100k's genres: one 0 or 1 per genre, joined here by ``|``."""
    listed = ", ".join(literal(name) for name in names)
    value = f"list_filter([{listed}], lambda g, i: string_split({{t}}, '|')[i] = '1' AND g <> 'unknown')"
    error = ("invalid genre flags", r"NOT regexp_full_match({t}, '[01](\|[01])*')")
    return ColumnType(value, (error,), "0 or 1 for each genre")


def known_tag(table: str) -> ColumnType:
    """Return the type of a tag number that ``table`` (``tag_id, tag``) resolves to a text."""
    value = f"(SELECT n.tag FROM {table} n WHERE CAST(n.tag_id AS VARCHAR) = {{t}} AND n.error IS NULL)"
    error = ("unknown tag", f"{{t}} NOT IN (SELECT CAST(tag_id AS VARCHAR) FROM {table} WHERE error IS NULL)")
    return ColumnType(value, (error,), "the number of a tag in tags.dat")


# Case, spaces and punctuation do not count: 'Movie ID', 'movie_id' and 'movieId' are one.
_ALIASES = {
    USER_ID: ("userid", "user", "uid"),
    ITEM_ID: ("itemid", "item", "iid", "movieid", "movie", "filmid", "film"),
    RATING: ("rating", "score", "stars"),
    TIMESTAMP: ("timestamp", "time", "ts", "date", "datetime"),
    TITLE: ("title", "movietitle", "name"),
    YEAR: ("year", "releaseyear"),
    GENRES: ("genres", "genre", "class"),
    TAG: ("tag",),
}


@dataclass(frozen=True)
class Column:
    """One column to read: its role is its name in the tables of this package, its name is that in the file.

    ``text`` is SQL that takes its text out of ``fields``.
    """

    role: str
    name: str
    text: str
    type: ColumnType

    @property
    def index(self) -> int | None:
        """Which field it is, from 0; None where it is made of several."""
        found = re.fullmatch(r"fields\[(\d+)\]", self.text)
        return int(found[1]) - 1 if found else None


def split_header(line: str) -> tuple[str, list[str]]:
    """Return the separator of a table's header (a tab or a comma) and its column names."""
    separator = "\t" if "\t" in line else ","
    try:
        return separator, next(csv.reader([line], delimiter=separator), [])
    except csv.Error as error:  # a name of a hundred thousand letters
        raise SourceError(
            f"line 1: {show(line)} ({error}). Expected column names. Correct the header."
        ) from error


def match_columns(
    file: str, names: Sequence[str], types: Mapping[str, ColumnType], optional: Sequence[str] = ()
) -> list[Column]:
    """Return the columns of ``types``, by role, found among the header's ``names``.

    Raises:
        SourceError: A column that is not ``optional`` is missing, or two match the same role.
    """
    found = {role: _find_index(file, names, role) for role in types}
    missing = [role for role, index in found.items() if index is None and role not in optional]
    if missing:
        known = ", ".join(
            f"{role}: {_bare(names[index])}" for role, index in found.items() if index is not None
        )
        raise SourceError(
            f"{file}, line 1: no {' or '.join(missing)} among {', '.join(map(_bare, names[:10]))}{known and f' ({known})'}. "
            f"Expected {' and '.join(map(_with_aliases, missing))}. Rename the columns."
        )
    return [
        Column(role, names[index].strip(), f"fields[{index + 1}]", types[role])
        for role, index in found.items()
        if index is not None
    ]


def _find_index(file: str, names: Sequence[str], role: str) -> int | None:
    indices = [index for index, name in enumerate(names) if _plain(name) in _ALIASES[role]]
    indices = [index for index in indices if names[index].strip() == role] or indices
    if len(indices) > 1:
        both = " and ".join(_bare(names[index]) for index in indices)
        raise SourceError(
            f"{file}, line 1: {both} both match {role}. Expected one of them. Rename the other."
        )
    return indices[0] if indices else None


def _with_aliases(role: str) -> str:
    aliases = [alias for alias in _ALIASES[role] if alias != _plain(role)]
    return f"{role} (or {', '.join(aliases)})" if aliases else role


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _bare(name: str) -> str:
    return show(name)[1:-1]

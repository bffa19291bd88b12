"""Columns: their types, the rules a value must meet, and the header names that are accepted."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tastevec.data.readers.text import literal, show
from tastevec.errors import SourceError
from tastevec.schema import GENRES, ITEM_ID, RATING, TAG, TIMESTAMP, TITLE, USER_ID, YEAR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


__all__ = [
    "BLANK",
    "LOOSE_YEAR",
    "OPEN_ID",
    "SECONDS",
    "TAG_TEXT",
    "TEXT",
    "TEXT_ID",
    "TIME",
    "WEIGHT_NUMBER",
    "WHOLE_ID",
    "YEAR_NUMBER",
    "Column",
    "ColumnType",
    "IntRange",
    "genre_flags",
    "genre_list",
    "known_tag",
    "match_columns",
    "rating_within",
    "split_header",
]

# ruff: noqa: S608 -- each piece is built from our own words and from values that `literal` has quoted


@dataclass(frozen=True)
class IntRange:
    """The whole numbers of a kind that are good and mean themselves; of others, nothing is said.

    Attributes:
        lowest: At least 0.
        highest: At most what 64 bits hold.
        may_be_missing: Whether an empty field is good, too, and means NULL.
    """

    lowest: int
    highest: int
    may_be_missing: bool = False


@dataclass(frozen=True)
class ColumnType:
    """One kind of column.

    Attributes:
        value: SQL of the value, where ``{t}`` is the field's text; it must not raise whatever the text.
        faults: Reasons to refuse the row, each with its SQL condition, the first true one counts.
        expected: What a message says was expected.
        whole: Of a kind whose columns can be read as numbers without a look at their text.
        is_number: Whether a good value is always a number, never NULL, and judged without a look at its text.
    """

    value: str
    faults: tuple[tuple[str, str], ...] = ()
    expected: str = "text"
    whole: IntRange | None = None
    is_number: bool = False

    def faults_of(self, value: str, text: str) -> list[tuple[str, str]]:
        """The reasons and their conditions, where the value and the text are already known by these names."""
        return [
            (reason, condition.replace(self.value, value).replace("{t}", text))
            for reason, condition in self.faults
        ]


BLANK = "blank"  # ml-10m has some: nothing was said, so nothing is wrong
_EMPTY = ("empty", "{t} = ''")
_WHOLE = "TRY_CAST({t} AS BIGINT)"
# DuckDB reads 1_0 as 10.
_NUMBER = "(CASE WHEN NOT contains({t}, '_') THEN TRY_CAST({t} AS DOUBLE) END)"
# '007' is a text and 5.7 no whole number: only what is written as the number itself would be counts.
_NOT_WHOLE = f"coalesce(CAST({_WHOLE} AS VARCHAR) <> {{t}}, true)"
_LATEST = 100_000_000_000  # the year 5138: larger numbers are milliseconds
# Without an offset of its own a time is UTC, whatever the machine's zone; a cast to TIMESTAMP would drop the offset.
_CLOCK = "[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?)?"
_ISO = (
    f"CASE WHEN regexp_full_match({{t}}, '{_CLOCK}') THEN epoch(TRY_CAST({{t}} AS TIMESTAMP)) "
    f"WHEN regexp_full_match({{t}}, '{_CLOCK} ?([zZ]|[+-][0-9:]+)') THEN epoch(TRY_CAST({{t}} AS TIMESTAMPTZ)) END"
)
# 20240131 is a date to its writer and a day in 1970 to us.
_LAST_DATE = 21001231
_SECONDS = f"(CASE WHEN NOT {_NUMBER} BETWEEN 19000101 AND {_LAST_DATE} THEN {_NUMBER} ELSE {_ISO} END)"

_ANY = IntRange(0, 2**63 - 1)
WHOLE_ID = ColumnType(_WHOLE, (_EMPTY, ("not a whole number", _NOT_WHOLE)), "a whole number", _ANY)
OPEN_ID = ColumnType("{t}", (_EMPTY,), "an id", _ANY)  # a whole number if all of its column are
TEXT_ID = ColumnType("{t}", (_EMPTY,), "a text")
TEXT = ColumnType("{t}")
SECONDS = ColumnType(
    _WHOLE,
    (("not a whole number", _NOT_WHOLE), ("not a time", f"NOT {_WHOLE} BETWEEN 0 AND {_LATEST}")),
    "Unix seconds",
    IntRange(0, _LATEST),
)
TIME = ColumnType(
    f"TRY_CAST(floor({_SECONDS}) AS BIGINT)",
    (("not a time", f"{{t}} <> '' AND NOT coalesce({_SECONDS} BETWEEN 0 AND {_LATEST}, false)"),),
    "Unix seconds, an ISO date or nothing",
    IntRange(_LAST_DATE + 1, _LATEST, may_be_missing=True),
)
YEAR_NUMBER = ColumnType(
    f"TRY_CAST({_NUMBER} AS INTEGER)",
    (
        (
            "not a year",
            f"{{t}} <> '' AND NOT coalesce({_NUMBER} BETWEEN 0 AND 9999 AND {_NUMBER} = floor({_NUMBER}), false)",
        ),
    ),
    "a year or nothing",
)
# RecBole calls the year a token: ml-100k has 'V' and 'unkonwn' there.
LOOSE_YEAR = ColumnType("CASE WHEN regexp_full_match({t}, '[0-9]{4}') THEN CAST({t} AS INTEGER) END")
_TAG = "lower(trim({t}, ' ' || chr(9) || chr(10) || chr(13) || chr(160)))"
TAG_TEXT = ColumnType(_TAG, ((BLANK, f"{_TAG} = ''"),))
WEIGHT_NUMBER = ColumnType(
    _NUMBER,
    (("not a number", f"{_NUMBER} IS NULL"), ("out of range", f"NOT ({_NUMBER} > 0 AND {_NUMBER} < 1e18)")),
    "a weight above 0",
)


def rating_within(lowest: float, highest: float) -> ColumnType:
    """A rating from ``lowest`` to ``highest``."""
    faults = (
        ("not a number", f"{_NUMBER} IS NULL"),
        ("not finite", f"NOT isfinite({_NUMBER})"),
        ("out of range", f"NOT {_NUMBER} BETWEEN {lowest} AND {highest}"),
    )
    return ColumnType(_NUMBER, faults, f"{lowest:g} to {highest:g}", is_number=True)


def genre_list(separator: str) -> ColumnType:
    """Genres in one text; ``(no genres listed)`` and ``unknown`` are no genres."""
    nothing = "CAST([] AS VARCHAR[])"
    kept = (
        f"list_filter(string_split({{t}}, {literal(separator)}), lambda g: lower(g) NOT IN ('', 'unknown'))"
    )
    return ColumnType(f"CASE WHEN lower({{t}}) = '(no genres listed)' THEN {nothing} ELSE {kept} END")


def genre_flags(names: Sequence[str]) -> ColumnType:
    """Genres as ml-100k has them: one 0 or 1 a genre, joined here by ``|``."""
    listed = ", ".join(literal(name) for name in names)
    value = f"list_filter([{listed}], lambda g, i: string_split({{t}}, '|')[i] = '1' AND g <> 'unknown')"
    fault = ("not a row of flags", r"NOT regexp_full_match({t}, '[01](\|[01])*')")
    return ColumnType(value, (fault,), "0 or 1 for each genre")


def known_tag(table: str) -> ColumnType:
    """The number of a tag in ``table`` (``tag_id, tag``), which becomes its text."""
    value = f"(SELECT n.tag FROM {table} n WHERE CAST(n.tag_id AS VARCHAR) = {{t}} AND n.fault IS NULL)"
    fault = (
        "not a known tag",
        f"{{t}} NOT IN (SELECT CAST(tag_id AS VARCHAR) FROM {table} WHERE fault IS NULL)",
    )
    return ColumnType(value, (fault,), "the number of a tag in tags.dat")


# Case, spaces and punctuation do not count: 'Movie ID', 'movie_id' and 'movieId' are one.
_SPELLINGS = {
    USER_ID: ("userid", "user", "uid"),
    ITEM_ID: ("itemid", "item", "iid", "movieid", "movie", "filmid", "film"),
    RATING: ("rating", "score", "stars"),
    TIMESTAMP: ("timestamp", "time", "ts", "date", "datetime"),
    TITLE: ("title", "movietitle", "name"),
    YEAR: ("year", "releaseyear"),
    GENRES: ("genres", "genre", "class"),
    TAG: ("tag",),
}


def split_header(line: str) -> tuple[str, list[str]]:
    """The separator of a table's header, a tab or a comma, and its columns.

    Raises:
        SourceError: It is no header.
    """
    separator = "\t" if "\t" in line else ","
    try:
        return separator, next(csv.reader([line], delimiter=separator), [])
    except csv.Error as error:  # a name of a hundred thousand letters
        raise SourceError(
            f"line 1 begins with {show(line)} and is no header ({error}); expected the names of columns; correct it and run again"
        ) from error


def match_columns(
    file: str, names: Sequence[str], kinds: Mapping[str, ColumnType], optional: Sequence[str] = ()
) -> list[Column]:
    """The columns that ``kinds`` asks for by role, found among the header's ``names``.

    Args:
        file: The file's name, for messages.
        names: The header.
        kinds: What is looked for, and how it will be judged.
        optional: Roles that may be missing.

    Raises:
        SourceError: A column is missing, or two could be the same.
    """
    found = {role: _place_of(file, names, role, must=role not in optional) for role in kinds}
    return [
        Column(role, names[place].strip(), f"fields[{place + 1}]", kinds[role])
        for role, place in found.items()
        if place is not None
    ]


def _place_of(file: str, names: Sequence[str], role: str, *, must: bool) -> int | None:
    places = [place for place, name in enumerate(names) if _plain(name) in _SPELLINGS[role]]
    places = [place for place in places if names[place].strip() == role] or places
    if len(places) > 1:
        both = " and ".join(show(names[place]) for place in places)
        raise SourceError(
            f"{file} line 1: {both} could both be {role}; expected one of them; rename the other and run again"
        )
    if must and not places:
        found = ", ".join(show(name) for name in names[:10])
        raise SourceError(
            f"{file} line 1: no column for {role} among {found}; expected a header with one of {', '.join(_SPELLINGS[role])}; correct the header and run again"
        )
    return places[0] if places else None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@dataclass(frozen=True)
class Column:
    """One column of what is read.

    Attributes:
        role: Its name in our tables.
        name: Its name in the file, for messages.
        text: SQL that takes its text out of ``fields``.
        kind: How the text is judged and what it becomes.
    """

    role: str
    name: str
    text: str
    kind: ColumnType

    @property
    def place(self) -> int | None:
        """Which field it is, from 0; None where it is made of several."""
        found = re.fullmatch(r"fields\[(\d+)\]", self.text)
        return int(found[1]) - 1 if found else None

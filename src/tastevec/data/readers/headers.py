"""Which column of a header is which of ours."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

from tastevec.data.readers.rows import Column
from tastevec.data.readers.text import show
from tastevec.errors import SourceError
from tastevec.schema import GENRES, ITEM_ID, RATING, TAG, TIMESTAMP, TITLE, USER_ID, YEAR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tastevec.data.readers.kinds import Kind

__all__ = ["match_columns", "split_header"]

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
    file: str, names: Sequence[str], kinds: Mapping[str, Kind], optional: Sequence[str] = ()
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

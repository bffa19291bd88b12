"""The files of a MovieLens release, from ml-100k to the newest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tastevec.data.readers.headers import match_columns, split_header
from tastevec.data.readers.kinds import (
    SECONDS,
    TAG_TEXT,
    TEXT,
    WHOLE_ID,
    Kind,
    genre_flags,
    genre_list,
    rating_within,
)
from tastevec.data.readers.records import plain_records, quoted_records
from tastevec.data.readers.rows import Checked, Column, Desk, check_rows
from tastevec.data.readers.text import open_text
from tastevec.errors import SourceError
from tastevec.schema import GENRES, ITEM_ID, RATING, TAG, TIMESTAMP, TITLE, USER_ID

if TYPE_CHECKING:
    from tastevec.data.readers.places import Place
    from tastevec.data.readers.text import TextFile

__all__ = ["read_films", "read_own_tags", "read_ratings", "read_tag_lines", "read_tag_table"]

_FILM_FILES = {
    "ml-100k": "u.item",
    "ml-1m": "movies.dat",
    "ml-10m": "movies.dat",
    "movielens-csv": "movies.csv",
}
_BEFORE_FLAGS = ("movie id", "movie title", "release date", "video release date", "IMDb URL")
_FLAGS = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *(
        "Fantasy",
        "Film-Noir",
        "Horror",
        "Musical",
        "Mystery",
        "Romance",
        "Sci-Fi",
        "Thriller",
        "War",
        "Western",
    ),
)


def read_ratings(place: Place, desk: Desk, rating_range: tuple[float, float]) -> Checked:
    """The ratings of the release, one row per user and film.

    Raises:
        SourceError: The file is empty or its header is wrong.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    kinds = {USER_ID: WHOLE_ID, ITEM_ID: WHOLE_ID, RATING: rating_within(*rating_range), TIMESTAMP: SECONDS}
    text, unique = open_text(place.interactions, desk.scratch), (USER_ID, ITEM_ID)
    if place.format == "movielens-csv":
        return _read_table(text, desk, kinds, unique=unique)
    return _read_lines(text, "\t" if place.format == "ml-100k" else "::", desk, kinds, unique=unique)


def read_films(place: Place, desk: Desk) -> Checked:
    """The films of the release: id, title and genres.

    Raises:
        SourceError: The file is missing or empty, or its header is wrong.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    name = _FILM_FILES[place.format]
    path = place.file(name)
    if path is None:
        raise SourceError(
            f"{place.interactions.parent} has no {name}; expected the films of {place.format} there; fetch the release again or name a table with --items"
        )
    kinds = {ITEM_ID: WHOLE_ID, TITLE: TEXT, GENRES: genre_list("|")}
    text = open_text(path, desk.scratch, latin=place.format in {"ml-100k", "ml-1m"})
    if place.format == "ml-100k":
        return _read_flagged(text, _genres_of(place, desk), desk)
    if place.format == "movielens-csv":
        return _read_table(text, desk, kinds, unique=(ITEM_ID,))
    return _read_lines(text, "::", desk, kinds, unique=(ITEM_ID,))


def read_own_tags(place: Place, desk: Desk) -> Checked | None:
    """The tags that the release's own people gave, if it has any.

    Raises:
        SourceError: The file is empty or its header is wrong.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    if place.format == "movielens-csv" and (path := place.file("tags.csv")):
        return read_tag_table(open_text(path, desk.scratch), desk, WHOLE_ID)
    if place.format == "ml-10m" and (path := place.file("tags.dat")):
        return read_tag_lines(open_text(path, desk.scratch), desk, WHOLE_ID)
    return None


def read_tag_table(text: TextFile, desk: Desk, item_kind: Kind) -> Checked:
    """A ``tags.csv``: who said what of which film, and when.

    Raises:
        SourceError: The header is wrong.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    return _read_table(text, desk, _tag_kinds(item_kind))


def read_tag_lines(text: TextFile, desk: Desk, item_kind: Kind) -> Checked:
    """A ``tags.dat`` of ml-10m: the same without a header, between ``::``.

    Raises:
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    return _read_lines(text, "::", desk, _tag_kinds(item_kind))


def _tag_kinds(item_kind: Kind) -> dict[str, Kind]:
    return {USER_ID: WHOLE_ID, ITEM_ID: item_kind, TAG: TAG_TEXT, TIMESTAMP: SECONDS}


def _read_table(
    text: TextFile, desk: Desk, kinds: dict[str, Kind], *, unique: tuple[str, ...] = ()
) -> Checked:
    separator, names = split_header(text.first_line())
    columns = match_columns(text.name, names, kinds)
    return check_rows(desk, quoted_records(text, separator, names, desk.connection), columns, unique=unique)


def _read_lines(
    text: TextFile, separator: str, desk: Desk, kinds: dict[str, Kind], *, unique: tuple[str, ...] = ()
) -> Checked:
    """Columns that stand in the order of ``kinds``, under no header."""
    columns = [
        Column(role, role, f"fields[{place}]", kind) for place, (role, kind) in enumerate(kinds.items(), 1)
    ]
    return check_rows(desk, plain_records(text, separator, tuple(kinds)), columns, unique=unique)


def _read_flagged(text: TextFile, genres: tuple[str, ...], desk: Desk) -> Checked:
    """The ``u.item`` of ml-100k, where each genre is a column of 0 and 1."""
    flags = f"array_to_string(fields[{len(_BEFORE_FLAGS) + 1}:], '|')"
    columns = (
        Column(ITEM_ID, _BEFORE_FLAGS[0], "fields[1]", WHOLE_ID),
        Column(TITLE, _BEFORE_FLAGS[1], "fields[2]", TEXT),
        Column(GENRES, "genres", flags, genre_flags(genres)),
    )
    return check_rows(desk, plain_records(text, "|", (*_BEFORE_FLAGS, *genres)), columns, unique=(ITEM_ID,))


def _genres_of(place: Place, desk: Desk) -> tuple[str, ...]:
    """The names in ``u.genre`` in the order of the flags, or those of the release where the file is missing."""
    path = place.file("u.genre")
    if path is None:
        return _FLAGS
    lines = open_text(path, desk.scratch).path.read_text(encoding="utf-8-sig").split("\n")
    names = tuple(line.rpartition("|")[0] for line in lines if line)
    if not all(names) or len(set(names)) != len(names):
        raise SourceError(
            "u.genre does not name one genre a line; expected lines such as 'Action|1', each once; fetch ml-100k again"
        )
    return names

"""Columns: which column of a table has which role, by its name or by the caller's statement."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tastevec.errors import DataError, SettingsError
from tastevec.schema import EVENT, ITEM_ID, RATING, TIMESTAMP, USER_ID, WEIGHT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_USERS = "user uid customer client member visitor reader reviewer account"
_ITEMS = "item iid movie film book isbn asin product sku article anime game app track song artist business recipe news video"
# Case, spaces and punctuation do not count: 'Movie ID', 'movie_id' and 'movieId' are one.
_NAMES: Final[Mapping[str, frozenset[str]]] = {
    USER_ID: frozenset(name + end for name in _USERS.split() for end in ("", "id")),
    ITEM_ID: frozenset(name + end for name in _ITEMS.split() for end in ("", "id")),
    RATING: frozenset(["rating", "score", "stars", "overall", "bookrating", "myrating", "label"]),
    WEIGHT: frozenset(
        [
            "weight",
            "count",
            "plays",
            "playcount",
            "listens",
            "hours",
            "playtime",
            "watchtime",
            "watchratio",
            "minutes",
            "quantity",
            "qty",
            "frequency",
            "interactionweight",
        ]
    ),
    EVENT: frozenset(["event", "eventtype", "action", "behavior", "interaction"]),
    TIMESTAMP: frozenset(["timestamp", "time", "ts", "date", "datetime"]),
}
_TIME_NAME = re.compile(r"\Adate|(?:at|date|time|timestamp|ts|dt|ms)\Z")
_TYPED_NAME = re.compile(r":(?:token|float|token_seq|float_seq)\Z")  # RecBole: rating:float


def plain_name(name: str) -> str:
    """Return the letters and digits of a column's name, in lower case, without a type behind a colon.

    Examples:
        >>> plain_name("Movie ID"), plain_name("user_id:token")
        ('movieid', 'userid')
    """
    return re.sub(r"[^a-z0-9]", "", _TYPED_NAME.sub("", name.strip()).lower())


def names_role(name: str, role: str) -> bool:
    """Return whether a column of this name has the role by its name alone.

    Examples:
        >>> names_role("movieId", "item_id"), names_role("id", "item_id")
        (True, False)
    """
    return plain_name(name) in _NAMES[role]


def names_time(name: str) -> bool:
    """Return whether a column of this name may have times: then its values decide.

    Examples:
        >>> [names_time(name) for name in ("rated_at", "date_added", "unixReviewTime", "title")]
        [True, True, True, False]
    """
    return bool(_TIME_NAME.search(plain_name(name)))


def match_columns(
    names: Sequence[str],
    stated: Mapping[str, str | int | None],
    *,
    where: str,
) -> dict[str, int]:
    """Return the column of each role that is found, as its index.

    Args:
        names: The names of the columns.
        stated: The column of a role as the caller states it: a name, or a number from 1; None leaves the role out.
        where: The table in messages.

    Raises:
        SettingsError: A stated role or column does not exist.
        DataError: Two columns have one role; ``code`` is ``two-columns``.
    """
    if unknown := [role for role in stated if role not in _NAMES]:
        raise SettingsError(
            f"{where}: there is no role {unknown[0]} (--column). Expected one of {', '.join(_NAMES)}. Correct the role."
        )
    found = {
        role: _stated_index(names, role, column, where)
        for role, column in stated.items()
        if column is not None
    }
    taken = set(found.values())
    for role, known in _NAMES.items():
        if role in stated:
            continue
        indices = [i for i, name in enumerate(names) if plain_name(name) in known and i not in taken]
        exact = [i for i in indices if _TYPED_NAME.sub("", names[i].strip()) == role]
        if len(exact or indices) > 1:
            raise two_columns(where, names, exact or indices, role)
        if indices:
            found[role] = (exact or indices)[0]
    return found


def name_or_number(names: Sequence[str], index: int) -> str:
    """Return what states a column: its name, or its number from 1 where the name has blanks or is not the only one.

    Examples:
        >>> name_or_number(["points", "Rating (1-5)"], 0), name_or_number(["points", "Rating (1-5)"], 1)
        ('points', '2')
    """
    name = names[index]
    is_plain = re.fullmatch(r"[\w.:-]*[^\W\d][\w.:-]*", name) and list(names).count(name) == 1
    return name if is_plain else str(index + 1)


def two_columns(where: str, names: Sequence[str], indices: Sequence[int], role: str) -> DataError:
    """Return the error for several columns of one role."""
    both = [names[index] for index in indices]
    listed = " and ".join([", ".join(both[:-1]), both[-1]])
    what = {USER_ID: "the user", ITEM_ID: "the item", TIMESTAMP: "the time"}.get(role, f"the {role}")
    return DataError(
        f"{where}: {listed} could both be {what}: --column {role}={name_or_number(names, indices[0])}",
        code="two-columns",
    )


def _stated_index(names: Sequence[str], role: str, column: str | int, where: str) -> int:
    """Return the index of a column that the caller names, or numbers from 1."""
    plain = [_TYPED_NAME.sub("", name.strip()) for name in names]
    for candidates in (names, plain):
        if column in candidates:
            return list(candidates).index(str(column))
    number = str(column)
    if number.isascii() and number.isdigit() and 1 <= int(number) <= len(names):
        return int(number) - 1
    shown = ", ".join(names[:20])
    raise SettingsError(
        f"{where}: --column {role}={column}: no such column among {shown}. Expected one of these names."
    )

"""Interactions to users: one conversion for lists, dicts, tables in memory and HTTP requests.

Dimensions: B users, M interactions, K different items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.intake.columns import match_columns
from tastevec.errors import DataError, SettingsError
from tastevec.schema import ITEM_ID, USER_ID
from tastevec.serving.parsed_users import InteractionRows, ModelReading, ParsedUsers, parsed_users, short
from tastevec.serving.tables import parse_table
from tastevec.serving.values import (
    IGNORED,
    InvalidInteractionError,
    implied_note,
    one_id,
    read_moments,
    read_values,
    user_ids,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray


class ArrowTable(Protocol):
    """A table with Arrow's interface: Polars, pandas, Arrow, DuckDB and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the table as a capsule."""


class LazyTable(Protocol):
    """A table that is computed when it is collected: a lazy one of Polars."""

    def collect(self) -> Any:  # noqa: ANN401  a table
        """Return the table."""


OneUser = list[Any] | tuple[Any, ...]  # the interactions of one user
ManyUsers = Mapping[Any, Any] | ArrowTable | LazyTable  # interactions by user ID, or a table

ABSENT: Final = object()  # in place of a value or a time that an interaction does not have


def is_one_user(interactions: object) -> bool:
    """Return whether interactions are those of one user, or are the vector of one user."""
    return isinstance(interactions, list | tuple | np.ndarray)


class Given(NamedTuple):
    """The interactions of one user: item IDs, values and times; `ABSENT` where there is none."""

    items: list[Any]
    values: list[Any]
    times: list[Any]


def parse(
    interactions: Any,  # noqa: ANN401  any value
    model: ModelReading,
    where: str = "interactions",
    how: Mapping[str, Any] | None = None,
) -> ParsedUsers:
    """Return the users of a list (one user), a dict of lists, or a table in memory.

    Args:
        interactions: See `Recommender`.
        model: How the model reads them.
        where: The name of the argument, for messages.
        how: Stated settings of a table; see `TableChoices`.

    Raises:
        SettingsError: A setting is unknown, or stated without a table.
        DataError: They are none of these, or an interaction is invalid.
    """
    if isinstance(interactions, np.ndarray):
        interactions = interactions.tolist()
    listed = isinstance(interactions, list | tuple)
    by_user = isinstance(interactions, Mapping) and not _has_columns(interactions, how or {})
    if how and (listed or by_user):
        raise SettingsError(
            f"{next(iter(how))}: {where} are no table. Expected it with a table. Leave it out."
        )
    if listed:
        return parse_users([split_interactions(interactions, where)], model, lambda _: where)
    if by_user:
        return _parse_mapping(interactions, model, where)
    return parse_table(interactions, model, where, how or {})


def parse_users(
    users: Sequence[Given], model: ModelReading, where: Callable[[int], str], names: _Names | None = None
) -> ParsedUsers:
    """Return users from the interactions of each; a user without any value has positive ones.

    Args:
        users: B users.
        model: How the model reads them.
        where: Returns the location of a user's interactions, by the number of the user.
        names: Of the item, the value and the time in a location, behind a point; None without them.

    Raises:
        InvalidInteractionError: An interaction is invalid.

    Examples:
        >>> from tastevec.data.value_scale import ValueScale
        >>> model = ModelReading({"7": 0, "8": 1}, ValueScale.explicit(1, 5))
        >>> given = Given(["7", 8.0, "new", 8], [5, 1, 4, 2], [2_000_000_000, 1_000_000_000, ABSENT, 1_500_000_000])
        >>> parsed = parse_users([given], model, "users[{}].interactions".format)
        >>> parsed.histories.items, parsed.histories.ratings, parsed.unknown, parsed.n_known
        (array([1, 0], dtype=int32), array([2., 5.], dtype=float32), [['new']], array([3]))
    """
    lengths = np.array([len(user.items) for user in users], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])

    def place(row: int, part: int) -> str:
        user = int(np.searchsorted(offsets, row, "right")) - 1
        found = f"{where(user)}[{row - offsets[user]}]"
        return found if names is None else f"{found}.{names[part]}"

    codes, keys, indices = _item_codes([one for user in users for one in user.items], model.indices, place)
    values, notes = _given_values(users, lengths, model, place)
    times = _list_times([time for user in users for time in user.times], place)
    owners = np.repeat(np.arange(len(users)), lengths)
    rows = InteractionRows(owners, codes, keys, indices, values, times)
    return parsed_users(rows, np.arange(len(users)), model, notes)


_Names = tuple[str, str, str]


def split_interactions(interactions: Iterable[Any], where: str) -> Given:
    """Return the interactions of a list: IDs, (ID, value) or (ID, value, time)."""
    items, values, times = [], [], []
    for row, one in enumerate(interactions):
        parts = one if isinstance(one, tuple | list) else (one,)
        if not 1 <= len(parts) <= 3:  # noqa: PLR2004  item, value, time
            raise InvalidInteractionError(
                f"{where}[{row}]",
                f"{len(parts)} parts. Expected an item ID, (item_id, value) or (item_id, value, time).",
            )
        items.append(parts[0])
        values.append(parts[1] if len(parts) > 1 else ABSENT)
        times.append(parts[2] if len(parts) > 2 and parts[2] is not None else ABSENT)  # noqa: PLR2004  as above
    return Given(items, values, times)


def _has_columns(interactions: Mapping[Any, Any], how: Mapping[str, Any]) -> bool:
    """Return whether a dict has columns of user and item, by name or as stated; else its keys are user IDs."""
    if "columns" in how:
        return True
    names = [name for name in interactions if isinstance(name, str)]
    return {USER_ID, ITEM_ID} <= match_columns(names, {}, where="interactions").keys()


def _parse_mapping(interactions: Mapping[Any, Any], model: ModelReading, where: str) -> ParsedUsers:
    """Return the users of a dict of lists; the same ID in two spellings is one user."""
    users: dict[str, Given] = {}
    for key, own in interactions.items():
        place = f"{where}[{short(key)}]"
        user = one_id(key, place, "user ID")
        if not isinstance(own, list | tuple | np.ndarray):
            raise DataError(f"{place}: {type(own).__name__}. Expected the list of one user's interactions.")
        given = split_interactions(own.tolist() if isinstance(own, np.ndarray) else own, place)
        users[user] = (
            Given(*(a + b for a, b in zip(users[user], given, strict=True))) if user in users else given
        )
    ids = list(users)
    parsed = parse_users(list(users.values()), model, lambda user: f"{where}[{short(ids[user])}]")
    return replace(parsed, histories=replace(parsed.histories, user_ids=user_ids(pa.array(ids, pa.string()))))


def _item_codes(
    items: Sequence[Any], catalog: Mapping[str, int], place: Callable[[int, int], str]
) -> tuple[NDArray[np.int64], list[Any], NDArray[np.int64]]:
    """Return the code of each item, the different items as given, and their indices."""
    seen: dict[Any, int] = {}  # codes by type and value: 1 and True are equal keys
    texts: dict[str, int] = {}
    keys, codes = list[Any](), np.empty(len(items), np.int64)
    for row, item in enumerate(items):
        kind = type(item)
        key = item if kind is str else (kind, item)
        code = seen.get(key) if kind in _HASHABLE else None
        if code is None:
            text = str(item) if kind is int else one_id(item, place(row, 0))
            code = texts.setdefault(text, len(texts))
            if code == len(keys):
                keys.append(item)
            if kind in _HASHABLE:
                seen[key] = code
        codes[row] = code
    return codes, keys, np.array([catalog.get(text, -1) for text in texts], np.int64)


_HASHABLE: Final = frozenset({str, int, float})


def _given_values(
    users: Sequence[Given], lengths: NDArray[np.int64], model: ModelReading, place: Callable[[int, int], str]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the values (M,) of users, and what to say; a user without any value has positive ones."""
    given = [value for user in users for value in user.values]
    present = np.array([value is not ABSENT for value in given], bool)
    scale = model.scale
    if scale.kind == "implicit":
        return np.ones(len(given)), (IGNORED,) if present.any() else ()
    valued = np.array([any(value is not ABSENT for value in user.values) for user in users], bool)
    implied = ~np.repeat(valued, lengths)
    values = np.where(implied, scale.positive_from, np.nan)
    if present.any():
        rows = np.flatnonzero(present)
        values[rows] = read_values([given[row] for row in rows], model, lambda row: place(int(rows[row]), 1))
    return values, (implied_note(scale),) if implied.any() else ()


def _list_times(times: list[Any], place: Callable[[int, int], str]) -> NDArray[np.int64]:
    """Return Unix seconds (M,) from times of any type, by the time rule."""
    rows = [row for row, time in enumerate(times) if time is not ABSENT]
    found = np.full(len(times), NO_TIMESTAMP, np.int64)
    if rows:
        found[rows] = read_moments([times[row] for row in rows], lambda row: place(rows[row], 2))
    return found

"""Interactions to histories: one conversion for lists, dicts, tables in memory and HTTP requests, and one for files.

Dimensions: B users, M interactions, K different items, N items of the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.intake import spelling
from tastevec.data.intake.columns import match_columns, names_time, two_columns
from tastevec.data.intake.feedback import EVENT_WEIGHTS, plain_event
from tastevec.data.intake.memory import MemoryTable, to_columns
from tastevec.data.intake.report import number, percent
from tastevec.data.intake.spelling import TimeError
from tastevec.data.intake.values import BadValueError, read_id, read_ids, read_numbers, read_times, whole
from tastevec.errors import BadRowError, DataError, UnknownItemError
from tastevec.schema import EVENT, ITEM_ID, RATING, TIMESTAMP, USER_ID, WEIGHT
from tastevec.serving.parsed_users import (
    InteractionRows,
    ModelReading,
    ParsedUsers,
    check_known,
    parsed_users,
    short,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.data.readers import RowReport
    from tastevec.data.streaming import HistoryStream
    from tastevec.data.value_scale import ValueScale
    from tastevec.schema import Unknown


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
_VALUES: Final = {"explicit": (RATING,), "weighted": (WEIGHT, RATING), "events": (EVENT,), "implicit": ()}
_TIMES_FROM = (
    100_000_000  # smaller numbers in a column named like a time are none, such as seconds of watching
)
_TABLES: Final = ("__arrow_c_stream__", "collect", "columns", "keys")  # what tables and dicts have
_FINITE: Final = 10**300  # an integer below is a finite number


class InvalidInteractionError(BadRowError):
    """An interaction in memory is invalid.

    Attributes:
        where: Its location, such as ``users[0].interactions[3].value``.
    """

    def __init__(self, where: str, details: str) -> None:
        super().__init__(f"{where}: {details}")
        self.where = where


def is_one_user(interactions: object) -> bool:
    """Return whether interactions are those of one user, or are the vector of one user."""
    return isinstance(interactions, list | tuple | np.ndarray)


class Given(NamedTuple):
    """The interactions of one user: item IDs, values and times; `ABSENT` where there is none."""

    items: list[Any]
    values: list[Any]
    times: list[Any]


# ---- doors: lists, dicts, tables ----


def parse(interactions: Any, model: ModelReading, where: str = "interactions") -> ParsedUsers:  # noqa: ANN401  any value
    """Return the users of a list (one user), a dict of lists, or a table in memory.

    Args:
        interactions: See `Recommender`.
        model: How the model reads them.
        where: The name of the argument, for messages.

    Raises:
        DataError: They are none of these, or an interaction is invalid.
    """
    if isinstance(interactions, np.ndarray):
        interactions = interactions.tolist()
    if isinstance(interactions, list | tuple):
        return parse_users([_given(interactions, where)], model, lambda _: where)
    if isinstance(interactions, Mapping) and not _has_columns(interactions):
        return _parse_mapping(interactions, model, where)
    return _parse_table(interactions, model, where)


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


def _given(interactions: Iterable[Any], where: str) -> Given:
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


def _has_columns(interactions: Mapping[Any, Any]) -> bool:
    """Return whether a dict has columns named as user and item; else its keys are user IDs."""
    names = [name for name in interactions if isinstance(name, str)]
    return {USER_ID, ITEM_ID} <= match_columns(names, {}, where="interactions").keys()


def _parse_mapping(interactions: Mapping[Any, Any], model: ModelReading, where: str) -> ParsedUsers:
    """Return the users of a dict of lists; the same ID in two spellings is one user."""
    users: dict[str, Given] = {}
    for key, own in interactions.items():
        place = f"{where}[{short(key)}]"
        user = _one_id(key, place, "user ID")
        if not isinstance(own, list | tuple | np.ndarray):
            raise DataError(f"{place}: {type(own).__name__}. Expected the list of one user's interactions.")
        given = _given(own.tolist() if isinstance(own, np.ndarray) else own, place)
        users[user] = (
            Given(*(a + b for a, b in zip(users[user], given, strict=True))) if user in users else given
        )
    ids = list(users)
    parsed = parse_users(list(users.values()), model, lambda user: f"{where}[{short(ids[user])}]")
    return replace(
        parsed, histories=replace(parsed.histories, user_ids=_user_ids(pa.array(ids, pa.string())))
    )


def _parse_table(interactions: Any, model: ModelReading, where: str) -> ParsedUsers:  # noqa: ANN401  any value
    """Return the users of a table, in the order in which they first appear."""
    if not any(hasattr(interactions, name) for name in _TABLES):
        raise DataError(
            f"{where}: {type(interactions).__name__}. Expected a list of one user, [(item_id, value), ...]; a dict of lists by user "
            "ID; or a table (pandas, Polars, Arrow, DuckDB, a dict of columns)."
        )
    columns = to_columns(MemoryTable(interactions, where))

    def column(index: int) -> pa.Array:
        if index in columns.unreadable:
            raise DataError(
                f"{where}, column {columns.names[index]}: {columns.unreadable[index]}. Expected values of one kind."
            )
        found = columns.table.column(index)
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found

    try:
        roles = match_columns(columns.names, {}, where=where)
        if TIMESTAMP not in roles:
            roles |= _time_role(columns.names, set(roles.values()), column, where)
    except DataError as error:
        found = str(error).partition(": --")[0]
        raise DataError(
            f"{found}. Expected one. Rename the others, or leave them out.", code=error.code
        ) from None
    if missing := [role for role in (USER_ID, ITEM_ID) if role not in roles]:
        raise DataError(
            f"{where}: no {' or '.join(missing)} among the columns {', '.join(columns.names[:20])}. Expected these names or a "
            "listed alias. Rename the columns."
        )

    def place(row: int, part: int) -> str:
        names = (roles[ITEM_ID], value_column, roles.get(TIMESTAMP), roles[USER_ID])
        return f"{where}, row {row + 1}, column {columns.names[names[part] or 0]}"

    value_column = next((roles[role] for role in _VALUES[model.scale.kind] if role in roles), None)
    users = _ids(column(roles[USER_ID]), lambda row: place(row, 3)).dictionary_encode()
    items = _ids(column(roles[ITEM_ID]), lambda row: place(row, 0)).dictionary_encode()
    values, notes = _table_values(
        None if value_column is None else column(value_column), len(items), model, place
    )
    if model.scale.kind == "implicit" and {RATING, WEIGHT, EVENT} & roles.keys():
        notes = (_IGNORED,)
    times = np.full(len(items), NO_TIMESTAMP, np.int64)
    if TIMESTAMP in roles:
        times = _times(column(roles[TIMESTAMP]), lambda row: place(row, 2))
    keys = items.dictionary.to_pylist()
    indices = np.array([model.indices.get(key, -1) for key in keys], np.int64)
    owners, codes = (one.indices.to_numpy().astype(np.int64) for one in (users, items))
    rows = InteractionRows(owners, codes, keys, indices, values, times)
    return parsed_users(rows, _user_ids(users.dictionary), model, notes)


def _time_role(
    names: Sequence[str], used: set[int], column: Callable[[int], pa.Array], where: str
) -> dict[str, int]:
    """Return the role of the column that has times by its name and its values; empty without one."""
    found = []
    for index, name in enumerate(names):
        if index in used or not names_time(name):
            continue
        try:
            sample = column(index).slice(0, 1000)
            times, errors = read_times(sample, accept={spelling.READ_AS_1970})
        except (DataError, TimeError):
            continue
        numeric = pa.types.is_integer(sample.type) or pa.types.is_floating(sample.type)
        good = times[errors.is_null().to_numpy(zero_copy_only=False)]
        filled = len(sample) - sum(error == spelling.EMPTY for error in errors.to_pylist())
        if filled and len(good) >= 0.9 * filled and not (numeric and good.min() < _TIMES_FROM):
            found.append(index)
    if len(found) > 1:
        raise two_columns(where, [names[index] for index in found], TIMESTAMP)
    return {TIMESTAMP: found[0]} if found else {}


# ---- IDs ----


def _one_id(value: object, place: str, what: str = "item ID") -> str:
    """Return an ID as text.

    Raises:
        InvalidInteractionError: It is none.
    """
    try:
        found = read_id(value)
    except BadValueError as error:
        raise InvalidInteractionError(place, _no_id(value, error.code, what)) from None
    if found is None:
        raise InvalidInteractionError(place, _no_id(value, spelling.NO_ID, what))
    return found


def _no_id(value: object, code: str, what: str) -> str:
    if code == spelling.LOST_DIGITS:
        return f"{short(value)} has lost digits. Expected the complete {what}. Pass it as a text."
    details = {spelling.CONTROL: " (a control character)", spelling.TOO_LONG: " (over 1,000 letters)"}.get(
        code, ""
    )
    return f"{short(value)} is no id{details}. Expected {what}s as whole numbers or texts. Correct it."


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
            text = str(item) if kind is int else _one_id(item, place(row, 0))
            code = texts.setdefault(text, len(texts))
            if code == len(keys):
                keys.append(item)
            if kind in _HASHABLE:
                seen[key] = code
        codes[row] = code
    return codes, keys, np.array([catalog.get(text, -1) for text in texts], np.int64)


_HASHABLE: Final = frozenset({str, int, float})


def _ids(values: pa.Array, place: Callable[[int], str]) -> pa.StringArray:
    """Return IDs as texts.

    Raises:
        InvalidInteractionError: One is none.
    """
    found, errors = read_ids(values)
    if errors.null_count < len(errors):
        row = int(np.flatnonzero(errors.is_valid().to_numpy(zero_copy_only=False))[0])
        raise InvalidInteractionError(place(row), _no_id(values[row].as_py(), errors[row].as_py(), "id"))
    return found


def _user_ids(ids: pa.StringArray) -> NDArray[Any]:
    """Return user IDs (B,) as int64 if all are whole numbers, else as str objects."""
    numbers = whole(ids)
    if numbers.null_count:
        return np.array(ids.to_pylist(), object)
    found: NDArray[np.int64] = numbers.to_numpy(zero_copy_only=False).astype(np.int64)
    return found


# ---- values ----

_IGNORED: Final = "values are ignored: the model was trained on implicit feedback"


def _given_values(
    users: Sequence[Given], lengths: NDArray[np.int64], model: ModelReading, place: Callable[[int, int], str]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the values (M,) of users, and what to say; a user without any value has positive ones."""
    given = [value for user in users for value in user.values]
    present = np.array([value is not ABSENT for value in given], bool)
    scale = model.scale
    if scale.kind == "implicit":
        return np.ones(len(given)), (_IGNORED,) if present.any() else ()
    valued = np.array([any(value is not ABSENT for value in user.values) for user in users], bool)
    implied = ~np.repeat(valued, lengths)
    values = np.where(implied, scale.positive_from, np.nan)
    if present.any():
        rows = np.flatnonzero(present)
        values[rows] = _values([given[row] for row in rows], model, lambda row: place(int(rows[row]), 1))
    return values, (_implied(scale),) if implied.any() else ()


def _implied(scale: ValueScale) -> str:
    what = {"explicit": "rating", "weighted": "weight", "events": "event"}[scale.kind]
    return f"no {what} is given: each interaction counts as {number(scale.positive_from)}, positive"


def _table_values(
    column: pa.Array | None, rows: int, model: ModelReading, place: Callable[[int, int], str]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the values (M,) of a column, and what to say."""
    if model.scale.kind == "implicit":
        return np.ones(rows), ()
    if column is None:
        return np.full(rows, model.scale.positive_from), (_implied(model.scale),) if rows else ()
    return _values(column, model, lambda row: place(row, 1)), ()


def _values(given: Any, model: ModelReading, place: Callable[[int], str]) -> NDArray[np.float64]:  # noqa: ANN401  a list or an array
    """Return values as numbers, NaN where one is empty or means "not rated", infinity of a dropped event.

    Raises:
        InvalidInteractionError: A value is no number, or off the scale.
    """
    scale, simple = model.scale, isinstance(given, list) and {*map(type, given)} <= {int, float}
    if scale.kind == "events" and not simple:
        return _event_values(given, model.events, place)
    if simple and all(abs(one) < _FINITE for one in given if isinstance(one, int)):
        values = np.array(given, np.float64)
        errors = np.isinf(values)
    else:
        values, reasons = read_numbers(given)
        errors = np.array([reason not in (None, spelling.EMPTY) for reason in reasons.to_pylist()], bool)
    if errors.any():
        row = int(np.argmax(errors))
        shown = short(given[row])
        raise InvalidInteractionError(place(row), f"{shown}. Expected a number{_range(scale)}. Correct it.")
    for text in model.unrated:
        unrated, _ = read_numbers([text])
        values = np.where(values == unrated[0], np.nan, values)
    _check_scale(values, scale, place)
    return values


def _range(scale: ValueScale) -> str:
    return f" from {scale.low:g} to {scale.high:g}" if scale.kind == "explicit" else ""


def _check_scale(values: NDArray[np.float64], scale: ValueScale, place: Callable[[int], str]) -> None:
    """Refuse ratings off the scale of an explicit model, once for all."""
    if scale.kind != "explicit":
        return
    above, below = values > scale.high, values < scale.low
    if not (above.any() or below.any()):
        return
    side, wrong, pick = (
        ("above", above, np.nanmax) if above.sum() >= below.sum() else ("below", below, np.nanmin)
    )
    extreme = f"{'highest' if side == 'above' else 'lowest'}: {number(float(pick(values)))}"
    share = percent(float(wrong.sum()) / max(int(np.isfinite(values).sum()), 1))
    raise InvalidInteractionError(
        place(int(np.argmax(wrong))),
        f"{share} of ratings are {side} the model's scale {scale.low:g}:{scale.high:g} ({extreme}). Expected ratings on this "
        "scale. Convert them.",
    )


def _event_values(
    given: Any,  # noqa: ANN401  a list or an array
    events: Mapping[str, float | None],
    place: Callable[[int], str],
) -> NDArray[np.float64]:
    """Return the weight of each event, infinity where it is dropped; a number is a weight already.

    Raises:
        InvalidInteractionError: An event has no weight.
    """
    known = {**EVENT_WEIGHTS, **{plain_event(name): weight for name, weight in events.items()}}
    coded = (
        pa.array([None if one is None else str(one) for one in given]) if isinstance(given, list) else given
    )
    coded = coded.cast(pa.string()).dictionary_encode()
    names = [plain_event(name) for name in coded.dictionary.to_pylist()]
    numbers, _ = read_numbers(coded.dictionary)
    weights = [known.get(name, value) for name, value in zip(names, numbers.tolist(), strict=True)]
    found = np.array([*(np.inf if one is None else one for one in weights), np.nan], np.float64)
    codes = coded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
    blank = np.array([*(not name for name in names), True])
    if (bad := np.isnan(found[codes]) & ~blank[codes]).any():
        row = int(np.argmax(bad))
        shown, listed = short(coded.dictionary[int(codes[row])]), ", ".join(events or EVENT_WEIGHTS)
        raise InvalidInteractionError(
            place(row), f"event {shown} has no weight. Expected one of {listed}. Correct it, or leave it out."
        )
    weights_of_rows: NDArray[np.float64] = found[codes]
    return weights_of_rows


# ---- times ----


def _list_times(times: list[Any], place: Callable[[int, int], str]) -> NDArray[np.int64]:
    """Return Unix seconds (M,) from times of any type, by the time rule."""
    rows = [row for row, time in enumerate(times) if time is not ABSENT]
    found = np.full(len(times), NO_TIMESTAMP, np.int64)
    if rows:
        found[rows] = _times([times[row] for row in rows], lambda row: place(rows[row], 2))
    return found


def _times(given: Any, place: Callable[[int], str]) -> NDArray[np.int64]:  # noqa: ANN401  a list or an array
    """Return Unix seconds; an empty time is unknown.

    Raises:
        InvalidInteractionError: A time is none, or the times can be read in two ways.
    """
    try:
        times, reasons = read_times(given)
    except TimeError as error:
        first = error.facts.get("first")
        details = f"{str(error).partition(': --')[0]}. Expected Unix seconds or ISO 8601. Convert the times."
        raise InvalidInteractionError(place(first if isinstance(first, int) else 0), details) from None
    if reasons.null_count < len(reasons):
        bad = np.array([reason not in (None, spelling.EMPTY) for reason in reasons.to_pylist()], bool)
        if bad.any():
            row = int(np.argmax(bad))
            shown = short(given[row])
            raise InvalidInteractionError(
                place(row), f"{shown}. Expected Unix seconds or ISO 8601. Correct it."
            )
    return times


# ---- files ----


@dataclass(frozen=True, eq=False)
class UserFile:
    """The users of a file.

    Attributes:
        stream: Their histories in batches, by ascending user ID.
        row_report: The rows read and skipped.
        id_type: The type of the user IDs.
        path: The file, or "-".
        unknown: What to do with interactions with unknown items.
    """

    stream: HistoryStream
    row_report: RowReport
    id_type: pa.DataType
    path: Path | Literal["-"]
    unknown: Unknown = "warn"

    def check_unknown(self) -> None:
        """Refuse unknown items at the end of the stream, as `report_unknown` does.

        Raises:
            UnknownItemError: There are some, and ``unknown`` is "raise".
            DataError: Hardly an item is known, and ``unknown`` is not "ignore".
        """
        total, missing = self.stream.interactions, self.stream.unknown
        where = "standard input" if self.path == "-" else str(self.path)
        if missing and self.unknown == "raise":
            raise UnknownItemError(
                f"{where}: {missing:,} of {total:,} interactions are with unknown items. Expected items of the model. Add them with "
                "tastevec add-items, or ignore them with --unknown ignore."
            )
        if self.unknown != "ignore":
            check_known(total - missing, total, where, "Check its item ids, or go on with --unknown ignore.")


def open_file(
    path: Path | Literal["-"],
    item_ids: NDArray[Any],
    scale: ValueScale,
    *,
    skip_bad_rows: bool = False,
    memory: str = "2GB",
) -> UserFile:
    """Open the users of a CSV or Parquet file, or of CSV on standard input (``-``).

    Args:
        path: A table with user, item, rating and optional timestamp.
        item_ids: (N,) the catalog.
        scale: The value scale of the model.
        skip_bad_rows: Skip and count invalid rows instead of refusing the file.
        memory: DuckDB memory limit while the file is sorted; larger data spills to disk.

    Raises:
        SourceError: The file is not a table of interactions.
        BadRowError: A row is invalid and ``skip_bad_rows`` is off.
        SettingsError: ``memory`` is invalid or too small, or the disk is full.
    """
    # Imported here: serving reads no files, and runs without DuckDB.
    from tastevec.data.expressions import connect  # noqa: PLC0415  as above
    from tastevec.data.readers import ReadSettings, read_interactions  # noqa: PLC0415  as above
    from tastevec.data.streaming import iter_histories  # noqa: PLC0415  as above

    settings = ReadSettings(skip_bad_rows=skip_bad_rows, rating_range=(scale.low, scale.high))
    table, row_report = read_interactions(path, connection=connect(memory), settings=settings)
    id_type = table.schema().to_pyarrow().field(USER_ID).type
    return UserFile(iter_histories(table, item_ids, scale), row_report, id_type, path)

"""Users of a table in memory: columns by their roles, rows dropped as stated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.intake import spelling
from tastevec.data.intake.callers import for_caller
from tastevec.data.intake.columns import match_columns, names_time, two_columns
from tastevec.data.intake.memory import MemoryTable, to_columns
from tastevec.data.intake.report import percent
from tastevec.data.intake.spelling import TimeError
from tastevec.data.intake.stated import check_names, intake_settings
from tastevec.data.intake.values import read_ids, read_times
from tastevec.errors import DataError
from tastevec.schema import EVENT, ITEM_ID, RATING, TIMESTAMP, USER_ID, WEIGHT
from tastevec.serving.parsed_users import InteractionRows, ModelReading, ParsedUsers, parsed_users
from tastevec.serving.values import (
    DROPPED,
    IGNORED,
    InvalidInteractionError,
    implied_note,
    no_id,
    read_moments,
    read_values,
    user_ids,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from tastevec.data.intake.memory import ArrowColumns
    from tastevec.data.intake.settings import IntakeSettings

_TABLES: Final = ("__arrow_c_stream__", "collect", "columns", "keys")  # what tables and dicts have
_VALUES: Final = {"explicit": (RATING,), "weighted": (WEIGHT, RATING), "events": (EVENT,), "implicit": ()}
_TIMES_FROM = (
    100_000_000  # smaller numbers in a column named like a time are none, such as seconds of watching
)
_MOST_TIMES = 0.9  # a column named like a time has times if so many of its filled values are


class TableChoices(TypedDict, total=False):
    """How a table in memory is read, as `prepare` takes the same settings.

    Attributes:
        columns: The column of a role (user_id, item_id, rating, weight, event, timestamp): a name, a number from 1, or None.
        missing: Texts that are no ID.
        time_format: A pattern of strptime, or "excel".
        bad_rows: "drop" drops rows without an ID or with a value that is no number, up to 5 %; "drop:20%" states another limit.
        bad_times: A text that is no time is refused, or is no time ("none").
        missing_times: Rows without a time among rows with one keep their place, or are dropped.
        unrated: Values that mean "touched, not rated".
        out_of_range: Ratings off the scale of the model are refused, or dropped.
    """

    columns: Mapping[str, str | int | None]
    missing: str | Sequence[str]
    time_format: str
    bad_rows: str
    bad_times: Literal["refuse", "none"]
    missing_times: Literal["order", "drop"]
    unrated: float | str | Sequence[float | str]
    out_of_range: Literal["refuse", "drop"]


@dataclass(frozen=True, eq=False)
class _Table:
    """A table: its columns, and which of them has which role."""

    columns: ArrowColumns
    roles: Mapping[str, int]
    where: str

    def __len__(self) -> int:
        return int(self.columns.table.num_rows)

    def column(self, role: str) -> pa.Array:
        """Return the values of a role."""
        return _column(self.columns, self.roles[role], self.where)

    def place(self, role: str) -> Callable[[int], str]:
        """Return the location of a row in a column, as a function of its index."""
        name = self.columns.names[self.roles[role]]
        return lambda row: f"{self.where}, row {row + 1}, column {name}"


def parse_table(interactions: Any, model: ModelReading, where: str, how: Mapping[str, Any]) -> ParsedUsers:  # noqa: ANN401  any value
    """Return the users of a table, in the order in which they first appear.

    Args:
        interactions: A table of pandas, Polars, Arrow or DuckDB, or a dict of columns.
        model: How the model reads it.
        where: The name of the argument, for messages.
        how: Stated settings; see `TableChoices`.

    Raises:
        SettingsError: A setting is unknown, or has another value than it may have.
        DataError: It is no table, or a row is invalid.
    """
    if not any(hasattr(interactions, name) for name in _TABLES):
        raise DataError(
            f"{where}: {type(interactions).__name__}. Expected a list of one user, [(item_id, value), ...]; a dict of lists by user "
            "ID; or a table (pandas, Polars, Arrow, DuckDB, a dict of columns)."
        )
    check_names(how, TableChoices.__annotations__)
    settings = intake_settings(how)
    table = _open(interactions, where, settings)
    ids, missing = zip(*(_ids(table, role, settings) for role in (USER_ID, ITEM_ID)), strict=True)
    without_id = missing[0] | missing[1]
    values, notes = _values(table, replace(model, unrated=(*model.unrated, *settings.unrated)), settings)
    times = np.full(len(table), NO_TIMESTAMP, np.int64)
    if TIMESTAMP in table.roles:
        place = table.place(TIMESTAMP)
        times = read_moments(
            table.column(TIMESTAMP), place, settings.time_format, bad_times=settings.bad_times
        )
        if settings.missing_times == "drop" and (times != NO_TIMESTAMP).any():
            values = np.where(times == NO_TIMESTAMP, DROPPED, values)
    if without_id.any():
        _check_share(without_id, len(table), settings, where)
        keep = ~without_id
        ids, values, times = tuple(one.filter(pa.array(keep)) for one in ids), values[keep], times[keep]
        notes = (*notes, f"{int(without_id.sum()):,} rows without an id are dropped")
    users, items = (one.dictionary_encode() for one in ids)
    keys = items.dictionary.to_pylist()
    indices = np.array([model.indices.get(key, -1) for key in keys], np.int64)
    owners, codes = (one.indices.to_numpy().astype(np.int64) for one in (users, items))
    rows = InteractionRows(owners, codes, keys, indices, values, times)
    return parsed_users(rows, user_ids(users.dictionary), model, notes)


def _open(interactions: Any, where: str, settings: IntakeSettings) -> _Table:  # noqa: ANN401  any table
    """Return a table with the roles of its columns."""
    columns = to_columns(MemoryTable(interactions, where), for_database=False)
    with for_caller():
        roles = match_columns(columns.names, settings.columns, where=where)
        if TIMESTAMP not in roles and TIMESTAMP not in settings.columns:
            roles |= _time_role(columns, set(roles.values()), where, settings.time_format)
    if missing := [role for role in (USER_ID, ITEM_ID) if role not in roles]:
        raise DataError(
            f"{where}: no {' or '.join(missing)} among the columns {', '.join(columns.names[:20])}. Expected these names or a "
            f'listed alias. State columns={{"{missing[0]}": NAME}}.'
        )
    return _Table(columns, roles, where)


def _column(columns: ArrowColumns, index: int, where: str) -> pa.Array:
    if index in columns.unreadable:
        raise DataError(
            f"{where}, column {columns.names[index]}: {columns.unreadable[index]}. Expected values of one kind."
        )
    found = columns.table.column(index)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _time_role(columns: ArrowColumns, used: set[int], where: str, time_format: str | None) -> dict[str, int]:
    """Return the role of the column that has times by its name and its values; empty without one."""
    found = []
    for index, name in enumerate(columns.names):
        if index in used or index in columns.unreadable or not names_time(name):
            continue
        sample = _column(columns, index, where).slice(0, 1000)
        try:
            times, errors = read_times(sample, time_format, accept={spelling.READ_AS_1970})
        except TimeError:
            continue
        numeric = pa.types.is_integer(sample.type) or pa.types.is_floating(sample.type)
        good = times[errors.is_null().to_numpy(zero_copy_only=False)]
        filled = len(sample) - int(pc.sum(pc.equal(errors, spelling.EMPTY)).as_py() or 0)
        small = numeric and time_format is None and len(good) > 0 and good.min() < _TIMES_FROM
        if filled and len(good) >= _MOST_TIMES * filled and not small:
            found.append(index)
    if len(found) > 1:
        raise two_columns(where, columns.names, found, TIMESTAMP)
    return {TIMESTAMP: found[0]} if found else {}


def _ids(table: _Table, role: str, settings: IntakeSettings) -> tuple[pa.StringArray, NDArray[np.bool_]]:
    """Return the IDs of a role as texts, and which rows have none, where these may be dropped.

    Raises:
        InvalidInteractionError: One is none.
    """
    values = table.column(role)
    found, errors = read_ids(values, settings.missing)
    bad = errors.is_valid().to_numpy(zero_copy_only=False)
    if settings.bad_rows is None:
        missing = np.zeros(len(bad), bool)
    else:
        missing = pc.equal(errors, spelling.NO_ID).fill_null(False).to_numpy(zero_copy_only=False)  # noqa: FBT003  Arrow's
    if (bad & ~missing).any():
        row = int(np.argmax(bad & ~missing))
        raise InvalidInteractionError(
            table.place(role)(row), no_id(values[row].as_py(), errors[row].as_py(), "id")
        )
    return found, missing


def _values(
    table: _Table, model: ModelReading, settings: IntakeSettings
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the values (M,), and what to say."""
    kind, rows = model.scale.kind, len(table)
    if kind == "implicit":
        return np.ones(rows), (IGNORED,) if {RATING, WEIGHT, EVENT} & table.roles.keys() else ()
    role = next((role for role in _VALUES[kind] if role in table.roles), None)
    if role is None:
        return np.full(rows, model.scale.positive_from), (implied_note(model.scale),) if rows else ()
    lenient = settings.bad_rows is not None
    values = read_values(
        table.column(role),
        model,
        table.place(role),
        drop_bad=lenient,
        drop_outside=settings.out_of_range == "drop",
    )
    if lenient and kind != "events":
        _check_share(np.isinf(values), rows, settings, table.where)
    dropped = int(np.isinf(values).sum()) if kind != "events" else 0
    return values, (f"{dropped:,} rows with another value than the model has are dropped",) if dropped else ()


def _check_share(bad: NDArray[np.bool_], rows: int, settings: IntakeSettings, where: str) -> None:
    """Refuse more bad rows than may be dropped."""
    limit, share = settings.bad_rows or 0.0, float(bad.mean()) if rows else 0.0
    if share > limit:
        raise DataError(
            f'{where}: {percent(share)} of rows are bad, more than {100 * limit:g} %. Expected fewer. State bad_rows="drop:N%".'
        )

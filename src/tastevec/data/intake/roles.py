"""Roles: the columns of a table of interactions by their names and values, and the kind of feedback that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tastevec.data.intake import rules, spelling
from tastevec.data.intake.columns import match_columns, name_or_number, names_time, two_columns
from tastevec.data.intake.context import Columns
from tastevec.data.intake.feedback import EVENT_WEIGHTS, VALUE_ROLES, choose_kind, plain_event
from tastevec.data.intake.report import number
from tastevec.errors import DataError, SourceError
from tastevec.schema import ITEM_ID, TIMESTAMP, USER_ID

if TYPE_CHECKING:
    import ibis

    from tastevec.data.intake.context import Context
    from tastevec.data.value_scale import ValueScale

_SAMPLE = 1_000  # first rows, which decide whether a column has times
_TIMES_SHARE = 0.9  # of them that are times
_TIME_FROM = 1e8  # seconds: 1973; a smaller number is a duration
_RECENT: Final = (631_152_000, 4_102_444_800)  # seconds: 1990 to 2100
_UNUSED_SAMPLE = 100_000  # first rows, in which an unused column is looked at
_UNUSED_VALUES: Final = (2, 101)  # different values of an unused column that may be a rating
_UNUSED_RANGE: Final = (-10.0, 100.0)
_MANY_EVENTS = 60  # different texts of a column that are no events


def find_columns(context: Context) -> Columns:
    """Return the columns of each role, and the kind of feedback.

    Raises:
        SourceError: The user or the item is missing.
        DataError: Two columns have one role, or an unused one looks like ratings or events.
        SettingsError: A stated column does not exist, or the stated kind has no column.
    """
    names, settings = context.opened.names, context.settings
    roles = match_columns(names, settings.columns, where=context.where)
    if missing := [role for role in (USER_ID, ITEM_ID) if role not in roles]:
        raise _no_column(context, roles, missing)
    if TIMESTAMP not in roles and TIMESTAMP not in settings.columns:
        roles |= _find_time(context, set(roles.values()))
    for role, index in roles.items():
        if why := context.opened.unreadable.get(index):
            raise DataError(
                f"{context.where}, column {names[index]}: {why}. Expected values of one kind as the {role}. Convert the column"
            )
    kind, value_role, ignored = choose_kind(roles, settings, context.where)
    columns = Columns(
        names, roles, kind, value_role, {names[roles[role]]: why for role, why in ignored.items()}
    )
    if context.model is not None:
        return _columns_of_model(context, columns, context.model)
    if value_role is None and settings.feedback is None:
        _refuse_unused(context, columns)
    if TIMESTAMP not in settings.columns:
        _warn_unused_times(context, columns)
    return columns


def _columns_of_model(context: Context, columns: Columns, model: ValueScale) -> Columns:
    """Return the columns that a model reads: its own kind of value."""
    roles = columns.roles
    wanted = VALUE_ROLES[model.kind]
    value_role = next((role for role in wanted if role in roles), None)
    if wanted and value_role is None:
        context.findings.warn(
            "no-values",
            f"{context.where}: no column is the {wanted[0]}: each interaction counts as {number(model.positive_from)}, positive",
        )
    return Columns(columns.names, roles, model.kind, value_role, columns.ignored)


def _no_column(context: Context, roles: dict[str, int], missing: list[str]) -> SourceError:
    names = context.opened.names
    known = ", ".join(f"{role}: {names[index]}" for role, index in roles.items())
    advice = " ".join(f"--column {role}=NAME" for role in missing)
    return SourceError(
        f"{context.where}: no {' or '.join(missing)} among {', '.join(names[:20])}{f' ({known})' if known else ''}. "
        f"Expected these names or a listed alias. State them: {advice}"
    )


def _find_time(context: Context, used: set[int]) -> dict[str, int]:
    """Return the time column by its name and its values, if there is one."""
    names = context.opened.names
    found = [
        index
        for index, name in enumerate(names)
        if index not in used and names_time(name) and _has_times(context, index)
    ]
    if len(found) > 1:
        raise two_columns(context.where, names, found, TIMESTAMP)
    return {TIMESTAMP: found[0]} if found else {}


def is_time_type(context: Context, index: int) -> bool:
    """Return whether the table itself says that a column has times."""
    kind = context.raw[f"c{index}"].type()
    return bool(kind.is_timestamp() or kind.is_date())


def _warn_unused_times(context: Context, columns: Columns) -> None:
    """Warn of columns that are not used and hold times."""
    used = set(columns.roles.values())
    for index, name in enumerate(columns.names):
        if index not in used and _has_times(context, index, certain=not names_time(name)):
            context.findings.warn(
                "unused-time",
                f"{context.where}: column {name} holds times and is not used: --column timestamp={name_or_number(columns.names, index)}",
            )


def _is_plain(context: Context, index: int) -> bool:
    """Return whether a column has texts or numbers."""
    kind = context.raw[f"c{index}"].type()
    return bool(kind.is_string() or (kind.is_numeric() and not kind.is_boolean()))


def _has_times(context: Context, index: int, *, certain: bool = False) -> bool:
    """Return whether nearly all of the first values are times; ``certain`` takes numbers of recent decades alone."""
    if is_time_type(context, index):
        return True
    if not _is_plain(context, index):
        return False
    sample = context.engine.first(context.raw, _SAMPLE)
    found = context.row(rules.count_times(sample, sample[f"c{index}"]))
    filled = sum(found[shape] or 0 for shape in spelling.SHAPES if shape != "empty")
    lowest = found.get("lowest")
    durations = bool(found["seconds"]) and lowest is not None and lowest < _TIME_FROM
    if certain and lowest is not None:
        sizes = spelling.DIVISORS.values()
        durations = not any(
            _RECENT[0] <= lowest / n <= (found["highest"] or 0) / n <= _RECENT[1] for n in sizes
        )
    return filled > 0 and filled - (found["other"] or 0) >= _TIMES_SHARE * filled and not durations


def _refuse_unused(context: Context, columns: Columns) -> None:
    """Stop where an unused column looks like ratings or events: the table would train as implicit."""
    used, sample = set(columns.roles.values()), context.engine.first(context.raw, _UNUSED_SAMPLE)
    for index, name in enumerate(columns.names):
        if index in used or name in columns.ignored:
            continue
        column = sample[f"c{index}"]
        if column.type().is_boolean():
            said = _unused(context, index, "true and false", "export it as 1 and 0 for --column rating")
            context.findings.stop("unused-number", said)
        if not _is_plain(context, index):
            continue
        value = rules.read_number(column, decimal_comma=context.opened.decimal_comma).value
        counts = {"good": value.count(), "distinct": value.nunique(), "low": value.min(), "high": value.max()}
        row = context.row(sample.agg(filled=column.count(), **counts))
        if not row["good"]:
            _refuse_events(context, sample, index)
        elif (
            row["good"] == row["filled"]
            and _UNUSED_VALUES[0] <= row["distinct"] <= _UNUSED_VALUES[1]
            and _UNUSED_RANGE[0] <= row["low"]
            and row["high"] <= _UNUSED_RANGE[1]
        ):
            numbers = f"{row['distinct']} numbers from {number(row['low'])} to {number(row['high'])}"
            context.findings.stop("unused-number", _unused(context, index, numbers, "--column rating"))


def _refuse_events(context: Context, sample: ibis.Table, index: int) -> None:
    texts = sample.select(event=sample[f"c{index}"].cast("string"))
    counted = texts.group_by("event").agg(rows=texts.count()).limit(_MANY_EVENTS)
    found = [event for event in context.engine.fetch(counted)["event"].to_pylist() if event]
    known = sorted(event for event in found if plain_event(event) in EVENT_WEIGHTS)
    if known and len(found) < _MANY_EVENTS:
        events = f"events ({', '.join(known[:3])})"
        context.findings.stop("unused-events", _unused(context, index, events, "--column event"))


def _unused(context: Context, index: int, holds: str, advice: str) -> str:
    names = context.opened.names
    column = name_or_number(names, index)
    return f"{context.where}: column {names[index]} holds {holds} and is not used: {advice}={column}, or --feedback implicit"

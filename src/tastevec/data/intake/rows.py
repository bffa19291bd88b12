"""Rows: the columns of a table read by the rules, each row with its first error, stored once."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis

from tastevec.data.intake import rules, spelling
from tastevec.data.intake.feedback import event_weights
from tastevec.data.intake.roles import is_time_type
from tastevec.data.intake.validation import DROPPED_EVENT, RowReport, check_rows
from tastevec.errors import DataError, SourceError
from tastevec.schema import EVENT, ITEM_ID, POSITION, RATING, TIMESTAMP, USER_ID

if TYPE_CHECKING:
    from tastevec.data.intake.context import Columns, Context

_SAMPLE = (
    10_000  # first rows, which choose how numeric times are read; all rows are checked against the choice
)
_MANY_EVENTS = 1_000  # different values of a column that is no event


@dataclass(frozen=True, eq=False)
class Rows:
    """The valid rows.

    Attributes:
        table: Their columns are those of `Source.interactions`.
        events: The weight of each event; None of other kinds.
        event_rows: The rows of each event.
        time_unit: The unit or the format of the times; "" without times.
        report: Where every row went.
    """

    table: ibis.Table
    events: dict[str, float | None] | None
    event_rows: dict[str, int] | None
    time_unit: str
    report: RowReport


def read_rows(context: Context, columns: Columns) -> Rows:
    """Return the valid rows; every row is read once.

    Raises:
        BadRowError: A row is invalid and may not be dropped.
        DataError: A column is damaged, or too many rows are invalid.
        SourceError: There is no valid row.
    """
    if not context.opened.rows:
        raise SourceError(
            f"{context.where}: no rows. Expected interactions. Fetch or export the table again."
        )
    event_rows = _count_events(context, columns) if columns.value_role == EVENT else None
    events = None if event_rows is None else event_weights(event_rows, context)
    times = _time_format(context, columns) if TIMESTAMP in columns.roles else None
    stored = _store(context, columns, events, times)
    wrong_times = (stored.error == f"{TIMESTAMP}:{spelling.NOT_A_TIME}").sum().fill_null(0)
    if times is not None and context.row(stored.agg(rows=wrong_times))["rows"]:
        certain = _time_format(context, columns, sample=False)  # all rows, and not the first ones alone
        if certain != times:
            stored, times = _store(context, columns, events, certain), certain
    report = check_rows(context, columns, stored)
    good = stored.filter(stored.error.isnull()) if report.skipped else stored
    texts = context.row(good.agg(**{role: good[f"{role}_text"].count() for role in (USER_ID, ITEM_ID)}))
    ids = {}
    for role in (USER_ID, ITEM_ID):
        whole = good[f"{role}_whole"]
        ids[role] = good[f"{role}_text"].fill_null(whole.cast("string")) if texts[role] else whole
    table = good.select(**ids, **{name: good[name] for name in (RATING, TIMESTAMP, POSITION)})
    return Rows(table, events, event_rows, _unit(context, columns, times), report)


def _store(
    context: Context,
    columns: Columns,
    events: dict[str, float | None] | None,
    times: spelling.TimeFormat | None,
) -> ibis.Table:
    rows, what = _with_errors(context, columns, events, times), f"reading {context.where}"
    is_numbered = POSITION in context.raw.columns
    return context.engine.store(rows, what) if is_numbered else context.engine.store_numbered(rows, what)


def _unit(context: Context, columns: Columns, times: spelling.TimeFormat | None) -> str:
    """Return how the times are spelled, in the words of the report."""
    if times is None:
        return ""
    if is_time_type(context, columns.roles[TIMESTAMP]):
        return "timestamps"
    if times.pattern is not None:
        return f"format {times.pattern}"
    are_dates = times.compact or (times.shapes or frozenset()) & spelling.DATES
    return "dates" if are_dates else f"{times.unit} since 1970"


def _with_errors(
    context: Context,
    columns: Columns,
    events: dict[str, float | None] | None,
    times: spelling.TimeFormat | None,
) -> ibis.Table:
    """Return every row: its values, its first error as ``role:reason``, and the text that has it."""
    raw = context.raw
    column = {role: raw[f"c{index}"] for role, index in columns.roles.items()}
    numbers = [POSITION] if POSITION in raw.columns else []
    # Nearly every value is a plain number. It is found in a step of its own, so that the rules are computed for the others alone.
    quick: dict[str, ibis.Value] = {role: rules.whole(column[role]) for role in (USER_ID, ITEM_ID)}
    if columns.value_role is not None and events is None and not context.settings.unrated:
        quick[columns.value_role] = rules.short_number(column[columns.value_role])
    if times is not None:
        quick[TIMESTAMP] = rules.plain_seconds(column[TIMESTAMP], times)
    found = {f"{role}_quick": value for role, value in quick.items()}
    rows = context.engine.step(raw.select(*numbers, **column, **found))
    reads = {role: rules.read_id(rows[role], context.settings.missing) for role in (USER_ID, ITEM_ID)}
    if columns.value_role is not None:
        value = rows[columns.value_role]
        reads[columns.value_role] = _number(context, value) if events is None else _event(value, events)
    if times is not None:
        reads[TIMESTAMP] = _time(context, rows[TIMESTAMP], times)
    parts = {f"{role}_quick": rows[f"{role}_quick"] for role in (USER_ID, ITEM_ID)}
    for role, read in reads.items():
        plain = rows[f"{role}_quick"] if role in quick else ibis.null()
        kept = ibis.null("string") if role in {USER_ID, ITEM_ID} else plain
        parts[f"{role}_value"] = ibis.ifelse(plain.notnull(), kept, read.value)
        parts[f"{role}_error"] = ibis.ifelse(plain.notnull(), ibis.null("string"), read.error)
    rows = context.engine.step(rows.select(*numbers, *reads, **parts))
    values = {}
    for role in (USER_ID, ITEM_ID):
        text = rows[f"{role}_value"]
        values[f"{role}_whole"] = whole = rows[f"{role}_quick"].coalesce(rules.whole(text))
        values[f"{role}_text"] = ibis.ifelse(whole.isnull(), text, ibis.null("string"))
    has_value = columns.value_role is not None
    values[RATING] = rows[f"{columns.value_role}_value"] if has_value else ibis.null("float64")
    values[TIMESTAMP] = ibis.null("int64") if times is None else rows[f"{TIMESTAMP}_value"]
    errors = [(rows[f"{role}_error"].notnull(), role) for role in reads]
    first = ((wrong, ibis.literal(f"{role}:") + rows[f"{role}_error"]) for wrong, role in errors)
    shown = ((wrong, rows[role].cast("string")) for wrong, role in errors)
    none = ibis.null("string")
    return rows.select(
        *numbers, **values, error=ibis.cases(*first, else_=none), shown=ibis.cases(*shown, else_=none)
    )


def _number(context: Context, column: ibis.Value) -> rules.Read:
    """Return a number; an empty or unrated value is NULL and no error."""
    read = rules.read_number(column, decimal_comma=context.opened.decimal_comma)
    unrated = _is(read.error, spelling.EMPTY)
    for stated in context.settings.unrated:
        unrated = unrated | _is(rules.clean(column.cast("string")), stated)
        with contextlib.suppress(ValueError):
            unrated = unrated | _is(read.value, float(stated))
    value = ibis.ifelse(unrated, ibis.null("float64"), read.value)
    return rules.Read(value, ibis.ifelse(unrated, ibis.null("string"), read.error))


def _is(value: ibis.Value, wanted: str | float) -> ibis.Value:
    """Return whether the value is this one; false for NULL."""
    return value.notnull() & (value == wanted)


def _count_events(context: Context, columns: Columns) -> dict[str, int]:
    """Return the rows of each event, the most frequent first.

    Raises:
        DataError: The column has too many values to be one of events.
    """
    texts = context.raw.select(event=rules.clean(context.raw[f"c{columns.roles[EVENT]}"].cast("string")))
    counted = texts.group_by("event").agg(rows=texts.count()).order_by([ibis.desc("rows"), "event"])
    found = context.engine.fetch(counted.limit(_MANY_EVENTS + 1)).to_pylist()
    name = columns.name(EVENT)
    if len(found) > _MANY_EVENTS:
        raise DataError(
            f"{context.where}: column {name} has over {_MANY_EVENTS:,} different values and is no event. Expected names such as "
            "view. State another: --column event=NAME"
        )
    return {row["event"]: row["rows"] for row in found if row["event"]}


def _event(column: ibis.Value, events: dict[str, float | None]) -> rules.Read:
    """Return the weight of an event."""
    event = rules.clean(column.cast("string"))
    weights = [(event == name, float(weight)) for name, weight in events.items() if weight is not None]
    dropped = [(event == name, DROPPED_EVENT) for name, weight in events.items() if weight is None]
    none = ibis.null("float64")
    value = ibis.cases(*weights, else_=none) if weights else none
    empty = (event.isnull() | (event == ""), spelling.EMPTY)
    return rules.Read(value, ibis.cases(empty, *dropped, else_=ibis.null("string")))


def _time(context: Context, column: ibis.Value, how: spelling.TimeFormat) -> rules.Read:
    """Return a time; an empty one is NULL and no error."""
    read = rules.read_time(column, how)
    refused = context.settings.bad_times == "refuse"
    harmless = _is(read.error, spelling.EMPTY) if refused else read.error.notnull()
    return rules.Read(read.value, ibis.ifelse(harmless, ibis.null("string"), read.error))


def _time_format(context: Context, columns: Columns, *, sample: bool = True) -> spelling.TimeFormat:
    """Return how the times of the column are read: by the first rows where these are numbers of one unit, else by all.

    Raises:
        DataError: They can be read in two ways, or all as 1970.
    """
    index, settings = columns.roles[TIMESTAMP], context.settings
    typed = is_time_type(context, index)
    if settings.time_format is not None or typed:
        return spelling.time_format({}, settings.time_format, typed=typed)
    rows = context.engine.first(context.raw, _SAMPLE) if sample else context.raw
    position = rows[POSITION] if POSITION in rows.columns else ibis.row_number()
    counts = context.row(rules.count_times(rows, rows[f"c{index}"], position))
    try:
        how = spelling.time_format(counts, None, accept=settings.accept)
    except spelling.TimeError as error:
        if sample:
            return _time_format(context, columns, sample=False)
        name = columns.name(TIMESTAMP)
        said = f"{context.where}, column {name}: {error}"
        if error.first is not None:
            first = f"{context.opened.file_unit} {context.opened.line_of(error.first)}"
            said = f"{context.where}, column {name}: {name} {error} ({first}); export one unit"
        raise DataError(said, code=error.code) from error
    is_one_unit = (
        how.shapes is not None and len(how.shapes - {"empty"}) == 1 and how.shapes & spelling.DIVISORS.keys()
    )
    return how if is_one_unit or not sample else _time_format(context, columns, sample=False)

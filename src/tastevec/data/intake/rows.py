"""Rows: the columns of a table read by the rules, each row with its first error, stored once."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis

from tastevec.data.intake import rules, spelling
from tastevec.data.intake.feedback import event_weights
from tastevec.data.intake.roles import is_time_type
from tastevec.data.intake.validation import DROPPED_EVENT, EXAMPLES, RowError, RowReport, check_rows
from tastevec.errors import DataError, SourceError
from tastevec.schema import EVENT, ITEM_ID, POSITION, RATING, TIMESTAMP, USER_ID

if TYPE_CHECKING:
    from tastevec.data.intake.context import Columns, Context

_MANY_EVENTS = 1_000  # different values of a column that is no event


@dataclass(frozen=True, eq=False)
class Rows:
    """The valid rows.

    Attributes:
        table: user_id and item_id (int64 or string), rating (the value; NULL without one), timestamp (NULL where unknown),
            position.
        events: The weight of each event; None of other kinds.
        report: Where every row went.
    """

    table: ibis.Table
    events: dict[str, float | None] | None
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
    events = _event_weights(context, columns) if columns.value_role == EVENT else None
    stored = context.engine.store(_with_errors(context, columns, events), f"reading {context.where}")
    report = _check(context, columns, stored)
    good = stored.filter(stored.error.isnull())
    texts = context.row(good.agg(**{role: good[f"{role}_text"].count() for role in (USER_ID, ITEM_ID)}))
    ids = {}
    for role in (USER_ID, ITEM_ID):
        whole = good[f"{role}_whole"]
        ids[role] = good[f"{role}_text"].fill_null(whole.cast("string")) if texts[role] else whole
    table = good.select(**ids, **{name: good[name] for name in (RATING, TIMESTAMP, POSITION)})
    return Rows(table, events, report)


def _with_errors(context: Context, columns: Columns, events: dict[str, float | None] | None) -> ibis.Table:
    """Return every row: its values, its first error as ``role:reason``, and the text that has it."""
    raw = context.raw
    column = {role: raw[f"c{index}"] for role, index in columns.roles.items()}
    reads = {role: rules.read_id(column[role], context.settings.missing) for role in (USER_ID, ITEM_ID)}
    values: dict[str, ibis.Value] = {
        POSITION: raw[POSITION],
        RATING: ibis.null("float64"),
        TIMESTAMP: ibis.null("int64"),
    }
    for role, read in reads.items():
        whole = rules.whole(read.value)
        values[f"{role}_whole"] = whole
        values[f"{role}_text"] = ibis.ifelse(whole.isnull(), read.value, ibis.null("string"))
    if columns.value_role is not None:
        value = column[columns.value_role]
        read = _number(context, value) if events is None else _event(value, events)
        reads[columns.value_role], values[RATING] = read, read.value
    if TIMESTAMP in column:
        reads[TIMESTAMP] = _time(context, columns, column[TIMESTAMP])
        values[TIMESTAMP] = reads[TIMESTAMP].value
    wrong = [(role, read.error) for role, read in reads.items()]
    errors = ((error.notnull(), ibis.literal(f"{role}:") + error) for role, error in wrong)
    texts = ((error.notnull(), column[role].cast("string")) for role, error in wrong)
    none = ibis.null("string")
    return raw.select(**values, error=ibis.cases(*errors, else_=none), shown=ibis.cases(*texts, else_=none))


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


def _event_weights(context: Context, columns: Columns) -> dict[str, float | None]:
    """Return the weight of each event of the table.

    Raises:
        DataError: An event has no weight, or the column has too many values to be one.
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
    return event_weights(
        {row["event"]: row["rows"] for row in found if row["event"]}, context.settings, context.where
    )


def _event(column: ibis.Value, events: dict[str, float | None]) -> rules.Read:
    """Return the weight of an event."""
    event = rules.clean(column.cast("string"))
    weights = [(event == name, float(weight)) for name, weight in events.items() if weight is not None]
    dropped = [(event == name, DROPPED_EVENT) for name, weight in events.items() if weight is None]
    none = ibis.null("float64")
    value = ibis.cases(*weights, else_=none) if weights else none
    empty = (event.isnull() | (event == ""), spelling.EMPTY)
    return rules.Read(value, ibis.cases(empty, *dropped, else_=ibis.null("string")))


def _time(context: Context, columns: Columns, column: ibis.Value) -> rules.Read:
    """Return a time; an empty one is NULL and no error."""
    read = rules.read_time(column, _time_format(context, columns, column))
    refused = context.settings.bad_times == "refuse"
    harmless = _is(read.error, spelling.EMPTY) if refused else read.error.notnull()
    return rules.Read(read.value, ibis.ifelse(harmless, ibis.null("string"), read.error))


def _time_format(context: Context, columns: Columns, column: ibis.Value) -> spelling.TimeFormat:
    """Return how the times of the column are read.

    Raises:
        DataError: They can be read in two ways, or all as 1970.
    """
    stated, typed = context.settings.time_format, is_time_type(context, columns.roles[TIMESTAMP])
    if stated is not None or typed:
        return spelling.time_format({}, stated, typed=typed)
    counts = context.row(rules.count_times(context.raw, column, context.raw[POSITION]))
    where = f"{context.where}, column {columns.name(TIMESTAMP)}"
    try:
        return spelling.time_format(counts, None, accept=context.settings.accept)
    except spelling.TimeError as error:
        if error.code != spelling.MIXED_UNITS:
            raise DataError(f"{where}: {error}", code=error.code) from error
        first = f"{context.opened.file_unit} {context.opened.line_of(int(str(error.facts['first'])))}"
        raise DataError(
            f"{where}: {columns.name(TIMESTAMP)} {error} ({first}); export one unit", code=error.code
        ) from error


def _check(context: Context, columns: Columns, stored: ibis.Table) -> RowReport:
    """Refuse invalid rows, or count them."""
    wrong = stored.filter(stored.error.notnull())
    groups = wrong.group_by("error").agg(rows=wrong.count(), first=wrong[POSITION].min())
    found = context.engine.fetch(groups).to_pylist()
    errors: list[RowError] = []
    if found:
        firsts = wrong.filter(wrong[POSITION].isin([row["first"] for row in found]))
        some = wrong.order_by(POSITION).limit(EXAMPLES)
        shown = context.engine.fetch(
            ibis.union(firsts, some, distinct=True).select(POSITION, "error", "shown")
        )
        errors = [
            RowError(row[POSITION], *_split(row["error"]), row["shown"] or "") for row in shown.to_pylist()
        ]
    counts = {_split(row["error"]): row["rows"] for row in found}
    names = {role: columns.name(role) for role in columns.roles}
    report = check_rows(context.opened, counts, errors, names, context.settings)
    if not report.rows_kept:
        raise SourceError(
            f"{context.where}: none of {report.rows_read:,} rows is valid. Expected interactions. Export the table again."
        )
    return report


def _split(error: str) -> tuple[str, str]:
    role, _, reason = error.partition(":")
    return role, reason

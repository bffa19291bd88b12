"""Interactions: from an opened table to one row per user and item, with its value, its time and a report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import ibis
import numpy as np
import pyarrow as pa

from tastevec.data.intake.feedback import (
    Feedback,
    ValueFacts,
    check_positives,
    is_constant,
    rating_scale,
    refuse_outside,
    repeats_of,
    strength_scale,
)
from tastevec.data.intake.ordering import fill_times, merge_repeats, order_rows
from tastevec.data.intake.report import ReportLine, TableReport, number, percent
from tastevec.data.intake.roles import find_columns
from tastevec.data.intake.rows import read_rows
from tastevec.errors import DataError
from tastevec.schema import ITEM_ID, RATING, TIMESTAMP, USER_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tastevec.data.intake.context import Columns, Context
    from tastevec.data.intake.validation import RowReport
    from tastevec.data.value_scale import ValueScale
    from tastevec.schema import Order

_FREQUENT = 200  # values that are counted one by one
_USERS_LOST = 0.25
_THRESHOLDS: Final = (1, 2, 3, 5, 10, 20, 50, 100)  # of weights, whose shares the report prints
_VALUE_WORDS: Final = {"explicit": "rating", "weighted": "weight", "events": "event"}
_DELIMITERS: Final = {",": "comma", "\t": "tab", ";": "semicolon"}


@dataclass(frozen=True, eq=False)
class Interactions:
    """Validated interactions.

    Attributes:
        table: One row per user and item, unless repeats are kept; the columns are those of `Source.interactions`.
        feedback: What the values mean.
        order: What orders a history.
        row_report: Where every row went.
        lines: What the report says.
        items: The ID of each item, as text; None where a model's users are read.
    """

    table: ibis.Table
    feedback: Feedback
    order: Order
    row_report: RowReport
    lines: TableReport
    items: pa.StringArray | None = None


def read_interactions(context: Context) -> Interactions:
    """Validate an opened table of interactions.

    Raises:
        SourceError: A column is missing, or there are no rows.
        BadRowError: A row is invalid and may not be dropped.
        DataError: The values make no sense; ``code`` names a stop.
        SettingsError: A setting contradicts the columns.
    """
    columns = find_columns(context)
    rows = read_rows(context, columns)
    table, report = rows.table, rows.report
    table, times = fill_times(context, table)
    report = _with_skipped(report, "without a time", times.dropped)
    facts = _value_facts(context, table)
    scale, origin = _scale(context, columns, facts, rows.events)
    if context.settings.out_of_range == "drop" and scale.kind == "explicit":
        inside = table.rating.isnull() | table.rating.between(scale.low, scale.high)
        outside = context.row(table.agg(rows=(~inside).sum().fill_null(0)))["rows"]
        table, report = table.filter(inside), _with_skipped(report, "out of range", outside)
    if columns.value_role is None or scale.kind == "implicit":
        same = 1.0 if scale.kind == "implicit" else scale.positive_from
        table = table.mutate(rating=ibis.literal(same, type="float64"))
    feedback = Feedback(
        scale,
        origin,
        repeats_of(scale.kind, context.settings),
        context.settings.unrated,
        rows.events,
        rows.event_rows,
    )
    table, repeats = merge_repeats(context, table, feedback.repeats, timed=times.first is not None)
    table, order, order_text = order_rows(context, table, times, unit=rows.time_unit)
    if context.model is not None:  # its users may be few, and what is not positive is no matter
        return Interactions(table, feedback, order, report, TableReport(context.where, _summary(context)))
    warn_similar(context, table)
    users = _users(context, table, scale)
    _check_users(context, users, scale, facts)
    items = context.engine.fetch(table.select(ITEM_ID).distinct())[ITEM_ID].combine_chunks().cast(pa.string())
    ids = {
        role: f"{n:,} {'whole numbers' if table[role].type().is_integer() else 'texts'}"
        for role, n in ((USER_ID, users["users"]), (ITEM_ID, len(items)))
    }
    lines = [
        *_column_lines(context, columns, feedback, facts, order_text, ids),
        ReportLine("positive", "", _positive_text(context, table, feedback, users)),
        ReportLine("repeats", "", repeats),
    ]
    if TIMESTAMP not in columns.roles:
        lines.append(ReportLine("times", "", order_text))
    lines += [
        ReportLine("dropped", "", f"{n:,} row{'s' * (n != 1)}: {why}") for why, n in report.skipped.items()
    ]
    summary = TableReport(context.where, _summary(context), tuple(lines))
    return Interactions(table, feedback, order, report, summary, items)


def warn_similar(context: Context, table: ibis.Table) -> None:
    """Warn of IDs of text that differ by leading zeros or by case alone."""
    for role in (USER_ID, ITEM_ID):
        if not table[role].type().is_string():
            continue
        ids = table.select(id=table[role]).distinct().id
        counts = {"zeros": ids.re_replace("^0+", "").nunique(), "case": ids.lower().nunique()}
        row = context.row(ids.as_table().agg(ids=ids.count(), **counts))
        for name, what in (("zeros", "leading zeros"), ("case", "case")):
            if n := row["ids"] - row[name]:
                differ = "id differs" if n == 1 else "ids differ"
                context.findings.warn(
                    "similar-ids",
                    f"{context.where}, {role}: {n:,} {differ} from another by {what} alone",
                )


def _with_skipped(report: RowReport, reason: str, rows: int) -> RowReport:
    if not rows:
        return report
    return replace(report, rows_kept=report.rows_kept - rows, skipped={**report.skipped, reason: rows})


def _value_facts(context: Context, table: ibis.Table) -> ValueFacts:
    """Count the values."""
    counted = table.group_by(RATING).agg(n=table.count())
    value, rows = counted[RATING], counted.n
    row = context.row(
        counted.agg(
            rows=rows.sum().fill_null(0),
            values=rows.sum(where=value.notnull()).fill_null(0),
            lowest=value.min(),
            highest=value.max(),
            smallest_above_0=value.min(where=value > 0),
            distinct=value.count(),
        )
    )
    most = counted.filter(value.notnull()).order_by([ibis.desc("n"), RATING]).limit(_FREQUENT)
    frequent = context.engine.fetch(most).to_pylist()
    return ValueFacts(**row, counts={found[RATING]: found["n"] for found in frequent})


def _scale(
    context: Context, columns: Columns, facts: ValueFacts, events: dict[str, float | None] | None
) -> tuple[ValueScale, str]:
    """Return the scale, and where its range is from."""
    settings, findings, name = context.settings, context.findings, columns.value_name or ""
    if context.model is not None:
        if context.model.kind == "explicit" and facts.values:
            limits, where = (context.model.low, context.model.high), context.where
            refuse_outside(facts, limits, settings, findings, users_of_model=where)
        return context.model, "stated"
    if columns.kind == "explicit" and is_constant(facts, settings, context.rating_range):
        value = number(facts.lowest or 0)
        findings.warn(
            "constant-rating", f"{name} is {value} in all {facts.rows:,} rows: each counts as one positive"
        )
        return strength_scale("implicit", facts, settings), ""
    if columns.kind == "explicit":
        return rating_scale(facts, settings, context.rating_range, findings, name)
    weights = [weight for weight in (events or {}).values() if weight is not None]
    return strength_scale(columns.kind, facts, settings, weights), ""


def _users(context: Context, table: ibis.Table, scale: ValueScale) -> dict[str, Any]:
    """Count users: all, those with one interaction, those with a positive; and rows and positives."""
    limit = float(np.float32(scale.positive_from))  # compared as it is stored
    positive = table.rating.cast("float32").cast("float64") >= limit
    users = table.group_by(USER_ID).agg(rows=table.count(), positives=positive.sum().fill_null(0))
    return context.row(
        users.agg(
            users=users.count(),
            lost=(users.rows < 2).sum().fill_null(0),  # noqa: PLR2004  one item in, one out
            positive_users=(users.positives > 0).sum().fill_null(0),
            positives=users.positives.sum().fill_null(0),
            rows=users.rows.sum(),
        )
    )


def _check_users(context: Context, users: dict[str, Any], scale: ValueScale, facts: ValueFacts) -> None:
    """Stop where there is nothing to learn from.

    Raises:
        DataError: Nothing is positive, or fewer than 2 users have 2 interactions.
    """
    check_positives(scale, users["positives"], facts, context.findings)
    stay = users["users"] - users["lost"]
    if stay < 2:  # noqa: PLR2004  two users
        raise DataError(
            f"{context.where}: {stay} users have 2 interactions; expected 2 users or more. Export more rows",
            code="few-users",
        )
    if users["lost"] > _USERS_LOST * users["users"]:
        context.findings.warn(
            "users-lost",
            f"{users['lost']:,} of {users['users']:,} users ({percent(users['lost'] / users['users'])}) have 1 interaction and "
            f"are dropped; {stay:,} stay",
        )


def _summary(context: Context) -> str:
    opened = context.opened
    header = "no header" if opened.format == "csv" and not opened.has_header else None
    delimiter = _DELIMITERS.get(opened.delimiter or "", opened.delimiter)
    form = ", ".join(filter(None, (opened.format, delimiter, opened.encoding, header)))
    return f"{opened.rows:,} rows ({form})"


def _column_lines(
    context: Context,
    columns: Columns,
    feedback: Feedback,
    facts: ValueFacts,
    order_text: str,
    ids: Mapping[str, str],
) -> list[ReportLine]:
    """Return one line for each column: what it is understood as, or why it is ignored."""
    roles = {index: role for role, index in columns.roles.items()}
    lines = []
    for index, name in enumerate(columns.names):
        role = roles.get(index)
        if role in {USER_ID, ITEM_ID}:
            lines.append(ReportLine(name, role.removesuffix("_id"), ids[role]))
        elif role == TIMESTAMP:
            lines.append(ReportLine(name, "time", order_text))
        elif role is not None and role == columns.value_role:
            lines.append(ReportLine(name, feedback.scale.kind, _value_text(feedback, facts)))
        else:
            why = columns.ignored.get(name) or context.opened.unreadable.get(index, "not used")
            lines.append(ReportLine(name, "ignored", why))
    if columns.value_role is None:
        lines.append(ReportLine("", "implicit", "every row counts as one positive"))
    return lines


def _value_text(feedback: Feedback, facts: ValueFacts) -> str:
    scale = feedback.scale
    if facts.lowest is None or facts.highest is None:
        return "no values"
    seen = f"{number(facts.lowest)} to {number(facts.highest)}"
    touched = facts.rows - facts.values
    rest = f"; {touched:,} rows without a value" if touched else ""
    if scale.kind == "explicit":
        flag = " (--rating-range)" if feedback.origin == "inferred" else ""
        return f"{seen} seen; scale {scale.low:g}:{scale.high:g}, {feedback.origin}{flag}{rest}"
    if scale.kind == "events":
        counts = feedback.event_rows or {}
        listed = [
            f"{name} {counts.get(name, 0):,} {'dropped' if weight is None else '= ' + number(weight)}"
            for name, weight in (feedback.events or {}).items()
        ]
        return f"{', '.join(listed)} (--event)"
    if scale.kind == "implicit":
        return f"{seen}: each counts as one positive"
    if none := sum(count for value, count in facts.counts.items() if value <= 0):
        rest += f"; {none:,} row{'s are' if none > 1 else ' is'} 0 or below: touched, not positive"
    return f"{seen}{rest}"


def _positive_text(context: Context, table: ibis.Table, feedback: Feedback, users: dict[str, Any]) -> str:
    """Return the rule of a positive, its share, and of a weight the shares of other thresholds."""
    scale, rows = feedback.scale, max(users["rows"], 1)
    found = f"{users['positives']:,} ({percent(users['positives'] / rows)}), of {users['positive_users']:,} of {users['users']:,} users"
    if scale.kind == "implicit":
        return f"every interaction: {found}"
    others = ""
    if scale.kind == "weighted":
        above = context.row(
            table.agg(**{f"n{t}": (table.rating >= t).sum().fill_null(0) for t in _THRESHOLDS})
        )
        shares = {t: above[f"n{t}"] / rows for t in _THRESHOLDS if t > scale.positive_from}
        near = [f">= {t}: {percent(share)}" for t, share in shares.items() if 0.3 <= share <= 0.95][:2]  # noqa: PLR2004  useful choices
        others = f"; {', '.join(near)}" if near else ""
    return f"{_VALUE_WORDS[scale.kind]} >= {number(scale.positive_from)}: {found}{others} (--positive-from)"

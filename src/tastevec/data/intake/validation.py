"""Validation: invalid rows are located, counted by reason, and refused or dropped within a limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import ibis

from tastevec.data.intake import spelling
from tastevec.data.intake.report import percent, too_many
from tastevec.errors import BadRowError, DataError, SourceError
from tastevec.schema import EVENT, ITEM_ID, POSITION, TIMESTAMP, USER_ID

if TYPE_CHECKING:
    from tastevec.data.intake.context import Columns, Context

DROPPED_EVENT: Final = "dropped event"  # an impression; no error
_EXAMPLES = 5
_WRONG_COLUMN = 0.01  # more values that are no numbers than this share: the column is another
SHOWN: Final = 40  # characters of a value in a message
# What is said of an ID that is none: first of a column that is damaged, which is always refused.
DAMAGE: Final = {
    spelling.NOT_AN_ID: "is no id: expected a whole number or a text",
    spelling.LOST_DIGITS: "has lost digits",
}
FAULTS: Final = {
    spelling.CONTROL: "has a control character",
    spelling.TOO_LONG: f"is too long: over {spelling.LONGEST_ID:,} letters",
}


@dataclass(frozen=True)
class RowReport:
    """Where every row of one file went: ``rows_read == rows_kept + sum(skipped.values())``.

    Attributes:
        file: The file's name, or the argument's.
        rows_read: Rows in the file, without headers and blank lines.
        rows_kept: Rows in the tables.
        skipped: Number of rows that are not in the tables, by reason.
        examples: The first five skipped rows, each with file, line, column, value and what was expected.
        encoding: How the file's bytes were read: ``utf-8``, ``iso-8859-1``, ``parquet`` ...
    """

    file: str
    rows_read: int
    rows_kept: int
    skipped: dict[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    encoding: str = "utf-8"


class _RowError(NamedTuple):
    """An invalid row: its position, its error as ``role:reason``, and the value as the source has it."""

    position: int
    error: str
    shown: str

    @property
    def role(self) -> str:
        return self.error.partition(":")[0]

    @property
    def reason(self) -> str:
        return self.error.partition(":")[2]

    def where(self, context: Context, columns: Columns) -> str:
        line = context.opened.line_of(self.position)
        return f"{context.where}, {context.opened.file_unit} {line}, column {columns.name(self.role)}"


def check_rows(context: Context, columns: Columns, stored: ibis.Table) -> RowReport:
    """Refuse the invalid rows of a table with ``error`` and ``shown``, or count those that are dropped.

    Raises:
        BadRowError: A row is invalid and may not be dropped.
        DataError: Too many rows are invalid, or a column is damaged.
        SourceError: There is no valid row.
    """
    opened, limit = context.opened, context.settings.bad_rows
    wrong = stored.filter(stored.error.notnull())
    groups = wrong.group_by("error").agg(rows=wrong.count(), first=wrong[POSITION].min())
    found = context.engine.fetch(groups.order_by("first")).to_pylist()
    examples = _examples(context, wrong, [row["first"] for row in found]) if found else []
    skipped, bad = dict(opened.broken.reasons), opened.broken.count
    for row in found:
        first = next(error for error in examples if error.position == row["first"])
        if first.reason != DROPPED_EVENT:
            _check_kind(context, columns, first, row["rows"])
            bad += row["rows"]
        reason = first.reason if first.role in {EVENT, TIMESTAMP} else f"{first.role}: {first.reason}"
        reason = "without an id" if first.reason == spelling.NO_ID else reason
        skipped[reason] = skipped.get(reason, 0) + row["rows"]
    if limit is not None and bad > limit * max(opened.rows, 1):
        raise DataError(f"{context.where}: {too_many(bad, opened.rows, limit)}", code="bad-rows")
    shown = [*opened.broken.examples]
    shown += [
        f"{error.where(context, columns)}: {error.shown[:SHOWN]!r} ({error.reason})"
        for error in examples
        if error.reason != DROPPED_EVENT
    ]
    kept = opened.rows - sum(skipped.values())
    if not kept:
        raise SourceError(
            f"{context.where}: none of {opened.rows:,} rows is valid. Expected interactions. Export the table again."
        )
    return RowReport(
        context.where,
        opened.rows,
        kept,
        dict(sorted(skipped.items())),  # engines find them in any order
        tuple(dict.fromkeys(shown))[:_EXAMPLES],
        opened.encoding or opened.format,
    )


def _examples(context: Context, wrong: ibis.Table, firsts: list[int]) -> list[_RowError]:
    """Return the first row of each error, and the first five of all."""
    some = wrong.order_by(POSITION).limit(_EXAMPLES)
    both = ibis.union(wrong.filter(wrong[POSITION].isin(firsts)), some, distinct=True)
    rows = context.engine.fetch(both.select(POSITION, "error", "shown")).to_pylist()
    return sorted(_RowError(row[POSITION], row["error"], row["shown"] or "") for row in rows)


def _check_kind(context: Context, columns: Columns, first: _RowError, count: int) -> None:
    """Refuse one kind of error, unless the settings drop it."""
    opened = context.opened
    role, reason, shown = first.role, first.reason, repr(first.shown[:SHOWN])
    where, share = first.where(context, columns), percent(count / max(opened.rows, 1))
    rows, drop = f"{count:,} row{'s' if count != 1 else ''}", "--bad-rows drop"
    if reason in DAMAGE:
        raise BadRowError(f"{where}: {shown} {DAMAGE[reason]}; export the column as text")
    if role == TIMESTAMP:
        raise BadRowError(
            f"{where}: {shown} is no time ({rows}, {share}): --time-format FORMAT, or --bad-times none"
        )
    is_id = role in {USER_ID, ITEM_ID}
    is_other_column = count > max(1, _WRONG_COLUMN * opened.rows)
    if context.settings.bad_rows is not None and (is_id or role == EVENT or not is_other_column):
        return
    if reason == spelling.NO_ID:
        found = f"{shown} is no id" if first.shown else "no id"
        raise BadRowError(f"{where}: {found} ({rows}): {drop}, or --missing ''")
    if is_id:
        raise BadRowError(f"{where}: {shown} {FAULTS[reason]} ({rows}, {share}): {drop}")
    if role == EVENT:
        raise BadRowError(f"{where}: no event ({rows}, {share}): {drop}")
    unrated = f"--unrated {first.shown[:SHOWN]}"
    if is_other_column:
        # One value that means "not rated" cannot be most of a column of ratings.
        advice = f"--column {role}=NAME" + f", or {unrated}" * (2 * count < opened.rows)
        raise DataError(
            f"{context.where}: column {columns.name(role)} is no {role}: {shown} in {opened.file_unit} {opened.line_of(first.position)} "
            f"({share} of rows are no numbers): {advice}",
            code="not-a-number",
        )
    raise BadRowError(f"{where}: {shown} is no number ({rows}, {share}): {drop}, or {unrated}")

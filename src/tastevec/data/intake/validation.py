"""Validation: invalid rows are located, counted by reason, and refused or dropped within a limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from tastevec.data.intake import spelling
from tastevec.data.intake.report import percent, too_many
from tastevec.errors import BadRowError, DataError
from tastevec.schema import EVENT, ITEM_ID, TIMESTAMP, USER_ID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tastevec.data.intake.settings import IntakeSettings
    from tastevec.data.intake.tables import OpenTable

EXAMPLES: Final = 5
DROPPED_EVENT: Final = "dropped event"  # an impression; no error
_NO_TIME = "no time"
_WRONG_COLUMN = 0.01  # more values that are no numbers than this share: the column is another
_SHOWN = 40  # characters of a value in a message
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


class RowError(NamedTuple):
    """An invalid row: its position, the role of the column, the reason, and the value as the source has it."""

    position: int
    role: str
    reason: str
    shown: str


def check_rows(
    opened: OpenTable,
    counts: Mapping[tuple[str, str], int],
    examples: Sequence[RowError],
    names: Mapping[str, str],
    settings: IntakeSettings,
) -> RowReport:
    """Refuse invalid rows, or count those that are dropped.

    Args:
        opened: The table.
        counts: Rows by role and reason of their first error.
        examples: The first row of each role and reason, then the first five of all.
        names: The column of each role.
        settings: What may be dropped.

    Raises:
        BadRowError: A row is invalid and may not be dropped.
        DataError: Too many rows are invalid, or a column is damaged.
    """
    examples = sorted(examples)
    for (role, reason), count in counts.items():
        if reason == DROPPED_EVENT:
            continue
        first = next(e for e in examples if (e.role, e.reason) == (role, reason))
        _check_kind(opened, first, count, names, settings)
    bad = opened.broken.count + sum(
        n for (_, reason), n in counts.items() if reason not in {DROPPED_EVENT, _NO_TIME}
    )
    limit = settings.bad_rows
    if limit is not None and bad > limit * max(opened.rows, 1):
        raise DataError(f"{opened.file}: {too_many(bad, opened.rows, limit)}", code="bad-rows")
    skipped = dict(opened.broken.reasons)
    for (role, reason), count in counts.items():
        skipped[_reason(role, reason)] = skipped.get(_reason(role, reason), 0) + count
    shown = [*opened.broken.examples]
    shown += [_describe(opened, error, names) for error in examples if error.reason != DROPPED_EVENT]
    kept = opened.rows - sum(skipped.values())
    return RowReport(
        opened.file,
        opened.rows,
        kept,
        dict(sorted(skipped.items())),  # engines find them in any order
        tuple(dict.fromkeys(shown))[:EXAMPLES],
        opened.encoding or opened.format,
    )


def _check_kind(
    opened: OpenTable, first: RowError, count: int, names: Mapping[str, str], settings: IntakeSettings
) -> None:
    """Refuse one kind of error, unless the settings drop it."""
    where = f"{opened.file}, {opened.file_unit} {opened.line_of(first.position)}, column {names[first.role]}"
    shown, rows = repr(first.shown[:_SHOWN]), f"{count:,} row{'s' if count != 1 else ''}"
    share = percent(count / max(opened.rows, 1))
    is_id, drop = first.role in {USER_ID, ITEM_ID}, "--bad-rows drop"
    if first.reason in {spelling.NOT_AN_ID, spelling.LOST_DIGITS}:
        problem = (
            "has lost digits"
            if first.reason == spelling.LOST_DIGITS
            else "is no id: expected a whole number or a text"
        )
        raise BadRowError(f"{where}: {shown} {problem}; export the column as text")
    if first.role == TIMESTAMP:
        if settings.bad_times == "refuse" and first.reason != _NO_TIME:
            raise BadRowError(
                f"{where}: {shown} is no time ({rows}, {share}): --time-format FORMAT, or --bad-times none"
            )
        return
    is_other_column = count > max(1, _WRONG_COLUMN * opened.rows)
    if settings.bad_rows is not None and (is_id or first.role == EVENT or not is_other_column):
        return
    if first.reason == spelling.NO_ID:
        found = f"{shown} is no id" if first.shown else "no id"
        raise BadRowError(f"{where}: {found} ({rows}): {drop}, or --missing ''")
    if is_id:
        raise BadRowError(f"{where}: {shown} {FAULTS[first.reason]} ({rows}, {share}): {drop}")
    if first.role == EVENT:
        raise BadRowError(f"{where}: no event ({rows}, {share}): {drop}")
    if is_other_column:
        role = first.role
        # One value that means "not rated" cannot be most of a column of ratings.
        unrated = f", or --unrated {first.shown[:_SHOWN]}" if 2 * count < opened.rows else ""
        raise DataError(
            f"{opened.file}: column {names[role]} is no {role}: {shown} in {opened.file_unit} {opened.line_of(first.position)} "
            f"({share} of rows are no numbers): --column {role}=NAME{unrated}",
            code="not-a-number",
        )
    raise BadRowError(
        f"{where}: {shown} is no number ({rows}, {share}): {drop}, or --unrated {first.shown[:_SHOWN]}"
    )


def _reason(role: str, reason: str) -> str:
    return (
        "without an id"
        if reason == spelling.NO_ID
        else reason
        if role in {EVENT, TIMESTAMP}
        else f"{role}: {reason}"
    )


def _describe(opened: OpenTable, error: RowError, names: Mapping[str, str]) -> str:
    where = f"{opened.file}, {opened.file_unit} {opened.line_of(error.position)}, column {names[error.role]}"
    return f"{where}: {error.shown[:_SHOWN]!r} ({error.reason})"

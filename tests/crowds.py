"""Tables of a made-up crowd of 20 users and 40 items, and what the intake reads of a table."""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tastevec.data.expressions import connect
from tastevec.data.intake.source import Source, read_source
from tastevec.data.intake.stated import intake_settings, item_settings

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

USERS, ITEMS = 20, 40
Table = dict[str, list[Any]]
BEYOND = Path(__file__).parents[2] / "shared" / "data" / "beyond"


def crowd(items: int = 16, /, **columns: Any) -> Table:
    """Return a table of ``user_id``, ``item_id`` and these columns: each user has as many different items, in no order."""
    pairs = [
        (user, 1 + (7 * user + 11 * step) % ITEMS) for user in range(1, USERS + 1) for step in range(items)
    ]
    table: Table = {"user_id": [user for user, _ in pairs], "item_id": [item for _, item in pairs]}
    for name, values in columns.items():
        table[name] = [values(row) for row in range(len(pairs))] if callable(values) else list(values)
    return table


def stars(row: int) -> int:
    """Return the rating from 1 to 5 of a row."""
    return 1 + 3 * row % 5


def times(row: int) -> int:
    """Return the second of a row: later rows are later."""
    return 1_600_000_000 + 90 * row


def added(table: Table, *rows: tuple[Any, ...]) -> Table:
    """Return the table with these rows behind it."""
    return {name: [*values, *(row[at] for row in rows)] for at, (name, values) in enumerate(table.items())}


def changed(table: Table, column: str, rows: dict[int, Any]) -> Table:
    """Return the table with these values, by row, in a column."""
    return {**table, column: [rows.get(row, value) for row, value in enumerate(table[column])]}


def write(path: Path, table: Table, *, delimiter: str = ",", header: bool = True) -> Path:
    """Write a table as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerows([list(table)] * header)
        writer.writerows(zip(*table.values(), strict=True))
    return path


@functools.cache
def _connection() -> Backend:
    return connect()


def read(source: Any, **stated: Any) -> Source:
    """Return what the intake reads of a source; the tables live as long as the process."""
    return read_source(
        source, connection=_connection(), settings=intake_settings(stated), items=item_settings(stated)
    )


def rows(source: Source) -> list[dict[str, Any]]:
    """Return the interactions by user and item, without their positions."""
    table = source.interactions.drop("position").order_by(["user_id", "item_id"])
    found: list[dict[str, Any]] = _connection().to_pyarrow(table).to_pylist()
    return found


def value(source: Source, user: Any, item: Any) -> dict[str, Any]:
    """Return value and time of the one interaction of a user and an item."""
    table = source.interactions
    pair = table.filter((table.user_id == user) & (table.item_id == item)).select("rating", "timestamp")
    [found] = _connection().to_pyarrow(pair).to_pylist()
    return dict(found)


def history(source: Source, user: Any) -> list[Any]:
    """Return the items of a user, oldest first."""
    table = source.interactions
    own = table.filter(table.user_id == user).order_by(["timestamp", "position"])
    items: list[Any] = _connection().to_pyarrow(own)["item_id"].to_pylist()
    return items


def codes(source: Source) -> list[str]:
    """Return the codes of the warnings."""
    return [warning.code for warning in source.report.warnings]


def lines(source: Source) -> dict[str, str]:
    """Return role and text of each line of the report, by column or fact."""
    return {line.name: f"{line.role} {line.text}" for table in source.report.tables for line in table.lines}


def positives(source: Source) -> int:
    """Return the number of positive interactions."""
    ratings = _connection().to_pyarrow(source.interactions)["rating"].to_numpy()
    return int((ratings >= source.scale.positive_from).sum())


def real(*parts: str) -> Path:
    """Return a file of a real data set; a test skips where it is not there."""
    path = BEYOND.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no {'/'.join(parts)} in ../shared/data/beyond")
    return path

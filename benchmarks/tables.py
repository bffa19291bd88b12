"""Tables: Markdown rendered from saved records by a mapping of column titles to format strings."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from string import Formatter
from typing import Any

Record = Mapping[str, Any]
MISSING = "-"


class _CellFormatter(Formatter):
    """``str.format`` with three more ways to format a value.

    ``±.3f`` shows a mean and half of its interval (or its deviation), ``[.3f]`` a value and its interval, ``~.1f`` the median of
    several runs with the lowest and the highest.
    """

    def format_field(self, value: Any, format_spec: str) -> str:  # noqa: ANN401  a cell holds any JSON value
        """Return the text of one value."""
        if format_spec.startswith("±"):
            return _with_half_width(value, format_spec[1:])
        if format_spec.startswith("["):
            return _with_interval(value, format_spec[1:-1])
        if format_spec.startswith("~"):
            return _with_range(value, format_spec[1:])
        return str(super().format_field(value, format_spec))


def _with_half_width(row: Record, spec: str) -> str:
    width = row["deviation"] if "deviation" in row else (row["ci_high"] - row["ci_low"]) / 2
    text = f"{row['mean']:{spec}} ±{width:{spec}}"
    return f"**{text}**" if row.get("bold") else f"{text}{'*' if row.get('significant') else ''}"


def _with_interval(row: Record, spec: str) -> str:
    value = next(row[name] for name in ("difference", "ratio", "mean") if name in row)
    if "ratio_low" in row and row["ratio_low"] is None:
        return f"{value:{spec}}"
    low, high = (row[f"ratio_{end}" if "ratio" in row else f"ci_{end}"] for end in ("low", "high"))
    return f"{value:{spec}} [{low:{spec}}, {high:{spec}}]"


def _with_range(values: Any, spec: str) -> str:  # noqa: ANN401  a list of runs, one run, or their summary
    if isinstance(values, Mapping):
        values = [values[name] for name in ("lowest", "median", "highest")]
    values = values if isinstance(values, Sequence) else [values]
    middle = f"{statistics.median(values):{spec}}"
    low, high = f"{min(values):{spec}}", f"{max(values):{spec}}"
    return middle if low == high else f"{middle} ({low} to {high})"


def render_cell(template: str, row: Record) -> str:
    """Return the template filled from the row, itself ``row``; ``-`` where a value is missing or null."""
    try:
        return _CellFormatter().vformat(template, (), {**row, "row": row})
    except (KeyError, IndexError, TypeError):
        return MISSING


def markdown_table(columns: Mapping[str, str], rows: Iterable[Record]) -> str:
    """Return a Markdown table: one column for each title, one line for each row."""
    lines = [list(columns), *([render_cell(cell, row) for cell in columns.values()] for row in rows)]
    head, *body = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, "|---" * len(columns) + "|", *body])


def grouped(rows: Iterable[Record], *keys: str) -> list[dict[str, Any]]:
    """Return one row for each combination of the keys, every other value as the list of its runs."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [
        dict(zip(keys, combination, strict=True))
        | {name: [row.get(name) for row in runs] for name in runs[0] if name not in keys}
        | {"runs": len(runs)}
        for combination, runs in groups.items()
    ]


def pivoted(rows: Iterable[Record], index: Sequence[str], column: str) -> list[dict[str, Any]]:
    """Return one row for each combination of ``index``, each record under the name that ``column`` formats."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in index)
        found.setdefault(key, dict(zip(index, key, strict=True)))[column.format(**row)] = row
    return list(found.values())

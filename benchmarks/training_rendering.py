"""The saved speed and memory of training as the Markdown that the pages show."""

from __future__ import annotations

import statistics
from typing import Any

__all__ = ["rendered_training"]

_NAMES = {"seed": "the note's recipe (seed)", "taste": "taste"}


def rendered_training(results: dict[str, Any]) -> str:
    """People and films a second of each preset, how they compare, and memory by the number of people."""
    return "\n\n".join((_speed(results), _compared(results), _memory(results), _growth(results)))


def _speed(results: dict[str, Any]) -> str:
    lines = [
        [
            results["data"],
            "people a step",
            "films of a person at most",
            "timed steps",
            "people/s",
            "films read/s",
            "of what is computed, padding",
            "processes waiting at the start",
        ]
    ]
    for preset, name in _NAMES.items():
        rows = [row for row in results["speed"] if row["preset"] == preset]
        lines.append(
            [
                name,
                str(rows[0]["batch_size"]),
                str(rows[0]["max_history"]),
                f"{len(rows)} x {rows[0]['steps']}",
                _over(rows, "users_per_second"),
                _over(rows, "films_per_second"),
                f"{statistics.median(row['padding'] for row in rows):.0%}",
                _range([row["busy"] for row in rows]),
            ]
        )
    return _table(lines)


def _compared(results: dict[str, Any]) -> str:
    people, films = (results["times_the_note"][what] for what in ("users_per_second", "films_per_second"))
    reached = "reached" if people["median"] >= results["aim"] else "not reached"
    return (
        f"taste learns from **{people['median']:.1f} times** as many people a second as the note's recipe (in single rounds "
        f"{people['lowest']:.1f} to {people['highest']:.1f}; the aim of {results['aim']} is {reached}), and reads "
        f"{films['median']:.1f} times as many films a second ({films['lowest']:.1f} to {films['highest']:.1f})."
    )


def _memory(results: dict[str, Any]) -> str:
    lines = [
        [
            "generated people",
            "of them training",
            "films rated, of all people",
            "libraries imported, MB",
            "as the first step begins, MB",
            f"after {_steps(results)} steps, MB",
            "after the validation, MB",
        ]
    ]
    for row in results["memory"]:
        peaks = row["peak_memory_mb"]
        lines.append(
            [
                f"{row['users']:,}",
                f"{row['train_users']:,}",
                f"{row['interactions']:,}",
                *(f"{peaks[when]:,}" for when in ("imported", "before_the_first_step")),
                *(f"{peaks[when]:,}" for when in ("after_the_steps", "after_the_validation")),
            ]
        )
    return _table(lines)


def _growth(results: dict[str, Any]) -> str:
    """By how much the peaks differ from the fewest people to the most."""
    few, many = results["memory"][0], results["memory"][-1]
    before, after = (
        many["peak_memory_mb"][when] - few["peak_memory_mb"][when]
        for when in ("before_the_first_step", "after_the_validation")
    )
    each = after / (many["users"] - few["users"]) * 10_000
    return (
        f"From {few['users']:,} to {many['users']:,} people the peak grows by {after:,} MB, {each:,.0f} MB for 10,000 people; "
        f"as the first step begins, before anything is learned step by step, it has grown by {before:,} MB."
    )


def _steps(results: dict[str, Any]) -> int:
    first = results["memory"][0]
    return int(first["warm_up"] + first["steps"])


def _over(rows: list[dict[str, Any]], what: str) -> str:
    """The median over the rounds, and the lowest and the highest where there are several."""
    values = [row[what] for row in rows]
    middle = f"{statistics.median(values):,.1f}"
    return f"{middle} ({_range(values)})" if len(values) > 1 else middle


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:,.1f}" if low == high else f"{low:,.1f} to {high:,.1f}"


def _table(lines: list[list[str]]) -> str:
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([rows[0], "|---" * len(lines[0]) + "|", *rows[1:]])

"""The saved speed and memory of the preparation as the Markdown that the page shows."""

from __future__ import annotations

import statistics
from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_preparation"]

_MOST_MEMORY = 2e9 / 2**20  # 2 GB, in the MB of the table


def rendered_preparation(results: dict[str, Any]) -> str:
    """Seconds and memory by ratings, the parts of the largest, how the two compare, and the note's recipe."""
    return "\n\n".join(
        (
            _told(results),
            _sizes(results),
            _compared(results),
            _parts(results),
            _grown(results),
            _noted(results),
        )
    )


def _told(results: dict[str, Any]) -> str:
    data = results["data"]
    return (
        f"Generated: {data['ratings']:,} ratings of {data['people'][-1]:,} people, {data['films']:,} films, {data['genome_films']:,} of them with "
        f"a genome, {data['tags']:,} tags; {data['megabytes'][-1]:,} MB of text; and the parts of its first people, with the same films."
    )


def _sizes(results: dict[str, Any]) -> str:
    lines = [
        [
            "ratings",
            "people",
            "system",
            "runs",
            "seconds",
            "peak memory, MB",
            "processes waiting at the start",
        ]
    ]
    for key in dict.fromkeys(
        (row["ratings"], row["people"], row["system"]) for row in results["preparations"]
    ):
        rows = _rows(results, *key)
        seconds, memory, busy = (
            [row[what] for row in rows] for what in ("seconds", "peak_memory_mb", "busy")
        )
        lines.append(
            [
                f"{key[0]:,}",
                f"{key[1]:,}",
                key[2],
                str(len(rows)),
                _over(seconds),
                f"{max(memory):,}",
                _range(busy),
            ]
        )
    return markdown_table(lines)


def _compared(results: dict[str, Any]) -> str:
    most = results["times_plain"][-1]
    reached = "reached" if most["same_work"]["median"] <= results["aim"] else "not reached"
    ours = [row for row in results["preparations"] if row["system"].startswith("tastevec")]
    memory = max(row["peak_memory_mb"] for row in ours)
    each = "; ".join(
        f"{times['ratings']:,} ratings {times['same_work']['median']:.2f} and {times['whole']['median']:.2f}"
        for times in results["times_plain"]
    )
    return (
        f"With {most['ratings']:,} ratings `prepare` takes **{_times(most['same_work'])} times** as long as plain SQL that does the same work; the aim "
        f"of {results['aim']} is {reached}. It also makes film vectors, for which SQL has no words: with them it takes {_times(most['whole'])} times as "
        f"long. In the order of sizes, without the vectors and with them: {each}. Its peak memory is {memory:,} MB at most, "
        f"{'under' if memory < _MOST_MEMORY else 'over'} 2 GB."
    )


def _parts(results: dict[str, Any]) -> str:
    last = results["preparations"][-1]
    systems = list(dict.fromkeys(row["system"] for row in results["preparations"]))
    names = list(dict.fromkeys(name for row in results["preparations"] for name in row["parts"]))
    lines = [[f"seconds of each part, {last['ratings']:,} ratings", *systems]]
    for name in names:
        cells = []
        for system in systems:
            found = [
                row["parts"].get(name) for row in _rows(results, last["ratings"], last["people"], system)
            ]
            cells.append("-" if None in found else _over(found))
        lines.append([name, *cells])
    return markdown_table(lines)


def _grown(results: dict[str, Any]) -> str:
    told = [
        f"{system} {grown['start']:.1f} s and {grown['per_million']:.2f} s a million ratings (R² {grown['r_squared']:.3f})"
        for system, grown in results["by_ratings"].items()
    ]
    return f"A straight line through all of these: {'; '.join(told)}. Films, genome and what begins a process are in the first."


def _noted(results: dict[str, Any]) -> str:
    note, far = results["note"], results["note"]["extrapolated"]
    parts = ", ".join(f"{name} {seconds:,.1f}" for name, seconds in note["parts"].items())
    return (
        f"The note's recipe in pandas, our reimplementation of its text, was timed on {note['ratings']:,} ratings of {note['people']:,} people: "
        f"{note['seconds']:,.1f} s ({parts}), {note['peak_memory_mb']:,} MB. **Extrapolated and not measured**: {far['ratings']:,} ratings would take "
        f"{far['seconds']:,} s if all but the film vectors grows with ratings, and its joined table alone {far['joined_table_mb']:,} MB."
    )


def _rows(results: dict[str, Any], ratings: int, people: int, system: str) -> list[dict[str, Any]]:
    asked = (ratings, people, system)
    return [row for row in results["preparations"] if (row["ratings"], row["people"], row["system"]) == asked]


def _times(spread: dict[str, float]) -> str:
    """The median over the rounds, and the lowest and the highest."""
    return f"{spread['median']:.2f} ({spread['lowest']:.2f} to {spread['highest']:.2f})"


def _over(values: list[float]) -> str:
    middle = f"{statistics.median(values):,.1f}"
    return f"{middle} ({_range(values)})" if len(values) > 1 else middle


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:,.1f}" if low == high else f"{low:,.1f} to {high:,.1f}"

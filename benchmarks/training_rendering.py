"""The saved speed and memory of training as the Markdown that the pages show."""

from __future__ import annotations

import statistics
from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_training"]

_NAMES = {"seed": "the note's recipe (seed)", "taste": "taste"}


def rendered_training(results: dict[str, Any]) -> str:
    """People and films a second of each preset, how they compare, what of it is reading and padding, and memory by people."""
    parts = [_speed(results), _compared(results)]
    if "packed" in results:
        parts += [_packed(results), _precision(results["precision"])]
    parts += [_memory(results["memory"]), _growth(results)]
    if "release" in results:
        parts += [_release(results)]
    return "\n\n".join(parts)


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
    return markdown_table(lines)


def _compared(results: dict[str, Any]) -> str:
    people, films = (results["times_the_note"][what] for what in ("users_per_second", "films_per_second"))
    reached = "reached" if people["median"] >= results["aim"] else "not reached"
    return (
        f"taste learns from **{people['median']:.1f} times** as many people a second as the note's recipe (in single rounds "
        f"{people['lowest']:.1f} to {people['highest']:.1f}; the aim of {results['aim']} is {reached}), and reads "
        f"{films['median']:.1f} times as many films a second ({films['lowest']:.1f} to {films['highest']:.1f})."
    )


def _packed(results: dict[str, Any]) -> str:
    """How much of a step is reading and padding, with short histories sharing rows, as taste comes, and without."""
    most = results["most"]
    plain = [row for row in results["speed"] if row["preset"] == "taste"]
    lines = [
        [
            "taste",
            "of a step's time, reading",
            "of what the blocks compute, padding",
            "people/s",
        ]
    ]
    for name, rows in (("as it comes", results["packed"]), ("`packed=false`", plain)):
        shares = (max(row["reading"] for row in rows), max(row["padding"] for row in rows))
        lines.append([name, f"{shares[0]:.1%}", f"{shares[1]:.1%}", _over(rows, "users_per_second")])
    pairs = zip(results["packed"], plain, strict=True)
    times = [packed["users_per_second"] / row["users_per_second"] for packed, row in pairs]
    reading = max(row["reading"] for row in (*plain, *results["packed"]))
    padding = {
        name: max(row["padding"] for row in rows)
        for name, rows in (("", plain), ("packed", results["packed"]))
    }
    told = (
        f"Reading was to cost under {most['reading']:.0%} of a step ({_met(reading < most['reading'])}), and padding at most {most['padding']:.0%} of what is "
        f"computed: {_met(padding['packed'] <= most['padding'])} as taste comes, where the pieces of histories that were cut share a row, and "
        f"{_met(padding[''] <= most['padding'])} with `packed=false`. So packed it learns from {statistics.median(times):.2f} times as many people a "
        f"second ({_range(times, '.2f')}) from the same histories, but with other draws of dropout. The highest shares of all rounds."
    )
    return f"{markdown_table(lines)}\n\n{told}"


def _precision(results: dict[str, Any]) -> str:
    """People a second in either precision, by width."""
    lines = [["hidden numbers", "float32, people/s", "bfloat16, people/s", "times"]]
    rows = {(row["hidden_size"], row["precision"]): row["users_per_second"] for row in results["rows"]}
    for width in dict.fromkeys(row["hidden_size"] for row in results["rows"]):
        single, half = rows[width, "float32"], rows[width, "bfloat16"]
        lines.append([str(width), f"{single:,.1f}", f"{half:,.1f}", f"{half / single:.2f}"])
    told = "computes in bfloat16" if results["native"] else "does not compute in bfloat16"
    return f"This processor {told}.\n\n{markdown_table(lines)}"


def _release(results: dict[str, Any]) -> str:
    """The peak of training on a release as large as the largest."""
    row, most = results["release"], results["most"]["memory_mb"]
    peak = max(row["peak_memory_mb"].values())
    told = (
        f"A generated release of {row['users']:,} people, {row['films']:,} films and {row['interactions']:,} films rated or tagged, from the first line to the "
        f"validation: the peak was to stay under {most:,} MB ({_met(peak < most)})."
    )
    return f"{told}\n\n{_memory([row])}"


def _met(there: bool) -> str:  # noqa: FBT001  what it says
    return "met" if there else "missed"


def _memory(rows: list[dict[str, Any]]) -> str:
    lines = [
        [
            "generated people",
            "of them training",
            "films rated, of all people",
            "libraries imported, MB",
            "as the first step begins, MB",
            f"after {rows[0]['warm_up'] + rows[0]['steps']} steps, MB",
            "after the validation, MB",
        ]
    ]
    for row in rows:
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
    return markdown_table(lines)


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


def _over(rows: list[dict[str, Any]], what: str) -> str:
    """The median over the rounds, and the lowest and the highest where there are several."""
    values = [row[what] for row in rows]
    middle = f"{statistics.median(values):,.1f}"
    return f"{middle} ({_range(values)})" if len(values) > 1 else middle


def _range(values: list[float], shown: str = ",.1f") -> str:
    low, high = min(values), max(values)
    return f"{low:{shown}}" if low == high else f"{low:{shown}} to {high:{shown}}"

"""The saved speed and memory of encoding as the Markdown that the pages show."""

from __future__ import annotations

import statistics
from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_encoding"]

_NAMES = {
    "onnx": "tastevec, ONNX",
    "torch": "tastevec, torch",
    "onnx overall": "tastevec, ONNX, *overall*",
    "note": "the note's own code",
}


def rendered_encoding(results: dict[str, Any]) -> str:
    """People a second of each system, how they compare, the whole command, and its memory by the number of people."""
    return "\n\n".join(
        (_speed(results), _compared(results), _command(results), _memory(results), _growth(results))
    )


def _speed(results: dict[str, Any]) -> str:
    machine = results["machine"]
    columns = [
        "from histories in memory to vectors",
        "people",
        "films of a person",
        "people/s",
        "processes waiting",
    ]
    lines = [columns]
    for system, name in _NAMES.items():
        rows = [row for row in results["encodings"] if row["system"] == system]
        lines.append(
            [
                name,
                f"{len(rows)} x {rows[0]['people']:,}",
                f"{rows[0]['films'] / rows[0]['people']:,.0f}",
                _over([row["users_per_second"] for row in rows]),
                _range([row["busy"] for row in rows]),
            ]
        )
    told = (
        f"{results['data']}, {machine['cores']} cores ({machine['cpu']}), systems in turns, each time in a process of its own. Fewer people "
        "are the first of the same order, drawn once."
    )
    return f"{told}\n\n{markdown_table(lines)}"


def _compared(results: dict[str, Any]) -> str:
    note, torch = results["times"]["note"], results["times"]["torch"]
    reached = "reached" if note["median"] >= results["aim"] else "not reached"
    whole = "reached" if note["whole_command"] >= results["aim"] else "not reached"
    steps = [row["steps"] for row in results["encodings"] if row["system"] == "note"]
    network = statistics.median(step["network"] / sum(step.values()) for step in steps)
    return (
        f"ONNX encodes **{note['median']:,.0f} times** as many people a second as the note's own code (in single rounds {note['lowest']:,.0f} to "
        f"{note['highest']:,.0f}; the aim of {results['aim']} is {reached}), and {torch['median']:.2f} times as many as torch "
        f"({torch['lowest']:.2f} to {torch['highest']:.2f}). The whole command, which also starts, reads, checks and sorts the file and writes another, does "
        f"{note['whole_command']:,.0f} times what the note's code does in memory (the aim is {whole} by it). Of the note's time {network:.0%} is its network, of 768 "
        "numbers and 512 films a person, padded; the rest is its loop over people and its collate function."
    )


def _command(results: dict[str, Any]) -> str:
    command = results["command"]
    lines = [["from file to file", "people", "films rated", "seconds", "people/s", "peak memory, MB"]]
    for name in ("encode", "encode on Spark"):
        if name in command:
            took = command[name]
            lines.append(
                [
                    f"`tastevec {name}`" if name == "encode" else "`tastevec encode --engine spark`",
                    f"{command['people']:,}",
                    f"{command['films']:,}",
                    f"{took['seconds']:,.1f}",
                    f"{command['people'] / took['seconds']:,.0f}",
                    f"{took['peak_memory_mb']:,}" if name == "encode" else "-",
                ]
            )
    return markdown_table(lines)


def _memory(results: dict[str, Any]) -> str:
    lines = [["generated people", "films rated", "seconds", "people/s", "peak memory, MB"]]
    lines += [
        [
            f"{row['users']:,}",
            f"{row['interactions']:,}",
            f"{row['seconds']:,.1f}",
            f"{row['users'] / row['seconds']:,.0f}",
            f"{row['peak_memory_mb']:,}",
        ]
        for row in results["growth"]
    ]
    return markdown_table(lines)


def _growth(results: dict[str, Any]) -> str:
    """By how much the peak differs from the fewest people to the most, and between the two largest."""
    few, *_, before, many = [results["growth"][0], *results["growth"]]
    whole, last = (many["peak_memory_mb"] / row["peak_memory_mb"] - 1 for row in (few, before))
    return (
        f"From {few['users']:,} to {many['users']:,} people the peak differs by {whole:+.0%}, from {before['users']:,} to {many['users']:,} by {last:+.0%}: "
        "what is sorted is held up to a bound (`--memory`), and goes to disk beyond."
    )


def _over(values: list[float]) -> str:
    """The median over the rounds, and the lowest and the highest where there are several."""
    middle = _told(statistics.median(values))
    return f"{middle} ({_told(min(values))} to {_told(max(values))})" if len(values) > 1 else middle


def _told(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"  # noqa: PLR2004  from here on decimals say nothing


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:,.1f}" if low == high else f"{low:,.1f} to {high:,.1f}"

"""How faithful explanations are and what steering does, as the Markdown that the pages show."""

from __future__ import annotations

from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_explanations"]

_FORETOLD = {
    "named, applies more": "the {named} named tags that apply more to him than to most",
    "most liked by all": "the {named} tags that apply most to what everybody likes",
    "any": "any tag, the mean of all",
    "named, applies less": "the {named} named tags that apply less to him than to most",
}


def rendered_explanations(results: dict[str, Any]) -> str:
    """What was asked of whom, and the tables."""
    told = [_asked(results), _deleted(results), _foretold(results), _steered(results)]
    return "\n\n".join(told + ([_reached(results["reach"])] if "reach" in results else []))


def _asked(results: dict[str, Any]) -> str:
    tags = results["tags"]
    return (
        f"{results['people']} {results['split']} people of {results['data']}, {tags['count']} tags (median confidence "
        f"{tags['median_confidence']:.2f}). Mean and 95 % interval over people. A reading is in standard deviations over people, "
        f"a relevance in standard deviations over films. What everybody likes: {', '.join(tags['popular'])}."
    )


def _deleted(results: dict[str, Any]) -> str:
    films = results["tags"]["films"]
    lines = [[f"{films} films deleted", "change of the named tag's reading", "the named films move it"]]
    for row in results["deletion"]:
        times = f"{row['named_ratio']:.1f} times as far [{row['named_ratio_low']:.1f}, {row['named_ratio_high']:.1f}]"
        lines.append([row["deleted"], _cell(row, 3), "" if row["deleted"] == "named" else times])
    return markdown_table(lines)


def _foretold(results: dict[str, Any]) -> str:
    rows = {row["tags"]: row for row in results["foretold"]}
    lines = [
        ["tags", "relevance to hidden likes", "beyond the average person's likes", "named tags are better by"]
    ]
    for name, told in _FORETOLD.items():
        row = rows[name]
        better = "" if name.startswith("named") else _cell(row["named_minus"], 2)
        named = told.format(named=results["tags"]["named"])
        lines.append([named, _cell(row["relevance"], 2), _cell(row["beyond_average"], 2), better])
    return markdown_table(lines)


def _steered(results: dict[str, Any]) -> str:
    doses = [f"{row['dose']:+d}" if row["dose"] else "0" for row in results["steering"][0]["doses"]]
    first = results["tags"]["first"]
    lines = [
        [
            "hold",
            *(f"dose {dose}" for dose in doses),
            "tags that rise at every dose",
            "mean change by a dose of 1",
            "of the other tags",
            f"of the {results['tags']['nearest']} nearest of these",
            f"of the first {first} films kept",
        ]
    ]
    lines += [
        [
            f"{row['hold']:g}",
            *(f"{found['mean']:.2f}" for found in row["doses"]),
            f"{row['rising']:.0%} of {row['tags']}",
            *(_cell(row[change], 3) for change in ("own_change", "others_change", "nearest_change")),
            f"{row['kept']['mean']:.0%}",
        ]
        for row in results["steering"]
    ]
    return f"Mean relevance of the tag among the first {first} films:\n\n" + markdown_table(lines)


def _reached(rows: list[dict[str, Any]]) -> str:
    doses = [f"dose {row['dose']:+d}" for row in rows[0]["doses"]]
    lines = [["asked", "newest films told", *doses]]
    lines += [
        [row["horizon"], str(row["films"]), *(f"{found['mean']:.1f}" for found in row["doses"])]
        for row in rows
    ]
    return (
        f"Of the first {rows[0]['first']} films, those that were not there without steering:\n\n"
        + markdown_table(lines)
    )


def _cell(found: dict[str, float], digits: int) -> str:
    mean, low, high = (f"{found[name]:.{digits}f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"

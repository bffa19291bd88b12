"""The saved speed of finding the best films as the Markdown that the pages show."""

from __future__ import annotations

from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_ranking"]


def rendered_ranking(results: dict[str, Any]) -> str:
    """What was asked, every system's row, how memory grows with people, and who is like whom."""
    rows = results["rankings"]
    ours = next(row for row in reversed(rows) if row["system"] == "tastevec")
    lines = [
        [
            "system",
            "people asked",
            "building, s",
            "people/s",
            "of tastevec's",
            "recall@100",
            "peak memory, MB",
        ],
        *(_line(row, ours) for row in rows),
    ]
    asked = (
        f"The {results['k']} best of {results['films']:,} films but a person's own, vectors of {results['dim']} numbers, people and films "
        f"generated, {results['machine']['cores']} cores ({results['machine']['cpu']}). Where fewer than {results['people']:,} people are asked, "
        "they are the first of the same people. Recall is the share of tastevec's own list that was found; exact systems may "
        "round nearly equal scores otherwise. All but tastevec and NumPy search to a depth: for the films wanted and as many as a person knows, people of "
        "like lengths together, from which his own are dropped; HNSW holds as many candidates as its number says, or as the depth."
    )
    return "\n".join([asked, "", markdown_table(lines), *_growth(rows), "", *_similar(results)])


def _similar(results: dict[str, Any]) -> list[str]:
    """Everybody's nearest people."""
    lines = [
        ["people, each among all", "people/s", "index, s", "peak memory, MB"],
        *(
            [
                f"{row['people']:,}",
                f"{row['people_per_second']:,.0f}",
                f"{row['build_seconds']:,.1f}",
                f"{row['peak_memory_mb']:,}",
            ]
            for row in results["similar"]
        ),
    ]
    return [
        f"`similar`, the {results['nearest']} nearest people of everybody (faiss, exact):",
        "",
        markdown_table(lines),
    ]


def _line(row: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    share = row["people_per_second"] / ours["people_per_second"]
    return [
        row["system"],
        f"{row['people']:,}",
        f"{row['build_seconds']:,.1f}",
        f"{row['people_per_second']:,.0f}",
        f"{share:.2f}",
        f"{row['recall']:.4f}",
        f"{row['peak_memory_mb']:,}",
    ]


def _growth(rows: list[dict[str, Any]]) -> list[str]:
    """By how much the peak differs from the fewest people to the most, of each system that was asked twice."""
    told = []
    for system in dict.fromkeys(row["system"] for row in rows):
        few, *more = sorted((row for row in rows if row["system"] == system), key=lambda row: row["people"])
        told += [
            f"From {few['people']:,} to {many['people']:,} people the peak memory of {system} changes by "
            f"{many['peak_memory_mb'] - few['peak_memory_mb']:+,} MB."
            for many in more
        ]
    return ["", *told] if told else []

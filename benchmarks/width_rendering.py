"""What longer vectors reached, as the Markdown that the pages show."""

from __future__ import annotations

from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_widths"]

_COLUMNS = (
    ("next-liked", "ndcg@10", "next-liked NDCG@10"),
    ("last-20%", "ndcg@100", "last-20% NDCG@100"),
    ("fold-in", "recall@20", "fold-in R@20"),
    ("fold-in", "ndcg@100", "fold-in NDCG@100"),
    ("best-rated", "ndcg@10", "best-rated NDCG@10"),
)


def rendered_widths(results: dict[str, Any]) -> str:
    """What each width reached, with what it cost, and by how much the longer are above the first."""
    return "\n\n".join((_asked(results), _reached(results), _beside(results)))


def _asked(results: dict[str, Any]) -> str:
    asked = ", ".join(f"{task['task']} {task['users']}" for task in results["tasks"])
    seeds = ", ".join(map(str, results["seeds"]))
    return (
        f"Test people asked: {asked}. Mean ± half of the 95 % interval over people; seed {seeds}. The width of the transformer "
        f"(hidden_size) is {results['settings']['hidden_size']} for all."
    )


def _reached(results: dict[str, Any]) -> str:
    rows = {(row["system"], row["task"], row["metric"]): row for row in results["rows"]}
    ranks = {
        row["system"]: row["mean"]
        for row in results["wholes"]
        if (row["task"], row["metric"]) == ("fold-in", "effective_rank")
    }
    names = [name for _, _, name in _COLUMNS]
    lines = [["numbers a vector", *names, "effective rank (fold-in)", "seconds of a training"]]
    for width in results["widths"]:
        system = f"dim-{width}"
        cells = [_cell(rows.get((system, task, metric))) for task, metric, _ in _COLUMNS]
        rank = f"{ranks[system]:.1f}" if system in ranks else "-"
        lines.append([str(width), *cells, rank, _seconds(results, system)])
    return markdown_table(lines)


def _seconds(results: dict[str, Any], system: str) -> str:
    spent = [stage["seconds"] for stage in results["stages"] if stage["stage"].startswith(f"train {system} ")]
    return " / ".join(f"{seconds:,.0f}" for seconds in spent)


def _beside(results: dict[str, Any]) -> str:
    lines = [
        [
            f"minus {results['widths'][0]} numbers",
            "question",
            "metric",
            "difference, with its paired 95 % interval",
        ]
    ]
    for pair in sorted(results["beside_first"], key=lambda pair: int(pair["system"].removeprefix("dim-"))):
        found = f"{pair['difference']:+.3f} [{pair['low']:+.3f}, {pair['high']:+.3f}]"
        lines.append([pair["system"].removeprefix("dim-"), pair["task"], pair["metric"], found])
    return markdown_table(lines)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None or row["mean"] is None:
        return "-"
    return f"{row['mean']:.3f} ±{(row['high'] - row['low']) / 2:.3f}"

"""The saved ablations as the Markdown that the pages show."""

from __future__ import annotations

from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_ablations"]

_COLUMNS = {
    ("best-rated", "ndcg@10"): "best-rated NDCG@10",
    ("best-rated", "cosine_distance_centred"): "best-rated centred cosine distance",
    ("fold-in", "ndcg@100"): "fold-in NDCG@100",
    ("last-20%", "ndcg@100"): "last-20% NDCG@100",
    ("next-liked", "ndcg@10"): "next-liked NDCG@10",
    ("fold-in", "effective_rank"): "effective rank",
}
_DISTANCE = "cosine_distance_centred"
_RANK = "effective_rank"


def rendered_ablations(results: dict[str, Any]) -> str:
    """What was asked of whom; then a table for each recipe that others were made from."""
    bases = list(dict.fromkeys(variant["beside"] for variant in results["ablations"]))
    return "\n\n".join([_asked(results), *(_beside(results, base, bases) for base in bases)])


def _asked(results: dict[str, Any]) -> str:
    asked = ", ".join(f"{task['task']} {task['users']}" for task in results["tasks"])
    budget, seeds = results["budget"], results["seeds"]
    runs = f"each row is the mean of {len(seeds)} trainings" if len(seeds) > 1 else "one training a row"
    return (
        f"Budget of every row: {budget['epochs']} epochs, {budget['max_history']} films of a history read in order; {runs}. The "
        f"pretrained blocks are those of {results['checkpoint']}. Test people asked: {asked}. Mean ± half of the 95 % interval over "
        "people; the effective rank has no interval. A star: the paired 95 % interval of the difference to the bold row excludes 0. "
        "In brackets: a distance to other film vectors than those of the bold row, which does not compare with it."
    )


def _beside(results: dict[str, Any], base: str, bases: list[str]) -> str:
    """The floors, the base and what was made from it."""
    rows = {(row["system"], row["task"], row["metric"]): row for row in results["rows"]}
    found = {(row["system"], row["task"], row["metric"]): row for row in results["differences"]}
    others = [f"({other})" for other in bases if other != base]
    lines = [["", "changed", *_COLUMNS.values()]]
    lines += [
        [floor, "", *(_cell(rows.get((floor, *column)), column[1]) for column in _COLUMNS)]
        for floor in results["floors"]
        if not any(floor.endswith(other) for other in others)
    ]
    for variant in results["ablations"]:
        name = variant["name"]
        if variant["beside"] != base:
            continue
        cells = []
        for column in _COLUMNS:
            cell, beside = _cell(rows.get((name, *column)), column[1]), found.get((name, *column))
            if beside is None and column[1] == _DISTANCE and name != base and cell != "-":
                cell = f"({cell})"
            cells.append(cell + ("*" if beside and beside["star"] else ""))
        changes = ", ".join(f"`{setting}={value}`" for setting, value in variant["changes"].items())
        shown = "all of the above" if len(variant["changes"]) > 3 else changes  # noqa: PLR2004  a cell's worth
        lines.append([f"**{name}**" if name == base else name, shown, *cells])
    return markdown_table(lines)


def _cell(row: dict[str, Any] | None, metric: str) -> str:
    """A mean and half of its interval; of the effective rank, three digits."""
    if row is None or row["mean"] is None:
        return "-"
    if metric == _RANK:
        return f"{row['mean']:.3g}"
    return f"{row['mean']:.3f} ±{(row['high'] - row['low']) / 2:.3f}"

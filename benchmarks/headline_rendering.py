"""The main table of README: a few systems, one measure a question, out of the whole evaluation that docs/measured.md shows."""

from __future__ import annotations

from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_headline"]

_COLUMNS = (
    ("next-liked", "ndcg@10", "the next liked film, NDCG@10"),
    ("last-20%", "ndcg@100", "the last fifth of the liked, NDCG@100"),
    ("fold-in", "ndcg@100", "a random fifth of them, NDCG@100"),
    ("best-rated", "ndcg@10", "the best-rated film, NDCG@10"),
)
# Our two recipes, and of each kind of floor and baseline the one that is hardest to beat somewhere.
_SYSTEMS = {
    "taste": "**taste**, our recipe",
    "seed": "**seed**, the note's recipe",
    "SASRec": "SASRec (RecTools)",
    "EASE, likes and middle": "EASE of liked and middling films",
    "EASE, any rating": "EASE of any rating",
    "EASE, any rating, last 5 only": "EASE of the last five films",
    "iALS, likes and middle": "iALS of liked and middling films",
    "Mult-VAE": "Mult-VAE",
    "item-kNN": "item-kNN",
    "mean of liked (taste)": "mean of the liked films' vectors",
    "popularity": "popularity",
}


def rendered_headline(results: dict[str, Any]) -> str:
    """Each system's mean with half of its interval; bold is the best of a column and what its interval cannot tell from it."""
    evaluation = results["evaluation"]
    rows = {(row["system"], row["task"], row["metric"]): row for row in evaluation["rows"]}
    level = {column: _level(evaluation, *column[:2], rows) for column in _COLUMNS}
    lines = [("system", *(name for *_, name in _COLUMNS))]
    for system, name in _SYSTEMS.items():
        cells = [_cell(rows.get((system, *column[:2])), bold=system in level[column]) for column in _COLUMNS]
        lines.append((name, *cells))
    asked = max(task["users"] for task in evaluation["tasks"])
    told = (
        f"{asked} test people, unseen; mean ± half of the 95 % interval over people. Bold: the best of the column, and whatever its paired interval "
        "cannot tell from it."
    )
    return f"{told}\n\n{markdown_table(lines)}"


def _level(evaluation: dict[str, Any], task: str, metric: str, rows: dict[Any, Any]) -> set[str]:
    """The best system of a column, and those whose paired difference from it may be nothing."""
    asked = {system for system in _SYSTEMS if (system, task, metric) in rows}
    best = max(asked, key=lambda system: rows[system, task, metric]["mean"])
    pairs = [
        pair
        for pair in evaluation["paired"]
        if (pair["task"], pair["metric"]) == (task, metric) and best in (pair["a"], pair["b"])
    ]
    return {best} | {
        system for pair in pairs if pair["low"] <= 0 <= pair["high"] for system in (pair["a"], pair["b"])
    } & asked


def _cell(row: dict[str, Any] | None, *, bold: bool) -> str:
    if row is None or row["mean"] is None:
        return "-"
    text = f"{row['mean']:.3f} ±{(row['high'] - row['low']) / 2:.3f}"
    return f"**{text}**" if bold else text

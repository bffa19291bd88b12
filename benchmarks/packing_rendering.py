"""The saved trainings, packed and not, as the Markdown that the page shows."""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_packing"]

_MEASURES = ("fold-in_ndcg@100", "next-liked_ndcg@100", "last-20%_ndcg@100", "selection")


def rendered_packing(results: dict[str, Any]) -> str:
    """Each measure of the validation people for each seed, and the mean difference of a seed with the seeds' spread."""
    rows = results["packing"]
    seeds = sorted({row["seed"] for row in rows})
    values = {(row["seed"], row["packed"], measure): row[measure] for row in rows for measure in _MEASURES}
    lines = [("measure", *(f"seed {seed}" for seed in seeds), "packed less not packed, and its deviation")]
    for measure in _MEASURES:
        pairs = [(values[seed, False, measure], values[seed, True, measure]) for seed in seeds]
        apart = [packed - plain for plain, packed in pairs]
        spread = f" ±{stdev(apart):.4f}" if len(apart) > 1 else ""
        shown = (f"{plain:.4f}, packed {packed:.4f}" for plain, packed in pairs)
        lines.append((measure.replace("_", " "), *shown, f"{mean(apart):+.4f}{spread}"))
    machine, settings = results["machine"], results["settings"]
    where = results["gpu"] or machine["cpu"]
    told = (
        f"{results['data']}, validation people, {settings['epochs']} epochs, {len(rows)} trainings on {where}. "
        "Validation people chose each training's epoch, so that all values flatter alike."
    )
    return f"{told}\n\n{markdown_table(lines)}"

"""Other catalogs and other kinds of feedback: from each data set's files to an evaluated model, with no other flags than items, and two epochs."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from measure import ROOT

from tastevec.data.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from measure import Run

BEYOND = ROOT.parent / "shared" / "data" / "beyond"
# The file of interactions, that of the items, and what the catalog calls them. Nothing is tuned on these.
DATA_SETS: dict[str, tuple[str, str | None, str | None]] = {
    "retailrocket": ("retailrocket/events.csv", None, "product:products"),
    "steam": ("steam/plays.csv", "steam/items.csv", "game:games"),
    "movietweetings": ("movietweetings", None, None),
    "amazon-grocery": ("amazon-grocery/interactions.csv", "amazon-grocery/items.csv", "product:products"),
    "anime": ("anime/ratings.csv", "anime/items.csv", "anime:anime"),
    "amazon-beauty": ("amazon-beauty/interactions.csv", "amazon-beauty/items.csv", "product:products"),
    "yelp": ("yelp/interactions.csv", "yelp/items.csv", "place:places"),
    "amazon-video-games": ("amazon-video-games/interactions.csv", None, "product:products"),
    "anime history": ("anime/history.csv", "anime/items.csv", "anime:anime"),
}
METRICS = {
    "next-item": "ndcg@10",
    "last-20pct": "ndcg@100",
    "random-20pct": "ndcg@100",
    "top-rated": "ndcg@10",
}
# Two epochs: what is solved before the first decides most of the tasks here. The other flags are those of any user.
FULL = ("--set", "epochs=2")
SMALL = ("--set", "epochs=1", "--set", "hidden_size=64", "--set", "report_to=none")


def measured(run: Run) -> dict[str, Any]:
    """Fit and evaluate a model on each data set that is there; a small run takes made-up clicks and one epoch."""
    if not run.full:
        return {
            "data_sets": [_measured(run, "made-up", (made_up(run.work / "clicks.csv", run.seed), None, None))]
        }
    found = {name: files for name, files in DATA_SETS.items() if (BEYOND / files[0]).exists()}
    return {"data_sets": [_measured(run, name, files) for name, files in found.items()]}


def _measured(run: Run, name: str, files: tuple[str, str | None, str | None]) -> dict[str, Any]:
    interactions, items, noun = files
    folder = run.work / name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    flags: list[str | Path] = ["--items", BEYOND / items] if items else []
    flags += ["--item-noun", noun] if noun else []
    prepared, model, out = folder / "prepared", folder / "model", folder / "results"
    source = BEYOND / interactions  # an absolute path stays what it is
    more = FULL if run.full else SMALL
    fitted = run.tastevec(f"fit {name}", "fit", source, *flags, "--prepared", prepared, "--out", model, *more)
    evaluated = run.tastevec(
        f"evaluate {name}", "evaluate", model, "--data", prepared, "--no-baselines", "--out", out
    )
    data = Prepared.open(prepared)
    report = json.loads((out / "results.json").read_text(encoding="utf-8"))
    counts = data.manifest["counts"]
    return {
        "name": name,
        "feedback": data.scale.kind,
        "order": data.order,
        "report": str(data.report),
        "warnings": [warning.code for warning in data.report.warnings],
        "users": counts["users"]["kept"],
        "items": counts["items"],
        "interactions": counts["interactions"]["kept"],
        "prepare_seconds": round(sum(data.manifest["timings"].values()), 1),
        "fit_seconds": fitted["seconds"],
        "evaluate_seconds": evaluated["seconds"],
        "peak_memory_mb": fitted["peak_memory_mb"],
        "tasks": _tasks(report),
        "skipped_tasks": report["skipped_tasks"],
    }


def made_up(target: Path, seed: int) -> str:
    """Write clicks of users who each prefer one third of the items."""
    draw = random.Random(seed)  # noqa: S311  no secret
    rows = [(user, 3 * draw.randrange(20) + user % 3) for user in range(200) for _ in range(12)]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(
        "".join(["user_id,item_id\n", *(f"{user},{item}\n" for user, item in rows)]), encoding="utf-8"
    )
    return str(target.resolve())


def _tasks(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the model and the better popularity of each task, and their paired difference."""
    rows = {
        (row["system"], row["task"]): row
        for row in report["rows"]
        if row["metric"] == METRICS.get(row["task"])
    }
    tasks = []
    for task, metric in METRICS.items():
        model = rows.get(("model", task))
        popular = [row for name in ("popularity", "recent popularity") if (row := rows.get((name, task)))]
        if model is None or not popular:
            continue
        best = max(popular, key=lambda row: float(row["mean"]))
        pair = _difference(report, "model", best["system"], task, metric)
        tasks.append({"task": task, "metric": metric, "model": model, "popularity": best, "difference": pair})
    return tasks


def _difference(
    report: Mapping[str, Any], first: str, second: str, task: str, metric: str
) -> dict[str, float] | None:
    """Return the mean and the interval of the first system minus the second, on the same users."""
    for pair in report["paired_differences"]:
        if (pair["task"], pair["metric"]) != (task, metric) or {pair["a"], pair["b"]} != {first, second}:
            continue
        sign = 1 if pair["a"] == first else -1
        low, high = sorted((sign * pair["ci_low"], sign * pair["ci_high"]))
        return {"mean": sign * pair["difference"], "ci_low": low, "ci_high": high}
    return None

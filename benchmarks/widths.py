"""Whether longer vectors do better: the taste preset with 64, 128 and 256 numbers on the same test people.

``python benchmarks/widths.py PREPARED`` trains each as a user does, from every seed of ``--seeds``, and evaluates all of them in one
evaluation without baselines, so that differences are paired. Written to ``results/widths.json``; finished trainings stay in ``--work``.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bars import show_bars
from provenance import ROOT, at_once, provenance, save, stage
from rendering import put, rendered

if TYPE_CHECKING:
    from collections.abc import Sequence

SAVED = ROOT / "results" / "widths.json"
WIDTHS = (64, 128, 256)
KEPT = {"hr@10", "ndcg@10", "recall@20", "recall@50", "ndcg@100", "halves_closer"}


def named(width: int) -> str:
    """The system of this width, and its folder."""
    return f"dim-{width}"


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    """Train every width from every seed, and evaluate all together."""
    trainings = [partial(trained, asked, width, seed) for width in asked.widths for seed in asked.seeds]
    stages = at_once(asked.jobs, trainings)
    which = "-".join(map(str, (*asked.widths, "seeds", *asked.seeds)))
    out = asked.work / "results" / which
    models = [str(asked.work / named(width)) for width in asked.widths]
    told = ["--data", str(asked.prepared), "--no-baselines", "--out", str(out)]
    stages.append(run(f"evaluate {which}", ["evaluate", *models, *told], asked.work))
    evaluation = json.loads((out / "results.json").read_text())
    bundle = asked.work / named(asked.widths[0]) / str(asked.seeds[0]) / "bundle.json"
    return {
        "data": evaluation["data"]["name"],
        **provenance(),
        "stages": stages,
        "seeds": asked.seeds,
        "settings": json.loads(bundle.read_text())["settings"],
        "widths": asked.widths,
        **kept(evaluation, asked.widths),
    }


def trained(asked: argparse.Namespace, width: int, seed: int) -> dict[str, Any]:
    """One training."""
    out = asked.work / named(width) / str(seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    changes = [part for change in (f"dim={width}", f"seed={seed}", *asked.set) for part in ("--set", change)]
    return run(
        f"train {named(width)} {seed}",
        ["train", str(asked.prepared), "--out", str(out), *changes],
        asked.work,
    )


def run(name: str, arguments: Sequence[str], work: Path) -> dict[str, Any]:
    """One of our commands as a stage."""
    return stage(name, [sys.executable, "-m", "tastevec", *arguments], work / "stages")


def kept(evaluation: dict[str, Any], widths: Sequence[int]) -> dict[str, Any]:
    """Of an evaluation: who was asked, the rows of the widths, their vectors, and each beside the first."""
    names = [named(width) for width in widths]
    return {
        "tasks": [{name: task[name] for name in ("task", "users")} for task in evaluation["tasks"]],
        "rows": [row for row in evaluation["rows"] if row["system"] in names and row["metric"] in KEPT],
        "wholes": [row for row in evaluation["wholes"] if row["system"] in names],
        "beside_first": [
            beside(pair, names[0])
            for pair in evaluation["paired"]
            if names[0] in (pair["a"], pair["b"]) and {pair["a"], pair["b"]} <= set(names)
        ],
    }


def beside(pair: dict[str, Any], first: str) -> dict[str, Any]:
    """A pair of systems as the other one minus the first."""
    system, sign = (pair["b"], -1) if pair["a"] == first else (pair["a"], 1)
    low, high = sorted((sign * pair["low"], sign * pair["high"]))
    return {
        "system": system,
        "beside": first,
        "task": pair["task"],
        "metric": pair["metric"],
        "difference": sign * pair["difference"],
        "low": low,
        "high": high,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path, help="a prepared folder")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="the first is compared with")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42], help="of the trainings")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "widths", help="where trainings stay")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE for the trainings")
    parser.add_argument("--out", type=Path, default=SAVED, help="another file than this is not shown")
    asked = parser.parse_args()
    asked.widths = list(asked.widths)
    results = measured(asked)
    save(asked.out, results)
    if asked.out == SAVED:
        put("widths", rendered(results))
        show_bars()
    print(rendered(results))


if __name__ == "__main__":
    main()

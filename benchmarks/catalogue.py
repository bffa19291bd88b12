"""Measure a training step against the number of films: seconds and memory of the softmax over all of them, and of the whole step.

``python benchmarks/catalogue.py`` takes steps over 1,000 to 1,000,000 generated films, each measurement in a process of its own, beside
a softmax that holds all scores at once, and writes ``results/bench-catalogue.json``. Finished stages stay in ``runs/catalogue`` and
are not run a second time until that folder is removed. ``--render`` only puts the saved numbers into docs/speed.md again;
``--quick`` takes fewer films and answers, and saves only into ``--out``.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalogue_rendering import rendered_catalogue
from provenance import ROOT, provenance, save, stage
from rendering import put

NAME = "bench-catalogue"


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        films: Of each catalogue.
        plain: The largest of which all scores are held at once, for comparison.
        people: A step's, each with as many films as are read of one.
        repeats: Timed repetitions of each, of which the median counts.
    """

    films: tuple[int, ...]
    plain: int
    people: int
    repeats: int


WHOLE = Plan((1_000, 10_000, 100_000, 1_000_000), plain=100_000, people=8, repeats=7)
QUICK = Plan((1_000, 10_000, 100_000), plain=100_000, people=4, repeats=3)


def measured(work: Path, plan: Plan) -> dict[str, Any]:
    """A row for each catalogue, with the machine and the block of scores that is held."""
    rows = []
    for films in plan.films:
        row: dict[str, Any] = {"films": films}
        for what in ("loss", "plain", "step"):
            if what != "plain" or films <= plan.plain:
                row |= _asked(work, plan, films, what)
        rows.append(row)
    first = rows[0]
    return {
        **provenance(),
        "people": plan.people,
        "answers": first["answers"],
        "block": first["block"],
        "dim": first["dim"],
        "catalogue": [
            {key: value for key, value in row.items() if key not in {"answers", "block", "dim"}}
            for row in rows
        ],
    }


def _asked(work: Path, plan: Plan, films: int, what: str) -> dict[str, Any]:
    """One measurement in a process of its own."""
    name = f"{what} {films}"
    out = work / "seen" / f"{name.replace(' ', '-')}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    script = str(ROOT / "benchmarks" / "catalogue_step.py")
    told = [
        "--what",
        what,
        "--films",
        str(films),
        "--people",
        str(plan.people),
        "--repeats",
        str(plan.repeats),
    ]
    stage(name, [sys.executable, script, *told, "--out", str(out)], work / "stages")
    return json.loads(out.read_text())


def main() -> None:
    """Measure, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render", action="store_true", help="only put the saved numbers into the page")
    parser.add_argument("--quick", action="store_true", help="fewer films and answers")
    parser.add_argument("--out", type=Path, help="where a quick run saves its numbers; nowhere without it")
    parser.add_argument("--work", type=Path, help="where finished stages stay")
    asked = parser.parse_args()
    saved = ROOT / "results" / f"{NAME}.json"
    if asked.quick:
        results = measured(asked.work or ROOT / "runs" / "catalogue-quick", QUICK)
        if asked.out:
            save(asked.out, results)
        print(rendered_catalogue(results))
        return
    if not asked.render:
        save(saved, measured(asked.work or ROOT / "runs" / "catalogue", WHOLE))
    put(NAME, rendered_catalogue(json.loads(saved.read_text())))


if __name__ == "__main__":
    main()

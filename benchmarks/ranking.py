"""Measure how fast the best films of many people are found, beside faiss, NumPy and usearch, and how many are missed.

``python benchmarks/ranking.py`` asks each system in a process of its own for the 100 best films of generated people, 200,000 of
them over 87,000 films, slower systems for the first of them only, and writes ``results/bench-ranking.json``. Finished stages
stay in ``runs/ranking`` and are not run a second time until that folder is removed. ``--render`` only puts the saved numbers
into docs/speed.md again; ``--quick`` tries everything out on fewer people and films, and saves only into ``--out``.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provenance import ROOT, provenance, save, stage
from rankers import DIM, NEAREST, SIMILAR, K
from rendering import put, rendered

NAME = "bench-ranking"


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        people: Generated people.
        films: Generated films.
        asked: Each system with the people that it is asked for; several times where growth is to be seen.
        similar: People whose nearest people are found, among themselves.
    """

    people: int
    films: int
    asked: tuple[tuple[str, int], ...]
    similar: tuple[int, ...]


WHOLE = Plan(
    200_000,
    87_000,
    (
        ("tastevec", 50_000),
        ("tastevec", 200_000),
        ("faiss exact", 50_000),
        ("faiss exact", 200_000),
        ("NumPy argpartition", 8_000),
        ("usearch exact", 2_000),
        ("usearch HNSW 128", 8_000),
        ("usearch HNSW 1024", 4_000),
    ),
    similar=(50_000, 100_000, 200_000),
)
QUICK = Plan(
    8_000,
    20_000,
    (
        ("tastevec", 8_000),
        ("faiss exact", 8_000),
        ("NumPy argpartition", 2_000),
        ("usearch exact", 1_000),
        ("usearch HNSW 128", 2_000),
        ("usearch HNSW 1024", 1_000),
    ),
    similar=(4_000, 8_000),
)


def measured(work: Path, plan: Plan) -> dict[str, Any]:
    """Every system's row, with the machine and the versions."""
    script = [sys.executable, str(ROOT / "benchmarks" / "rankers.py")]
    world = work / "world"
    made = [str(world), "--people", str(plan.people), "--films", str(plan.films)]
    stage("world", [*script, *made], work / "stages")

    def asked(system: str, people: int) -> dict[str, Any]:
        name = f"{system} {people}".replace(" ", "-")
        seen = work / "seen" / f"{name}.json"
        seen.parent.mkdir(parents=True, exist_ok=True)
        told = [str(world), "--system", system, "--people", str(people), "--out", str(seen)]
        done = stage(name, [*script, *told], work / "stages")
        return json.loads(seen.read_text()) | {"peak_memory_mb": done["peak_memory_mb"]}

    rankings = [asked(*what) for what in plan.asked]
    similar = [asked(SIMILAR, people) for people in plan.similar]
    size = {"people": plan.people, "films": plan.films, "dim": DIM, "k": K, "nearest": NEAREST}
    return {**provenance(), **size, "rankings": rankings, "similar": similar}


def main() -> None:
    """Measure, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render", action="store_true", help="only put the saved numbers into the page")
    parser.add_argument("--quick", action="store_true", help="fewer people and films")
    parser.add_argument("--out", type=Path, help="where a quick run saves its numbers; nowhere without it")
    parser.add_argument("--work", type=Path, help="where finished stages stay")
    asked = parser.parse_args()
    saved = ROOT / "results" / f"{NAME}.json"
    if asked.quick:
        results = measured(asked.work or ROOT / "runs" / "ranking-quick", QUICK)
        if asked.out:
            save(asked.out, results)
        print(rendered(results))
        return
    if not asked.render:
        save(saved, measured(asked.work or ROOT / "runs" / "ranking", WHOLE))
    put(NAME, rendered(json.loads(saved.read_text())))


if __name__ == "__main__":
    main()

"""Measure training: how many people a second each preset learns from, and peak memory against the number of people.

``python benchmarks/training.py`` trains the note's recipe and ours on ml-1m-5k, in turns, each for a few steps in a process of
its own; then ours on 5,000, 20,000 and 80,000 generated people; and writes ``results/bench-training.json``. Finished stages
stay in ``runs/training`` and are not run a second time until that folder is removed. ``--render`` only puts the saved numbers
into docs/measured.md again; ``--quick`` tries everything out on generated people, and saves and renders nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bars import show_bars
from provenance import ROOT, provenance, save, stage
from rendering import put, rendered
from table import CHECKPOINT, SOURCES, checkpoint, run

AIM = 20  # times the people a second of the note's recipe


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        steps: Timed steps of each preset.
        rounds: How often the presets take turns, so that whatever else the machine does meets both.
        users: Generated people of each measurement of memory.
        memory_steps: Steps of each.
        films: Generated films.
    """

    steps: dict[str, int]
    rounds: int
    users: tuple[int, ...]
    memory_steps: int
    films: int


WHOLE = Plan({"seed": 20, "taste": 60}, rounds=3, users=(5_000, 20_000, 80_000), memory_steps=60, films=2_000)
QUICK = Plan({"seed": 2, "taste": 4}, rounds=1, users=(200, 400), memory_steps=4, films=150)


def measured(work: Path, plan: Plan, *, quick: bool) -> dict[str, Any]:
    """Both measurements, with the machine and the stages that they took."""
    stages: list[dict[str, Any]] = []
    if quick:
        data = world(work, plan.users[0], plan.films, stages)
    else:
        data = work / "ml-1m-5k"
        stages.append(run(work, "prepare ml-1m-5k", "prepare", *SOURCES["ml-1m-5k"], "--out", str(data)))
    speed = [
        watched(work, f"{preset} round {turn + 1}", data, stages, *flags(preset, plan.steps[preset]))
        for turn in range(plan.rounds)
        for preset in plan.steps
    ]
    memory = [
        watched(
            work,
            f"memory {users}",
            world(work, users, plan.films, stages),
            stages,
            *flags("taste", plan.memory_steps),
            "--validate",
        )
        for users in plan.users
    ]
    return {
        "data": "generated" if quick else "ml-1m-5k",
        **provenance(),
        "checkpoint": CHECKPOINT["backbone"],
        "stages": stages,
        "speed": speed,
        "times_the_note": times_the_note(speed),
        "aim": AIM,
        "generated_films": plan.films,
        "memory": memory,
    }


def flags(preset: str, steps: int) -> tuple[str, ...]:
    """What a watched training of this preset is told; the note's blocks come out of a package."""
    backbone = ("--set", f"backbone={checkpoint()}") if preset == "seed" else ()
    return ("--preset", preset, "--steps", str(steps), *backbone)


def watched(work: Path, name: str, data: Path, stages: list[dict[str, Any]], *told: str) -> dict[str, Any]:
    """One training of a few steps as a stage, and what it saw."""
    out = work / "seen" / f"{name.replace(' ', '-')}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    script = str(ROOT / "benchmarks" / "watched_training.py")
    stages.append(stage(name, [sys.executable, script, str(data), *told, "--out", str(out)], work / "stages"))
    seen: dict[str, Any] = json.loads(out.read_text())
    return seen | {"busy": stages[-1]["busy"]}


def world(work: Path, users: int, films: int, stages: list[dict[str, Any]]) -> Path:
    """So many generated people, prepared as a user prepares a table of his own."""
    tables, out = work / f"generated-{users}", work / f"prepared-{users}"
    script = str(ROOT / "benchmarks" / "generated.py")
    told = [str(users), "--films", str(films), "--out", str(tables)]
    stages.append(stage(f"generate {users}", [sys.executable, script, *told], work / "stages"))
    own = (str(tables / "ratings.parquet"), "--items", str(tables / "films.csv"), "--rating-range", "1:5")
    stages.append(run(work, f"prepare {users}", "prepare", *own, "--out", str(out)))
    return out


def times_the_note(speed: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What the taste preset does a second, as a multiple of the note's recipe: median, lowest and highest over the rounds."""
    rounds = zip(
        *([row for row in speed if row["preset"] == preset] for preset in ("taste", "seed")), strict=True
    )
    pairs = list(rounds)
    found = {}
    for what in ("users_per_second", "films_per_second"):
        times = [ours[what] / note[what] for ours, note in pairs]
        found[what] = {
            "median": round(statistics.median(times), 2),
            "lowest": round(min(times), 2),
            "highest": round(max(times), 2),
        }
    return found


def main() -> None:
    """Measure, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render", action="store_true", help="only put the saved numbers into the page")
    parser.add_argument("--quick", action="store_true", help="try it out; save nothing")
    parser.add_argument("--work", type=Path, help="where finished stages stay")
    asked = parser.parse_args()
    name = "bench-training"
    saved = ROOT / "results" / f"{name}.json"
    if asked.quick:
        print(rendered(measured(asked.work or ROOT / "runs" / "training-quick", QUICK, quick=True)))
        return
    if not asked.render:
        save(saved, measured(asked.work or ROOT / "runs" / "training", WHOLE, quick=False))
    put(name, rendered(json.loads(saved.read_text())))
    show_bars()


if __name__ == "__main__":
    main()

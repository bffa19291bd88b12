"""Measure training: people a second of each preset, what of it is reading and padding, and memory against people and films.

``python benchmarks/training.py`` trains the note's recipe and ours on ml-1m-5k, in turns, each for a few steps in a process of
its own; ours in bfloat16; ours on 5,000, 20,000 and 80,000 generated people; and ours on a generated release as large as ml-32m; and
writes ``results/bench-training.json``. Finished stages stay in ``runs/training`` and are not run a second time until that folder
is removed. ``--render`` only puts the saved numbers into docs/measured.md again; ``--quick`` tries everything out on generated people, and
saves only into ``--out``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bars import show_bars
from provenance import ROOT, provenance, save, stage
from rendering import put, rendered
from table import CHECKPOINT, SOURCES, checkpoint, run

AIM = 20  # times the people a second of the note's recipe
MOST_MB = 3_000  # of memory, at the size of ml-32m
MOST_READING, MOST_PADDING = 0.05, 0.15  # of a step's time, and of the places that its blocks compute


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        steps: Timed steps of each preset; ``packed`` is taste as it comes, short histories sharing rows.
        rounds: How often the presets take turns, so that whatever else the machine does meets both.
        users: Generated people of each measurement of memory.
        memory_steps: Steps of each.
        films: Generated films.
        widths: Hidden sizes that are tried in float32 and in bfloat16.
        release: What is asked of ``generate.py``.
    """

    steps: dict[str, int]
    rounds: int
    users: tuple[int, ...]
    memory_steps: int
    films: int
    widths: tuple[int, ...]
    release: dict[str, int]


WHOLE = Plan(
    {"seed": 20, "taste": 60, "packed": 60},
    rounds=3,
    users=(5_000, 20_000, 80_000),
    memory_steps=60,
    films=2_000,
    widths=(64, 128, 256),
    release={
        "ratings": 32_000_000,
        "users": 200_000,
        "films": 87_000,
        "genome_films": 16_000,
        "genome_tags": 1_128,
        "tags": 2_000_000,
    },
)
QUICK = Plan(
    {"seed": 2, "taste": 4, "packed": 4},
    rounds=1,
    users=(200, 400),
    memory_steps=4,
    films=150,
    widths=(64,),
    release={
        "ratings": 20_000,
        "users": 200,
        "films": 2_000,
        "genome_films": 300,
        "genome_tags": 200,
        "tags": 1_000,
    },
)


def measured(work: Path, plan: Plan, *, quick: bool) -> dict[str, Any]:
    """Both measurements, with the machine and the stages that they took."""
    stages: list[dict[str, Any]] = []
    if quick:
        data = world(work, plan.users[0], plan.films, stages)
    else:
        data = work / "ml-1m-5k"
        stages.append(run(work, "prepare ml-1m-5k", "prepare", *SOURCES["ml-1m-5k"], "--out", str(data)))
    turns = [
        watched(work, f"{name} round {turn + 1}", data, stages, *flags(name, plan.steps[name]))
        for turn in range(plan.rounds)
        for name in plan.steps
    ]
    speed = [row for row in turns if not row["packed"]]
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
        "packed": [row for row in turns if row["packed"]],
        "most": {"reading": MOST_READING, "padding": MOST_PADDING, "memory_mb": MOST_MB},
        "precision": precision(work, data, plan, stages),
        "generated_films": plan.films,
        "memory": memory,
        "release": watched(
            work,
            "memory release",
            release(work, plan, stages),
            stages,
            *flags("taste", plan.memory_steps),
            "--validate",
        ),
    }


def precision(work: Path, data: Path, plan: Plan, stages: list[dict[str, Any]]) -> dict[str, Any]:
    """Taste at each width in both precisions, and whether the processor itself computes in bfloat16."""
    rows = []
    for width in plan.widths:
        for kind in ("float32", "bfloat16"):
            sets = ("--set", f"hidden_size={width}", "--set", f"precision={kind}")
            told = (*flags("taste", max(plan.steps["taste"] // 6, 1)), *sets)
            rows.append(watched(work, f"{kind} {width}", data, stages, *told))
    can: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return {"native": bool(can.get("avx512_bf16") or can.get("amx_bf16")), "rows": rows}


def release(work: Path, plan: Plan, stages: list[dict[str, Any]]) -> Path:
    """A generated release, prepared."""
    made, out = work / "release", work / "prepared-release"
    script = str(ROOT / "benchmarks" / "generate.py")
    sizes = [f"--{name.replace('_', '-')}={size}" for name, size in plan.release.items()]
    stages.append(stage("generate release", [sys.executable, script, str(made), *sizes], work / "stages"))
    stages.append(run(work, "prepare release", "prepare", str(made), "--out", str(out)))
    return out


def flags(name: str, steps: int) -> tuple[str, ...]:
    """What a watched training is told that is called so; the note's blocks come out of a package."""
    kinds = {
        "seed": lambda: ("--preset", "seed", "--set", f"backbone={checkpoint()}"),
        "taste": lambda: ("--preset", "taste", "--set", "packed=false"),
        "packed": lambda: ("--preset", "taste", "--set", "packed=true"),
    }
    return (*kinds[name](), "--steps", str(steps))


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
    parser.add_argument("--quick", action="store_true", help="try it out, small")
    parser.add_argument("--out", type=Path, help="where a quick run saves its numbers; nowhere without it")
    parser.add_argument("--work", type=Path, help="where finished stages stay")
    asked = parser.parse_args()
    name = "bench-training"
    saved = ROOT / "results" / f"{name}.json"
    if asked.quick:
        results = measured(asked.work or ROOT / "runs" / "training-quick", QUICK, quick=True)
        if asked.out:
            save(asked.out, results)
        print(rendered(results))
        return
    if not asked.render:
        save(saved, measured(asked.work or ROOT / "runs" / "training", WHOLE, quick=False))
    put(name, rendered(json.loads(saved.read_text())))
    show_bars()


if __name__ == "__main__":
    main()

"""Measure the preparation: seconds and peak memory of `tastevec prepare` beside plain DuckDB SQL, by the number of ratings.

``python benchmarks/preparation.py`` generates a release of 32 million ratings (200,000 people, 87,000 films, a genome of 16,000 films,
2 million tags), prepares it and the parts of its first people (4, 8 and 16 million ratings) with both, in turns, each in a process of
its own; then once with little memory, and a slice as the research note did it in pandas; compares what came out, and writes
``results/bench-preparation.json``. The generated data and finished stages stay in ``runs/preparation`` and are not made a second
time until that folder is removed. ``--render`` only puts the saved numbers into docs/speed.md again; ``--quick`` tries everything
out on little data, and saves only into ``--out``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from part_release import count_rows, first_people, megabytes, read_through
from provenance import ROOT, provenance, save, stage
from pyarrow import parquet
from rendering import put, rendered

NAME = "bench-preparation"
AIM = 1.5  # times the seconds of plain SQL
PLAIN, OURS, NOTE = "plain DuckDB SQL", "tastevec prepare", "the note in pandas"
VECTORS = "vectors"  # the part of ours that has no SQL
FIXED = "film vectors"  # the part of the note's that does not grow with ratings
TOLERANCE = 1e-5  # of a scaled rating, whose mean is a sum of floats in any order
FLAT = ("offsets", "items", "ratings", "times", "normalised")


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        people: Of the parts, fewest first, and of the whole release.
        ratings: Of the whole release, as the next three.
        films: In its list.
        genome_films: Those of them that have a genome.
        tags: Given by people.
        rounds: How often the two take turns, so that whatever else the machine does meets both.
        little: What ``--memory`` is told, once, on the whole release.
        note_people: Whom the note's recipe is timed with.
    """

    people: tuple[int, ...]
    ratings: int
    films: int
    genome_films: int
    tags: int
    rounds: int
    little: str
    note_people: int


WHOLE = Plan((25_000, 50_000, 100_000, 200_000), 32_000_000, 87_000, 16_000, 2_000_000, 3, "1GB", 3_125)
QUICK = Plan((300, 600), 60_000, 3_000, 60, 3_000, 1, "300MB", 150)


def measured(work: Path, plan: Plan) -> dict[str, Any]:
    """Both at every size, in turns, and what stands beside them."""
    stages: list[dict[str, Any]] = []
    whole = generated(work, plan, stages)
    releases = [first_people(whole, people) for people in plan.people]
    rows: list[dict[str, Any]] = []
    for release in releases:
        read_through(release)
        turns = [(system, turn) for turn in range(1, plan.rounds + 1) for system in (PLAIN, OURS)]
        rows += [ran(work, system, release, turn, stages) for system, turn in turns]
        refuse_other_work(work, release)
    rows.append(ran(work, f"{OURS} --memory {plan.little}", releases[-1], 1, stages))
    note = ran(work, NOTE, first_people(whole, plan.note_people), 1, stages)
    return {
        **provenance(),
        "data": asdict(plan) | {"megabytes": [megabytes(release) for release in releases]},
        "preparations": rows,
        "times_plain": [times_plain(rows, people) for people in plan.people],
        "by_ratings": {system: line(rows, system) for system in (PLAIN, OURS)},
        "note": note | {"extrapolated": extrapolated(note, rows[-1])},
        "aim": AIM,
        "stages": stages,
    }


def generated(work: Path, plan: Plan, stages: list[dict[str, Any]]) -> Path:
    """The whole release."""
    release, script = work / "release", str(ROOT / "benchmarks" / "generate.py")
    sizes = {"ratings": plan.ratings, "users": plan.people[-1], "films": plan.films, "tags": plan.tags}
    sizes |= {"genome-films": plan.genome_films, "seed": 1}
    told = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    stages.append(stage("generate", [sys.executable, script, str(release), *told], work / "stages"))
    return release


def ran(work: Path, system: str, release: Path, turn: int, stages: list[dict[str, Any]]) -> dict[str, Any]:
    """One preparation as a stage, with the seconds of its parts."""
    name = f"{system.replace('--', '')} of {release.name} round {turn}"
    out, record = work / folder_of(system), work / "parts" / f"{name.replace(' ', '-')}.json"
    stages.append(stage(name, command(system, release, out), work / "stages"))
    if not record.exists():
        save(record, parts_of(system, out))
    return {
        "system": system,
        "people": int(release.name.rpartition("-")[2]),
        "ratings": count_rows(release / "ratings.csv"),
        "turn": turn,
        **{told: stages[-1][told] for told in ("seconds", "peak_memory_mb", "busy")},
        "parts": json.loads(record.read_text()),
    }


def folder_of(system: str) -> str:
    """Where the system writes; the next turn writes there again."""
    return "ours" if system.startswith(OURS) else {PLAIN: "plain", NOTE: "note"}[system]


def command(system: str, release: Path, out: Path) -> list[str]:
    """How the system is run."""
    if system.startswith(OURS):
        own = [sys.executable, "-m", "tastevec", "prepare", str(release), "--out", str(out)]
        return own + system.removeprefix(OURS).split()
    script = "plain_preparation.py" if system == PLAIN else "note_preparation.py"
    return [sys.executable, str(ROOT / "benchmarks" / script), str(release), str(out)]


def parts_of(system: str, out: Path) -> dict[str, float]:
    """The seconds of each part, as the system itself took them."""
    if system.startswith(OURS):
        return dict(json.loads((out / "manifest.json").read_text())["timings"])
    return dict(json.loads((out / "parts.json").read_text()))


def refuse_other_work(work: Path, release: Path) -> None:
    """End here if the two have not made the same histories, people and films."""
    record = work / "parts" / f"the-same-of-{release.name}.json"
    if record.exists():
        return
    plain, ours = work / folder_of(PLAIN), work / folder_of(OURS)
    found = {
        name: abs(np.load(plain / f"{name}.npy") - np.load(ours / "histories" / f"{name}.npy"))
        for name in FLAT
    }
    off = {name: float(np.nanmax(difference, initial=0)) for name, difference in found.items()}
    users, films = (
        [parquet.read_table(folder / name)[columns].to_pylist() for folder in (plain, ours)]
        for name, columns in (("users.parquet", "split"), ("items.parquet", "item_id"))
    )
    exact = all(off[name] == 0 for name in FLAT if name != "normalised")
    if not exact or off["normalised"] > TOLERANCE or users[0] != users[1] or films[0] != films[1]:
        sys.exit(f"SQL and tastevec did not prepare the same of {release.name}: {off}")
    save(record, off)


def times_plain(rows: list[dict[str, Any]], people: int) -> dict[str, Any]:
    """Seconds of ours as multiples of plain SQL's, round by round: without the film vectors, which SQL cannot make, and with them."""
    plain, ours = (
        [row for row in rows if (row["system"], row["people"]) == (system, people)]
        for system in (PLAIN, OURS)
    )
    pairs = list(zip(ours, plain, strict=True))
    same = [(mine["seconds"] - mine["parts"][VECTORS]) / other["seconds"] for mine, other in pairs]
    whole = [mine["seconds"] / other["seconds"] for mine, other in pairs]
    return {
        "people": people,
        "ratings": plain[0]["ratings"],
        "same_work": _spread(same),
        "whole": _spread(whole),
    }


def line(rows: list[dict[str, Any]], system: str) -> dict[str, float]:
    """How the seconds grow: those of a million ratings, those of none, and the fit (R squared)."""
    asked = [row for row in rows if row["system"] == system]
    ratings, seconds = (np.array([row[what] for row in asked], np.float64) for what in ("ratings", "seconds"))
    slope, start = np.polyfit(ratings, seconds, 1)
    unexplained = np.var(seconds - (start + slope * ratings)) / np.var(seconds)
    return {
        "per_million": round(1e6 * slope, 3),
        "start": round(start, 2),
        "r_squared": round(1 - unexplained, 4),
    }


def extrapolated(note: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """What the note's recipe would take for as many ratings, if all but its film vectors grows with them; no measurement."""
    times = whole["ratings"] / note["ratings"]
    grows = sum(seconds for part, seconds in note["parts"].items() if part != FIXED)
    numbers = 8 * (64 + 5)  # of a joined row, in double precision: its film's vector and the ratings' columns
    return {
        "ratings": whole["ratings"],
        "seconds": round(note["seconds"] + (times - 1) * grows),
        "joined_table_mb": round(whole["ratings"] * numbers / 1e6),
    }


def _spread(values: list[float]) -> dict[str, float]:
    told = {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
    return {name: round(value, 3) for name, value in told.items()}


def main() -> None:
    """Measure, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render", action="store_true", help="only put the saved numbers into the page")
    parser.add_argument("--quick", action="store_true", help="little data")
    parser.add_argument("--out", type=Path, help="where a quick run saves its numbers; nowhere without it")
    parser.add_argument("--work", type=Path, help="where finished stages stay")
    asked = parser.parse_args()
    saved = ROOT / "results" / f"{NAME}.json"
    if asked.quick:
        results = measured(asked.work or ROOT / "runs" / "preparation-quick", QUICK)
        if asked.out:
            save(asked.out, results)
        print(rendered(results))
        return
    if not asked.render:
        save(saved, measured(asked.work or ROOT / "runs" / "preparation", WHOLE))
    put(NAME, rendered(json.loads(saved.read_text())))


if __name__ == "__main__":
    main()

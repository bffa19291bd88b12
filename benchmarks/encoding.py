"""Measure how many people a second are encoded: by ONNX, by torch, by the note's own code, and by the whole command.

``python benchmarks/encoding.py`` trains a model of the preset's shape on ml-1m-5k for one epoch, asks each system in turns, each
time in a process of its own, runs ``tastevec encode`` from file to file, also on Spark, and on 5,000 to 200,000 generated people for its memory,
and writes ``results/bench-encoding.json``. Finished stages stay in ``runs/encoding`` and are not run a second time until that folder is
removed. ``--render`` only puts the saved numbers into docs/speed.md again; ``--quick`` tries everything out on generated people, and saves
only into ``--out``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
from provenance import ROOT, provenance, save, stage
from pyarrow import parquet
from rendering import put, rendered
from table import SOURCES, run

from tastevec.data.prepared import Prepared

NAME = "bench-encoding"
AIM = 100  # times the people a second of the note's own code


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: How often the systems take turns, so that whatever else the machine does meets all.
        people: Of whom each system is asked for the first so many; all where it is not named.
        growth: Generated people of each measurement of memory.
        films: Generated films.
        on_spark: Whether the command is run on Spark too, where there is one.
    """

    rounds: int
    people: dict[str, int]
    growth: tuple[int, ...]
    films: int
    on_spark: bool


WHOLE = Plan(3, {"torch": 2_000, "note": 40}, (5_000, 20_000, 80_000, 200_000), 2_000, on_spark=True)
QUICK = Plan(1, {"note": 8}, (1_000, 4_000), 500, on_spark=False)
SYSTEMS = ("onnx", "torch", "onnx overall", "note")


def measured(work: Path, plan: Plan, *, quick: bool) -> dict[str, Any]:
    """Every measurement, with the machine and the stages that they took."""
    stages: list[dict[str, Any]] = []
    data, model = work / "data", work / "model"
    told = world(work, plan.growth[0], plan.films, stages) if quick else SOURCES["ml-1m-5k"]
    stages.append(run(work, "prepare", "prepare", *told, "--out", str(data)))
    short = ("--set", "epochs=1", "--set", "report_to=none")
    stages.append(run(work, "train", "train", str(data), "--out", str(model), *short))
    turns = [(turn, system) for turn in range(plan.rounds) for system in SYSTEMS]
    rows = [asked(work, turn, system, plan.people.get(system), stages) for turn, system in turns]
    command = commanded(work, data, model, stages, on_spark=plan.on_spark)
    return {
        "data": "generated people" if quick else "ml-1m-5k",
        **provenance(),
        "stages": stages,
        "encodings": rows,
        "times": {system: times(rows, command, system) for system in ("torch", "note")},
        "aim": AIM,
        "command": command,
        "growth": [grown(work, users, plan.films, model, stages) for users in plan.growth],
        "generated_films": plan.films,
    }


def asked(
    work: Path, turn: int, system: str, people: int | None, stages: list[dict[str, Any]]
) -> dict[str, Any]:
    """One system's turn: what it saw."""
    name = f"{system} round {turn + 1}"
    out = work / "seen" / f"{name.replace(' ', '-')}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    told = [str(work / "data"), "--model", str(work / "model"), "--system", system, "--out", str(out)]
    if people is not None:
        told += ["--people", str(people)]
    script = str(ROOT / "benchmarks" / "encoding_systems.py")
    stages.append(stage(name, [sys.executable, script, *told], work / "stages"))
    seen: dict[str, Any] = json.loads(out.read_text())
    return seen | {"users_per_second": round(seen["people"] / seen["seconds"], 3), "busy": stages[-1]["busy"]}


def commanded(
    work: Path, data: Path, model: Path, stages: list[dict[str, Any]], *, on_spark: bool
) -> dict[str, Any]:
    """The whole command from a Parquet file to a Parquet file, for all people; on Spark too if asked and there."""
    prepared, file = Prepared.open(data), work / "histories.parquet"
    people = prepared.histories
    if not file.exists():
        table = {
            "user_id": people.user_ids[people.owners],
            "item_id": prepared.item_ids[people.items],
            "rating": people.ratings,
            "timestamp": people.times,
        }
        parquet.write_table(pa.table(table), file)
    told = ["encode", str(model), str(file), "--out"]
    done = [run(work, "encode", *told, str(work / "vectors.parquet"))]
    if on_spark and find_spec("pyspark") and shutil.which("java"):
        folder = work / "vectors"
        if not (work / "stages" / "encode-on-Spark.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
        done.append(run(work, "encode on Spark", *told, str(folder), "--engine", "spark"))
    stages += done
    took = {
        record["stage"]: {name: record[name] for name in ("seconds", "peak_memory_mb", "busy")}
        for record in done
    }
    return {"people": len(people), "films": int(people.offsets[-1]), **took}


def grown(work: Path, users: int, films: int, model: Path, stages: list[dict[str, Any]]) -> dict[str, Any]:
    """The command's time and peak memory for so many generated people."""
    ratings, *_ = world(work, users, films, stages)
    record = run(
        work,
        f"encode {users}",
        "encode",
        str(model),
        ratings,
        "--out",
        str(work / f"vectors-{users}.parquet"),
    )
    stages.append(record)
    found = {"users": users, "interactions": parquet.read_metadata(ratings).num_rows}
    return found | {name: record[name] for name in ("seconds", "peak_memory_mb", "busy")}


def world(work: Path, users: int, films: int, stages: list[dict[str, Any]]) -> tuple[str, ...]:
    """So many generated people: what ``prepare`` is told of them, their ratings first."""
    tables = work / f"generated-{users}"
    script = str(ROOT / "benchmarks" / "generated.py")
    told = [str(users), "--films", str(films), "--out", str(tables)]
    stages.append(stage(f"generate {users}", [sys.executable, script, *told], work / "stages"))
    return str(tables / "ratings.parquet"), "--items", str(tables / "films.csv"), "--rating-range", "1:5"


def times(rows: list[dict[str, Any]], command: dict[str, Any], other: str) -> dict[str, float]:
    """What ONNX does a second as a multiple of another system, round by round; and what the whole command does."""
    speed = {
        system: [row["users_per_second"] for row in rows if row["system"] == system]
        for system in ("onnx", other)
    }
    found = [ours / theirs for ours, theirs in zip(speed["onnx"], speed[other], strict=True)]
    whole = command["people"] / command["encode"]["seconds"] / statistics.median(speed[other])
    told = {
        "median": statistics.median(found),
        "lowest": min(found),
        "highest": max(found),
        "whole_command": whole,
    }
    return {name: round(value, 2) for name, value in told.items()}


def main() -> None:
    """Measure, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render", action="store_true", help="only put the saved numbers into the page")
    parser.add_argument("--quick", action="store_true", help="fewer people, all generated")
    parser.add_argument("--out", type=Path, help="where a quick run saves its numbers; nowhere without it")
    parser.add_argument("--work", type=Path, help="where finished stages stay")
    asked_for = parser.parse_args()
    saved = ROOT / "results" / f"{NAME}.json"
    if asked_for.quick:
        results = measured(asked_for.work or ROOT / "runs" / "encoding-quick", QUICK, quick=True)
        if asked_for.out:
            save(asked_for.out, results)
        print(rendered(results))
        return
    if not asked_for.render:
        save(saved, measured(asked_for.work or ROOT / "runs" / "encoding", WHOLE, quick=False))
    put(NAME, rendered(json.loads(saved.read_text())))


if __name__ == "__main__":
    main()

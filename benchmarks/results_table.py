"""The main results: all presets and every baseline on ml-100k and ml-1m-5k, each step run as a user runs it, the demo, and other data sets.

``python benchmarks/results_table.py`` (``make table``) writes ``results/demo.json``, ``ml-100k.json``, ``ml-1m-5k.json`` and ``across.json``
and renders their tables. Finished steps stay in ``runs/table`` and are skipped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import TABLES, run_full
from experiment import BACKBONE, RELEASES, backbone, experiment, write_histories
from measure import ROOT, Run, provenance, save
from pages import show

from tastevec.data.prepared import Prepared

SEEDS = {"taste": (42, 43, 44), "bert-cosine": (42,), "direction": (42,)}
# The research note's preset without a GPU: a smaller pretrained backbone, and histories of 128 items instead of 512.
SMALL_NOTE = ("--preset", "bert-cosine", "--set", "max_history=128")
METRICS = {
    *("hr@10", "ndcg@10", "recall@20", "recall@50", "ndcg@100"),
    *("hr@10_shuffled", "ndcg@10_shuffled", "recall@20_shuffled", "ndcg@100_shuffled"),
    *(
        "cosine_distance",
        "cosine_distance_centred",
        "split_half_cosine",
        "between_user_cosine",
        "split_half_accuracy",
    ),
    *("log_popularity@10", "novelty@10", "intra_list_similarity@10"),
}
PRESETS = ("taste", "bert-cosine", "direction")


def measured(run: Run, name: str) -> dict[str, Any]:
    """Return every step from the source to recommendations with its seconds and peak memory, and the evaluation."""
    data, model, histories = run.work / "prepared", run.work / "taste" / "42", run.work / "histories.csv"
    run.tastevec("prepare", "prepare", *RELEASES[name], "--out", data)
    run.tastevec("describe", "describe", data, "--out", run.work / "pictures")
    prepared = Prepared.open(data)
    variants = {
        "taste": (),
        "bert-cosine": (*SMALL_NOTE, "--set", f"backbone={backbone()}"),
        "direction": ("--preset", "direction"),
    }
    tuned = run.work / "tuned"
    found = experiment(
        run, data, variants, SEEDS, "--tuned", tuned, tune=("--tune", "--split", "validation", "--out", tuned)
    )
    write_histories(prepared.histories.take(prepared.users_in("test")), prepared.item_ids, histories)
    run.tastevec("encode", "encode", model, histories, "--out", run.work / "vectors.parquet")
    run.tastevec("recommend", "recommend", model, histories, "--k", "100", "--out", run.work / "recs.parquet")
    evaluation = found["evaluation"] if name == "ml-100k" else _with_sasrec(run)
    settings = found["settings"] | {"bert-cosine": found["settings"]["bert-cosine"] | {"backbone": BACKBONE}}
    return {
        "data": name,
        **provenance(),
        "stages": run.steps,
        **found,
        "settings": settings,
        "counts": prepared.manifest["counts"],
        "evaluation": _selected(evaluation),
    }


def _with_sasrec(run: Run) -> dict[str, Any]:
    """Train SASRec in an environment of its own, and compare it on the same users."""
    peers, both = run.work / "peers", run.work / "both"
    command = (sys.executable, ROOT / "benchmarks" / "peers" / "run.py", run.work / "prepared")
    # Of the three variants the best on validation users, by a run of all three at commit 6f548e1, which takes five times as long.
    run.step("SASRec", *command, "--variant", "all", "--seeds", "1", "--epochs", "24", "--out", peers)
    run.tastevec("compare", "compare", run.work / "results", peers, "--out", both)
    found: dict[str, Any] = json.loads((both / "results.json").read_text())
    return found


def _selected(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return what the repository keeps of an evaluation: every system, the metrics above, few slices of baselines."""
    rows, skill = (
        [row for row in evaluation[part] if row["metric"] in METRICS] for part in ("rows", "skill")
    )
    slices = [
        part for part in evaluation["slices"] if part["by"] == "history_length" or part["system"] in PRESETS
    ]
    systems = [
        system | {"settings": system["settings"] | {"backbone": BACKBONE}}
        if system["system"] == "bert-cosine"
        else system
        for system in evaluation["systems"]
    ]
    return evaluation | {"systems": systems, "rows": rows, "skill": skill, "slices": slices}


def _demo() -> dict[str, Any]:
    """Return what ``make demo`` prints the first time."""
    shutil.rmtree(ROOT / "demo", ignore_errors=True)
    command = [sys.executable, "scripts/demo.py"]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    return {"data": "ml-100k", **provenance(), "output": output.strip()}


def main() -> None:
    """Measure the named results, by default all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=["demo", *RELEASES, "across"])
    for name in parser.parse_args().names:
        if name == "across":
            run_full(name, Run(TABLES, full=True))
            continue
        if name != "demo" and not Path(RELEASES[name][0]).exists():
            sys.exit(
                f"{RELEASES[name][0]} does not exist. Expected the release. Run: make demo (ml-100k only)"
            )
        work = TABLES / name
        save(
            ROOT / "results" / f"{name}.json",
            _demo() if name == "demo" else measured(Run(work, full=True), name),
        )
        show(name)
    show("headline")


if __name__ == "__main__":
    main()

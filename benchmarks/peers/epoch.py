"""An epoch of taste beside an epoch of RecTools' SASRec: the same people, width, depth, length, batch and loss, in turns.

``python benchmarks/peers/epoch.py PREPARED`` makes the peers' environment the first time, lets each of them learn one epoch, each in
its own environment, three times in turns, and writes ``results/bench-epoch.json``. Finished stages stay in ``runs/epoch`` and are not
run a second time until that folder is removed. ``--render`` only puts the saved numbers into docs/speed.md again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from environment import HERE, ready
from process import Process
from scorer import NETWORK

sys.path.append(str(HERE.parent))  # the other benchmarks stand there

from epoch_rendering import rendered_epochs
from provenance import ROOT, provenance, save, stage
from rendering import put

from tastevec.data.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tastevec.data.histories import Histories

__all__ = ["OURS", "compared", "of_sasrec", "of_taste"]

NAME = "bench-epoch"
ROUNDS = 3
WARM_UP = 3  # steps that are not timed
SEED = 42
SAME = {
    "hidden_size": NETWORK["n_factors"],
    "dim": NETWORK["n_factors"],
    "layers": NETWORK["n_blocks"],
    "heads": NETWORK["n_heads"],
    "max_history": NETWORK["session_max_len"],
    "dropout": NETWORK["dropout_rate"],
    "batch_size": NETWORK["batch_size"],
    "learning_rate": NETWORK["lr"],
    "packed": False,
}
# SASRec is asked behind every film of one run; the recipe of taste behind half of them, and cuts three runs in ten in two.
OURS = {
    "taste, asked as SASRec is": {**SAME, "asked": 1.0, "cut": 0.0},
    "taste, its own recipe": SAME,
    "taste, its own recipe, packed": {**SAME, "packed": True},
}


def of_taste(work: Path, name: str, settings: dict[str, Any], data: Path, turn: int) -> dict[str, Any]:
    """One epoch of ours, in a process of its own."""
    out = work / "seen" / f"{name.replace(' ', '-').replace(',', '')}-{turn}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    script = str(HERE.parent / "watched_training.py")
    told = [flag for key, value in settings.items() for flag in ("--set", f"{key}={value}")]
    command = [sys.executable, script, str(data), "--warm-up", str(WARM_UP), *told, "--out", str(out)]
    done = stage(f"{name}, round {turn}", command, work / "stages")
    seen = json.loads(out.read_text())
    steps = WARM_UP + seen["steps"]
    return {
        "system": name,
        "round": turn,
        "steps": steps,
        "epoch_seconds": round(seen["seconds"] * steps / seen["steps"], 2),
        "films_per_second": seen["films_per_second"],
        "padding": seen["padding"],
        "busy": done["busy"],
    }


def of_sasrec(
    train: Histories, item_count: int, command: Sequence[str], turn: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """One epoch of RecTools' SASRec that reads and foretells every rated film, in a process of its own."""
    rated = ~np.isnan(train.ratings)
    with TemporaryDirectory() as folder:
        table = f"{folder}/train.npz"
        np.savez(
            table,
            user_id=train.owners[rated],
            item_id=train.items[rated].astype(np.int64),
            weight=np.ones(int(rated.sum()), np.float32),
            datetime=np.flatnonzero(rated),  # the order of the histories, where times tie
        )
        with closing(
            Process(command, interactions=table, item_count=item_count, settings=settings, seed=SEED)
        ) as model:
            busy, told = round(os.getloadavg()[0], 1), model.ask(do="train", epochs=1)
    ended, steps = told["ended"], len(told["ended"])
    seconds = ended[-1] - ended[WARM_UP - 1]
    films, places = (sum(told[what][WARM_UP:]) for what in ("films", "places"))
    return {
        "system": "SASRec",
        "round": turn,
        "steps": steps,
        "epoch_seconds": round(seconds * steps / (steps - WARM_UP), 2),
        "films_per_second": round(films / seconds, 1),
        "padding": round(1 - films / places, 3),
        "busy": busy,
        "versions": model.welcome,
    }


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times as long SASRec's epoch takes as each of ours, round by round: median, lowest and highest."""
    seconds = {(row["system"], row["round"]): row["epoch_seconds"] for row in rows}
    found = []
    for system in dict.fromkeys(row["system"] for row in rows if row["system"] != "SASRec"):
        times = [
            theirs / seconds[system, turn] for (name, turn), theirs in seconds.items() if name == "SASRec"
        ]
        found.append(
            {
                "system": system,
                "median": round(statistics.median(times), 2),
                "lowest": round(min(times), 2),
                "highest": round(max(times), 2),
            }
        )
    return found


def measured(data: Path, work: Path) -> dict[str, Any]:
    """Every round of everybody."""
    prepared = Prepared.open(data)
    train = prepared.histories.take(prepared.users_in("train"))
    command, rows = [str(ready()), str(HERE / "sasrec.py")], []
    for turn in range(1, ROUNDS + 1):
        rows += [of_taste(work, name, settings, data, turn) for name, settings in OURS.items()]
        kept = work / "seen" / f"SASRec-{turn}.json"
        if not kept.exists():
            save(kept, of_sasrec(train, len(prepared.item_ids), command, turn, dict(NETWORK)))
        rows.append(json.loads(kept.read_text()))
    versions = rows[-1]["versions"]
    return {
        "data": prepared.manifest["source"]["name"],
        **provenance(),
        "peer_versions": versions,
        "settings": {"SASRec": dict(NETWORK), **OURS},
        "train_users": len(train),
        "films": len(prepared.item_ids),
        "epochs": [{key: value for key, value in row.items() if key != "versions"} for row in rows],
        "times": compared(rows),
    }


def main() -> None:
    """Measure, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "prepared",
        type=Path,
        nargs="?",
        help="a prepared folder",
        default=ROOT / "runs/table/ml-1m-5k/prepared",
    )
    parser.add_argument("--render", action="store_true", help="only put the saved numbers into the page")
    parser.add_argument(
        "--work", type=Path, help="where finished stages stay", default=ROOT / "runs" / "epoch"
    )
    asked = parser.parse_args()
    saved = ROOT / "results" / f"{NAME}.json"
    if not asked.render:
        save(saved, measured(asked.prepared, asked.work))
    put(NAME, rendered_epochs(json.loads(saved.read_text())))


if __name__ == "__main__":
    main()

"""Whether packing histories into shared rows changes what the taste preset learns: the same seeds, packed and not.

``python benchmarks/packing.py PREPARED`` trains the preset from every seed of ``--seeds`` both ways as a user does, and writes what the
validation people said of each to ``results/packing.json``. Test people are not asked: this chooses a default. Finished trainings stay in
``--work``; ``--render`` only puts the saved numbers into docs/training.md again.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from packing_rendering import rendered_packing
from provenance import ROOT, at_once, provenance, save, stage
from rendering import put

NAME = "packing"


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    """Train from every seed both ways, and read what the validation people said."""
    runs = [(seed, packed) for seed in asked.seeds for packed in (False, True)]
    at_once(asked.jobs, [partial(trained, asked, *run) for run in runs])
    bundles = [json.loads((_place(asked, *run) / "bundle.json").read_text()) for run in runs]
    return {
        "data": bundles[0]["data"]["name"],
        **provenance(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "at_once": asked.jobs,
        "settings": {
            name: value for name, value in bundles[0]["settings"].items() if name not in {"seed", "packed"}
        },
        "packing": [
            {"seed": seed, "packed": packed, **_said(bundle)}
            for (seed, packed), bundle in zip(runs, bundles, strict=True)
        ],
    }


def trained(asked: argparse.Namespace, seed: int, packed: bool) -> dict[str, Any]:  # noqa: FBT001  one of two ways
    """One training."""
    out = _place(asked, seed, packed)
    out.parent.mkdir(parents=True, exist_ok=True)
    told = (f"seed={seed}", f"packed={packed}", "report_to=none", *asked.set)
    changes = [part for change in told for part in ("--set", change)]
    command = [sys.executable, "-m", "tastevec", "train", str(asked.prepared), "--out", str(out), *changes]
    return stage(f"train {out.parent.name} {seed}", command, asked.work / "stages")


def _place(asked: argparse.Namespace, seed: int, packed: bool) -> Path:  # noqa: FBT001  as above
    work: Path = asked.work
    return work / ("packed" if packed else "plain") / str(seed)


def _said(bundle: dict[str, Any]) -> dict[str, float]:
    return {name.removeprefix("eval_"): round(value, 4) for name, value in bundle["validation"].items()}


def main() -> None:
    """Measure, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path, nargs="?", help="a prepared folder; not to render")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44], help="of the trainings")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE for the trainings")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / NAME, help="where trainings stay")
    parser.add_argument("--render", action="store_true", help="only put the saved numbers into the page")
    asked = parser.parse_args()
    saved = ROOT / "results" / f"{NAME}.json"
    if not asked.render:
        if asked.prepared is None:
            parser.error("name a prepared folder: python benchmarks/packing.py PREPARED")
        save(saved, measured(asked))
    results = json.loads(saved.read_text())
    put(NAME, rendered_packing(results))
    print(rendered_packing(results))


if __name__ == "__main__":
    main()

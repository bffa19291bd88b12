"""Measure training and encoding on a GPU: by width and precision, by people a step, beside the processor's own cores.

``python benchmarks/gpu.py PREPARED`` takes 40 steps of the taste preset in each setting, each in a process of its own, encodes everybody
with torch on the GPU and with ONNX on all cores, and writes ``results/bench-gpu.json``. Finished stages stay in ``--work`` and are not run
a second time until that folder is removed. ``--render`` only puts the saved numbers into docs/speed.md again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from gpu_rendering import rendered_gpu
from provenance import ROOT, provenance, save, stage
from rendering import put

NAME = "bench-gpu"
STEPS = 40
SMALL, LARGE = 8, 64  # people a step: the preset's own, and enough to keep a GPU busy
WIDTHS = (128, 256, 512)
PRECISIONS = ("float32", "bfloat16")
SETTINGS = [
    {"hidden_size": WIDTHS[0], "batch_size": SMALL, "precision": "float32"},
    *(
        {"hidden_size": width, "batch_size": LARGE, "precision": precision}
        for width in WIDTHS
        for precision in PRECISIONS
    ),
]


def measured(data: Path, work: Path) -> dict[str, Any]:
    """A row for each setting and each way to encode, with the machine and its GPU."""
    trainings = [trained(data, work, setting) for setting in SETTINGS]
    model = work / "model"
    told = [str(data), "--out", str(model), "--set", "epochs=1", "--set", "report_to=none"]
    stage("train", [sys.executable, "-m", "tastevec", "train", *told], work / "stages")
    return {
        **provenance(),
        "gpu": torch.cuda.get_device_name(),
        "trainings": trainings,
        "encodings": [encoded(data, model, work, system) for system in ("onnx", "torch")],
    }


def trained(data: Path, work: Path, setting: dict[str, Any]) -> dict[str, Any]:
    """Some steps of one setting."""
    name = "train " + " ".join(map(str, setting.values()))
    out = work / f"{name.replace(' ', '-')}.json"
    script = str(ROOT / "benchmarks" / "watched_training.py")
    changes = {"device": "cuda", **setting}
    told = [flag for key, value in changes.items() for flag in ("--set", f"{key}={value}")]
    stage(
        name,
        [sys.executable, script, str(data), "--steps", str(STEPS), *told, "--out", str(out)],
        work / "stages",
    )
    seen = json.loads(out.read_text())
    return setting | {
        key: seen[key] for key in ("films_per_second", "users_per_second", "reading", "padding")
    }


def encoded(data: Path, model: Path, work: Path, system: str) -> dict[str, Any]:
    """Everybody's vectors one way."""
    out, script = work / f"{system}.json", str(ROOT / "benchmarks" / "encoding_systems.py")
    told = [str(data), "--model", str(model), "--system", system, "--out", str(out)]
    stage(f"encode {system}", [sys.executable, script, *told], work / "stages")
    seen: dict[str, Any] = json.loads(out.read_text())
    return seen | {"users_per_second": round(seen["people"] / seen["seconds"], 1)}


def main() -> None:
    """Measure, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path, nargs="?", help="a prepared folder; not to render")
    parser.add_argument("--render", action="store_true", help="only put the saved numbers into the page")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "gpu", help="where finished stages stay")
    asked = parser.parse_args()
    saved = ROOT / "results" / f"{NAME}.json"
    if not asked.render:
        if not torch.cuda.is_available():
            sys.exit(
                "torch sees no GPU here; expected one: --render shows what was measured where there was one"
            )
        asked.work.mkdir(parents=True, exist_ok=True)
        save(saved, measured(asked.prepared, asked.work))
    put(NAME, rendered_gpu(json.loads(saved.read_text())))


if __name__ == "__main__":
    main()

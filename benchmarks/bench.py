"""Run every benchmark: small, on generated data, into one table; or whole, each into its own.

``python benchmarks/bench.py`` (``make bench``) takes some minutes on two cores, needs no data, and writes ``results/bench.json`` and its table into
docs/speed.md. ``--full`` (``make bench-full``) runs the same scripts at full size, an hour or more, each of which writes its own
``results/bench-*.json``. Finished parts stay in ``runs/bench`` and ``runs/bench-full`` and are not run a second time until that folder is removed.
``--render`` only puts the saved numbers into the page again.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from beside_roofs import limits
from provenance import ROOT, provenance, save, stage
from rendering import put, rendered

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PARTS", "quick"]

NAME = "bench"
# The roofs come first, and all on one machine in one run, so that each part can be set beside them.
PARTS = ("roofs", "preparation", "encoding", "training", "catalogue", "ranking", "evaluation")
STAGED = (
    "preparation",
    "encoding",
    "training",
    "catalogue",
    "ranking",
)  # they keep finished stages of their own


def quick(work: Path) -> dict[str, Any]:
    """Every part, small, with what it took, and the stages beside the machine's roofs."""
    parts, stages = {}, []
    for name in PARTS:
        out = work / f"{name}.json"
        own = ["--work", str(work / name)] if name in STAGED else []
        stages.append(stage(name, [*_script(name), "--quick", "--out", str(out), *own], work / "stages"))
        parts[name] = json.loads(out.read_text())
    return {**provenance(), "parts": parts, "stages": stages, "beside_roofs": limits(parts)}


def full(work: Path) -> None:
    """Every part at full size; each saves and shows its own numbers."""
    for name in PARTS:
        stage(name, _script(name), work / "stages")
    stage("limits", _script("beside_roofs"), work / "stages")


def _script(name: str) -> list[str]:
    return [sys.executable, str(ROOT / "benchmarks" / f"{name}.py")]


def main() -> None:
    """Run what is asked, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="at full size, an hour or more")
    parser.add_argument("--render", action="store_true", help="only put the saved numbers into the page")
    asked = parser.parse_args()
    if asked.full:
        full(ROOT / "runs" / "bench-full")
        return
    saved = ROOT / "results" / f"{NAME}.json"
    if not asked.render:
        save(saved, quick(ROOT / "runs" / "bench"))
    text = rendered(json.loads(saved.read_text()))
    put(NAME, text)
    print(text)


if __name__ == "__main__":
    main()

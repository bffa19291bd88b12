"""The driver: run benchmarks, small on generated data or at full size, save their results and render the tables of the pages.

``python benchmarks/bench.py`` runs every speed benchmark small, writes ``results/bench.json`` and its table. ``--full`` runs at full
size and writes a file for each. Names of benchmarks run these alone; a small run of a named one is printed and changes no page.
Finished steps stay in ``runs/`` and are skipped; remove that folder to measure again. ``--render`` only renders the saved results.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from measure import ROOT, Run, provenance, save
from pages import REGIONS, render, show

# Each benchmark: its module, and the region of the pages (and with it the file of results) that it fills.
BENCHMARKS = {
    "roofs": "bench-roofs",  # first: the other parts are compared with it
    "preparation": "bench-preparation",
    "encoding": "bench-encoding",
    "training": "bench-training",
    "catalog": "bench-catalog",
    "ranking": "bench-ranking",
    "evaluation": "bench-evaluation",
    "service": "service",
    "explanations": "explanations",
    "alignment": "alignment",
    "cold_items": "cold-films",
    "new_items": "added-films",
    "item_content": "item-content",
    "across": "across",
    "inspections": "data-sets",
    "value_scale": "value-scale",
    "closed_form": "closed-form",
    "direction": "direction",
    "calibration": "calibration",
    "downstream": "downstream",
    "faults": "faults",
    "service_faults": "service-faults",
}
SPEED = tuple(BENCHMARKS)[:7]
# Full runs of these measure a trained model.
TRAINED = {
    "encoding",
    "training",
    "service",
    "explanations",
    "cold_items",
    "new_items",
    "downstream",
    "calibration",
}
TABLES = ROOT / "runs" / "table"  # of `make table`
TABLE = TABLES / "ml-1m-5k"  # the dataset and the model of full runs


def measured(name: str, run: Run) -> dict[str, Any]:
    """Return the results of one benchmark, with where, from what and in which steps they are measured."""
    results: dict[str, Any] = import_module(name).measured(run)
    return {**provenance(), "seed": run.seed, "full": run.full, **results, "stages": run.steps}


def run_small(work: Path, names: tuple[str, ...] = SPEED) -> dict[str, Any]:
    """Return the results of small runs, with what each took and the machine limits that it reached."""
    run = Run(work)
    parts = {_key(name): run.call(name, part, name=name, work=str(work / name)) for name in names}
    limits = import_module("roofs").limits(parts) if "roofs" in parts else {}
    return {**provenance(), "parts": parts, "stages": run.steps, "beside_roofs": limits}


def _key(name: str) -> str:
    return BENCHMARKS[name].removeprefix("bench-")


def part(name: str, work: str) -> dict[str, Any]:
    """Return the results of one small run; called in a process of its own."""
    return measured(name, Run(Path(work)))


def run_full(name: str, run: Run) -> None:
    """Measure one benchmark at full size, save it and render its region; stop with an error if a limit is missed."""
    results = measured(name, run)
    save(ROOT / "results" / f"{REGIONS[BENCHMARKS[name]][0]}.json", results)
    print(show(BENCHMARKS[name]))
    if missed := results.get("missed"):
        sys.exit(f"{name}: missed {len(missed)} limits: {'; '.join(missed)}")


def main() -> None:
    """Run the benchmarks of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(BENCHMARKS)} (default: the first 7)")
    parser.add_argument("--full", action="store_true", help="full size: hours")
    parser.add_argument("--render", action="store_true", help="only render the saved results")
    parser.add_argument("--seed", type=int, default=42, help="random seed")
    parser.add_argument(
        "--prepared", type=Path, default=TABLE / "prepared", help="full runs: a prepared dataset"
    )
    parser.add_argument("--model", type=Path, default=TABLE / "taste" / "42", help="full runs: its model")
    options = parser.parse_args()
    names = tuple(options.names) or SPEED
    if unknown := sorted({*names} - {*BENCHMARKS}):
        parser.error(f"unknown benchmark: {', '.join(unknown)}. Expected {', '.join(BENCHMARKS)}.")
    if options.render:
        for name in REGIONS:
            show(name)
    elif options.full:
        if {*names} & TRAINED and not (options.prepared.exists() and options.model.exists()):
            parser.error(f"{options.prepared} or {options.model} does not exist. Run: make table")
        for name in names:
            work = TABLES if name == "across" else ROOT / "runs" / "bench-full" / name
            run_full(name, Run(work, True, options.seed, options.prepared, options.model))  # noqa: FBT003  full
        _save_limits(names)
    else:
        _small(names, every=not options.names)


def _small(names: tuple[str, ...], *, every: bool) -> None:
    results = run_small(ROOT / "runs" / "bench", names)
    if every:
        save(ROOT / "results" / "bench.json", results)
        print(show("bench"))
    else:
        for name in names:
            print(render(BENCHMARKS[name], results["parts"][_key(name)]))


def _save_limits(names: tuple[str, ...]) -> None:
    """Compare the saved speed results with the machine limits, after a full run of any of them."""
    if {*names} & {*SPEED}:
        files = {name: ROOT / "results" / f"{BENCHMARKS[name]}.json" for name in SPEED}
        parts = {_key(name): json.loads(file.read_text()) for name, file in files.items()}
        save(ROOT / "results" / "bench-limits.json", provenance() | import_module("roofs").limits(parts))
        show("bench-limits")


if __name__ == "__main__":
    main()

"""Break everything that writes, on purpose, and count what was lost or silently wrong.

``python benchmarks/faults.py`` (``make faults``, some minutes, no data needed) kills fetch, prepare, train, encode and a service that
reloads with SIGKILL at random moments and runs each again; flips single bits in every file of a prepared folder and of a model; fills
disks at random sizes; lets two processes write to one place; and lets the clock jump back. It writes ``results/faults.json`` and the
table of docs/faults.md. ``--render`` only puts the saved table into the page again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from fault_kills import killed, killed_while_reloading
from fault_others import clocks_back, flipped, full_disks, two_at_once
from fault_rendering import rendered_faults
from fault_sizes import many_films
from fault_tasks import tasks, undisturbed
from provenance import ROOT, provenance, save
from rendering import put

sys.path.append(str(ROOT / "tests"))  # a server that is broken off is there

NAME = "faults"
KILLS = {"fetch": 10, "prepare": 12, "train": 10, "encode": 12}  # and a service, to 50
RELOADS = 6
DISKS = 5  # of each command
FLIPS = 3  # of each file


def campaign(work: Path, seed: int) -> dict[str, Any]:
    """Every fault of every kind, with what came of it."""
    from servers import Page, serving, zip_of  # noqa: PLC0415  found only now

    rng = np.random.default_rng(seed)
    with serving() as server:
        rows = {f"ml-1m/{name}.dat": _lines(rng) for name in ("movies", "ratings", "users")}
        server.pages["ml-1m.zip"] = Page(zip_of(rows))
        made = tasks(work, server.at(""))
        whole = {name: undisturbed(task, work / "undisturbed" / name) for name, task in made.items()}
        told = []
        for name, count in KILLS.items():
            print(f"{name}, killed {count} times ...", flush=True)
            told += [killed(made[name], *whole[name], work / "killed", rng) for _ in range(count)]
        told += [killed_while_reloading(work / "world", work / "reloaded", rng) for _ in range(RELOADS)]
        for name in ("prepare", "train", "encode"):
            print(f"{name}: full disks, two at once, a clock that jumps back ...", flush=True)
            told += full_disks(made[name], whole[name][0], work / "disks", DISKS, rng)
            told.append(two_at_once(made[name], whole[name][0], work / "two"))
            told.append(clocks_back(made[name], whole[name][0], work / "clock"))
    told += flipped(work / "world", work / "flipped", FLIPS, rng)
    print("ten million films ...", flush=True)
    told.append(many_films(work / "films"))
    placeless = [
        fault | {"told": fault["told"].replace(f"{work}/", "")} for fault in told
    ]  # where it was says nothing
    return {**provenance(), "seed": seed, "faults": placeless}


def _lines(rng: np.random.Generator) -> bytes:
    """A megabyte that no compression shrinks much: the download lasts, and may be cut anywhere."""
    return b"\n".join(b"1::1::%d::978300760" % number for number in rng.integers(0, 2**62, 40_000))


def main() -> None:
    """Run the campaign, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the moments, the bits and the sizes")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "faults", help="emptied first")
    parser.add_argument("--render", action="store_true", help="only put the saved table into the page")
    asked = parser.parse_args()
    saved = ROOT / "results" / f"{NAME}.json"
    if not asked.render:
        shutil.rmtree(asked.work, ignore_errors=True)
        asked.work.mkdir(parents=True)
        save(saved, campaign(asked.work, asked.seed))
    results = json.loads(saved.read_text())
    put(NAME, rendered_faults(results))
    print(rendered_faults(results))
    if bad := [fault for fault in results["faults"] if fault["came"] == "wrong"]:
        sys.exit(f"{len(bad)} faults were lost or silently wrong: {bad}")


if __name__ == "__main__":
    main()

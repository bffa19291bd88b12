"""What is understood of public data sets of every kind of feedback: the report that ``tastevec inspect`` prints of each."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from across import BEYOND, DATA_SETS, made_up
from typer.testing import CliRunner

from tastevec.cli.app import app

if TYPE_CHECKING:
    from measure import Run

# What a command line says; the folders of the data are private.
RELEASES = {
    "ml-latest-small": (
        "../ml-latest-small",
        {"items": "ml-plots/plots.csv", "relevance": "ml-genome-top5/genome-top-tags.csv"},
    ),
    "ml-1m, 5,040 users": ("../ml-1m-5k", {}),
}


def measured(run: Run) -> dict[str, Any]:
    """Inspect each data set that is there; a small run takes made-up clicks."""
    if not run.full:
        sources: dict[str, tuple[Path | str, dict[str, Path | str]]] = {
            "made-up": (made_up(run.work / "clicks.csv", run.seed), {})
        }
    else:
        sources = {
            name: (BEYOND / file, {"items": BEYOND / items} if items else {})
            for name, (file, items, _) in DATA_SETS.items()
        }
        sources |= {
            name: ((BEYOND / folder).resolve(), {flag: BEYOND / file for flag, file in tables.items()})
            for name, (folder, tables) in RELEASES.items()
        }
    return {
        "data_sets": [
            run.call(name, inspected, name=name, source=source, tables=tables)
            for name, (source, tables) in sources.items()
        ]
    }


def inspected(name: str, source: str, tables: dict[str, str]) -> dict[str, Any]:
    """Return the report of a source, how long it took, and the command that prints it."""
    flags = [word for flag, table in tables.items() for word in (f"--{flag}", table)]
    start = time.perf_counter()
    printed = CliRunner().invoke(app, ["inspect", source, *flags], catch_exceptions=False)
    seconds = time.perf_counter() - start
    if printed.exit_code:
        raise SystemExit(printed.output)
    report = printed.output.strip()
    return {
        "name": name,
        "command": " ".join(["tastevec inspect", *(Path(word).name for word in (source, *flags))]),
        "rows": report.partition(" rows")[0].split()[-1],
        "kind": next(iter(re.findall(r"  (explicit|implicit|weighted|events) ", report))),
        "report": report,
        "warnings": ", ".join(re.findall(r"^warning .* \[([a-z-]+)\]$", report, re.MULTILINE)) or "none",
        "seconds": round(seconds, 1),
    }

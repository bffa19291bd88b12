"""What is understood of public data sets of every kind of feedback: the report that ``tastevec inspect`` prints of each."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beyond import BEYOND, DATA_SETS, made_up

import tastevec as tv

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
    start = time.perf_counter()
    report = tv.inspect(source, **tables)
    flags = "".join(f" --{flag} {Path(table).name}" for flag, table in tables.items())
    return {
        "name": name,
        "command": f"tastevec inspect {Path(source).name}{flags}",
        "rows": report.tables[0].summary.partition(" rows")[0],
        "kind": next(
            line.role
            for line in report.tables[0].lines
            if line.role in {"explicit", "implicit", "weighted", "events"}
        ),
        "report": str(report),
        "warnings": ", ".join(warning.code for warning in report.warnings) or "none",
        "seconds": round(time.perf_counter() - start, 1),
    }

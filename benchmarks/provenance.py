"""Where and with what a number was measured, and how it is kept."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ROOT", "at_once", "provenance", "save", "stage"]

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("tastevec", "torch", "transformers", "duckdb", "ibis-framework", "implicit", "numpy", "optuna", "scikit-learn", "faiss-cpu", "onnxruntime", "pyspark", "usearch")  # fmt: skip


def provenance() -> dict[str, Any]:
    """The machine, the versions and the commit."""
    return {
        "machine": _machine(),
        "versions": {library: found for library in LIBRARIES if (found := _version(library))},
        "commit": _commit(),
    }


def save(path: Path, results: dict[str, Any]) -> None:
    """Write one file of results, each innermost record on a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False)
    records = re.sub(
        r"\{\n([^{}\[\]]*)\}", lambda found: "{" + re.sub(r"\s*\n\s*", " ", found[1]).strip() + "}", text
    )
    path.write_text(records + "\n")


def stage(name: str, command: list[str], kept: Path) -> dict[str, Any]:
    """One command in a process of its own: its seconds and its peak memory.

    What was measured is kept in the folder ``kept``, so that an interrupted table goes on where it was; ``busy`` is how many
    other processes wanted a core when the stage began (the load average of the last minute).
    """
    record = kept / f"{name.replace(' ', '-')}.json"
    if record.exists():
        done: dict[str, Any] = json.loads(record.read_text())
        return done
    print(f"{name} ...", flush=True)
    busy, start = round(os.getloadavg()[0], 1), time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{name} failed")
    measured = {
        "stage": name,
        "seconds": round(time.perf_counter() - start, 1),
        "peak_memory_mb": round(usage.ru_maxrss / 1024),
        "busy": busy,
        "commit": _commit(),
    }
    save(record, measured)
    return measured


def at_once(jobs: int, stages: Sequence[Callable[[], dict[str, Any]]]) -> list[dict[str, Any]]:
    """Every stage's record, in their order; as many as ``jobs`` run side by side, and their seconds say less then."""
    with ThreadPoolExecutor(jobs) as workers:
        return list(workers.map(lambda begin: begin(), stages))


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    if told := os.environ.get("COMMIT"):  # where the files are, but not their history
        return told
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()


def _machine() -> dict[str, Any]:
    cpus = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", cpus.read_text()) if cpus.exists() else None
    return {
        "cpu": named.group(1) if named else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "system": platform.system(),
    }

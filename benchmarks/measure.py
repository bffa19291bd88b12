"""Measurement: steps in processes of their own, each with its seconds, peak memory and commit; machine and versions of a result.

``python measure.py MODULE FUNCTION ARGUMENTS OUT`` is such a process: it calls a function of a benchmark with JSON arguments and
writes the JSON that the function returns, so that the peak memory is that of this call alone.
"""

from __future__ import annotations

import inspect
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the commands do, before torch is imported

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("tastevec", "torch", "transformers", "duckdb", "ibis-framework", "implicit", "numpy", "optuna", "scikit-learn", "faiss-cpu", "onnxruntime", "pyspark", "usearch")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One run of a benchmark; finished steps stay in its folder and are skipped the next time.

    Attributes:
        full: Whether the run has the published size.
        prepared: A prepared dataset that is measured; generated where it is None.
        model: A model trained on it; trained where it is None.
        steps: The record of every step so far.
    """

    work: Path
    full: bool = False
    seed: int = 42
    prepared: Path | None = None
    model: Path | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)

    def step(self, name: str, *command: str | Path) -> dict[str, Any]:
        """Run a command once: its seconds, its peak memory and how many other processes wanted a core before it began."""
        saved = self.work / "stages" / f"{name.replace(' ', '-')}.json"
        if not saved.exists():
            print(f"{name} ...", flush=True)
            save(saved, {"stage": name, **_execute([str(word) for word in command]), "commit": _commit()})
        record: dict[str, Any] = json.loads(saved.read_text())
        self.steps.append(record)
        return record

    def tastevec(self, name: str, *arguments: str | Path) -> dict[str, Any]:
        """Run a tastevec command once."""
        return self.step(name, sys.executable, "-m", "tastevec", *arguments)

    def call(self, name: str, function: Callable[..., Any], /, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON
        """Return what the function returns, called once in a process of its own, with the step's peak memory and load."""
        out = self.work / "returned" / f"{name.replace(' ', '-')}.json"
        out.parent.mkdir(parents=True, exist_ok=True)
        module = Path(inspect.getfile(function)).stem  # not __module__, which of a script is __main__
        call = (module, function.__name__, json.dumps(arguments, default=str), out)
        record = self.step(name, sys.executable, __file__, *call)
        returned: dict[str, Any] = json.loads(out.read_text())
        return {"peak_memory_mb": record["peak_memory_mb"], "busy": record["busy"], **returned}


def provenance() -> dict[str, Any]:
    """Return the machine, the library versions and the commit."""
    return {
        "machine": _machine(),
        "versions": {library: found for library in LIBRARIES if (found := _version(library))},
        "commit": _commit(),
    }


def save(path: Path, results: Any) -> None:  # noqa: ANN401  any JSON
    """Write results as JSON, each innermost record on one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False)
    text = re.sub(
        r"\{\n([^{}\[\]]*)\}", lambda found: "{" + re.sub(r"\s*\n\s*", " ", found[1]).strip() + "}", text
    )
    path.write_text(text + "\n", encoding="utf-8")


def spread(values: list[float], digits: int = 2) -> dict[str, float]:
    """Return the median, the lowest and the highest of several runs."""
    ordered = sorted(values)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    found = {"median": middle, "lowest": ordered[0], "highest": ordered[-1]}
    return {name: round(value, digits) for name, value in found.items()}


def peak_mb() -> int:
    """Return the peak memory of this process so far in MB, memory-mapped pages included."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _execute(command: list[str]) -> dict[str, Any]:
    busy, start = round(os.getloadavg()[0], 1), time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # the process object cannot know that it is over
    if status:
        sys.exit(f"The command failed: {' '.join(command[:6])}. Its error is above.")
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "peak_memory_mb": round(usage.ru_maxrss / 1024),
        "busy": busy,
    }


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    if given := os.environ.get("COMMIT"):  # a copy of the files without their history
        return given
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()


def _machine() -> dict[str, Any]:
    cpus = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpus.read_text()) if cpus.exists() else None
    return {
        "cpu": model.group(1) if model else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def main() -> None:
    """Call the function and write what it returns."""
    module, function, arguments, out = sys.argv[1:]
    returned = getattr(import_module(module), function)(**json.loads(arguments))
    save(Path(out), returned)


if __name__ == "__main__":
    main()

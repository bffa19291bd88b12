"""The commands that the fault campaign disturbs, over a small generated world, and what each of them leaves undisturbed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provenance import ROOT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Task", "begin", "digest", "run", "sentence", "tasks", "undisturbed"]

_RELEASE = {"ratings": 60_000, "users": 600, "films": 500, "genome-films": 60, "tags": 1_000, "seed": 5}
_PEOPLE = 20_000  # who are encoded: five groups of them
_SMALL = {"epochs": 3, "hidden_size": 32, "heads": 2, "layers": 1, "max_history": 50, "report_to": "none"}
# What no two runs have alike.
_TIMES = {"seal", "timings"}
# As `tastevec fetch`, from the address that is told first: a server of this machine, whose zip nobody published a digest of.
_FETCH = """
import dataclasses, sys
from types import MappingProxyType
from tastevec.data import releases, transfer
releases._FOLDER, transfer._BLOCK = sys.argv.pop(1), 1 << 14
bare = {name: dataclasses.replace(release, md5=None) for name, release in releases.RELEASES.items()}
releases.RELEASES = MappingProxyType(bare)
from tastevec.cli import main
main()
"""


@dataclass(frozen=True)
class Task:
    """A command.

    Attributes:
        name: Of it.
        words: The process's arguments; ``{out}`` is where it writes.
        leaves: What lies in the folder ``{out}`` is in once it is done.
        resume: A word more, where an unfinished run of it lies there.
    """

    name: str
    words: tuple[str, ...]
    leaves: str
    resume: str | None = None

    def told(self, folder: Path, *, unfinished: bool = False) -> list[str]:
        """The process's arguments, to write into the folder."""
        places = {"{out}": str(folder / self.leaves), "{folder}": str(folder)}
        words = [places.get(word, word) for word in self.words]
        return [*words, self.resume] if unfinished and self.resume else words


def tasks(work: Path, address: str) -> dict[str, Task]:
    """Every command that writes, over a world in ``work`` that is made the first time."""
    command, world = (sys.executable, "-m", "tastevec"), work / "world"
    people = world / "people"
    if not (people / "ratings.parquet").exists():
        sizes = [word for name, size in _RELEASE.items() for word in (f"--{name}", str(size))]
        _made("generate.py", str(world / "release"), *sizes)
        _made("generated.py", str(_PEOPLE), "--films", "500", "--out", str(people))
    settings = [word for name, value in _SMALL.items() for word in ("--set", f"{name}={value}")]
    data, model = world / "data", world / "model"
    made = {
        "prepare": Task("prepare", (*command, "prepare", str(world / "release"), "--out", "{out}"), "data"),
        "train": Task(
            "train", (*command, "train", str(data), "--out", "{out}", *settings), "model", resume="--resume"
        ),
        "encode": Task(
            "encode",
            (*command, "encode", str(model), str(people / "ratings.parquet"), "--out", "{out}"),
            "vectors.parquet",
        ),
        "fetch": Task(
            "fetch", (sys.executable, "-c", _FETCH, address, "fetch", "ml-1m", "--to", "{folder}"), "ml-1m"
        ),
    }
    for name in ("prepare", "train"):  # what the later ones read
        if not (world / made[name].leaves).exists():
            run(made[name], world)
    return made


def undisturbed(task: Task, folder: Path) -> tuple[dict[str, str], float]:
    """What the command leaves where nothing disturbs it, and in how many seconds."""
    began = time.perf_counter()
    status, said = run(task, folder)
    if status:
        sys.exit(f"{task.name} failed undisturbed: {said}")
    return digest(folder / task.leaves), time.perf_counter() - began


def begin(task: Task, folder: Path, *, unfinished: bool = False, **environment: str) -> subprocess.Popen[str]:
    """The command in a process group of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        task.told(folder, unfinished=unfinished),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | environment,
    )


def run(task: Task, folder: Path, *, unfinished: bool = False, **environment: str) -> tuple[int, str]:
    """The command to its end: its status and what it said."""
    process = begin(task, folder, unfinished=unfinished, **environment)
    _, said = process.communicate()
    return process.returncode, said


def sentence(said: str) -> str | None:
    """The one sentence with which a command of ours ends; None where it ended in any other way."""
    errors = [line for line in said.splitlines() if line.startswith("Error: ")]
    return errors[0] if len(errors) == 1 and "Traceback" not in said else None


def digest(path: Path) -> dict[str, str]:
    """The SHA-256 of each file there, of JSON without its times, by its name."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    found = {}
    for file in files:
        held = file.read_bytes()
        if file.suffix == ".json":
            held = json.dumps(_timeless(json.loads(held)), sort_keys=True).encode()
        found[str(file.relative_to(path.parent))] = hashlib.sha256(held).hexdigest()
    return found


def _timeless(told: Any) -> Any:  # noqa: ANN401  what JSON holds
    if isinstance(told, dict):
        return {name: _timeless(value) for name, value in told.items() if name not in _TIMES}
    return [_timeless(value) for value in told] if isinstance(told, list) else told


def _made(script: str, *words: str) -> None:
    subprocess.run([sys.executable, str(ROOT / "benchmarks" / script), *words], check=True)

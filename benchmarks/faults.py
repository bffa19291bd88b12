"""Fault injection: kill, fill and damage what commands write, and count what is lost or silently wrong.

Commands are killed with SIGKILL at random moments and run again; single bits of every file of a prepared dataset and a model are
flipped; disks are full; two processes write to one place; the clock jumps back; ten million items are prepared.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pytest
from experiment import generated, prepared_histories
from measure import ROOT, Run
from service import TOKEN, serving

from tastevec.data.prepared import Prepared
from tastevec.errors import TastevecError
from tastevec.serving.bundle import Bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

sys.path.append(str(ROOT / "tests"))  # it has servers that break off and disks of any size

FULL = {"fetch": 10, "prepare": 12, "train": 10, "encode": 12, "reloads": 6, "disks": 5, "flips": 3}
SMALL = dict.fromkeys(FULL, 1)
RELEASE = {"items": 500, "genome_items": 60, "genome_tags": 1_128, "tags": 1_000, "seed": 5}
TINY = {"epochs": 3, "hidden_size": 32, "heads": 2, "layers": 1, "max_history": 50, "report_to": "none"}
EARLIEST = 0.3  # of the time of a command: before, it only imports libraries
TIMES = {"manifest_checksum", "timings"}  # JSON keys in which no two runs agree
MANY = 10_000_000
# `tastevec fetch` from the address that comes first: a local server, whose zip has no published digest.
FETCH = """
import dataclasses, sys
from types import MappingProxyType
from tastevec.data import http, releases
releases._FOLDER, http._BLOCK = sys.argv.pop(1), 1 << 14
bare = {name: dataclasses.replace(release, md5=None) for name, release in releases.RELEASES.items()}
releases.RELEASES = MappingProxyType(bare)
from tastevec.cli.app import main
main()
"""
# Python reads this first: at every twentieth look at the clock, an hour has gone back.
CLOCK = """
import time
_real, _seen = time.time, [0]
def _back():
    _seen[0] += 1
    return _real() - 3600 * (_seen[0] // 20)
time.time = _back
"""
Fault = dict[str, str]


@dataclass(frozen=True)
class Task:
    """A command that writes.

    Attributes:
        name: Its name.
        words: Its arguments; ``{out}`` is what it writes, ``{folder}`` the folder of that.
        leaves: The name of what it writes.
        resume: A further argument where an unfinished run of it exists.
    """

    name: str
    words: tuple[str, ...]
    leaves: str
    resume: str | None = None

    def command(self, folder: Path, *, unfinished: bool = False) -> list[str]:
        """Return the arguments of the process, to write into the folder."""
        places = {"{out}": str(folder / self.leaves), "{folder}": str(folder)}
        words = [places.get(word, word) for word in self.words]
        return [*words, self.resume] if unfinished and self.resume else words

    def start(self, folder: Path, *, unfinished: bool = False, **environment: str) -> subprocess.Popen[str]:
        """Start the command in a process group of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            self.command(folder, unfinished=unfinished),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | environment,
        )

    def run(self, folder: Path, *, unfinished: bool = False, **environment: str) -> tuple[int, str]:
        """Run the command to its end; return its status and what it wrote to stderr."""
        process = self.start(folder, unfinished=unfinished, **environment)
        _, stderr = process.communicate()
        return process.returncode, stderr


def measured(run: Run) -> dict[str, Any]:
    """Inject every fault; stop with an error if anything is lost or silently wrong."""
    from servers import Page, serving, zip_of  # noqa: PLC0415  on the path only now

    counts, work = FULL if run.full else SMALL, run.work
    rng, faults = np.random.default_rng(run.seed), []
    # A megabyte that compression hardly shrinks: the download lasts, and may be cut anywhere.
    lines = b"\n".join(b"1::1::%d::978300760" % number for number in rng.integers(0, 2**62, 40_000))
    with serving() as server:
        rows = {f"ml-1m/{name}.dat": lines for name in ("movies", "ratings", "users")}
        server.pages["ml-1m.zip"] = Page(zip_of(rows))
        tasks = _tasks(run, server.at(""))
        digests = {name: _undisturbed(task, work / "undisturbed" / name) for name, task in tasks.items()}
        for name, task in tasks.items():
            print(f"{name} ...", flush=True)
            faults += [killed(task, *digests[name], work / "killed", rng) for _ in range(counts[name])]
        for name in ("prepare", "train", "encode"):
            undisturbed = digests[name][0]
            faults += _full_disks(tasks[name], undisturbed, work / "disks", counts["disks"], rng)
            faults.append(_two_at_once(tasks[name], undisturbed, work / "two"))
            faults.append(_clock_back(tasks[name], undisturbed, work / "clock"))
    world = work / "world"
    faults += [_killed_while_reloading(world, work / "reloaded", rng) for _ in range(counts["reloads"])]
    faults += flipped(world, work / "flipped", counts["flips"], rng)
    faults.append(_many_items(work / "items", MANY if run.full else MANY // 1_000))
    if bad := [fault for fault in faults if fault["came"] == "wrong"]:
        sys.exit(f"{len(bad)} faults were lost or silently wrong: {bad}")
    return {
        "seed": run.seed,
        "faults": [fault | {"message": fault["message"].replace(f"{work}/", "")} for fault in faults],
    }


def _fault(kind: str, where: str, came: str, message: str = "") -> Fault:
    """Return one fault and its outcome: the ``same`` bytes, one clear ``sentence``, ``wrong`` or ``not tried``."""
    return {"kind": kind, "where": where, "came": came, "message": message}


def _tasks(run: Run, address: str) -> dict[str, Task]:
    """Return every command that writes, over a small generated dataset."""
    python, world = sys.executable, run.work / "world"
    for name, users, ratings in (
        ("release", 600, 60_000),
        ("many", 20_000, 1_280_000 if run.full else 600_000),
    ):
        sizes = RELEASE | {"users": users, "ratings": ratings}  # the same seed: the same items
        run.call(f"generate {name}", generated, out=world / name, sizes=sizes)
    run.tastevec("prepare many", "prepare", world / "many", "--out", world / "prepared-many")
    histories, _ = prepared_histories(world / "prepared-many", world / "histories.parquet")
    settings = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]
    data, model, command = str(world / "data"), str(world / "model"), (python, "-m", "tastevec")
    tasks = {
        "fetch": Task("fetch", (python, "-c", FETCH, address, "fetch", "ml-1m", "--to", "{folder}"), "ml-1m"),
        "prepare": Task("prepare", (*command, "prepare", str(world / "release"), "--out", "{out}"), "data"),
        "train": Task("train", (*command, "train", data, "--out", "{out}", *settings), "model", "--resume"),
        "encode": Task(
            "encode", (*command, "encode", model, str(histories), "--out", "{out}"), "vectors.parquet"
        ),
    }
    for name in ("prepare", "train"):  # what the later ones read
        if not (world / tasks[name].leaves).exists():
            tasks[name].run(world)
    return tasks


def _undisturbed(task: Task, folder: Path) -> tuple[dict[str, str], float]:
    """Return the digests of what the command writes undisturbed, and its seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    status, stderr = task.run(folder)
    if status:
        sys.exit(f"{task.name} failed undisturbed: {stderr}")
    return _digests(folder / task.leaves), time.perf_counter() - began


# ---- faults ----


def killed(
    task: Task, digests: dict[str, str], seconds: float, folder: Path, rng: np.random.Generator
) -> Fault:
    """Kill the command at a random moment, and run it again to the bytes of an undisturbed run."""
    shutil.rmtree(folder, ignore_errors=True)
    moment = float(rng.uniform(EARLIEST, 1)) * seconds
    process = task.start(folder)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    left = folder / task.leaves
    if left.exists() and _digests(left) != digests:
        return _fault("killed", task.name, "wrong", f"half-written after {moment:.2f} s")
    unfinished = (folder / f"{task.leaves}.training").exists() and not left.exists()
    status, stderr = task.run(folder, unfinished=unfinished)
    if status:
        error = _one_error(stderr)
        return _fault("killed", task.name, "sentence" if error else "wrong", error or stderr[-500:])
    return _fault(
        "killed", task.name, "same" if _digests(left) == digests else "wrong", f"after {moment:.2f} s"
    )


def _killed_while_reloading(world: Path, folder: Path, rng: np.random.Generator) -> Fault:
    """Kill a service soon after it starts to reload its model; a new one responds as before."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world / "model", folder / "model")
    responses = []
    for reload in (True, False):
        with serving(folder / "model", folder / "log") as service:
            responses.append(_recommend(service.port))
            if reload:
                service.process.send_signal(signal.SIGHUP)
                time.sleep(float(rng.uniform(0, 0.5)))
            service.process.kill()
    same = responses[0] == responses[1] and _digests(folder / "model") == _digests(world / "model")
    return _fault("killed", "serve, reloading", "same" if same else "wrong")


def _recommend(port: int) -> Any:  # noqa: ANN401  any JSON
    ratings = [{"item_id": item, "value": 4.0} for item in (1, 2, 3)]
    body = json.dumps({"users": [{"interactions": ratings}], "k": 5}).encode()
    fields = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/recommend", body, fields)
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  our own address
        return json.load(response)


def flipped(world: Path, folder: Path, flips: int, rng: np.random.Generator) -> list[Fault]:
    """Flip one bit of one file, every file several times: opening the folder fails with an error that names the file."""
    faults = []
    readers: tuple[tuple[str, Callable[[Path], object]], ...] = (
        ("data", Prepared.open),
        ("model", Bundle.load),
    )
    for where, read in readers:
        files = sorted(path for path in (world / where).rglob("*") if path.is_file())
        for file in (file for file in files for _ in range(flips)):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(world / where, folder)
            damaged = folder / file.relative_to(world / where)
            content = bytearray(damaged.read_bytes())
            content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
            damaged.write_bytes(content)
            try:
                read(folder)
            except TastevecError as error:
                came, message = "sentence" if file.name in str(error) else "wrong", str(error)
            except Exception as error:  # noqa: BLE001  any other is what we look for
                came, message = "wrong", repr(error)
            else:
                came, message = "wrong", "no error"
            faults.append(_fault("a bit turned", f"{where}/{file.name}", came, message))
    return faults


def _full_disks(
    task: Task, digests: dict[str, str], folder: Path, count: int, rng: np.random.Generator
) -> list[Fault]:
    """Run the command on disks of random size: it finishes, or reports no space and leaves nothing half-written."""
    from weather import need_own_disks, on_disk  # noqa: PLC0415  of the tests, on the path only now

    try:
        need_own_disks()
    except pytest.skip.Exception as reason:
        return [_fault("a full disk", task.name, "not tried", str(reason))]
    shutil.rmtree(folder, ignore_errors=True)
    disk = folder / "disk"
    disk.mkdir(parents=True)
    written = folder.parent / "undisturbed" / task.name
    size, page, faults = sum(file.stat().st_size for file in written.rglob("*") if file.is_file()), 4096, []
    for pages in rng.integers(1, 2 * size // page, count).tolist():
        ended = on_disk(disk, f"size={pages * page}", *task.command(disk)[3:])
        left = [name for name in ended.files if ".training" not in name and ".unfinished" not in name]
        done = ended.status == 0 and {name.removeprefix("./") for name in left} >= set(digests)
        error = _one_error(ended.stderr)
        clear = error is not None and "No space left" in error and not left
        came = "same" if done else "sentence" if clear else "wrong"
        faults.append(_fault("a full disk", task.name, came, error or ended.stderr[-300:]))
    return faults


def _two_at_once(task: Task, digests: dict[str, str], folder: Path) -> Fault:
    """Run the command twice at the same time, into the same place."""
    shutil.rmtree(folder, ignore_errors=True)
    both = [task.start(folder) for _ in range(2)]
    outputs = [process.communicate()[1] for process in both]
    clear = [process.returncode == 0 or _one_error(text) for process, text in zip(both, outputs, strict=True)]
    left = folder / task.leaves
    if left.exists() and _digests(left) == digests and all(clear):
        return _fault("two at once", task.name, "same", "; ".join(filter(None, map(_one_error, outputs))))
    return _fault("two at once", task.name, "wrong", " | ".join(text[-300:] for text in outputs))


def _clock_back(task: Task, digests: dict[str, str], folder: Path) -> Fault:
    """Run the command while the clock jumps back an hour again and again."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "clock").mkdir(parents=True)
    (folder / "clock" / "sitecustomize.py").write_text(CLOCK)
    path = os.pathsep.join(filter(None, [str(folder / "clock"), os.environ.get("PYTHONPATH")]))
    status, stderr = task.run(folder / "out", PYTHONPATH=path)
    same = status == 0 and _digests(folder / "out" / task.leaves) == digests
    return _fault(
        "the clock jumps back", task.name, "same" if same else "wrong", "" if same else stderr[-300:]
    )


def _many_items(folder: Path, items: int) -> Fault:
    """Prepare a table of ten million items, most of them rated once."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    table, out, users, popular = folder / "ratings.parquet", folder / "data", 2_000, 100
    rows = f"""
        SELECT 1 + i % {users} AS user_id, i AS item_id, 1 + (i * 7919) % 5 AS rating, 1000000000 + i AS timestamp
        FROM range({popular}, {items}) rare(i)
        UNION ALL SELECT u, f, 1 + (u * f) % 5, 999999999 - f FROM range(1, {users} + 1) users(u), range({popular}) items(f)
    """  # noqa: S608  our own numbers
    duckdb.sql(f"COPY ({rows}) TO '{table}' (FORMAT parquet)")
    task = Task("prepare", (sys.executable, "-m", "tastevec", "prepare", str(table), "--rating-range", "1:5", "--out", "{out}"), "data")  # fmt: skip
    status, stderr = task.run(folder)
    where = f"prepare, {items:,} items"
    if status:
        error = _one_error(stderr)
        return _fault("too much", where, "sentence" if error else "wrong", error or stderr[-500:])
    counts = json.loads((out / "manifest.json").read_text())["counts"]
    shutil.rmtree(out)
    return _fault("too much", where, "same" if counts["items"] == items else "wrong")


# ---- what is compared ----


def _one_error(stderr: str) -> str | None:
    """Return the one error line with which a command ends; None where it ends in any other way."""
    errors = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    return errors[0] if len(errors) == 1 and "Traceback" not in stderr else None


def _digests(path: Path) -> dict[str, str]:
    """Return the SHA-256 of every file by its name, of JSON without its times."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    found = {}
    for file in files:
        content = file.read_bytes()
        if file.suffix == ".json":
            content = json.dumps(_timeless(json.loads(content)), sort_keys=True).encode()
        found[str(file.relative_to(path.parent))] = hashlib.sha256(content).hexdigest()
    return found


def _timeless(value: Any) -> Any:  # noqa: ANN401  any JSON
    if isinstance(value, dict):
        return {name: _timeless(inner) for name, inner in value.items() if name not in TIMES}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value

"""Bits that turn, disks that are full, two processes in one place, and a clock that jumps back."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from fault_kills import fault
from fault_tasks import Task, begin, digest, run, sentence

from tastevec.data.prepared import Prepared
from tastevec.errors import TastevecError
from tastevec.serving.bundle import Bundle

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

__all__ = ["clocks_back", "flipped", "full_disks", "two_at_once"]

_PAGE = 4096
# Each process of Python reads this first; every twentieth look at the clock, an hour has gone back.
_CLOCK = """
import time
_real, _seen = time.time, [0]
def _back():
    _seen[0] += 1
    return _real() - 3600 * (_seen[0] // 20)
time.time = _back
"""


def flipped(world: Path, folder: Path, flips: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """One bit of one file turned, each file a few times: opened, the folder is refused and the file named."""
    told = []
    for where, opened in (("data", Prepared.open), ("model", Bundle.load)):
        for file in sorted(path for path in (world / where).rglob("*") if path.is_file()):
            for _ in range(flips):
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(world / where, folder)
                turned = folder / file.relative_to(world / where)
                held = bytearray(turned.read_bytes())
                held[int(rng.integers(len(held)))] ^= 1 << int(rng.integers(8))
                turned.write_bytes(held)
                told.append(_opened(f"{where}/{turned.name}", turned.name, folder, opened))
    return told


def _opened(where: str, name: str, folder: Path, opened: Any) -> dict[str, Any]:  # noqa: ANN401  two loaders
    try:
        opened(folder)
    except TastevecError as error:
        return fault("a bit turned", where, "sentence" if name in str(error) else "wrong", str(error))
    except Exception as error:  # noqa: BLE001  any other is what the campaign looks for
        return fault("a bit turned", where, "wrong", repr(error))
    return fault("a bit turned", where, "wrong", "nothing was noticed")


def full_disks(
    task: Task, whole: dict[str, str], folder: Path, count: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """The command on disks of random size: it is done, or says that there is no room and leaves nothing half-written."""
    from weather import need_own_disks, on_disk  # noqa: PLC0415  of the tests, found only now

    try:
        need_own_disks()
    except pytest.skip.Exception as why:
        return [fault("a full disk", task.name, "not tried", str(why))]
    shutil.rmtree(folder, ignore_errors=True)
    disk = folder / "disk"
    disk.mkdir(parents=True)
    room = sum(file.stat().st_size for file in _files(folder.parent / "undisturbed" / task.name))
    told = []
    for pages in rng.integers(1, 2 * room // _PAGE, count).tolist():
        ended = on_disk(disk, f"size={pages * _PAGE}", *task.told(disk)[3:])
        left = [name for name in ended.left if ".training" not in name and ".unfinished" not in name]
        done = ended.status == 0 and {name.removeprefix("./") for name in left} >= set(whole)
        refused = sentence(ended.said)
        clear = refused is not None and "No space left" in refused and not left
        came = "same" if done else "sentence" if clear else "wrong"
        told.append(fault("a full disk", task.name, came, refused or ended.said[-300:]))
    return told


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def two_at_once(task: Task, whole: dict[str, str], folder: Path) -> dict[str, Any]:
    """The command twice at the same time, into the same place."""
    shutil.rmtree(folder, ignore_errors=True)
    both = [begin(task, folder) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    clear = [process.returncode == 0 or sentence(words) for process, words in zip(both, said, strict=True)]
    left = folder / task.leaves
    if left.exists() and digest(left) == whole and all(clear):
        refused = [sentence(words) for words in said if sentence(words)]
        return fault("two at once", task.name, "same", "; ".join(filter(None, refused)))
    return fault("two at once", task.name, "wrong", " | ".join(words[-300:] for words in said))


def clocks_back(task: Task, whole: dict[str, str], folder: Path) -> dict[str, Any]:
    """The command while the clock jumps back an hour again and again."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "clock").mkdir(parents=True)
    (folder / "clock" / "sitecustomize.py").write_text(_CLOCK)
    path = os.pathsep.join(filter(None, [str(folder / "clock"), os.environ.get("PYTHONPATH")]))
    status, said = run(task, folder / "out", PYTHONPATH=path)
    if status == 0 and digest(folder / "out" / task.leaves) == whole:
        return fault("the clock jumps back", task.name, "same")
    return fault("the clock jumps back", task.name, "wrong", said[-300:])

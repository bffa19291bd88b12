"""A disk that is full, or that cannot be written: a real one of a process's own, which nobody else sees."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# In namespaces of its own, root of which everybody may be, and which end with it.
_ALONE = ("unshare", "--map-root-user", "--mount")
_SCRIPT = """
    options=$1 place=$2 brings=$3 kept=$4; shift 4
    mount -t tmpfs -o "${options%%+*}" tmpfs "$place" || exit 99
    cp -r "$brings"/. "$place" 2>/dev/null
    case $options in *+ro) mount -o remount,ro "$place" || exit 99;; esac
    "$@"; status=$?
    (cd "$place" && find . -mindepth 1 | sort) > "$kept"
    exit $status
"""


class Outcome(NamedTuple):
    """How a command ended: its status, what it said on standard error, and what lay on the disk afterwards."""

    status: int
    said: str
    left: list[str]


def on_disk(place: Path, options: str, *command: str, brings: Path | None = None) -> Outcome:
    """Run ``tastevec COMMAND`` where the folder ``place`` is a small disk of its own.

    Args:
        place: A folder that is there and is empty.
        options: What ``mount -t tmpfs`` is told, such as ``size=64k``; ``+ro`` behind it lets nobody write.
        command: The arguments.
        brings: A folder whose files are on the disk beforehand.
    """
    kept, nothing = place.parent / "left.txt", place.parent / "nothing"
    nothing.mkdir(exist_ok=True)
    told = [options, str(place), str(brings or nothing), str(kept)]
    done = subprocess.run(
        [*_ALONE, "sh", "-c", _SCRIPT, "sh", *told, sys.executable, "-m", "tastevec", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"TMPDIR": str(place.parent), "COLUMNS": "200"},
    )
    assert done.returncode != 99, done.stderr
    return Outcome(done.returncode, done.stderr, kept.read_text().split())


def need_own_disks() -> None:
    """Skip the test where a process may not mount a disk of its own."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here, which gives a process a disk of its own")
    tried = subprocess.run(
        [*_ALONE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
    )
    if tried.returncode:
        pytest.skip("processes may not mount a disk of their own here")

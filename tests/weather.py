"""Small or read-only disks: tmpfs mounts that only one process sees."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# In a user and mount namespace, in which the process is root and which ends with it.
_NAMESPACE = ("unshare", "--map-root-user", "--mount")
_SCRIPT = """
    options=$1 disk=$2 files=$3 listing=$4; shift 4
    mount -t tmpfs -o "${options%%+*}" tmpfs "$disk" || exit 99
    cp -r "$files"/. "$disk" 2>/dev/null
    case $options in *+ro) mount -o remount,ro "$disk" || exit 99;; esac
    "$@"; status=$?
    (cd "$disk" && find . -mindepth 1 | sort) > "$listing"
    exit $status
"""


class Outcome(NamedTuple):
    """Exit status, standard error, and the files on the disk afterwards."""

    status: int
    stderr: str
    files: list[str]


def on_disk(folder: Path, options: str, *command: str, files: Path | None = None) -> Outcome:
    """Run ``tastevec COMMAND`` with a tmpfs disk at ``folder``.

    Args:
        folder: An existing, empty folder.
        options: Options of ``mount -t tmpfs``, such as ``size=64k``; a final ``+ro`` makes it read-only.
        command: The arguments.
        files: A folder whose files are copied to the disk first.
    """
    listing, empty = folder.parent / "files.txt", folder.parent / "empty"
    empty.mkdir(exist_ok=True)
    arguments = [options, str(folder), str(files or empty), str(listing)]
    done = subprocess.run(
        [*_NAMESPACE, "sh", "-c", _SCRIPT, "sh", *arguments, sys.executable, "-m", "tastevec", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"TMPDIR": str(folder.parent), "COLUMNS": "200"},
    )
    assert done.returncode != 99, done.stderr
    return Outcome(done.returncode, done.stderr, listing.read_text().split())


def need_own_disks() -> None:
    """Skip the test if a process may not mount a tmpfs."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare, which creates the namespace, is not installed")
    done = subprocess.run(
        [*_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("processes may not mount a tmpfs here")

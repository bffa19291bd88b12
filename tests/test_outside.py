"""Commands write into their own folders alone, and connect to nothing: run in an empty home, watched by strace."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import worlds

if TYPE_CHECKING:
    from pathlib import Path

# One process for all: the imports take longer than the commands. The client of `serve` ends it with Ctrl+C.
PROGRAM = """
import os, signal, socket, sys, threading, time, urllib.request
from pathlib import Path
from tastevec.cli.app import app

def visit(port):
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").read()
            break
        except OSError:
            time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

for line in Path("commands").read_text().splitlines():
    if line.startswith("serve"):
        threading.Thread(target=visit, args=[line.split()[-1]], daemon=True).start()
    app(line.split(), standalone_mode=False)
"""
TINY = "--set epochs=1 --set dim=8 --set hidden_size=8 --set heads=2 --set layers=1 --set max_history=12 --set device=cpu"
PREPARE = ["prepare release --out prepared --seed 1"]
USE = [
    "encode model histories.csv --out vectors.parquet",
    "recommend model histories.csv --out recommended.parquet",
    "similar model --users histories.csv --user-vectors vectors.parquet --out similar.parquet",
    "explain model histories.csv",
    "add-items model new.csv --out larger",
    "serve model --port {port}",
]
TRAIN = [
    "describe prepared --out pictures",
    f"train prepared --out model {TINY}",
    f"train prepared --out other {TINY} --set seed=2",
    f"train prepared --out note {TINY} --preset bert-cosine --set backbone=none --set dim=64",
    "evaluate model --data prepared --out results",
    "compare results results --out compared",
    "align other model --out aligned",
    "doctor",
]
# A font list, and an empty folder that torch makes at its import: both are without content of the user.
OF_LIBRARIES = re.compile(r"home/\.(cache|config)(/matplotlib.*)?|temporary/torchinductor_\w+")


def strace() -> list[str]:
    """Return the command that writes every connection of a program to ``connections``; empty where it may not run."""
    program = shutil.which("strace")
    if (
        program is None
        or subprocess.run([program, "-qq", "true"], capture_output=True, check=False).returncode
    ):
        return []
    return [
        program,
        "-f",
        "-qq",
        "-e",
        "signal=none",
        "-e",
        "trace=connect,sendto,sendmsg",
        "-o",
        "connections",
    ]


def run(folder: Path, commands: list[str]) -> None:
    """Run the commands in ``folder``, with the empty folders ``home`` and ``temporary`` for all that is not theirs."""
    worlds.write_csv_release(folder / "release", genome=True)
    (folder / "histories.csv").write_text("user_id,item_id,rating\n1,1,5\n1,2,4\n2,3,1\n")
    (folder / "new.csv").write_text("item_id,title,year,genres\n1000,New (2001),2001,Drama\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "commands").write_text("\n".join(commands).format(port=port))
    own = {"HOME": "home", "TMPDIR": "temporary"}
    for name in own.values():
        (folder / name).mkdir()
    # This process has imported tastevec, which sets what a process that has not would lack.
    theirs = re.compile(r"ORT_|HF_|XDG_|MPL|DISABLE_|TORCH|DO_NOT_TRACK|TASTEVEC_")
    environment = {name: value for name, value in os.environ.items() if not theirs.match(name)}
    done = subprocess.run(
        [*strace(), sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=environment | {name: str(folder / path) for name, path in own.items()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def traces(folder: Path) -> list[str]:
    """Return the files outside the folders that the commands name, and the connections to other machines."""
    files = [
        path.relative_to(folder).as_posix()
        for name in ("home", "temporary")
        for path in (folder / name).rglob("*")
    ]
    left = [name for name in files if not OF_LIBRARIES.fullmatch(name)]
    if not (folder / "connections").exists():
        return left
    # The name service of the C library, and the client of `serve`.
    calls = (folder / "connections").read_text().splitlines()
    return left + [
        call for call in calls if re.search(r"AF_INET|AF_PACKET", call) and '"127.0.0.1"' not in call
    ]


@pytest.mark.parametrize(
    ("trained", "commands"),
    [
        (True, PREPARE + USE),
        pytest.param(
            False,
            PREPARE + TRAIN + USE,
            marks=pytest.mark.skipif(
                "TASTEVEC_RELEASE" not in os.environ, reason="trains four models; run: make release"
            ),
        ),
    ],
    ids=["use", "all"],
)
@pytest.mark.slow
def test_commands_leave_no_file_and_try_no_connection(tmp_path, bundle_folder, trained, commands):
    if trained:
        shutil.copytree(bundle_folder, tmp_path / "model")
    run(tmp_path, commands)
    assert traces(tmp_path) == []
    if not strace():
        pytest.skip("files are checked, connections are not: strace is not installed, or may not trace")


def test_values_of_the_user_are_not_replaced():
    code = "import tastevec, os; print(os.environ['ORT_DISABLE_TELEMETRY'], os.environ['HF_HUB_DISABLE_TELEMETRY'])"
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    environment.pop("HF_HUB_DISABLE_TELEMETRY", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "1"]

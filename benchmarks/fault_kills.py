"""Commands and a service killed at random moments, and what the next run makes of what they left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from fault_tasks import Task, begin, digest, run, sentence

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

__all__ = ["fault", "killed", "killed_while_reloading"]

_EARLIEST = 0.3  # of a command's time: before, it only imports libraries
_PATIENCE = 60.0  # seconds until a service must answer


def fault(kind: str, where: str, came: str, told: str = "") -> dict[str, str]:
    """One fault and what came of it: ``same`` bytes, a clear ``sentence``, or ``wrong``; and what there is to say."""
    return {"kind": kind, "where": where, "came": came, "told": told}


def killed(
    task: Task, whole: dict[str, str], seconds: float, folder: Path, rng: np.random.Generator
) -> dict[str, Any]:
    """Kill the command at a random moment and run it again, to the bytes of an undisturbed run."""
    shutil.rmtree(folder, ignore_errors=True)
    moment = float(rng.uniform(_EARLIEST, 1)) * seconds
    process = begin(task, folder)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    left = folder / task.leaves
    if left.exists() and digest(left) != whole:
        return fault("killed", task.name, "wrong", f"half-written after {moment:.2f} s")
    unfinished = (folder / f"{task.leaves}.training").exists() and not left.exists()
    status, said = run(task, folder, unfinished=unfinished)
    if status:
        refused = sentence(said)
        return fault("killed", task.name, "sentence" if refused else "wrong", refused or said[-500:])
    same = digest(left) == whole
    return fault("killed", task.name, "same" if same else "wrong", f"after {moment:.2f} s")


def killed_while_reloading(world: Path, folder: Path, rng: np.random.Generator) -> dict[str, Any]:
    """Kill a service soon after it was told to read its model again, and start it again: it answers as before."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world / "model", folder / "model")
    service, port = _serving(folder / "model")
    try:
        before = _answer(port)
        service.send_signal(signal.SIGHUP)
        time.sleep(float(rng.uniform(0, 0.5)))
    finally:
        os.killpg(service.pid, signal.SIGKILL)
        service.wait()
    service, port = _serving(folder / "model")
    try:
        after = _answer(port)
    finally:
        service.terminate()
        service.wait()
    came = "same" if before == after and digest(folder / "model") == digest(world / "model") else "wrong"
    return fault("killed", "serve, reloading", came)


def _serving(model: Path) -> tuple[subprocess.Popen[bytes], int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = [sys.executable, "-m", "tastevec", "serve", str(model), "--port", str(port)]
    service = subprocess.Popen(
        told, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
        else:
            return service, port
    os.killpg(service.pid, signal.SIGKILL)
    raise TimeoutError(f"the service of {model} did not answer in {_PATIENCE:.0f} s")


def _answer(port: int) -> Any:  # noqa: ANN401  what JSON holds
    ratings = [{"item_id": film, "rating": 4.0} for film in (1, 2, 3)]
    body = json.dumps({"people": [{"ratings": ratings}], "k": 5}).encode()
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/recommend", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310  our own address
        return json.load(answer)

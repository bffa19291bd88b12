"""A training that is killed at any time and resumed gives the bytes of an uninterrupted one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from encoders import TINY

pytestmark = pytest.mark.slow

EPOCHS = 10
TRAINS = """
import json, sys
import torch
from tastevec.pipelines.train import train
torch.set_num_threads(1)
data, out, resume, settings = sys.argv[1:]
train(data, out, resume=resume == "resume", **json.loads(settings))
"""


def start(data, out, how="new"):
    settings = json.dumps({**TINY, "epochs": EPOCHS, "dropout": 0.3})
    return subprocess.Popen(
        [sys.executable, "-c", TRAINS, str(data), str(out), how, settings],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()[-2000:]


def kill(process, unfinished, epochs):
    """Kill the process after so many checkpoints, whatever it is doing."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        written = [int(path.name.partition("-")[2]) for path in unfinished.glob("checkpoint-*")]
        if max(written, default=0) >= 2 * epochs:
            break
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_killed_and_resumed_training_gives_same_bytes(prepared_folder, tmp_path):
    finish(start(prepared_folder, tmp_path / "straight"))
    out = tmp_path / "killed"
    kill(start(prepared_folder, out), tmp_path / "killed.training", 3)
    assert not out.exists()
    finish(start(prepared_folder, out, "resume"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "straight"]
    assert contents(out) == contents(tmp_path / "straight")
    log = json.loads((out / "bundle.json").read_text())["log"]
    assert sum("eval_validation_score" in entry for entry in log) == EPOCHS

"""Distributed training under ``torchrun``: two processes give the weights of one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from encoders import TINY
from tastevec.pipelines.train import train
from tastevec.training import trainer

pytestmark = pytest.mark.slow

# The command line, with a log entry at each step.
COMMAND = """
from tastevec.training import trainer
trainer._LOGGING_STEPS = 1
from tastevec.cli import main
main()
"""
# Dropout draws other numbers in each process, so the comparison is without it.
SAME = {**TINY, "epochs": 6, "dropout": 0.0, "input_dropout": 0.0, "history_split_rate": 0.5}


@pytest.fixture(name="command", scope="module")
def _command(tmp_path_factory):
    path = tmp_path_factory.mktemp("command") / "train.py"
    path.write_text(COMMAND)
    return path


def torchrun(command, data, out):
    """Train with two processes."""
    settings = [f"--set={name}={value}" for name, value in SAME.items()]
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *(str(command), "train", str(data), "--out", str(out), "--json", *settings),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def curves(out):
    """Return the loss of each step and the validation score of each epoch."""
    log = json.loads((out / "bundle.json").read_text())["log"]
    return [[entry[name] for entry in log if name in entry] for name in ("loss", "eval_validation_score")]


def test_two_processes_have_losses_and_weights_of_one_and_print_once(
    command, prepared_folder, tmp_path, monkeypatch
):
    alone, two = tmp_path / "alone", tmp_path / "two"
    done = torchrun(command, prepared_folder, two)
    assert done.returncode == 0, done.stderr[-3000:]
    monkeypatch.setattr(trainer, "_LOGGING_STEPS", 1)
    train(prepared_folder, alone, **SAME)
    losses, scores = curves(alone)
    assert len(set(losses)) == 12  # two steps an epoch, of four users and of three
    np.testing.assert_allclose(curves(two)[0], losses, rtol=1e-4)
    np.testing.assert_allclose(curves(two)[1], scores, rtol=1e-4)
    weights, expected = (load_file(out / "model.safetensors") for out in (two, alone))
    assert weights.keys() == expected.keys()
    # With so few users, no direction is clearly the least used: the bases of the geometry differ, and the items do not.
    items = [
        one["items.weight"] @ one.pop("item_basis") @ one.pop("user_basis").T for one in (weights, expected)
    ]
    np.testing.assert_allclose(*items, atol=0.05)
    for name, weight in expected.items():
        np.testing.assert_allclose(weights[name], weight, rtol=1e-3, atol=1e-4, err_msg=name)
    assert json.loads(done.stdout)["settings"]["batch_size"] == 4
    assert len(re.findall(r"epoch 3/6: ", done.stderr)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "two"]


def test_error_is_printed_by_rank_0_alone(command, prepared_folder, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").touch()
    done = torchrun(command, prepared_folder, tmp_path / "model")
    assert done.returncode == 1
    assert len(re.findall("was not written by this command", done.stderr)) == 1

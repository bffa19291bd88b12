"""The Trainer keeps optimizer, schedule and random state in torch's own format, which is a pickle inside: resuming runs none of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from encoders import TINY
from tastevec.data.prepared import Prepared
from tastevec.errors import TrainingError
from tastevec.model.backbone import BackboneError, load_backbone
from tastevec.training.fit import train
from tastevec.training.settings import resolve_settings


class Poison:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def learn(prepared_folder, folder, *, resume=False):
    settings = resolve_settings("taste", **{**TINY, "epochs": 2})
    return train(Prepared.open(prepared_folder), folder, settings, resume=resume)


@pytest.fixture(scope="module", name="run")
def _run(prepared_folder, tmp_path_factory):
    """A run of two epochs that was stopped behind the first."""
    folder = tmp_path_factory.mktemp("run") / "run"
    learn(prepared_folder, folder)
    shutil.rmtree(folder / "checkpoint-4")
    return folder


@pytest.fixture(name="harmed")
def _harmed(run, tmp_path):
    return Path(shutil.copytree(run, tmp_path / "run"))


def checkpoint(folder):
    [found] = folder.glob("checkpoint-*")
    return found


def test_every_file_of_a_checkpoint_is_known(run):
    """Another file would be another way in."""
    assert {path.name for path in checkpoint(run).iterdir()} == {
        *("config.json", "model.safetensors", "trainer_state.json"),
        *("optimizer.pt", "scheduler.pt", "rng_state.pth"),
        "training_args.bin",
    }


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_poisoned_state_is_refused_and_never_run(prepared_folder, harmed, tmp_path, name):
    torch.save(Poison(tmp_path / "ran"), checkpoint(harmed) / name)
    with pytest.raises(
        TrainingError, match=rf"{name} cannot be read \(UnpicklingError\); .* remove the folder"
    ):
        learn(prepared_folder, harmed, resume=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_half_a_state_is_refused_and_the_run_goes_on_as_is_said(prepared_folder, harmed, name):
    file = checkpoint(harmed) / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(TrainingError, match=f"{name} cannot be read"):
        learn(prepared_folder, harmed, resume=True)
    shutil.rmtree(checkpoint(harmed))
    learn(prepared_folder, harmed, resume=True)


@pytest.mark.parametrize("name", ["model.safetensors", "trainer_state.json", "optimizer.pt", "config.json"])
def test_one_altered_byte_of_a_checkpoint_is_refused_and_the_file_named(prepared_folder, harmed, name):
    """A bit of the weights that turned would be learned on from, and nobody would know."""
    file = checkpoint(harmed) / name
    held = bytearray(file.read_bytes())
    held[len(held) // 2 if name == "optimizer.pt" else -20] ^= 1  # of numbers, and what can be read still
    file.write_bytes(held)
    with pytest.raises(TrainingError, match=rf"{name}: checksum mismatch.* Remove the folder"):
        learn(prepared_folder, harmed, resume=True)


def test_a_checkpoint_from_before_its_checksums_were_noted_is_gone_on_from(prepared_folder, harmed):
    (harmed / "checksums-2.json").unlink()
    learn(prepared_folder, harmed, resume=True)


def test_poisoned_arguments_are_never_read(prepared_folder, harmed, tmp_path):
    torch.save(Poison(tmp_path / "ran"), checkpoint(harmed) / "training_args.bin")
    learn(prepared_folder, harmed, resume=True)
    assert not (tmp_path / "ran").exists()


def test_a_poisoned_backbone_is_refused_and_never_run(tmp_path):
    folder = tmp_path / "bert"
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=8, **small)).save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(Poison(tmp_path / "ran"), folder / "pytorch_model.bin")
    encoder = type("Encoder", (), {"config": type("Config", (), {"readout": "pooler"})})
    with pytest.raises(BackboneError, match="a BERT checkpoint in safetensors"):
        load_backbone(encoder, str(folder))
    assert not (tmp_path / "ran").exists()

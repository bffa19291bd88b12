"""Checkpoints: damage is found, and no pickle in them runs (torch's own format, of optimizer and random state, is a pickle)."""

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


class Pickle:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def learn(prepared_folder, folder, *, resume=False):
    settings = resolve_settings("taste", **{**TINY, "epochs": 2})
    return train(Prepared.open(prepared_folder), folder, settings, resume=resume)


@pytest.fixture(scope="module", name="run")
def _run(prepared_folder, tmp_path_factory):
    """A run of two epochs without its second checkpoint."""
    folder = tmp_path_factory.mktemp("run") / "run"
    learn(prepared_folder, folder)
    shutil.rmtree(folder / "checkpoint-4")
    return folder


@pytest.fixture(name="damaged")
def _damaged(run, tmp_path):
    return Path(shutil.copytree(run, tmp_path / "run"))


def checkpoint(folder):
    [found] = folder.glob("checkpoint-*")
    return found


def test_checkpoint_files_are_all_known(run):
    """A file of another name could be a pickle that is loaded."""
    assert {path.name for path in checkpoint(run).iterdir()} == {
        *("config.json", "model.safetensors", "trainer_state.json"),
        *("optimizer.pt", "scheduler.pt", "rng_state.pth"),
        "training_args.bin",
    }


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_resume_pickle_with_code_is_refused_and_not_run(prepared_folder, damaged, tmp_path, name):
    torch.save(Pickle(tmp_path / "ran"), checkpoint(damaged) / name)
    with pytest.raises(
        TrainingError, match=rf"{name}: cannot be read \(UnpicklingError\).* Remove the folder"
    ):
        learn(prepared_folder, damaged, resume=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_resume_truncated_state_is_refused_and_works_after_remedy(prepared_folder, damaged, name):
    file = checkpoint(damaged) / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(TrainingError, match=f"{name}: cannot be read"):
        learn(prepared_folder, damaged, resume=True)
    shutil.rmtree(checkpoint(damaged))
    learn(prepared_folder, damaged, resume=True)


@pytest.mark.parametrize("name", ["model.safetensors", "trainer_state.json", "optimizer.pt", "config.json"])
def test_resume_one_changed_byte_is_refused_and_names_file(prepared_folder, damaged, name):
    """A changed bit of a weight would go unnoticed."""
    file = checkpoint(damaged) / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2 if name == "optimizer.pt" else -20] ^= (
        1  # a number, so that the file can be read
    )
    file.write_bytes(content)
    with pytest.raises(TrainingError, match=rf"{name}: missing, or checksum mismatch.* Remove the folder"):
        learn(prepared_folder, damaged, resume=True)


def test_resume_without_checksums_works(prepared_folder, damaged):
    """The run was stopped before it wrote them."""
    (damaged / "checksums-2.json").unlink()
    learn(prepared_folder, damaged, resume=True)


def test_resume_never_reads_training_arguments(prepared_folder, damaged, tmp_path):
    torch.save(Pickle(tmp_path / "ran"), checkpoint(damaged) / "training_args.bin")
    learn(prepared_folder, damaged, resume=True)
    assert not (tmp_path / "ran").exists()


def test_backbone_pickle_is_refused_and_not_run(tmp_path):
    folder = tmp_path / "bert"
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=8, **small)).save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(Pickle(tmp_path / "ran"), folder / "pytorch_model.bin")
    with pytest.raises(BackboneError, match="a BERT checkpoint in safetensors"):
        load_backbone(None, str(folder))
    assert not (tmp_path / "ran").exists()

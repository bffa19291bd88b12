"""Checkpoints: written with checksums, resumed exactly."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from pydantic import TypeAdapter
from pydantic_core import from_json
from transformers import TrainerCallback
from transformers.trainer_pt_utils import safe_globals
from transformers.trainer_utils import get_last_checkpoint

from tastevec.data.files import (
    ManifestSpec,
    StrictModel,
    atomic_file,
    check_replaceable,
    manifest_text,
    read_manifest,
    sha256_of,
)
from tastevec.errors import FormatError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import TrainerState, TrainingArguments

__all__ = ["ChecksumCallback", "disk_full_errors", "last_checkpoint", "start_run"]

_SETTINGS_FILE = "settings.json"
_UNWRITTEN: Final = re.compile(
    "iostream error|PytorchStreamWriter|unexpected pos"
)  # torch's words for a full disk
# What the first process writes. The states of chance are each process's own, and the arguments are never read.
_SEALED: Final = ("config.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json")


class _Sums(StrictModel):
    checksums: dict[str, str]


def start_run(identity: dict[str, Any], folder: Path) -> None:
    """Empty the folder of an earlier run and say whose it is.

    Args:
        identity: What the run is, as JSON holds it: nothing else is resumed from here.
        folder: Made if it is not there.

    Raises:
        FormatError: ``folder`` holds something else.
    """
    check_replaceable(folder, marker_file=_SETTINGS_FILE)
    shutil.rmtree(folder, ignore_errors=True)
    with atomic_file(folder / _SETTINGS_FILE) as file:
        file.write_text(json.dumps(identity), encoding="utf-8")


def last_checkpoint(identity: dict[str, Any], folder: Path) -> str | None:
    """The last whole checkpoint, of which a half-written one is removed; None where the run was stopped before its first.

    Raises:
        TrainingError: There is nothing to resume, or it was another run; or the checkpoint is damaged.
    """
    if not (folder / _SETTINGS_FILE).exists():
        raise TrainingError(f"{folder} holds no unfinished run; run the same command without --resume")
    begun = _begun(folder / _SETTINGS_FILE)
    changed = sorted(name for name, value in identity.items() if begun.get(name) != value)
    if changed:
        raise TrainingError(
            f"the unfinished run in {folder} differs in {', '.join(changed)}; resume it with its own settings, or run without --resume"
        )
    for sums in folder.glob("checksums-*.json"):
        if not sums.with_name(f"checkpoint-{sums.stem.partition('-')[2]}").exists():
            sums.unlink()  # of one that was removed
    found: str | None
    while (found := get_last_checkpoint(str(folder))) and not _is_whole(Path(found)):
        shutil.rmtree(found)
    if found:
        _refuse_damaged(Path(found))
    for checkpoint in sorted(folder.glob("checkpoint-*")):  # the best is read as well, in the end
        _refuse_altered(checkpoint)
    return found


def _begun(path: Path) -> dict[str, Any]:
    """What the unfinished run is."""
    try:
        told: dict[str, Any] = TypeAdapter(dict[str, Any]).validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{path} cannot be read ({type(error).__name__}); expected the settings of the unfinished run; run the same command "
            "without --resume, which begins again"
        ) from error
    return told


@contextmanager
def disk_full_errors(folder: Path) -> Iterator[None]:
    """Say of a checkpoint for which there was no room what the system says, where torch speaks of its streams.

    Raises:
        OSError: The disk of ``folder`` is full.
    """
    try:
        yield
    except RuntimeError as error:
        if _UNWRITTEN.search(str(error)) is None:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


class ChecksumCallback(TrainerCallback):
    """Notes beside each checkpoint, once it is written, what its files were."""

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: object, **__: object) -> None:
        """Called by the Trainer in every process; the first wrote them."""
        folder = Path(args.output_dir or ".")
        if state.is_world_process_zero:
            checkpoint = folder / f"checkpoint-{state.global_step}"
            sums = {name: sha256_of(checkpoint / name) for name in _SEALED if (checkpoint / name).exists()}
            with atomic_file(_sums(checkpoint)) as file:
                file.write_text(manifest_text({"format": 1, "checksums": sums}), encoding="utf-8")


def _sums(checkpoint: Path) -> Path:
    return checkpoint.with_name(f"checksums-{checkpoint.name.rpartition('-')[2]}.json")


def _refuse_altered(checkpoint: Path) -> None:
    """One that was stopped before its checksums were noted is read without, and so is one from before they were."""
    if not _sums(checkpoint).exists():
        return
    way_out = f"Remove the folder {checkpoint}, then run the same command: it resumes from the checkpoint before it, or starts over"
    kind = ManifestSpec(_Sums, 1, "checksums", "the checksums of a checkpoint", "", way_out)
    try:
        told = read_manifest(_sums(checkpoint), kind)
    except FormatError as error:
        raise TrainingError(str(error)) from error
    for name, expected in told["checksums"].items():
        file = checkpoint / name
        if not file.is_file() or sha256_of(file) != expected:
            raise TrainingError(f"{file}: checksum mismatch. Expected the file as written. {way_out}")


def _refuse_damaged(checkpoint: Path) -> None:
    """Open the states that torch wrote before the Trainer does, whose errors name no file. What is in them can run nothing."""
    for file in sorted([*checkpoint.glob("*.pt"), *checkpoint.glob("*.pth")]):
        try:
            with safe_globals():
                torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch gives what is damaged many names
            raise TrainingError(
                f"{file} cannot be read ({type(error).__name__}); expected what train wrote there; remove the folder {checkpoint} and "
                "run the same command again, which goes on from the checkpoint before it or begins again"
            ) from error


def _is_whole(checkpoint: Path) -> bool:
    """Whether the Trainer finished writing it: its state is the last file."""
    try:
        from_json((checkpoint / "trainer_state.json").read_bytes())
    except (OSError, ValueError):
        return False
    return True

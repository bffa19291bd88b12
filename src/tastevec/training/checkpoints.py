"""Checkpoints of a training run: start, checksums, and the last checkpoint to resume from.

The run is in the folder ``MODEL.training``: ``settings.json`` with the identity of the run, a ``checkpoint-STEP`` folder for each
of the best and the last epoch, ``checksums-STEP.json`` for each of them, and the curves in ``tensorboard``.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from pydantic import TypeAdapter
from pydantic_core import from_json
from safetensors.numpy import save_file
from transformers import TrainerCallback
from transformers.trainer_pt_utils import safe_globals
from transformers.trainer_utils import get_last_checkpoint

from tastevec.data.arrays import HEADER, read_arrays
from tastevec.data.files import (
    ManifestSpec,
    StrictModel,
    allow_by_umask,
    atomic_file,
    check_replaceable,
    manifest_text,
    read_manifest,
    remove_result,
    sha256_of,
)
from tastevec.errors import FormatError, TrainingError
from tastevec.model.closed_form import ClosedForm
from tastevec.schema import RUN_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from transformers import TrainerState, TrainingArguments

# Files of rank 0. Random states are written by each process, and the training arguments are never read.
_FILES: Final = ("config.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json")
_CLOSED_FORM: Final = "closed-form.safetensors"
_TABLE: Final = "table"
_DISK_FULL: Final = re.compile("iostream error|PytorchStreamWriter|unexpected pos")  # as torch reports it


class _Checksums(StrictModel):
    checksums: dict[str, str]


def start_run(identity: dict[str, Any], folder: Path) -> None:
    """Remove an earlier run from ``folder`` and write the identity of the new one: data and settings, as JSON values.

    A run resumes with the same identity alone, but for more epochs.

    Raises:
        FormatError: ``folder`` contains something else.
    """
    check_replaceable(folder, marker_file=RUN_FILE)
    remove_result(folder, marker_file=RUN_FILE)
    _write_identity(folder / RUN_FILE, identity)


class ChecksumCallback(TrainerCallback):
    """Writes the checksums of each checkpoint after the Trainer has written it."""

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: object, **__: object) -> None:
        """Write the checksums; the Trainer calls this in every process."""
        if not state.is_world_process_zero:
            return
        checkpoint = Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
        allow_by_umask(checkpoint)
        checksums = {name: sha256_of(checkpoint / name) for name in _FILES if (checkpoint / name).exists()}
        with atomic_file(_checksum_file(checkpoint)) as file:
            file.write_text(manifest_text({"format": 1, "checksums": checksums}), encoding="utf-8")


class SaveClosedForm(TrainerCallback):
    """Writes the closed form into the folder of the run, where a resumed one reads it: to fit it takes minutes."""

    def __init__(self, model: ClosedForm, chosen: dict[str, Any], origins: NDArray[np.str_]) -> None:
        self.model, self.header = model, {"chosen": chosen, "origins": origins.tolist()}

    def on_train_begin(self, args: TrainingArguments, *_: object, **__: object) -> None:
        """Write the file; the Trainer calls this."""
        header = json.dumps({**self.header, "weights": self.model.weights})
        with atomic_file(Path(args.output_dir or ".") / _CLOSED_FORM) as file:
            save_file(
                {**self.model.arrays(), _TABLE: np.ascontiguousarray(self.model.table)},
                file,
                {HEADER: header},
            )


def load_closed_form(folder: Path) -> tuple[ClosedForm, dict[str, Any], NDArray[np.str_]] | None:
    """Return what `SaveClosedForm` wrote; None where there is none, or a damaged one, so that it is fitted again."""
    try:
        arrays, texts = read_arrays(folder / _CLOSED_FORM, "")
        header = from_json(texts[HEADER])
        table = arrays.pop(_TABLE)
        levels = max(array.size for name, array in arrays.items() if name.endswith(("_inputs", "_pull")))
        model = ClosedForm.of(arrays, header["weights"], table, [], levels)
        return model, header["chosen"], np.array(header["origins"])
    except (FormatError, KeyError, ValueError):
        return None


def last_checkpoint(identity: dict[str, Any], folder: Path) -> str | None:
    """Return the last complete checkpoint, after removing incomplete ones; None before the first checkpoint.

    Raises:
        TrainingError: There is no run to resume, or another one; or a checkpoint is damaged.
    """
    path = folder / RUN_FILE
    if not path.exists():
        raise TrainingError(
            f"{folder}: no run to resume. Run the same command without --resume, or go on from a finished model with --init."
        )
    earlier = _read_identity(path)
    planned = earlier.get("epochs")
    more = isinstance(planned, int) and identity["epochs"] > planned  # of a longer schedule from here on
    if more:
        earlier["epochs"] = identity["epochs"]
    changed = sorted(name for name, value in identity.items() if earlier.get(name) != value)
    if changed:
        raise TrainingError(
            f"{folder}: the run has other values of {', '.join(changed)}. Expected the same settings and data. "
            "Resume with those, or run without --resume."
        )
    if more:
        _write_identity(path, identity)
    for file in folder.glob("checksums-*.json"):
        if not file.with_name(f"checkpoint-{file.stem.partition('-')[2]}").exists():
            file.unlink()  # its checkpoint is removed
    last: str | None
    while (last := get_last_checkpoint(str(folder))) and not _is_complete(Path(last)):
        shutil.rmtree(last)
    if last:
        _check_states(Path(last))
    for checkpoint in sorted(folder.glob("checkpoint-*")):  # the best one is loaded in the end
        _check_checksums(checkpoint)
    return last


def _write_identity(path: Path, identity: dict[str, Any]) -> None:
    with atomic_file(path) as file:
        file.write_text(json.dumps(identity), encoding="utf-8")


def _read_identity(path: Path) -> dict[str, Any]:
    try:
        return TypeAdapter(dict[str, Any]).validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{path}: cannot be read ({type(error).__name__}). Expected the settings of the run. "
            "Run the same command without --resume."
        ) from error


def _is_complete(checkpoint: Path) -> bool:
    """Return whether the Trainer has written all files: its state is the last one."""
    try:
        from_json((checkpoint / "trainer_state.json").read_bytes())
    except (OSError, ValueError):
        return False
    return True


def _check_states(checkpoint: Path) -> None:
    """Load the states that torch wrote before the Trainer does, whose errors name no file. ``weights_only`` runs no code."""
    for file in sorted([*checkpoint.glob("*.pt"), *checkpoint.glob("*.pth")]):
        try:
            with safe_globals():
                torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many types for a damaged file
            raise TrainingError(
                f"{file}: cannot be read ({type(error).__name__}). Expected a state that train wrote. {_remedy(checkpoint)}"
            ) from error


def _check_checksums(checkpoint: Path) -> None:
    """Compare the files with their checksums, which are missing where the run was stopped before they were written."""
    file = _checksum_file(checkpoint)
    if not file.exists():
        return
    remedy = _remedy(checkpoint)
    try:
        spec = ManifestSpec(_Checksums, 1, "checksums", "the checksums of a checkpoint", "", remedy)
        checksums = read_manifest(file, spec)["checksums"]
    except FormatError as error:
        raise TrainingError(str(error)) from error
    for name, expected in checksums.items():
        if not (checkpoint / name).is_file() or sha256_of(checkpoint / name) != expected:
            raise TrainingError(f"{checkpoint / name}: missing, or checksum mismatch. {remedy}")


def _checksum_file(checkpoint: Path) -> Path:
    return checkpoint.with_name(f"checksums-{checkpoint.name.rpartition('-')[2]}.json")


def _remedy(checkpoint: Path) -> str:
    return f"Remove the folder {checkpoint}, then run the same command again: it resumes from the checkpoint before, or starts again."


@contextmanager
def disk_full_errors(folder: Path) -> Iterator[None]:
    """Raise the system's error for a full disk in place of torch's error about its streams.

    Raises:
        OSError: The disk of ``folder`` is full.
    """
    try:
        yield
    except RuntimeError as error:
        if _DISK_FULL.search(str(error)) is None:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error

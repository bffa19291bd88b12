"""The training loop: Hugging Face's Trainer, asked our questions."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from transformers import Trainer, TrainingArguments, set_seed
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import get_last_checkpoint

from tastevec.data.atomic import new_file, refuse_foreign
from tastevec.errors import SettingsError, TrainingError
from tastevec.model.losses import cosine_loss, hidden_softmax_loss, next_softmax_loss

from .batches import Batches, LengthBuckets, People
from .validation import SELECTION, validate

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import TrainerCallback

    from tastevec.data.histories import Histories
    from tastevec.data.reading import Reading
    from tastevec.model.encoder import TasteEncoder, TasteOutput

    from .settings import TrainSettings

__all__ = ["Course", "run"]

_ENCODER_ARGUMENTS = ("items", "strengths", "levels", "lengths", "gaps")
_SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class Course:
    """What a model learns from and how.

    Attributes:
        train: The people to learn from.
        validation: The people who choose the checkpoint.
        reading: How the encoder reads histories.
        settings: Everything else.
        fingerprint: Names the data, so that a run is not resumed on others.
    """

    train: Histories
    validation: Histories
    reading: Reading
    settings: TrainSettings
    fingerprint: str


class _TasteTrainer(Trainer):
    """The Trainer with our batches, our losses and our validation."""

    def __init__(self, encoder: TasteEncoder, course: Course, **kwargs: Any) -> None:  # noqa: ANN401  the Trainer's own
        self.encoder, self.course = encoder, course
        super().__init__(model=encoder, **kwargs)

    def _get_train_sampler(self, *_: object) -> LengthBuckets:
        course = self.course
        return LengthBuckets(course.train.lengths, self.args.train_batch_size, course.settings.seed)

    def create_optimizer(self, *_: object) -> torch.optim.Optimizer:
        """AdamW; biases, norms and whatever is no matrix do not decay."""
        if self.optimizer is None:
            settings = self.course.settings
            learned = [weight for weight in self.encoder.parameters() if weight.requires_grad]
            groups = [
                {"params": [w for w in learned if w.ndim > 1], "weight_decay": settings.weight_decay},
                {"params": [w for w in learned if w.ndim <= 1], "weight_decay": 0.0},
            ]
            self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
        return self.optimizer

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *_: object, **__: object) -> Tensor:
        """The loss that the settings name, of one batch. What is solved in closed form is not asked."""
        output: TasteOutput = model(**{name: inputs[name] for name in _ENCODER_ARGUMENTS}, linear=False)
        settings, table = self.course.settings, self.encoder.items.weight
        known = _known(inputs["items"], inputs["lengths"], len(table))  # (B, L)
        if settings.target == "liked":
            width = known.shape[1] + 1
            people, places = inputs["moments"] // width, inputs["moments"] % width
            answers = output["moments"].flatten(0, 1)[inputs["moments"]]  # (M, D)
            read = _known(inputs["items"][people], places, len(table))  # (M, L)
            return next_softmax_loss(answers, table, inputs["next_items"], read)
        people, films = inputs["hidden_people"], inputs["hidden_items"]
        if settings.loss == "cosine":
            return cosine_loss(output["next"], table, people, films)
        return hidden_softmax_loss(output["next"], table, known, people, films)

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """Our validation in place of a mean loss."""
        course = self.course
        metrics = validate(self.encoder, course.validation, course.reading, course.settings)
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def run(
    model: TasteEncoder,
    course: Course,
    folder: Path,
    *,
    resume: bool = False,
    callbacks: list[TrainerCallback] | None = None,
) -> list[dict[str, float]]:
    """Train ``model`` in place and leave it at its best validated epoch.

    Args:
        model: Started, on any device.
        course: What it learns from and how.
        folder: Where checkpoints and curves (``tensorboard``) are kept; the caller removes it when the result is safe.
        resume: Go on from the last whole epoch in ``folder``; the result equals that of never having stopped.
        callbacks: Told of the progress.

    Returns:
        The log: one entry an epoch's validation and one for each few steps' loss.

    Raises:
        TrainingError: There is nothing to resume, or it was another run; or the loss is no number any more.
        FormatError: ``folder`` holds something else.
        SettingsError: The device is not there.
    """
    settings, folder = course.settings, folder.resolve()  # a run may be resumed from elsewhere
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "device is cuda and torch sees none; set device=auto, or install a torch built for CUDA"
        )
    checkpoint = _checkpoint(course, folder) if resume else None
    if not resume:
        _begin(course, folder)
    set_seed(settings.seed)
    model.items.weight.requires_grad_(False)  # noqa: FBT003  torch names it no further
    if settings.report_to == "tensorboard":
        callbacks = [*(callbacks or []), TensorBoardCallback(SummaryWriter(folder / "tensorboard"))]
    trainer = _TasteTrainer(
        model,
        course,
        args=_arguments(course, folder),
        data_collator=Batches(course.train, course.reading, settings),
        train_dataset=People(np.arange(len(course.train))),
        eval_dataset=People(np.arange(len(course.validation))),
        callbacks=callbacks,
    )
    trainer.remove_callback(ProgressCallback)  # both print to stdout, which is kept for results
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=checkpoint)
    if not all(torch.isfinite(weight).all() for weight in model.state_dict().values()):
        raise TrainingError(
            "the model's numbers are no longer finite; train again with a lower --set learning_rate"
        )
    return [dict(entry) for entry in trainer.state.log_history]


def _known(items: Tensor, lengths: Tensor, item_count: int) -> Tensor:
    """``items`` (B, L) with ``item_count`` from each row's length on."""
    steps = torch.arange(items.shape[1], device=items.device)
    return torch.where(steps < lengths[:, None], items, item_count)


def _arguments(course: Course, folder: Path) -> TrainingArguments:
    settings = course.settings
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup,  # below 1 it is a share of all steps
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,  # the last, to resume from, and the best
        load_best_model_at_end=True,
        metric_for_best_model=SELECTION,
        greater_is_better=True,
        logging_steps=50,
        # TensorBoard comes as a callback: only there can its folder be said.
        report_to="wandb" if settings.report_to == "wandb" else "none",
        seed=settings.seed,
        use_cpu=settings.device == "cpu",
        remove_unused_columns=False,  # our dataset is people, our collator makes the columns
        label_names=["next_items"],
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )


def _identity(course: Course) -> dict[str, Any]:
    return {"data": course.fingerprint, **course.settings.model_dump(exclude={"device", "report_to"})}


def _begin(course: Course, folder: Path) -> None:
    """Empty the folder of an earlier run and say whose it is."""
    refuse_foreign(folder, owned_by=_SETTINGS_FILE)
    shutil.rmtree(folder, ignore_errors=True)
    with new_file(folder / _SETTINGS_FILE) as file:
        file.write_text(json.dumps(_identity(course)), encoding="utf-8")


def _checkpoint(course: Course, folder: Path) -> str | None:
    """The last whole checkpoint; None where the run was stopped before its first."""
    if not (folder / _SETTINGS_FILE).exists():
        raise TrainingError(f"{folder} holds no unfinished run; run the same command without --resume")
    begun = json.loads((folder / _SETTINGS_FILE).read_text(encoding="utf-8"))
    changed = sorted(name for name, value in _identity(course).items() if begun.get(name) != value)
    if changed:
        raise TrainingError(
            f"the unfinished run in {folder} differs in {', '.join(changed)}; resume it with its own settings, or run without --resume"
        )
    found: str | None
    while (found := get_last_checkpoint(str(folder))) and not _is_whole(Path(found)):
        shutil.rmtree(found)
    return found


def _is_whole(checkpoint: Path) -> bool:
    """Whether the Trainer finished writing it: its state is the last file."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True

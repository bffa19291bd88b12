"""The training loop: the Hugging Face Trainer with our losses, validation and progress."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.tensorboard import SummaryWriter
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from tastevec.errors import SettingsError, TrainingError
from tastevec.evaluation.metrics import cosine_distance
from tastevec.evaluation.scorers import EncodedScorer, measure
from tastevec.evaluation.tasks import build_task
from tastevec.model.losses import cosine_loss, hidden_softmax_loss, next_softmax_loss
from tastevec.training.batches import (
    Collator,
    LengthBuckets,
    UserDataset,
    shard_of,
    target_count,
    top_rated_batch,
)
from tastevec.training.checkpoints import ChecksumCallback, disk_full_errors, last_checkpoint, start_run
from tastevec.training.distributed import rank, world_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn
    from transformers import TrainerControl, TrainerState

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import InputConfig
    from tastevec.model.encoder import TasteEncoder, TasteOutput
    from tastevec.schema import TaskId
    from tastevec.training.batches import HistorySubset
    from tastevec.training.settings import TrainSettings

__all__ = ["VALIDATION_SCORE", "StepProgressCallback", "TrainingRun", "run", "validate"]

VALIDATION_SCORE = "eval_validation_score"  # the checkpoint with the highest is kept
_USERS = 256  # encoded at once
_DEPTH = 100
_TASKS: Final[tuple[TaskId, ...]] = ("random-20pct", "next-item", "last-20pct")


def validate(
    model: TasteEncoder, users: Histories, reading: InputConfig, settings: TrainSettings
) -> dict[str, float]:
    """What the model is selected by, and what it is made of, each named ``eval_*``.

    A model that learns what people like is asked *fold-in* and *future* over the full catalogue, and selected by the
    mean NDCG@100 of the questions. One that learns the note's target is selected by the note's own metric, the mean
    cosine distance of its answer to the best-rated film.
    """
    if settings.target == "best-rated":
        distance = _note_distance(model, users, reading, settings)
        return {"eval_cosine_distance": distance, VALIDATION_SCORE: -distance}
    scorer = EncodedScorer(
        "model",
        "model",
        model.item_vectors,
        lambda known, horizon: _encoded(model, known, reading, horizon),
    )
    rating_range = (reading.scale.low, reading.scale.high)
    tasks = [
        task
        for name in _TASKS
        if len(task := build_task(name, users, rating_range=rating_range, seed=settings.seed))
    ]
    gains = {
        f"eval_{task.name}_ndcg@{_DEPTH}": float(
            measure(scorer, task, len(scorer.item_vectors), (_DEPTH,))[f"ndcg@{_DEPTH}"].mean()
        )
        for task in tasks
    }
    return gains | {VALIDATION_SCORE: float(np.mean(list(gains.values()))) if gains else 0.0}


def _encoded(
    model: TasteEncoder, users: Histories, reading: InputConfig, horizon: str
) -> NDArray[np.float32]:
    """(B, D) the people's vectors, a group at a time: while they are encoded, people take far more room than their scores."""
    parts = [model.encode(horizon, **reading.arrays(part)) for part in users.chunks(_USERS)]
    return np.concatenate(parts)


def _note_distance(
    model: TasteEncoder, users: Histories, reading: InputConfig, settings: TrainSettings
) -> float:
    total, count = 0.0, 0
    for part in users.chunks(_USERS):
        batch = top_rated_batch(part, reading, settings)
        owners, targets = batch.pop("target_users"), batch.pop("target_items")
        answers = model.encode("next", **batch)  # (B, D), the one that learned it
        distances = cosine_distance(answers[owners], model.item_vectors[targets])
        total, count = total + float(distances.sum()), count + len(distances)
    return total / max(count, 1)


class StepProgressCallback(TrainerCallback):
    """Tells a function of each step.

    Args:
        progress: Called with steps done, steps in all, and the newest measures.
    """

    def __init__(self, progress: Callable[[int, int, dict[str, float]], None]) -> None:
        self.progress = progress
        self.newest: dict[str, float] = {}

    def on_log(self, *_: object, logs: dict[str, float] | None = None, **__: object) -> None:
        """Keep what was measured."""
        self.newest |= {
            name: value for name, value in (logs or {}).items() if name in {"loss", VALIDATION_SCORE}
        }

    def on_step_end(self, args: TrainingArguments, state: TrainerState, *_: object, **__: object) -> None:  # noqa: ARG002  the Trainer names it
        """Pass it on."""
        self.progress(state.global_step, state.max_steps, self.newest)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, *_: object, **__: object) -> None:  # noqa: ARG002  the Trainer names it
        """Report the last step again, now with the measures of the last epoch."""
        self.progress(state.global_step, state.max_steps, self.newest)


_ENCODER_ARGUMENTS = ("items", "normalized_ratings", "rating_bins", "lengths", "time_gap_bins")
_STEPS_A_LINE = 50  # of the log
_LONGEST_WAIT = 86_400  # seconds; all wait while the first process solves, and while it validates
# Not cuDNN's: it is compiled anew for each width of a batch. With it, bfloat16 took ten times as long as float32.
_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
_WIDE = 128  # hidden numbers from which bfloat16 is faster, where it is computed in


@dataclass(frozen=True)
class TrainingRun:
    """What a model learns from and how.

    Attributes:
        train: The people to learn from, who may stay in a memory map.
        validation: The people who choose the checkpoint.
        reading: How the encoder reads histories.
        settings: Everything else.
        fingerprint: Names the data, so that a run is not resumed on others.
    """

    train: Histories | HistorySubset
    validation: Histories
    reading: InputConfig
    settings: TrainSettings
    fingerprint: str


class _Epochs(torch.utils.data.DataLoader[tuple[int, int]]):
    """Batches of people, in an order and with draws of their own in each epoch."""

    def __init__(self, users: UserDataset, order: LengthBuckets, collator: Collator) -> None:
        super().__init__(users, order.batch_size, sampler=order, collate_fn=collator)
        self.parts = users, order

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer as an epoch begins."""
        for part in self.parts:
            part.set_epoch(epoch)


class _LogEpochs(TrainerCallback):
    """A line of the log ends with each epoch, where a run may be resumed: else its mean loss would lack the steps before."""

    def on_epoch_end(self, args: object, state: object, control: TrainerControl, **_: object) -> None:  # noqa: ARG002  the Trainer names them
        control.should_log = True


class _TasteTrainer(Trainer):
    """The Trainer with our batches, our losses and our validation."""

    def __init__(self, encoder: TasteEncoder, course: TrainingRun, **kwargs: Any) -> None:  # noqa: ANN401  the Trainer's own
        self.encoder, self.course = encoder, course
        super().__init__(model=encoder, **kwargs)
        self.halved = _in_bfloat16(course.settings, self.args.device)

    def get_train_dataloader(self) -> torch.utils.data.DataLoader[tuple[int, int]]:
        """Whole batches in every process, each of which takes its share: what is drawn depends on all people of a batch."""
        course, settings = self.course, self.course.settings
        return _Epochs(
            UserDataset(np.arange(len(course.train))),
            LengthBuckets(course.train.lengths, settings.batch_size, settings.seed),
            Collator(course.train, course.reading, settings),
        )

    def training_step(self, model: nn.Module, inputs: dict[str, Tensor], *_: object) -> Tensor:
        """Forward and backward of this process's share of a batch, in as many pieces as the settings say.

        The loss is a mean over the answers of the whole batch, and processes average their gradients: each piece weighs as
        many of the answers as it has, times the number of processes.
        """
        loss = self.course.settings.loss
        pieces = min(
            self.course.settings.gradient_accumulation_steps, math.ceil(len(inputs["lengths"]) / world_size())
        )
        count, whole = world_size() * pieces, max(target_count(inputs, loss), 1)
        if count == 1:
            return super().training_step(model, inputs)
        losses, trim = [], self.course.reading.pad == "longest"
        for piece in range(pieces):
            own = shard_of(inputs, rank() * pieces + piece, count, trim=trim)
            weight = torch.tensor(world_size() * target_count(own, loss) / whole)
            last = piece == pieces - 1
            with nullcontext() if last else self.accelerator.no_sync(model):
                losses.append(super().training_step(model, own | {"weight": weight}))
        return torch.stack(losses).sum()

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
        loss = self._loss(model, inputs)
        return loss * inputs["weight"] if "weight" in inputs else loss

    def _loss(self, model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        settings, table = self.course.settings, self.encoder.items.weight
        told = {name: inputs[name] for name in _ENCODER_ARGUMENTS}
        # The Trainer's own bf16 would leave the model computing in it, also where it is validated and exported.
        halved = torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.halved)
        with halved, sdpa_kernel(_ATTENTION):
            output: TasteOutput = model(**told, linear=False, packed=settings.sequence_packing)
        known = _known(inputs["items"], inputs["lengths"], len(table))  # (B, L)
        if settings.target == "positive":
            width = known.shape[1] + 1
            users, places = inputs["moments"] // width, inputs["moments"] % width
            answers = output["moments"].flatten(0, 1)[inputs["moments"]].float()  # (M, D)
            read = _known(inputs["items"][users], places, len(table))  # (M, L)
            return next_softmax_loss(answers, table, inputs["target_items"], read)
        users, items, answers = inputs["target_users"], inputs["target_items"], output["next"].float()
        if settings.loss == "cosine":
            return cosine_loss(answers, table, users, items)
        return hidden_softmax_loss(answers, table, known, users, items)

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """Our validation in place of a mean loss; the first process measures, and all are told."""
        course, metrics = self.course, dict[str, float]()
        if not rank():
            metrics = validate(self.encoder, course.validation, course.reading, course.settings)
        if world_size() > 1:
            told = [metrics]
            torch.distributed.broadcast_object_list(told, 0)
            [metrics] = told
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def run(
    model: TasteEncoder,
    course: TrainingRun,
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
        The log, the same of a run that was resumed: an entry an epoch's validation, and one for the mean loss of each few steps.

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
    arguments = _arguments(course, folder)
    identity = {"data": course.fingerprint, **settings.model_dump(exclude={"device", "report_to"})}
    with arguments.main_process_first(local=False):  # no process reads the folder before it is tidy
        checkpoint = last_checkpoint(identity, folder) if resume else None
        if not resume and not rank():
            start_run(identity, folder)
    set_seed(settings.seed)
    model.items.weight.requires_grad_(False)  # noqa: FBT003  torch names it no further
    if settings.report_to == "tensorboard" and not rank():
        callbacks = [*(callbacks or []), TensorBoardCallback(SummaryWriter(folder / "tensorboard"))]
    trainer = _TasteTrainer(
        model,
        course,
        args=arguments,
        train_dataset=UserDataset(np.arange(len(course.train))),
        eval_dataset=UserDataset(np.arange(len(course.validation))),
        callbacks=[ChecksumCallback(), *(callbacks or [])],
    )
    _agree(model, settings.seed)
    trainer.add_callback(_LogEpochs())
    trainer.remove_callback(ProgressCallback)  # both print to stdout, which is kept for results
    trainer.remove_callback(PrinterCallback)
    with disk_full_errors(folder):
        trainer.train(resume_from_checkpoint=checkpoint)
    if not all(torch.isfinite(weight).all() for weight in model.state_dict().values()):
        raise TrainingError(
            "the model's numbers are no longer finite; train again with a lower --set learning_rate"
        )
    # Sorted, as what a checkpoint kept of it is; and without the sum of all, which a resumed run does not know.
    return [
        dict(sorted(entry.items())) for entry in trainer.state.log_history if "train_runtime" not in entry
    ]


def _agree(model: TasteEncoder, seed: int) -> None:
    """Begin as the first process does, which alone has solved the linear answer; but draw dropout each for itself."""
    if world_size() > 1:
        for weight in model.state_dict().values():
            torch.distributed.broadcast(weight, 0)
        torch.manual_seed(seed + rank())


def _known(items: Tensor, lengths: Tensor, n_items: int) -> Tensor:
    """``items`` (B, L) with ``n_items`` from each row's length on."""
    steps = torch.arange(items.shape[1], device=items.device)
    return torch.where(steps < lengths[:, None], items, n_items)


def _in_bfloat16(settings: TrainSettings, device: torch.device) -> bool:
    """Whether the blocks compute in it on this device."""
    if settings.precision != "auto":
        return settings.precision == "bfloat16"
    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch tells since 2.10
    fast = device.type == "cpu" and (told.get("avx512_bf16") or told.get("amx_bf16"))
    return bool(fast) and settings.hidden_size >= _WIDE


def _arguments(course: TrainingRun, folder: Path) -> TrainingArguments:
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
        metric_for_best_model=VALIDATION_SCORE,
        greater_is_better=True,
        logging_steps=_STEPS_A_LINE,
        # TensorBoard comes as a callback: only there can its folder be said.
        report_to="wandb" if settings.report_to == "wandb" else "none",
        seed=settings.seed,
        use_cpu=settings.device == "cpu",
        ddp_find_unused_parameters=False,  # everything learns from every batch
        ddp_broadcast_buffers=False,  # what was solved never changes
        ddp_timeout=_LONGEST_WAIT,
        remove_unused_columns=False,  # our dataset is people, our collator makes the columns
        label_names=["target_items"],
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )

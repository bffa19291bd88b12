"""The training loop: the Hugging Face Trainer with our losses, validation and progress."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from tastevec.errors import SettingsError, TrainingError
from tastevec.evaluation.metrics import cosine_distance
from tastevec.evaluation.scorers import EncodedScorer, measure
from tastevec.evaluation.tasks import build_task, reason_to_skip
from tastevec.model.losses import cosine_loss, next_softmax_loss
from tastevec.training.batches import (
    Collator,
    HistorySubset,
    LengthBuckets,
    UserDataset,
    shard_of,
    top_rated_batch,
)
from tastevec.training.checkpoints import ChecksumCallback, disk_full_errors, last_checkpoint, start_run
from tastevec.training.distributed import rank, world_size
from tastevec.training.settings import NoteSettings, TasteSettings
from tastevec.training.tracking import tracking

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn
    from transformers import TrainerControl, TrainerState

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import InputConfig
    from tastevec.model.encoder import EncoderOutput, TasteEncoder
    from tastevec.model.note import NoteEncoder
    from tastevec.schema import Horizon, Order, TaskId
    from tastevec.training.batches import Batch
    from tastevec.training.warm_start import WarmStart

VALIDATION_SCORE = "eval_validation_score"  # the checkpoint with the highest one is the result
_LOGGING_STEPS = 50
_TIMEOUT = 86_400  # seconds; all processes wait while rank 0 solves the item vectors, and while it validates
# Without cuDNN's attention, which compiles for each width of a batch: with it, bfloat16 took ten times as long as float32.
_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
_WIDE = 128  # hidden size from which bfloat16 is faster, where the processor supports it
_CHUNK = 256  # users encoded at once in validation
_TASKS: Final[tuple[TaskId, ...]] = ("random-20pct", "next-item", "last-20pct")
_DEPTH = 100


@dataclass(frozen=True)
class TrainingRun:
    """The data and the settings of a training run; it does not resume on data of another fingerprint.

    The training users may be in a memory map; the validation users select the epoch, on the tasks that their order allows.
    ``stage`` is called with what begins; ``warm_start`` has the weights that it begins with.
    """

    train: Histories | HistorySubset
    validation: Histories
    input_config: InputConfig
    settings: TasteSettings | NoteSettings
    fingerprint: str
    order: Order = "timestamp"
    stage: Callable[[str], None] = lambda _text: None
    warm_start: WarmStart | None = None

    def train_in_memory(self) -> Histories:
        """Return the training histories without times and normalized ratings, which are neither read nor in memory."""
        if isinstance(self.train, HistorySubset):
            return self.train.in_memory()
        return self.train


def best_metrics(log: list[dict[str, float]]) -> dict[str, float]:
    """Return the validation metrics of the best epoch in a training log."""
    epochs = [entry for entry in log if VALIDATION_SCORE in entry]
    best = max(epochs, key=lambda entry: entry[VALIDATION_SCORE], default={})
    return {name: value for name, value in best.items() if name.startswith("eval_")}


def train_encoder(
    model: TasteEncoder | NoteEncoder,
    run: TrainingRun,
    folder: Path,
    *,
    resume: bool = False,
    callbacks: list[TrainerCallback] | None = None,
) -> list[dict[str, float]]:
    """Train the initialized ``model`` in place, leave it at its best epoch on the validation users, and return the log.

    The log has one entry for each validation and for the mean loss of some steps. ``folder`` gets the checkpoints and the
    training curves (``tensorboard``); the caller removes it in the end. With ``resume`` the run continues from the last
    checkpoint in it: model and log equal those of an uninterrupted run.

    Raises:
        TrainingError: There is no run to resume, or another one; or the weights are not finite.
        FormatError: ``folder`` contains something else.
        SettingsError: The device is not available.
    """
    settings, folder = run.settings, folder.resolve()  # a run may resume from another working directory
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "device: cuda, but PyTorch finds no GPU. Expected a GPU and a CUDA build of PyTorch. Set device=auto."
        )
    arguments = _arguments(settings, folder)
    identity = {"data": run.fingerprint, **settings.model_dump(exclude={"device", "report_to"})}
    identity["init"] = run.warm_start and run.warm_start.space
    # No process reads the folder before rank 0 has prepared it.
    with arguments.main_process_first(local=False):
        checkpoint = last_checkpoint(identity, folder) if resume else None
        if not resume and not rank():
            start_run(identity, folder)
    set_seed(settings.seed)
    model.items.weight.requires_grad_(False)  # noqa: FBT003  torch has no name for it
    trainer = _EncoderTrainer(
        model,
        run,
        args=arguments,
        train_dataset=UserDataset(np.arange(len(run.train))),
        eval_dataset=UserDataset(np.arange(len(run.validation))),
        callbacks=[ChecksumCallback(), _EarlyStopping(settings.patience), *(callbacks or [])],
    )
    _synchronize(model, settings.seed)
    trainer.add_callback(_LogEpochs())
    trainer.remove_callback(ProgressCallback)  # both print to stdout, which is for results
    trainer.remove_callback(PrinterCallback)
    with disk_full_errors(folder), tracking(settings, folder) as trackers:
        for callback in trackers:
            trainer.add_callback(callback)
        trainer.train(resume_from_checkpoint=checkpoint)
    if not all(torch.isfinite(weight).all() for weight in model.state_dict().values()):
        raise TrainingError(
            "the weights contain NaN or Infinity. Expected finite numbers. Train with a lower --set learning_rate."
        )
    # Sorted, as in a checkpoint; without the entry of the total run time, which a resumed run does not have.
    return [
        dict(sorted(entry.items())) for entry in trainer.state.log_history if "train_runtime" not in entry
    ]


def _synchronize(model: nn.Module, seed: int) -> None:
    """Broadcast the weights of rank 0, which alone solved the item vectors; let each process draw its own dropout."""
    if world_size() > 1:
        for weight in model.state_dict().values():
            torch.distributed.broadcast(weight, 0)
        torch.manual_seed(seed + rank())


def _arguments(settings: TasteSettings | NoteSettings, folder: Path) -> TrainingArguments:
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
        save_total_limit=2,  # the last checkpoint, to resume from, and the best one
        load_best_model_at_end=True,
        metric_for_best_model=VALIDATION_SCORE,
        greater_is_better=True,
        logging_steps=_LOGGING_STEPS,
        # The others are callbacks, see `tracking`.
        report_to="wandb" if settings.report_to == "wandb" else "none",
        seed=settings.seed,
        use_cpu=settings.device == "cpu",
        ddp_find_unused_parameters=False,  # every parameter has a gradient in every batch
        ddp_broadcast_buffers=False,  # buffers are constants
        ddp_timeout=_TIMEOUT,
        remove_unused_columns=False,  # the dataset is users; the collator makes the columns
        label_names=["target_items"],
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )


class _EncoderTrainer(Trainer):
    """The Trainer with our batches, losses and validation."""

    def __init__(self, encoder: TasteEncoder | NoteEncoder, run: TrainingRun, **kwargs: Any) -> None:  # noqa: ANN401  the Trainer's own
        self.encoder, self.run = encoder, run
        super().__init__(model=encoder, **kwargs)
        self.bfloat16 = _uses_bfloat16(run.settings, self.args.device)

    def get_train_dataloader(self) -> torch.utils.data.DataLoader[tuple[int, int]]:
        """Return all users of a batch in every process, which then takes its shard: draws depend on all users of a batch."""
        run, settings = self.run, self.run.settings
        return _EpochLoader(
            UserDataset(np.arange(len(run.train))),
            LengthBuckets(run.train.lengths, settings.batch_size, settings.seed),
            Collator(run.train, run.input_config, settings),
        )

    def create_optimizer(self, *_: object) -> torch.optim.Optimizer:
        """Return AdamW; weight decay applies to matrices alone, not to biases and norms."""
        if self.optimizer is None:
            settings = self.run.settings
            learned = [weight for weight in self.encoder.parameters() if weight.requires_grad]
            groups = [
                {"params": [w for w in learned if w.ndim > 1], "weight_decay": settings.weight_decay},
                {"params": [w for w in learned if w.ndim <= 1], "weight_decay": 0.0},
            ]
            self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
        return self.optimizer

    def training_step(self, model: nn.Module, inputs: Batch, *_: object) -> Tensor:
        """Run forward and backward on this process's shard of a batch, in ``gradient_accumulation_steps`` pieces.

        The loss is a mean over the targets of the batch, and processes average their gradients: each piece is weighted by its
        number of targets times the number of processes.
        """
        steps = self.run.settings.gradient_accumulation_steps
        pieces = min(steps, math.ceil(len(inputs["lengths"]) / world_size()))
        count, targets = world_size() * pieces, max(len(inputs["target_items"]), 1)
        if count == 1:
            return super().training_step(model, inputs)
        losses, trim = [], self.run.input_config.pad == "longest"
        for piece in range(pieces):
            shard = shard_of(inputs, rank() * pieces + piece, count, trim=trim)
            weight = torch.tensor(world_size() * len(shard["target_items"]) / targets)
            last = piece == pieces - 1
            with nullcontext() if last else self.accelerator.no_sync(model):
                losses.append(super().training_step(model, shard | {"weight": weight}))
        return torch.stack(losses).sum()

    def compute_loss(self, model: nn.Module, inputs: Batch, *_: object, **__: object) -> Tensor:
        """Return the loss of the preset for one batch."""
        arguments: dict[str, Any] = {name: inputs[name] for name in self.encoder.inputs if name in inputs}
        if isinstance(self.run.settings, TasteSettings):
            arguments["packing"] = self.run.settings.sequence_packing
        # The Trainer's own bf16 would leave the model in bfloat16 for validation and export.
        autocast = torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.bfloat16)
        with autocast, sdpa_kernel(_ATTENTION):
            output: EncoderOutput = model(**arguments)
        table = self.encoder.items.weight
        if "target_positions" in inputs:
            loss = _next_item_loss(output, inputs, table)
        else:
            predictions = output["next"].float()  # (B, D)
            loss = cosine_loss(predictions, table, inputs["target_users"], inputs["target_items"])
        return loss * inputs["weight"] if "weight" in inputs else loss

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """Validate, in place of the Trainer's mean loss: on rank 0, which broadcasts the metrics."""
        run, metrics = self.run, dict[str, float]()
        if not rank():
            metrics = validate(self.encoder, run.validation, run.input_config, run.settings, run.order)
        if world_size() > 1:
            broadcast = [metrics]
            torch.distributed.broadcast_object_list(broadcast, 0)
            [metrics] = broadcast
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def _next_item_loss(output: EncoderOutput, batch: Batch, table: Tensor) -> Tensor:
    """Return the softmax loss of the per-position states at the target positions."""
    width = batch["items"].shape[1] + 1
    users, positions = batch["target_positions"] // width, batch["target_positions"] % width
    predictions = output["per_position"].flatten(0, 1)[batch["target_positions"]].float()  # (M, D)
    items = batch["items"][users]  # (M, L)
    before = torch.arange(items.shape[1], device=items.device) < positions[:, None]
    read = torch.where(before, items, len(table))
    return next_softmax_loss(predictions, table, batch["target_items"], read)


def _uses_bfloat16(settings: TasteSettings | NoteSettings, device: torch.device) -> bool:
    """Return whether the transformer computes in bfloat16 on this device."""
    if settings.precision != "auto":
        return settings.precision == "bfloat16"
    features: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # since torch 2.10
    fast = device.type == "cpu" and (features.get("avx512_bf16") or features.get("amx_bf16"))
    return bool(fast) and settings.hidden_size >= _WIDE


class _EpochLoader(torch.utils.data.DataLoader[tuple[int, int]]):
    """The data loader, whose dataset and sampler depend on the epoch."""

    def __init__(self, users: UserDataset, order: LengthBuckets, collator: Collator) -> None:
        super().__init__(users, order.batch_size, sampler=order, collate_fn=collator)
        self.parts = users, order

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the Trainer calls this at its start."""
        for part in self.parts:
            part.set_epoch(epoch)


class _LogEpochs(TrainerCallback):
    """Logs at the end of each epoch, where a run may resume: else the mean loss would lack the steps before."""

    def on_epoch_end(self, args: object, state: object, control: TrainerControl, **_: object) -> None:  # noqa: ARG002  the Trainer names them
        control.should_log = True


class _EarlyStopping(TrainerCallback):
    """Ends the training after some epochs without a better score; it reads the log, which a resumed run has, too."""

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def on_evaluate(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:  # noqa: ARG002  the Trainer names them
        scores = [entry[VALIDATION_SCORE] for entry in state.log_history if VALIDATION_SCORE in entry]
        if self.patience and len(scores) - 1 - int(np.argmax(scores)) >= self.patience:
            control.should_training_stop = True


class StepProgressCallback(TrainerCallback):
    """Calls ``progress`` at each step with the steps done, the total, and the latest loss and validation score.

    After the last epoch it is called again, with its metrics.
    """

    def __init__(self, progress: Callable[[int, int, dict[str, float]], None]) -> None:
        self.progress = progress
        self.latest: dict[str, float] = {}

    def on_log(self, *_: object, logs: dict[str, float] | None = None, **__: object) -> None:
        """Store the latest metrics."""
        names = {"loss", VALIDATION_SCORE}
        self.latest |= {name: value for name, value in (logs or {}).items() if name in names}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, *_: object, **__: object) -> None:  # noqa: ARG002  the Trainer names it
        """Report the step."""
        self.progress(state.global_step, state.max_steps, self.latest)

    on_train_end = on_step_end  # the last step again, with the metrics of the last epoch


def validate(
    model: TasteEncoder | NoteEncoder,
    users: Histories,
    config: InputConfig,
    settings: TasteSettings | NoteSettings,
    order: Order = "timestamp",
    *,
    whole: bool = False,
) -> dict[str, float]:
    """Return the metrics on validation users, each named ``eval_*``, and the validation score that selects the epoch.

    The score of preset ``taste`` is the mean NDCG@100 over the full catalog of the tasks that have an order, by the states of
    the transformer; ``whole``: of all validation tasks, by the embeddings of the model. That of ``bert-cosine`` is the note's
    own metric: minus the mean cosine distance to the top-rated item.
    """
    if isinstance(settings, NoteSettings):
        distance = _cosine_distance(model, users, config)
        return {"eval_cosine_distance": distance, VALIDATION_SCORE: -distance}

    def encode(known: Histories, horizon: Horizon) -> NDArray[np.float32]:
        return encoded(model.encode if whole else model.states, known, config, horizon)

    scorer = EncodedScorer("model", "model", model.item_vectors, encode)
    gains = dict[str, float]()
    for name in (name for name in _TASKS if reason_to_skip(name, config.scale, order) is None):
        task = build_task(name, users, scale=config.scale, seed=settings.seed)
        if len(task) and (whole or task.horizon == "next"):
            metrics = measure(scorer, task, len(scorer.item_vectors), (_DEPTH,))
            gains[f"eval_{task.name}_ndcg@{_DEPTH}"] = float(metrics[f"ndcg@{_DEPTH}"].mean())
    return gains | {VALIDATION_SCORE: float(np.mean(list(gains.values()))) if gains else 0.0}


def encoded(
    encode: Callable[..., NDArray[np.float32]], users: Histories, config: InputConfig, horizon: Horizon
) -> NDArray[np.float32]:
    """Return the embeddings (B, D) or states of users, in chunks: inputs take far more memory than scores."""
    return np.concatenate([encode(horizon, **config.arrays(chunk)) for chunk in users.chunks(_CHUNK)])


def _cosine_distance(model: TasteEncoder | NoteEncoder, users: Histories, config: InputConfig) -> float:
    total, count = 0.0, 0
    for chunk in users.chunks(_CHUNK):
        batch = top_rated_batch(chunk, config)
        owners, targets = batch.pop("target_users"), batch.pop("target_items")
        embeddings = model.states("next", **batch)  # (B, D)
        distances = cosine_distance(embeddings[owners], model.item_vectors[targets])
        total, count = total + float(distances.sum()), count + len(distances)
    return total / max(count, 1)

"""Speed of training: users per second of each preset, the shares of reading and padding, and memory against users."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiment import BACKBONE, backbone, dataset
from measure import Run, peak_mb, spread
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tastevec.data.prepared import Prepared
from tastevec.training.fit import train
from tastevec.training.settings import resolve_settings

if TYPE_CHECKING:
    from torch import Tensor, nn

Plan = tuple[dict[str, int], int, tuple[int, ...], tuple[int, int, int]]
WARM_UP = 3  # steps that are not timed


# Timed steps of each variant; rounds, variant after variant, so that other load meets all of them; generated users of each
# measurement of memory, who rate 64 items each of 2,000; ratings, users and items of the largest dataset.
FULL: Plan = (
    {"bert-cosine": 20, "taste": 60, "packed": 60},
    3,
    (5_000, 20_000, 80_000),
    (32_000_000, 200_000, 87_000),
)
SMALL: Plan = ({"bert-cosine": 2, "taste": 4, "packed": 4}, 1, (200, 400), (20_000, 200, 300))


def measured(run: Run) -> dict[str, Any]:
    """Return speed and memory."""
    steps, rounds, users, release = FULL if run.full else SMALL
    data = run.prepared if run.full and run.prepared else _generated(run, users[0])
    variants = {
        "bert-cosine": {"preset": "bert-cosine", "backbone": backbone()},
        "taste": {"preset": "taste", "sequence_packing": "false"},
        "packed": {"preset": "taste", "sequence_packing": "true"},
    }
    rows = [
        run.call(f"{name} round {turn}", timed, data=data, steps=steps[name], settings=settings)
        for turn in range(1, rounds + 1)
        for name, settings in variants.items()
    ]
    speed = [row for row in rows if not row["sequence_packing"]]
    largest = dataset(run, "release", *release)
    return {
        "data": Prepared.open(data).manifest["source"]["name"],
        "checkpoint": BACKBONE,
        "speed": speed,
        "times_the_note": _multiples(speed),
        "packed": [row for row in rows if row["sequence_packing"]],
        "memory": [
            _memory(run, f"memory {count}", _generated(run, count), steps["taste"]) for count in users
        ],
        "release": _memory(run, "memory release", largest, steps["taste"]),
    }


def timed(data: str, steps: int, settings: dict[str, str], *, validate: bool = False) -> dict[str, Any]:
    """Train for a number of steps and stop; called in a process of its own."""
    preset, changes = settings.pop("preset"), {"device": "cpu", "report_to": "none", **settings}
    if preset == "taste":  # the steps of the transformer alone are timed
        changes |= {"tune": "false", "item_vector_steps": "10", "batch_size": "8"}
    resolved, clock = resolve_settings(preset, **changes), _Clock(steps, validate=validate)
    prepared, imported = Prepared.open(Path(data)), peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        train(prepared, Path(folder) / "run", resolved, callbacks=[clock])
    names = ("preset", "precision", "batch_size", "max_history", "hidden_size")
    return {
        **{name: getattr(resolved, name) for name in names},
        "sequence_packing": getattr(resolved, "sequence_packing", False),
        "films": len(prepared.item_ids),
        "users": len(prepared.user_ids),
        "train_users": len(prepared.users_in("train")),
        "interactions": len(prepared.histories.items),
        **clock.speed(),
        "peak_memory_mb": {"imported": imported, **clock.peaks},
    }


def _generated(run: Run, users: int) -> Path:
    return dataset(run, f"{users}", 64 * users, users, 2_000 if run.full else 300)


def _memory(run: Run, name: str, data: Path, steps: int) -> dict[str, Any]:
    settings = {"preset": "taste", "sequence_packing": "false"}
    return run.call(name, timed, data=data, steps=steps, settings=settings, validate=True)


def _multiples(speed: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the speed of taste as a multiple of preset bert-cosine's, over the rounds."""
    ours, theirs = ([row for row in speed if row["preset"] == preset] for preset in ("taste", "bert-cosine"))
    return {
        what: spread([one[what] / two[what] for one, two in zip(ours, theirs, strict=True)])
        for what in ("users_per_second", "films_per_second")
    }


@dataclass
class _Step:
    """One step: when it began (its batch is read) and ended, items read, and positions that hold an item or are computed."""

    began: float
    items: int = 0
    held: int = 0
    computed: int = 0
    ended: float = 0.0


class _Clock(TrainerCallback):
    """Times the steps after the warm-up and stops the training after the last one."""

    def __init__(self, steps: int, *, validate: bool) -> None:
        self.last, self.validate = WARM_UP + steps, validate
        self.batch_size = 0
        self.steps: list[_Step] = []
        self.peaks: dict[str, int] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, *_: object, model: nn.Module, **__: object
    ) -> None:
        """Watch what the model reads and computes."""
        if (epoch := state.max_steps // args.num_train_epochs) < self.last:
            sys.exit(f"An epoch has {epoch:.0f} steps. Expected at least {self.last}.")
        self.batch_size = args.train_batch_size
        model.register_forward_pre_hook(self._read, with_kwargs=True)
        model.blocks.register_forward_pre_hook(self._computed)
        self.peaks["before_the_first_step"] = peak_mb()

    def on_step_begin(self, *_: object, **__: object) -> None:
        """Note when the batch is read."""
        self.steps.append(_Step(time.perf_counter()))

    def on_step_end(
        self, _: TrainingArguments, state: TrainerState, control: TrainerControl, **__: object
    ) -> None:
        """Note when the optimizer is done; stop after the last step."""
        self.steps[-1].ended = time.perf_counter()
        if state.global_step == self.last:
            self.peaks["after_the_steps"] = peak_mb()
            control.should_training_stop = True

    def on_epoch_end(
        self, _: TrainingArguments, __: TrainerState, control: TrainerControl, **___: object
    ) -> None:
        """Skip the validation where it is not measured, and always the checkpoint."""
        control.should_evaluate, control.should_save = self.validate, False

    def on_evaluate(self, *_: object, **__: object) -> None:
        """Note the memory of the validation."""
        self.peaks["after_the_validation"] = peak_mb()

    def speed(self) -> dict[str, float]:
        """Return speed, the share of time that is reading, and the share of positions that is padding."""
        timed_steps, before = self.steps[WARM_UP : self.last], self.steps[WARM_UP - 1 : self.last - 1]
        seconds = timed_steps[-1].ended - before[0].ended
        reading = sum(step.began - last.ended for step, last in zip(timed_steps, before, strict=True))
        held, computed = (sum(getattr(step, name) for step in timed_steps) for name in ("held", "computed"))
        return {
            "warm_up": WARM_UP,
            "steps": len(timed_steps),
            "seconds": round(seconds, 2),
            "users_per_second": round(len(timed_steps) * self.batch_size / seconds, 2),
            "films_per_second": round(sum(step.items for step in timed_steps) / seconds, 1),
            "reading": round(reading / seconds, 4),
            "padding": round(1 - held / computed, 3),
        }

    def _read(self, model: nn.Module, _: object, inputs: dict[str, Tensor]) -> None:
        if model.training:
            lengths = inputs["lengths"]
            self.steps[-1].items += int(lengths.sum())
            starts = len(lengths) if model.config.model_type == "tastevec" else 0
            self.steps[-1].held += int(lengths.sum()) + starts

    def _computed(self, blocks: nn.Module, states: tuple[Tensor, ...]) -> None:
        if blocks.training:
            self.steps[-1].computed += states[0].shape[0] * states[0].shape[1]

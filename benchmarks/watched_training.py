"""One training that ends behind a number of steps: how fast it went, and how much memory it had taken by when.

``python benchmarks/watched_training.py PREPARED --steps 60 --out FILE`` is a process of its own in ``benchmarks/training.py``,
so that its peak memory is that of this training and of nothing before it. It is our own training from its first line
on; a callback looks at the clock and ends it.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from tastevec.data.prepared import Prepared
from tastevec.training.settings import PRESETS, resolve_settings
from tastevec.training.train import train

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from tastevec.training.settings import TrainSettings

WARM_UP = 3  # steps that are not timed


class Watch(TrainerCallback):
    """Notes what each step read and when it ended, and ends the training behind the last one.

    Args:
        warm_up: Steps that are not timed.
        steps: Steps that are, all of them within the first epoch.
        validate: Whether the validation at the epoch's end takes place.
    """

    def __init__(self, warm_up: int, steps: int, *, validate: bool) -> None:
        self.warm_up, self.last, self.validate = warm_up, warm_up + steps, validate
        self.batch_size = 0
        self.ended: list[float] = []  # seconds on a clock, behind each step
        self.read: list[tuple[int, int]] = []  # each step's films, and its films and padding
        self.peaks: dict[str, int] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, *_: object, model: nn.Module, **__: object
    ) -> None:
        """Begin to look at what the model is given."""
        epoch = state.max_steps // args.num_train_epochs
        if epoch < self.last:
            sys.exit(f"an epoch has {epoch:.0f} steps; expected {self.last} or more: ask for fewer steps")
        self.batch_size = args.train_batch_size
        model.register_forward_pre_hook(self._given, with_kwargs=True)
        self.peaks["before_the_first_step"] = peak_mb()

    def on_step_end(
        self, _: TrainingArguments, state: TrainerState, control: TrainerControl, **__: object
    ) -> None:
        """Look at the clock; behind the last step, end the training."""
        self.ended.append(time.perf_counter())
        if state.global_step == self.last:
            self.peaks["after_the_steps"] = peak_mb()
            control.should_training_stop = True

    def on_epoch_end(self, *about: object, **_: object) -> None:
        """Leave the validation out where it is not wanted, and the checkpoint always."""
        control: Any = about[2]
        control.should_evaluate, control.should_save = self.validate, False

    def on_evaluate(self, *_: object, **__: object) -> None:
        """See what the validation took."""
        self.peaks["after_the_validation"] = peak_mb()

    def speed(self) -> dict[str, float]:
        """What the timed steps did a second."""
        seconds = self.ended[self.last - 1] - self.ended[self.warm_up - 1]
        timed = self.read[self.warm_up : self.last]
        films, places = (sum(numbers) for numbers in zip(*timed, strict=True))
        return {
            "warm_up": self.warm_up,
            "steps": len(timed),
            "seconds": round(seconds, 2),
            "users_per_second": round(len(timed) * self.batch_size / seconds, 2),
            "films_per_second": round(films / seconds, 1),
            "padding": round(1 - films / places, 3),
        }

    def _given(self, model: nn.Module, _: object, inputs: dict[str, Tensor]) -> None:
        if model.training:
            self.read.append((int(inputs["lengths"].sum()), inputs["items"].numel()))


def watched(data: Path, settings: TrainSettings, watch: Watch) -> dict[str, Any]:
    """Train on the prepared folder ``data`` until ``watch`` has seen enough; what it saw."""
    prepared, imported = Prepared.open(data), peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        train(prepared, Path(folder) / "run", settings, callbacks=[watch])
    return {
        "preset": settings.preset,
        "batch_size": settings.batch_size,
        "max_history": settings.max_history,
        "users": len(prepared.user_ids),
        "train_users": len(prepared.users_in("train")),
        "interactions": len(prepared.histories.items),
        **watch.speed(),
        "peak_memory_mb": {"imported": imported, **watch.peaks},
    }


def peak_mb() -> int:
    """The most memory that this process has held so far, memory-mapped files that it read counted in."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Train and write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path, help="a prepared folder")
    parser.add_argument("--preset", choices=list(PRESETS), default="taste", help="the recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a change to it")
    parser.add_argument("--warm-up", type=int, default=WARM_UP, help="steps that are not timed, 1 or more")
    parser.add_argument("--steps", type=int, required=True, help="steps that are, in the first epoch")
    parser.add_argument("--validate", action="store_true", help="ask the validation people, too")
    parser.add_argument("--out", type=Path, required=True, help="the file")
    asked = parser.parse_args()
    changes: dict[str, Any] = dict(change.split("=", 1) for change in asked.set)
    settings = resolve_settings(asked.preset, **{"device": "cpu", "report_to": "none", **changes})
    watch = Watch(asked.warm_up, asked.steps, validate=asked.validate)
    asked.out.write_text(json.dumps(watched(asked.prepared, settings, watch)))


if __name__ == "__main__":
    main()

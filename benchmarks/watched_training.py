"""One training that ends behind a number of steps: how fast it went, what of it was reading, and how much memory it had taken.

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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from tastevec.data.prepared import Prepared
from tastevec.training.fit import train
from tastevec.training.settings import PRESETS, resolve_settings

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from tastevec.training.settings import TrainSettings

WARM_UP = 3  # steps that are not timed


@dataclass
class Step:
    """What one step read and computed, of all its pieces together.

    Attributes:
        began: Seconds on a clock, when its batch had been read.
        films: Films read.
        held: Places of the blocks that hold something.
        computed: Places that they computed, padding too.
        ended: Seconds on the same clock, behind the optimiser.
    """

    began: float
    films: int = 0
    held: int = 0
    computed: int = 0
    ended: float = 0.0


class Watch(TrainerCallback):
    """Notes what each step read and when it began and ended, and ends the training behind the last one.

    Args:
        warm_up: Steps that are not timed.
        steps: Steps that are, all of them within the first epoch; None for all that the epoch has.
        validate: Whether the validation at the epoch's end takes place.
    """

    def __init__(self, warm_up: int, steps: int | None, *, validate: bool) -> None:
        self.warm_up, self.validate = warm_up, validate
        self.last = 0 if steps is None else warm_up + steps
        self.batch_size = 0
        self.steps: list[Step] = []
        self.peaks: dict[str, int] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, *_: object, model: nn.Module, **__: object
    ) -> None:
        """Begin to look at what the model is given."""
        epoch = state.max_steps // args.num_train_epochs
        self.last = self.last or epoch
        if epoch < self.last:
            sys.exit(f"an epoch has {epoch:.0f} steps; expected {self.last} or more: ask for fewer steps")
        self.batch_size = args.train_batch_size
        model.register_forward_pre_hook(self._given, with_kwargs=True)
        model.blocks.register_forward_pre_hook(self._computed)
        self.peaks["before_the_first_step"] = peak_mb()

    def on_step_begin(self, *_: object, **__: object) -> None:
        """A batch has been read."""
        self.steps.append(Step(time.perf_counter()))

    def on_step_end(
        self, _: TrainingArguments, state: TrainerState, control: TrainerControl, **__: object
    ) -> None:
        """Look at the clock; behind the last step, end the training."""
        self.steps[-1].ended = time.perf_counter()
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
        """What the timed steps did a second, the share of their time that was reading, and of what was computed the padding."""
        timed = self.steps[self.warm_up : self.last]
        before = self.steps[self.warm_up - 1 : self.last - 1]
        seconds = timed[-1].ended - before[0].ended
        reading = sum(step.began - last.ended for step, last in zip(timed, before, strict=True))
        computed = sum(step.computed for step in timed)
        return {
            "warm_up": self.warm_up,
            "steps": len(timed),
            "seconds": round(seconds, 2),
            "users_per_second": round(len(timed) * self.batch_size / seconds, 2),
            "films_per_second": round(sum(step.films for step in timed) / seconds, 1),
            "reading": round(reading / seconds, 4),
            "padding": round(1 - sum(step.held for step in timed) / computed, 3),
        }

    def _given(self, model: nn.Module, _: object, inputs: dict[str, Tensor]) -> None:
        if model.training:
            lengths = inputs["lengths"]
            starts = len(lengths) if model.config.readout == "moments" else 0
            self.steps[-1].films += int(lengths.sum())
            self.steps[-1].held += int(lengths.sum()) + starts

    def _computed(self, blocks: nn.Module, states: tuple[Tensor, ...]) -> None:
        if blocks.training:
            self.steps[-1].computed += states[0].shape[0] * states[0].shape[1]


def watched(data: Path, settings: TrainSettings, watch: Watch) -> dict[str, Any]:
    """Train on the prepared folder ``data`` until ``watch`` has seen enough; what it saw."""
    prepared, imported = Prepared.open(data), peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        train(prepared, Path(folder) / "run", settings, callbacks=[watch])
    return {
        "preset": settings.preset,
        "packed": settings.packed,
        "precision": settings.precision,
        "batch_size": settings.batch_size,
        "max_history": settings.max_history,
        "hidden_size": settings.hidden_size,
        "films": len(prepared.item_ids),
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
    parser.add_argument("--steps", type=int, help="steps that are, in the first epoch; all others of it")
    parser.add_argument("--validate", action="store_true", help="ask the validation people, too")
    parser.add_argument("--out", type=Path, required=True, help="the file")
    asked = parser.parse_args()
    changes: dict[str, Any] = dict(change.split("=", 1) for change in asked.set)
    settings = resolve_settings(asked.preset, **{"device": "cpu", "report_to": "none", **changes})
    watch = Watch(asked.warm_up, asked.steps, validate=asked.validate)
    asked.out.write_text(json.dumps(watched(asked.prepared, settings, watch)))


if __name__ == "__main__":
    main()

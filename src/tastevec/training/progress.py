"""The progress of a training run, on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers import TrainerCallback

from tastevec.training.validation import SELECTION

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import TrainerState, TrainingArguments

__all__ = ["Tell"]


class Tell(TrainerCallback):
    """Tells a function of each step.

    Args:
        tell: Called with steps done, steps in all, and the newest measures.
    """

    def __init__(self, tell: Callable[[int, int, dict[str, float]], None]) -> None:
        self.tell = tell
        self.newest: dict[str, float] = {}

    def on_log(self, *_: object, logs: dict[str, float] | None = None, **__: object) -> None:
        """Keep what was measured."""
        self.newest |= {name: value for name, value in (logs or {}).items() if name in {"loss", SELECTION}}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, *_: object, **__: object) -> None:  # noqa: ARG002  the Trainer names it
        """Pass it on."""
        self.tell(state.global_step, state.max_steps, self.newest)

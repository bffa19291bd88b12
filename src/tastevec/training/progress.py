"""The progress of a training run, on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import TrainerControl, TrainerState, TrainingArguments

__all__ = ["Tell"]


class Tell(TrainerCallback):
    """Tells a function of each step.

    Args:
        tell: Called with steps done, steps in all, and the newest measures.
    """

    def __init__(self, tell: Callable[[int, int, dict[str, float]], None]) -> None:
        self.tell = tell
        self.newest: dict[str, float] = {}

    def on_log(self, *args: Any, logs: dict[str, float] | None = None, **_: Any) -> None:  # noqa: ANN401
        """Keep what was measured."""
        self.newest |= {name: value for name, value in (logs or {}).items() if name in ("loss", "eval_selection")}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ANN401
        """Pass it on."""
        self.tell(state.global_step, state.max_steps, self.newest)

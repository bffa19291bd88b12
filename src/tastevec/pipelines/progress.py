"""The progress bar of `fit`, `train` and `evaluate` in Python: a line of a terminal, or one output of a notebook."""

from __future__ import annotations

import html
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

Progress = Callable[[int, int, str], None]  # with steps done, their total, and what is done

_SECONDS: Final = 0.1  # between two updates of a notebook


@contextmanager
def progress_bar(progress: bool | Progress) -> Iterator[Progress]:  # noqa: FBT001  its values, not a switch
    """Yield what shows a step.

    Args:
        progress: True shows a bar in a notebook, or on standard error if that is a terminal; False shows nothing; a function is
            yielded as it is.
    """
    if callable(progress):
        yield progress
    elif progress and _in_notebook():
        bar = _NotebookBar()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "IProgress not found")  # tqdm's, of bars that are not shown
            yield bar
        bar.finish()
    elif progress and sys.stderr.isatty():
        with _terminal_bar() as step:
            yield step
    else:
        yield lambda _done, _total, _text: None


def training_text(latest: dict[str, float]) -> str:
    """Return what is done while a transformer trains, from its latest loss."""
    return f"Training: loss {latest['loss']:.3f}" if "loss" in latest else "Training"


def _in_notebook() -> bool:
    """Return whether IPython runs in a kernel, which displays more than text lines."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class _NotebookBar:
    """A bar that replaces itself in the output of a cell; HTML alone, since widgets need another library and its extension."""

    def __init__(self) -> None:
        from IPython.display import display

        self._began = self._updated = time.monotonic()
        self._done, self._total, self._text = 0, 1, "Starting"
        self._output = display(self, display_id=True)

    def __call__(self, done: int, total: int, text: str) -> None:
        """Show a step, unless the last one was shown a moment ago."""
        self._done, self._total, self._text = done, total, text
        if time.monotonic() - self._updated > _SECONDS:
            self._update()

    def finish(self) -> None:
        """Show that all is done; after an error the last step stays."""
        self._done, self._total, self._text = 1, 1, "Done"
        self._update()

    def _update(self) -> None:
        self._updated = time.monotonic()
        self._output.update(self)

    def __repr__(self) -> str:
        share = f", {100 * self._done / self._total:.0f} %" if self._done else ""
        return f"{self._text}{share}, {self._updated - self._began:.0f} s"

    def _repr_html_(self) -> str:
        return f'<progress value="{self._done}" max="{self._total}"></progress> {html.escape(repr(self))}'


@contextmanager
def _terminal_bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Starting", total=None)
        yield lambda done, total, text: bar.update(task, completed=done, total=total, description=text)

"""Progress on standard error: a bar where somebody looks, and nothing where nobody does."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Tell", "bar", "watched"]


class Tell(Protocol):
    """How a bar is moved."""

    def __call__(self, done: int, total: int | None = None, note: str | None = None) -> None:
        """Show that ``done`` of ``total`` (None is unknown) is done, and ``note`` instead of the first one."""


def watched() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr.isatty()


@contextmanager
def bar(note: str, *, in_bytes: bool = False) -> Iterator[Tell]:
    """A bar that is there while the block runs, if standard error is a terminal.

    Args:
        note: What is being done.
        in_bytes: What is counted are bytes.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not watched()) as progress:
        task = progress.add_task(note, total=None)

        def tell(done: int, total: int | None = None, note: str | None = None) -> None:
            progress.update(task, completed=done, total=total, description=note)

        yield tell

"""Output of commands: shared flags, progress bars, one JSON object or a message, one error sentence."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Protocol, get_args

import typer
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
from safetensors import SafetensorError

from tastevec.errors import TastevecError
from tastevec.extras import missing_extra
from tastevec.schema import Horizon, Preset, renamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "Answer",
    "AsJson",
    "HistoriesFile",
    "ModelFolder",
    "OutFile",
    "OutFolder",
    "PreparedFolder",
    "SkipBadRows",
    "SparkMaster",
    "SparkScratch",
    "StepProgressCallback",
    "WhichHorizon",
    "WhichPreset",
    "answering",
    "bar",
    "one_of",
    "watched",
]

_FAILED, _INTERRUPTED = 1, 130


@dataclass
class Answer:
    """What a command will say once it has succeeded: facts for a program, a text for a person."""

    facts: dict[str, Any] = field(default_factory=dict)
    text: str = ""

    def give(self, facts: dict[str, Any], text: str) -> None:
        """Fill in both faces."""
        self.facts, self.text = facts, text


@contextmanager
def answering(*, as_json: bool, afterwards: str = "run the same command again") -> Iterator[Answer]:
    """The frame that every command runs in.

    Args:
        as_json: Print the facts as one JSON object, an error's too; otherwise the text.
        afterwards: What to do after an interruption.

    Yields:
        The answer to be filled in; it is printed when the block ends well.

    Raises:
        typer.Exit: With 1 after an error of ours or of the file system, with 130 after an interruption.
    """
    answer = Answer()
    try:
        with redirect_stdout(sys.stderr):  # libraries may print; standard output is the result's alone
            yield answer
    except TastevecError as error:
        _fail(error, str(error), as_json=as_json)
    except ImportError as error:
        if (missing := missing_extra(error)) is None:
            raise
        _fail(missing, str(missing), as_json=as_json)
    except (OSError, SafetensorError) as error:  # which writes files itself, and has no other error
        where = getattr(error, "filename", None)
        place = f"{where}: " if where else ""
        said = getattr(error, "strerror", None) or error
        message = f"{place}{said}; expected to read and write there; check the path, the rights and the room"
        _fail(error, message, as_json=as_json)
    except (KeyboardInterrupt, RuntimeError) as error:
        if not _is_interruption(error):
            raise
        message = f"interrupted, and nothing half-written was left; {afterwards}"
        _fail(KeyboardInterrupt(), message, as_json=as_json, code=_INTERRUPTED)
    typer.echo(_as_text(answer.facts) if as_json else answer.text)


def _is_interruption(error: BaseException) -> bool:
    """DuckDB turns an interruption of its queries into a RuntimeError that was caused by it."""
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt)


def _fail(error: BaseException, message: str, *, as_json: bool, code: int = _FAILED) -> NoReturn:
    sentence = " ".join(message.split())
    typer.echo(f"Error: {sentence}", err=True)
    if as_json:
        typer.echo(_as_text({"error": {"kind": type(error).__name__, "message": sentence}}))
    raise typer.Exit(code) from error


def _as_text(facts: dict[str, Any]) -> str:
    return json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False, default=str)


AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, after an error too.")
]
PreparedFolder = Annotated[
    Path, typer.Argument(metavar="PREPARED", help="A folder that tastevec prepare wrote.")
]
ModelFolder = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="A folder that tastevec train wrote; or, where none has that name, org/name of the Hugging Face hub.",
    ),
]
HistoriesFile = Annotated[
    str,
    typer.Argument(
        metavar="HISTORIES",
        help="A CSV or Parquet of user_id, item_id, rating and, if known, timestamp; - for CSV on standard input.",
    ),
]
OutFolder = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="The folder to write; an earlier one is replaced.")
]
OutFile = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="The Parquet file to write; an earlier one is replaced.")
]
SkipBadRows = Annotated[
    bool,
    typer.Option("--skip-bad-rows", help="Count bad rows and set them aside instead of refusing the file."),
]
SparkMaster = Annotated[
    str | None,
    typer.Option(
        "--master",
        metavar="MASTER",
        help="Of Spark: where it runs, such as local[2] or spark://host:7077; what its own settings say, if not given.",
    ),
]
SparkScratch = Annotated[
    str | None,
    typer.Option(
        "--scratch",
        metavar="ADDRESS",
        help="Of Spark: a folder that its workers and this machine reach, such as s3a://bucket/tmp; beside DIR, if not given.",
    ),
]
WhichHorizon = Annotated[
    Horizon, typer.Option("--horizon", help="Ask what comes next, or for the taste as a whole.")
]


def one_of(name: str, values: tuple[str, ...]) -> Callable[[str], str]:
    """Return a parser of a choice that names the new value where an old one is given."""

    def parse(value: str) -> str:
        if value not in values:
            raise typer.BadParameter(renamed(name, value) or f"{value!r} is not one of {', '.join(values)}")
        return value

    return parse


WhichPreset = Annotated[
    Preset,
    typer.Option(
        "--preset",
        parser=one_of("preset", get_args(Preset)),
        metavar="|".join(get_args(Preset)),
        help="taste (default) or bert-cosine (the research note's model).",
    ),
]


class StepProgressCallback(Protocol):
    """How a bar is moved."""

    def __call__(self, done: int, total: int | None = None, note: str | None = None) -> None:
        """Show that ``done`` of ``total`` (None is unknown) is done, and ``note`` instead of the first one."""


def watched() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr.isatty()


@contextmanager
def bar(note: str, *, in_bytes: bool = False) -> Iterator[StepProgressCallback]:
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
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not watched()) as shown:
        task = shown.add_task(note, total=None)

        def report(done: int, total: int | None = None, note: str | None = None) -> None:
            shown.update(task, completed=done, total=total, description=note)

        yield report

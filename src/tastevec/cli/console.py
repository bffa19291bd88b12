"""Output of commands: shared flags, progress bars, one JSON object or a text, errors as one line."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, Protocol, get_args

import typer
from rich import progress
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from safetensors import SafetensorError
from typer.core import TyperCommand

from tastevec.errors import TastevecError
from tastevec.extras import missing_extra
from tastevec.schema import Horizon, Preset, Unknown, renamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_FAILED, _INTERRUPTED = 1, 130
_TYPED: ContextVar[str] = ContextVar("typed command", default="tastevec")

# Flags before the first release; nothing but the error message knows them.
RENAMED_FLAGS: Final[Mapping[tuple[str, str], str]] = {
    **{
        (command, "--skip-bad-rows"): "--bad-rows drop"
        for command in ("prepare", "fit", "inspect", "encode", "recommend", "similar", "explain")
    },
    ("evaluate", "--protocol"): "--task",
    ("explain", "--films"): "--contributions",
    ("prepare", "--heldout"): "--held-out-users",
    ("prepare", "--split"): "--split-strategy",
    ("serve", "--people"): "--user-vectors",
    ("similar", "--people"): "--user-vectors",
    ("similar", "--user"): "--users",
    **{
        (command, "--skip-bad-rows"): "--bad-rows drop"
        for command in ("inspect", "prepare", "fit", "encode", "recommend", "similar", "explain")
    },
}


class Command(TyperCommand):
    """A command that names the new flag for an old one, and that knows how it was typed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  Typer's own click is private
        """Parse the arguments of the command.

        Raises:
            typer.BadParameter: A flag has a new name.
        """
        for flag in (argument.partition("=")[0] for argument in args):
            if new := RENAMED_FLAGS.get((str(self.name), flag)):
                raise typer.BadParameter(f"this flag is now {new}", param_hint=flag)
        _TYPED.set(shlex.join(["tastevec", str(self.name), *args]))
        return super().parse_args(ctx, args)


def typed_command() -> str:
    """Return the command line of the running command, quoted for a shell."""
    return _TYPED.get()


@dataclass
class Output:
    """The output of a command that succeeds: facts for ``--json``, otherwise a text."""

    facts: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    began: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds since the command began, rounded to milliseconds."""
        return round(time.perf_counter() - self.began, 3)

    def set(self, facts: dict[str, Any], text: str) -> None:
        """Replace both."""
        self.facts, self.text = facts, text

    def show(self, report: object) -> None:
        """Print a report to standard error, above the progress bar, before the work goes on."""
        typer.echo(str(report), err=True)


@contextmanager
def reporting(*, as_json: bool, interrupted: Callable[[], str] | None = None) -> Iterator[Output]:
    """Run a command's body; print its output, or its error as one line.

    Args:
        as_json: Print the facts, or the error, as one JSON object on standard output.
        interrupted: Returns the message after an interruption, without its first word.

    Yields:
        The output to be set; it is printed when the block ends without an error.

    Raises:
        typer.Exit: With 1 after a `TastevecError` or a file system error, with 130 after an interruption.
    """
    output = Output()
    try:
        with redirect_stdout(sys.stderr):  # libraries may print; standard output has the result alone
            yield output
    except TastevecError as error:
        _fail(error, str(error), as_json=as_json)
    except ImportError as error:
        if (missing := missing_extra(error)) is None:
            raise
        _fail(missing, str(missing), as_json=as_json)
    except (OSError, SafetensorError) as error:  # safetensors writes files itself and has no other error
        _fail(error, _file_error(error), as_json=as_json)
    except (KeyboardInterrupt, RuntimeError) as error:
        # DuckDB turns an interruption of its queries into a RuntimeError that was caused by it.
        if not isinstance(error, KeyboardInterrupt) and not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        message = interrupted() if interrupted else f"no partial output remains. Run: {typed_command()}"
        _fail(KeyboardInterrupt(), message, as_json=as_json)
    typer.echo(_as_text(output.facts) if as_json else output.text)


def _file_error(error: Exception) -> str:
    where = f"{name}: " if (name := getattr(error, "filename", None)) else ""
    found = getattr(error, "strerror", None) or error
    return f"{where}{found}. Expected to read and write there. Check the path, its permissions and the free space, then run: {typed_command()}"


def _fail(error: BaseException, message: str, *, as_json: bool) -> NoReturn:
    line = " ".join(message.split())
    interrupted = isinstance(error, KeyboardInterrupt)
    typer.echo(f"{'Interrupted' if interrupted else 'Error'}: {line}", err=True)
    if as_json:
        code = getattr(error, "code", None)  # of a stop that --accept may take
        facts = {"kind": type(error).__name__, "message": line} | ({"code": code} if code else {})
        typer.echo(_as_text({"error": facts}))
    raise typer.Exit(_INTERRUPTED if interrupted else _FAILED) from error


def skipped_rows(reasons: Mapping[str, int], examples: Sequence[str], file: str = "") -> str:
    """Return the sentence about invalid rows.

    Examples:
        >>> skipped_rows({"duplicate": 2, "out of range": 1}, ["line 7 ..."], "ratings.csv")
        'Skipped 3 rows of ratings.csv: 2 duplicate, 1 out of range; first: line 7 ...'
    """
    count = sum(reasons.values())
    counted = ", ".join(f"{number:,} {reason}" for reason, number in reasons.items())
    rows = f"{count:,} {'row' if count == 1 else 'rows'}{' of ' + file if file else ''}"
    return f"Skipped {rows}: {counted}; first: {examples[0]}"


def _as_text(facts: dict[str, Any]) -> str:
    return json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False, default=str)


AsJson = Annotated[bool, typer.Option("--json", help="Print the result or the error as one JSON object.")]
PreparedFolder = Annotated[
    Path, typer.Argument(metavar="PREPARED", help="Prepared dataset, from tastevec prepare.")
]


def model_path(text: str) -> Path:
    """Return the path of a model; one that is typed as a path is absolute, so that it is no name on the Hub.

    Examples:
        >>> str(model_path("org/name")), model_path("./org/name").is_absolute(), model_path("org/name/").is_absolute()
        ('org/name', True, True)
    """
    return (
        Path(text).absolute() if text.startswith((".", "~")) or text.endswith(("/", os.sep)) else Path(text)
    )


ModelFolder = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        parser=model_path,
        help="Model folder, from tastevec train; or org/name on the Hugging Face Hub.",
    ),
]
HistoriesFile = Annotated[
    str,
    typer.Argument(
        metavar="HISTORIES",
        help="File of users and items, and any of values and times, as prepare reads it; - reads standard input.",
    ),
]
OutFolder = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Output folder; an earlier result there is replaced.")
]
OutFile = Annotated[
    Path,
    typer.Option("--out", metavar="FILE", help="Output Parquet file; an earlier result there is replaced."),
]
ItemNounFlag = Annotated[
    str | None,
    typer.Option(
        metavar="ONE:MANY",
        help="What the catalog calls its items, such as book:books; item:items by default.",
    ),
]
Memory = Annotated[
    str, typer.Option("--memory", metavar="SIZE", help="DuckDB memory limit; larger data spills to disk.")
]
SparkMaster = Annotated[
    str | None,
    typer.Option(
        "--master",
        metavar="MASTER",
        help="Spark: master, such as local[2] or spark://host:7077; Spark's own settings by default.",
    ),
]
SparkScratch = Annotated[
    str | None,
    typer.Option(
        "--scratch",
        metavar="ADDRESS",
        help="Spark: folder that all workers and this machine can reach; next to the output by default.",
    ),
]
WhatIsUnknown = Annotated[
    Unknown,
    typer.Option(
        "--unknown",
        help="Interactions with items that the model does not know: ignore them and say how many (warn), ignore them even "
        "where hardly an item is known (ignore), or refuse them (raise).",
    ),
]
WhichHorizon = Annotated[
    Horizon,
    typer.Option(
        "--horizon",
        show_default=True,
        help="next: what the user is likely to want next (order-aware). overall: long-term preferences (order-free).",
    ),
]


def weight(value: float) -> float:
    """Refuse a weight out of range; a range of click takes NaN."""
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{value:g}. Expected a number from 0 to 1.")
    return value


DislikeWeight = Annotated[
    float,
    typer.Option(
        "--dislike-weight",
        metavar="0..1",
        show_default=True,
        callback=weight,
        help="How far ratings below the middle of the scale push away. Without such ratings, and for bert-cosine, it changes nothing.",
    ),
]


def one_of(name: str, values: tuple[str, ...]) -> Callable[[str], str]:
    """Return a parser of a choice that names the new value where an old one is given."""

    def parse(value: str) -> str:
        if value not in values:
            raise typer.BadParameter(renamed(name, value) or f"{value!r}. Expected {' or '.join(values)}")
        return value

    return parse


WhichPreset = Annotated[
    Preset,
    typer.Option(
        "--preset",
        parser=one_of("preset", get_args(Preset)),
        metavar="|".join(get_args(Preset)),
        help="taste (default), bert-cosine (the research note's model), or direction (the direction of what users rate highest).",
    ),
]


class Progress(Protocol):
    """Moves a progress bar."""

    def __call__(self, done: int, total: int | None = None, note: str | None = None) -> None:
        """Show ``done`` of ``total`` (None: unknown), and ``note`` instead of the earlier description."""


def is_watched() -> bool:
    """Return whether standard error is a terminal."""
    return sys.stderr.isatty()


@contextmanager
def progress_bar(note: str, *, in_bytes: bool = False) -> Iterator[Progress]:
    """Show a progress bar while the block runs, if standard error is a terminal.

    Args:
        note: Description of the activity.
        in_bytes: Count bytes.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with progress.Progress(*columns, console=console, transient=True, disable=not is_watched()) as bars:
        task = bars.add_task(note, total=None)

        def report(done: int, total: int | None = None, note: str | None = None) -> None:
            bars.update(task, completed=done, total=total, description=note)

        yield report

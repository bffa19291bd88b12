"""What a command answers, and how it ends: a result on standard output, or one sentence on standard error."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from safetensors import SafetensorError

from tastevec.errors import TastevecError
from tastevec.extras import missing_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Answer", "answering"]

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

"""A process in another environment that answers: a line of JSON asks, a line of JSON answers."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tastevec.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Process"]


class Process:
    """What has been started and is waiting for questions; what it writes to stderr is seen by the caller.

    Args:
        command: The program and its arguments.
        first: The first question; its answer is ``welcome``.

    Raises:
        TrainingError: It ended instead of answering.
    """

    def __init__(self, command: Sequence[str], **first: Any) -> None:  # noqa: ANN401 - what JSON holds
        self._command = command
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.welcome = self.ask(**first)

    def ask(self, **question: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
        """The answer to one question.

        Raises:
            TrainingError: The process ended instead of answering.
        """
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.close()
            raise TrainingError(
                f"{self._command[-1]} ended with status {self._process.returncode} and no answer; expected a line of JSON; what it "
                "said of it stands above"
            )
        return json.loads(answer)

    def close(self) -> None:
        """Let it end, which it does when there are no more questions."""
        with suppress(BrokenPipeError), self._process:
            pass  # the end of the block closes the pipes, in one of which a question may be stuck, and waits

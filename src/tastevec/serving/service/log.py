"""The log of the service, written by a thread of its own."""

from __future__ import annotations

import os
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Final

_LINES: Final = 10_000  # that wait; further ones are dropped
_CLOSE_S: Final = 1.0
_STDERR: Final = 2


class BackgroundStream:
    """A text stream to standard error that never waits: an unread pipe or a full disk must not stop the service."""

    def __init__(self) -> None:
        self._waiting: Queue[str] = Queue(_LINES)
        self._dropped = 0
        self._closed = Event()
        self._thread = Thread(target=self._write, name="tastevec-log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Write the text soon; drop it where too much is waiting."""
        try:
            self._waiting.put_nowait(text)
        except Full:
            self._dropped += 1

    def flush(self) -> None:
        """Do nothing: the thread writes at once."""

    def close(self) -> None:
        """Write what is waiting, for a second at most."""
        self._closed.set()
        self._thread.join(_CLOSE_S)

    def _write(self) -> None:
        while not (self._closed.is_set() and self._waiting.empty()):
            try:
                text = self._waiting.get(timeout=0.1)
            except Empty:
                continue
            if self._dropped and text.endswith("\n"):
                text += f"level=warning event=log_lines_dropped count={self._dropped}\n"
                self._dropped = 0
            rest = text.encode(errors="replace")
            try:
                while rest:
                    rest = rest[os.write(_STDERR, rest) :]
            except OSError:  # a closed pipe or a full disk
                self._dropped += 1

"""The log of the service, written by a thread of its own."""

from __future__ import annotations

import os
from collections import deque
from threading import Event, Thread
from typing import Final

_LINES: Final = 10_000  # that wait; further ones are dropped
_PAUSE_S: Final = 0.05  # between two writes: waking the thread for each line would cost more than the line
_CLOSE_S: Final = 1.0
_STDERR: Final = 2


class BackgroundStream:
    """A text stream to standard error that never waits: an unread pipe or a full disk must not stop the service."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._dropped = 0
        self._closed = Event()
        self._thread = Thread(target=self._write, name="tastevec-log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Write the text soon; drop it where too much is waiting."""
        if len(self._waiting) < _LINES:
            self._waiting.append(text)
        else:
            self._dropped += 1

    def flush(self) -> None:
        """Do nothing: the thread writes in a moment."""

    def close(self) -> None:
        """Write what is waiting, for a second at most."""
        self._closed.set()
        self._thread.join(_CLOSE_S)

    def _write(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._closed.wait(_PAUSE_S)
            text = "".join(self._waiting.popleft() for _ in range(len(self._waiting)))
            if self._dropped and text.endswith("\n"):
                text += f"level=warning event=log_lines_dropped count={self._dropped}\n"
                self._dropped = 0
            rest = text.encode(errors="replace")
            try:
                while rest:
                    rest = rest[os.write(_STDERR, rest) :]
            except OSError:  # a closed pipe or a full disk
                self._dropped += text.count("\n")

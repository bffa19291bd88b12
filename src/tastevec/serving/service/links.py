"""How the front reaches its workers: processes, or threads for tests and for applications that embed the service."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from pydantic_core import from_json

from tastevec.serving.service.messages import SIZES, message_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Receive = Callable[
        [dict[str, Any] | None, bytes], None
    ]  # of a message, or of None once the worker has ended

_LOG = structlog.get_logger("tastevec.service")
_MAX_LOGGED = 1_000  # characters of a worker's output in one log line
# Signals of a terminal or a service manager are for the front, which ends its workers when they are done.
_START = (
    "import signal as s; [s.signal(getattr(s, n), s.SIG_IGN) for n in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(s, n)]; "
    "from tastevec.serving.service.worker import main; main()"
)


def worker_command(model: str, users: str | None = None) -> list[str]:
    """Return the command of a worker process for a model folder, and a file of user vectors."""
    return [sys.executable, "-P", "-c", _START, model, *([users] if users else [])]


class Link(Protocol):
    """A connection to a worker."""

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Send a message."""

    def close(self) -> None:
        """Let the worker end; it has no jobs."""

    def kill(self) -> None:
        """End the worker at once."""


class ThreadLink:
    """A worker in a thread of this process, for tests and applications that embed the service."""

    def __init__(self, source: Callable[[], Any], receive: Receive) -> None:
        from tastevec.serving.service.worker import Worker  # noqa: PLC0415  the front of processes needs no model

        self._loop = loop = asyncio.get_running_loop()
        self._open, self._receive = True, receive

        def send(header: dict[str, Any] | None, body: bytes) -> None:
            if self._open:
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(receive, header, body)

        def run() -> None:
            self._worker.run()
            send(None, b"")

        self._worker = Worker(source, send)
        Thread(target=run, name="tastevec-worker", daemon=True).start()

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Send a message."""
        self._worker.receive(header, body)

    def close(self) -> None:
        """Let the worker end."""
        self._worker.close()

    def kill(self) -> None:
        """Ignore the worker from now on: a thread cannot be ended."""
        if self._open:
            self._open = False
            self._worker.close()
            self._loop.call_soon(self._receive, None, b"")


class ProcessLink:
    """A worker process."""

    def __init__(self, process: asyncio.subprocess.Process, receive: Receive) -> None:
        self._process, self._receive = process, receive
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._log())]

    @classmethod
    async def start(cls, command: Sequence[str], receive: Receive) -> ProcessLink:
        """Start a worker process."""
        pipe = asyncio.subprocess.PIPE
        # One thread, because there is one worker per core; two memory arenas, because a thread's own is hardly reused.
        # A worker needs neither the token nor the database.
        own = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TASTEVEC_")}
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, env={**inherited, **own}
        )
        return cls(process, receive)

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Send a message."""
        assert self._process.stdin is not None
        self._process.stdin.write(message_bytes(header, body))

    def close(self) -> None:
        """Let the worker end."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def kill(self) -> None:
        """End the worker at once."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head, body = SIZES.unpack(await stdout.readexactly(SIZES.size))
                header = from_json(await stdout.readexactly(head))
                self._receive(header, await stdout.readexactly(body) if body else b"")
        await self._process.wait()
        self._receive(None, b"")

    async def _log(self) -> None:
        """Log what a worker prints, so that a full pipe never stops it."""
        assert self._process.stderr is not None
        while text := await self._process.stderr.read(4096):
            _LOG.warning("worker_output", text=text.decode(errors="replace")[:_MAX_LOGGED])

"""Connections of the service: their number, their timeouts, and a stop that loses no request."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from contextlib import suppress
from heapq import nsmallest
from typing import TYPE_CHECKING, Any, Final

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tastevec.serving.service.error_messages import Problem, too_busy

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from tastevec.serving.service.pool import Pool
    from tastevec.serving.service.settings import ServiceSettings

_LOG = structlog.get_logger("tastevec.service")
_HEAD_BYTES: Final = 1 << 16  # of the head of a request
_FIELD_BYTES = 32  # that each field counts for, in addition to its text
_ARRIVAL_S, _PAUSE_S, _IN_USE = 0.05, 2.0, 3  # see `Connection.use`
_CLOSED_AT_ONCE = 16
_EXTRA, _SHORT = 128, {b"GET", b"HEAD"}  # connections above the limit, for requests such as /healthz
_PIPELINED = (
    24  # requests that wait for the response to an earlier one of their connection; browsers send none
)
_SWEEP_S = 0.5
_IDLE_S = 0.5  # at a stop, an idle connection is closed after this time
_SPARE_DESCRIPTORS = 256
BACKLOG: Final = (
    100  # connections that are accepted at once: above the limit, there are descriptors for as many
)
_QUEUE = 1024  # connections that wait to be accepted


class Connection(HttpToolsProtocol):
    """A connection with a bounded head, whose request is given up when the client is gone."""

    limit, stopping = 512, False  # of all connections of the process, see `limited`

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        """Accept the connection; above the limit, the one that is used least makes room."""
        super().connection_made(transport)
        self.since = time.monotonic()  # of the last change: idle, head begun, response begun
        self.head_bytes = 0
        self.has_begun = self._extra = False
        self._problem: Problem | None = None
        self._writing_since: float | None = None
        self._task: asyncio.Task[None] | None = None
        if len(self.connections) > self.limit:
            self._make_room()

    def _make_room(self) -> None:
        """Close the connection that is used least, and some that have had no request: in a flood each costs a search."""
        now = self.since
        others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
        least = nsmallest(_CLOSED_AT_ONCE, others, key=lambda one: (one.use(now), one.since))
        for number, one in enumerate(least):
            if one.use(now) == 0 or (number == 0 and one.use(now) < _IN_USE):
                one.abort()
        self._extra = len(self.connections) > self.limit
        if len(self.connections) > self.limit + _EXTRA:
            unread = min(
                (one for one in others if not one.has_begun), key=lambda one: one.since, default=None
            )
            if unread is not None:
                unread.abort()
            else:
                self._refuse(too_busy(f"{len(self.connections):,} connections are"))

    @property
    def idle(self) -> bool:
        """Whether no request is in progress; the head of one may have begun."""
        return not self.has_begun or self.cycle.response_complete

    def use(self, now: float) -> int:
        """Return how much would be lost with the connection, from 0 to `_IN_USE`."""
        if not self.has_begun:  # a request may be there, unread
            return 0 if now - self.since > _ARRIVAL_S else _IN_USE
        if self.idle:
            return 1 if now - self.since > _PAUSE_S else _IN_USE
        stalled = self.cycle.more_body or self.flow.write_paused
        return 2 if stalled and now - self.since > _PAUSE_S else _IN_USE

    def abort(self) -> None:
        """Close the connection at once, whatever is still to be sent."""
        self.connections.discard(self)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and refuse a head that is too long."""
        if self.idle:
            if not self.head_bytes:
                self.since = time.monotonic()
            self.head_bytes += len(data)
        super().data_received(data)
        if self.head_bytes > _HEAD_BYTES and not self.transport.is_closing():
            self._refuse(_long_head())

    def on_headers_complete(self) -> None:
        """Begin a request; at a stop, it is the last one of the connection."""
        self._problem = self._head_problem()
        if self._problem is not None:
            raise ValueError  # httptools turns it into its own error, so that `send_400_response` is called
        super().on_headers_complete()
        self.has_begun, self.head_bytes, self.since = True, 0, time.monotonic()
        if (self.stopping or self._extra) and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Read on, as a paused connection would not show that its client is gone."""
        super().on_message_complete()
        if not self.pipeline:  # else its requests must not pile up
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.head_bytes, self.since, self._writing_since = 0, time.monotonic(), None
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up the request: nothing is computed for a client that is gone."""
        super().connection_lost(exc)
        if self._task is not None:
            self._task.cancel()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:  # noqa: ANN401  as in the base class
        self._task = task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def check_time(self, now: float, settings: ServiceSettings) -> None:
        """Close the connection where the head of a request, or the taking of a response, lasts too long."""
        responding = not self.idle and self.cycle.response_started
        if responding or self.transport.get_write_buffer_size():
            self._writing_since = self._writing_since or now
            if now - self._writing_since > settings.write_timeout_s:
                self.abort()
        elif (
            self.idle
            and (not self.has_begun or self.head_bytes)
            and now - self.since > settings.head_timeout_s
        ):
            message = f"the head of the request: incomplete after {settings.head_timeout_s:g} seconds. Expected it sooner."
            self._refuse(Problem(408, "head_timeout", message))

    def _head_problem(self) -> Problem | None:
        """Return why the request that begins is refused, whatever its body."""
        size = sum(len(name) + len(value) + _FIELD_BYTES for name, value in self.headers)
        if len(self.url) + size > _HEAD_BYTES:
            return _long_head()
        if len(self.pipeline) >= _PIPELINED:
            found = f"{_PIPELINED} earlier ones of its connection wait"
            return Problem(400, "invalid_request", f"the request: {found}. Expected fewer at once.")
        if self._extra and self.parser.get_method() not in _SHORT:
            return too_busy(f"{len(self.connections):,} connections are")
        return None

    def send_400_response(self, msg: str) -> None:
        """Refuse what `_head_problem` refuses, or what is not HTTP."""
        found = msg.rstrip(".").lower()
        invalid = Problem(400, "invalid_request", f"the request: {found}. Expected HTTP/1.1.")
        self._refuse(self._problem or invalid)

    def _refuse(self, problem: Problem) -> None:
        head = f"HTTP/1.1 {problem.status} \r\ncontent-type: application/json\r\nconnection: close\r\n"
        for name, value in problem.headers.items():
            head += f"{name.lower()}: {value}\r\n"
        self.transport.write(f"{head}content-length: {len(problem.body)}\r\n\r\n".encode() + problem.body)
        self.transport.close()


def _long_head() -> Problem:
    message = f"the head of the request: more than {_HEAD_BYTES:,} bytes. Expected fewer."
    return Problem(431, "invalid_request", message)


class Server(uvicorn.Server):
    """A server that watches its connections, reloads on SIGHUP, and stops without losing a request."""

    def __init__(
        self,
        config: uvicorn.Config,
        pool: Pool,
        settings: ServiceSettings,
        progress: Callable[[str], object],
    ) -> None:
        super().__init__(config)
        self._pool, self._settings, self._progress = pool, settings, progress
        self._delay = 0.0
        pool.on_failure = self._stop
        Connection.limit, Connection.stopping = _limited(settings.connections), False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port; say where."""
        assert sockets is None
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_loop_error)
        await super().startup()
        if hasattr(signal, "SIGHUP"):
            # Not the loop's own handler: as it closes, that gives way to the default, which ends the process.
            signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(self._pool.load_soon))
        self._sweeping = loop.create_task(self._sweep())
        for listening in self.servers[0].sockets:  # asyncio would accept as many at once as it lets wait
            with socket.socket(fileno=os.dup(listening.fileno())) as own:
                own.listen(_QUEUE)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        with suppress(OSError):  # a closed or full standard error
            self._progress(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Begin to stop; a second SIGINT stops at once."""
        # Like uvicorn's own, which also raises the signal again after the shutdown.
        self._delay = self._settings.stop_delay_s if sig == signal.SIGTERM else 0.0
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self._pool.stopping = Connection.stopping = self.should_exit = True

    def _stop(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until load balancers have noticed, close the port, then let the requests end."""
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nothing to reload any more
        ends = time.monotonic() + self._delay
        while time.monotonic() < ends and not self.force_exit:  # noqa: ASYNC110  a signal handler sets it
            await asyncio.sleep(0.05)
        await self._close_port()
        ends = time.monotonic() + self._settings.drain_s
        while self.server_state.connections and time.monotonic() < ends and not self.force_exit:
            for connection in self._connections():
                # A client may be sending at this moment: one that has been silent for a while is not.
                silent = connection.idle and not connection.head_bytes
                if silent and time.monotonic() - connection.since > _IDLE_S:
                    connection.transport.close()
            await asyncio.sleep(0.02)
        self._sweeping.cancel()
        for connection in self._connections():
            connection.abort()
        await super().shutdown(sockets)

    async def _close_port(self) -> None:
        """Accept the connections that wait to be accepted, which would otherwise be reset, and close the port."""
        loop, accepted = asyncio.get_running_loop(), []
        for server in self.servers:
            for listening in server.sockets:
                own = socket.socket(fileno=os.dup(listening.fileno()))
                with own, suppress(BlockingIOError):
                    while True:
                        accepted.append(own.accept()[0])
            server.close()
        for one in accepted:
            await loop.connect_accepted_socket(self._connection, one)

    def _connection(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state)

    def _connections(self) -> list[Connection]:
        return [one for one in self.server_state.connections if isinstance(one, Connection)]

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic()
            for connection in self._connections():
                connection.check_time(now, self._settings)


def _limited(connections: int) -> int:
    """Return how many connections the descriptors of the process suffice for; raise its limit as far as allowed."""
    try:
        import resource  # noqa: PLC0415  not on Windows
    except ImportError:
        return connections
    needed = connections + BACKLOG + _SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(connections, soft - BACKLOG - _SPARE_DESCRIPTORS))


_last_logged = 0.0


def _log_loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error outside of requests, at most one a second: without descriptors, each connection would have one."""
    global _last_logged  # noqa: PLW0603  one event loop
    if time.monotonic() - _last_logged > 1:
        _last_logged = time.monotonic()
        error = context.get("exception")
        _LOG.error("loop_error", kind=type(error).__name__, message=context["message"])

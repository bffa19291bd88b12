"""The workers of the service, seen from the front: queues, turns, reload, and replacement of those that end.

The event loop of the front only passes messages on. Requests wait in two queues, by their cost: one worker is always free of
large requests. Within a queue, clients take turns.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog
from pydantic_core import from_json

from tastevec import errors
from tastevec.errors import FormatError, TastevecError
from tastevec.serving.service.error_messages import Problem, too_busy
from tastevec.serving.service.links import ProcessLink, ThreadLink
from tastevec.serving.service.messages import LARGE_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence

    from tastevec.serving.service.links import Link
    from tastevec.serving.service.metrics import Metrics
    from tastevec.serving.service.settings import ServiceSettings

_LOG = structlog.get_logger("tastevec.service")
_SMALL_BYTES: Final = 1 << 13  # a larger body waits among the large requests, whatever it asks for
_SMALL_AT_ONCE = 8  # small requests in one worker, which encodes them together
_LARGE_OF_ONE = LARGE_AT_ONCE // 2  # of one client
LARGE_WAITING: Final = 32
_LOAD_S = 600.0  # then a load counts as hung
_CLOSE_S = 1.0
_PAUSES, _RECENT_S = (0.0, 0.0, 0.5, 2.0, 10.0, 30.0), 60.0  # seconds before a worker that ended is replaced
_PAUSE_ALONE_S = 0.5  # the same, where no other is left


@dataclass(eq=False)
class _Job:
    number: int
    operation: str
    body: bytes
    client: str
    large: bool
    result: asyncio.Future[Result]
    parts: list[bytes] = field(default_factory=list)
    began: float = 0.0


@dataclass(frozen=True)
class Result:
    """The response of a worker."""

    status: int
    body: list[bytes]
    headers: dict[str, str]


@dataclass(frozen=True)
class Model:
    """What the front knows of the model in use.

    Attributes:
        fingerprint: Of the model; all workers have the same.
        facts: The response of ``/v1/model``, without the number of users.
        example: The response of ``/v1/example``.
        n_users: Users of the file of user vectors; None without it.
        map_body: The response of ``/v1/map``, plain and gzipped, and its ETag; None without a map.
    """

    fingerprint: str
    facts: dict[str, Any]
    example: dict[str, Any]
    n_users: int | None
    map_body: tuple[bytes, bytes, str] | None

    @property
    def space(self) -> str:
        """The ID of the embedding space."""
        return str(self.facts["space"])


class _Worker:
    """A worker, its jobs and its model."""

    def __init__(self, pool: Pool) -> None:
        loop = asyncio.get_running_loop()
        self._pool = pool
        self.link: Link | None = None
        self.jobs: dict[int, _Job] = {}
        self.loaded: asyncio.Future[Model] = loop.create_future()
        self.loaded.add_done_callback(
            lambda loaded: loaded.exception()
        )  # its caller may not be waiting for it any more
        self.ended: asyncio.Future[None] = loop.create_future()
        self.retired = False
        self._map: dict[str, tuple[bytes, str]] = {}

    @property
    def large(self) -> int:
        """The number of its large jobs."""
        return sum(job.large for job in self.jobs.values())

    def clients_at_limit(self) -> set[str]:
        """Return the clients that have as many large jobs here as one may have."""
        counts = Counter(job.client for job in self.jobs.values() if job.large)
        return {client for client, count in counts.items() if count >= _LARGE_OF_ONE}

    def receive(self, header: dict[str, Any] | None, body: bytes) -> None:
        """Take a message of the worker."""
        if header is None:
            if not self.loaded.done():
                self.loaded.set_exception(
                    FormatError(
                        "the model: its worker ended while loading. Expected a model that fits into memory. See the log."
                    )
                )
            if not self.ended.done():
                self.ended.set_result(None)
            self._pool.worker_ended(self)
        elif "job" in header:
            self._pool.worker_answered(self, header, body)
        elif "map" in header:
            self._map[header["map"]] = body, header["etag"]
        elif "ready" in header and not self.loaded.done():
            found = from_json(body)
            given = None
            if self._map:
                given = self._map["plain"][0], self._map["gzip"][0], self._map["plain"][1]
            self.loaded.set_result(
                Model(header["ready"], found["facts"], found["example"], found["n_users"], given)
            )
        elif "failed" in header and not self.loaded.done():
            self.loaded.set_exception(_load_error(header["failed"], header["message"]))


def _load_error(name: str, message: str) -> TastevecError:
    """Return the error with which a worker could not load its model."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, TastevecError):
        error = kind.__new__(kind, message)  # without the arguments that the class makes its message of
        error.args = (message,)
        return error
    return LoadError(f"{name}: {message}")


class LoadError(TastevecError):
    """The model could not be loaded, for an unexpected reason."""


class _Queue:
    """Waiting jobs; clients take turns."""

    def __init__(self) -> None:
        self._jobs: dict[str, deque[_Job]] = {}  # clients in the order of their turns
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, job: _Job) -> None:
        self._jobs.setdefault(job.client, deque()).append(job)
        self._count += 1

    def pop(self, skipped: Collection[str] = ()) -> _Job | None:
        """Remove and return the oldest job of the client whose turn it is; None if only skipped clients wait."""
        client = next((one for one in self._jobs if one not in skipped), None)
        if client is None:
            return None
        jobs = self._jobs.pop(client)
        job = jobs.popleft()
        if jobs:
            self._jobs[client] = jobs  # behind the others
        self._count -= 1
        return job

    def remove(self, job: _Job) -> None:
        jobs = self._jobs.get(job.client)
        if jobs and job in jobs:
            jobs.remove(job)
            self._count -= 1
            if not jobs:
                del self._jobs[job.client]


class Pool:
    """Workers with one model: as many as set, the first one without large requests."""

    def __init__(
        self, source: Callable[[], Any] | Sequence[str], settings: ServiceSettings, metrics: Metrics
    ) -> None:
        """Create a pool; `open` starts it.

        Args:
            source: The command of a worker process; or a function that returns an `AppState`, for one worker in a thread.
            settings: The number of workers, and limits.
            metrics: Counts batches and reloads.
        """
        self._source, self._settings, self._metrics = source, settings, metrics
        self._count = 1 if callable(source) else settings.workers
        self.model: Model | None = None
        self.failure: Exception | None = None  # of the first load
        self.on_failure: Callable[[], object] = lambda: None
        self.stopping = False
        self._unsent = 0  # bytes of complete responses that clients have not taken
        self._clear()
        metrics.watch(
            workers=lambda: len(self._workers), small=lambda: len(self._small), large=lambda: len(self._large)
        )

    def open(self) -> None:
        """Start the workers; possible again after `close`."""
        self._clear()
        self._spawn(self._watch())
        self.load_soon()

    def _clear(self) -> None:
        self._numbers = itertools.count()
        self._small, self._large = _Queue(), _Queue()
        self._workers: list[_Worker] = []  # in use, the first one for small requests alone
        self._all: set[_Worker] = set()  # with those that load, and those that end
        self._loading: asyncio.Task[Model] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: deque[float] = deque(maxlen=len(_PAUSES))  # times

    @property
    def ready(self) -> bool:
        """Whether the service expects requests."""
        return self.model is not None and not self.stopping

    @property
    def workers(self) -> int:
        """The number of workers in use."""
        return len(self._workers)

    async def run(self, operation: str, body: bytes, client: str) -> Result:
        """Return the response of an operation.

        Raises:
            Problem: No model is loaded, too many requests are waiting, or the worker ended.
        """
        if self.model is None:
            raise self.not_loaded()
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        large = len(body) > _SMALL_BYTES
        job = _Job(next(self._numbers), operation, body, client, large, future)
        self._wait(job)
        self._dispatch()
        try:
            return await future
        except asyncio.CancelledError:
            self._cancel(job)
            raise

    def not_loaded(self) -> Problem:
        """Return the error for a request before the first model is loaded."""
        message = "the model: not loaded yet. Expected a loaded model. Retry in a few seconds."
        return Problem(503, "loading", message, headers={"Retry-After": "2"})

    async def load(self) -> float:
        """Start workers with the present content of the source, and switch to them; return the seconds.

        An error leaves the previous model. A later call takes the place of one that is still loading.
        """
        if self._loading is not None:
            self._loading.cancel()
        began = time.perf_counter()
        self._loading = task = asyncio.create_task(self._load())
        try:
            model = await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._loading is task:
                raise
            raise FormatError(
                "the model: loading was given up for a later reload. Expected one at a time. See its result."
            ) from None
        except Exception as error:
            self._metrics.reloads.labels("failed").inc()
            previous = None if self.model is None else self.model.space
            _LOG.error(
                "model_load_failed", kind=type(error).__name__, message=str(error), previous_space=previous
            )
            raise
        finally:
            if self._loading is task:
                self._loading = None
        seconds = time.perf_counter() - began
        self._metrics.loaded(model.space, model.facts["data"], model.facts["version"])
        _LOG.info(
            "model_loaded", space=model.space, n_items=model.facts["n_items"], seconds=round(seconds, 2)
        )
        return seconds

    async def close(self) -> None:
        """End all workers."""
        for task in [*self._tasks, *([self._loading] if self._loading else [])]:
            task.cancel()
        self._workers, workers = [], list(self._all)
        for worker in workers:
            self._retire(worker)
        await self._all_ended(workers)
        for worker in self._all:
            self._kill(worker)
        await self._all_ended(workers)

    @staticmethod
    async def _all_ended(workers: Sequence[_Worker]) -> None:
        """Wait a moment for workers that end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await asyncio.gather(*(asyncio.shield(worker.ended) for worker in workers))

    # ---- workers ----

    async def _load(self) -> Model:
        worker = await self._start()
        try:
            async with asyncio.timeout(_LOAD_S):
                model = await asyncio.shield(worker.loaded)
        except TimeoutError:
            raise FormatError(
                f"the model: not loaded after {_LOAD_S:g} seconds. Expected a complete folder. Reload again."
            ) from None
        finally:
            if not worker.loaded.done() or worker.loaded.exception():
                self._kill(worker)
        previous, self._workers, self.model = self._workers, [worker], model
        for old in previous:
            self._retire(old)
        self._failures.clear()
        self._dispatch()
        self._spawn(self._fill(previous))
        return model

    def _pause(self) -> float:
        """Return the seconds until the next attempt to start a worker: the more have failed in the last minute, the longer."""
        recent = sum(failed > time.monotonic() - _RECENT_S for failed in self._failures)
        pause = _PAUSES[min(recent, len(_PAUSES) - 1)]
        return pause if self._workers else min(pause, _PAUSE_ALONE_S)

    async def _start(self) -> _Worker:
        worker = _Worker(self)
        self._all.add(worker)
        if callable(self._source):
            worker.link = ThreadLink(self._source, worker.receive)
            return worker
        try:
            worker.link = await ProcessLink.start(self._source, worker.receive)
        except BaseException:  # a later reload, or no process could be made
            self._all.discard(worker)
            raise
        return worker

    async def _fill(self, previous: Sequence[_Worker] = ()) -> None:
        """Start workers until there are enough, once the previous ones have ended: memory is bounded."""
        for old in previous:
            await asyncio.shield(old.ended)
        while self.model is not None and len(self._workers) < self._count:
            model = self.model
            await asyncio.sleep(self._pause())
            worker = await self._start()
            try:
                async with asyncio.timeout(_LOAD_S):
                    found = await asyncio.shield(worker.loaded)
            except (TastevecError, TimeoutError) as error:
                self._failures.append(time.monotonic())
                self._kill(worker)
                _LOG.error("worker_not_started", kind=type(error).__name__, message=str(error))
                continue
            if model is not self.model or found.fingerprint != model.fingerprint:
                self._kill(worker)
                if model is self.model:  # the folder has changed: all workers must have the same model
                    _LOG.warning("model_changed", space=found.space, previous_space=model.space)
                    self.load_soon()
                return
            self._workers.append(worker)
            self._dispatch()

    def load_soon(self) -> None:
        """Load in the background; only a failure of the first load ends the service."""

        async def attempt() -> None:
            try:
                await self.load()
            except Exception as error:  # noqa: BLE001  load logs it
                if self.model is None and self._loading is None:
                    self.failure = error
                    self.on_failure()

        self._spawn(attempt())

    def worker_ended(self, worker: _Worker) -> None:
        """Take the news that a worker has ended."""
        self._all.discard(worker)
        self._lose(worker)

    def _lose(self, worker: _Worker) -> None:
        """Refuse the jobs of a worker that has ended or hangs, and replace it."""
        for job in worker.jobs.values():
            message = (
                "the service: a worker ended during this request. Expected a response. Retry in a second."
            )
            if not job.result.done():
                problem = Problem(503, "worker_ended", message, headers={"Retry-After": "1"})
                job.result.set_exception(problem)
        worker.jobs.clear()
        if worker in self._workers:
            self._workers.remove(worker)
            self._failures.append(time.monotonic())
            _LOG.error("worker_ended", workers=len(self._workers))
            self._dispatch()
            self._spawn(self._fill())

    def _retire(self, worker: _Worker) -> None:
        """Give a worker no more jobs, and let it end after the last one."""
        worker.retired = True
        if not worker.jobs and worker.link is not None:
            worker.link.close()

    def _kill(self, worker: _Worker) -> None:
        worker.retired = True
        if worker.link is not None:
            worker.link.kill()

    async def _watch(self) -> None:
        """End workers that do not answer: every piece of work is far shorter than a request may take."""
        hung = 3 * self._settings.timeout_s
        while True:
            await asyncio.sleep(1)
            limit = time.monotonic() - hung
            for worker in list(self._all):
                if worker.link is not None and any(job.began < limit for job in worker.jobs.values()):
                    _LOG.error("worker_hung", seconds=hung)
                    self._kill(worker)
                    self._lose(worker)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- jobs ----

    def _wait(self, job: _Job) -> None:
        """Put a job into its queue.

        Raises:
            Problem: The queue is full.
        """
        queue, limit = (self._large, LARGE_WAITING) if job.large else (self._small, self._settings.waiting)
        if len(queue) >= limit:
            raise too_busy(f"{len(queue)} {'large ' if job.large else ''}requests are")
        queue.push(job)

    def _dispatch(self) -> None:
        """Give waiting jobs to workers that have room."""
        while (worker := self._for_small()) and (job := self._small.pop()):
            self._give(worker, job)
        while (worker := self._for_large()) and (job := self._large.pop(worker.clients_at_limit())):
            self._give(worker, job)

    def _for_small(self) -> _Worker | None:
        """Return the worker with the fewest jobs, but none with large ones if there is another."""
        free = [worker for worker in self._workers if not worker.large] or self._workers
        best = min(free, key=lambda worker: len(worker.jobs), default=None)
        return best if best and len(best.jobs) < _SMALL_AT_ONCE + best.large else None

    def _for_large(self) -> _Worker | None:
        """Return the worker with the fewest large jobs, but not the first if there is another."""
        if not self._has_room():
            return None
        best = min(self._workers[1:] or self._workers, key=lambda worker: worker.large, default=None)
        return best if best and best.large < LARGE_AT_ONCE else None

    def _give(self, worker: _Worker, job: _Job) -> None:
        job.began = time.monotonic()
        worker.jobs[job.number] = job
        assert worker.link is not None
        # The cost is an estimate: what is refused would take more than the time that it has on a faster machine, too.
        most = 1200 * self._settings.timeout_s
        header = {"job": job.number, "operation": job.operation, "large": job.large, "most_ms": most}
        worker.link.send(header, job.body)

    def worker_answered(self, worker: _Worker, header: dict[str, Any], body: bytes) -> None:
        """Take a part of a response, its end, or the news that a job is a large one."""
        number = header["job"]
        job = worker.jobs[number]
        if "part" in header:
            if not job.result.done():
                job.parts.append(body)
            return
        del worker.jobs[number]
        if "users" in header:
            self._metrics.users.observe(header["users"])
        if worker.retired:
            self._retire(worker)
        if not job.result.done():
            self._finish(job, header, body)
        self._dispatch()

    def _finish(self, job: _Job, header: dict[str, Any], body: bytes) -> None:
        if "large" in header:
            job.large = True
            try:
                self._wait(job)
            except Problem as problem:
                job.result.set_exception(problem)
            return
        status, headers = header["status"], header.get("headers", {})
        if status == 500:  # noqa: PLR2004  the status is its own name
            error = WorkerError(header["kind"], header["frames"])
            job.result.set_exception(error)
            return
        parts = [*job.parts, body] if status == 200 else [body]  # noqa: PLR2004  as above
        job.result.set_result(Result(status, parts, headers))

    def _cancel(self, job: _Job) -> None:
        """Forget a job whose client is gone, or whose time is over."""
        (self._large if job.large else self._small).remove(job)
        job.parts.clear()
        for worker in self._all:
            if job.number in worker.jobs and worker.link is not None:
                worker.link.send({"gone": job.number})

    def check_room(self) -> None:
        """Refuse a request whose response may be large, while others are not taken.

        Raises:
            Problem: Too much is in memory.
        """
        if not self._has_room():
            raise too_busy(f"{self._unread:,} bytes of responses are")

    def _has_room(self) -> bool:
        return self._unread <= self._settings.in_flight_bytes // 2

    @property
    def _unread(self) -> int:
        """The bytes of responses in memory, complete or not."""
        running = (part for worker in self._all for job in worker.jobs.values() for part in job.parts)
        return self._unsent + sum(map(len, running))

    def unsent(self, change: int) -> None:
        """Report bytes of a response that a client is to take (positive) or has taken; large requests may wait for that."""
        self._unsent += change
        if change < 0:
            self._dispatch()


class WorkerError(Exception):
    """An unexpected error of a worker, with its stack frames."""

    def __init__(self, kind: str, frames: list[str]) -> None:
        super().__init__(kind)
        self.kind, self.frames = kind, frames

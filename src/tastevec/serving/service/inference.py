"""Inference of the service: micro-batches, model reload and metrics."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from tastevec.data.histories import Histories
from tastevec.errors import TastevecError
from tastevec.serving.service.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from starlette.requests import Request

    from tastevec.schema import Horizon
    from tastevec.serving.recommender import Recommender
    from tastevec.serving.service.responses import AppState
    from tastevec.serving.service.settings import ServiceSettings

_BATCH_USERS = 256  # maximum users per batch
T = TypeVar("T")


def too_busy(waiting: int) -> Problem:
    """Return the error for a full queue."""
    message = f"the service: {waiting} requests are waiting. Expected fewer. Retry in a second."
    return Problem(503, "too_busy", message, headers={"Retry-After": "1"})


@dataclass(frozen=True, eq=False)
class _Job:
    model: Recommender
    histories: Histories
    horizon: Horizon
    finish: Callable[[NDArray[np.float32]], Any]
    future: Future[Any] = field(default_factory=Future)

    @property
    def batch_key(self) -> tuple[int, str]:
        """Jobs with the same key can share a batch."""
        return id(self.model), self.horizon


class Batcher:
    """One thread for inference, which merges concurrent requests into micro-batches.

    Jobs collect while a batch runs and form the next one. A single request never waits for others, and the batches
    grow with the load. The result of a job does not depend on its batch, and an error reaches only its own job.
    """

    def __init__(self, *, waiting: int, progress: Callable[[int], object] = lambda _users: None) -> None:
        """Create a batcher with a maximum queue length, which reports the users of each batch; `open` starts it."""
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._waiting, self._progress = waiting, progress

    def open(self) -> None:
        """Start the thread."""
        self._thread = Thread(target=self._work, name="tastevec-model", daemon=True)
        self._thread.start()

    async def run(
        self,
        model: Recommender,
        histories: Histories,
        horizon: Horizon,
        finish: Callable[[NDArray[np.float32]], T],
    ) -> T:
        """Return the result of ``finish``, called in the thread with the user vectors (B, D); refuse a full queue."""
        if self._queue.qsize() >= self._waiting:
            raise too_busy(self._waiting)
        job = _Job(model, histories, horizon, finish)
        self._queue.put(job)
        result: T = await asyncio.wrap_future(job.future)
        return result

    def close(self) -> None:
        """Finish the queue, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        for jobs in self._batches():
            # Skip jobs whose client has disconnected.
            active = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            active.sort(key=lambda job: job.batch_key)
            for _, batch in groupby(active, key=lambda job: job.batch_key):
                self._infer(list(batch))

    def _batches(self) -> Iterator[list[_Job]]:
        """Yield the waiting jobs, up to the maximum batch size, until the end of the queue."""
        while (job := self._queue.get()) is not None:
            jobs, users = [job], len(job.histories)
            while users < _BATCH_USERS:
                try:
                    following = self._queue.get_nowait()
                except Empty:
                    break
                if following is None:
                    self._queue.put(None)  # read again after this batch
                    break
                jobs.append(following)
                users += len(following.histories)
            yield jobs

    def _infer(self, jobs: Sequence[_Job]) -> None:
        try:
            histories = _concatenate([job.histories for job in jobs])
            vectors = jobs[0].model.vectors(histories, jobs[0].horizon)
            self._progress(len(histories))
        except Exception as error:  # noqa: BLE001  the error belongs to the request
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
                return
            for job in jobs:  # run each alone, so that only the faulty one fails
                self._infer([job])
            return
        start = 0
        for job in jobs:
            end = start + len(job.histories)
            try:
                job.future.set_result(job.finish(vectors[start:end]))
            except Exception as error:  # noqa: BLE001  as above
                job.future.set_exception(error)
            start = end


def _concatenate(groups: Sequence[Histories]) -> Histories:
    """Return the users of all groups."""
    if len(groups) == 1:
        return groups[0]
    flat = {
        name: np.concatenate([getattr(group, name) for group in groups])
        for name in ("user_ids", "items", "ratings", "normalized_ratings", "timestamps")
    }
    lengths = np.concatenate([group.lengths for group in groups])
    return Histories(offsets=np.concatenate([[0], np.cumsum(lengths)]), **flat)


_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_USER_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Prometheus metrics of one application; ``route`` is the template, never the requested path."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("tastevec_requests", "Requests.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "tastevec_request_seconds",
            "Time from the request headers to the end of the response.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.users = Histogram(
            "tastevec_batch_users", "Users per batch.", buckets=_USER_BUCKETS, registry=registry
        )
        self.reloads = Counter("tastevec_reloads", "Model loads.", ["outcome"], registry=registry)
        self.model = Gauge(
            "tastevec_model_info", "The model in use.", ["space", "data", "version"], registry=registry
        )


_LOG = structlog.get_logger("tastevec.service")
_WORKERS = 2  # threads for work that is not a single batch


def lifecycle_of(request: Request) -> Lifecycle:
    """Return the lifecycle of the application of a request."""
    lifecycle: Lifecycle = request.app.state.lifecycle
    return lifecycle


class _CancelledError(Exception):
    """The client disconnected, or the request timed out."""


class Lifecycle:
    """Everything that lives as long as the process."""

    def __init__(self, source: Callable[[], AppState], settings: ServiceSettings) -> None:
        """Create a lifecycle; `open` starts it."""
        self._source, self._settings = source, settings
        self._state: AppState | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._waiting = 0
        self.metrics = Metrics()
        self.batcher = Batcher(waiting=settings.waiting, progress=self.metrics.users.observe)
        self.failure: Exception | None = None  # the error of the first load
        self.draining = False  # whether the process is shutting down
        self.on_failure: Callable[[], object] = lambda: None

    @property
    def ready(self) -> bool:
        """Whether the service accepts requests."""
        return self._state is not None and not self.draining

    @property
    def state(self) -> AppState:
        """The current model; a request reads it once, so that a reload does not change it midway."""
        if self._state is None:
            message = "the model: not loaded yet. Expected a loaded model. Retry in a few seconds."
            raise Problem(503, "loading", message, headers={"Retry-After": "2"})
        return self._state

    def open(self) -> None:
        """Start the threads, and load the model in the background; possible again after `close`."""
        self._loading = asyncio.Lock()
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="tastevec-worker")
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="tastevec-load")
        self.batcher.open()
        self.load_soon()

    async def load(self) -> float:
        """Load the model from the source and switch to it; return the seconds. An error leaves the previous model."""
        async with self._loading:
            began = time.perf_counter()
            try:
                state = await asyncio.get_running_loop().run_in_executor(
                    self._loader, lambda: self._source().prepared()
                )
            except Exception as error:
                self.metrics.reloads.labels("failed").inc()
                previous = None if self._state is None else self._state.space
                kind, message = type(error).__name__, str(error)
                _LOG.error("model_load_failed", kind=kind, message=message, previous_space=previous)
                raise
            self._state = state
            self.metrics.reloads.labels("loaded").inc()
            self.metrics.model.clear()
            self.metrics.model.labels(state.space, state.facts["data"], state.facts["version"]).set(1)
            seconds = time.perf_counter() - began
            _LOG.info(
                "model_loaded", space=state.space, n_items=len(state.catalog), seconds=round(seconds, 2)
            )
            return seconds

    def load_soon(self) -> None:
        """Load in the background; only a failure of the first load ends the service."""

        async def attempt() -> None:
            try:
                await self.load()
            except Exception as error:  # noqa: BLE001  load logs it
                if self._state is None:
                    self.failure = error
                    self.on_failure()

        task = asyncio.get_running_loop().create_task(attempt())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def reload(self) -> tuple[AppState, float]:
        """Load the model again; return it and the seconds."""
        try:
            seconds = await self.load()
        except Exception as error:
            reason = str(error) if isinstance(error, TastevecError) else type(error).__name__
            message = f"the model: reload failed, the previous model stays in use: {' '.join(reason.split())}"
            raise Problem(409, "not_reloaded", message) from error
        return self.state, seconds

    async def run_in_worker(self, work: Callable[[Callable[[], None]], T]) -> T:
        """Return the result of ``work(check)`` from a worker thread; ``check`` raises once the request has ended.

        Raises:
            Problem: Too many requests are waiting.
        """
        if self._waiting >= self._settings.waiting:
            raise too_busy(self._waiting)
        ended = Event()

        def check() -> None:
            if ended.is_set():
                raise _CancelledError

        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._workers, work, check)
        finally:
            self._waiting -= 1
            ended.set()

    async def close(self) -> None:
        """Finish the running work and stop the threads."""
        for task in self._tasks:
            task.cancel()
        self._loader.shutdown(wait=False, cancel_futures=True)
        self._workers.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self.batcher.close)

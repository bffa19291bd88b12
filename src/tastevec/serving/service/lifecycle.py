"""The life of the service: a model is loaded, replaced while requests run, and let go when they are answered."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from tastevec.errors import TastevecError
from tastevec.serving.service.batching import Batcher
from tastevec.serving.service.errors import Problem
from tastevec.serving.service.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from tastevec.serving.service.served import Served
    from tastevec.serving.service.settings import ServiceSettings

__all__ = ["Lifecycle", "life_of"]

_LOG = structlog.get_logger("tastevec.service")
_LONG = 2  # threads for work that is no single pass through the model
T = TypeVar("T")


def life_of(request: Request) -> Lifecycle:
    """The life of the application that a request came to."""
    life: Lifecycle = request.app.state.life
    return life


class _LeftError(Exception):
    """Nobody waits for this work any more."""


class Lifecycle:
    """What lives as long as the process.

    Attributes:
        metrics: What is counted.
        batcher: Who asks the model.
        failure: Why the first model could not be loaded; None if it was, or still may be.
        draining: Whether the process has been told to stop.
    """

    def __init__(self, source: Callable[[], Served], settings: ServiceSettings) -> None:
        """Remember where models come from; nothing is loaded yet."""
        self._source, self._settings = source, settings
        self._served: Served | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._waiting = 0
        self.metrics = Metrics()
        self.batcher = Batcher(waiting=settings.waiting, tell=self.metrics.batch)
        self.failure: Exception | None = None
        self.draining = False
        self.on_failure: Callable[[], object] = lambda: None

    @property
    def ready(self) -> bool:
        """Whether requests are welcome."""
        return self._served is not None and not self.draining

    @property
    def served(self) -> Served:
        """What answers now; a request takes it once, and is answered by it to the end.

        Raises:
            Problem: It is not loaded yet.
        """
        if self._served is None:
            message = "the model is still being loaded; expected it to be ready: ask again in a few seconds"
            raise Problem(503, "loading", message, headers={"Retry-After": "2"})
        return self._served

    def open(self) -> None:
        """Start: the model is loaded in the background. What was closed may be opened again."""
        self._loading = asyncio.Lock()
        self._long = ThreadPoolExecutor(_LONG, thread_name_prefix="tastevec-long")
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="tastevec-load")
        self.batcher.open()
        self.load_soon()

    async def load(self) -> float:
        """Load what the source has now, and let it answer from then on; the seconds that it took.

        Raises:
            Exception: It could not be loaded, and what answered before still does.
        """
        async with self._loading:
            began = time.perf_counter()
            try:
                served = await asyncio.get_running_loop().run_in_executor(
                    self._loader, lambda: self._source().prepared()
                )
            except Exception as error:
                self.metrics.not_loaded()
                kept = None if self._served is None else self._served.space
                _LOG.error("model not loaded", kind=type(error).__name__, message=str(error), still=kept)
                raise
            self._served = served
            self.metrics.loaded(served)
            seconds = time.perf_counter() - began
            _LOG.info(
                "model loaded", space=served.space, films=len(served.catalogue), seconds=round(seconds, 2)
            )
            return seconds

    def load_soon(self) -> None:
        """Load in the background; a failure of the first time is kept, a later one leaves all as it is."""

        async def attempt() -> None:
            try:
                await self.load()
            except Exception as error:  # noqa: BLE001  it is logged, and kept if it matters
                if self._served is None:
                    self.failure = error
                    self.on_failure()

        task = asyncio.get_running_loop().create_task(attempt())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def replaced(self) -> tuple[Served, float]:
        """The model that was loaded instead of the one before, and the seconds that it took.

        Raises:
            Problem: It could not be loaded, and the one before still answers.
        """
        try:
            seconds = await self.load()
        except Exception as error:
            why = str(error) if isinstance(error, TastevecError) else type(error).__name__
            message = (
                f"the model could not be loaded, and the one before still answers: {' '.join(why.split())}"
            )
            raise Problem(409, "not_reloaded", message) from error
        return self.served, seconds

    async def long(self, work: Callable[[Callable[[], None]], T]) -> T:
        """What ``work`` makes in a thread of its own; it calls what it is given between its pieces.

        Raises:
            Problem: Too much work is waiting.
        """
        if self._waiting >= self._settings.waiting:
            message = f"{self._waiting} requests are waiting; expected fewer: ask again in a second"
            raise Problem(503, "too_busy", message, headers={"Retry-After": "1"})
        left = Event()

        def check() -> None:
            if left.is_set():
                raise _LeftError

        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._long, work, check)
        finally:
            self._waiting -= 1
            left.set()

    async def close(self) -> None:
        """Let go of the threads, once their work is done."""
        for task in self._tasks:
            task.cancel()
        self._loader.shutdown(wait=False, cancel_futures=True)
        self._long.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self.batcher.close)

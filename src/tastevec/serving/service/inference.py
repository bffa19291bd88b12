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
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from tastevec.data.histories import Histories
from tastevec.errors import TastevecError
from tastevec.serving.service.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from starlette.requests import Request

    from tastevec.schema import Horizon
    from tastevec.serving.recommender import Recommender
    from tastevec.serving.service.responses import Served
    from tastevec.serving.service.settings import ServiceSettings

__all__ = ["Batcher", "Lifecycle", "Metrics", "life_of"]

_USERS = 256  # that go through the model together
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Question:
    model: Recommender
    histories: Histories
    horizon: Horizon
    finish: Callable[[NDArray[np.float32]], Any]
    future: Future[Any] = field(default_factory=Future)

    @property
    def kind(self) -> tuple[int, str]:
        """Questions of one kind may share a pass through the model."""
        return id(self.model), self.horizon


class Batcher:
    """One thread that asks the model.

    While it works on some questions others gather, and go together next: whoever is alone never waits for company, and
    the busier it is the larger the batches are. Nobody's answer depends on who else is asked, and what is wrong with
    one question is not told to another.
    """

    def __init__(self, *, waiting: int, progress: Callable[[int], object] = lambda _users: None) -> None:
        """Nothing is answered before `open`.

        Args:
            waiting: Questions that may wait at once; more are refused.
            progress: Called with the people of each pass through the model.
        """
        self._questions: SimpleQueue[_Question | None] = SimpleQueue()
        self._waiting, self._progress = waiting, progress
        self._thread: Thread | None = None

    def open(self) -> None:
        """Start the thread."""
        self._thread = Thread(target=self._work, name="tastevec-model", daemon=True)
        self._thread.start()

    async def ask(
        self,
        model: Recommender,
        histories: Histories,
        horizon: Horizon,
        finish: Callable[[NDArray[np.float32]], T],
    ) -> T:
        """What ``finish`` makes, in the thread, of the people's vectors (B, D).

        Raises:
            Problem: Too many questions are waiting.
        """
        if self._questions.qsize() >= self._waiting:
            raise Problem(
                503,
                "too_busy",
                f"{self._waiting} requests are waiting for the model; expected fewer: ask again in a second",
                headers={"Retry-After": "1"},
            )
        question = _Question(model, histories, horizon, finish)
        self._questions.put(question)
        answer: T = await asyncio.wrap_future(question.future)
        return answer

    def close(self) -> None:
        """Answer what is waiting, then end the thread."""
        self._questions.put(None)
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        for questions in self._gathered():
            # Whoever has stopped waiting is not asked for.
            wanted = [question for question in questions if question.future.set_running_or_notify_cancel()]
            wanted.sort(key=lambda question: question.kind)
            for _, alike in groupby(wanted, key=lambda question: question.kind):
                self._answer(list(alike))

    def _gathered(self) -> Iterator[list[_Question]]:
        """What has gathered, each time; until the end."""
        while (question := self._questions.get()) is not None:
            gathered, users = [question], len(question.histories)
            while users < _USERS:
                try:
                    following = self._questions.get_nowait()
                except Empty:
                    break
                if following is None:
                    self._questions.put(None)  # to be found again once these are answered
                    break
                gathered.append(following)
                users += len(following.histories)
            yield gathered

    def _answer(self, questions: Sequence[_Question]) -> None:
        try:
            histories = _together([question.histories for question in questions])
            vectors = questions[0].model.vectors(histories, questions[0].horizon)
            self._progress(len(histories))
        except Exception as error:  # noqa: BLE001  it is whose question it is, who is told
            if len(questions) == 1:
                questions[0].future.set_exception(error)
                return
            for question in questions:  # one of them is at fault, and the others are not
                self._answer([question])
            return
        start = 0
        for question in questions:
            end = start + len(question.histories)
            try:
                question.future.set_result(question.finish(vectors[start:end]))
            except Exception as error:  # noqa: BLE001  as above
                question.future.set_exception(error)
            start = end


def _together(groups: Sequence[Histories]) -> Histories:
    """The people of all groups."""
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
    """Counters of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "tastevec_requests", "Requests answered.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "tastevec_request_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._users = Histogram(
            "tastevec_batch_people",
            "People of one pass through the model.",
            buckets=_USER_BUCKETS,
            registry=self._registry,
        )
        self._reloads = Counter(
            "tastevec_reloads", "Attempts to load a model.", ["outcome"], registry=self._registry
        )
        self._model = Gauge(
            "tastevec_model_info",
            "The model that answers.",
            ["space", "data", "version"],
            registry=self._registry,
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one answer; ``route`` is the template, never the path as it was asked."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, users: int) -> None:
        """Count one pass through the model."""
        self._users.observe(users)

    def loaded(self, served: Served) -> None:
        """Tell which model answers now."""
        self._reloads.labels("loaded").inc()
        self._model.clear()
        self._model.labels(served.space, served.facts["data"], served.facts["version"]).set(1)

    def not_loaded(self) -> None:
        """Count a model that could not be loaded."""
        self._reloads.labels("failed").inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)


_LOG = structlog.get_logger("tastevec.service")
_LONG = 2  # threads for work that is no single pass through the model


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
        self.batcher = Batcher(waiting=settings.waiting, progress=self.metrics.batch)
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
                "model loaded", space=served.space, items=len(served.catalog), seconds=round(seconds, 2)
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

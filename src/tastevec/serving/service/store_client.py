"""Asynchronous access of the service to the user store."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from tastevec.errors import FormatError, SettingsError, TastevecError
from tastevec.serving.service.error_messages import Problem, too_busy
from tastevec.serving.user_store import UserStore
from tastevec.serving.user_tables import SEARCH_CONNECTIONS, StoreError, connection_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tastevec.serving.service.responses import NearestUsers

T = TypeVar("T")
_LOG = structlog.get_logger("tastevec.service")
READY: Final = "ready"
_WRITERS, _PROBES = 2, 2  # threads; with SEARCH_CONNECTIONS, as many as the store has connections
_WAITING = 32  # requests of a kind; more would wait for an unavailable database until the request timeout
_PIECE_S, _PIECE_IDS = 0.1, 1_000  # how much of a search runs before the next request's turn
_OPEN_S, _PROBE_S, _VALID_S = 5.0, 1.0, 5.0
_LOG_EVERY_S = 5.0


class _Queue:
    """A few threads, and the requests that use or await them."""

    def __init__(self, name: str, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"tastevec-{name}")
        self._requests = 0

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a request while it runs; refuse it if too many do."""
        if self._requests >= _WAITING:
            raise too_busy(f"{self._requests} requests for the database are")
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run ``work`` in a thread, first come first served; not at all if the future is canceled before."""
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Finish what is running, and drop the rest."""
        self._threads.shutdown(wait=True, cancel_futures=True)


class StoreClient:
    """Asynchronous access to the user store, which opens it again after a failure.

    Searches, writes and probes have threads, connections and queues of their own, so that slow searches delay no write.

    Raises:
        Problem: In `write` and `search`: 503, too_busy (the queue is full), store_unavailable, or unavailable (the
            operator must act: the database is read-only, or its tables are not those of this version).
    """

    def __init__(self, url: str) -> None:
        """Create a client without a connection: the database may still be starting.

        Raises:
            SettingsError: The URL is invalid; the message does not repeat it.
            MissingExtraError: psycopg or pgvector is not installed.
        """
        connection_settings(url)
        # These warnings, one per attempt, contain host, user and the text of errors.
        logging.getLogger("psycopg").setLevel(logging.ERROR)
        self._url = url
        self._store: UserStore | None = None
        self._opening = Lock()
        self._lost: tuple[float, str] = 0.0, ""  # when the database could not be reached, and the error
        self._searches = _Queue("search", SEARCH_CONNECTIONS)
        self._writes = _Queue("write", _WRITERS)
        self._probes = _Queue("probe", _PROBES)
        self._status, self._logged, self._next_log = "starting", False, 0.0
        self._checking, self._checked_until = asyncio.Lock(), 0.0
        self._counting = asyncio.Lock()
        self._count: tuple[str, float, int | None] | None = None  # space, valid until, users

    @property
    def status(self) -> str:
        """``ready``, ``unavailable (KIND)`` with the kind of the last error, or ``starting`` before the first call."""
        return self._status

    async def open(self) -> None:
        """Connect, and create or check the tables; an unreachable database is logged, and opened by a later call.

        Raises:
            SettingsError: The database cannot be used: it lacks pgvector, or a right.
            FormatError: Its schema ``tastevec`` is another one, or of a later version.
        """
        with suppress(StoreError):
            await self._probe(lambda _store: None, _OPEN_S)

    async def check(self) -> str:
        """Return the status, at most five seconds old; the response takes a second at most, also from a dead host."""
        async with self._checking:  # one request for all probes that come meanwhile
            if time.monotonic() >= self._checked_until:
                with suppress(TastevecError):
                    await self._probe(UserStore.check, _PROBE_S)
                self._checked_until = time.monotonic() + _VALID_S
        return self._status

    async def count(self, space: str) -> int | None:
        """Return the number of users of a space, at most five seconds old; None while the database is unavailable."""
        async with self._counting:
            if self._count is None or self._count[0] != space or time.monotonic() > self._count[1]:
                users = None
                with suppress(TastevecError):
                    users = await self._probe(lambda store: store.count(space), _PROBE_S)
                self._count = space, time.monotonic() + _VALID_S, users
            return self._count[2]

    async def write(self, work: Callable[[UserStore], T]) -> T:
        """Return the result of ``work``, which stores or deletes users, from a thread for writes."""
        with self._writes.admit():
            return await self._call(self._writes, work)

    async def search(
        self, space: str, vectors: NDArray[np.float32], k: int, exclude: Sequence[str] = ()
    ) -> tuple[NearestUsers, dict[str, NDArray[np.float32]]]:
        """Return the stored users nearest to each vector (B, D), as `UserStore.nearest`, and their vectors (D,) by ID.

        Requests take turns after a tenth of a second. A canceled one ends with its present statement.
        """
        nearest: list[list[tuple[str, float]]] = []
        unread: list[str] = []
        known: dict[str, NDArray[np.float32]] = {}

        def advance(store: UserStore) -> bool:
            """Search for a tenth of a second, then read vectors; return whether all are read."""
            if len(nearest) < len(vectors):
                rest = vectors[len(nearest) :]
                nearest.extend(store.nearest(space, rest, k, exclude=exclude, time_limit_s=_PIECE_S))
                if len(nearest) < len(vectors):
                    return False
                unread.extend(sorted({user_id for row in nearest for user_id, _ in row}))
            known.update(store.vectors(space, unread[:_PIECE_IDS]))
            del unread[:_PIECE_IDS]
            return not unread

        with self._searches.admit():
            while not await self._call(self._searches, advance):
                pass
            return nearest, known

    def close(self) -> None:
        """Finish the running calls, then close threads and connections."""
        for queue in (self._searches, self._writes, self._probes):
            queue.close()
        if self._store is not None:
            self._store.close()

    async def _call(self, queue: _Queue, work: Callable[[UserStore], T]) -> T:
        """As `_attempt`, with errors for the client."""
        try:
            return await self._attempt(queue, work)
        except StoreError as error:
            raise Problem(503, "store_unavailable", str(error), headers={"Retry-After": "2"}) from None
        except (FormatError, SettingsError) as error:  # a mistake of the operator, not of the client
            raise Problem(503, "unavailable", str(error), headers={"Retry-After": "10"}) from None

    async def _probe(self, work: Callable[[UserStore], T], seconds: float) -> T:
        """As `_attempt`, within a time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._attempt(self._probes, work)
        except TimeoutError:
            error = StoreError("TimeoutError")
            self._report(error)
            raise error from None

    async def _attempt(self, queue: _Queue, work: Callable[[UserStore], T]) -> T:
        arrived = time.monotonic()
        try:
            result = await queue.submit(lambda: self._work(work, arrived))
        except (StoreError, FormatError, SettingsError) as error:
            self._report(error)
            raise
        self._report(None)
        return result

    def _work(self, work: Callable[[UserStore], T], arrived: float) -> T:
        with self._opening:
            # One failure counts for all requests that waited meanwhile: else each would wait as long, one after another.
            if self._lost[0] > arrived:
                raise StoreError(self._lost[1])
            if self._store is None:
                with self._noting_loss():
                    self._store = UserStore(self._url)
            store = self._store
        with self._noting_loss():
            try:
                return work(store)
            except FormatError:  # the tables were removed: check or create them again at the next call
                with self._opening:
                    if self._store is store:
                        self._store = None
                        store.close()
                raise

    @contextmanager
    def _noting_loss(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            if not error.reachable:
                self._lost = time.monotonic(), error.kind
            raise

    def _report(self, error: TastevecError | None) -> None:
        """Set the status, and log it: a fault at most every five seconds, by its kind alone, and the end of a logged one."""
        if error is None:
            self._status = READY
            if self._logged:
                self._logged = False
                _LOG.info("store_available")
            return
        kind = error.kind if isinstance(error, StoreError) else type(error).__name__
        if self._store is None or not getattr(error, "reachable", True):
            self._status = f"unavailable ({kind})"
        if time.monotonic() >= self._next_log:
            self._logged, self._next_log = True, time.monotonic() + _LOG_EVERY_S
            _LOG.warning("store_unavailable", kind=kind)

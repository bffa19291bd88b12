"""Asynchronous access of the service to the user store."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from tastevec.errors import SettingsError, TastevecError
from tastevec.serving.service.errors import Problem
from tastevec.serving.service.inference import too_busy
from tastevec.serving.user_store import CONNECTIONS, StoreError, UserStore, connection_settings

T = TypeVar("T")
_COUNT_TIMEOUT_S, _COUNT_VALID_S = 1.0, 5.0
_WAITING = 32  # more would wait for an unavailable database until the request timeout


class StoreClient:
    """Asynchronous access to the user store, which it opens at the first call, and again after a failure."""

    def __init__(self, url: str) -> None:
        """Create a client without a connection: the database may still be starting.

        Raises:
            SettingsError: The URL is invalid; the message does not repeat it.
            MissingExtraError: psycopg or pgvector is not installed.
        """
        connection_settings(url)
        self._url = url
        self._store: UserStore | None = None
        self._opening = Lock()
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="tastevec-store")
        self._waiting = 0
        self._count: tuple[str, float, int | None] | None = None  # space, valid until, users

    async def count(self, space: str) -> int | None:
        """Return the number of users of a space, at most five seconds old; None while the database is unavailable."""
        if self._count is None or self._count[0] != space or time.monotonic() > self._count[1]:
            try:
                async with asyncio.timeout(_COUNT_TIMEOUT_S):
                    users = await self.run(lambda store: store.count(space))
            except (Problem, TastevecError, TimeoutError):
                users = None
            self._count = space, time.monotonic() + _COUNT_VALID_S, users
        return self._count[2]

    async def run(self, work: Callable[[UserStore], T]) -> T:
        """Return the result of ``work`` from a thread, unless too many requests are waiting for the database."""
        if self._waiting >= _WAITING:
            raise too_busy(self._waiting)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(self._open()))
        except StoreError as error:
            raise Problem(503, "store_unavailable", str(error), headers={"Retry-After": "2"}) from None
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Finish the running calls, then close threads and connections."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._store is not None:
            self._store.close()

    def _open(self) -> UserStore:
        with self._opening:
            if self._store is None:
                try:
                    self._store = UserStore(self._url)
                except SettingsError as error:  # a mistake of the operator, not of the client
                    raise Problem(503, "unavailable", str(error)) from None
            return self._store

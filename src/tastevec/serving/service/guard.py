"""Who may ask, how often, with how much and for how long."""

from __future__ import annotations

import asyncio
import hmac
import time
from typing import TYPE_CHECKING

import limits
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from tastevec.serving.service.errors import Problem, problem_answer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tastevec.serving.service.settings import ServiceSettings

__all__ = ["Guard"]

_PATIENT = {"/v1/reload"}  # takes as long as the model takes to load
_BODILESS = {"GET", "HEAD", "OPTIONS"}


class Guard:
    """The layer that refuses before anything is read, and reads no more than is allowed."""

    def __init__(self, app: ASGIApp, *, settings: ServiceSettings) -> None:
        self._app, self._settings = app, settings
        self._token = settings.token.get_secret_value().encode() if settings.token else None
        self._rate = limits.parse(settings.rate) if settings.rate else None
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if it may pass, with its body read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            self._admit(scope)
            receive = await self._with_body(scope, receive)
            seconds = None if scope["path"] in _PATIENT else self._settings.timeout_s
            async with asyncio.timeout(seconds):
                await self._app(scope, receive, answer)
        except Problem as problem:
            await problem_answer(problem)(scope, receive, answer)
        except TimeoutError:
            if begun:
                raise
            message = (
                f"the answer was not ready after {self._settings.timeout_s:g} seconds; expected it sooner: ask for less at "
                "once, or again later"
            )
            await problem_answer(Problem(504, "too_slow", message))(scope, receive, answer)
        except _GoneError:
            pass  # nobody is left to be answered

    def _admit(self, scope: Scope) -> None:
        """Refuse who has no token where one is asked for, and who has asked too often."""
        path = scope["path"]
        versioned = path.startswith("/v1/")
        if self._token and (versioned or path == "/metrics"):
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            scheme, _, token = given.partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self._token):
                found = "no bearer token" if scheme.lower() != b"bearer" else "another bearer token"
                message = (
                    f"the request has {found}; expected Authorization: Bearer and the token of this service"
                )
                raise Problem(401, "not_allowed", message, headers={"WWW-Authenticate": "Bearer"})
        if self._rate and versioned:
            address = (scope.get("client") or ("unknown", 0))[0]
            if not self._limiter.hit(self._rate, address):
                again = self._limiter.get_window_stats(self._rate, address).reset_time - time.time()
                message = f"this address asks more often than {self._settings.rate}; expected a pause"
                raise Problem(429, "too_often", message, headers={"Retry-After": str(max(1, round(again)))})

    async def _with_body(self, scope: Scope, receive: Receive) -> Receive:
        """A channel that gives the whole body at once.

        Raises:
            Problem: It is too large, or does not come.
        """
        if scope["method"] in _BODILESS:
            return receive
        most, told = self._settings.body_bytes, 0
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit():
                told = int(value[:20])
        if told > most:
            raise _too_large(f"{told} bytes", most)
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                body = await _body(receive, most)
        except TimeoutError:
            seconds = self._settings.body_timeout_s
            message = f"the body had not come whole after {seconds:g} seconds; expected it sooner"
            raise Problem(408, "body_too_slow", message, headers={"Connection": "close"}) from None
        given = False

        async def whole() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        return whole


class _GoneError(Exception):
    """Whoever asked has hung up."""


async def _body(receive: Receive, most: int) -> bytes:
    parts, length, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        more = message.get("more_body", False)
        if length > most:
            raise _too_large(f"more than {most} bytes", most)
    return b"".join(parts)


def _too_large(found: str, most: int) -> Problem:
    # The rest of the body is still to come, and is not waited for.
    message = f"the body holds {found}; expected {most} or fewer: ask for fewer people at once"
    return Problem(413, "too_large", message, headers={"Connection": "close"})

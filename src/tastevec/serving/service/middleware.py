"""Middleware: authentication, rate limit, body limit, timeouts, logs and counters."""

from __future__ import annotations

import asyncio
import hmac
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import limits
import structlog
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from tastevec.serving.service.errors import Problem, problem_answer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tastevec.serving.service.inference import Metrics
    from tastevec.serving.service.settings import ServiceSettings

__all__ = ["Guard", "Watch"]

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


_LOG = structlog.get_logger("tastevec.service")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]
_GONE = 499  # whoever asked hung up before the answer began
_UNKEPT = (b"cache-control", b"no-store")


class Watch:
    """The outermost layer."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look at what comes back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                told = message.setdefault("headers", [])
                told += _HEADERS
                if not any(name == b"cache-control" for name, _ in told):
                    told.append(_UNKEPT)
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception as error:
            _LOG.error("fault", route=route_of(scope), kind=type(error).__name__, frames=_frames(error))
            if status:  # the answer is under way, and can only be cut off
                raise
            message = "the service failed at this request, which is a fault of its own; expected an answer: report it"
            await problem_answer(Problem(500, "fault", message))(scope, receive, answer)
        finally:
            self._progress(scope, status or _GONE, time.perf_counter() - began)

    def _progress(self, scope: Scope, status: int, seconds: float) -> None:
        route = route_of(scope)
        self._metrics.request(route, status, seconds)
        _LOG.info("request", method=_method(scope), route=route, status=status, ms=round(1000 * seconds, 2))


def route_of(scope: Scope) -> str:
    """The template of the route: a path as it was asked may tell something of who asked."""
    path = getattr(scope.get("route"), "path", None)
    return str(path) if path else "other"


def _method(scope: Scope) -> str:
    return (
        scope["method"] if scope["method"] in {"DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"} else "other"
    )


def _frames(error: BaseException) -> list[Any]:
    """Where it happened, without the message, which may hold what somebody told."""
    return [
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-8:]
    ]

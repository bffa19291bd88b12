"""Middleware: authentication, rate limit, body limit, timeouts, logs and metrics."""

from __future__ import annotations

import asyncio
import hmac
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import limits
import structlog
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from tastevec.serving.service.errors import Problem, error_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tastevec.serving.service.inference import Metrics
    from tastevec.serving.service.settings import ServiceSettings

_WITHOUT_TIMEOUT = {"/v1/reload"}  # takes as long as loading a model
_WITHOUT_BODY = {"GET", "HEAD", "OPTIONS"}


class SecurityMiddleware:
    """Check the token and the rate before the body is read; limit the body size and the time."""

    def __init__(self, app: ASGIApp, *, settings: ServiceSettings) -> None:
        self._app, self._settings = app, settings
        self._token = settings.token.get_secret_value().encode() if settings.token else None
        self._rate = limits.parse(settings.rate) if settings.rate else None
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a permitted request on with its complete body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def tracked_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            self._authorize(scope)
            receive = await self._read_body(scope, receive)
            seconds = None if scope["path"] in _WITHOUT_TIMEOUT else self._settings.timeout_s
            async with asyncio.timeout(seconds):
                await self._app(scope, receive, tracked_send)
        except Problem as problem:
            await error_response(problem)(scope, receive, tracked_send)
        except TimeoutError:
            if started:
                raise
            message = f"the request: timed out after {self._settings.timeout_s:g} seconds. Expected a smaller request. Retry later."
            await error_response(Problem(504, "timeout", message))(scope, receive, tracked_send)
        except ClientDisconnect:
            pass  # no client is left to respond to

    def _authorize(self, scope: Scope) -> None:
        """Check the token, then count the request against the rate limit of its address."""
        versioned = scope["path"].startswith("/v1/")
        if self._token and (versioned or scope["path"] == "/metrics"):
            scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
            bearer = scheme.lower() == "bearer"
            if not bearer or not hmac.compare_digest(token.strip().encode("latin-1"), self._token):
                found = "invalid bearer token" if bearer else "no bearer token"
                message = f"Authorization: {found}. Expected: Bearer TOKEN, with the token of this service."
                raise Problem(401, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"})
        if self._rate and versioned:
            address = (scope.get("client") or ("unknown", 0))[0]
            if not self._limiter.hit(self._rate, address):
                reset = self._limiter.get_window_stats(self._rate, address).reset_time
                seconds = max(1, round(reset - time.time()))
                message = f"the rate limit: exceeded. Expected at most {self._settings.rate} from one address. Retry in {seconds} s."
                raise Problem(429, "rate_limited", message, headers={"Retry-After": str(seconds)})

    async def _read_body(self, scope: Scope, receive: Receive) -> Receive:
        """Return a channel that delivers the complete body at once."""
        if scope["method"] in _WITHOUT_BODY:
            return receive
        limit, body = self._settings.body_bytes, bytearray()
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and (length := int(announced[:20])) > limit:
            raise _too_large(f"{length} bytes", limit)
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                async for part in Request(scope, receive).stream():
                    body += part
                    if len(body) > limit:
                        raise _too_large(f"more than {limit} bytes", limit)
        except TimeoutError:
            seconds = self._settings.body_timeout_s
            message = f"the body: incomplete after {seconds:g} seconds. Expected the complete body sooner."
            raise Problem(408, "body_timeout", message, headers={"Connection": "close"}) from None
        complete: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def receive_body() -> Message:
            return complete.pop() if complete else await receive()

        return receive_body


def _too_large(found: str, limit: int) -> Problem:
    # The rest of the body is not read, so the connection cannot be used again.
    message = f"the body: {found}. Expected {limit} or fewer. Send fewer users per request."
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
_CLIENT_CLOSED = 499  # nginx's status for a client that disconnects before the response starts
_NO_STORE = (b"cache-control", b"no-store")
_METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"}


class ObservabilityMiddleware:
    """The outermost layer: security headers, one log line and one count per request, responses to internal errors."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                headers += _HEADERS
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append(_NO_STORE)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            _LOG.error(
                "request_failed", route=_route(scope), kind=type(error).__name__, frames=_frames(error)
            )
            if status:  # the response has started and can only be cut off
                raise
            message = "the service: internal error. Expected a response. Report it with the log line request_failed."
            await error_response(Problem(500, "internal_error", message))(scope, receive, send_with_headers)
        finally:
            route, seconds = _route(scope), time.perf_counter() - began
            method = scope["method"] if scope["method"] in _METHODS else "other"
            status = status or _CLIENT_CLOSED
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            _LOG.info("request", method=method, route=route, status=status, ms=round(1000 * seconds, 2))


def _route(scope: Scope) -> str:
    """Return the route template: a requested path may contain a user ID."""
    path = getattr(scope.get("route"), "path", None)
    return str(path) if path else "other"


def _frames(error: BaseException) -> list[str]:
    """Return the last stack frames, without the message, which may contain request data."""
    return [
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-8:]
    ]

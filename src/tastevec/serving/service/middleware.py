"""Middleware: authentication, rate limit, body limit, timeouts, request IDs, logs and metrics."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
import uuid
from typing import TYPE_CHECKING

import limits
import structlog
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from tastevec.schema import CONTROL_CHARACTERS
from tastevec.serving.service.error_messages import Problem, frames, too_busy
from tastevec.serving.service.errors import error_response
from tastevec.serving.service.pool import WorkerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tastevec.serving.service.metrics import Metrics
    from tastevec.serving.service.settings import ServiceSettings
    from tastevec.serving.service.tracing import Tracing

_WITHOUT_TIMEOUT = {"/v1/reload"}  # takes as long as loading a model
_WITHOUT_BODY = {"GET", "HEAD", "OPTIONS"}
_CHANGES = {"PUT", "DELETE"}  # methods for which the read-only token does not suffice
_INVALID_PATH = re.compile(f"{CONTROL_CHARACTERS}|\ufffd")  # U+FFFD: bytes that are not UTF-8


class SecurityMiddleware:
    """Check path, host, token and rate before the body is read; limit the bodies and the time."""

    def __init__(
        self, app: ASGIApp, *, settings: ServiceSettings, hosts: frozenset[str] | None = None
    ) -> None:
        """Wrap an application.

        Args:
            app: The application.
            settings: Tokens and limits.
            hosts: Names that the Host header may have, without port; None is all.
        """
        self._app, self._settings, self._hosts = app, settings, hosts
        given = (settings.token, settings.read_token)
        self._token, self._read_token = (one and one.get_secret_value().encode() for one in given)
        self._rate = limits.parse(settings.rate) if settings.rate else None
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._bytes = 0  # of all bodies in memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a permitted request on with its complete body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        seconds = None if scope["path"] in _WITHOUT_TIMEOUT else self._settings.timeout_s
        try:
            self._check(scope)
            receive = await self._read_body(scope, receive, body)
            async with asyncio.timeout(seconds) as deadline:

                async def started_send(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        deadline.reschedule(None)  # from now on, the connection limits the time
                    await send(message)

                await self._app(scope, receive, started_send)
        except Problem as problem:
            await error_response(problem)(scope, receive, send)
        except TimeoutError:
            message = f"the request: timed out after {self._settings.timeout_s:g} seconds. Expected a smaller request. Retry later."
            late = Problem(504, "timeout", message, headers={"Retry-After": "2"})
            await error_response(late)(scope, receive, send)
        except ClientDisconnect:
            pass  # no client is left to respond to
        finally:
            self._bytes -= len(body)

    def _check(self, scope: Scope) -> None:
        """Check path, host and token; then count the request against the rate limit of its address."""
        path: str = scope["path"]
        if _INVALID_PATH.search(path):
            message = (
                "the path: a control character, or invalid UTF-8. Expected a path that /openapi.json lists."
            )
            raise Problem(400, "invalid_request", message)
        headers = Headers(scope=scope)
        if self._hosts is not None and _host_name(headers.get("host", "")) not in self._hosts:
            message = (
                "Host: another name than this service has. Expected one of TASTEVEC_HOSTS, or localhost."
            )
            raise Problem(421, "invalid_request", message)
        versioned = path.startswith("/v1/")
        if self._token and (versioned or path.startswith("/metrics")):
            self._authorize(headers.get("authorization", ""), scope)
        if self._rate and versioned:
            address = (scope.get("client") or ("unknown", 0))[0]
            if not self._limiter.hit(self._rate, address):
                reset = self._limiter.get_window_stats(self._rate, address).reset_time
                seconds = max(1, round(reset - time.time()))
                message = f"the rate limit: exceeded. Expected at most {self._settings.rate} from one address. Retry in {seconds} s."
                raise Problem(429, "rate_limited", message, headers={"Retry-After": str(seconds)})

    def _authorize(self, given: str, scope: Scope) -> None:
        scheme, _, text = given.partition(" ")
        bearer, token = scheme.lower() == "bearer", text.strip().encode("latin-1")
        if bearer and hmac.compare_digest(token, self._token or b""):
            return
        if bearer and self._read_token and hmac.compare_digest(token, self._read_token):
            if scope["method"] not in _CHANGES and scope["path"] != "/v1/reload":
                return
            message = (
                "Authorization: the read-only token. Expected TASTEVEC_TOKEN, which may change something."
            )
            raise Problem(403, "read_only", message)
        found = "invalid bearer token" if bearer else "no bearer token"
        message = f"Authorization: {found}. Expected: Bearer TOKEN, with the token of this service."
        raise Problem(401, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"})

    async def _read_body(self, scope: Scope, receive: Receive, body: bytearray) -> Receive:
        """Read the body; return a channel that delivers it at once."""
        if scope["method"] in _WITHOUT_BODY:
            return receive
        limit = self._settings.body_bytes
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and (length := int(announced[:20])) > limit:
            raise _too_large(f"{length} bytes", limit)
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                busy = await self._collect(Request(scope, receive).stream(), body)
        except TimeoutError:
            seconds = self._settings.body_timeout_s
            message = f"the body: incomplete after {seconds:g} seconds. Expected the complete body sooner."
            raise Problem(408, "body_timeout", message, headers={"Connection": "close"}) from None
        if busy is not None:
            raise busy
        complete: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def receive_body() -> Message:
            return complete.pop() if complete else await receive()

        return receive_body

    async def _collect(self, parts: AsyncIterator[bytes], body: bytearray) -> Problem | None:
        """Append the parts to the body; return the problem if there is no room for them.

        Without room they are read nevertheless: a client that still sends would not see the response.

        Raises:
            Problem: There are too many bytes.
        """
        limit, size, busy = self._settings.body_bytes, 0, None
        async for part in parts:
            size += len(part)
            if size > limit:
                raise _too_large(f"more than {limit} bytes", limit)
            if self._bytes + len(part) > self._settings.in_flight_bytes:
                busy = too_busy(f"{self._bytes:,} bytes of requests are")
            if busy is None:
                body += part
                self._bytes += len(part)
        return busy


def _host_name(host: str) -> str:
    """Return the name in a Host header, without the port.

    Examples:
        >>> [_host_name(host) for host in ("localhost:8000", "[::1]:8000", "Taste.example")]
        ['localhost', '::1', 'taste.example']
    """
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    return name.lower()


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
_SLICE = 1 << 16  # bytes
_NO_STORE = (b"cache-control", b"no-store")
_METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"}


_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class ObservabilityMiddleware:
    """The outermost layer: security headers, request ID, a log line and a count per request, internal errors."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, tracing: Tracing) -> None:
        self._app, self._metrics, self._tracing = app, metrics, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._tracing.span(scope) as finish:
            finish(*await self._respond(scope, receive, send))

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> tuple[str, int]:
        """Pass the request on; return its route and its status."""
        began, status = time.perf_counter(), 0
        request_id = _request_id(scope)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                headers += _HEADERS
                headers.append((b"x-request-id", request_id.encode()))
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append(_NO_STORE)
            body, start = message.get("body", b""), 0
            while (
                len(body) - start > _SLICE
            ):  # what a client does not take is not copied into its connection's buffer
                part = body[start : start + _SLICE]
                await send({"type": "http.response.body", "body": part, "more_body": True})
                start += _SLICE
            await send({**message, "body": body[start:]} if start else message)

        try:
            await self._app(scope, receive, send_with_headers)
        except asyncio.CancelledError:
            pass  # the connection is closed: no client is left to respond to
        except Exception as error:
            kind, where = type(error).__name__, frames(error)
            if isinstance(error, WorkerError):
                kind, where = error.kind, error.frames
            _LOG.error("request_failed", route=_route(scope), kind=kind, frames=where, request_id=request_id)
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
            ms = round(1000 * seconds, 2)
            _LOG.info("request", method=method, route=route, status=status, ms=ms, request_id=request_id)
        return route, status


def _request_id(scope: Scope) -> str:
    """Return the request ID that a client or proxy gave, if it is plain and short, or a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode(
        "latin-1"
    )
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _route(scope: Scope) -> str:
    """Return the route template: a requested path may contain a user ID."""
    path = getattr(scope.get("route"), "path", None)
    return str(path) if path else "other"

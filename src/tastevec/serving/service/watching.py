"""Every answer is counted, logged in one line and given its security headers; a fault of ours is answered in the one shape."""

from __future__ import annotations

import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from tastevec.serving.service.errors import Problem, problem_answer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tastevec.serving.service.metrics import Metrics

__all__ = ["Watch"]

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
            self._tell(scope, status or _GONE, time.perf_counter() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
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

"""Error responses: handlers of the application, their OpenAPI descriptions, and JSON bodies."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tastevec.errors import TastevecError
from tastevec.serving.service.error_messages import Problem, format_value, problem_of, validation_message
from tastevec.serving.service.schemas import ErrorResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from tastevec.serving.service.pool import Pool, Result


def json_response(content: object) -> Response:
    """Return a response with this content as JSON; bytes are JSON already."""
    body = content if isinstance(content, bytes) else to_json(content)
    return Response(body, media_type="application/json")


def error_response(problem: Problem) -> Response:
    """Return the response for a problem."""
    return Response(problem.body, problem.status, problem.headers, "application/json")


def add_error_handlers(app: FastAPI) -> None:
    """Give every error of the application, the framework and the library the same JSON shape."""

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, RequestValidationError):
            located = [{**one, "loc": one["loc"][1:]} for one in error.errors()]  # without "query"
            error = Problem(422, "invalid_request", *validation_message(located))
        elif isinstance(error, TastevecError):
            error = problem_of(error)
        elif isinstance(error, HTTPException):
            error = _framework_problem(request, error)
        assert isinstance(error, Problem)
        return error_response(error)

    for kind in (RequestValidationError, HTTPException, TastevecError, Problem):
        app.add_exception_handler(kind, handle)


def _framework_problem(request: Request, error: HTTPException) -> Problem:
    path = format_value(request.url.path)
    if error.status_code == 405:  # noqa: PLR2004  the status is its own name
        allowed = (error.headers or {}).get("Allow", "another method")
        code, message = "method_not_allowed", f"{path}: method {request.method}. Expected {allowed}."
    elif error.status_code == 404:  # noqa: PLR2004  as above
        code, message = "not_found", f"{path}: unknown path. Expected a path that /openapi.json lists."
    else:
        code, message = "invalid_request", f"{path}: invalid request. Expected a request as in /openapi.json."
    return Problem(error.status_code, code, message, None, error.headers)


_DESCRIPTIONS = {
    400: "The body is not JSON.",
    401: "The bearer token is missing or invalid.",
    403: "The service has no token, which this request needs.",
    404: "Unknown item, or the service has no map, tags, users or database.",
    408: "The body did not arrive in time.",
    409: "The model could not be loaded; the previous model stays in use.",
    413: "The body is too large.",
    415: "The content type is not application/json.",
    422: "The request is invalid.",
    429: "Too many requests from this address.",
    500: "Internal error.",
    503: "The model is not loaded, the database is unavailable, or too many requests are waiting.",
    504: "The request timed out.",
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI descriptions of these error statuses and of those that every route shares."""
    return {
        status: {"model": ErrorResponse, "description": _DESCRIPTIONS[status]}
        for status in sorted({*statuses, 401, 422, 429, 500, 503, 504})
    }


class DirectRoute(APIRoute):
    """A route whose endpoint takes the request alone, so that the framework has nothing to resolve or parse."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint."""
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler


async def json_body(request: Request) -> bytes:
    """Return the body of a request, which is JSON by its content type and not empty.

    Raises:
        Problem: It is not.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        found = format_value(kind) if kind else "no content type"
        raise Problem(415, "invalid_json", f"Content-Type: {found}. Expected application/json.")
    body = await request.body()
    if not body:
        raise Problem(400, "invalid_json", "the body: empty. Expected a JSON object.")
    return body


class ResultResponse(Response):
    """The response of a worker, part by part: what a client has not taken is in memory once, and counted."""

    def __init__(self, pool: Pool, result: Result) -> None:
        super().__init__(None, result.status, result.headers, "application/json")
        self._pool, self._parts = pool, deque(result.body)
        self._left = sum(map(len, self._parts))
        self.headers["content-length"] = str(self._left)

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the response."""
        self._pool.unsent(self._left)
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            while self._parts:
                body = self._parts.popleft()
                await send({"type": "http.response.body", "body": body, "more_body": bool(self._parts)})
                self._left -= len(body)
                self._pool.unsent(-len(body))
        finally:
            self._pool.unsent(-self._left)

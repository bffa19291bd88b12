"""Errors of the service: one JSON shape, status codes and request body parsing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import from_json, to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tastevec.errors import DataError, MissingExtraError, SettingsError, TastevecError, UnknownItemError
from tastevec.serving.service.error_messages import format_value, validation_message
from tastevec.serving.service.schemas import ErrorResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from fastapi import FastAPI


class Problem(HTTPException):
    """A request that the service refuses.

    Attributes:
        code: Error code, for programs.
        message: ``WHERE: FOUND. Expected WHAT. NEXT``.
        where: Location in the request, such as ``users[0].ratings[3].rating``; None without a single location.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        where: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.code, self.message, self.where = code, message, where


def json_response(content: object) -> Response:
    """Return a response with this content as JSON; bytes are JSON already."""
    body = content if isinstance(content, bytes) else to_json(content)
    return Response(body, media_type="application/json")


def error_response(problem: Problem) -> Response:
    """Return the response for a problem."""
    body = {"error": {"code": problem.code, "message": problem.message, "where": problem.where}}
    return Response(to_json(body), problem.status_code, problem.headers, "application/json")


def add_error_handlers(app: FastAPI) -> None:
    """Give every error of the application, the framework and the library the same JSON shape."""

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, RequestValidationError):
            error = Problem(422, "invalid_request", *validation_message(error.errors()))
        elif isinstance(error, TastevecError):
            status, code = next(entry[1:] for entry in _LIBRARY_ERRORS if isinstance(error, entry[0]))
            error = Problem(status, code, " ".join(str(error).split()))
        elif isinstance(error, HTTPException) and not isinstance(error, Problem):
            error = _framework_problem(request, error)
        assert isinstance(error, Problem)
        return error_response(error)

    for kind in (RequestValidationError, HTTPException, TastevecError):
        app.add_exception_handler(kind, handle)


# The first class that fits decides.
_LIBRARY_ERRORS: tuple[tuple[type[TastevecError], int, str], ...] = (
    (UnknownItemError, 404, "unknown_item"),
    (SettingsError, 422, "invalid_setting"),
    (DataError, 422, "invalid_data"),
    (MissingExtraError, 503, "missing_library"),
    (TastevecError, 503, "unavailable"),
)


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


class JsonRoute(APIRoute):
    """A route that accepts only JSON without NaN and Infinity."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the framework, called with a strict request."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return handle


class _JsonRequest(Request):
    async def body(self) -> bytes:
        """Return the body, which is JSON by its content type and not empty."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            found = format_value(kind) if kind else "no content type"
            raise Problem(415, "invalid_json", f"Content-Type: {found}. Expected application/json.")
        body = await super().body()
        if not body:
            raise Problem(400, "invalid_json", "the body: empty. Expected a JSON object.")
        return body

    async def json(self) -> Any:  # noqa: ANN401  any JSON value
        """Return the parsed body, without NaN and Infinity."""
        try:
            return from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            message = f"the body: invalid JSON ({error}). Expected a JSON object."
            raise Problem(400, "invalid_json", message) from None

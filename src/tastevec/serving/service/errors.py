"""Errors of the service: one JSON shape, status codes, and the reading of request bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import from_json, to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tastevec.errors import DataError, MissingExtraError, SettingsError, TastevecError, UnknownItemError
from tastevec.serving.service.messages import sentence_of, shown
from tastevec.serving.service.schemas import ErrorResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from fastapi import FastAPI

__all__ = ["JsonRoute", "Problem", "catch_problems", "errors", "problem_answer", "problem_of"]

_CODES = {404: "not_found", 405: "wrong_method"}


class Problem(HTTPException):
    """A request that is refused.

    Attributes:
        code: What went wrong, in one word for programs.
        message: One sentence: what was found and what was expected.
        where: The place in the request, such as ``users[0].ratings[3].rating``; None where it is no single place.
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


def problem_answer(problem: Problem) -> Response:
    """The answer that says so."""
    body = {"error": {"code": problem.code, "message": problem.message, "where": problem.where}}
    return Response(to_json(body), problem.status_code, problem.headers, "application/json")


def problem_of(error: TastevecError) -> Problem:
    """What the library refuses, as the service says it."""
    message = " ".join(str(error).split())
    if isinstance(error, UnknownItemError):
        return Problem(404, "unknown_item", message)
    if isinstance(error, SettingsError):
        return Problem(422, "wrong_setting", message)
    if isinstance(error, DataError):
        return Problem(422, "wrong_data", message)
    return Problem(503, "missing_library" if isinstance(error, MissingExtraError) else "not_able", message)


def catch_problems(app: FastAPI) -> None:
    """Have the application answer each of its own and its libraries' refusals in the one shape."""

    async def refused(request: Request, error: Exception) -> Response:
        if isinstance(error, RequestValidationError):
            error = Problem(422, "wrong_request", *sentence_of(error.errors()))
        elif isinstance(error, TastevecError):
            error = problem_of(error)
        elif isinstance(error, HTTPException) and not isinstance(error, Problem):
            error = _of_http(request, error)
        assert isinstance(error, Problem)
        return problem_answer(error)

    kinds: list[Any] = [RequestValidationError, HTTPException, TastevecError]
    for kind in kinds:
        app.add_exception_handler(kind, refused)


def _of_http(request: Request, error: HTTPException) -> Problem:
    """What the framework refuses: a path or a method that is not there."""
    path = shown(request.url.path)
    if error.status_code == 405:  # noqa: PLR2004  the status is its own name
        allowed = (error.headers or {}).get("Allow", "another method")
        message = f"{path} was asked with {request.method}; expected {allowed}"
    elif error.status_code == 404:  # noqa: PLR2004  as above
        message = f"there is nothing at {path}; expected a path that /openapi.json names"
    else:
        message = f"the request to {path} cannot be read; expected what /openapi.json says of it"
    return Problem(
        error.status_code, _CODES.get(error.status_code, "wrong_request"), message, None, error.headers
    )


_WHEN = {
    400: "The body is not JSON.",
    401: "The bearer token is missing or wrong.",
    403: "The service has no token, and does this for nobody.",
    404: "A film, a map, tags or people that are asked for are not there.",
    408: "The body did not come in time.",
    409: "The model could not be loaded; the one before still answers.",
    413: "The body is too large.",
    415: "The body is not sent as JSON.",
    422: "Something in the request is not as it should be.",
    429: "Too many requests from this address.",
    500: "A fault of ours.",
    503: "The model is not loaded, the database is away, or too many requests are waiting.",
    504: "The answer took too long.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of these statuses, in addition to those that every answer may have."""
    return {
        status: {"model": ErrorResponse, "description": _WHEN[status]}
        for status in sorted({*statuses, 401, 422, 429, 500, 503, 504})
    }


class JsonRoute(APIRoute):
    """A route that reads its body so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler, asked with such a request."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return handle


class _JsonRequest(Request):
    async def body(self) -> bytes:
        """The body, which is not empty.

        Raises:
            Problem: It is sent as something else than JSON, or there is none.
        """
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            found = shown(kind) if kind else "no type"
            message = f"the body is sent as {found}; expected Content-Type: application/json"
            raise Problem(415, "not_json", message)
        body = await super().body()
        if not body:
            raise Problem(400, "not_json", "the body is empty; expected a JSON object")
        return body

    async def json(self) -> Any:  # noqa: ANN401  whatever is told
        """What the body says.

        Raises:
            Problem: It is no JSON; NaN and Infinity are none.
        """
        try:
            return from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            message = f"the body is no JSON ({error}); expected a JSON object"
            raise Problem(400, "not_json", message) from None

"""The one shape of every error: a code for programs, a sentence for people, and where in the request it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tastevec.errors import DataError, MissingExtraError, SettingsError, TastevecError, UnknownItemError
from tastevec.serving.service.sentences import sentence_of, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from starlette.requests import Request

__all__ = ["Problem", "catch_problems", "problem_answer", "problem_of"]

_CODES = {404: "not_found", 405: "wrong_method"}


class Problem(HTTPException):
    """A request that is refused.

    Attributes:
        code: What went wrong, in one word for programs.
        message: One sentence: what was found and what was expected.
        where: The place in the request, such as ``people[0].ratings[3].rating``; None where it is no single place.
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

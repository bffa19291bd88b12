"""Bodies are JSON, said to be JSON, and hold no number that is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.requests import Request

from tastevec.serving.service.errors import Problem
from tastevec.serving.service.sentences import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.responses import Response

__all__ = ["JsonRoute"]


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

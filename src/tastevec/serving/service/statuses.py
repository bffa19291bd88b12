"""What OpenAPI says of each status that is no answer."""

from __future__ import annotations

from typing import Any

from tastevec.serving.service.answers import ErrorAnswer

__all__ = ["errors"]

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
        status: {"model": ErrorAnswer, "description": _WHEN[status]}
        for status in sorted({*statuses, 401, 422, 429, 500, 503, 504})
    }

"""Problems of requests: one JSON shape, status codes, and messages from pydantic's validation errors."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from tastevec.errors import DataError, MissingExtraError, SettingsError, TastevecError, UnknownItemError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Problem(Exception):  # noqa: N818  a refusal, as in RFC 9457, and no fault of ours
    """A request that the service refuses.

    Attributes:
        status: HTTP status.
        code: Error code, for programs.
        message: ``WHERE: FOUND. Expected WHAT. NEXT``.
        where: Location in the request, such as ``users[0].interactions[3].value``; None without a single location.
        headers: Of the response.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        where: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.where = status, code, message, where
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        """The JSON of the response."""
        return to_json({"error": {"code": self.code, "message": self.message, "where": self.where}})


def too_busy(waiting: str) -> Problem:
    """Return the error for a full queue; ``waiting`` is what waits, such as ``512 requests``."""
    message = f"the service: {waiting} waiting. Expected fewer. Retry in a second."
    return Problem(503, "too_busy", message, headers={"Retry-After": "1"})


# The first class that fits decides.
_LIBRARY_ERRORS: tuple[tuple[type[TastevecError], int, str], ...] = (
    (UnknownItemError, 404, "unknown_item"),
    (SettingsError, 422, "invalid_setting"),
    (DataError, 422, "invalid_data"),
    (MissingExtraError, 503, "missing_library"),
    (TastevecError, 503, "unavailable"),
)


def problem_of(error: TastevecError) -> Problem:
    """Return the problem for an error of the library."""
    status, code = next(entry[1:] for entry in _LIBRARY_ERRORS if isinstance(error, entry[0]))
    headers = {"Retry-After": "2"} if status == 503 else None  # noqa: PLR2004  the status is its own name
    return Problem(status, code, " ".join(str(error).split()), headers=headers)


_MAX_LENGTH = 60  # characters of a request value that a message repeats

_TYPES = {
    "bool": "true or false",
    "dict": "an object",
    "float": "a number",
    "int": "an integer",
    "list": "a list",
    "model": "an object",
    "model_attributes": "an object",
    "string": "a string",
}
_NAMES: dict[type, str] = {dict: "an object", list: "a list", tuple: "a list", type(None): "null"}

_NEW_KEYS = {"ratings": "interactions", "rating": "value"}  # of requests
# Per kind of pydantic's errors: what was found and expected, filled in from the context of the error.
_DETAILS = {
    "extra_forbidden": "unknown key. Expected a key that /openapi.json lists",
    "finite_number": "{found}. Expected a finite number",
    "float_parsing": "{found}. Expected a number",
    "greater_than": "{found}. Expected more than {gt:g}",
    "greater_than_equal": "{found}. Expected {ge:g} or more",
    "int_from_float": "{found}. Expected an integer",
    "int_parsing": "{found}. Expected an integer",
    "int_parsing_size": "{found}. Expected an integer of fewer digits",
    "invalid_id": "{found}. Expected an item ID: an integer of at most 63 bits, or a string of 1 to 1,000 characters without control characters",
    "invalid_time": "{found}. Expected a timestamp: Unix seconds as a number, or ISO 8601 as a string",
    "invalid_condition": "{found}. Expected a number or a text of at most 1,000 characters, or a list of 1 to 100 of these",
    "invalid": "{message}",  # a check of the request schemas
    "less_than": "{found}. Expected less than {lt:g}",
    "less_than_equal": "{found}. Expected {le:g} or less",
    "literal_error": "{found}. Expected {expected}",
    "missing": "missing. Expected a value",
    "string_too_long": "{found}. Expected {max_length} characters or fewer",
    "string_too_short": "{found}. Expected {min_length} characters or more",
    "too_long": "{actual_length} entries. Expected {max_length} or fewer",
    "too_short": "{actual_length} entries. Expected {min_length} or more",
}


def format_value(value: object) -> str:
    """Return a request value for a message: on one line, at most 60 characters.

    Examples:
        >>> format_value("a" * 100), format_value([1, 2]), format_value(None), format_value(float("nan"))
        ("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…", 'a list', 'null', 'nan')
    """
    for kind, name in _NAMES.items():
        if isinstance(value, kind):
            return name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 4 * _MAX_LENGTH:
        return "a number of too many digits"
    text = repr(value).encode("utf-8", "replace").decode()
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"


def format_location(path: Sequence[object]) -> str | None:
    """Return a location in the request; None for the complete body.

    Examples:
        >>> format_location(["users", 0, "interactions", 3, "value"]), format_location([])
        ('users[0].interactions[3].value', None)
    """
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{format_value(step)[1:-1]}"
    return text.removeprefix(".") or None


def validation_message(errors: Sequence[Any]) -> tuple[str, str | None]:
    """Return the message and the location of the first of pydantic's errors."""
    renamed = (error for error in errors if _is_renamed(error))
    first = next(renamed, errors[0])
    where = format_location([step for step in first["loc"] if step != "[key]"])
    expected = _TYPES.get(first["type"].removesuffix("_type"), "a value as in /openapi.json")
    context = {"expected": expected, "found": format_value(first.get("input")), **first.get("ctx", {})}
    count = context.get("actual_length")  # None for an object, whose keys pydantic does not count
    context["actual_length"] = "too many" if count is None else count
    details = _DETAILS.get(first["type"], "{found}. Expected {expected}").format(**context)
    if _is_renamed(first):
        details = f"unknown key. Expected {_NEW_KEYS[first['loc'][-1]]}, its new name"
    more = len(errors) - 1
    rest = f" ({more} more {'error' if more == 1 else 'errors'})" if more else ""
    return f"{where or 'the body'}: {details}{rest}.", where


def _is_renamed(error: Any) -> bool:  # noqa: ANN401  pydantic's
    """Return whether a key has a new name: that is the cause of what else is missing."""
    return error["type"] == "extra_forbidden" and error["loc"][-1] in _NEW_KEYS


def frames(error: BaseException) -> list[str]:
    """Return the last stack frames, without the message, which may contain request data."""
    return [
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-8:]
    ]

"""Error messages for invalid requests, from pydantic's validation errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        >>> format_location(["users", 0, "ratings", 3, "rating"]), format_location([])
        ('users[0].ratings[3].rating', None)
    """
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{format_value(step)[1:-1]}"
    return text.removeprefix(".") or None


def validation_message(errors: Sequence[Any]) -> tuple[str, str | None]:
    """Return the message and the location of the first of pydantic's errors."""
    first = errors[0]
    where = format_location([step for step in first["loc"][1:] if step != "[key]"])
    expected = _TYPES.get(first["type"].removesuffix("_type"), "a value as in /openapi.json")
    context = {"expected": expected, "found": format_value(first.get("input")), **first.get("ctx", {})}
    count = context.get("actual_length")  # None for an object, whose keys pydantic does not count
    context["actual_length"] = "too many" if count is None else count
    details = _DETAILS.get(first["type"], "{found}. Expected {expected}").format(**context)
    more = len(errors) - 1
    rest = f" ({more} more {'error' if more == 1 else 'errors'})" if more else ""
    return f"{where or 'the body'}: {details}{rest}.", where

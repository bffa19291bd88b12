"""Error messages for invalid requests, from pydantic's validation errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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

_EXPECTED: dict[str, Callable[[dict[str, Any]], str]] = {
    "finite_number": lambda _: "a finite number",
    "float_parsing": lambda _: "a number",
    "greater_than": lambda context: f"more than {context['gt']:g}",
    "greater_than_equal": lambda context: f"{context['ge']:g} or more",
    "int_from_float": lambda _: "an integer",
    "int_parsing": lambda _: "an integer",
    "int_parsing_size": lambda _: "an integer of fewer digits",
    "less_than": lambda context: f"less than {context['lt']:g}",
    "less_than_equal": lambda context: f"{context['le']:g} or less",
    "literal_error": lambda context: context["expected"],
    "string_too_long": lambda context: f"{context['max_length']} characters or fewer",
    "string_too_short": lambda context: f"{context['min_length']} characters or more",
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
    details = _details(str(first["type"]), first.get("ctx", {}), first.get("input"))
    more = len(errors) - 1
    rest = f" ({more} more {'error' if more == 1 else 'errors'})" if more else ""
    return f"{where or 'the body'}: {details}{rest}.", where


def _details(kind: str, context: dict[str, Any], found: object) -> str:
    """Return what was found and what was expected."""
    if kind == "missing":
        return "missing. Expected a value"
    if kind == "extra_forbidden":
        return "unknown key. Expected a key that /openapi.json lists"
    if kind == "too_long":
        count = context.get("actual_length") or "too many"
        return f"{count} entries. Expected {context['max_length']} or fewer"
    if kind == "too_short":
        return f"{context['actual_length']} entries. Expected {context['min_length']} or more"
    if kind == "invalid":  # a check of the request schemas
        return str(context["message"])
    if kind in _EXPECTED:
        expected = _EXPECTED[kind](context)
    else:
        expected = _TYPES.get(kind.removesuffix("_type"), "a value as in /openapi.json")
    return f"{format_value(found)}. Expected {expected}"

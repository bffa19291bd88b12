"""Messages of invalid requests, from validation errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["index_of", "sentence_of", "shown"]

_LONGEST = 60  # letters of the caller's own that a message repeats

_KINDS = {
    "bool": "true or false",
    "dict": "an object",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "model": "an object",
    "model_attributes": "an object",
    "string": "a text",
    "union_tag": "one of the kinds that are known",
}
_NAMES: dict[type, str] = {dict: "an object", list: "a list", tuple: "a list", type(None): "null"}

_EXPECTED: dict[str, Callable[[dict[str, Any]], str]] = {
    "finite_number": lambda _: "a finite number",
    "float_parsing": lambda _: "a number",
    "greater_than": lambda told: f"more than {told['gt']:g}",
    "greater_than_equal": lambda told: f"{told['ge']:g} or more",
    "int_from_float": lambda _: "a whole number",
    "int_parsing": lambda _: "a whole number",
    "int_parsing_size": lambda _: "a whole number of fewer digits",
    "less_than": lambda told: f"less than {told['lt']:g}",
    "less_than_equal": lambda told: f"{told['le']:g} or less",
    "literal_error": lambda told: told["expected"],
    "string_too_long": lambda told: f"{told['max_length']} letters or fewer",
    "string_too_short": lambda told: f"{told['min_length']} letters or more",
}


def shown(value: object) -> str:
    """A value of the caller's, short enough and clean enough to be repeated in a sentence.

    Examples:
        >>> shown("a" * 100), shown([1, 2]), shown(None), shown(float("nan"))
        ("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…", 'a list', 'null', 'nan')
    """
    for kind, name in _NAMES.items():
        if isinstance(value, kind):
            return name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 4 * _LONGEST:
        return "a number of too many digits"
    text = repr(value).encode("utf-8", "replace").decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def index_of(path: Sequence[object]) -> str | None:
    """A place in the request; None for the request as a whole.

    Examples:
        >>> place_of(["users", 0, "ratings", 3, "rating"]), place_of([])
        ('users[0].ratings[3].rating', None)
    """
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{shown(step)[1:-1]}"
    return text.removeprefix(".") or None


def sentence_of(errors: Sequence[Any]) -> tuple[str, str | None]:
    """The first of pydantic's errors as one sentence, and its place."""
    first = errors[0]
    where = index_of([step for step in first["loc"][1:] if step != "[key]"])
    kind, told, found = str(first["type"]), first.get("ctx", {}), first.get("input")
    more = len(errors) - 1
    rest = f" ({more} more {'place is' if more == 1 else 'places are'} wrong)" if more else ""
    return f"{_sentence(kind, told, found, where or 'the body')}{rest}", where


def _sentence(kind: str, told: dict[str, Any], found: object, where: str) -> str:
    if kind == "missing":
        return f"{where} is missing; expected it to be given"
    if kind == "extra_forbidden":
        return f"{where} is not known here; expected it to be left out"
    if kind == "too_long":
        return (
            f"{where} holds {told.get('actual_length') or 'too many'}; expected {told['max_length']} or fewer"
        )
    if kind == "too_short":
        return f"{where} holds {told['actual_length']}; expected {told['min_length']} or more"
    if kind == "said":  # by one of our own checks
        return f"{where} {told['sentence']}"
    if kind in _EXPECTED:
        expected = _EXPECTED[kind](told)
    else:
        expected = _KINDS.get(kind.removesuffix("_type"), "what /openapi.json says of it")
    return f"{where} is {shown(found)}; expected {expected}"

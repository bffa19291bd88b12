"""Callers: a message names the flags of a command, or the keywords of Python where Python called."""

from __future__ import annotations

import functools
import re
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from tastevec.data.intake.stated import CHOICES
from tastevec.errors import TastevecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tastevec.data.intake.report import IntakeReport

_TEXT = r"[^\s,;)]*[^\s,;:)]"
_PAIRS: Final = {
    "column": "columns",
    "event": "events",
    "item_column": "item_column",
    "separator": "separator",
}  # by flag
# What may follow a flag in a message, by flag; of "" nothing does.
_VALUES: Final[Mapping[str, str]] = {
    **dict.fromkeys(_PAIRS, rf"[^\s=]+={_TEXT}"),
    **{name: "|".join(choices) for name, choices in CHOICES.items()},
    "feedback": "|".join(("auto", *CHOICES["feedback"])),
    "rating_range": r"LOW:HIGH|-?[\d.]+:-?[\d.]*\d",
    "positive_from": r"VALUE|-?[\d.]*\d",
    "unrated": _TEXT,
    "bad_rows": r"drop(?::[\d.]+%)?",
    "missing": rf"''|{_TEXT}",
    "time_format": rf"FORMAT|excel|%{_TEXT}",
    "accept": rf"CODE|[a-z]+-{_TEXT}",
    "columns": r"\w+(?:,\w+)+",
    "quote": "none",
    "engine": "duckdb|spark",
    "preset": "taste|bert-cosine|direction",
    "unknown": "warn|ignore|raise",
    **dict.fromkeys(("strict", "no_header", "delimiter", "items", "tags", "relevance", "text_model"), ""),
    **dict.fromkeys(("genome", "master", "scratch", "item_noun", "split_strategy"), ""),
}
_FLAG_ALONE: Final = re.compile(r"--([a-z]+(?:-[a-z]+)*)(?![\w-])")
_AT_COMMAND_LINE: ContextVar[bool] = ContextVar("at_command_line", default=False)


def in_python(message: str) -> str:
    """Return a message in which flags of commands are keywords of Python.

    Examples:
        >>> in_python("--column rating=points, or --feedback implicit")
        'columns={"rating": "points"}, or feedback="implicit"'
        >>> in_python("--unrated 0 if it means not rated, --rating-range 0:10 if it is the worst")
        'unrated=0 if it means not rated, rating_range="0:10" if it is the worst'
    """
    for name, values in _VALUES.items():
        flag = "--" + name.replace("_", "-")
        if not values or flag not in message:
            continue
        one = f"{flag} (?:{values})(?![\\w-])"
        following = rf"(?: {one})*(?:,? or (?!--)(?:{values})(?![\w-]))?"
        message = re.sub(one + following, functools.partial(_keyword, name), message)
    return _FLAG_ALONE.sub(
        lambda found: found[0] if (name := found[1].replace("-", "_")) not in _VALUES else _alone(name),
        message,
    )


def _keyword(name: str, found: re.Match[str]) -> str:
    """Return one keyword for a flag with its values, and for the value that "or" adds."""
    stated, either, other = re.split(r"(,? or |$)", found[0], maxsplit=1)
    values = re.split(r"(?:^| )--[a-z-]+ ", stated)[1:]
    if name in _PAIRS:
        left = f"{_PAIRS[name]}={_python_pairs(name, values)}"
        return left + (f"{either}{_python_pairs(name, [other])}" if other else "")
    keyword = f"{name}={_python_value(name, values[0])}"
    return keyword + (f"{either}{_python_value(name, other)}" if other else "")


def _python_pairs(name: str, pairs: Iterable[str]) -> str:
    shown = []
    for pair in pairs:
        left, _, right = pair.partition("=")
        plain = "None" if right == "none" and name != "event" else _python_value(name, right)
        shown.append(f'"{left}": {plain}')
    return f"{{{', '.join(shown)}}}"


def _python_value(name: str, value: str) -> str:
    if name == "columns":
        return "[" + ", ".join(f'"{part}"' for part in value.split(",")) + "]"
    if name in {"unrated", "positive_from", "event"} and re.fullmatch(r"-?\d+(?:[.]\d+)?", value):
        return value
    return '""' if value == "''" else f'"{value}"'


def _alone(name: str) -> str:
    switches = {"strict": "strict=True", "no_header": "header=False"}
    return switches.get(name, f"{_PAIRS.get(name, name)}=")


@contextmanager
def at_command_line() -> Iterator[None]:
    """Keep the flags of commands in messages and reports."""
    token = _AT_COMMAND_LINE.set(True)
    try:
        yield
    finally:
        _AT_COMMAND_LINE.reset(token)


def argument(name: str) -> str:
    """Return what the caller states a setting by: its flag while a command runs, else its keyword."""
    return f"--{name.replace('_', '-')}" if _AT_COMMAND_LINE.get() else name


@contextmanager
def for_caller() -> Iterator[None]:
    """Raise errors with the keywords of Python, unless a command runs."""
    try:
        yield
    except TastevecError as error:
        if error.args and not _AT_COMMAND_LINE.get():
            error.args = (in_python(str(error.args[0])), *error.args[1:])
        raise


def report_for_caller(report: IntakeReport) -> IntakeReport:
    """Return a report with the keywords of Python, unless a command runs."""
    return report if _AT_COMMAND_LINE.get() else report.mapped(in_python)

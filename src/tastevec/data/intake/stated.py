"""Stated settings: keywords and flags of a caller as settings of the intake, in one spelling for Python and commands."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any, Final, Literal, TypedDict, get_args

from tastevec.data.intake.report import CODES
from tastevec.data.intake.settings import (
    BAD_ROWS_SHARE,
    FileFormat,
    IntakeSettings,
    ItemSettings,
    several_tables,
)
from tastevec.errors import SettingsError
from tastevec.nouns import ItemNoun
from tastevec.schema import FeedbackKind, Order, Repeats


class ReadingChoices(TypedDict, total=False):
    """How interactions and item metadata are read, as keywords; see `IntakeSettings`, `FileFormat` and `ItemSettings`."""

    feedback: FeedbackKind | Literal["auto"] | None
    rating_range: str | tuple[float, float] | None
    positive_from: float | None
    unrated: float | str | Sequence[float | str]
    column: str | Sequence[str]
    columns: str | Sequence[str] | Mapping[str, str | int | None]
    event: str | Sequence[str]
    events: str | Sequence[str] | Mapping[str, float | None]
    repeats: Repeats | None
    order: Order | None
    out_of_range: Literal["refuse", "drop"]
    missing_times: Literal["order", "drop"] | None
    bad_times: Literal["refuse", "none"]
    time_format: str | None
    bad_rows: str | None
    missing: str | Sequence[str]
    delimiter: str | None
    header: bool | None
    no_header: bool
    quote: bool | Literal["none"]
    encoding: Literal["utf-8", "utf-16", "iso-8859-1"] | None
    accept: str | Sequence[str]
    strict: bool
    tags: Any
    tags_by: Literal["users", "others"] | None
    relevance: Any
    text_model: str | PathLike[str] | None
    item_column: Sequence[str] | Mapping[str, str | Sequence[str]]
    separator: Sequence[str] | Mapping[str, str]
    item_noun: str | None


class SourceChoices(ReadingChoices, total=False):
    """How a source is read, and the metadata of its items: a table or a path, or several in a list."""

    items: Any


CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "feedback": get_args(FeedbackKind),
    "repeats": get_args(Repeats),
    "order": get_args(Order),
    "out_of_range": ("refuse", "drop"),
    "missing_times": ("order", "drop"),
    "bad_times": ("refuse", "none"),
    "tags_by": ("users", "others"),
    "encoding": ("utf-8", "utf-16", "iso-8859-1"),
}
_NUMBER = r"([+-]?[0-9]+(?:[.][0-9]+)?)"
_TAB: Final = {"\\t": "\t", "tab": "\t"}


def intake_settings(stated: Mapping[str, Any]) -> IntakeSettings:
    """Return the settings of the intake that a caller states.

    Args:
        stated: By name. A value of None is not stated. Pairs are a mapping, or texts such as ``rating=points``.

    Raises:
        SettingsError: A value is none of its setting.

    Examples:
        >>> settings = intake_settings({"rating_range": "1:10", "bad_rows": "drop:10%", "event": ["wow=2", "ad=drop"]})
        >>> settings.rating_range, settings.bad_rows, settings.events
        ((1.0, 10.0), 0.1, {'wow': 2.0, 'ad': None})
    """
    given, made = _read(stated, _INTAKE)
    for name, singular, read in (("columns", "column", _column), ("events", "event", _event_weight)):
        several = given.get(name, ())
        if not isinstance(several, Mapping):  # of columns also the names in a file without a header
            several = [one for one in _several(several) if "=" in one]
        if pairs := {**dict(_pairs(singular, given.get(singular, ()))), **dict(_pairs(singular, several))}:
            made[name] = {key: read(value) for key, value in pairs.items()}
    return IntakeSettings(**made, file_format=_file_format(given))


def item_settings(stated: Mapping[str, Any]) -> ItemSettings:
    """Return the settings of item metadata and tags that a caller states; see `intake_settings`.

    Examples:
        >>> item_settings({"items": "items.csv", "item_column": ["category=brand"]}).columns
        {'category': ('brand',)}
    """
    given, made = _read(stated, {**_ITEMS, "bad_rows": _share})
    if "item_column" in given:
        kinds: dict[str, tuple[str, ...]] = {}
        for kind, names in _pairs("item_column", given["item_column"]):
            kinds[kind] = (*kinds.get(kind, ()), *_several(names))
        made["columns"] = kinds
    if "separator" in given:
        pairs = _pairs("separator", given["separator"])
        made["separators"] = {name: None if text == "none" else _TAB.get(text, text) for name, text in pairs}
    return ItemSettings(**made)


def check_names(stated: Iterable[str], known: Iterable[str]) -> None:
    """Check that every keyword exists.

    Raises:
        SettingsError: One is unknown; the message names the nearest.
    """
    names = sorted(known)
    for name in sorted(stated):
        if name == "skip_bad_rows":
            raise SettingsError(
                'skip_bad_rows: now bad_rows="drop" (--bad-rows drop), at most 5 % of the rows'
            )
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            raise SettingsError(
                f"{name}: unknown setting. Expected {near[0] if near else 'one of ' + ', '.join(names)}"
            )


def _read(
    stated: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is stated, and the settings of these readers."""
    given = {name: value for name, value in stated.items() if value is not None}
    return given, {name: read(given[name]) for name, read in readers.items() if name in given}


def _choice(name: str, value: Any) -> str | None:  # noqa: ANN401  any value of a caller
    if name == "feedback" and value == "auto":
        return None
    return _one_of(name, CHOICES[name], value)


def _one_of(name: str, choices: tuple[str, ...], value: Any) -> str:  # noqa: ANN401  as above
    if value not in choices:
        raise SettingsError(f"{name}: {value!r}. Expected {', '.join(choices[:-1])} or {choices[-1]}.")
    return str(value)


def _number(name: str, value: Any) -> float:  # noqa: ANN401  as above
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{name}: {value!r}. Expected a number.") from error


def _plain(value: Any) -> str:  # noqa: ANN401  as above
    """Return an unrated value as a text: 0 of 0.0."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _range(value: Any) -> tuple[float, float]:  # noqa: ANN401  as above
    if isinstance(value, str):
        found = re.fullmatch(f"{_NUMBER}:{_NUMBER}", value.strip())
        value = found.groups() if found else value
    try:
        low, high = (float(number) for number in value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"rating_range: {value!r}. Expected LOW:HIGH, such as 1:10.") from error
    return low, high


def _share(value: Any) -> float:  # noqa: ANN401  as above
    """Return the largest share of bad rows that are dropped."""
    found = re.fullmatch(r"drop(?::([0-9]+(?:[.][0-9]+)?)%)?", value) if isinstance(value, str) else None
    share = float(found[1]) / 100 if found and found[1] else BAD_ROWS_SHARE
    if found is None or share > 1:
        raise SettingsError(f"bad_rows: {value!r}. Expected drop, or a limit such as drop:20%.")
    return share


def _several(value: Any) -> tuple[str, ...]:  # noqa: ANN401  as above
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(","))
    return tuple(map(_plain, value)) if isinstance(value, Iterable) else (_plain(value),)


def _pairs(name: str, value: Any) -> list[tuple[str, Any]]:  # noqa: ANN401  as above
    if isinstance(value, Mapping):
        return list(value.items())
    pairs = []
    for text in [value] if isinstance(value, str) else value:
        left, equals, right = text.partition("=")
        if not left or not equals:
            raise SettingsError(f"{name}: {text!r}. Expected NAME=VALUE.")
        pairs.append((left.strip(), right))
    return pairs


def _event_weight(value: Any) -> float | None:  # noqa: ANN401  as above
    return None if value is None or value == "drop" else _number("event", value)


def _column(value: Any) -> str | int | None:  # noqa: ANN401  as above
    return None if value is None or value == "none" else value if isinstance(value, int) else str(value)


def _file_format(given: Mapping[str, Any]) -> FileFormat:
    columns = given.get("columns", ())
    names = () if isinstance(columns, Mapping) else tuple(one for one in _several(columns) if "=" not in one)
    delimiter = given.get("delimiter")
    quote = given.get("quote", True)
    return FileFormat(
        delimiter=None if delimiter is None else _TAB.get(delimiter, delimiter),
        columns=names,
        header=False if given.get("no_header") else given.get("header"),
        quote=quote not in (False, "none"),
        encoding=_choice("encoding", given["encoding"]) if "encoding" in given else None,
    )


_INTAKE: Final[Mapping[str, Callable[[Any], Any]]] = {
    **{name: partial(_choice, name) for name in CHOICES if name not in {"tags_by", "encoding"}},
    "rating_range": _range,
    "positive_from": partial(_number, "positive_from"),
    "unrated": lambda value: tuple(_plain(one) for one in _several(value)),
    "bad_rows": _share,
    "missing": lambda value: tuple(text.lower() for text in _several(value) if text),
    "time_format": str,
    "accept": lambda value: frozenset(_one_of("accept", CODES, code) for code in _several(value)),
    "strict": bool,
}
_ITEMS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("items", "tags", "relevance"), several_tables),
    "tags_by": partial(_choice, "tags_by"),
    "text_model": os.fspath,
    "item_noun": lambda value: ItemNoun.parse(str(value)),
}
_FILE: Final = (
    "column",
    "columns",
    "event",
    "events",
    "delimiter",
    "header",
    "no_header",
    "quote",
    "encoding",
)
_OF_MODEL: Final = ("feedback", "rating_range", "positive_from", "repeats", "order")
HISTORY_SETTINGS: Final = (*(name for name in _INTAKE if name not in _OF_MODEL), *_FILE)
STATED: Final = (*_INTAKE, *_FILE, *_ITEMS, "item_column", "separator")

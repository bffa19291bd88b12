"""Stated settings: keywords and flags of a caller as settings of the intake, in one spelling for Python and commands."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, get_args

from tastevec.data.intake.report import CODES
from tastevec.data.intake.settings import BAD_ROWS_SHARE, FileFormat, IntakeSettings, ItemSettings
from tastevec.errors import SettingsError
from tastevec.nouns import ItemNoun
from tastevec.schema import FeedbackKind, Order, Repeats

if TYPE_CHECKING:
    from collections.abc import Callable

CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "feedback": get_args(FeedbackKind),
    "repeats": get_args(Repeats),
    "order": get_args(Order),
    "missing_times": ("order", "drop"),
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
    given = {name: value for name, value in stated.items() if value is not None}
    made: dict[str, Any] = {
        name: _choice(name, given[name])
        for name in ("feedback", "repeats", "order", "missing_times")
        if name in given
    }
    readers: dict[str, Callable[[Any], Any]] = {
        "rating_range": _range,
        "positive_from": lambda value: _number("positive_from", value),
        "unrated": lambda value: tuple(_plain(one) for one in _several(value)),
        "out_of_range": lambda value: _one_of("out_of_range", value, ("refuse", "drop")),
        "bad_rows": _share,
        "bad_times": lambda value: _one_of("bad_times", value, ("refuse", "none")),
        "missing": lambda value: tuple(text.lower() for text in _several(value) if text),
        "time_format": str,
        "accept": lambda value: frozenset(_one_of("accept", code, CODES) for code in _several(value)),
        "strict": bool,
    }
    made |= {name: read(given[name]) for name, read in readers.items() if name in given}
    for name, singular in (("columns", "column"), ("events", "event")):
        pairs = {**_pairs(singular, given.get(singular, ())), **_mapping(singular, given.get(name, ()))}
        if pairs:
            made[name] = {
                key: _event_weight(value) if name == "events" else _column(value)
                for key, value in pairs.items()
            }
    return IntakeSettings(**made, file_format=_file_format(given))


def item_settings(stated: Mapping[str, Any]) -> ItemSettings:
    """Return the settings of item metadata and tags that a caller states; see `intake_settings`.

    Examples:
        >>> item_settings({"items": "items.csv", "item_column": ["category=brand"]}).columns
        {'category': ('brand',)}
    """
    given = {name: value for name, value in stated.items() if value is not None}
    made: dict[str, Any] = {
        name: _tables(given[name]) for name in ("items", "tags", "relevance") if name in given
    }
    if "tags_by" in given:
        made["tags_by"] = _choice("tags_by", given["tags_by"])
    if "text_model" in given:
        made["text_model"] = os.fspath(given["text_model"])
    if "bad_rows" in given:
        made["bad_rows"] = _share(given["bad_rows"])
    if "item_noun" in given:
        made["item_noun"] = ItemNoun.parse(str(given["item_noun"]))
    if "item_column" in given:
        kinds: dict[str, tuple[str, ...]] = {}
        for kind, names in _listed("item_column", given["item_column"]):
            kinds[kind] = (*kinds.get(kind, ()), *_several(names))
        made["columns"] = kinds
    if "separator" in given:
        pairs = _pairs("separator", given["separator"])
        made["separators"] = {
            name: None if text == "none" else _TAB.get(text, text) for name, text in pairs.items()
        }
    return ItemSettings(**made)


_INTAKE: Final = (
    *(
        "feedback",
        "rating_range",
        "positive_from",
        "unrated",
        "out_of_range",
        "event",
        "events",
        "repeats",
        "order",
        "bad_rows",
    ),
    *(
        "missing",
        "missing_times",
        "bad_times",
        "time_format",
        "column",
        "columns",
        "delimiter",
        "header",
        "no_header",
        "quote",
        "encoding",
    ),
    *("accept", "strict"),
)
_ITEMS: Final = (
    "items",
    "item_column",
    "separator",
    "tags",
    "tags_by",
    "relevance",
    "text_model",
    "item_noun",
)
STATED: Final = (*_INTAKE, *_ITEMS)
_OF_MODEL: Final = ("feedback", "rating_range", "positive_from", "repeats", "order")
HISTORY_SETTINGS: Final = tuple(name for name in _INTAKE if name not in _OF_MODEL)


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


def _choice(name: str, value: Any) -> str | None:  # noqa: ANN401  any value of a caller
    if name == "feedback" and value == "auto":
        return None
    return _one_of(name, value, CHOICES[name])


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:  # noqa: ANN401  as above
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


def _tables(value: Any) -> tuple[Any, ...]:  # noqa: ANN401  as above
    """Return one table or path, or several in a list, as a tuple; a list of dicts of single values is one table."""
    if not isinstance(value, list | tuple):
        return (value,)
    rows = [
        isinstance(one, Mapping) and any(isinstance(v, str | int | float) for v in one.values())
        for one in value
    ]
    return (value,) if rows and all(rows) else tuple(value)


def _mapping(name: str, value: Any) -> dict[str, Any]:  # noqa: ANN401  as above
    """Return pairs; a list of plain names, those of a file without a header, has none."""
    return (
        dict(value)
        if isinstance(value, Mapping)
        else _pairs(name, [one for one in _several(value) if "=" in one])
    )


def _pairs(name: str, value: Any) -> dict[str, Any]:  # noqa: ANN401  as above
    return dict(_listed(name, value))


def _listed(name: str, value: Any) -> list[tuple[str, Any]]:  # noqa: ANN401  as above
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

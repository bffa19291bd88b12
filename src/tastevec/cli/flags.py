"""Flags about interactions and items, which several commands share."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from tastevec.data.intake.callers import at_command_line
from tastevec.data.intake.stated import HISTORY_SETTINGS, intake_settings, item_settings
from tastevec.errors import SettingsError

_INTERACTIONS = "Interactions"
_FILES = "Files"
_ITEMS = "Items"


def _flag(kind: Any, metavar: str, help_text: str, panel: str, *names: str) -> Any:  # noqa: ANN401  types
    return Annotated[kind, typer.Option(*names, metavar=metavar, help=help_text, rich_help_panel=panel)]


_MANY = list[str] | None

INTAKE_FLAGS: dict[str, Any] = {
    "feedback": _flag(
        str | None,
        "auto|explicit|implicit|weighted|events",
        "Kind of feedback: ratings, interactions alone, counts or amounts, names of events. By default by the columns.",
        _INTERACTIONS,
    ),
    "rating_range": _flag(
        str | None, "LOW:HIGH", "Rating scale; by default that of the release, else inferred.", _INTERACTIONS
    ),
    "positive_from": _flag(
        float | None,
        "VALUE",
        "An interaction is positive when its value is at least this. Default: three quarters of a rating scale, else the "
        "smallest value above 0.",
        _INTERACTIONS,
    ),
    "unrated": _flag(_MANY, "VALUE", "A rating that means: not rated. Repeatable.", _INTERACTIONS),
    "event": _flag(
        _MANY, "NAME=WEIGHT", "Weight of an event (drop: ignore its rows). Repeatable.", _INTERACTIONS
    ),
    "repeats": _flag(
        str | None,
        "latest|sum|strongest|keep",
        "What counts where a user has an item several times. Default: ratings latest, counts sum, events strongest. keep: "
        "horizon next reads all rows, horizon overall their sum (of ratings the latest), and a known item is never held out.",
        _INTERACTIONS,
    ),
    "order": _flag(
        str | None,
        "timestamp|file|none",
        "What orders a history. Default: timestamps, else the file, unless it is sorted by item.",
        _INTERACTIONS,
    ),
    "out_of_range": _flag(str | None, "refuse|drop", "Ratings outside the scale.", _INTERACTIONS),
    "missing_times": _flag(
        str | None,
        "order|drop",
        "Rows without a time among rows with one: keep their place, or drop them.",
        _INTERACTIONS,
    ),
    "bad_times": _flag(
        str | None, "refuse|none", "A text that is no time: refuse it, or read it as no time.", _INTERACTIONS
    ),
    "bad_rows": _flag(
        str | None, "drop[:N%]", "Drop and count broken rows, up to 5 % or N % of all.", _INTERACTIONS
    ),
    "accept": _flag(
        _MANY,
        "CODE",
        "Go on after the stop of this code, which becomes a warning. Repeatable.",
        _INTERACTIONS,
    ),
    "strict": _flag(bool, "", "Stop at every warning.", _INTERACTIONS, "--strict"),
    "column": _flag(
        _MANY,
        "ROLE=NAME",
        "Column of user_id, item_id, rating, weight, event or timestamp: a name, a number from 1, or none. Repeatable.",
        _FILES,
    ),
    "columns": _flag(
        str | None, "NAMES", "Names of the columns of a file without a header, with commas.", _FILES
    ),
    "delimiter": _flag(
        str | None, "TEXT", "Between two fields: , ; \\t | :: or ^. Default: inferred.", _FILES
    ),
    "no_header": _flag(
        bool, "", "The first line is a row; columns have the numbers from 1.", _FILES, "--no-header"
    ),
    "quote": _flag(str | None, "none", "The file has no quotes.", _FILES),
    "encoding": _flag(str | None, "utf-8|utf-16|iso-8859-1", "Encoding of a text file.", _FILES),
    "missing": _flag(
        str | None, "TEXTS", "Texts that are no ID, with commas; '' leaves only the empty text.", _FILES
    ),
    "time_format": _flag(
        str | None, "FORMAT", "Format of times: a pattern such as %d/%m/%Y, or excel.", _FILES
    ),
}
ITEM_FLAGS: dict[str, Any] = {
    "items": _flag(
        _MANY,
        "FILE",
        "Item metadata: item_id, and any of title, year, categories, texts, numbers. Repeatable.",
        _ITEMS,
    ),
    "item_column": _flag(
        _MANY,
        "KIND=NAME",
        "Kind of a column of item metadata: category, text, number, vector, title, year, item_id or ignored. Repeatable.",
        _ITEMS,
    ),
    "separator": _flag(
        _MANY, "COLUMN=TEXT", "Between several values of a cell; none: one value. Repeatable.", _ITEMS
    ),
    "tags": _flag(
        _MANY, "FILE", "Tags: item_id, tag, and any of user_id, weight, timestamp. Repeatable.", _ITEMS
    ),
    "tags_by": _flag(
        str | None, "users|others", "Whether the users of the tags are those of the interactions.", _ITEMS
    ),
    "relevance": _flag(_MANY, "FILE", "Relevances: item_id, tag, and relevance or rank. Repeatable.", _ITEMS),
    "text_model": _flag(
        str | None, "PATH|none", "Sentence encoder of texts; none reads their words.", _ITEMS
    ),
}
HISTORY_FLAGS: dict[str, Any] = {
    name: flag for name, flag in INTAKE_FLAGS.items() if name in HISTORY_SETTINGS
}


def takes_flags(*groups: dict[str, Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command these flags; it receives those that are stated as ``stated``."""
    flags = {name: hint for group in groups for name, hint in group.items()}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != "stated"]
        added = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=False if name in {"strict", "no_header"} else None,
                annotation=hint,
            )
            for name, hint in flags.items()
        ]

        @functools.wraps(command)
        def run(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401  those of the command
            stated = {name: value for name in flags if (value := kwargs.pop(name)) not in (None, False, [])}
            with at_command_line():
                try:
                    intake_settings(stated)
                    item_settings(stated)
                except SettingsError as error:
                    raise typer.BadParameter(str(error)) from error
                command(*args, stated=stated, **kwargs)

        del run.__wrapped__  # Typer reads the signature below, not that of the command
        run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]  # any function may have one
        run.__annotations__ = {p.name: p.annotation for p in (*own, *added)} | {"return": None}
        return run

    return decorate

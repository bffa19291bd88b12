"""Settings of the intake: what a caller may state about a source instead of letting it be inferred."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tastevec.errors import SettingsError
from tastevec.nouns import ItemNoun  # noqa: TC001  pydantic reads it
from tastevec.schema import FeedbackKind, Order, Repeats  # noqa: TC001  as above

# Texts that are no ID, in any case of letters; the empty text is none, either.
MISSING: Final = ("nan", "none", "null", "na", "n/a", "nat", "<na>", "\\n")
BAD_ROWS_SHARE: Final = 0.05  # of rows that bad_rows="drop" drops at most


@dataclass(frozen=True)
class FileFormat:
    """How a text file is read, where it is not to be inferred.

    Attributes:
        delimiter: Between two fields: ``,`` ``;`` a tab, ``|``, ``::`` or ``^``.
        columns: Names of the columns of a file without a header.
        header: Whether the first line has names; None where ``columns`` decides.
        quote: False for a format without quotes.
        escape: Before a quote inside quotes: a second quote, or a backslash.
        encoding: ``utf-8``, ``utf-16`` or ``iso-8859-1``.
    """

    delimiter: str | None = None
    columns: tuple[str, ...] = ()
    header: bool | None = None
    quote: bool = True
    escape: str = '"'
    encoding: str | None = None


@dataclass(frozen=True)
class IntakeSettings:
    """How interactions are read.

    Attributes:
        feedback: None infers the kind.
        rating_range: The lowest and the highest rating; None is that of the release, or inferred.
        positive_from: The lowest positive value; None is the default of the kind.
        unrated: Values of the rating column that mean "touched, not rated", as texts.
        out_of_range: Whether ratings outside the range are refused or dropped.
        events: Weights by name of the event, in addition to the known ones; None drops the event.
        repeats: Which value of a pair of user and item counts; None is the default of the kind. "keep" leaves all rows in the
            history, which horizon next reads; overall reads their sum once (of ratings the latest).
        order: What orders a history; None is timestamp, else file, else none.
        bad_rows: Largest share of broken rows that are dropped and counted; None refuses the first one.
        missing: Texts that are no ID, in lower case.
        missing_times: A row without a time among rows with one keeps its place ("order"), or is dropped; None keeps up to
            20 %.
        bad_times: A text that is no time is refused, or means "no time" ("none").
        time_format: A pattern of strptime, or "excel".
        columns: The column of a role, by name or number from 1; None leaves the role out.
        file_format: How a text file is read.
        accept: Codes of stops that the caller accepts; they become warnings.
        strict: Whether every warning stops.
    """

    feedback: FeedbackKind | None = None
    rating_range: tuple[float, float] | None = None
    positive_from: float | None = None
    unrated: tuple[str, ...] = ()
    out_of_range: Literal["refuse", "drop"] = "refuse"
    events: Mapping[str, float | None] = field(default_factory=dict)
    repeats: Repeats | None = None
    order: Order | None = None
    bad_rows: float | None = None
    missing: tuple[str, ...] = MISSING
    missing_times: Literal["order", "drop"] | None = None
    bad_times: Literal["refuse", "none"] = "refuse"
    time_format: str | None = None
    columns: Mapping[str, str | int | None] = field(default_factory=dict)
    file_format: FileFormat = field(default_factory=FileFormat)
    accept: frozenset[str] = frozenset()
    strict: bool = False

    def __post_init__(self) -> None:
        if self.rating_range and not -math.inf < self.rating_range[0] < self.rating_range[1] < math.inf:
            low, high = self.rating_range
            raise SettingsError(f"rating range {low:g}:{high:g}. Expected LOW:HIGH, the lowest rating first.")


@dataclass(frozen=True)
class ItemSettings:
    """How item metadata and tags are read.

    Attributes:
        items: Tables of item metadata, or paths; joined by ID, the first column of a name wins.
        columns: Columns by kind, in addition to what is inferred: category, text, number, vector, title, year, item_id.
        separators: Between several values of a cell, by column; None where a cell has one value.
        tags: Tables of tags, or paths.
        tags_by: Whether the users of ``tags`` are those of the interactions; None decides by the columns.
        relevance: Tables of item-tag relevances, or paths.
        text_model: The sentence encoder, a folder or a name; "none" reads words.
        item_noun: What the catalog calls its items; None is the noun of the release, or item.
        bad_rows: As in `IntakeSettings`.
    """

    items: tuple[Any, ...] = ()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    separators: Mapping[str, str | None] = field(default_factory=dict)
    tags: tuple[Any, ...] = ()
    tags_by: Literal["users", "others"] | None = None
    relevance: tuple[Any, ...] = ()
    text_model: str | None = None
    item_noun: ItemNoun | None = None
    bad_rows: float | None = None


def several_tables(tables: Any) -> tuple[Any, ...]:  # noqa: ANN401  any table or path
    """Return tables or paths as a tuple: one alone, or a list of them; a list of rows is one table.

    Examples:
        >>> several_tables("a.csv"), several_tables(["a.csv", "b.csv"]), several_tables([(1, "Alien")])
        (('a.csv',), ('a.csv', 'b.csv'), ([(1, 'Alien')],))
        >>> several_tables(None)
        ()
    """
    if tables is None:
        return ()
    if not isinstance(tables, list | tuple):
        return (tables,)
    return (tables,) if any(map(_is_row, tables)) else tuple(tables)


def _is_row(one: Any) -> bool:  # noqa: ANN401  as above
    """Return whether this is a row, and not a table; a mapping with a column for each name is a table."""
    if not isinstance(one, Mapping):
        return isinstance(one, list | tuple)
    return not all(hasattr(values, "__len__") and not isinstance(values, str) for values in one.values())

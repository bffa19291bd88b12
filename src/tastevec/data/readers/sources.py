"""What a reader is told and what it answers with."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tastevec.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from ibis.expr.types import Table

__all__ = ["ReadSettings", "RowAccount", "Source"]


@dataclass(frozen=True)
class ReadSettings:
    """How a source is read.

    Attributes:
        tags: Files of tags from elsewhere: a ``tags.csv`` or ``tags.dat`` of MovieLens, or hetrec's
            ``movie_tags.dat`` with ``tags.dat`` beside it. They say what films are, not what people did.
        items: A table of item metadata, instead of the one that the source brings.
        skip_bad_rows: Count bad rows and set them aside instead of refusing the file.
        rating_range: The lowest and the highest rating; None is the release's own, and 0.5 to 5 for other tables.

    Raises:
        SettingsError: The range is empty.
    """

    tags: tuple[Path, ...] = ()
    items: Path | None = None
    skip_bad_rows: bool = False
    rating_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.rating_range and not -math.inf < self.rating_range[0] < self.rating_range[1] < math.inf:
            raise SettingsError(
                f"the rating range is {self.rating_range[0]:g} to {self.rating_range[1]:g}; expected the lowest rating first, then the highest"
            )


@dataclass(frozen=True)
class RowAccount:
    """Where every row of one file went: ``rows_read == rows_kept + sum(set_aside.values())``.

    Attributes:
        file: The file's name.
        rows_read: Rows found, headers and blank lines not counted.
        rows_kept: Rows that are in the tables.
        set_aside: Rows that are not, by reason.
        examples: The first five rows set aside, each with file, line, column and what was found.
        encoding: How the file's bytes were read: ``utf-8``, ``iso-8859-1`` or ``parquet``.
    """

    file: str
    rows_read: int
    rows_kept: int
    set_aside: dict[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    encoding: str = "utf-8"


@dataclass(frozen=True, eq=False)
class Source:
    """A release or a table of one's own, read and checked, as tables of the connection it was read through.

    Attributes:
        name: The name of the folder, zip or file, without its ending.
        format: ``ml-100k``, ``ml-1m``, ``ml-10m``, ``movielens-csv``, ``recbole`` or ``table``.
        rating_range: The lowest and the highest rating that was accepted.
        interactions: ``user_id, item_id`` (int64 or string), ``rating`` float64 (NULL where a film was only
            tagged), ``timestamp`` int64 Unix seconds (NULL if unknown), ``position`` int64 from 0 (the order of
            the source, ratings before tags); one row per user and item.
        items: ``item_id, title`` string, ``year`` int32 or NULL, ``genres`` array of strings; empty if unknown.
        tags: ``user_id`` (NULL if the tag comes from elsewhere), ``item_id``, ``tag`` (lower case, stripped),
            ``weight`` float64 (1 per application, or the file's own), ``timestamp`` int64 (NULL if unknown).
        genome_folder: Where ``genome-scores.csv`` lies, if the release has one; out of a zip it is unpacked into a
            folder that lives as long as this value.
        accounts: One per file that was read.
    """

    name: str
    format: str
    rating_range: tuple[float, float]
    interactions: Table
    items: Table
    tags: Table
    genome_folder: Path | None
    accounts: tuple[RowAccount, ...]

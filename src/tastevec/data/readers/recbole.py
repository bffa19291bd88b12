"""RecBole's atomic files: ``NAME.inter`` and, if it is there, ``NAME.item``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tastevec.data.readers.headers import match_columns
from tastevec.data.readers.kinds import LOOSE_YEAR, OPEN_ID, TEXT, TIME, Kind, genre_list, rating_within
from tastevec.data.readers.records import plain_records
from tastevec.data.readers.rows import Checked, Desk, check_rows
from tastevec.data.readers.text import open_text
from tastevec.schema import GENRES, ITEM_ID, RATING, TIMESTAMP, TITLE, USER_ID, YEAR

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_atomic_interactions", "read_atomic_items"]


def read_atomic_interactions(path: Path, desk: Desk, rating_range: tuple[float, float]) -> Checked:
    """The ``.inter`` file: one row per user and item.

    Raises:
        SourceError: The file is empty or lacks a column.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    kinds = {USER_ID: OPEN_ID, ITEM_ID: OPEN_ID, RATING: rating_within(*rating_range), TIMESTAMP: TIME}
    return _read(path, desk, kinds, optional=(TIMESTAMP,), unique=(USER_ID, ITEM_ID))


def read_atomic_items(path: Path, desk: Desk) -> Checked:
    """The ``.item`` file: id and title, year and genres if it has them.

    Raises:
        SourceError: The file is empty or lacks a column.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    kinds = {ITEM_ID: OPEN_ID, TITLE: TEXT, YEAR: LOOSE_YEAR, GENRES: genre_list(" ")}
    return _read(path, desk, kinds, optional=(YEAR, GENRES), unique=(ITEM_ID,))


def _read(
    path: Path, desk: Desk, kinds: dict[str, Kind], *, optional: tuple[str, ...], unique: tuple[str, ...]
) -> Checked:
    text = open_text(path, desk.scratch)
    names = [name.partition(":")[0] for name in text.first_line().split("\t")]  # 'rating:float' is the rating
    columns = match_columns(text.name, names, kinds, optional)
    return check_rows(desk, plain_records(text, "\t", names, skip=1), columns, unique=unique)

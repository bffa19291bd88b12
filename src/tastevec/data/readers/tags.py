"""Tags from elsewhere, borrowed because a film carries the same id in every MovieLens release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tastevec.data.readers.kinds import TAG_TEXT, TEXT_ID, WEIGHT_NUMBER, WHOLE_ID, Kind, known_tag
from tastevec.data.readers.movielens import read_tag_lines, read_tag_table
from tastevec.data.readers.records import plain_records
from tastevec.data.readers.rows import Checked, Column, Desk, check_rows
from tastevec.data.readers.text import TextFile, open_text
from tastevec.errors import SourceError
from tastevec.schema import ITEM_ID, TAG, WEIGHT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_tag_file"]


def read_tag_file(path: Path, desk: Desk, *, whole_ids: bool) -> list[Checked]:
    """A file of tags, and the file it needs beside it.

    Args:
        path: ``tags.csv``, ``tags.dat`` of ml-10m, or ``movie_tags.dat`` of hetrec.
        desk: Where the rows are judged.
        whole_ids: Whether the films they are for have whole numbers as ids.

    Returns:
        The table with the tags of films first.

    Raises:
        SourceError: A file is missing or empty, or its header is wrong.
        BadRowError: A row is wrong and bad rows are not skipped.
    """
    kind = WHOLE_ID if whole_ids else TEXT_ID
    if path.name == "movie_tags.dat":
        return _read_weights(path, desk, kind)
    text = _open(path, desk)
    read = read_tag_lines if "::" in text.first_line() else read_tag_table
    return [read(text, desk, kind)]


def _read_weights(path: Path, desk: Desk, kind: Kind) -> list[Checked]:
    """``movie_tags.dat`` (movie, number of a tag, weight) with the texts of ``tags.dat``."""
    words = path.with_name("tags.dat")
    if not words.is_file():
        raise SourceError(
            f"{words} is missing; expected it beside {path.name} with the text of each tag; put it there and run again"
        )
    texts = (Column("tag_id", "tagID", "fields[1]", WHOLE_ID), Column(TAG, "tagValue", "fields[2]", TAG_TEXT))
    known = _read_tabs(_open(words, desk, latin=True), desk, texts, unique=("tag_id",))
    weights = (
        Column(ITEM_ID, "movieID", "fields[1]", kind),
        Column("tag_id", "tagID", "fields[2]", WHOLE_ID),
        Column(TAG, "tagID", "fields[2]", known_tag(known.table)),
        Column(WEIGHT, "tagWeight", "fields[3]", WEIGHT_NUMBER),
    )
    return [_read_tabs(_open(path, desk), desk, weights, unique=(ITEM_ID, "tag_id")), known]


def _open(path: Path, desk: Desk, *, latin: bool = False) -> TextFile:
    """The file, called by its folder as well, since many are called tags.csv."""
    return open_text(path, desk.scratch, latin=latin, name=f"{path.resolve().parent.name}/{path.name}")


def _read_tabs(
    text: TextFile, desk: Desk, columns: tuple[Column, ...], *, unique: tuple[str, ...]
) -> Checked:
    """A hetrec file, whose header line may be missing."""
    has_header = text.first_line().startswith(columns[0].name) or text.first_line().startswith("id\t")
    names = list(dict.fromkeys(column.name for column in columns))
    return check_rows(desk, plain_records(text, "\t", names, skip=int(has_header)), columns, unique=unique)

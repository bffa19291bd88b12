"""Layouts of public data sets: their files, how these are read, rating ranges and item nouns."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from tastevec.data.intake.formats import TABLES, sniff, unpack_zip
from tastevec.data.intake.settings import FileFormat
from tastevec.errors import SourceError
from tastevec.schema import (
    CONTROL_CHARACTERS,
    GENRES,
    ITEM_ID,
    MOVIELENS_NOUN,
    RATING,
    TAG,
    TIMESTAMP,
    TITLE,
    USER_ID,
)

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Collection, Mapping

GENOME_FILES: Final = ("genome-scores.csv", "genome-tags.csv")
GENRE_NAMES_FILE: Final = "u.genre"
FLAGS_FILE: Final = "u.item"  # item metadata with one column for each genre
BEFORE_FLAGS: Final = (ITEM_ID, TITLE, "release date", "video release date", "IMDb URL")
_FLAGS = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip

_RATED = (USER_ID, ITEM_ID, RATING, TIMESTAMP)
# Text files whose dialect is known by their name, if their first line fits; without columns they have a header.
_FORMATS: Final[Mapping[str, FileFormat]] = {
    "u.data": FileFormat("\t", _RATED, quote=False),
    FLAGS_FILE: FileFormat("|", (*BEFORE_FLAGS, *_FLAGS), quote=False),
    "ratings.dat": FileFormat("::", _RATED, quote=False),
    "movies.dat": FileFormat("::", (ITEM_ID, TITLE, GENRES), quote=False),
    "tags.dat": FileFormat("::", (USER_ID, ITEM_ID, TAG, TIMESTAMP), quote=False),
    "BX-Book-Ratings.csv": FileFormat(";", escape="\\"),
    "BX-Books.csv": FileFormat(";", escape="\\"),
    "BX-Users.csv": FileFormat(";", escape="\\"),
}


_IMDB_DIGITS = 7  # of the item IDs of MovieTweetings


@dataclass(frozen=True)
class Layout:
    """The files of one kind of data set, by name; ``*`` is the name of the data set.

    Attributes:
        format: Its name.
        interactions: The file of the interactions.
        needs: Other files by which it is recognized.
        items: The file of item metadata, if it can have one.
        needs_items: Whether that is a part of every release.
        tags: The file of the users' own tags.
        rating_range: The lowest and the highest rating; None is inferred.
        item_noun: The item noun; None is the default.
    """

    format: str
    interactions: str
    needs: tuple[str, ...] = ()
    items: str | None = None
    needs_items: bool = False
    tags: str | None = None
    rating_range: tuple[float, float] | None = None
    item_noun: Mapping[str, str] | None = None


_STARS, _HALF_STARS = (1.0, 5.0), (0.5, 5.0)
_ML_1M = Layout(
    "ml-1m",
    "ratings.dat",
    items="movies.dat",
    needs_items=True,
    rating_range=_STARS,
    item_noun=MOVIELENS_NOUN,
)
_ML_10M = replace(_ML_1M, format="ml-10m", needs=("tags.dat",), tags="tags.dat", rating_range=_HALF_STARS)
_MOVIETWEETINGS = replace(_ML_1M, format="movietweetings", needs_items=False, rating_range=None)
_RECBOLE = Layout("recbole", "*.inter", items="*.item")
LAYOUTS: Final = (
    replace(_ML_1M, format="ml-100k", interactions="u.data", items=FLAGS_FILE),
    _ML_10M,
    _ML_1M,
    replace(
        _ML_10M,
        format="movielens-csv",
        interactions="ratings.csv",
        needs=("movies.csv",),
        items="movies.csv",
        tags="tags.csv",
    ),
    Layout("book-crossing", "BX-Book-Ratings.csv", items="BX-Books.csv"),
    _RECBOLE,
)
_TABLE: Final = Layout("table", "*")
_NEEDED: Final = frozenset(
    [GENRE_NAMES_FILE, *GENOME_FILES]
    + [name for layout in LAYOUTS for name in (layout.interactions, layout.items, layout.tags) if name]
)


@dataclass(frozen=True)
class SourceFiles:
    """The files of a source.

    Attributes:
        layout: Its layout; of a table of one's own, format ``table``.
        name: The name of the folder, zip or file, without its ending.
        interactions: A path for `tastevec.data.intake.tables.open_table`, as the others.
        items: The item metadata, if there are any.
        tags: The users' own tags, if there are any.
        genome_folder: The folder of ``genome-scores.csv``, if there is one.
        missing_items: The file of item metadata that the folder of a release of MovieLens lacks.
    """

    layout: Layout
    name: str
    interactions: Path
    items: Path | None = None
    tags: Path | None = None
    genome_folder: Path | None = None
    missing_items: str | None = None

    def check_items(self) -> None:
        """Check that a release of MovieLens has its items.

        Raises:
            SourceError: They are missing.
        """
        if self.missing_items:
            raise SourceError(
                f"{self.interactions.parent}: no {self.missing_items}. Expected the items of {self.layout.format}. Fetch the release "
                "again, or name a table with --items."
            )


def _copied(name: str) -> Layout:
    """Return the layout of a RecBole release of this name: of a copy of a MovieLens release, with its range and its noun."""
    if not name.startswith("ml-"):
        return _RECBOLE
    limits = _STARS if name.startswith(("ml-100k", "ml-1m")) else _HALF_STARS
    return replace(_RECBOLE, rating_range=limits, item_noun=MOVIELENS_NOUN)


def find_source(path: Path, scratch: Path) -> SourceFiles:
    """Return the files of the source at ``path``: a release (folder, zip, or its file of interactions), or a table.

    A release named by its file has that file alone; of RecBole, also the item metadata of the same name. A zip with a release is
    unpacked into ``scratch``.

    Raises:
        SourceError: The path does not exist, or is a folder or a zip without a known release or table.
    """
    if not path.exists():
        raise SourceError(
            f"{path}: not found. Expected a release or a table. Download one: tastevec fetch ml-100k"
        )
    if path.is_dir():
        name = path.resolve().name
        return _in_folder(path, name) or _parts_in(path, name)
    if sniff(path, name=path.name) == "zip" and (folder := _unpack(path, scratch)):
        return _in_folder(folder, path.stem) or SourceFiles(_TABLE, path.stem, path)
    layout = _of_file(path)
    # Without the endings for format and compression.
    name = Path(path.stem).stem if path.suffix in {".gz", ".zst", ".zip"} else path.stem
    if layout is not _RECBOLE:
        return SourceFiles(layout, name, path)
    items = path.with_suffix(".item")
    return SourceFiles(_copied(name), name, path, items if items.is_file() else None)


def _in_folder(folder: Path, name: str) -> SourceFiles | None:
    names = {entry.name for entry in folder.iterdir()}
    found = recognize(names)
    if found is None:
        return None
    layout, main = found
    path, stem = folder / main, Path(main).stem
    layout = _by_content(layout, path)
    if layout is _TABLE:
        return None
    if layout is _RECBOLE:
        layout, name = _copied(stem), stem

    def part(pattern: str | None) -> Path | None:
        file = pattern and folder / pattern.replace("*", stem)
        return file if file and file.is_file() else None

    items = part(layout.items)
    genome = folder if part(GENOME_FILES[0]) else None
    missing = layout.items if items is None and layout.needs_items else None
    return SourceFiles(layout, name, path, items, part(layout.tags), genome, missing)


def recognize(names: Collection[str]) -> tuple[Layout, str] | None:
    """Return the layout of a folder with these files, and the file of its interactions.

    Examples:
        >>> layout, main = recognize(["README", "u.data", "u.item"])
        >>> layout.format, main
        ('ml-100k', 'u.data')
    """
    for layout in LAYOUTS:
        mains = [name for name in names if fnmatchcase(name, layout.interactions)]
        if len(mains) == 1 and set(layout.needs) <= set(names):
            return layout, mains[0]
    return None


def _by_content(layout: Layout, path: Path) -> Layout:
    """Return the layout that the first lines have: that of MovieTweetings has the file names of ml-1m, ml-10m those of both."""
    lines = _first_lines(path)
    if layout.interactions == "ratings.csv":
        return layout if lines and lines[0].strip('"').lower().startswith("userid") else _TABLE
    if layout.interactions != "ratings.dat":
        return layout
    rows = [line.split("::") for line in lines]
    rated = [(row[1], row[2]) for row in rows if len(row) == len(_RATED)]
    if 2 * sum(len(item) == _IMDB_DIGITS or item.startswith("0") for item, _ in rated) > len(rated):
        return _MOVIETWEETINGS
    return layout if layout.needs or not any("." in value for _, value in rated) else _ML_10M


def _of_file(path: Path) -> Layout:
    """Return the layout of a file of interactions by its name and its first line."""
    found = recognize([path.name])
    if found is None:
        return _TABLE
    layout, lines = found[0], _first_lines(path)
    fits = known_format(path, lines[0]) if layout is not _RECBOLE else ":" in "".join(lines[:1])
    return _by_content(layout, path) if lines and fits else _TABLE


def _first_lines(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return [line.rstrip("\n") for line in islice(file, 1000)]
    except OSError as error:
        raise SourceError(
            f"{path}: not readable ({error.strerror}). Expected a text file. Check the path."
        ) from error


def known_format(path: Path, line: str) -> FileFormat | None:
    """Return how a file of a release is read, by its name and its first line; None if it is not one.

    Raises:
        SourceError: The names of the genres of ml-100k cannot be read.
    """
    known = _FORMATS.get(path.name)
    if known is None:
        return None
    width = len(line.rstrip("\r\n").split(known.delimiter))
    if path.name == FLAGS_FILE and width > len(BEFORE_FLAGS):
        return replace(known, columns=(*BEFORE_FLAGS, *_genre_names(path.with_name(GENRE_NAMES_FILE))))
    return known if width == len(known.columns) or (not known.columns and width > 1) else None


def _genre_names(path: Path) -> tuple[str, ...]:
    """Return the names in ``u.genre`` in the order of the flags, or those of the release where it is missing."""
    if not path.is_file():
        return _FLAGS
    names = tuple(line.rpartition("|")[0] for line in _first_lines(path) if line)
    if not all(names) or len(set(names)) != len(names) or re.search(CONTROL_CHARACTERS, "".join(names)):
        raise SourceError(
            f"{path.name}: not one genre per line. Expected lines such as 'Action|1', each once. Download it again: tastevec fetch ml-100k"
        )
    return names


def _parts_in(folder: Path, name: str) -> SourceFiles:
    """Return a folder of Parquet files as a table."""
    if any(file.suffix in {".parquet", ".pq"} for file in folder.rglob("*")):
        return SourceFiles(_TABLE, name, folder)
    names = sorted(entry.name for entry in folder.iterdir())
    raise SourceError(
        f"{folder}: contains {', '.join(names[:8]) or 'no file'}. Expected the files of a release: "
        f"{', '.join(f'{layout.interactions} ({layout.format})' for layout in LAYOUTS)}, or Parquet files. Name a release or a table."
    )


def _unpack(path: Path, scratch: Path) -> Path | None:
    """Unpack the files of the topmost release in the zip into a new folder, without its folders; None if there is none."""
    folder = scratch / "unpacked"
    folder.mkdir()

    advice = "Fetch or export the file again, or unpack it and name the folder."
    expected = f"Expected a release (folder or zip) or {TABLES}. {advice}"
    unpack_zip(path, folder, _release_entries, lambda found: SourceError(f"{path}: {found}. {expected}"))
    return folder if any(folder.iterdir()) else None


def _release_entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the entries of the topmost folder with a recognized release, by file name: their paths are untrusted."""
    by_folder: dict[PurePosixPath, list[str]] = {}
    for member in archive.namelist():
        inner = PurePosixPath(member)
        if not member.endswith("/") and is_needed(inner.name):
            by_folder.setdefault(inner.parent, []).append(member)
    for folder in sorted(by_folder, key=lambda folder: (len(folder.parts), str(folder))):
        if recognize([PurePosixPath(member).name for member in by_folder[folder]]):
            return {PurePosixPath(member).name: archive.getinfo(member) for member in by_folder[folder]}
    return {}


def is_needed(name: str) -> bool:
    """Return whether a file of this name may be a part of a release."""
    return any(fnmatchcase(name, pattern) for pattern in _NEEDED)

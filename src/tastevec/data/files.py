"""Files on disk: atomic writes, checksums, manifests and paths that stay inside their folder."""

from __future__ import annotations

import hashlib
import json
import os
import reprlib
import shutil
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json

from tastevec.errors import FormatError
from tastevec.schema import renamed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = [
    "CHECKSUM",
    "ManifestSpec",
    "StrictModel",
    "atomic_file",
    "atomic_folder",
    "check_replaceable",
    "is_unsafe_path",
    "manifest_text",
    "path_inside",
    "read_manifest",
    "sha256_of",
    "validate_json",
    "validation_message",
]


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name when the block ends well.

    A block that raises, or a process that is killed, leaves the old file or none.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_file(Path(folder) / "a.txt") as temporary:
        ...         _ = temporary.write_text("whole")
        ...     (Path(folder) / "a.txt").read_text()
        'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, "part")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        _settle(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, marker_file: str) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its name when the block ends well.

    Args:
        path: Where the folder shall be. An existing one is replaced only if it is ours.
        marker_file: A file name that marks a folder as one of ours (its manifest or configuration).

    Raises:
        FormatError: ``path`` exists, is not empty and does not hold ``marker_file``.
    """
    check_replaceable(path, marker_file=marker_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, "part")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _settle(file)
        _swap(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_replaceable(path: Path, *, marker_file: str) -> None:
    """Nothing, if a folder of ours may be written at ``path``: there is none, an empty one, or an earlier one of ours.

    Raises:
        FormatError: Something else is there.
    """
    ours = path.is_dir() and ((path / marker_file).exists() or not any(path.iterdir()))
    if path.exists() and not ours:
        raise FormatError(
            f"{path} exists and was not written by this command (it holds no {marker_file}); name a new folder with --out"
        )


def _beside(path: Path, suffix: str) -> Path:
    """A new hidden name in the same folder; unlike `tempfile`'s, what is made there gets the usual permissions."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.{suffix}")


def _swap(new: Path, path: Path) -> None:
    """Put ``new`` in the place of ``path``; a folder cannot be replaced in one rename, so the old one steps aside."""
    if not path.exists():
        new.rename(path)
        return
    aside = _beside(path, "old")
    path.rename(aside)
    try:
        new.rename(path)
    except BaseException:
        aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _settle(file: Path) -> None:
    """Let others read a file, and force it to disk, since a rename may otherwise reach it before the bytes do."""
    file.chmod(0o644)  # safetensors makes it 0600, and a colleague could not load it
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def is_unsafe_path(name: str) -> bool:
    r"""Whether a name, taken from a folder, may end outside it, on whichever system.

    Args:
        name: With slashes, as zips and our manifests write it.

    Examples:
        >>> [is_unsafe_path(name) for name in ("histories/items.npy", "../items.npy", "/etc/passwd", "C:x", "..\\x")]
        [False, True, True, True, True]
    """
    return (
        ".." in PurePosixPath(name).parts
        or name.startswith("/")
        or "\\" in name
        or bool(PureWindowsPath(name).drive)
    )


def path_inside(folder: Path, name: str) -> Path:
    """The file of this name in ``folder``.

    Links are followed, as a store of models that keeps each file once wants it: whoever can make one there can read it already.

    Raises:
        FormatError: The name leads out of the folder, or is no name.
    """
    if not name or "\0" in name or is_unsafe_path(name):
        raise FormatError(
            f"the manifest of {folder} names the file {name!r}, which is not inside it; expected files of its own: do not use this "
            "folder, and ask where it came from"
        )
    return folder / name


CHECKSUM: Final = "manifest_checksum"
_UNSEALED: Final = "0" * 64


class StrictModel(BaseModel):
    """What a JSON object must hold: nothing is read as another type than it is. What it holds beside that is let be."""

    model_config = ConfigDict(strict=True, extra="allow")


@dataclass(frozen=True)
class ManifestSpec:
    """One of our folders.

    Attributes:
        shape: What its manifest holds.
        format: The version that is read.
        files: The key under which it names its files.
        expected: What should be there, and the command that makes it, without its ``--out``.
        again: What to do where it is damaged.
        anew: What to do where it is of another version.
    """

    shape: type[StrictModel]
    format: int
    files: str
    expected: str
    again: str
    anew: str


def manifest_text(told: Mapping[str, Any], *, allow_nan: bool = True) -> str:
    """The text of a manifest that says this, and at its end the digest of all that stands before.

    Examples:
        >>> print(manifest_text({"format": 1}).replace("  ", ""), end="")
        {
        "format": 1,
        "seal": "479879ab63f0bbc9f1cbc4da1991046a653e35f6262bba50f74ad4373a9a5e72"
        }
    """
    text = json.dumps({**told, CHECKSUM: _UNSEALED}, indent=2, ensure_ascii=False, allow_nan=allow_nan) + "\n"
    return text.replace(_UNSEALED, hashlib.sha256(text.encode()).hexdigest())


def sha256_of(path: Path) -> str:
    """The digest of a file, as manifests name it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(path: Path, kind: ManifestSpec) -> dict[str, Any]:
    """What a manifest says. One from before manifests were sealed is read without.

    Raises:
        FormatError: It is missing, damaged, altered, of another format version or of another shape; or it names a file outside its
            folder.
    """
    folder = path.parent
    try:
        text = path.read_bytes()
        told = from_json(text)
    except FileNotFoundError as error:
        raise FormatError(
            f"{folder} holds no {path.name}; expected {kind.expected} --out {folder}"
        ) from error
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read ({error}); {kind.again}") from error
    found = told.get("format") if isinstance(told, dict) else None
    if found != kind.format or isinstance(found, bool):
        raise FormatError(
            f"{folder} is of format {found}; this version of tastevec reads format {kind.format}: {kind.anew}"
        )
    files = told.get(kind.files)
    for name in files if isinstance(files, dict) else ():  # first: it may be a trap, and shall be told as one
        path_inside(folder, name)
    checked: dict[str, Any] = validate_json(path, told, kind.shape, kind.again)
    if CHECKSUM in checked and _digest(text, str(checked[CHECKSUM])) != checked.pop(CHECKSUM):
        raise FormatError(f"{path} is not as it was written (its checksum differs); {kind.again}")
    return checked


def validate_json(path: Path, told: Any, shape: Any, again: str) -> Any:  # noqa: ANN401  what JSON can hold
    """What JSON says, where it is of this shape.

    Args:
        path: Where it stands, for the message.
        told: What it says.
        shape: What it must: a `StrictModel`, or another type that pydantic knows.
        again: What to do where it is of another.

    Raises:
        FormatError: It is of another.
    """
    try:
        TypeAdapter(shape).validate_python(told, strict=True)
    except ValidationError as error:
        raise FormatError(f"{path} is damaged ({validation_message(error)}); {again}") from error
    return told


def _digest(text: bytes, seal: str) -> str:
    """The digest of a manifest as it was before it was sealed."""
    return hashlib.sha256(text.replace(seal.encode(), _UNSEALED.encode())).hexdigest()


def validation_message(error: ValidationError) -> str:
    """The first place that is not as it should be, what should be there, and what is."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "all of it"
    if message := renamed(where, first["input"]):
        return message
    if first["type"] == "missing":
        return f"it lacks {where}"
    return f"{where}: {first['msg']}, found {reprlib.repr(first['input'])}"

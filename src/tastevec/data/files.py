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
from tastevec.schema import PREPARE_AGAIN, renamed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def damaged(where: Path | str, found: str, expected: str, repair: str = PREPARE_AGAIN) -> FormatError:
    """Return the error of a file or folder with other content than expected."""
    return FormatError(f"{where}: {found}. Expected {expected}. {repair}")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; rename it to ``path`` when the block succeeds.

    If the block raises or the process is killed, ``path`` is unchanged.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_file(Path(folder) / "a.txt") as temporary:
        ...         _ = temporary.write_text("complete")
        ...     (Path(folder) / "a.txt").read_text()
        'complete'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _hidden_sibling(path, "part")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, marker_file: str) -> Iterator[Path]:
    """Yield a temporary folder in the parent of ``path``; rename it to ``path`` when the block succeeds.

    Raises:
        FormatError: ``path`` exists, is not empty and does not contain ``marker_file``, the file (a manifest) that
            marks a folder as written by tastevec.
    """
    check_replaceable(path, marker_file=marker_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _hidden_sibling(path, "part")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        _swap(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_replaceable(path: Path, *, marker_file: str) -> None:
    """Check that ``path`` does not exist, is an empty folder, or is a folder with ``marker_file``.

    Raises:
        FormatError: ``path`` is something else.
    """
    replaceable = path.is_dir() and ((path / marker_file).exists() or not any(path.iterdir()))
    if path.exists() and not replaceable:
        found = f"exists and was not written by this command (no {marker_file})"
        raise damaged(path, found, "a new or empty folder", "Choose another one with --out")


def _hidden_sibling(path: Path, suffix: str) -> Path:
    """Return a new hidden name in the same folder; unlike `tempfile`'s, it gets the usual permissions."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.{suffix}")


def _swap(new: Path, path: Path) -> None:
    """Move ``new`` to ``path``. One rename cannot replace a folder, so the old one is moved away first."""
    if not path.exists():
        new.rename(path)
        return
    old = _hidden_sibling(path, "old")
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sync(file: Path) -> None:
    """Make a file readable for others, and force it to disk: a rename may otherwise reach the disk before the bytes."""
    file.chmod(0o644)  # safetensors writes 0600, so that other users could not load it
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def is_unsafe_path(name: str) -> bool:
    r"""Return whether a relative path (with slashes, as in zips and manifests) may leave its folder on any system.

    Examples:
        >>> [is_unsafe_path(name) for name in ("histories/items.npy", "../items.npy", "/etc/passwd", "C:x", "..\\x")]
        [False, True, True, True, True]
    """
    parts = PurePosixPath(name).parts
    return ".." in parts or name.startswith("/") or "\\" in name or bool(PureWindowsPath(name).drive)


def path_inside(folder: Path, name: str) -> Path:
    """Return the path of this file in ``folder``.

    Symbolic links are followed: model caches that store each file once need it, and who can create one can read
    its target anyway.

    Raises:
        FormatError: The name is empty, invalid, or leaves the folder.
    """
    if not name or "\0" in name or is_unsafe_path(name):
        found = f"the manifest names the file {name!r}, which is outside the folder"
        raise damaged(folder, found, "files inside it", "Do not use this folder; check its origin")
    return folder / name


CHECKSUM: Final = "manifest_checksum"
_NO_CHECKSUM: Final = "0" * 64


class StrictModel(BaseModel):
    """A JSON object: values are not converted to other types, unknown keys are allowed."""

    model_config = ConfigDict(strict=True, extra="allow")


@dataclass(frozen=True)
class ManifestSpec:
    """The manifest of one kind of folder.

    Attributes:
        model: Its keys and their types.
        format: The format version that is read.
        files_key: The key of the file names.
        expected: The kind of folder, for messages.
        command: The command that writes it, without ``--out``; empty if there is none.
        repair: The next step for a damaged folder, as a sentence.
    """

    model: type[StrictModel]
    format: int
    files_key: str
    expected: str
    command: str
    repair: str

    def next_step(self, folder: Path) -> str:
        """Return what to do if the folder is missing or has another format version."""
        return f"Run: {self.command} --out {folder}" if self.command else self.repair


def manifest_text(content: Mapping[str, Any], *, allow_nan: bool = True) -> str:
    """Return the JSON text of a manifest that ends with the SHA-256 of itself.

    Examples:
        >>> print(manifest_text({"format": 1}).replace("  ", ""), end="")
        {
        "format": 1,
        "manifest_checksum": "b75ce72ea8e37e46c7198516c7864e5818d4a60f733f12b40e3a6e77e3e0f1bf"
        }
    """
    content = {**content, CHECKSUM: _NO_CHECKSUM}
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=allow_nan) + "\n"
    return text.replace(_NO_CHECKSUM, hashlib.sha256(text.encode()).hexdigest())


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(path: Path, spec: ManifestSpec) -> dict[str, Any]:
    """Return the content of a manifest, without its checksum. One without a checksum is read too.

    Raises:
        FormatError: The manifest is missing, damaged, changed or of another format version, lacks a key, or
            names a file outside its folder.
    """
    folder = path.parent
    try:
        text = path.read_bytes()
        content = from_json(text)
    except FileNotFoundError as error:
        raise damaged(folder, f"no {path.name}", spec.expected, spec.next_step(folder)) from error
    except (OSError, ValueError) as error:
        raise damaged(path, f"cannot be read ({error})", "a JSON file", spec.repair) from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != spec.format or isinstance(found, bool):
        raise damaged(path, f"format {found}", f"format {spec.format}", spec.next_step(folder))
    files = content.get(spec.files_key)
    for name in files if isinstance(files, dict) else ():  # first: an unsafe name must be reported as such
        path_inside(folder, name)
    validated: dict[str, Any] = validate_json(path, content, spec.model, spec.repair)
    if CHECKSUM in validated and _digest(text, str(validated[CHECKSUM])) != validated.pop(CHECKSUM):
        raise damaged(path, "checksum mismatch", "the file as written", spec.repair)
    return validated


def validate_json(path: Path, content: Any, schema: Any, repair: str) -> Any:  # noqa: ANN401  any JSON value
    """Return ``content`` if it has the expected type.

    Args:
        path: The file, for the message.
        content: A parsed JSON value.
        schema: A `StrictModel`, or another type that pydantic knows.
        repair: The next step for the message, as a sentence.

    Raises:
        FormatError: It has another type.
    """
    try:
        TypeAdapter(schema).validate_python(content, strict=True)
    except ValidationError as error:
        raise damaged(path, validation_message(error), "the file as written", repair) from error
    return content


def _digest(text: bytes, checksum: str) -> str:
    """Return the SHA-256 of a manifest before its checksum was inserted."""
    return hashlib.sha256(text.replace(checksum.encode(), _NO_CHECKSUM.encode())).hexdigest()


def validation_message(error: ValidationError) -> str:
    """Return the first invalid value: its key, what was expected and what was found."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "the top level"
    if message := renamed(where, first["input"]):
        return message
    if first["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {first['msg']}, found {reprlib.repr(first['input'])}"

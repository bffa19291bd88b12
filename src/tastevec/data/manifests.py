"""The JSON file that says what a folder of ours holds: sealed as it is written, and read whole and of its shape, or refused."""

from __future__ import annotations

import hashlib
import json
import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json

from tastevec.data.confinement import inside
from tastevec.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["SEAL", "ManifestKind", "Shape", "misfit", "read_manifest", "read_shape", "sealed", "sha256_of"]

SEAL: Final = "seal"
_UNSEALED: Final = "0" * 64


class Shape(BaseModel):
    """What a JSON object must hold: nothing is read as another type than it is. What it holds beside that is let be."""

    model_config = ConfigDict(strict=True, extra="allow")


@dataclass(frozen=True)
class ManifestKind:
    """One of our folders.

    Attributes:
        shape: What its manifest holds.
        format: The version that is read.
        files: The key under which it names its files.
        expected: What should be there, and the command that makes it, without its ``--out``.
        again: What to do where it is damaged.
        anew: What to do where it is of another version.
    """

    shape: type[Shape]
    format: int
    files: str
    expected: str
    again: str
    anew: str


def sealed(told: Mapping[str, Any], *, allow_nan: bool = True) -> str:
    """The text of a manifest that says this, and at its end the digest of all that stands before.

    Examples:
        >>> print(sealed({"format": 1}).replace("  ", ""), end="")
        {
        "format": 1,
        "seal": "479879ab63f0bbc9f1cbc4da1991046a653e35f6262bba50f74ad4373a9a5e72"
        }
    """
    text = json.dumps({**told, SEAL: _UNSEALED}, indent=2, ensure_ascii=False, allow_nan=allow_nan) + "\n"
    return text.replace(_UNSEALED, hashlib.sha256(text.encode()).hexdigest())


def sha256_of(path: Path) -> str:
    """The digest of a file, as manifests name it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(path: Path, kind: ManifestKind) -> dict[str, Any]:
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
        inside(folder, name)
    checked: dict[str, Any] = read_shape(path, told, kind.shape, kind.again)
    if SEAL in checked and _digest(text, str(checked[SEAL])) != checked.pop(SEAL):
        raise FormatError(f"{path} is not as it was written (its checksum differs); {kind.again}")
    return checked


def read_shape(path: Path, told: Any, shape: Any, again: str) -> Any:  # noqa: ANN401  what JSON can hold
    """What JSON says, where it is of this shape.

    Args:
        path: Where it stands, for the message.
        told: What it says.
        shape: What it must: a `Shape`, or another type that pydantic knows.
        again: What to do where it is of another.

    Raises:
        FormatError: It is of another.
    """
    try:
        TypeAdapter(shape).validate_python(told, strict=True)
    except ValidationError as error:
        raise FormatError(f"{path} is damaged ({misfit(error)}); {again}") from error
    return told


def _digest(text: bytes, seal: str) -> str:
    """The digest of a manifest as it was before it was sealed."""
    return hashlib.sha256(text.replace(seal.encode(), _UNSEALED.encode())).hexdigest()


def misfit(error: ValidationError) -> str:
    """The first place that is not as it should be, what should be there, and what is."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "all of it"
    if first["type"] == "missing":
        return f"it lacks {where}"
    return f"{where}: {first['msg']}, found {reprlib.repr(first['input'])}"

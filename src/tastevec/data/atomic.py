"""Results that appear whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tastevec.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["new_file", "new_folder"]


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name when the block ends well.

    A block that raises, or a process that is killed, leaves the old file or none.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with new_file(Path(folder) / "a.txt") as temporary:
        ...         _ = temporary.write_text("whole")
        ...     (Path(folder) / "a.txt").read_text()
        'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path, *, owned_by: str) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its name when the block ends well.

    Args:
        path: Where the folder shall be. An existing one is replaced only if it is ours.
        owned_by: A file name that marks a folder as one of ours (its manifest or configuration).

    Raises:
        FormatError: ``path`` exists, is not empty and does not hold ``owned_by``.
    """
    if path.exists() and not _is_ours(path, owned_by):
        raise FormatError(
            f"{path} exists and was not written by this command (it holds no {owned_by}); name a new folder with --out"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        temporary.chmod(0o755)  # mkdtemp makes it 0700
        _swap(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_ours(path: Path, owned_by: str) -> bool:
    return path.is_dir() and ((path / owned_by).exists() or not any(path.iterdir()))


def _swap(new: Path, path: Path) -> None:
    """Put ``new`` in the place of ``path``; a folder cannot be replaced in one rename, so the old one steps aside."""
    if not path.exists():
        new.rename(path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    path.rename(aside / "old")
    new.rename(path)
    shutil.rmtree(aside, ignore_errors=True)


def _flush(file: Path) -> None:
    """Force a file to disk, since a rename may otherwise reach it before the bytes do."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())

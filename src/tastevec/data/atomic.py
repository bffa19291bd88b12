"""Results that appear whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tastevec.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["new_file", "new_folder", "refuse_foreign"]


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name when the block ends well.

    A block that raises, or a process that is killed, leaves the old file or none.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with new_file(Path(folder) / "a.txt") as temporary:
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
def new_folder(path: Path, *, owned_by: str) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its name when the block ends well.

    Args:
        path: Where the folder shall be. An existing one is replaced only if it is ours.
        owned_by: A file name that marks a folder as one of ours (its manifest or configuration).

    Raises:
        FormatError: ``path`` exists, is not empty and does not hold ``owned_by``.
    """
    refuse_foreign(path, owned_by=owned_by)
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


def refuse_foreign(path: Path, *, owned_by: str) -> None:
    """Nothing, if a folder of ours may be written at ``path``: there is none, an empty one, or an earlier one of ours.

    Raises:
        FormatError: Something else is there.
    """
    ours = path.is_dir() and ((path / owned_by).exists() or not any(path.iterdir()))
    if path.exists() and not ours:
        raise FormatError(
            f"{path} exists and was not written by this command (it holds no {owned_by}); name a new folder with --out"
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

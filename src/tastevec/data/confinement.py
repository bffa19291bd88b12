"""Names of files that come from elsewhere, in an archive or a manifest: they stay inside their folder, or are refused."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from tastevec.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["inside", "leads_outside"]


def leads_outside(name: str) -> bool:
    r"""Whether a name, taken from a folder, may end outside it, on whichever system.

    Args:
        name: With slashes, as zips and our manifests write it.

    Examples:
        >>> [leads_outside(name) for name in ("histories/items.npy", "../items.npy", "/etc/passwd", "C:x", "..\\x")]
        [False, True, True, True, True]
    """
    return (
        ".." in PurePosixPath(name).parts
        or name.startswith("/")
        or "\\" in name
        or bool(PureWindowsPath(name).drive)
    )


def inside(folder: Path, name: str) -> Path:
    """The file of this name in ``folder``.

    Links are followed, as a store of models that keeps each file once wants it: whoever can make one there can read it already.

    Raises:
        FormatError: The name leads out of the folder, or is no name.
    """
    if not name or "\0" in name or leads_outside(name):
        raise FormatError(
            f"the manifest of {folder} names the file {name!r}, which is not inside it; expected files of its own: do not use this "
            "folder, and ask where it came from"
        )
    return folder / name

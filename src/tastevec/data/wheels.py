"""A wheel from the user's own package index, brought by pip so that mirrors, proxies and logins are as configured."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from tastevec.errors import DownloadError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["download_wheel"]

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

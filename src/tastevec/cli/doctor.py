"""The command ``doctor``: what this machine has, and the line that installs what it lacks."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tastevec.extras import EXTRAS

from .answer import answering
from .flags import AsJson
from .progress import bar

__all__ = ["doctor"]


def doctor(*, as_json: AsJson = False) -> None:
    """Say what is installed and what is missing.

    Each missing extra comes with the line that installs it.
    """
    with answering(as_json=as_json) as answer, bar("Looking around"):
        found = _examined()
        answer.give(found, _as_text(found))


def _examined() -> dict[str, Any]:
    extras = {extra: {name: _version(name) for name in EXTRAS[extra].values()} for extra in EXTRAS}
    return {
        "tastevec": version("tastevec"),
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory(),
        "gpu": _gpu() if extras["train"]["torch"] else None,
        "extras": {extra: _examined_extra(extra, libraries) for extra, libraries in extras.items()},
    }


def _examined_extra(extra: str, libraries: dict[str, str | None]) -> dict[str, Any]:
    complete = all(libraries.values())
    install = None if complete else f"pip install 'tastevec[{extra}]'"
    return {"complete": complete, "libraries": libraries, "install": install}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _memory() -> int | None:
    """Bytes of memory in all; None where the system does not tell (Windows)."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _gpu() -> str | None:
    """The name of the GPU that torch sees."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _as_text(found: dict[str, Any]) -> str:
    memory = f"{found['memory_bytes'] / 2**30:.1f} GiB" if found["memory_bytes"] else "unknown"
    lines = [
        f"tastevec {found['tastevec']}, Python {found['python']} ({found['executable']})",
        f"{found['platform']}, {found['cores']} cores, {memory} of memory, GPU: {found['gpu'] or 'none that torch sees'}",
    ]
    for extra, examined in found["extras"].items():
        libraries = ", ".join(f"{name} {number or '-'}" for name, number in examined["libraries"].items())
        state = "whole" if examined["complete"] else f"missing something; run: {examined['install']}"
        lines += [f"[{extra}] {state}", f"    {libraries}"]
    return "\n".join(lines)

"""The command line application: its commands, ``doctor``, examples in help, and the process entry point."""

from __future__ import annotations

import os
import platform
import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

import typer

from tastevec.cli.console import AsJson, Command, progress_bar, reporting
from tastevec.cli.data import describe, fetch, inspect, prepare
from tastevec.cli.models import (
    add_items,
    align,
    compare,
    encode_items,
    evaluate,
    fit,
    push,
    settings_help,
    train,
)
from tastevec.cli.serve import serve
from tastevec.cli.users import encode, explain, recommend, similar
from tastevec.extras import EXTRAS

if TYPE_CHECKING:
    from collections.abc import Callable


def doctor(*, as_json: AsJson = False) -> None:
    """Check the installation.

    Each incomplete extra comes with the command that installs it.
    """
    with reporting(as_json=as_json) as output, progress_bar("Checking the installation"):
        found = _installation()
        output.set(found, _as_text(found))


def _installation() -> dict[str, Any]:
    extras = {extra: {name: _version(name) for name in EXTRAS[extra].values()} for extra in EXTRAS}
    return {
        "tastevec": version("tastevec"),
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory(),
        "gpu": _gpu() if extras["train"]["torch"] else None,
        "extras": {extra: _extra(extra, libraries) for extra, libraries in extras.items()},
    }


def _extra(extra: str, libraries: dict[str, str | None]) -> dict[str, Any]:
    complete = all(libraries.values())
    install = None if complete else f"pip install 'tastevec[{extra}]'"
    return {"complete": complete, "libraries": libraries, "install": install}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _memory() -> int | None:
    """Return the bytes of memory of the machine; None on a system without sysconf (Windows)."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _as_text(found: dict[str, Any]) -> str:
    memory = f"{found['memory_bytes'] / 2**30:.1f} GiB" if found["memory_bytes"] else "unknown"
    lines = [
        f"tastevec {found['tastevec']}, Python {found['python']} ({found['executable']})",
        f"{found['platform']}, {found['cores']} cores, memory: {memory}, GPU: {found['gpu'] or 'none found by PyTorch'}",
    ]
    for extra, facts in found["extras"].items():
        missing = ", ".join(name for name, number in facts["libraries"].items() if number is None)
        libraries = ", ".join(f"{name} {number or '-'}" for name, number in facts["libraries"].items())
        state = "complete" if facts["complete"] else f"missing {missing}: {facts['install']}"
        lines += [f"[{extra}] {state}", f"    {libraries}"]
    return "\n".join(lines)


EXAMPLES: Final = {
    "fetch": "tastevec fetch ml-100k --to data",
    "inspect": "tastevec inspect plays.csv --items games.csv",
    "prepare": "tastevec prepare ratings.csv --items items.csv --out prepared",
    "describe": "tastevec describe prepared --out pictures",
    "fit": "tastevec fit ratings.csv --items books.csv --item-noun book:books --out model",
    "train": "tastevec train prepared --out model --set epochs=10 --set seed=7",
    "evaluate": "tastevec evaluate model --data prepared --out results",
    "compare": "tastevec compare results earlier-results --out comparison",
    "align": "tastevec align retrained model --vectors vectors.parquet --out aligned",
    "encode": "tastevec encode model histories.csv --out vectors.parquet",
    "encode-items": "tastevec encode-items model --out items.parquet",
    "recommend": "tastevec recommend model histories.csv --k 20 --out recs.parquet",
    "similar": "tastevec similar model --users histories.csv --user-vectors vectors.parquet",
    "explain": "tastevec explain model histories.csv --tags 5",
    "serve": "tastevec serve model --user-vectors vectors.parquet --port 8080",
    "add-items": "tastevec add-items model new-items.csv --tags tags.csv --out model2",
    "push": "tastevec push model org/taste --private",
    "doctor": "tastevec doctor --json",
}


def example_of(command: str) -> str:
    """Return the last lines of a command's help, which are not wrapped at any width.

    Args:
        command: Name of the command, such as ``add-items``.
    """
    return f"\b\nExample: {EXAMPLES[command]}"


_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait make a busy machine 25 times slower
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}

app = typer.Typer(
    name="tastevec",
    help="User embeddings for recommendation, from interaction histories.",
    epilog="First steps: tastevec fetch ml-100k; tastevec prepare ml-100k --out prepared; "
    "tastevec train prepared --out model; tastevec evaluate model --data prepared --out results.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help is complete at any width, in a pipe as on a terminal
    pretty_exceptions_enable=False,
)
_COMMANDS: tuple[Callable[..., None], ...] = (
    *(
        fetch,
        inspect,
        prepare,
        describe,
        fit,
        train,
        evaluate,
        compare,
        align,
        encode,
        encode_items,
        recommend,
        similar,
        explain,
        serve,
    ),
    *(add_items, push, doctor),
)
for name, function in zip(EXAMPLES, _COMMANDS, strict=True):
    _more = f"\n\n{settings_help()}" if name == "train" else ""
    app.command(name, cls=Command, epilog=f"{example_of(name)}{_more}")(function)


def main() -> None:
    """Run the command that the arguments name."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)  # before torch and transformers are imported, which read it once
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that kill removes unfinished files, too
    app()

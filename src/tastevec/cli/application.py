"""The application: every command under one name, and how the process behaves while one runs."""

from __future__ import annotations

import os
import signal

import typer

from .compare import align, compare
from .data import describe, fetch, prepare
from .doctor import doctor
from .examples import example_of
from .items import add_items
from .likeness import explain, similar
from .models import evaluate, settings_help, train
from .people import encode, recommend
from .serve import serve
from .share import push

__all__ = ["app", "main"]

_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait make a busy machine 25 times slower
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}

app = typer.Typer(
    name="tastevec",
    help="Taste vectors: one short vector a person, from what they rated.",
    epilog="First steps: tastevec fetch ml-100k; tastevec prepare ml-100k --out prepared; "
    "tastevec train prepared --out model; tastevec evaluate model --data prepared --out results.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help stays whole at any width, in a pipe as on a terminal
    pretty_exceptions_enable=False,
)
app.command(epilog=example_of("fetch"))(fetch)
app.command(epilog=example_of("prepare"))(prepare)
app.command(epilog=example_of("describe"))(describe)
app.command(epilog=f"{example_of('train')}\n\n{settings_help()}")(train)
app.command(epilog=example_of("evaluate"))(evaluate)
app.command(epilog=example_of("compare"))(compare)
app.command(epilog=example_of("align"))(align)
app.command(epilog=example_of("encode"))(encode)
app.command(epilog=example_of("recommend"))(recommend)
app.command(epilog=example_of("similar"))(similar)
app.command(epilog=example_of("explain"))(explain)
app.command(epilog=example_of("serve"))(serve)
app.command(epilog=example_of("add-items"))(add_items)
app.command(epilog=example_of("push"))(push)
app.command(epilog=example_of("doctor"))(doctor)


def main() -> None:
    """Run the command that the arguments name, and exit as it says."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)  # before torch and transformers are imported, which read it once
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that unfinished files go away on kill, too
    app()

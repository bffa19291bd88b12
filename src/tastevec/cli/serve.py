"""The command ``serve``: the HTTP service and the page, until it is stopped."""

from pathlib import Path
from typing import Annotated

import typer

from tastevec.cli.console import AsJson, ModelFolder, reporting

__all__ = ["serve"]


def serve(
    model: ModelFolder,
    *,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="The address to bind to; 0.0.0.0 is all of them.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option("--port", metavar="PORT", min=0, max=65535, help="The port; 0 takes any that is free."),
    ] = 8000,
    user_vectors: Annotated[
        Path | None,
        typer.Option(
            metavar="VECTORS",
            help="Who can be found: a Parquet that tastevec encode --horizon overall wrote.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve a model over HTTP, with the page.

    It runs until it is interrupted, and answers what is under way before it ends; SIGHUP loads the model again. A
    bearer token and the limits are set by the environment: TASTEVEC_TOKEN, TASTEVEC_RATE, TASTEVEC_CORS_ORIGINS,
    TASTEVEC_TIMEOUT_S, TASTEVEC_BODY_BYTES.
    """
    with reporting(as_json=as_json) as output:
        from tastevec.serving.service.app import from_folder, run_service
        from tastevec.serving.service.settings import read_settings

        opened = []

        def progress(address: str) -> None:
            opened.append(address)
            typer.echo(f"Serving {model} at {address}; stop with Ctrl+C.", err=True)

        run_service(
            from_folder(model, user_vectors), read_settings(), host=host, port=port, progress=progress
        )
        output.set({"model": model, "address": opened[0]}, f"The service at {opened[0]} has stopped.")

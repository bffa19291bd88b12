"""The command ``serve``: the HTTP service and the web page."""

from pathlib import Path
from typing import Annotated

import typer

from tastevec.cli.console import AsJson, ModelFolder, reporting


def serve(
    model: ModelFolder,
    *,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to bind to; 0.0.0.0 binds to all.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option("--port", metavar="PORT", min=0, max=65535, help="Port to bind to; 0 takes a free one."),
    ] = 8000,
    user_vectors: Annotated[
        Path | None,
        typer.Option(
            metavar="VECTORS",
            help="Users to find similar users among: Parquet file from tastevec encode.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve a model over HTTP, with a web page.

    At a stop, requests in progress finish first; SIGHUP reloads the model. Environment variables set the token, the
    limits and the database: TASTEVEC_TOKEN, TASTEVEC_RATE, TASTEVEC_CORS_ORIGINS, TASTEVEC_TIMEOUT_S,
    TASTEVEC_BODY_BYTES, TASTEVEC_DATABASE_URL.
    """
    with reporting(as_json=as_json) as output:
        from tastevec.serving.service.app import run_service
        from tastevec.serving.service.links import worker_command
        from tastevec.serving.service.settings import read_settings

        addresses = []

        def progress(address: str) -> None:
            addresses.append(address)
            typer.echo(f"Serving {model} at {address}. Press Ctrl+C to stop.", err=True)

        command = worker_command(str(model), None if user_vectors is None else str(user_vectors))
        run_service(command, read_settings(), host=host, port=port, progress=progress)
        output.set({"model": model, "address": addresses[0]}, "Stopped.")

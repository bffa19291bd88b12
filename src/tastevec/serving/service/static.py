"""The web page and its static files."""

from __future__ import annotations

import hashlib
import mimetypes
from types import SimpleNamespace
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from starlette.requests import Request

__all__ = ["page_routes", "unchanged"]

# The machine's own table of types may say otherwise, or nothing.
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_INDEX = "index.html"
_PAGE = SimpleNamespace(path="page")  # what the counters call each of its files


def page_routes(folder: Path) -> Iterator[Route]:
    """A route for each file below the folder, and ``/`` for its index; none where there is no such folder.

    Only what is there when the service starts can be asked for, so that no path leads out of the folder.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith((".", "__")) for part in name.parts):
            place = f"/{'' if str(name) == _INDEX else name.as_posix()}"
            yield Route(place, _file(path), methods=["GET"], include_in_schema=False)


def unchanged(request: Request, tag: str) -> bool:
    """Whether whoever asks has what carries this tag already."""
    known = [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]
    return tag in known or "*" in known


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    body = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    async def answer(request: Request) -> Response:
        request.scope["route"] = _PAGE
        if unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=kind)

    return answer

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

# The MIME table of the operating system may differ or be empty.
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_INDEX = "index.html"
_PAGE = SimpleNamespace(path="page")  # the route label of all static files in metrics and logs


def page_routes(folder: Path) -> Iterator[Route]:
    """Yield a route per file of the folder, and ``/`` for its index; nothing without the folder.

    Only files that exist at the start have a route, so that no path leads out of the folder.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith((".", "__")) for part in name.parts):
            route = f"/{'' if str(name) == _INDEX else name.as_posix()}"
            yield Route(route, _file_endpoint(path), methods=["GET"], include_in_schema=False)


def is_not_modified(request: Request, etag: str) -> bool:
    """Return whether the client has the content with this ETag."""
    known = [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]
    return etag in known or "*" in known


def _file_endpoint(path: Path) -> Callable[[Request], Awaitable[Response]]:
    body = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}

    async def endpoint(request: Request) -> Response:
        request.scope["route"] = _PAGE
        if is_not_modified(request, etag):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=kind)

    return endpoint

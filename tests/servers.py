"""A real HTTP server on 127.0.0.1 that misbehaves on demand, and the zips it serves."""

import io
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What the server answers at one path.

    Attributes:
        body: The bytes there.
        kind: The content type.
        etag: Tells this body from another; None sends none.
        statuses: Error codes to answer first, one a request; 0 hangs up without an answer.
        drop_after: Close the connection after so many bytes of an answer, ``drops`` times.
        stall_after: Fall silent after so many bytes of an answer, ``drops`` times.
        drops: How often.
        ranges: Support Range; otherwise every response is the complete file.
        if_range: Honour If-Range; otherwise a stale range is answered all the same.
        length: Send Content-Length.
        chunked: Send the body in HTTP chunks instead.
    """

    body: bytes
    kind: str = "application/zip"
    etag: str | None = '"first"'
    statuses: list[int] = field(default_factory=list)
    drop_after: int | None = None
    stall_after: int | None = None
    drops: int = 1_000
    ranges: bool = True
    if_range: bool = True
    length: bool = True
    chunked: bool = False


class Server(ThreadingHTTPServer):
    """Pages by path, and the requests that came for them."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.over = threading.Event()

    def at(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, request, client_address):
        """Clients hang up on us on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.close_connection = True
        self.server.requests.append((self.path.lstrip("/"), self.headers.get("Range")))
        page = self.server.pages.get(self.path.lstrip("/"))
        if page is None or page.statuses:
            status = page.statuses.pop(0) if page else 404
            if status:
                self.send_error(status)
            return
        self._send(page, *self._begin(page))

    def _begin(self, page):
        """The status and the first byte of the answer."""
        requested = self.headers.get("Range")
        stale = page.if_range and self.headers.get("If-Range") != page.etag
        if requested is None or not page.ranges or stale:
            return 200, 0
        begin = int(requested.removeprefix("bytes=").rstrip("-"))
        return (206, begin) if begin < len(page.body) else (416, 0)

    def _send(self, page, status, begin):
        body = page.body[begin:] if status != 416 else b""
        self.send_response(status)
        self.send_header("Content-Type", page.kind)
        if page.etag:
            self.send_header("ETag", page.etag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{len(page.body) - 1}/{len(page.body)}")
        if page.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        elif page.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = page.drop_after if page.stall_after is None else page.stall_after
        if cut is None or page.drops <= 0:
            self.wfile.write(body)
            return
        page.drops -= 1
        self.wfile.write(body[:cut])
        self.wfile.flush()
        if page.stall_after is not None:
            self.server.over.wait(20)

    def log_message(self, *_):
        """Tests say what went wrong, not the server."""


@contextmanager
def serving():
    """A server that runs while the block does."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


def zip_of(files, *, compress=True):
    """The bytes of a zip that holds these files, given as a dict of path to text or bytes."""
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return kept.getvalue()

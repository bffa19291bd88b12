"""HTTP downloads: resumable, verified and written atomically."""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, NoReturn, cast

from pydantic_core import from_json

from tastevec.errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Progress = Callable[[int, int | None], None]
"""Called with the bytes received and the total (None if unknown)."""

_BLOCK: Final = 1 << 20
_TIMEOUT: Final = 10.0  # seconds, to connect and between two blocks
_PAUSES: Final = (1.0, 4.0)  # seconds before the second and the third attempt
_ZIP_START: Final = b"PK\x03\x04"
_TOO_MANY_REQUESTS: Final = 429
_RANGE_REFUSED: Final = 416
_SERVER_ERRORS: Final = 500  # and above


class _BrokenError(Exception):
    """The transfer failed for a reason that may be temporary."""


@dataclass(frozen=True)
class _Origin:
    """The remote file of a partial file, which is resumed only from the same remote file."""

    address: str
    validator: str
    total: int | None


def download(address: str, part: Path, *, progress: Progress | None = None) -> int:
    """Download the zip at ``address`` into ``part``, resuming a partial file; return its size in bytes.

    The rest is requested with Range and If-Range, so that a changed remote file starts over. A failed connection is retried
    twice, and again after each retry that transfers a block. ``<part>.json`` stores which remote file ``part`` belongs to.

    Raises:
        DownloadError: The download failed. ``part`` remains only if the same call can resume it.
    """
    try:
        return _with_retries(address, part, progress)
    except BaseException:  # also KeyboardInterrupt
        if not _origin_of(part, address):
            discard(part)
        raise


def discard(part: Path) -> None:
    """Remove a partial file and its origin."""
    part.unlink(missing_ok=True)
    _origin_file(part).unlink(missing_ok=True)


def read_text(address: str, *, limit: int = 1024) -> str | None:
    """Return the start of a small text file, or None if it does not exist.

    Raises:
        DownloadError: The server failed or is unreachable.
    """
    try:
        with _open(address, {}) as response:
            return str(response.read(limit), "utf-8", "replace")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code < _SERVER_ERRORS:
            return None
        raise DownloadError(
            f"{address}: HTTP error {error.code} {error.reason}. Expected a text file. Try again later"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(_unreachable(address, error)) from error


def _with_retries(address: str, part: Path, progress: Progress | None) -> int:
    attempts = 0
    while True:
        before = _size(part)
        try:
            return _transfer(address, part, progress)
        except _BrokenError as error:
            attempts = 1 if _size(part) >= before + _BLOCK else attempts + 1
            if attempts > len(_PAUSES):
                if _origin_of(part, address):
                    rest = f"; {_size(part):,} bytes remain. Run the same command to resume"
                else:
                    rest = ". Run the same command again, or choose another source with --source URL"
                raise DownloadError(f"{address}: the connection failed ({error}){rest}") from error
        time.sleep(_PAUSES[attempts - 1])


def _transfer(address: str, part: Path, progress: Progress | None) -> int:
    """Download the rest of the file, or all of it, in one attempt."""
    origin = _origin_of(part, address)
    received = _size(part) if origin else 0
    if origin and origin.total == received:
        return received
    headers = {"Range": f"bytes={received}-", "If-Range": origin.validator} if origin else {}
    try:
        response = _open(address, headers)
    except urllib.error.HTTPError as error:
        error.close()
        _raise_http_error(address, part, error)
    except urllib.error.URLError as error:
        raise DownloadError(_unreachable(address, error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(_reason(error)) from error
    with response:
        return _receive(response, address, part, progress)


def _raise_http_error(address: str, part: Path, error: urllib.error.HTTPError) -> NoReturn:
    """Raise the error of an HTTP status: temporary or final."""
    if error.code == _RANGE_REFUSED:
        discard(part)
    found = f"HTTP error {error.code} {error.reason}"
    if error.code in (_RANGE_REFUSED, _TOO_MANY_REQUESTS) or error.code >= _SERVER_ERRORS:
        raise _BrokenError(found) from error
    discard(part)
    message = f"{address}: {found}. Expected a zip. Choose another source with --source URL"
    raise DownloadError(message) from error


def _receive(response: http.client.HTTPResponse, address: str, part: Path, progress: Progress | None) -> int:
    """Write the body of a 200 or 206 response into ``part``; return the size of the file."""
    received = _resumed_from(response, address, part)
    length = response.headers.get("Content-Length")
    total = received + int(length) if length else None
    if not received:
        discard(part)
    validator = _validator(response)
    report = progress or (lambda _received, _total: None)
    report(received, total)
    for block in _blocks(response):
        if not received:
            _check_zip(block, response, address)
            if validator:
                _origin_file(part).write_text(json.dumps(asdict(_Origin(address, validator, total))))
        with part.open("ab") as file:
            received += file.write(block)
        report(received, total)
    if total is not None and received < total:
        raise _BrokenError(f"ended after {received:,} of {total:,} bytes")
    return received


def _resumed_from(response: http.client.HTTPResponse, address: str, part: Path) -> int:
    """Return the first byte of this response: the size of the partial file, or 0."""
    if response.status != http.client.PARTIAL_CONTENT:
        return 0
    origin, received = _origin_of(part, address), _size(part)
    begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    same = origin and origin.validator == _validator(response)
    if not same or begins is None or int(begins[1]) != received:
        discard(part)
        raise _BrokenError("the remote file changed")
    return received


def _check_zip(block: bytes, response: http.client.HTTPResponse, address: str) -> None:
    if block.startswith(_ZIP_START[: len(block)]):
        return
    page = response.headers.get_content_type() == "text/html" or block.lstrip()[:1] == b"<"
    found = "an HTML page" if page else f"a file that starts with {block[:4]!r}"
    raise DownloadError(
        f"{address}: {found}. Expected a zip. Open it in a browser to see why (often a proxy or a login page), or choose "
        "another source with --source URL"
    )


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the body in blocks as they arrive; with ``read1`` a timeout loses no received bytes."""
    try:
        while block := response.read1(_BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(_reason(error)) from error


def _open(address: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    request = urllib.request.Request(address, headers={"User-Agent": "tastevec", **headers})  # noqa: S310 - fetch admits http and https only
    response = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310 - as above
    return cast("http.client.HTTPResponse", response)


def _validator(response: http.client.HTTPResponse) -> str | None:
    """Return the strong ETag or the date of the remote file; a weak ETag may be equal for different bytes."""
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    return etag if etag and not etag.startswith("W/") else modified or None


def _origin_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _origin_of(part: Path, address: str) -> _Origin | None:
    """Return the origin of the partial file, or None if it cannot be resumed."""
    try:
        origin = _Origin(**from_json(_origin_file(part).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return origin if _size(part) and origin.address == address else None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no data for {_TIMEOUT:g} seconds"
    return str(error) or type(error).__name__


def _unreachable(address: str, reason: object) -> str:
    detail = _reason(reason) if isinstance(reason, Exception) else reason
    return f"{address}: unreachable ({detail}). Check the network, or choose another source with --source URL"

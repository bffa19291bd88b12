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

__all__ = ["Progress", "discard", "download", "read_text"]

Progress = Callable[[int, int | None], None]
"""Told the bytes that are here and the bytes in all (None where the server does not say)."""

_BLOCK: Final = 1 << 20
_TIMEOUT: Final = 10.0  # seconds: to connect, and of silence
_PAUSES: Final = (1.0, 4.0)  # seconds before the second and the third attempt
_ZIP_START: Final = b"PK\x03\x04"
_TOO_MANY_REQUESTS: Final = 429
_RANGE_REFUSED: Final = 416
_SERVER_ERRORS: Final = 500  # and above


class _BrokenError(Exception):
    """The transfer broke off for a reason that may pass."""


@dataclass(frozen=True)
class _Started:
    """What is remembered beside a partial file, so that it is only ever continued from the same remote file."""

    address: str
    validator: str
    total: int | None


def download(address: str, part: Path, *, progress: Progress | None = None) -> int:
    """Bring the zip at ``address`` whole into ``part``, continuing what an earlier call left there.

    Continuing asks for the rest with Range and If-Range, so that a file which changed meanwhile starts over.
    A broken connection is tried again twice, and as long as it brings anything on.

    Args:
        address: An http or https address.
        part: The file to fill; beside it, in ``<part>.json``, stands which remote file it belongs to.
        progress: Called after each block.

    Returns:
        The size of the file in bytes.

    Raises:
        DownloadError: It could not be had. ``part`` remains only if the same call can resume it.
    """
    try:
        return _patiently(address, part, progress)
    except BaseException:  # an interrupt too
        if not _remembered(part, address):
            discard(part)
        raise


def discard(part: Path) -> None:
    """Remove a partial file and what is remembered about it."""
    part.unlink(missing_ok=True)
    _memory(part).unlink(missing_ok=True)


def read_text(address: str, *, limit: int = 1024) -> str | None:
    """The start of a small text file, or None if the server has none there.

    Raises:
        DownloadError: The server could not be asked.
    """
    try:
        with _open(address, {}) as response:
            return str(response.read(limit), "utf-8", "replace")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code < _SERVER_ERRORS:
            return None
        raise DownloadError(f"{address} answered {error.code} {error.reason}; try again later") from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(_unreachable_sentence(address, error)) from error


def _patiently(address: str, part: Path, progress: Progress | None) -> int:
    attempts = 0
    while True:
        before = _size(part)
        try:
            return _transfer(address, part, progress)
        except _BrokenError as error:
            attempts = 1 if _size(part) >= before + _BLOCK else attempts + 1
            if attempts > len(_PAUSES):
                raise DownloadError(_broken_sentence(address, part, error)) from error
        time.sleep(_PAUSES[attempts - 1])


def _transfer(address: str, part: Path, progress: Progress | None) -> int:
    """One attempt: the rest of the file, or all of it."""
    started = _remembered(part, address)
    here = _size(part) if started else 0
    if started and started.total == here:
        return here
    asking = {"Range": f"bytes={here}-", "If-Range": started.validator} if started else {}
    try:
        response = _open(address, asking)
    except urllib.error.HTTPError as error:
        error.close()
        _refused(address, part, error)
    except urllib.error.URLError as error:
        raise DownloadError(_unreachable_sentence(address, error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(_reason(error)) from error
    with response:
        return _receive(response, address, part, progress)


def _refused(address: str, part: Path, error: urllib.error.HTTPError) -> NoReturn:
    """Raise what an HTTP error means: something that may pass, or the end."""
    if error.code == _RANGE_REFUSED:
        discard(part)
    if error.code in (_RANGE_REFUSED, _TOO_MANY_REQUESTS) or error.code >= _SERVER_ERRORS:
        raise _BrokenError(f"the server answered {error.code} {error.reason}") from error
    discard(part)
    raise DownloadError(
        f"{address} answered {error.code} {error.reason}; expected a zip there; name another place with --source URL"
    ) from error


def _receive(response: http.client.HTTPResponse, address: str, part: Path, progress: Progress | None) -> int:
    """Write the body of a 200 or 206 answer into ``part`` and return the size of the whole."""
    here = _continued_from(response, address, part)
    length = response.headers.get("Content-Length")
    total = here + int(length) if length else None
    if not here:
        discard(part)
    validator = _validator(response)
    report = progress or (lambda _here, _total: None)
    report(here, total)
    for block in _blocks(response):
        if not here:
            _refuse_other_than_zip(block, response, address)
            if validator:
                _memory(part).write_text(json.dumps(asdict(_Started(address, validator, total))))
        with part.open("ab") as file:
            here += file.write(block)
        report(here, total)
    if total is not None and here < total:
        raise _BrokenError(f"it ended after {here:,} of {total:,} bytes")
    return here


def _continued_from(response: http.client.HTTPResponse, address: str, part: Path) -> int:
    """The byte at which this answer begins: that of the partial file, or 0."""
    if response.status != http.client.PARTIAL_CONTENT:
        return 0
    started, here = _remembered(part, address), _size(part)
    begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    same = started and started.validator == _validator(response)
    if not same or begins is None or int(begins[1]) != here:
        discard(part)
        raise _BrokenError("the file there is another one than before")
    return here


def _refuse_other_than_zip(block: bytes, response: http.client.HTTPResponse, address: str) -> None:
    if block.startswith(_ZIP_START[: len(block)]):
        return
    page = response.headers.get_content_type() == "text/html" or block.lstrip()[:1] == b"<"
    found = "an HTML page" if page else f"a file that begins with {block[:4]!r}"
    raise DownloadError(
        f"{address} sent {found} instead of a zip; open it in a browser to see why (a proxy or a login page often "
        "answers so), or name another place with --source URL"
    )


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body in blocks as they arrive; ``read1`` so that a silence loses nothing that came before it."""
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
    """What tells this remote file from a later one; a weak ETag may stand for different bytes."""
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return str(etag)
    modified = response.headers.get("Last-Modified")
    return str(modified) if modified else None


def _memory(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _remembered(part: Path, address: str) -> _Started | None:
    """What is known of the partial file, or None where it cannot be continued."""
    if not _size(part):
        return None
    try:
        started = _Started(**from_json(_memory(part).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return started if started.address == address else None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came for {_TIMEOUT:g} seconds"
    return str(error) or type(error).__name__


def _broken_sentence(address: str, part: Path, error: Exception) -> str:
    if _remembered(part, address):
        return f"the connection to {address} broke: {error}; {_size(part):,} bytes are kept, run the same command again to resume"
    return f"the connection to {address} broke: {error}; run the same command again, or name another place with --source URL"


def _unreachable_sentence(address: str, reason: object) -> str:
    said = _reason(reason) if isinstance(reason, Exception) else reason
    return f"{address} cannot be reached ({said}); check the network, or name another place with --source URL"

"""Messages between the front and a worker: a header, which is a JSON object, and a body."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json, to_json

if TYPE_CHECKING:
    from typing import BinaryIO

LARGE_AT_ONCE: Final = 8  # large requests that a worker takes, to compute them in turns
SIZES: Final = struct.Struct("<II")  # of header and body, before both


def message_bytes(header: dict[str, Any], body: bytes) -> bytes:
    """Return the bytes of a message."""
    head = to_json(header)
    return b"".join((SIZES.pack(len(head), len(body)), head, body))


def read_message(file: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Return the next message of a file; None at its end."""
    sizes = file.read(SIZES.size)
    if len(sizes) < SIZES.size:
        return None
    head, body = SIZES.unpack(sizes)
    return from_json(file.read(head)), file.read(body)

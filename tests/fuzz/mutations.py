"""Alter valid files: bytes in any file, keys in JSON, fields in text, columns in Parquet, arrays in safetensors."""

from __future__ import annotations

import io
import json
from copy import deepcopy
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load, save

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

NAN = float("nan")
ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, NAN),
    *(float("inf"), "", "0", "1", "nan", "a", "../a", "/etc/hostname", "\0", "\u202e", "é" * 3, "x" * 300),
    *([], [[]], {}, [None], [1, [2, [3]]], {"": {}}, {"format": 1}),
]
FIELDS = [
    "",
    "0",
    "-1",
    "1e9",
    "nan",
    "inf",
    "9" * 30,
    "0x1",
    "1,5",
    '"',
    '"a',
    "a|b",
    " ",
    "\0",
    "\ufffd",
    "é",
    "1::2",
    "\t",
]
SNIPPETS = [
    b"",
    b"\0",
    b"\xff",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"\r",
    b"\r\n",
    b"\n\n",
    b'"',
    b"[" * 3000,
    b"{",
    b"PK\x03\x04",
    b"PAR1",
    b"x" * 140_000,
]


def mutated(name: str, valid: bytes, random: Random) -> bytes:
    """Return the file with one to four random changes that fit its format."""
    change = _BY_KIND.get(PurePosixPath(name).suffix, _text)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        made = _bytes if random.random() < 0.3 else change
        try:
            valid = made(valid, random)
        except Exception:  # noqa: BLE001  an earlier change made the file unreadable
            valid = _bytes(valid, random)
    return valid


def _bytes(valid: bytes, random: Random) -> bytes:
    position = random.randint(0, len(valid))
    way = random.choice(["flip", "cut", "insert", "remove", "repeat", "nothing"])
    if way == "flip" and valid:
        value = bytearray(valid)
        value[position % len(value)] ^= 1 << random.randint(0, 7)
        return bytes(value)
    if way == "cut":
        return valid[:position]
    if way == "insert":
        return valid[:position] + random.choice(SNIPPETS) + valid[position:]
    end = min(len(valid), position + random.randint(1, 40))
    if way == "remove":
        return valid[:position] + valid[end:]
    if way == "repeat":
        return valid[:end] + valid[position:]
    return b""


def _json(valid: bytes, random: Random) -> bytes:
    content = json.loads(valid)
    holder, key = _random_key(content, random)
    if holder is None:
        return json.dumps(random.choice(ODD)).encode()
    way = random.choice(["value", "value", "remove", "rename", "retype"])
    if way == "value":
        holder[key] = deepcopy(random.choice(ODD))
    elif way == "remove":
        del holder[key]
    elif way == "rename" and isinstance(holder, dict):
        holder[random.choice(["a", "", "../a", key + "s"])] = holder.pop(key)
    else:
        value = holder[key]
        holder[key] = random.choice(
            [str(value), [value], {"a": value}, -value if isinstance(value, int | float) else None]
        )
    return json.dumps(content).encode()


def _random_key(content: Any, random: Random) -> tuple[Any, Any]:
    """Return a random container within a JSON value, and one of its keys; (None, None) for a scalar."""
    found: list[tuple[Any, Any]] = []
    waiting = [content]
    while waiting:
        value = waiting.pop()
        pairs = (
            list(value.items())
            if isinstance(value, dict)
            else list(enumerate(value))
            if isinstance(value, list)
            else []
        )
        found += [(value, key) for key, _ in pairs]
        waiting += [value for _, value in pairs]
    return random.choice(found) if found else (None, None)


def _text(valid: bytes, random: Random) -> bytes:
    lines = valid.split(b"\n")
    position = random.randint(0, min(len(lines) - 1, 6))  # readers see the first lines first
    separator = next((mark for mark in (b"::", b"\t", b"|", b",") if mark in lines[position]), b",")
    fields = lines[position].split(separator)
    way = random.choice(["field", "field", "less", "more", "line", "separator", "encoding"])
    if way == "field":
        fields[random.randint(0, len(fields) - 1)] = random.choice(FIELDS).encode()
    elif way == "less":
        fields.pop(random.randint(0, len(fields) - 1))
    elif way == "more":
        fields.append(random.choice(FIELDS).encode())
    elif way == "separator":
        separator = random.choice([b";", b" ", b",", b"\t"])
    elif way == "line":
        return b"\n".join(lines[: position + 1])
    else:
        return valid.decode("latin-1").encode(random.choice(["utf-16", "utf-8-sig", "utf-32"]))
    lines[position] = separator.join(fields)
    return b"\n".join(lines)


def _column(length: int, random: Random) -> pa.Array:
    """Return a valid Arrow column, rarely of the expected type."""
    made: list[Callable[[], pa.Array]] = [
        lambda: pa.nulls(length),
        lambda: pa.nulls(length, pa.int64()),
        lambda: pa.array([NAN] * length),
        lambda: pa.array([float("inf")] * length, pa.float32()),
        lambda: pa.array(["x"] * length),
        lambda: pa.array([""] * length, pa.large_string()),
        lambda: pa.array([b"\xff"] * length, pa.binary()),
        lambda: pa.array([2**63] * length, pa.uint64()),
        lambda: pa.array([-(2**63)] * length, pa.int64()),
        lambda: pa.array([7] * length, pa.uint8()),
        lambda: pa.array([[[1]]] * length),
        lambda: pa.array([{"a": 1}] * length),
        lambda: pa.array([True] * length),
        lambda: pa.array([0] * length, pa.timestamp("us")),
        lambda: pa.array([None, *["a"] * length][:length]).dictionary_encode(),
        lambda: pa.array([1] * length).cast(pa.decimal128(38, 3)),
        lambda: pa.array([[1.0] * 8] * length, pa.list_(pa.float64(), 8)),
        lambda: pa.array([[]] * length, pa.list_(pa.float32())),
    ]
    return random.choice(made)()


def _parquet(valid: bytes, random: Random) -> bytes:
    table = pq.read_table(io.BytesIO(valid))
    position = random.randint(0, table.num_columns - 1)
    name = table.column_names[position]
    way = random.choice(
        ["replace", "replace", "remove", "rename", "twice", "empty", "order", "metadata", "few"]
    )
    if way == "replace":
        table = table.set_column(position, name, _column(len(table), random))
    elif way == "remove":
        table = table.remove_column(position)
    elif way == "rename":
        names = [*table.column_names]
        names[position] = random.choice(["", "a", name.upper(), 'a"b', "rating", "item_id"])
        table = table.rename_columns(names)
    elif way == "twice":
        table = table.append_column(name, table[position])
    elif way == "empty":
        table = table.slice(0, 0)
    elif way == "order":
        table = table.take(pa.array([random.randint(0, len(table) - 1) for _ in range(len(table))]))
    elif way == "metadata":
        table = table.replace_schema_metadata(
            {random.choice([b"space", b"horizon", b"\xff"]): random.choice([b"a", b"\xff"])}
        )
    else:
        table = table.slice(random.randint(0, len(table)))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _array(value: np.ndarray, random: Random) -> np.ndarray:
    way = random.choice(["kind", "shape", "less", "more", "values", "none"])
    if way == "kind":
        return value.astype(random.choice(["f2", "f8", "i1", "u1", "i8", "?"]))
    if way == "shape":
        return value.reshape(random.choice([(-1,), (1, -1), (-1, 1), (1, -1, 1)]))
    if way == "less":
        return value[: random.randint(0, max(len(value) - 1, 0))] if value.ndim else value
    if way == "more":
        return np.concatenate([value, value])
    if way == "values":
        odd = [NAN, float("inf"), -1e30, 0.0] if value.dtype.kind == "f" else [-1, 0, 127]
        return np.full_like(value, random.choice(odd))
    return np.zeros((0, *value.shape[1:]), value.dtype)


def _tensors(valid: bytes, random: Random) -> bytes:
    arrays, header = load(valid), _header(valid)
    name = random.choice(sorted(arrays))
    way = random.choice(["array", "array", "remove", "rename", "header", "more"])
    if way == "array":
        with np.errstate(all="ignore"):
            arrays[name] = np.ascontiguousarray(_array(arrays[name], random))
    elif way == "remove":
        del arrays[name]
    elif way == "rename":
        arrays[random.choice(["a", "mean.a", "mean.next", name + ".b"])] = arrays.pop(name)
    elif way == "more":
        arrays["mean.x"] = np.zeros(3, np.float32)
    elif header:
        key = random.choice(sorted(header))
        header[key] = _json(header[key].encode(), random).decode()
    else:
        header = {"header": "[]"}
    return save(arrays, header or None)


def _header(valid: bytes) -> dict[str, str]:
    size = int.from_bytes(valid[:8], "little")
    return dict(json.loads(valid[8 : 8 + size]).get("__metadata__", {}))


def _npy(valid: bytes, random: Random) -> bytes:
    buffer = io.BytesIO()
    with np.errstate(all="ignore"):
        np.save(buffer, _array(np.load(io.BytesIO(valid)), random), allow_pickle=False)
    return buffer.getvalue()


_BY_KIND: dict[str, Callable[[bytes, Random], bytes]] = {
    ".json": _json,
    ".parquet": _parquet,
    ".safetensors": _tensors,
    ".npy": _npy,
    ".zip": _bytes,
    ".onnx": _bytes,
    ".part": _bytes,
}

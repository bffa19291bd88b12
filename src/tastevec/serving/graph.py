"""The check of an ONNX graph before ONNX Runtime reads it: only operators and weights that tastevec exports.

ONNX lets a tensor name a file (external data), a node name code outside ONNX (a domain, a function) and an attribute hold
graphs that run in loops. ONNX Runtime would open that file, relative to the working directory. A model folder is data of
others, so such a graph is refused. The package onnx is not part of serving; the wire format of protobuf is short enough to
read here, and a list of what is allowed needs no list of what is dangerous: each field of each message is either listed
below or refused, whatever a later version of ONNX makes of it. The weights are skipped, not read.

Source: https://protobuf.dev/programming-guides/encoding/ and ``onnx.proto`` of ONNX 1.23.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Fields by message, with the message that they hold; "" is a value that is skipped, "operator" and "domain" are read.
_FIELDS: Final[Mapping[str, Mapping[int, str]]] = {
    # Refused: training_info (20), functions (25), configuration (26).
    "model": {**dict.fromkeys((1, 2, 3, 4, 5, 6, 14), ""), 7: "graph", 8: "operator set"},
    "operator set": {1: "domain", 2: ""},
    # Refused: quantization_annotation (14), sparse_initializer (15).
    "graph": {1: "node", 5: "tensor", **dict.fromkeys((2, 10, 11, 12, 13, 16), "")},
    # Refused: overload (8), device_configurations (10).
    "node": {4: "operator", 5: "attribute", 7: "domain", **dict.fromkeys((1, 2, 3, 6, 9), "")},
    # Refused: g (6), tensors (10), graphs (11), types (14, 15), ref_attr_name (21), sparse tensors (22, 23).
    "attribute": {5: "tensor", **dict.fromkeys((1, 2, 3, 4, 7, 8, 9, 13, 20), "")},
    # Refused: segment (3), external_data (13), data_location (14).
    "tensor": dict.fromkeys((1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16), ""),
}
_NAMES: Final = {
    ("model", 25): "a function",
    ("graph", 15): "a sparse tensor",
    ("attribute", 6): "a graph in a node",
    ("attribute", 11): "a graph in a node",
    ("attribute", 22): "a sparse tensor",
    ("attribute", 23): "a sparse tensor",
    ("tensor", 13): "external data",
    ("tensor", 14): "external data",
}
_DOMAINS: Final = (b"", b"ai.onnx")
# What the exporter of torch 2.13 writes for both presets and each activation of transformers, and the four operators of
# constants that other versions of it leave in.
_OPERATORS: Final = frozenset(
    b"Add Cast Clip Concat Constant ConstantOfShape Div Equal Erf Exp Expand Gather GatherND Gelu Gemm Greater HardSwish "
    b"Identity IsNaN LayerNormalization LeakyRelu LessOrEqual MatMul Min Mish Mul PRelu Pow Range Relu Reshape Shape "
    b"Sigmoid Slice Softmax Softplus Sqrt Squeeze Sub Tanh Transpose Trilu Unsqueeze Where".split()
)
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_MAX_FIELDS: Final = 200_000  # a graph of 12 layers has 9,487; so many take half a second


def check_graph(graph: bytes) -> None:
    """Check that ONNX Runtime can read the graph without a file, a library or a further graph.

    Raises:
        ValueError: It is damaged, or has something that tastevec does not export.

    Examples:
        >>> check_graph(bytes([0x3A, 6, 0x0A, 4, 0x22, 2, 0x49, 0x66]))  # a model (7) of a graph (1) of a node (4) If
        Traceback (most recent call last):
        ValueError: the operator If
    """
    messages = [("model", memoryview(graph))]
    count = 0
    while messages:
        message, content = messages.pop()
        for field, value in _fields(content):
            count += 1
            if count > _MAX_FIELDS:
                raise ValueError(f"more than {_MAX_FIELDS:,} fields")
            kind = _FIELDS[message].get(field)
            if kind is None:
                raise ValueError(_NAMES.get((message, field), f"the field {field} of a {message}"))
            if not kind:
                continue
            if value is None:
                raise ValueError(f"a number for the {kind} of a {message}")
            if kind in _FIELDS:
                messages.append((kind, value))
            elif (text := bytes(value)) not in (_OPERATORS if kind == "operator" else _DOMAINS):
                raise ValueError(f"the {kind} {text[:80].decode(errors='replace')}")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """Yield number and content of each field; the content of a number is None.

    Raises:
        ValueError: The message is damaged.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        value = None
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _BYTES:
            length, at = _varint(message, at)
            value = message[at : at + length]
            at += length
        elif kind in {_FIXED_32, _FIXED_64}:
            at += 4 if kind == _FIXED_32 else 8
        else:  # groups, which ONNX has not, and unknown types
            raise ValueError("damaged")
        if at > end:
            raise ValueError("truncated")
        yield tag >> 3, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number at a position, of up to ten bytes, and the position after it."""
    value = shift = 0
    for position in range(at, min(at + 10, len(message))):
        byte = message[position]
        value |= (byte & 127) << shift
        if byte < 128:  # noqa: PLR2004  the bit that says that more bytes follow
            return value, position + 1
        shift += 7
    raise ValueError("truncated")

"""Graphs that would open a file or run other code are refused before ONNX Runtime reads them."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tastevec.data.files import sha256_of
from tastevec.errors import FormatError
from tastevec.serving import encoder as module
from tastevec.serving.bundle import Bundle
from tastevec.serving.graph import check_graph

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])


def in_a_file(name="/etc/hostname"):
    """Return a tensor whose content is the first bytes of a file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", name), ("offset", "0"), ("length", "4")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def sparse(values):
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    return onnx.SparseTensorProto(values=values, indices=indices, dims=[1])


def graph(*nodes, **parts):
    return helper.make_graph([*nodes, helper.make_node("Add", ["x", "w"], ["y"])], "g", [X], [Y], **parts)


def nested(depth):
    """Return a graph with an If in an If in an If."""
    inner = helper.make_graph([], "inner", [], [Y])
    for _ in range(depth):
        node = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=onnx.GraphProto())
        inner = helper.make_graph([node], "outer", [], [Y])
    return inner


def loop():
    body = helper.make_graph([], "body", [X], [Y], initializer=[in_a_file()])
    return helper.make_node("Loop", ["", "x"], ["w"], body=body)


def model(made, **more):
    return onnx.ModelProto(ir_version=10, graph=made, opset_import=[helper.make_opsetid("", 20)], **more)


def function():
    return helper.make_function("own", "f", ["x"], ["w"], [helper.make_node("Neg", ["x"], ["w"])], [])


def constant(**value):
    return helper.make_node("Constant", [], ["w"], **value)


HOSTILE = {
    "external initializer": (model(graph(initializer=[in_a_file()])), "external data"),
    "location without a file": (
        model(graph(initializer=[TensorProto(name="w", data_location=1)])),
        "external data",
    ),
    "external in a loop": (model(graph(loop())), "the operator Loop"),
    "external in an allowed operator's graph": (
        model(graph(helper.make_node("Add", ["x", "x"], ["w"], body=graph(initializer=[in_a_file()])))),
        "a graph in a node",
    ),
    "external in a constant": (model(graph(constant(value=in_a_file()))), "external data"),
    "sparse constant": (model(graph(constant(sparse_value=sparse(in_a_file())))), "a sparse tensor"),
    "sparse initializer": (model(graph(sparse_initializer=[sparse(in_a_file())])), "a sparse tensor"),
    "domain of a node": (
        model(graph(helper.make_node("Add", ["x"], ["w"], domain="com.other"))),
        "the domain com.other",
    ),
    "domain of the model": (
        onnx.ModelProto(ir_version=10, graph=graph(), opset_import=[helper.make_opsetid("com.microsoft", 1)]),
        "the domain com.microsoft",
    ),
    "operator": (model(graph(helper.make_node("NonZero", ["x"], ["w"]))), "the operator NonZero"),
    "function": (model(graph(), functions=[function()]), "a function"),
    "training": (
        model(graph(), training_info=[onnx.TrainingInfoProto(algorithm=graph())]),
        "the field 20 of a model",
    ),
    "nested graphs": (model(nested(20)), "the operator If"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_graph_is_refused(name):
    made, found = HOSTILE[name]
    with pytest.raises(ValueError, match=f"^{found}$"):
        check_graph(made.SerializeToString())


def varint(number):
    return bytes([*((number >> shift & 127) | 128 for shift in range(0, 63, 7)), number >> 63])


def message(field, content):
    return varint(field << 3 | 2) + varint(len(content)) + content


@pytest.mark.parametrize(
    ("content", "found"),
    [
        # As its parser does: fields of one number are merged, numbers may be longer than needed, the last one counts.
        (message(7, b"") + message(7, message(5, message(13, b""))), "external data"),
        (
            message(7, message(5, varint(14 << 3) + varint(2**32 + 1) + varint(14 << 3) + varint(0))),
            "external data",
        ),
        (varint((7 << 3 | 2) + 2**32) + varint(0), "the field 536870919 of a model"),
        (message(7, message(1, message(4, b"Add") + message(4, b"Loop"))), "the operator Loop"),
        (varint(7 << 3) + varint(1), "a number for the graph of a model"),
        (varint(7 << 3 | 3) + varint(7 << 3 | 4), "damaged"),
        (varint(7 << 3 | 2) + varint(2**63) + b"x", "truncated"),
        (varint(2 << 3 | 5) + b"123", "truncated"),
        (b"\xff" * 20, "truncated"),
        (varint(0) + varint(0), "the field 0 of a model"),
        (message(7, b"\x0a\x00" * 200_001), "more than 200,000 fields"),
    ],
)
def test_graph_of_unusual_bytes_is_refused(content, found):
    with pytest.raises(ValueError, match=f"^{found}$"):
        check_graph(content)


@pytest.fixture(name="exported")
def _exported(bundle_folder):
    """Return the graph of a model; those of both presets are loaded in test_onnx_encoder.py."""
    return (bundle_folder / "encoder.onnx").read_bytes()


def test_exported_graph_passes_in_milliseconds(exported):
    began = time.perf_counter()
    check_graph(exported)
    assert time.perf_counter() - began < 1


def test_truncated_graph_is_refused(exported):
    for end in range(100, len(exported) - 100, 1 + len(exported) // 300):
        with pytest.raises(ValueError, match=r"^truncated$"):
            check_graph(exported[:end])


PIECES = [made.SerializeToString() for made, _ in HOSTILE.values()]
PIECES += [
    in_a_file().SerializeToString(),
    constant(value=in_a_file()).SerializeToString(),
    b"\x70\x01",
    b"\x6a\x00",
    b"\xc8\x01",
]
PLAIN = model(graph(constant(value=numpy_helper.from_array(np.ones(1, np.float32))))).SerializeToString()
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1), st.integers(0, 3), st.sampled_from(PIECES) | st.binary(min_size=1, max_size=3)
    ),
    min_size=1,
    max_size=3,
)


def parsed(content):
    """Return what the parser of ONNX reads, in all messages; nothing where it reads no model."""
    try:
        messages = [onnx.ModelProto.FromString(content)]
    except DecodeError:
        return
    while messages:
        one = messages.pop()
        yield one
        for field, value in one.ListFields():
            if field.message_type is not None:
                messages.extend(value if field.is_repeated else [value])


@settings(max_examples=400)
@given(st.sampled_from([PLAIN, *PIECES]), EDITS)
@example(PLAIN, [(0.0, 0, b"")])
def test_what_passes_the_check_has_nothing_hostile_for_the_parser_of_onnx(content, edits):
    """For any change of a plain or a hostile model: the parser sees no more than the check has seen."""
    for where, removed, piece in edits:
        at = int(where * len(content))
        content = content[:at] + piece + content[at + removed :]
    try:
        check_graph(content)
    except ValueError:
        return
    for message in parsed(content):
        if isinstance(message, onnx.TensorProto):
            assert not message.external_data
            assert message.data_location == TensorProto.DEFAULT
        if isinstance(message, onnx.NodeProto | onnx.OperatorSetIdProto):
            assert message.domain in {"", "ai.onnx"}
        assert not isinstance(message, onnx.SparseTensorProto | onnx.FunctionProto | onnx.TrainingInfoProto)
        assert not isinstance(message, onnx.AttributeProto) or not (message.HasField("g") or message.graphs)


def test_weights_are_not_read(exported):
    larger = onnx.load_from_string(exported)
    larger.graph.initializer.append(numpy_helper.from_array(np.zeros(10_000_000, np.float32), "w"))
    content = larger.SerializeToString()
    began = time.process_time()
    check_graph(content)
    assert time.process_time() - began < 1


def replaced(folder, target, content):
    """Return a copy of a model whose graph is ``content``, with the checksum of it, as an attacker would write it."""
    shutil.copytree(folder, target)
    (target / "encoder.onnx").write_bytes(content)
    manifest = json.loads((target / "bundle.json").read_text())
    manifest["checksums"]["encoder.onnx"] = sha256_of(target / "encoder.onnx")
    del manifest["manifest_checksum"]
    (target / "bundle.json").write_text(json.dumps(manifest))
    return target


def test_model_with_external_data_is_refused_before_a_session(bundle_folder, exported, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    monkeypatch.setattr(module, "_Graph", None)
    made = onnx.load_from_string(exported)
    tensor = next(one for one in made.graph.initializer if one.name.endswith("head.bias"))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=os.path.relpath(Path(__file__), "/"))
    with pytest.raises(
        FormatError, match=r"encoder\.onnx: the graph has external data\. Expected .* Check the origin"
    ):
        Bundle.load(replaced(bundle_folder, tmp_path / "model", made.SerializeToString()), "onnx")


def test_graph_that_looks_like_the_format_of_the_runtime_is_read_as_onnx(bundle_folder, exported, tmp_path):
    """Bytes 4 to 7 mark ONNX Runtime's own format; here they are part of a producer's name."""
    content = b"\x12\x06..ORTM" + exported
    assert Bundle.load(replaced(bundle_folder, tmp_path / "model", content), "onnx").space

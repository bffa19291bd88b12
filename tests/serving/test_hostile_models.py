"""A model folder of an attacker, with matching checksums, is one sentence within a second, whatever it claims."""

import json
import os
import shutil
import struct
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samples import reseal
from tastevec.data.files import MAX_MANIFEST, manifest_text
from tastevec.data.prepared import Prepared
from tastevec.errors import FormatError
from tastevec.serving.bundle import MAX_CONFIG, Bundle

MOST = 2**31 - 1
TERABYTE = 2**40


def pipe(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)


def device(folder, name):
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")


def vast(folder, name):
    """A file with a hole, which takes no room on the disk."""
    os.truncate(folder / name, TERABYTE)


def config(folder, name):
    """One size of the network as large as its type allows."""
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {name: MOST}))


def reading(folder, name):
    content = manifest(folder)
    (content["reading"] if name in content["reading"] else content["reading"]["scale"])[name] = MOST
    write(folder, content)


def names(folder, kind):
    content = manifest(folder)
    content["checksums"] |= {"x" * 5_000: ""} if kind == "long" else {str(n): "" for n in range(200_000)}
    write(folder, content)


def header(folder, kind):
    """A weights file with a shape of a trillion rows and no bytes, or with a header that is longer than the file."""
    content = json.dumps(
        {"items.weight": {"dtype": "F32", "shape": [TERABYTE, 0], "data_offsets": [0, 0]}}
    ).encode()
    length = len(content) if kind == "shape" else 2**62
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", length) + content)


def rows(folder, _):
    table = pq.read_table(folder / "items.parquet")
    pq.write_table(pa.concat_tables([table] * 20_000), folder / "items.parquet", compression="zstd")


def manifest(folder):
    content = json.loads((folder / "bundle.json").read_text())
    content.pop("manifest_checksum", None)
    return content


def write(folder, content):
    (folder / "bundle.json").write_text(manifest_text(content))


UNREADABLE = [
    "bundle.json",
    "config.json",
    "items.parquet",
    "model.safetensors",
    "encoder.onnx",
    "encoder.py",
]
SIZES = [
    "n_items",
    "dim",
    "hidden_size",
    "intermediate_size",
    "layers",
    "max_history",
    "rating_bins",
]
DOORS = [
    *((door, name) for door in (pipe, device) for name in UNREADABLE),
    *((vast, name) for name in ("bundle.json", "config.json", "encoder.onnx")),
    *((config, name) for name in SIZES),
    *((reading, name) for name in ("max_history", "n_bins")),
    *((names, kind) for kind in ("long", "many")),
    *((header, kind) for kind in ("shape", "length")),
    (rows, ""),
]


@pytest.fixture(name="folder")
def _folder(bundle_folder, tmp_path):
    """Return a copy that tests can alter."""
    return shutil.copytree(bundle_folder, tmp_path / "model")


@pytest.mark.timeout(20, func_only=True)
@pytest.mark.parametrize(("door", "name"), DOORS, ids=lambda one: getattr(one, "__name__", one))
def test_hostile_model_is_refused_at_once(folder, door, name, monkeypatch):
    original = (folder / "bundle.json").read_bytes()
    door(folder, name)
    if door in (config, header, rows):
        reseal(folder, "bundle.json", original)
    if door is rows:
        monkeypatch.setattr(pq, "read_table", None)  # refused by its header
    began = time.process_time()
    with pytest.raises(FormatError) as refused:
        Bundle.load(folder)
    assert time.process_time() - began < 1
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("name", ["time_gap_bins", "heads"])
def test_size_that_the_graph_does_not_have_allocates_nothing(folder, name):
    original = (folder / "bundle.json").read_bytes()
    config(folder, name)
    reseal(folder, "bundle.json", original)
    with pytest.raises(FormatError, match="the network cannot be built"):
        Bundle.load(folder, "torch")


@pytest.mark.timeout(20, func_only=True)
@pytest.mark.parametrize(
    ("door", "name"),
    [(pipe, "manifest.json"), (device, "manifest.json"), (vast, "manifest.json"), (pipe, "items.parquet")],
)
def test_hostile_prepared_dataset_is_refused_at_once(prepared_folder, tmp_path, door, name):
    folder = shutil.copytree(prepared_folder, tmp_path / "prepared")
    door(folder, name)
    with pytest.raises(FormatError):
        Prepared.open(folder)


def test_limits_leave_room_for_large_models(folder):
    """A thousand epochs, and a million added items."""
    entries = manifest(folder)["log"]
    assert len(json.dumps(entries, indent=2)) / len(entries) * 1_000 < MAX_MANIFEST
    assert len(json.dumps([1_000_000] * 1_000_000, indent=2)) < MAX_CONFIG

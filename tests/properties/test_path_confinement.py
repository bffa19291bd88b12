"""For any name in an archive or a manifest, nothing is read or written outside its folder."""

import io
import json
import os
import tempfile
import zipfile
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from servers import zip_of
from tastevec.data.download import unpack
from tastevec.data.files import path_inside
from tastevec.data.intake.layouts import find_source
from tastevec.data.prepared import Prepared
from tastevec.errors import DownloadError, FormatError, SourceError
from tastevec.schema import BUNDLE_FORMAT, PREPARED_FORMAT
from tastevec.serving.bundle import Bundle

PARTS = st.sampled_from(["..", ".", "a", "ratings.dat", "movies.dat", "x.inter", "C:", "", "~", "é"])
NAMES = st.builds(
    str.join, st.sampled_from(["/", "\\", "//"]), st.lists(PARTS, min_size=1, max_size=6)
).filter(bool)
ANY = NAMES | st.text(max_size=20)


@contextmanager
def nest():
    """Yield a deep folder and its ancestor; a change around the deep folder is an escape."""
    with tempfile.TemporaryDirectory() as name:
        inner = Path(name) / "one" / "two" / "three"
        inner.mkdir(parents=True)
        (Path(name) / "ratings.dat").write_text("kept")
        yield Path(name), inner


def around(outer, inner):
    return {
        path.relative_to(outer).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in outer.rglob("*")
        if path != inner and inner not in path.parents
    }


@given(ANY)
@example("a/../../b")
@example("/etc/passwd")
@example("..\\x")
@example("\0")
def test_path_inside_is_in_folder_or_refused(name):
    folder = Path("some") / "folder"
    try:
        found = path_inside(folder, name)
    except FormatError:
        return
    assert os.path.normpath(found).startswith(str(folder))


@given(st.dictionaries(NAMES, st.binary(max_size=9), max_size=6))
@example({"../../ratings.dat": b"evil", "../../movies.dat": b""})
def test_prepared_zip_writes_into_its_folder_only(members):
    with nest() as (outer, inner):
        packed = outer / "r.zip"
        packed.write_bytes(zip_of({"ml/ratings.dat": b"1", "ml/movies.dat": b"2"} | members))
        before = around(outer, inner)
        layout = find_source(packed, inner)
        assert inner in layout.interactions.parents
        assert around(outer, inner) == before


@given(st.dictionaries(NAMES, st.binary(max_size=9), max_size=6))
def test_fetched_zip_writes_named_files_into_its_folder_only(members):
    with nest() as (outer, inner):
        packed = outer / "r.zip"
        packed.write_bytes(zip_of({"ml/ratings.dat": b"1"} | members))
        before = around(outer, inner)
        try:
            unpack(packed, inner, required=["ratings.dat"], origin="somewhere")
        except DownloadError:
            assert list(inner.iterdir()) == []
        assert {path.name for path in inner.iterdir()} <= {"ratings.dat"}
        assert around(outer, inner) == before


@given(st.integers(0, 3 << 20), st.integers(0, 3 << 20))
def test_zip_expansion_is_bounded(first, second):
    bomb = zip_of({"ml/ratings.dat": bytes(first), "ml/movies.dat": bytes(second)})
    with nest() as (outer, inner):
        packed = outer / "r.zip"
        packed.write_bytes(bomb)
        refused = first + second > max(100 * len(bomb), 1 << 20)
        with pytest.raises(SourceError, match="Expected at most 100 times") if refused else nullcontext():
            find_source(packed, inner)
        written = sum(path.stat().st_size for path in inner.rglob("*") if path.is_file())
        assert written <= max(100 * len(bomb), 1 << 20)


def test_zip_bomb_with_false_size_stops_at_declared_size():
    kept = io.BytesIO(zip_of({"ml/ratings.dat": bytes(2 << 20), "ml/movies.dat": b""}))
    with zipfile.ZipFile(kept) as archive:
        start = archive.start_dir
    content = bytearray(kept.getvalue())
    content[start + 24 : start + 28] = (1000).to_bytes(4, "little")  # the directory's uncompressed size
    with nest() as (outer, inner):
        (outer / "r.zip").write_bytes(content)
        with pytest.raises(SourceError, match="the zip is truncated or damaged"):
            find_source(outer / "r.zip", inner)
        assert (inner / "unpacked" / "ratings.dat").stat().st_size <= 1000


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/hostname", "a/../../secret", "..\\secret", "C:secret", ""]
)
@pytest.mark.parametrize(
    ("opened", "manifest", "content", "files"),
    [
        (Prepared.open, "manifest.json", {"format": PREPARED_FORMAT}, "files"),
        (Bundle.load, "bundle.json", {"format": BUNDLE_FORMAT}, "checksums"),
    ],
    ids=["prepared", "bundle"],
)
def test_manifest_with_outside_path_is_refused_before_reading(
    tmp_path, opened, manifest, content, files, name
):
    (tmp_path / "secret").write_text("kept")
    folder = tmp_path / "folder"
    folder.mkdir()
    named_files = {name: {"bytes": 4, "sha256": ""}}
    (folder / manifest).write_text(json.dumps({**content, files: named_files}))
    with pytest.raises(FormatError, match=r"which is outside the folder\. Expected files inside it"):
        opened(folder)

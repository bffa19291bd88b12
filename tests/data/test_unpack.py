"""Zips from other hosts are unpacked completely and inside their folder, or not at all."""

import hashlib
import io
import stat
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers import zip_of
from tastevec.data.download import Member, unpack
from tastevec.errors import DownloadError

_TABLES = {"ml/a.csv": "one", "ml/b.csv": "two two"}


def _unpack(tmp_path, content, required=("a.csv", "b.csv"), optional=()):
    archive, into = tmp_path / "x.zip", tmp_path / "into"
    archive.write_bytes(content)
    into.mkdir()
    return unpack(archive, into, required=required, optional=optional, origin="somewhere")


def _refused(tmp_path, content, match, **names):
    with pytest.raises(DownloadError, match=match):
        _unpack(tmp_path, content, **names)


def test_unpack_returns_size_and_sha256_of_named_files(tmp_path):
    found = _unpack(tmp_path, zip_of(_TABLES | {"ml/c.csv": "not wanted"}))
    assert found == {
        "a.csv": Member(3, hashlib.sha256(b"one").hexdigest()),
        "b.csv": Member(7, hashlib.sha256(b"two two").hexdigest()),
    }
    assert sorted(file.name for file in (tmp_path / "into").iterdir()) == ["a.csv", "b.csv"]


def test_unpack_includes_optional_file(tmp_path):
    found = _unpack(tmp_path, zip_of(_TABLES | {"ml/README": "read"}), optional=("README", "NOTICE"))
    assert list(found) == ["a.csv", "b.csv", "README"]


def test_unpack_uses_the_shallowest_folder(tmp_path):
    found = _unpack(tmp_path, zip_of({"old/deep/a.csv": "x", "old/deep/b.csv": "y"} | _TABLES))
    assert found["a.csv"].bytes == 3


def test_unpack_finds_files_without_folder(tmp_path):
    assert _unpack(tmp_path, zip_of({"a.csv": "1", "b.csv": "2"}))["b.csv"].bytes == 1


def test_unpack_with_missing_member_names_the_entries(tmp_path):
    _refused(
        tmp_path,
        zip_of({"ml/a.csv": "1"}),
        r"somewhere: the zip has no b\.csv, only ml/a\.csv\. Expected a\.csv, b\.csv",
    )


def test_unpack_of_empty_zip_is_refused(tmp_path):
    _refused(tmp_path, zip_of({}), "only nothing")


@pytest.mark.parametrize("path", ["../a.csv", "ml/../../a.csv", "/etc/a.csv", "C:/a.csv", "..\\a.csv"])
def test_unpack_with_outside_path_is_refused(tmp_path, path):
    _refused(tmp_path, zip_of(_TABLES | {path: "evil"}), r"is outside its folder\. Expected plain files")
    assert not any((tmp_path / "into").iterdir())
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_unpack_with_link_or_device_is_refused(tmp_path, kind):
    entry = zipfile.ZipInfo("ml/c.csv")
    entry.external_attr = (kind | 0o777) << 16
    _refused(tmp_path, zip_of({entry: "/etc/passwd"} | _TABLES), "is a link or a device")


def test_unpack_of_zip_bomb_is_refused(tmp_path):
    bomb = zip_of({"a.csv": bytes(20 << 20), "b.csv": ""})
    _refused(tmp_path, bomb, "unpacks .* into 20,971,520. Expected at most 100 times")
    assert not any((tmp_path / "into").iterdir())


def test_unpack_of_entry_longer_than_declared_is_refused(tmp_path):
    content = bytearray(zip_of({"a.csv": "x" * 5000, "b.csv": ""}, compress=True))
    offset = content.index(b"PK\x01\x02") + 24  # the directory's uncompressed size
    struct.pack_into("<L", content, offset, 100)
    _refused(tmp_path, bytes(content), "truncated or damaged")
    assert (tmp_path / "into" / "a.csv").stat().st_size <= 100


def test_unpack_of_entry_shorter_than_declared_is_refused(tmp_path):
    content = bytearray(zip_of({"a.csv": "x" * 5000, "b.csv": ""}))
    struct.pack_into("<L", content, content.index(b"PK\x01\x02") + 24, 6000)
    _refused(tmp_path, bytes(content), "truncated or damaged")


def test_unpack_of_encrypted_entry_is_refused(tmp_path):
    content = bytearray(zip_of(_TABLES))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(mark) + offset
        struct.pack_into("<H", content, at, 1)
    _refused(tmp_path, bytes(content), "truncated or damaged")


@given(st.data())
def test_unpack_of_truncated_zip_is_refused(tmp_path_factory, data):
    content = zip_of(_TABLES)
    cut = data.draw(st.integers(0, len(content) - 1))
    _refused(tmp_path_factory.mktemp("cut"), content[:cut], "truncated or damaged|has no")


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_unpack_returns_packed_bytes(tmp_path_factory, first, second):
    folder = tmp_path_factory.mktemp("round")
    _unpack(folder, zip_of({"ml/a.csv": first, "ml/b.csv": second}))
    assert [(folder / "into" / name).read_bytes() for name in ("a.csv", "b.csv")] == [first, second]


def test_unpack_with_flipped_byte_is_refused(tmp_path):
    content = bytearray(zip_of(_TABLES, compress=False))
    content[content.index(b"two two")] ^= 1
    _refused(tmp_path, bytes(content), "Bad CRC-32")


def test_unpack_of_other_bytes_is_refused(tmp_path):
    _refused(tmp_path, io.BytesIO(b"hello" * 20).getvalue(), "not a zip file")

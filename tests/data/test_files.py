import os
import shutil
import stat
from pathlib import Path

import pytest

from tastevec.data.files import atomic_file, atomic_folder, check_replaceable
from tastevec.errors import FormatError

MARK = "ours.json"
FILES = ("deep/part",)


def write(folder, text="new"):
    with atomic_folder(folder, marker_file=MARK, files=FILES) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "part").write_text(text)
        (temporary / MARK).write_text(text)


def write_half(file, error):
    file.write_text("half")
    raise error


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_atomic_file_appears_when_complete(tmp_path):
    target = tmp_path / "far" / "a.txt"
    with atomic_file(target) as temporary:
        temporary.write_text("complete")
        assert not target.exists()
        assert temporary.parent == target.parent  # so that the rename cannot cross a file system
    assert target.read_text() == "complete"
    assert names(target.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_atomic_file_after_error_is_unchanged(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), atomic_file(target) as temporary:
        write_half(temporary, error)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_written_files_and_folders_have_the_permissions_of_the_umask(tmp_path, umask):
    (tmp_path / "copied").mkdir(mode=0o777)
    before = os.umask(umask)
    try:
        with atomic_file(tmp_path / "a.txt") as temporary:
            assert mode(temporary) == 0o666 & ~umask
            temporary.chmod(0o600)  # as safetensors does
        with atomic_folder(tmp_path / "out", marker_file=MARK, files=FILES) as temporary:
            assert mode(temporary) == 0o777 & ~umask
            shutil.copytree(tmp_path / "copied", temporary / "deep")
            (temporary / "deep" / "part").touch(mode=0o600)
            (temporary / MARK).touch(mode=0o600)
    finally:
        os.umask(before)
    assert {mode(tmp_path / name) for name in ("a.txt", f"out/{MARK}", "out/deep/part")} == {0o666 & ~umask}
    assert {mode(tmp_path / name) for name in ("out", "out/deep")} == {0o777 & ~umask}


def test_atomic_folder_replaces_earlier_one_when_complete(tmp_path):
    write(tmp_path / "out", "old")
    (tmp_path / "out" / ".DS_Store").touch()
    write(tmp_path / "out")
    assert names(tmp_path / "out") == ["deep", MARK]
    assert (tmp_path / "out" / "deep" / "part").read_text() == "new"
    assert names(tmp_path) == ["out"]


def test_atomic_folder_replaces_empty_folder(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert names(tmp_path / "out") == ["deep", MARK]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_atomic_folder_after_error_is_unchanged(tmp_path, error):
    write(tmp_path / "out", "old")
    with (
        pytest.raises(error),
        atomic_folder(tmp_path / "out", marker_file=MARK, files=FILES) as temporary,
    ):
        write_half(temporary / MARK, error)
    assert (tmp_path / "out" / MARK).read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_atomic_folder_restores_old_one_if_rename_fails(tmp_path, monkeypatch):
    write(tmp_path / "out", "old")
    rename = Path.rename

    def fails(self, target):
        if self.suffix == ".part":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="no"):
        write(tmp_path / "out")
    assert (tmp_path / "out" / MARK).read_text() == "old"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_foreign_file_or_folder_is_refused_and_unchanged(tmp_path, kind):
    foreign = tmp_path / "out"
    if kind == "folder":
        foreign.mkdir()
    (foreign / "thesis.txt" if kind == "folder" else foreign).write_text("mine")
    with pytest.raises(FormatError, match=r"was not written by this command.* Choose another one"):
        write(foreign)
    with pytest.raises(FormatError):
        check_replaceable(foreign, marker_file=MARK, files=FILES)
    assert (foreign / "thesis.txt" if kind == "folder" else foreign).read_text() == "mine"
    assert names(tmp_path) == ["out"]

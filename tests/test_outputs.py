"""Where commands write: places that are refused before anything is written, permissions, and one writer at a time."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import worlds
from encoders import TINY
from tastevec.cli.app import app
from tastevec.data import files
from tastevec.data.files import check_replaceable, only_writer
from tastevec.errors import FormatError
from tastevec.pipelines.train import train
from tastevec.schema import FOLDER_FILES

SET = [word for name, value in {**TINY, "epochs": 1}.items() for word in ("--set", f"{name}={value}")]
FOLDERS = {
    "prepare": (["prepare", "release", "--genome", "genome", "--out"], "manifest.json"),
    "describe": (["describe", "prepared", "--out"], "description.json"),
    "train": (["train", "prepared", *SET, "--out"], "bundle.json"),
    "evaluate": (["evaluate", "model", "--data", "prepared", "--tuned", "tuned", "--out"], "results.json"),
    "compare": (["compare", "tuned", "results", "--out"], "results.json"),
    "align": (["align", "model", "model2", "--vectors", "vectors.parquet", "--out"], "alignment.json"),
    "add-items": (["add-items", "model", "items.csv", "--out"], "bundle.json"),
    "fetch": (["fetch", "ml-100k", "--to"], "SOURCE.json"),
}
FILES = {
    "encode": ["encode", "model", "histories.csv", "--out"],
    "encode-items": ["encode-items", "model", "--out"],
    "recommend": ["recommend", "model", "histories.csv", "--out"],
    "similar": ["similar", "model", "--user-vectors", "vectors.parquet", "--out"],
}
FOLDER_INPUTS = [
    ("prepare", "release"),
    ("prepare", "genome"),
    ("describe", "prepared"),
    ("train", "prepared"),
    ("evaluate", "model"),
    ("evaluate", "prepared"),
    ("evaluate", "tuned"),
    ("compare", "results"),
    ("align", "model"),
    ("align", "model2"),
    ("add-items", "model"),
]
FILE_INPUTS = [
    ("encode", "histories.csv"),
    ("recommend", "histories.csv"),
    ("similar", "vectors.parquet"),
    ("align", "vectors.parquet"),
    ("add-items", "items.csv"),
]


@pytest.fixture(scope="module", name="world")
def _world(prepared_folder, bundle_folder, tmp_path_factory):
    """A folder with the inputs of every command, which no test may change."""
    world = tmp_path_factory.mktemp("world")
    worlds.write_csv_release(world / "release")
    worlds.write_genome(world / "genome")
    shutil.copytree(prepared_folder, world / "prepared")
    for name in ("model", "model2"):
        shutil.copytree(bundle_folder, world / name)
    for name in ("tuned", "results"):
        (world / name).mkdir()
        (world / name / "results.json").write_text('{"format_version": 4}')
    rows = [f"{row.user},{row.item},{row.stars},{row.time}" for row in worlds.ratings()]
    (world / "histories.csv").write_text("\n".join(["user_id,item_id,rating,timestamp", *rows]) + "\n")
    (world / "items.csv").write_text("item_id,title,genres\n99,New (2001),Drama\n")
    vectors = pa.array([[1.0] * 8], pa.list_(pa.float32(), 8))
    pq.write_table(pa.table({"user_id": ["u"], "vector": vectors}, metadata={"space": "s"}), world / "vectors.parquet")  # fmt: skip
    return world


@pytest.fixture(autouse=True)
def _there(world, monkeypatch):
    monkeypatch.chdir(world)


def snapshot(*folders):
    """Return what a refused command may not change: files, links, bytes and permissions."""
    return {
        path: (path.lstat().st_ino, path.lstat().st_mode, path.is_file() and path.read_bytes())
        for folder in folders
        for path in sorted(folder.rglob("*"))
    }


def refused(words, out, message, *watched):
    """Run the command, which is refused in one sentence and changes nothing."""
    before = snapshot(Path.cwd(), *watched)
    result = CliRunner().invoke(app, [*words, str(out)])
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    [line] = result.stderr.splitlines()
    flag = words[-1]
    assert line.startswith("Error: ")
    assert message in line
    assert line.endswith(f"Choose another one with {flag}"), line
    assert snapshot(Path.cwd(), *watched) == before


def folder_of(command, place):
    """Return the value of the flag whose folder is ``place``: `fetch` has a folder in that of its flag."""
    if command != "fetch":
        return place
    return place.parent


def place_of(command, tmp_path):
    return tmp_path / ("ml-100k" if command == "fetch" else "out")


# ---- the user's own files ----


@pytest.mark.parametrize("command", FOLDERS)
def test_folder_of_other_content_is_refused_and_unchanged(command, tmp_path):
    words, marker = FOLDERS[command]
    place = place_of(command, tmp_path)
    place.write_text("mine")
    refused(words, folder_of(command, place), "a file, which was not written by this command", tmp_path)
    place.unlink()
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    refused(words, folder_of(command, place), f"(no {marker})", tmp_path)
    (place / marker).write_text('{"format": 1, "tastevec": "0.1.0"}')
    refused(words, folder_of(command, place), "contains notes.txt, which was not written", tmp_path)
    (place / "notes.txt").unlink()
    (place / "own").mkdir()
    refused(words, folder_of(command, place), "contains own, which was not written", tmp_path)
    (place / "own").rmdir()
    (place / marker).write_text('{"name": "a file of another program"}')
    refused(words, folder_of(command, place), f"(no {marker})", tmp_path)


@pytest.mark.parametrize("command", FILES)
def test_file_of_other_content_is_refused_and_unchanged(command, tmp_path):
    (tmp_path / "ratings.csv").write_text("user,item,rating\n")
    refused(FILES[command], tmp_path / "ratings.csv", "was not written by this command", tmp_path)
    pq.write_table(pa.table({"user_id": [1]}), tmp_path / "own.parquet")
    refused(FILES[command], tmp_path / "own.parquet", "was not written by this command", tmp_path)
    refused(FILES[command], tmp_path, ": a folder. Expected a new file name", tmp_path)


def test_finished_training_keeps_files_of_the_user_in_its_run_folder(world, tmp_path):
    def note(*_):
        (tmp_path / "model.training" / "notes.txt").write_text("mine")

    train(world / "prepared", tmp_path / "model", progress=note, **{**TINY, "epochs": 1})
    assert [path.name for path in (tmp_path / "model.training").iterdir()] == ["notes.txt"]
    message = "model.training: exists and was not written by this command"
    with pytest.raises(FormatError, match=message):
        train(world / "prepared", tmp_path / "model", **TINY)


# ---- the inputs ----


@pytest.mark.parametrize(("command", "source"), FOLDER_INPUTS)
def test_output_in_around_or_at_an_input_folder_is_refused(command, source, world, tmp_path):
    words, _ = FOLDERS[command]
    (tmp_path / "link").symlink_to(world / source)
    if (command, source) != ("add-items", "model"):  # which may replace its model
        for same in (source, world / "release" / ".." / source, tmp_path / "link"):
            refused(words, same, f"the same as the input {source}")
    for inside in (f"{source}/new", f"{source}/a/b", tmp_path / "link" / "new"):
        refused(words, inside, f"inside the input {source}")


@pytest.mark.parametrize(("command", "source"), FILE_INPUTS)
def test_output_around_or_at_an_input_file_is_refused(command, source, world, tmp_path):
    words = FILES.get(command) or FOLDERS[command][0]
    if command in FILES:
        (tmp_path / "symbolic").symlink_to(world / source)
        (tmp_path / "hard").hardlink_to(world / source)
        for same in (source, f"release/../{source}", tmp_path / "symbolic", tmp_path / "hard"):
            refused(words, same, f"the same as the input {source}", tmp_path)
        (tmp_path / "hard").unlink()
        return
    (tmp_path / "around").mkdir()
    shutil.copy(world / source, tmp_path / "around")
    words = [str(tmp_path / "around" / source) if word == source else word for word in words]
    refused(words, tmp_path / "around", f"around/{source}", tmp_path)


@pytest.mark.parametrize("command", FILES)
def test_file_in_a_model_folder_is_refused(command):
    refused(FILES[command], "model/vectors.parquet", "inside the input model")


def test_add_items_may_replace_its_model(world, tmp_path):
    shutil.copytree(world / "model", tmp_path / "model")
    result = CliRunner().invoke(app, ["add-items", str(tmp_path / "model"), "items.csv", "--out", str(tmp_path / "model")])  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "21 films" in result.stdout


# ---- places that are neither a file nor a folder ----


@pytest.mark.parametrize("command", [*FOLDERS, *FILES])
def test_device_pipe_socket_and_standard_output_are_refused(command, tmp_path):
    words = FILES.get(command) or FOLDERS[command][0]
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        for name in ("pipe", "socket"):
            if command == "fetch":
                (tmp_path / name).rename(tmp_path / "ml-100k")
                refused(words, tmp_path, "a device, a pipe or a socket", tmp_path)
                (tmp_path / "ml-100k").unlink()
            else:
                refused(words, tmp_path / name, "a device, a pipe or a socket", tmp_path)
    for device in ("/dev/null", "/dev/stdout", "/dev/new"):
        refused(words, device, "a device")


@pytest.mark.parametrize("command", [*FOLDERS, *FILES])
def test_unusable_path_is_refused_before_the_work(command, tmp_path, monkeypatch):
    words = FILES.get(command) or FOLDERS[command][0]
    (tmp_path / "file").touch()
    refused(words, tmp_path / "file" / "deep" / "out", "file is a file", tmp_path)
    refused(words, "-", "standard output")
    if command != "fetch":
        refused(words, "", ".: a folder" if command in FILES else ".: the current folder, or one above it")
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        refused(words, tmp_path / "loop", "a link to itself", tmp_path)
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path)
    refused(words, tmp_path / "deep" / "out", f"{tmp_path} is not writable", tmp_path)


@pytest.mark.parametrize("command", sorted(FOLDERS.keys() - {"fetch"}))
def test_mounted_or_current_folder_is_refused(command, tmp_path, monkeypatch):
    words, _ = FOLDERS[command]
    (tmp_path / "mounted").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "mounted")
    refused(words, tmp_path / "mounted", "a mount point", tmp_path)
    refused(words, "..", "the current folder, or one above it")


# ---- what is replaced ----


def test_earlier_result_and_empty_file_are_replaced(world, tmp_path):
    out = tmp_path / "new" / "vectors.parquet"
    for _ in range(2):
        assert CliRunner().invoke(app, [*FILES["encode"], str(out)]).exit_code == 0
    assert pq.read_table(out).num_rows == worlds.USERS
    out.write_bytes(b"")
    assert CliRunner().invoke(app, [*FILES["recommend"], str(out)]).exit_code == 0
    (tmp_path / "link").symlink_to(out)
    before = out.stat().st_ino
    result = CliRunner().invoke(app, ["similar", "model", "--out", str(tmp_path / "link")])
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "link").is_symlink()
    assert out.stat().st_ino != before
    del world


def test_link_to_an_earlier_folder_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "v1").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "v1")
    for _ in range(2):
        before = (tmp_path / "v1").stat().st_ino
        result = CliRunner().invoke(app, ["prepare", "release", "--out", str(tmp_path / "link")])
        assert result.exit_code == 0, result.stderr
        assert (tmp_path / "v1").stat().st_ino != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "v1"]
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "v1" / "manifest.json").exists()


def test_files_that_appear_during_the_work_are_not_replaced(tmp_path):
    def work(temporary):
        (temporary / "bundle.json").touch()
        (tmp_path / "out").mkdir()
        for name in ("bundle.json", "notes.txt"):
            (tmp_path / "out" / name).write_text("")

    with (
        pytest.raises(FormatError, match=r"contains notes\.txt"),
        files.atomic_folder(tmp_path / "out", marker_file="bundle.json") as temporary,
    ):
        work(temporary)
    own = tmp_path / "v.parquet"
    with pytest.raises(FormatError, match="was not written by this command"), files.result_file(own):
        own.write_text("mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "v.parquet"]
    assert (tmp_path / "out" / "notes.txt").exists()


def test_every_folder_of_the_world_is_an_earlier_result():
    markers = {"prepared": "manifest.json", "model": "bundle.json", "results": "results.json"}
    for name, marker in markers.items():
        assert check_replaceable(Path(name), marker_file=marker) == Path(name).resolve()
    assert set(FOLDER_FILES) == {marker for _, marker in FOLDERS.values()} - {"SOURCE.json"} | {
        "settings.json"
    }


# ---- permissions ----


def modes(folder):
    """Return the permissions of the files and of the folders."""
    entries = [(stat.S_IMODE(path.lstat().st_mode), path.is_dir()) for path in folder.rglob("*")]
    return {mode for mode, is_dir in entries if not is_dir}, {mode for mode, is_dir in entries if is_dir}


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_commands_write_with_the_permissions_that_the_umask_allows(umask, tmp_path, monkeypatch):
    words = {name: FILES.get(name) or FOLDERS[name][0] for name in [*FILES, "prepare", "add-items"]}
    words["similar"] = ["similar", "model", "--out"]
    if umask == 0o027:  # these take longer
        words |= {"describe": FOLDERS["describe"][0]}
        words |= {"evaluate": ["evaluate", "model", "--data", "prepared", "--no-baselines", "--out"]}
    seen = []
    before = os.umask(umask)
    try:
        for name, command in words.items():
            result = CliRunner().invoke(app, [*command, str(tmp_path / name)])
            assert result.exit_code == 0, result.output
        if umask == 0o027:
            settings = {**TINY, "epochs": 2, "report_to": "tensorboard"}
            train(
                "prepared", tmp_path / "train", progress=lambda *_: seen.append(modes(tmp_path)), **settings
            )
    finally:
        os.umask(before)
    assert modes(tmp_path) == ({0o666 & ~umask}, {0o777 & ~umask})
    assert not {mode & umask for both in seen for mode in both[0] | both[1]} - {0}  # of the checkpoints
    monkeypatch.chdir(tmp_path)
    for place in tmp_path.iterdir():
        marker = FOLDERS.get(place.name, (None, None))[1]
        assert check_replaceable(place, marker_file=marker) == place  # by the same command, run again


# ---- one writer at a time ----


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_second_training_to_one_output_is_refused_at_once(resume, world, tmp_path):
    errors = []

    def second(*_):
        if not errors:
            before = snapshot(tmp_path)
            words = ["train", str(world / "prepared"), *SET, *resume, "--out", str(tmp_path / "model")]
            result = CliRunner().invoke(app, words)
            errors.append((result.exit_code, result.stderr))
            assert snapshot(tmp_path) == before

    train(world / "prepared", tmp_path / "model", progress=second, **{**TINY, "epochs": 1})
    [(code, error)] = errors
    assert code == 1
    assert error == (
        f"Error: {tmp_path}/model.training: another process writes there. Expected one at a time. "
        "Wait for it, or choose another output with --out\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


HOLDER = """
import sys, time
from pathlib import Path
from tastevec.data.files import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_lock_of_a_killed_process_is_free(tmp_path):
    folder = tmp_path / "model.training"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    with holder.stdout:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FormatError, match="another process writes there"), only_writer(folder):
            pytest.fail("it began")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert [path.name for path in folder.iterdir()] == [".lock"]
    with only_writer(folder):
        pass
    assert list(tmp_path.iterdir()) == []


def test_lock_is_taken_again_if_its_file_was_removed_meanwhile(tmp_path, monkeypatch):
    flock, calls = files._flock, []

    def removed_once(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            (tmp_path / "run" / ".lock").unlink()
        flock(descriptor)

    monkeypatch.setattr(files, "_flock", removed_once)
    with only_writer(tmp_path / "run"):
        assert len(calls) == 2
        assert (tmp_path / "run" / ".lock").exists()


@pytest.mark.parametrize(
    ("code", "locks"), [(errno.ENOLCK, False), (errno.ENOTSUP, False), (errno.EIO, True)]
)
def test_file_system_without_locks_has_none_and_other_errors_are_raised(code, locks, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="Windows has no fcntl")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match=os.strerror(code)) if locks else nullcontext(), only_writer(tmp_path):
        pass


def test_system_without_locks_has_none(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with only_writer(tmp_path / "run"), only_writer(tmp_path / "run"):
        pass

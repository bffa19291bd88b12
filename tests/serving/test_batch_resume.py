"""Batch inference resumes after an interruption and leaves no partial output."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tastevec.cli.app import app
from tastevec.data import streaming
from tastevec.serving.recommender import Recommender, load

USERS, GROUP = 400, 20
# As `tastevec encode`, with small groups and a pause in each.
ENCODE_SLOWLY = f"""
import sys, time
from functools import partial
from pathlib import Path
from tastevec.data import streaming
from tastevec.pipelines import batch
from tastevec.serving.recommender import Recommender, load
model, histories, out, pause = sys.argv[1:]
vectors = Recommender.user_vectors
def slow(*arguments):
    time.sleep(float(pause))
    return vectors(*arguments)
Recommender.user_vectors = slow
streaming.iter_histories = partial(streaming.iter_histories, users_per_batch={GROUP})
recommender = load(model)
users = recommender.open_file(Path(histories))
print(batch.write_vectors(recommender, users, Path(out)).resumed)
"""


def ratings(users=USERS, seed=0):
    """Return ratings of the 20 items of the tiny world, and of some unknown items."""
    rng = np.random.default_rng(seed)
    rows = [
        (user, item, int(rng.integers(1, 6)), 1_000_000_000 + int(rng.integers(0, 10**6)))
        for user in range(1, users + 1)
        for item in rng.choice(24, int(rng.integers(1, 20)), replace=False).tolist()
    ]
    return pa.table(
        dict(zip(("user_id", "item_id", "rating", "timestamp"), zip(*rows, strict=True), strict=True))
    )


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pq.write_table(ratings(), "histories.parquet")


@pytest.fixture
def small_groups(monkeypatch):
    iter_histories = streaming.iter_histories
    monkeypatch.setattr(
        streaming, "iter_histories", lambda *arguments: iter_histories(*arguments, users_per_batch=GROUP)
    )


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def list_files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def stop_after(monkeypatch, groups, error):
    """Let the model raise an error after some groups; return the list of the group sizes."""
    vectors, sizes = Recommender.user_vectors, []

    def fail_later(self, histories, *how):
        sizes.append(len(histories))
        if len(sizes) > groups:
            raise error
        return vectors(self, histories, *how)

    monkeypatch.setattr(Recommender, "user_vectors", fail_later)
    return sizes


def start(model, out, pause):
    return subprocess.Popen(
        [sys.executable, "-c", ENCODE_SLOWLY, str(model), "histories.parquet", str(out), str(pause)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process):
    """Return the printed number of users that were finished before."""
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()[-2000:]
    return int(printed)


@pytest.mark.slow
def test_encode_killed_at_random_moments_gives_equal_bytes(bundle_folder, tmp_path):
    assert finish(start(bundle_folder, "straight.parquet", 0)) == 0
    out, unfinished = tmp_path / "killed.parquet", tmp_path / "killed.parquet.unfinished"
    rng = np.random.default_rng(5)
    for least in (0, 3, 9, 14):
        process = start(bundle_folder, out, 0.05)
        deadline = time.monotonic() + 240
        while len(list(unfinished.glob("shard-*"))) < least and time.monotonic() < deadline:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not out.exists()
    done = len(list(unfinished.glob("shard-*")))
    assert finish(start(bundle_folder, out, 0)) == done * GROUP >= 14 * GROUP
    assert out.read_bytes() == (tmp_path / "straight.parquet").read_bytes()
    assert pq.read_table(out)["user_id"].to_pylist() == list(range(1, USERS + 1))
    assert list_files(tmp_path) == ["histories.parquet", "killed.parquet", "straight.parquet"]


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("command", [["encode"], ["recommend", "--k", 3]], ids=["encode", "recommend"])
def test_resumed_command_computes_each_user_once(command, bundle_folder, tmp_path, monkeypatch):
    name, *flags = command
    words = [name, bundle_folder, "histories.parquet", *flags, "--out"]
    assert run(*words, "straight.parquet").exit_code == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 5, KeyboardInterrupt)
        stopped = run(*words, "again.parquet")
    assert stopped.exit_code == 130
    assert f"Resume: tastevec {name} " in stopped.stderr
    assert not (tmp_path / "again.parquet").exists()
    sizes = stop_after(monkeypatch, USERS, KeyboardInterrupt)
    again = run(*words, "again.parquet")
    assert again.exit_code == 0
    assert f"Resumed: {5 * GROUP} users were finished before the interruption." in again.stderr
    assert sum(sizes) == USERS - 5 * GROUP
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "straight.parquet").read_bytes()
    assert list_files(tmp_path) == ["again.parquet", "histories.parquet", "straight.parquet"]


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("changed", ["histories", "horizon", "weight", "model"])
def test_changed_input_is_not_resumed(changed, bundle_folder, tmp_path, monkeypatch):
    """With changed histories, only the changed groups are computed again."""
    with monkeypatch.context() as patch:
        stop_after(patch, 5, KeyboardInterrupt)
        run("encode", bundle_folder, "histories.parquet", "--out", "v.parquet")
    model, horizon, weight = bundle_folder, "overall", "0.4"
    if changed == "histories":
        table = ratings().to_pydict()
        table["rating"][0] = 6 - table["rating"][0] if table["rating"][0] != 3 else 5
        pq.write_table(pa.table(table), "histories.parquet")
    elif changed == "horizon":
        horizon = "next"
    elif changed == "weight":
        weight = "0.7"
    else:
        grown = load(model).with_items(
            pa.table({"item_id": [900], "title": ["Rocket 900"], "genres": ["Sci-Fi"]})
        )
        model = tmp_path / "grown"
        grown.bundle.save(model)
    words = ["encode", model, "histories.parquet", "--horizon", horizon, "--dislike-weight", weight, "--out"]
    again = run(*words, "v.parquet")
    assert again.exit_code == 0, again.stderr
    found = 4 * GROUP if changed == "histories" else 0
    assert (f"Resumed: {found} users" in again.stderr) is bool(found)
    assert run(*words, "straight.parquet").exit_code == 0
    assert (tmp_path / "v.parquet").read_bytes() == (tmp_path / "straight.parquet").read_bytes()
    assert pq.read_schema(tmp_path / "v.parquet").metadata[b"dislike_weight"] == weight.encode()


@pytest.mark.usefixtures("small_groups")
def test_encode_on_full_disk_fails_with_one_line_and_resumes(bundle_folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 2, OSError(errno.ENOSPC, "No space left on device"))
        full = run("encode", bundle_folder, "histories.parquet", "--out", "v.parquet")
    assert full.exit_code == 1
    assert full.stderr.count("\n") == 1
    assert "No space left on device" in full.stderr
    assert not (tmp_path / "v.parquet").exists()
    assert (
        f"Resumed: {2 * GROUP} users"
        in run("encode", bundle_folder, "histories.parquet", "--out", "v.parquet").stderr
    )


@pytest.mark.parametrize("out", ["there/v.parquet", "folder"])
def test_encode_to_unwritable_path_fails_before_inference(out, bundle_folder, tmp_path, monkeypatch):
    (tmp_path / "there").touch()  # a file where a folder would have to be
    (tmp_path / "folder").mkdir()
    sizes = stop_after(monkeypatch, USERS, KeyboardInterrupt)
    result = run("encode", bundle_folder, "histories.parquet", "--out", out)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert sizes == []
    assert list_files(tmp_path) == ["folder", "histories.parquet", "there"]


def test_encode_with_too_little_memory_fails_with_one_line(bundle_folder, tmp_path):
    result = run("encode", bundle_folder, "histories.parquet", "--memory", "1MB", "--out", "v.parquet")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert list_files(tmp_path) == ["histories.parquet"]


def test_encode_of_truncated_file_fails_with_one_line(bundle_folder, tmp_path):
    complete = (tmp_path / "histories.parquet").read_bytes()
    (tmp_path / "histories.parquet").write_bytes(complete[: len(complete) // 2])
    result = run("encode", bundle_folder, "histories.parquet", "--out", "v.parquet")
    assert result.exit_code == 1
    assert "histories.parquet" in result.stderr
    assert result.stderr.count("\n") == 1
    assert list_files(tmp_path) == ["histories.parquet"]


def test_encode_keeps_user_id_beyond_float_precision(bundle_folder):
    one = 2**53 + 1
    pq.write_table(pa.table({"user_id": [one], "item_id": [3], "rating": [4]}), "histories.parquet")
    assert run("encode", bundle_folder, "histories.parquet", "--out", "v.parquet").exit_code == 0
    assert pq.read_table("v.parquet")["user_id"].to_pylist() == [one]


def test_encode_of_user_with_500_000_ratings_is_finite(bundle_folder):
    """Most of the items are unknown to the model; their ratings still determine the user's scale."""
    count = 500_000
    many = {
        "user_id": np.full(count, USERS // 2),
        "item_id": np.arange(count) + 1,
        "rating": np.arange(count) % 5 + 1,
        "timestamp": np.arange(count),
    }
    others = ratings().filter(pa.compute.not_equal(ratings()["user_id"], USERS // 2))
    pq.write_table(pa.concat_tables([others, pa.table(many).cast(others.schema)]), "histories.parquet")
    how = ("--out", "v.parquet", "--memory", "256MB", "--unknown", "ignore")
    result = run("encode", bundle_folder, "histories.parquet", *how)
    assert result.exit_code == 0, result.stderr
    vectors = pq.read_table("v.parquet")
    assert vectors["user_id"].to_pylist() == list(range(1, USERS + 1))
    assert np.isfinite(np.stack(vectors["vector"].to_numpy())).all()

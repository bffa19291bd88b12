"""Answers for a file of people go on where they were stopped, and nothing half-written is ever left."""

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
from tastevec.pipelines import batch as answers
from tastevec.serving.recommender import Recommender, load

USERS, GROUP = 400, 20
# As `tastevec encode` does it, with small groups that take their time.
ENCODES = f"""
import sys, time
from functools import partial
from pathlib import Path
from tastevec.pipelines import batch
from tastevec.serving.recommender import Recommender, load
model, histories, out, pause = sys.argv[1:]
vectors = Recommender.vectors
def slow(*told):
    time.sleep(float(pause))
    return vectors(*told)
Recommender.vectors = slow
batch.iter_histories = partial(batch.iter_histories, users_per_batch={GROUP})
recommender = load(model)
users = batch.open_users(Path(histories), recommender)
print(batch.write_vectors(recommender, users, Path(out)).found)
"""


def ratings(users=USERS, seed=0):
    """Each rates some of the 20 films of the tiny world, and some that it does not know."""
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
    iter_histories = answers.iter_histories
    monkeypatch.setattr(answers, "iter_histories", lambda *told: iter_histories(*told, users_per_batch=GROUP))


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def everything_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def stop_after(monkeypatch, groups, error):
    """The model answers so many groups and then fails; how many it was asked is counted in the list."""
    vectors, asked = Recommender.vectors, []

    def answer(self, histories, horizon):
        asked.append(len(histories))
        if len(asked) > groups:
            raise error
        return vectors(self, histories, horizon)

    monkeypatch.setattr(Recommender, "vectors", answer)
    return asked


def start(model, out, pause):
    return subprocess.Popen(
        [sys.executable, "-c", ENCODES, str(model), "histories.parquet", str(out), str(pause)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process):
    """What it says: how many people it found answered."""
    said, told = process.communicate(timeout=300)
    assert process.returncode == 0, told.decode()[-2000:]
    return int(said)


@pytest.mark.slow
def test_an_encoding_killed_at_any_moment_ends_as_if_it_never_had_been(bundle_folder, tmp_path):
    assert finish(start(bundle_folder, "straight.parquet", 0)) == 0
    out, kept = tmp_path / "killed.parquet", tmp_path / "killed.parquet.unfinished"
    rng = np.random.default_rng(5)
    for least in (0, 3, 9, 14):
        process = start(bundle_folder, out, 0.05)
        deadline = time.monotonic() + 240
        while len(list(kept.glob("part-*"))) < least and time.monotonic() < deadline:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not out.exists()
    done = len(list(kept.glob("part-*")))
    assert finish(start(bundle_folder, out, 0)) == done * GROUP >= 14 * GROUP
    assert out.read_bytes() == (tmp_path / "straight.parquet").read_bytes()
    assert pq.read_table(out)["user_id"].to_pylist() == list(range(1, USERS + 1))
    assert everything_in(tmp_path) == ["histories.parquet", "killed.parquet", "straight.parquet"]


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("command", [["encode"], ["recommend", "--k", 3]], ids=["encode", "recommend"])
def test_the_same_command_again_asks_for_nobody_twice_and_says_so(
    command, bundle_folder, tmp_path, monkeypatch
):
    name, *flags = command
    told = [name, bundle_folder, "histories.parquet", *flags, "--out"]
    assert run(*told, "straight.parquet").exit_code == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 5, KeyboardInterrupt)
        stopped = run(*told, "again.parquet")
    assert stopped.exit_code == 130
    assert "run the same command again" in stopped.stderr
    assert not (tmp_path / "again.parquet").exists()
    asked = stop_after(monkeypatch, USERS, KeyboardInterrupt)
    again = run(*told, "again.parquet")
    assert again.exit_code == 0
    assert f"{5 * GROUP} people had been answered before an interruption" in again.stderr
    assert sum(asked) == USERS - 5 * GROUP
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "straight.parquet").read_bytes()
    assert everything_in(tmp_path) == ["again.parquet", "histories.parquet", "straight.parquet"]


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("changed", ["histories", "horizon", "model"])
def test_what_was_answered_to_another_question_is_not_taken(changed, bundle_folder, tmp_path, monkeypatch):
    """Of changed histories, only the groups that they change are asked again."""
    with monkeypatch.context() as patch:
        stop_after(patch, 5, KeyboardInterrupt)
        run("encode", bundle_folder, "histories.parquet", "--out", "v.parquet")
    model, horizon = bundle_folder, "next"
    if changed == "histories":
        table = ratings().to_pydict()
        table["rating"][0] = 6 - table["rating"][0] if table["rating"][0] != 3 else 5
        pq.write_table(pa.table(table), "histories.parquet")
    elif changed == "horizon":
        horizon = "overall"
    else:
        grown = load(model).with_items(
            pa.table({"item_id": [900], "title": ["Rocket 900"], "genres": ["Sci-Fi"]})
        )
        model = tmp_path / "grown"
        grown.bundle.save(model)
    told = ["encode", model, "histories.parquet", "--horizon", horizon, "--out"]
    again = run(*told, "v.parquet")
    assert again.exit_code == 0, again.stderr
    found = 4 * GROUP if changed == "histories" else 0
    assert (f"{found} people had been answered" in again.stderr) is bool(found)
    assert run(*told, "straight.parquet").exit_code == 0
    assert (tmp_path / "v.parquet").read_bytes() == (tmp_path / "straight.parquet").read_bytes()


@pytest.mark.usefixtures("small_groups")
def test_a_full_disk_is_one_sentence_and_what_was_done_is_not_lost(bundle_folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 2, OSError(errno.ENOSPC, "No space left on device"))
        full = run("encode", bundle_folder, "histories.parquet", "--out", "v.parquet")
    assert full.exit_code == 1
    assert full.stderr.count("\n") == 1
    assert "No space left on device" in full.stderr
    assert not (tmp_path / "v.parquet").exists()
    assert (
        f"{2 * GROUP} people"
        in run("encode", bundle_folder, "histories.parquet", "--out", "v.parquet").stderr
    )


@pytest.mark.parametrize("out", ["there/v.parquet", "folder"])
def test_a_place_that_cannot_be_written_is_refused_before_anybody_is_asked(
    out, bundle_folder, tmp_path, monkeypatch
):
    (tmp_path / "there").touch()  # a file where a folder would have to be
    (tmp_path / "folder").mkdir()
    asked = stop_after(monkeypatch, USERS, KeyboardInterrupt)
    result = run("encode", bundle_folder, "histories.parquet", "--out", out)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert asked == []
    assert everything_in(tmp_path) == ["folder", "histories.parquet", "there"]


def test_memory_that_is_too_little_for_anything_is_one_sentence(bundle_folder, tmp_path):
    result = run("encode", bundle_folder, "histories.parquet", "--memory", "1MB", "--out", "v.parquet")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert everything_in(tmp_path) == ["histories.parquet"]


def test_a_truncated_file_is_one_sentence(bundle_folder, tmp_path):
    whole = (tmp_path / "histories.parquet").read_bytes()
    (tmp_path / "histories.parquet").write_bytes(whole[: len(whole) // 2])
    result = run("encode", bundle_folder, "histories.parquet", "--out", "v.parquet")
    assert result.exit_code == 1
    assert "histories.parquet" in result.stderr
    assert result.stderr.count("\n") == 1
    assert everything_in(tmp_path) == ["histories.parquet"]


def test_one_person_whose_id_no_float_holds_keeps_it(bundle_folder):
    one = 2**53 + 1
    pq.write_table(pa.table({"user_id": [one], "item_id": [3], "rating": [4]}), "histories.parquet")
    assert run("encode", bundle_folder, "histories.parquet", "--out", "v.parquet").exit_code == 0
    assert pq.read_table("v.parquet")["user_id"].to_pylist() == [one]


def test_somebody_with_500_000_ratings_among_others_is_answered(bundle_folder):
    """Most of his films the model does not know; they say what his scale is all the same."""
    count = 500_000
    many = {
        "user_id": np.full(count, USERS // 2),
        "item_id": np.arange(count) + 1,
        "rating": np.arange(count) % 5 + 1,
        "timestamp": np.arange(count),
    }
    others = ratings().filter(pa.compute.not_equal(ratings()["user_id"], USERS // 2))
    pq.write_table(pa.concat_tables([others, pa.table(many).cast(others.schema)]), "histories.parquet")
    result = run("encode", bundle_folder, "histories.parquet", "--out", "v.parquet", "--memory", "256MB")
    assert result.exit_code == 0, result.stderr
    vectors = pq.read_table("v.parquet")
    assert vectors["user_id"].to_pylist() == list(range(1, USERS + 1))
    assert np.isfinite(np.stack(vectors["vector"].to_numpy())).all()

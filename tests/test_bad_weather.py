"""Full and read-only disks, too little memory, and very large IDs end in one error line or in the correct result.

The disks and the memory limit are real.
"""

from __future__ import annotations

from pathlib import PurePath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import worlds
from encoders import TINY
from tastevec.cli.app import app
from weather import need_own_disks, on_disk

pytestmark = pytest.mark.slow
READ_ONLY = "size=1m+ro"
FULL = ("size=4k", "size=64k")  # full at the start, and in the middle
SETTINGS = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module", name="inputs")
def _inputs(tmp_path_factory, prepared_folder, bundle_folder):
    """The inputs of the commands, on another disk than the outputs."""
    need_own_disks()
    folder = tmp_path_factory.mktemp("inputs")
    release = worlds.write_csv_release(folder / "release", genome=True)
    rows = [(user, item, 4.0) for user in range(400) for item in range(1, 16)]
    columns = dict(zip(("user_id", "item_id", "rating"), zip(*rows, strict=True), strict=True))
    pq.write_table(pa.table(columns), folder / "histories.parquet")
    items = pa.table(
        {"item_id": list(range(101, 400)), "title": ["An item"] * 299, "genres": ["Drama"] * 299}
    )
    pq.write_table(items, folder / "items.parquet")
    encode = ["encode", str(bundle_folder), str(folder / "histories.parquet"), "--horizon", "overall"]
    done = CliRunner().invoke(app, [*encode, "--out", str(folder / "vectors.parquet")])
    assert done.exit_code == 0, done.stderr
    return {
        "vectors": str(folder / "vectors.parquet"),
        "release": str(release),
        "prepared": str(prepared_folder),
        "model": str(bundle_folder),
        "histories": str(folder / "histories.parquet"),
        "items": str(folder / "items.parquet"),
    }


COMMANDS = {
    "prepare": ("prepare", "{release}", "--out", "{disk}/data"),
    "describe": ("describe", "{prepared}", "--out", "{disk}/pictures"),
    "train": ("train", "{prepared}", "--out", "{disk}/model", "--set", "epochs=1", *SETTINGS),
    "evaluate": ("evaluate", "{model}", "--data", "{prepared}", "--no-baselines", "--out", "{disk}/results"),
    "encode": ("encode", "{model}", "{histories}", "--out", "{disk}/vectors.parquet"),
    "recommend": ("recommend", "{model}", "{histories}", "--out", "{disk}/best.parquet"),
    "similar": ("similar", "{model}", "--user-vectors", "{vectors}", "--out", "{disk}/similar.parquet"),
    "add-items": ("add-items", "{model}", "{items}", "--out", "{disk}/larger"),
}


def error_of(disk, options, command, inputs):
    """Return the error line of the command, None on success; check that no partial output remains."""
    disk.mkdir()
    ended = on_disk(disk, options, *(word.format(disk=disk, **inputs) for word in COMMANDS[command]))
    if ended.status == 0:
        return None
    assert ended.status == 1, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    errors = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, ended.stderr
    remaining = [name for name in ended.files if not {".unfinished", ".training"} & set(_suffixes(name))]
    assert remaining == []  # but the checkpoint of the next run
    return errors[0]


def _suffixes(name):
    return [suffix for part in PurePath(name).parts for suffix in PurePath(part).suffixes]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_on_read_only_disk_fails_with_one_line(command, inputs, tmp_path):
    error = error_of(tmp_path / "disk", READ_ONLY, command, inputs)
    assert error is not None
    assert f"{tmp_path / 'disk'} is not writable" in error


@pytest.mark.parametrize("command", COMMANDS)
def test_command_on_full_disk_fails_with_one_line_and_no_partial_output(command, inputs, tmp_path):
    errors = [error_of(tmp_path / options, options, command, inputs) for options in FULL]
    assert errors[0] is not None
    assert all("No space left" in error for error in errors if error is not None)


def run(*words):
    """Run a command in this process."""
    return CliRunner().invoke(app, list(map(str, words)))


@pytest.mark.parametrize("command", ["prepare", "encode", "recommend"])
def test_command_with_too_little_memory_names_the_setting(command, inputs, tmp_path):
    words = [word.format(disk=tmp_path, **inputs) for word in COMMANDS[command]]
    ended = run(*words, "--memory", "1MB")
    assert ended.exit_code == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "Raise --memory" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_one_user_is_encoded_but_cannot_be_learned_from(bundle_folder, tmp_path):
    (tmp_path / "one.csv").write_text("user_id,item_id,rating\n7,1,4\n7,2,5\n7,3,1\n")
    refused = run("prepare", tmp_path / "one.csv", "--out", tmp_path / "one")
    assert refused.exit_code == 1
    assert "1 users have 2 interactions; expected 2 users or more" in refused.stderr
    assert not (tmp_path / "one").exists()
    assert run("encode", bundle_folder, tmp_path / "one.csv", "--out", tmp_path / "v.parquet").exit_code == 0
    assert pq.read_table(tmp_path / "v.parquet")["user_id"].to_pylist() == [7]


def test_ids_beyond_float_precision_stay_unchanged(tmp_path):
    """Adjacent IDs would become equal if any step converted them to floats."""
    far = 2**53
    rows = [
        (far + rating.user, far + rating.item, float(rating.stars), rating.time)
        for rating in worlds.ratings()
    ]
    names = ("user_id", "item_id", "rating", "timestamp")
    pq.write_table(pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))), tmp_path / "t.parquet")
    data, model = tmp_path / "data", tmp_path / "model"
    users, items = ({row[column] for row in rows} for column in (0, 1))
    for words in (
        ("prepare", tmp_path / "t.parquet", "--rating-range", "1:5", "--out", data),
        ("train", data, "--out", model, "--set", "epochs=1", *SETTINGS),
        ("encode", model, tmp_path / "t.parquet", "--out", tmp_path / "v.parquet"),
        ("recommend", model, tmp_path / "t.parquet", "--out", tmp_path / "r.parquet"),
    ):
        done = run(*words)
        assert done.exit_code == 0, done.stderr
    assert set(pq.read_table(data / "items.parquet")["item_id"].to_pylist()) == items
    assert set(pq.read_table(tmp_path / "v.parquet")["user_id"].to_pylist()) == users
    best = pq.read_table(tmp_path / "r.parquet").to_pylist()
    rated = {(row[0], row[1]) for row in rows}
    assert {row["user_id"] for row in best} == users
    assert {row["item_id"] for row in best} <= items
    assert not {(row["user_id"], row["item_id"]) for row in best} & rated


def test_user_with_half_a_million_ratings_is_prepared_and_encoded_like_the_known_ones(
    bundle_folder, tmp_path
):
    rows = 500_000
    items = np.arange(1, rows + 1)
    eager = {
        "user_id": np.ones(rows, int),
        "item_id": items,
        "rating": 1.0 + items % 5,
        "timestamp": 10**9 + items,
    }
    others = {
        "user_id": np.repeat(np.arange(2, 12), 20),
        "item_id": np.tile(items[:20], 10),
        "rating": np.full(200, 4.0),
        "timestamp": 10**9 + np.arange(200),
    }
    table = pa.concat_tables([pa.table(eager), pa.table(others)])
    pq.write_table(table, tmp_path / "all.parquet")
    pq.write_table(table.filter(pc.less_equal(table["item_id"], worlds.ITEMS)), tmp_path / "known.parquet")
    done = run(
        "prepare", tmp_path / "all.parquet", "--rating-range", "1:5", "--out", tmp_path / "data", "--json"
    )
    assert done.exit_code == 0, done.stderr
    users = pq.read_table(tmp_path / "data" / "users.parquet")
    assert users["interactions"].to_pylist() == [rows] + [20] * 10
    for name in ("all", "known"):
        done = run(
            *("encode", bundle_folder, tmp_path / f"{name}.parquet", "--unknown", "ignore"),
            *("--out", tmp_path / f"v-{name}.parquet"),
        )
        assert done.exit_code == 0, done.stderr
    all_items, known = (pq.read_table(tmp_path / f"v-{name}.parquet") for name in ("all", "known"))
    assert all_items.equals(known)

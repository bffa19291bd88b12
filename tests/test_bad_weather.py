"""Bad weather ends in one clear sentence with nothing half-written, or in the right answer.

The disks are real: full, or read-only. So is the little memory, and so are ids that a number with a point cannot hold.
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
FULL = ("size=4k", "size=64k")  # of a page, and of some: full at the start, and in the middle
SETTINGS = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module", name="inputs")
def _inputs(tmp_path_factory, prepared_folder, bundle_folder):
    """What the commands read, all of it on another disk than the one they write to."""
    need_own_disks()
    folder = tmp_path_factory.mktemp("inputs")
    release = worlds.write_csv_release(folder / "release", genome=True)
    rows = [(user, item, 4.0) for user in range(400) for item in range(1, 16)]
    columns = dict(zip(("user_id", "item_id", "rating"), zip(*rows, strict=True), strict=True))
    pq.write_table(pa.table(columns), folder / "histories.parquet")
    items = pa.table({"item_id": list(range(101, 400)), "title": ["A film"] * 299, "genres": ["Drama"] * 299})
    pq.write_table(items, folder / "films.parquet")
    encode = ["encode", str(bundle_folder), str(folder / "histories.parquet"), "--horizon", "overall"]
    done = CliRunner().invoke(app, [*encode, "--out", str(folder / "vectors.parquet")])
    assert done.exit_code == 0, done.stderr
    return {
        "vectors": str(folder / "vectors.parquet"),
        "release": str(release),
        "prepared": str(prepared_folder),
        "model": str(bundle_folder),
        "histories": str(folder / "histories.parquet"),
        "items": str(folder / "films.parquet"),
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


def ended_badly(disk, options, command, inputs):
    """What the command said at last, after one sentence of which it left nothing that is half-written."""
    disk.mkdir()
    ended = on_disk(disk, options, *(word.format(disk=disk, **inputs) for word in COMMANDS[command]))
    if ended.status == 0:
        return None
    assert ended.status == 1, ended.said
    assert "Traceback" not in ended.said, ended.said
    errors = [line for line in ended.said.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, ended.said
    whole = [name for name in ended.left if not {".unfinished", ".training"} & set(_suffixes(name))]
    assert whole == []  # but what the next run goes on with
    return errors[0]


def _suffixes(name):
    return [suffix for part in PurePath(name).parts for suffix in PurePath(part).suffixes]


@pytest.mark.parametrize("command", COMMANDS)
def test_where_nobody_may_write_a_command_ends_with_one_sentence(command, inputs, tmp_path):
    said = ended_badly(tmp_path / "disk", READ_ONLY, command, inputs)
    assert said is not None
    assert "Read-only file system" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_on_a_full_disk_a_command_ends_with_one_sentence_and_leaves_nothing_half_written(
    command, inputs, tmp_path
):
    said = [ended_badly(tmp_path / options, options, command, inputs) for options in FULL]
    assert said[0] is not None
    assert all("No space left" in sentence for sentence in said if sentence is not None)


def run(*words):
    """One command in this process."""
    return CliRunner().invoke(app, list(map(str, words)))


@pytest.mark.parametrize("command", ["prepare", "encode", "recommend"])
def test_memory_that_is_too_little_for_anything_is_named_with_what_to_do(command, inputs, tmp_path):
    words = [word.format(disk=tmp_path, **inputs) for word in COMMANDS[command]]
    ended = run(*words, "--memory", "1MB")
    assert ended.exit_code == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "raise the memory setting" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_one_person_alone_is_prepared_and_encoded_and_is_too_few_to_learn_from(bundle_folder, tmp_path):
    (tmp_path / "one.csv").write_text("user_id,item_id,rating\n7,1,4\n7,2,5\n7,3,1\n")
    assert run("prepare", tmp_path / "one.csv", "--out", tmp_path / "one").exit_code == 0
    refused = run("train", tmp_path / "one", "--out", tmp_path / "model")
    assert refused.exit_code == 1
    assert "1 training and 0 validation users; expected 2 or more of each" in refused.stderr
    assert not (tmp_path / "model").exists()
    assert run("encode", bundle_folder, tmp_path / "one.csv", "--out", tmp_path / "v.parquet").exit_code == 0
    assert pq.read_table(tmp_path / "v.parquet")["user_id"].to_pylist() == [7]


def test_ids_beyond_what_a_number_with_a_point_holds_go_unchanged_through_every_command(tmp_path):
    """Neighbours among them would be one id if any step made them floats."""
    far = 2**53
    rows = [
        (far + rating.user, far + rating.item, float(rating.stars), rating.time)
        for rating in worlds.ratings()
    ]
    names = ("user_id", "item_id", "rating", "timestamp")
    pq.write_table(pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))), tmp_path / "t.parquet")
    data, model = tmp_path / "data", tmp_path / "model"
    users, items = ({row[place] for row in rows} for place in (0, 1))
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


def test_half_a_million_ratings_of_one_person_are_prepared_and_encoded_as_those_that_the_model_knows(
    bundle_folder, tmp_path
):
    rows = 500_000
    items = np.arange(1, rows + 1)
    eager = {"user_id": np.ones(rows, int), "item_id": items, "rating": 1.0 + items % 5, "timestamp": items}
    others = {
        "user_id": np.repeat(np.arange(2, 12), 20),
        "item_id": np.tile(items[:20], 10),
        "rating": np.full(200, 4.0),
        "timestamp": np.arange(200),
    }
    table = pa.concat_tables([pa.table(eager), pa.table(others)])
    pq.write_table(table, tmp_path / "all.parquet")
    pq.write_table(table.filter(pc.less_equal(table["item_id"], worlds.ITEMS)), tmp_path / "known.parquet")
    told = run(
        "prepare", tmp_path / "all.parquet", "--rating-range", "1:5", "--out", tmp_path / "data", "--json"
    )
    assert told.exit_code == 0, told.stderr
    users = pq.read_table(tmp_path / "data" / "users.parquet")
    assert users["interactions"].to_pylist() == [rows] + [20] * 10
    for name in ("all", "known"):
        done = run(
            "encode", bundle_folder, tmp_path / f"{name}.parquet", "--out", tmp_path / f"v-{name}.parquet"
        )
        assert done.exit_code == 0, done.stderr
    all_films, known = (pq.read_table(tmp_path / f"v-{name}.parquet") for name in ("all", "known"))
    assert all_films.equals(known)

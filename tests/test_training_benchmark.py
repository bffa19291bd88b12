"""The benchmark of training: what a watched training sees, how presets are compared, and how the page shows it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import watched_training
from generated import write_world
from pyarrow import csv, parquet
from training_rendering import rendered_training

import training
from encoders import TINY
from tastevec.training.settings import resolve_settings


def seen(preset, people, films, *, busy=1.0):
    """What came of one round."""
    return {
        "preset": preset,
        "batch_size": 4,
        "max_history": 200,
        "steps": 20,
        "users_per_second": people,
        "films_per_second": films,
        "padding": 0.25,
        "busy": busy,
    }


ROUNDS = [
    seen("seed", 2.0, 100.0, busy=1.5),
    seen("taste", 50.0, 400.0),
    seen("seed", 1.0, 100.0),
    seen("taste", 20.0, 100.0),
]


def test_presets_are_compared_round_by_round():
    assert training.times_the_note([*ROUNDS, seen("seed", 2.0, 100.0), seen("taste", 60.0, 300.0)]) == {
        "users_per_second": {"median": 25.0, "lowest": 20.0, "highest": 30.0},
        "films_per_second": {"median": 3.0, "lowest": 1.0, "highest": 4.0},
    }


@pytest.mark.parametrize(("aim", "told"), [(20, "the aim of 20 is reached"), (25, "the aim of 25 is not")])
def test_the_page_says_what_was_measured_and_whether_the_aim_was_reached(aim, told):
    peaks = {"imported": 480, "before_the_first_step": 720, "after_the_steps": 721}
    memory = {
        "users": 5000,
        "train_users": 3500,
        "interactions": 322_047,
        "warm_up": 3,
        "steps": 60,
        "peak_memory_mb": {**peaks, "after_the_validation": 1024},
    }
    later = {**memory["peak_memory_mb"], "before_the_first_step": 1020, "after_the_validation": 1324}
    text = rendered_training(
        {
            "data": "ml-1m-5k",
            "speed": ROUNDS,
            "times_the_note": training.times_the_note(ROUNDS),
            "aim": aim,
            "memory": [memory, {**memory, "users": 80_000, "peak_memory_mb": later}],
        }
    )
    assert "**22.5 times** as many people a second" in text
    assert told in text
    assert (
        "| taste | 4 | 200 | 2 x 20 | 35.0 (20.0 to 50.0) | 250.0 (100.0 to 400.0) | 25% | 1.0 |"
        in text.splitlines()
    )
    assert "| 5,000 | 3,500 | 322,047 | 480 | 720 | 721 | 1,024 |" in text
    assert "after 63 steps, MB" in text
    assert "From 5,000 to 80,000 people the peak grows by 300 MB, 40 MB for 10,000 people" in text
    assert "it has grown by 300 MB" in text


def test_the_page_says_what_reading_padding_bfloat16_and_a_whole_release_cost():
    plain = {**ROUNDS[1], "reading": 0.012, "padding": 0.25, "packed": False}
    packed = {**plain, "users_per_second": 60.0, "padding": 0.06, "packed": True}
    peaks = {"imported": 500, "before_the_first_step": 2_400, "after_the_steps": 2_450}
    release = {
        "users": 200_000,
        "train_users": 140_000,
        "films": 87_000,
        "interactions": 33_000_000,
        "warm_up": 3,
        "steps": 60,
        "peak_memory_mb": {**peaks, "after_the_validation": 2_500},
    }
    halves = [
        {"hidden_size": 128, "precision": "float32", "users_per_second": 100.0},
        {"hidden_size": 128, "precision": "bfloat16", "users_per_second": 25.0},
    ]
    results = {
        "data": "ml-1m-5k",
        "speed": [{**ROUNDS[0], "reading": 0.001, "packed": False}, plain],
        "times_the_note": training.times_the_note(ROUNDS[:2]),
        "aim": 20,
        "packed": [packed],
        "most": {"reading": 0.05, "padding": 0.15, "memory_mb": 3_000},
        "precision": {"native": False, "rows": halves},
        "memory": [release, {**release, "users": 400_000}],
        "release": release,
    }
    text = rendered_training(results)
    assert "| `packed=false` | 1.2% | 25.0% | 50.0 |" in text.splitlines()
    assert "| as it comes | 1.2% | 6.0% | 60.0 |" in text.splitlines()
    assert "under 5% of a step (met), and padding at most 15% of what is computed: met as taste comes" in text
    assert "and missed with `packed=false`" in text
    assert "1.20 times as many people a second" in text
    assert "does not compute in bfloat16" in text
    assert "| 128 | 100.0 | 25.0 | 0.25 |" in text.splitlines()
    assert "200,000 people, 87,000 films and 33,000,000 films rated" in text
    assert "under 3,000 MB (met)" in text


@pytest.mark.parametrize("validate", [True, False])
def test_a_watched_training_ends_behind_its_steps_and_knows_what_they_read(prepared_folder, validate):
    watch = watched_training.Watch(1, 2, validate=validate)
    settings = resolve_settings("taste", **{**TINY, "batch_size": 2, "cut": 0.0, "epochs": 3})
    found = watched_training.watched(prepared_folder, settings, watch)
    assert len(watch.steps) == 3  # of the 4 steps of its first epoch
    assert found["steps"] == 2
    assert found["warm_up"] == 1
    # Two people a step who know 12 films or more, each with a start before them.
    assert [(step.films, step.held, step.computed) for step in watch.steps] == [(24, 26, 26)] * 3
    assert found["padding"] == 0.0
    assert 0 < found["reading"] < 1
    assert found["users_per_second"] == pytest.approx(4 / found["seconds"], rel=1)
    assert (found["users"], found["train_users"]) == (12, 7)
    assert ("after_the_validation" in found["peak_memory_mb"]) is validate
    assert list(found["peak_memory_mb"].values()) == sorted(found["peak_memory_mb"].values())
    json.dumps(found)


@pytest.mark.parametrize(
    ("changes", "padding"),
    [({"packed": False}, True), ({}, False), ({"packed": False, "accumulate": 4}, False)],
)
def test_padding_is_what_the_blocks_compute_for_nobody_in_all_pieces_of_a_step(
    prepared_folder, changes, padding
):
    watch = watched_training.Watch(1, None, validate=False)
    how = {**TINY, "batch_size": 2, "cut": 1.0, "max_history": 12, "epochs": 1}
    found = watched_training.watched(prepared_folder, resolve_settings("taste", **{**how, **changes}), watch)
    assert len(watch.steps) == 4  # all of its only epoch
    # Everybody knows 12 films or more, and each run is cut into two pieces with a start before each.
    assert [(step.films, step.held) for step in watch.steps] == [(24, 28)] * 3 + [(12, 14)]
    assert (found["padding"] > 0.25) is padding
    assert found["packed"] is changes.get("packed", True)


def test_a_watched_training_ends_within_its_first_epoch(prepared_folder):
    settings = resolve_settings("taste", **{**TINY, "epochs": 3})
    with pytest.raises(SystemExit, match="an epoch has 2 steps; expected 3 or more: ask for fewer steps"):
        watched_training.watched(prepared_folder, settings, watched_training.Watch(1, 2, validate=False))


def test_the_generated_people_rate_no_film_twice_and_the_same_seed_generates_them_again(tmp_path):
    for name in ("one", "two"):
        write_world(tmp_path / name, people=30, films=109, seed=3)
    one, two = (parquet.read_table(tmp_path / name / "ratings.parquet") for name in ("one", "two"))
    assert one.equals(two)
    pairs = np.stack([one["user_id"].to_numpy(), one["item_id"].to_numpy()])
    assert len(np.unique(pairs, axis=1).T) == one.num_rows
    assert len(np.unique(pairs[0])) == 30
    assert pairs[1].max() < 109
    films = csv.read_csv(tmp_path / "one" / "films.csv")
    assert films.column_names == ["item_id", "title", "year", "genres"]
    assert films.num_rows == 109

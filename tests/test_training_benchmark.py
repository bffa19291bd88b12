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


@pytest.mark.parametrize("validate", [True, False])
def test_a_watched_training_ends_behind_its_steps_and_knows_what_they_read(prepared_folder, validate):
    watch = watched_training.Watch(1, 2, validate=validate)
    settings = resolve_settings("taste", **{**TINY, "batch_size": 2, "cut": 0.0, "epochs": 3})
    found = watched_training.watched(prepared_folder, settings, watch)
    assert len(watch.ended) == 3  # of the 4 steps of its first epoch
    assert found["steps"] == 2
    assert found["warm_up"] == 1
    assert watch.read == [(24, 24)] * 3  # two people a step who know 12 films or more
    assert found["padding"] == 0.0
    assert found["users_per_second"] == pytest.approx(4 / found["seconds"], rel=1)
    assert (found["users"], found["train_users"]) == (12, 7)
    assert ("after_the_validation" in found["peak_memory_mb"]) is validate
    assert list(found["peak_memory_mb"].values()) == sorted(found["peak_memory_mb"].values())
    json.dumps(found)


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

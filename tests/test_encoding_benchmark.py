"""The benchmark of encoding: the note's code does what the note says, and the page says what was seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from encoding import times
from encoding_rendering import rendered_encoding
from encoding_systems import operations, some_of
from note_encoding import FILMS, collated, normalised, note_vectors

from people import of_every_length, people
from tastevec.data.histories import normalise_ratings
from tastevec.data.inputs import RatingScale, Reading
from tastevec.data.prepared import Prepared


def rated(*each):
    """Rows of (userId, movieId, rating) as the note has them."""
    rows = [(person, film, stars) for person, films in enumerate(each) for film, stars in films]
    return pd.DataFrame(rows, columns=["userId", "movieId", "rating"]).astype({"rating": float})


def test_the_notes_loop_puts_ratings_on_the_scale_that_ours_puts_them_on():
    each = ([(1, 5), (2, 3), (3, 2)], [(1, 4), (2, 4)], [(7, 1)])
    table = rated(*each)
    found = normalised(table)["rating"].to_numpy()
    offsets = np.cumsum([0, *map(len, each)])
    np.testing.assert_allclose(
        found, normalise_ratings(table["rating"].to_numpy(np.float32), offsets), atol=1e-6
    )


def test_the_notes_collate_function_multiplies_pads_and_keeps_the_first_films():
    matrix = np.arange(64 * 600, dtype=np.float32).reshape(600, 64)
    places = {film: 599 - film for film in range(600)}
    many = [(film, 1.0) for film in range(600)]
    batch = collated([5, 7], {5: [(3, -0.5), (4, 1.0)], 7: many}, places, matrix).numpy()
    assert batch.shape == (2, FILMS, 64)
    np.testing.assert_array_equal(batch[0, 0], -0.5 * matrix[596])
    np.testing.assert_array_equal(batch[0, 1], matrix[595])
    assert not batch[0, 2:].any()
    np.testing.assert_array_equal(batch[1], matrix[::-1][:FILMS])


@pytest.mark.slow
def test_the_notes_code_answers_everybody_and_says_what_took_how_long():
    table = rated([(1, 5), (2, 3)], [(2, 4), (3, 1)], [(1, 2), (3, 3)], [(1, 2)], [(2, 1)])
    done = note_vectors(table, np.array([1, 2, 3]), np.eye(3, 64, dtype=np.float32))
    assert done["vectors"].shape == (5, 64)
    assert np.isfinite(done["vectors"]).all()
    assert list(done["seconds"]) == ["normalising", "collating", "network"]
    assert min(done["seconds"].values()) > 0


def test_fewer_people_are_the_first_of_more_and_come_by_id(prepared_folder):
    prepared = Prepared.open(prepared_folder)
    few, more = (some_of(prepared, count).user_ids.tolist() for count in (4, 8))
    assert set(few) < set(more)
    assert few == sorted(few)
    assert some_of(prepared, None).user_ids.tolist() == prepared.histories.user_ids.tolist()


def test_operations_are_counted_of_films_that_are_read_and_of_no_padding():
    config = {"hidden_size": 8, "intermediate_size": 16, "dim": 4, "layers": 2, "recent": 10}
    reading = Reading(RatingScale(1.0, 5.0), max_history=5, set_history=9)
    one = people([(film, 3) for film in range(5)])
    whole = 4 * 64 + 2 * 128
    each = 32 + whole + 2 * 5 * 8 + 128
    newest = whole - 128 + 2 * 5 * 8 + 32
    linear = (5 + 5) * (16 + 8) + 2 * 64 / 3
    assert operations(one, reading, config) == pytest.approx(2 * (5 * each + newest + linear))
    group = of_every_length()
    apart = sum(operations(alone, reading, config) for alone in group.chunks(1))
    assert operations(group, reading, config) == pytest.approx(apart)


def seen(system, turn, speed):
    """What came of one turn."""
    row = {"system": system, "people": 400, "films": 40_000, "users_per_second": speed, "busy": 1.0 + turn}
    return row | (
        {"steps": {"normalising": 1.0, "collating": 1.0, "network": 8.0}} if system == "note" else {}
    )


ROWS = [
    seen(system, turn, speed)
    for turn, speeds in enumerate(((900.0, 300.0, 4000.0, 7.5), (1200.0, 600.0, 5000.0, 8.0)))
    for system, speed in zip(("onnx", "torch", "onnx overall", "note"), speeds, strict=True)
]
COMMAND = {
    "people": 5000,
    "films": 800_000,
    "encode": {"seconds": 10.0, "peak_memory_mb": 470, "busy": 0.5},
    "encode on Spark": {"seconds": 50.0, "peak_memory_mb": 99, "busy": 0.5},
}


def test_systems_are_compared_round_by_round():
    assert times(ROWS, COMMAND, "note") == {
        "median": 135.0,
        "lowest": 120.0,
        "highest": 150.0,
        "whole_command": 64.52,
    }
    assert times(ROWS, COMMAND, "torch")["median"] == 2.5


@pytest.mark.parametrize(
    ("aim", "told"), [(100, "the aim of 100 is reached"), (200, "the aim of 200 is not reached")]
)
def test_the_page_says_what_was_measured_and_whether_the_aim_was_reached(aim, told):
    growth = [
        {"users": users, "interactions": 60 * users, "seconds": 2.0, "peak_memory_mb": peak, "busy": 1.0}
        for users, peak in ((1000, 400), (4000, 500), (8000, 520))
    ]
    text = rendered_encoding(
        {
            "data": "ml-1m-5k",
            "machine": {"cores": 2, "cpu": "a processor"},
            "encodings": ROWS,
            "times": {other: times(ROWS, COMMAND, other) for other in ("torch", "note")},
            "aim": aim,
            "command": COMMAND,
            "growth": growth,
        }
    )
    assert "**135 times** as many people a second as the note's own code" in text
    assert told in text
    assert "65 times what the note's code does in memory (the aim is not reached by it)" in text
    assert "Of the note's time 80% is its network" in text
    assert "| tastevec, ONNX | 2 x 400 | 100 | 1,050 (900 to 1,200) | 1.0 to 2.0 |" in text.splitlines()
    assert "| the note's own code | 2 x 400 | 100 | 7.75 (7.50 to 8.00) | 1.0 to 2.0 |" in text.splitlines()
    assert "| `tastevec encode` | 5,000 | 800,000 | 10.0 | 500 | 470 |" in text.splitlines()
    assert "| `tastevec encode --engine spark` | 5,000 | 800,000 | 50.0 | 100 | - |" in text.splitlines()
    assert "From 1,000 to 8,000 people the peak differs by +30%, from 4,000 to 8,000 by +4%" in text

"""The benchmark of the preparation: that SQL does the same work, how the two are compared, and how the page shows it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import preparation
import pytest
from note_preparation import prepare_as_noted, scaled
from part_release import count_rows, first_people, megabytes, read_through
from plain_preparation import prepare_plainly
from preparation import OURS, PLAIN
from preparation_rendering import rendered_preparation

import worlds
from tastevec.data.histories import normalise_ratings
from tastevec.pipelines.prepare import prepare


def measured(system, ratings, seconds, *, vectors=0.0, turn=1, memory=900):
    """One preparation as it is saved."""
    own = {"vectors": vectors} if system.startswith(OURS) else {}
    return {
        "system": system,
        "people": ratings // 160,
        "ratings": ratings,
        "turn": turn,
        "seconds": seconds,
        "peak_memory_mb": memory,
        "busy": 0.5,
        "parts": {"read": 2.0, "arrange": seconds / 2, **own},
    }


ROWS = [
    measured(PLAIN, 16_000_000, 20.0),
    measured(OURS, 16_000_000, 36.0, vectors=10.0),
    measured(PLAIN, 32_000_000, 40.0),
    measured(OURS, 32_000_000, 60.0, vectors=10.0),
    measured(PLAIN, 32_000_000, 50.0, turn=2),
    measured(OURS, 32_000_000, 70.0, vectors=10.0, turn=2),
    measured(PLAIN, 32_000_000, 50.0, turn=3),
    measured(OURS, 32_000_000, 72.0, vectors=10.0, turn=3),
]


def results(rows=ROWS, aim=1.5):
    """What would be saved of these."""
    note = measured("the note in pandas", 500_000, 110.0) | {
        "parts": {"film vectors": 60.0, "normalise": 50.0}
    }
    return {
        "data": {
            "people": [100_000, 200_000],
            "ratings": 32_000_000,
            "films": 87_000,
            "genome_films": 16_000,
            "tags": 2_000_000,
            "megabytes": [900, 1600],
        },
        "preparations": [*rows, measured(f"{OURS} --memory 1GB", 32_000_000, 80.0, vectors=10.0)],
        "times_plain": [preparation.times_plain(rows, people) for people in (100_000, 200_000)],
        "by_ratings": {system: preparation.line(rows, system) for system in (PLAIN, OURS)},
        "note": note | {"extrapolated": preparation.extrapolated(note, ROWS[-1])},
        "aim": aim,
    }


@pytest.fixture
def both(tmp_path):
    """The tiny world, prepared by SQL and by ourselves, where the benchmark has them."""
    release = worlds.write_csv_release(tmp_path / "release-12", genome=True)
    with (release / "ratings.csv").open("a") as file:
        file.write(
            "13,999,3.5,1000000000\n14,1,0.5,5\n14,2,0.5,4\n14,3,0.5,4\n"
        )  # no film of the list; one tone; ties
    parts = prepare_plainly(release, tmp_path / "plain")
    assert list(parts) == ["read", "genome", "arrange"]
    prepare(release, tmp_path / "ours")
    return tmp_path, release


def test_plain_sql_prepares_the_same_people_films_and_histories(both):
    work, release = both
    preparation.refuse_other_work(work, release)
    found = json.loads((work / "parts" / "the-same-of-release-12.json").read_text())
    assert found["items"] == found["times"] == found["ratings"] == found["offsets"] == 0
    assert found["normalised"] < preparation.TOLERANCE
    (work / "plain" / "items.npy").unlink()
    preparation.refuse_other_work(work, release)  # not looked at a second time


def test_who_did_other_work_is_not_compared(both):
    work, release = both
    items = np.load(work / "plain" / "items.npy")
    np.save(work / "plain" / "items.npy", items[::-1])
    with pytest.raises(SystemExit, match="did not prepare the same of release-12"):
        preparation.refuse_other_work(work, release)


@pytest.mark.parametrize(
    ("file", "row"),
    [
        ("ratings.csv", "1,1,5,5"),
        ("ratings.csv", "1,999,7,5"),
        ("movies.csv", "1,again,"),
        ("genome-scores.csv", "1,1,0.5"),
        ("genome-scores.csv", "21,1,0.5"),
    ],
)
def test_plain_sql_looks_for_what_must_not_be_there(file, row, tmp_path):
    release = worlds.write_csv_release(tmp_path / "release", genome=True)
    with (release / file).open("a") as handle:
        handle.write(f"{row}\n")
    with pytest.raises(SystemExit, match="rows are not what they should be"):
        prepare_plainly(release, tmp_path / "plain")


def test_the_first_people_of_a_release_are_a_release(tmp_path):
    whole = worlds.write_csv_release(tmp_path / "release", genome=True)
    read_through(whole)
    part = first_people(whole, 2)
    assert part == tmp_path / "release-2"
    assert count_rows(whole / "ratings.csv") == 192
    assert count_rows(part / "ratings.csv") == 32
    assert count_rows(part / "tags.csv") == 3
    assert (part / "movies.csv").samefile(whole / "movies.csv")
    assert megabytes(part) == 0
    (whole / "ratings.csv").unlink()
    assert first_people(whole, 2) == part  # made once


def test_the_note_s_loop_scales_as_its_text_says():
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 9, 40)
    stars = rng.integers(1, 11, lengths.sum()).astype(np.float32) / 2
    users = np.repeat(np.arange(40), lengths)
    expected = normalise_ratings(stars, np.concatenate([[0], np.cumsum(lengths)]))
    np.testing.assert_allclose(scaled(pd.DataFrame({"userId": users, "rating": stars})), expected, atol=1e-6)


def test_the_note_s_recipe_runs(tmp_path):
    release = worlds.write_csv_release(tmp_path / "release", genome=True, genome_tags=90)
    parts = prepare_as_noted(release, tmp_path / "note")
    assert list(parts) == ["read", "film vectors", "normalise", "join", "save"]
    train, validation = (
        pd.read_parquet(tmp_path / "note" / f"{name}.parquet") for name in ("train", "validation")
    )
    assert (train["userId"].nunique(), validation["userId"].nunique()) == (8, 4)
    assert len(train) + len(validation) == 192
    assert train["normalised"].between(-1, 1).all()


def test_seconds_are_compared_round_by_round_without_the_vectors_and_with_them():
    assert preparation.times_plain(ROWS, 200_000) == {
        "people": 200_000,
        "ratings": 32_000_000,
        "same_work": {"median": 1.24, "lowest": 1.2, "highest": 1.25},
        "whole": {"median": 1.44, "lowest": 1.4, "highest": 1.5},
    }


def test_growth_is_a_straight_line_and_the_note_s_is_extrapolated():
    assert preparation.line(ROWS[:4], PLAIN) == {"per_million": 1.25, "start": 0.0, "r_squared": 1.0}
    far = results()["note"]["extrapolated"]
    assert far == {"ratings": 32_000_000, "seconds": 110 + 63 * 50, "joined_table_mb": 17_664}


@pytest.mark.parametrize(
    ("aim", "told"), [(1.5, "the aim of 1.5 is reached"), (1.2, "the aim of 1.2 is not")]
)
def test_the_page_says_what_was_measured_and_what_was_not(aim, told):
    text = rendered_preparation(results(aim=aim))
    assert told in text
    assert "takes **1.24 (1.20 to 1.25) times** as long as plain SQL" in text
    assert "with them it takes 1.44 (1.40 to 1.50) times as long" in text
    assert "900 MB at most, under 2 GB" in text
    assert (
        "| 32,000,000 | 200,000 | tastevec prepare | 3 | 70.0 (60.0 to 72.0) | 900 | 0.5 |"
        in text.splitlines()
    )
    assert "| vectors | - | 10.0 (10.0) | 10.0 |" in text.splitlines()
    assert "**Extrapolated and not measured**: 32,000,000 ratings would take 3,260 s" in text


def test_the_page_says_where_memory_was_over_2_gb():
    rows = [*ROWS[:-1], measured(OURS, 32_000_000, 72.0, vectors=10.0, turn=3, memory=1950)]
    assert "1,950 MB at most, over 2 GB" in rendered_preparation(results(rows))

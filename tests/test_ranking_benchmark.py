"""The benchmark of finding the best films: every system answers the same question, and the page says what was measured."""

import json

import beside_roofs
import numpy as np
import pytest
import rankers
from bench_rendering import rendered_bench
from ranking_rendering import rendered_ranking
from roof_rendering import rendered_roofs

PEOPLE, FILMS = 40, 700


@pytest.fixture(scope="module", name="world")
def _world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranking") / "world"
    rankers.write_world(folder, PEOPLE, FILMS)
    rankers.ask(folder, "tastevec", PEOPLE)
    return folder


def test_the_generated_people_know_no_film_twice_and_lie_towards_their_films(world):
    ((vectors, known),) = rankers.groups(world, PEOPLE)
    items = np.load(world / "items.npy")
    assert vectors.shape == (PEOPLE, rankers.DIM)
    for person in range(PEOPLE):
        own = known.items[known.offsets[person] : known.offsets[person + 1]]
        assert len(set(own.tolist())) == len(own) >= 20
        assert (items[own] @ vectors[person]).mean() > (items @ vectors[person]).mean()


def test_the_first_people_of_a_world_are_the_same_however_many_are_read(world, monkeypatch):
    ((whole, known),) = rankers.groups(world, PEOPLE)
    monkeypatch.setattr(rankers, "GROUP", 7)
    parts = list(rankers.groups(world, 20))
    np.testing.assert_array_equal(np.concatenate([vectors for vectors, _ in parts]), whole[:20])
    items = np.concatenate([histories.items for _, histories in parts])
    np.testing.assert_array_equal(items, known.items[: known.offsets[20]])
    assert [len(histories) for _, histories in parts] == [7, 7, 6]


@pytest.mark.parametrize("system", rankers.SYSTEMS)
def test_every_system_finds_films_that_he_does_not_know(world, system, monkeypatch):
    monkeypatch.setattr(rankers, "TOGETHER", 16)
    ((vectors, known),) = rankers.groups(world, PEOPLE)
    found = rankers.SYSTEMS[system](np.load(world / "items.npy"))(vectors, known)
    assert found.shape == (PEOPLE, rankers.K)
    for person, films in enumerate(found.tolist()):
        own = known.items[known.offsets[person] : known.offsets[person + 1]].tolist()
        there = [film for film in films if film >= 0]
        assert len(there) == len(set(there)) == min(rankers.K, FILMS - len(own))
        assert not set(there) & set(own)


@pytest.mark.parametrize("system", ["tastevec", "faiss exact", "NumPy argpartition", "usearch exact"])
def test_the_exact_systems_find_the_exact_lists(world, system):
    seen = rankers.ask(world, system, 25)
    assert seen["recall"] >= 0.999  # equal scores may be rounded otherwise
    assert seen["people"] == 25
    json.dumps(seen)


def test_everybody_is_asked_for_the_nearest_people(world):
    seen = rankers.ask_similar(world, 25)
    assert (seen["people"], seen["rows"]) == (25, 25 * rankers.NEAREST)


def test_what_a_list_misses_is_counted():
    exact = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert rankers._shared(np.array([[4, 3, 2, 1]]), exact) == 1
    assert rankers._shared(np.array([[1, 2, 9, 10], [5, 6, 7, 0]]), exact) == (0.5 + 0.75) / 2


def row(system, people, speed, peak=100, recall=1.0):
    return {
        "system": system,
        "people": people,
        "build_seconds": 1.25,
        "people_per_second": speed,
        "recall": recall,
        "peak_memory_mb": peak,
    }


MACHINE = {"cpu": "a processor", "cores": 2, "memory_gib": 8}
RANKING = {
    "machine": MACHINE,
    "people": 2000,
    "films": 1000,
    "dim": 64,
    "k": 100,
    "rankings": [
        row("tastevec", 500, 3000.0),
        row("tastevec", 2000, 4000.0, peak=110),
        row("other", 500, 1000.0, recall=0.91),
    ],
    "nearest": 10,
    "similar": [{"people": 2000, "people_per_second": 512.4, "build_seconds": 0.3, "peak_memory_mb": 90}],
}
ROOFS = {
    "machine": MACHINE,
    "disk_mb_per_second": 200.0,
    "roofs": {
        "1": {"copy_gb_per_second": 8.0, "product_gflops": 0.6, "csv_mb_per_second": 90.0},
        "2": {"copy_gb_per_second": 12.0, "product_gflops": 1.024, "csv_mb_per_second": 170.0},
    },
}


def test_the_page_says_what_was_found_and_how_memory_grows():
    text = rendered_ranking(RANKING)
    assert "| tastevec | 2,000 | 1.2 | 4,000 | 1.00 | 1.0000 | 110 |" in text.splitlines()
    assert "| other | 500 | 1.2 | 1,000 | 0.25 | 0.9100 | 100 |" in text.splitlines()
    assert "| 2,000 | 512 | 0.3 | 90 |" in text.splitlines()
    assert "From 500 to 2,000 people the peak memory of tastevec changes by +10 MB." in text


def test_the_page_says_what_the_machine_does():
    text = rendered_roofs(ROOFS)
    assert "| 2 | 12.0 | 1.0 | 170.0 |" in text.splitlines()
    assert "The disk takes 200 MB/s." in text


def test_a_stage_stands_beside_the_roof_of_its_own_machine():
    found = beside_roofs.limits({"roofs": ROOFS, "ranking": RANKING})
    recommend, similar = found["limits"]
    assert similar["reached"] == 0.131  # 512.4 people a second, each with 2,000
    assert recommend["reached"] == 0.512  # 4,000 people, 1,000 films, 64 numbers, two operations each
    assert recommend["share"] == 0.5
    other = {**RANKING, "machine": {**MACHINE, "cores": 4}}
    assert beside_roofs.limits({"roofs": ROOFS, "ranking": other})["of_another_machine"] == ["ranking"]


def test_each_kind_of_stage_is_counted_in_what_it_does_most():
    parts = {
        "preparation": {
            "data": {"megabytes": [10, 340]},
            "preparations": [
                {"system": "tastevec prepare", "ratings": ratings, "seconds": seconds}
                for ratings, seconds in ((5, 1.0), (50, 3.0), (50, 4.0), (50, 9.0))
            ],
        },
        "encoding": {"encodings": [{"system": "onnx", "gflop": 6.0, "seconds": 12.0}]},
        "catalogue": {
            "answers": 1000,
            "dim": 64,
            "catalogue": [{"films": 10, "loss_seconds": 1.0}, {"films": 1000, "loss_seconds": 0.5}],
        },
    }
    here = {name: part | {"machine": MACHINE} for name, part in parts.items()}
    prepare, encode, train = beside_roofs.limits({"roofs": ROOFS, **here})["limits"]
    assert (prepare["reached"], prepare["share"]) == (85, 0.5)  # 340 MB in 4 seconds, the middle of three
    assert encode["reached"] == 0.5
    assert train["stage"] == "train, softmax over 1,000 films"
    assert train["reached"] == pytest.approx(4 * 1000 * 1000 * 64 / 0.5 / 1e9, abs=1e-3)


def test_one_table_holds_every_part_with_its_ratios():
    stage = {"stage": "ranking", "seconds": 61.4, "peak_memory_mb": 1234, "busy": 0.5}
    evaluation = {"rows": [{"users": 4000, "films": 30_000, "seconds": 10.0}]}
    training = {
        "speed": [
            {"preset": "seed", "users_per_second": 4.0},
            {"preset": "taste", "users_per_second": 90.0},
        ]
    }
    softmax = {
        "films": 1000,
        "loss_seconds": 0.5,
        "plain_seconds": 0.25,
        "loss_grown_mb": 10,
        "plain_grown_mb": 80,
    }
    preparation = {
        "times_plain": [{"ratings": 100}],
        "preparations": [
            {"system": "plain DuckDB SQL", "ratings": 100, "seconds": 10.0},
            {"system": "tastevec prepare", "ratings": 100, "seconds": 16.0, "parts": {"vectors": 3.5}},
        ],
    }
    encodings = [
        {"system": system, "users_per_second": speed}
        for system, speed in (("onnx", 600.0), ("torch", 400.0), ("note", 3.0))
    ]
    parts = {
        "preparation": preparation,
        "encoding": {"encodings": encodings},
        "roofs": ROOFS,
        "ranking": RANKING,
        "evaluation": evaluation,
        "training": training,
        "catalogue": {"catalogue": [softmax, {"films": 9000, "loss_seconds": 5.0}]},
    }
    results = {
        "machine": {**MACHINE, "python": "3.12"},
        "versions": {"numpy": "2.0"},
        "commit": "0123456789",
        "parts": parts,
        "stages": [stage],
        "beside_roofs": beside_roofs.limits({"roofs": ROOFS, "ranking": RANKING}),
    }
    lines = rendered_bench(results).splitlines()
    assert (
        "| ranking | 100 best of 1,000 films, people/s | 4,000 | other (recall 0.910) | 1,000 | 4.00 |"
        in lines
    )
    assert "| training | learned from, people/s | 90 | the note's recipe | 4 | 22.50 |" in lines
    assert "| encoding | encoded, people/s | 600 | the note's own code | 3 | 200.00 |" in lines
    assert any(
        line.startswith("| preparation | 100 ratings prepared, without film vectors, s | 12.5 |")
        for line in lines
    )
    assert "| catalogue | softmax over 1,000 films, MB | 10 | all scores at once | 80 | 8.00 |" in lines
    assert "| ranking | 61 | 1,234 | 0.5 |" in lines
    assert "| recommend | product of matrices | 0.5 GFLOP/s | 1.0 GFLOP/s | 50% |" in lines

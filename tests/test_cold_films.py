"""Films taken out of a training: the folder without them, what is asked of them, and what is told of it."""

from __future__ import annotations

import cold_films
import numpy as np
import pyarrow.parquet as pq
import pytest
from cold_folder import draw_films, without_films
from cold_questions import (
    Random,
    answered,
    better,
    content_floors,
    interval,
    questions,
    ratio,
    warm_tasks,
)
from rendering import rendered

import worlds
from fakes import Fixed
from people import films_of, people
from tastevec.data.histories import normalise_ratings
from tastevec.data.prepared import Prepared
from tastevec.errors import DataError, SettingsError
from tastevec.evaluation.dataset import Cohort, Films

STARS = (1.0, 5.0)
ALL = worlds.FILMS


@pytest.fixture(scope="module")
def prepared(prepared_folder):
    return Prepared.open(prepared_folder)


def mask(*films, of=ALL):
    return np.isin(np.arange(of), films)


def test_drawn_are_films_that_training_people_met_the_same_ones_for_one_seed(prepared):
    met = np.unique(prepared.histories.take(prepared.users_in("train")).items)
    drawn = draw_films(prepared, 0.25, seed=3)
    assert drawn.sum() == len(met) // 4
    assert set(np.flatnonzero(drawn)) <= set(met)
    np.testing.assert_array_equal(drawn, draw_films(prepared, 0.25, seed=3))
    assert any((drawn != draw_films(prepared, 0.25, seed)).any() for seed in range(4, 8))


def test_a_share_of_less_than_one_film_is_refused(prepared):
    with pytest.raises(DataError, match="is not one film"):
        draw_films(prepared, 0.01, seed=3)


def test_who_teaches_or_selects_loses_the_films_and_who_is_asked_keeps_them(prepared, tmp_path):
    films = mask(0, 7, 12)
    cut = without_films(prepared, films, tmp_path / "cut")
    for split in ("train", "validation"):
        left = cut.histories.take(cut.users_in(split))
        before = prepared.histories.take(prepared.users_in(split))
        assert not films[left.items].any()
        assert left.items.tolist() == before.items[~films[before.items]].tolist()
        np.testing.assert_array_equal(left.normalised, normalise_ratings(left.ratings, left.offsets))
    asked, same = (one.histories.take(one.users_in("test")) for one in (cut, prepared))
    for name in ("user_ids", "items", "ratings", "normalised", "times"):
        np.testing.assert_array_equal(getattr(asked, name), getattr(same, name))
    assert (Cohort.of(cut).films.raters[films] == 0).all()


def test_films_and_their_vectors_stay_and_the_account_still_adds_up(prepared, tmp_path):
    cut = without_films(prepared, mask(0, 7, 12), tmp_path / "cut")
    assert cut.items == prepared.items
    np.testing.assert_array_equal(cut.vectors["content"], prepared.vectors["content"])
    for what, kept in (("interactions", len(cut.histories.items)), ("users", len(cut.user_ids))):
        tally = cut.manifest["counts"][what]
        assert tally["kept"] == kept == tally["read"] - sum(tally["dropped"].values())
    assert cut.manifest["counts"]["splits"] == prepared.manifest["counts"]["splits"]
    users, before = (pq.read_table(one.folder / "users.parquet") for one in (cut, prepared))
    assert users.schema.names == before.schema.names
    assert users["interactions"].to_pylist() == cut.histories.lengths.tolist()


def test_taking_no_film_out_leaves_the_people_as_they_were_prepared(prepared, tmp_path):
    cut = without_films(prepared, mask(), tmp_path / "cut")
    users, before = (pq.read_table(one.folder / "users.parquet") for one in (cut, prepared))
    assert users.to_pydict() == before.to_pydict()


def test_the_same_films_give_the_same_folder_and_others_another(prepared, tmp_path):
    cuts = [without_films(prepared, films, tmp_path / "cut") for films in (mask(3), mask(3), mask(4))]
    prints = [cut.fingerprint for cut in cuts]
    assert prints[0] == prints[1]
    assert len({*prints, prepared.fingerprint}) == 3


def test_who_has_too_few_films_left_is_left_out(prepared, tmp_path):
    cut = without_films(prepared, mask(*range(2, ALL)), tmp_path / "cut")
    teaches = cut.splits != 2
    assert 0 < teaches.sum() < (prepared.splits != 2).sum()
    assert (cut.histories.lengths[teaches] == 2).all()
    assert len(cut.users_in("test")) == len(prepared.users_in("test"))
    tally = cut.manifest["counts"]["users"]
    assert tally["kept"] == tally["read"] - sum(tally["dropped"].values())


def test_hidden_are_the_liked_films_among_the_drawn_and_known_is_what_else_was_rated():
    """2 and 3 are drawn: the first person liked 2 and not 3, the second neither."""
    asked = people([(0, 5), (2, 4), (1, 1), (3, 2)], [(0, 5), (3, 1)])
    found = questions(asked, mask(2, 3, of=5), STARS)
    for task in found.values():
        assert task.known.user_ids.tolist() == [1]
        assert films_of(task.known, 0) == [0, 1]
        assert task.targets.tolist() == [2]
    assert found["all films"].candidates is None
    assert found["drawn films"].candidates.tolist() == [False, False, True, True, False]


def test_a_drawn_film_that_was_rated_and_not_liked_stands_in_the_way():
    asked = people([(0, 5), (2, 4), (3, 2)])
    task = questions(asked, mask(2, 3, of=5), STARS)["drawn films"]
    assert answered(Fixed([0, 0, 1, 2, 3]), task, 5, "overall")["ndcg@100"] == pytest.approx(1 / np.log2(3))


def cohort_of(vectors, unseen=None):
    train = people([(0, 5), (1, 5)], ids=[100])
    vectors = np.array(vectors, np.float32)
    films = Films(np.bincount(train.items, minlength=len(vectors)), 1, vectors, np.zeros(len(vectors), int))
    return Cohort(train, unseen or people([(0, 5), (2, 5)]), films, STARS)


def test_the_content_floor_finds_the_film_that_points_the_same_way_however_long():
    cohort = cohort_of([[1, 0], [0, 1], [0.1, 0.01], [0, 9]])
    plain, _ = content_floors(cohort)
    assert (
        plain.score(people([(0, 5), (1, 1)]))[0, 2:].argmax() == 0
    )  # film 2 and not 3; what was disliked is not told


def test_what_all_films_share_can_be_taken_out_of_the_floor():
    vectors = [[9, 1, 0], [9, -1, 0], [9, 0.5, 0], [9, -0.5, 0], [0, 0, 0]]
    plain, centred = content_floors(cohort_of(vectors))
    person = people([(0, 5)])
    assert plain.score(person)[0, 1:4].min() > 0.9
    assert centred.score(person)[0, 1] < -0.9
    assert centred.score(person)[0, 2] > 0.9
    assert centred.score(person)[0, 4] == 0  # a film without content stays nowhere


def test_the_better_floor_is_that_which_finds_more_of_what_is_hidden():
    task = questions(people([(0, 5), (2, 5)]), mask(2, 3, of=4), STARS)["all films"]
    right, wrong = Fixed([0, 0, 1, 0], "right"), Fixed([0, 0, 0, 1], "wrong")
    assert better([wrong, right], task, 4) == better([right, wrong], task, 4) == "right"


def test_chance_is_new_for_everybody_and_the_same_for_one_seed():
    asked = people([(0, 5)], [(0, 5)])
    scores = Random(5, seed=1).score(asked)
    assert (scores[0] != scores[1]).any()
    np.testing.assert_array_equal(scores, Random(5, seed=1).score(asked))


def test_among_the_other_films_the_drawn_ones_are_neither_known_nor_hidden_nor_ranked():
    asked = people([(film, 5 - film % 2, film) for film in range(12)])
    cold = mask(3, 8, 11, of=12)
    tasks = warm_tasks(cohort_of(np.eye(12), asked), cold, seed=1)
    assert [task.name for task in tasks] == ["fold-in", "next-liked", "last-20%"]
    for task in tasks:
        assert not cold[task.known.items].any()
        assert not cold[task.targets].any()
        assert not task.candidates[cold].any()
    assert tasks[1].targets.tolist() == [10]


def test_a_ratio_is_of_means_and_its_interval_of_the_same_people_under_both():
    right = np.array([0.1, 0.2, 0.4, 0.8])
    assert ratio(2 * right, right, seed=1) == pytest.approx({"ratio": 2, "ratio_low": 2, "ratio_high": 2})
    found = ratio(right[::-1], right, seed=1)
    assert found["ratio"] == pytest.approx(1)
    assert found["ratio_low"] < 1 < found["ratio_high"]


def test_nothing_is_a_multiple_of_a_floor_that_finds_nothing():
    nothing = {"ratio": None, "ratio_low": None, "ratio_high": None}
    assert ratio(np.array([0.1, 0.2]), np.zeros(2), seed=1) == nothing


def test_an_interval_holds_its_mean():
    found = interval(np.array([0.0, 1.0, 1.0, 1.0]), seed=1)
    assert found["low"] <= found["mean"] == 0.75 <= found["high"]


@pytest.fixture(scope="module")
def results(prepared, tmp_path_factory):
    """Two made-up models: one ranks by number, the other the other way round."""
    cold = mask(*range(0, ALL, 3))
    cut = without_films(prepared, cold, tmp_path_factory.mktemp("cold") / "cut")
    cohorts = {
        "test": Cohort.of(prepared, "test"),
        "validation": Cohort.of(prepared, "validation"),
        "taught": Cohort.of(cut, "test"),
    }
    models = {
        cold_films.WITHOUT: Fixed(-np.arange(ALL), "a"),
        cold_films.WITH_ALL: Fixed(np.arange(ALL), "b"),
    }
    return {
        "data": "tiny",
        "draw": {"films": int(cold.sum()), "catalogue": ALL, "held_back": 7, "seed": 1},
        **cold_films.found(models, cohorts, cold, seed=1),
        "warm": cold_films.lost(models, cohorts["test"], cold, seed=1),
    }


def test_every_system_is_asked_both_questions_and_stands_beside_the_chosen_floor(results):
    systems = {(row["system"], row["horizon"]) for row in results["cold"]}
    assert {horizon for system, horizon in systems if system == cold_films.WITHOUT} == {"overall", "next"}
    assert {horizon for system, horizon in systems if system == "random"} == {None}
    assert len(results["cold"]) == len(systems) * 2 * 3
    for question, floor in results["floor"].items():
        rows = [row for row in results["cold"] if (row["question"], row["system"]) == (question, floor)]
        assert {row["ratio"] for row in rows} == {1.0}


def test_the_loss_is_told_of_every_other_question(results):
    assert [(row["task"], row["metric"]) for row in results["warm"]] == [
        *(("fold-in", metric) for metric in ("ndcg@100", "recall@20")),
        *(("next-liked", metric) for metric in ("ndcg@10", "recall@20")),
        *(("last-20%", metric) for metric in ("ndcg@100", "recall@20")),
    ]
    for row in results["warm"]:
        assert row["ratio"] == pytest.approx(row["without"] / row["with_all"])


def test_the_page_shows_each_number_with_its_interval(results):
    page = rendered(results)
    row = results["cold"][0]
    assert (
        f"| {cold_films.WITHOUT}: overall | {row['mean']:.3f} ±{(row['high'] - row['low']) / 2:.3f} |" in page
    )
    assert f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]" in page
    warm = results["warm"][0]
    assert f"{100 * (1 - warm['ratio']):+.1f} % [" in page


def test_a_model_of_another_recipe_is_no_ceiling():
    cold_films.refuse_other_recipes({"seeds": [1], "dim": 64}, {"seeds": [2], "dim": 64})
    with pytest.raises(SettingsError, match="differs in dim"):
        cold_films.refuse_other_recipes({"dim": 64}, {"dim": 32})

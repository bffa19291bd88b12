from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import worlds
from contracts.scorer import ScorerContract
from people import TAGGED, people, world
from tastevec.errors import DataError
from tastevec.evaluation import baselines as linear
from tastevec.evaluation import baselines as neighbours
from tastevec.evaluation.baselines import (
    ALS,
    EASE,
    Constant,
    ItemKNN,
    LastOnly,
    MeanLiked,
    PerHorizon,
    Popularity,
    RecentPopularity,
    WeightedMean,
    liked_matrix,
)
from tastevec.evaluation.scorers import EncodedScorer, fitted_parts
from tastevec.items.als import AlsSettings

FROM = 4.0
DAY = 86_400
# Films of one taste point one way, those of the other another; film 5 has no vector.
SPACE = np.array(
    [[1.0, 0.01 * film] if film < worlds.FILMS // 2 else [0.01 * film, 1.0] for film in range(worlds.FILMS)],
    np.float32,
)
SPACE[5] = 0


def _halves(histories, horizon):
    """How often each person liked a film of either half; the later half counts double for what comes next."""
    likes = liked_matrix(histories, worlds.FILMS, FROM).toarray()
    sums = likes.reshape(len(histories), 2, worlds.FILMS // 2).sum(axis=2)
    return sums * np.array([1, 2 if horizon == "next" else 1], np.float32)


MAKERS = {
    "popularity": lambda: Popularity(liked_from=FROM),
    "recent": lambda: RecentPopularity(liked_from=FROM),
    "constant": lambda: Constant(SPACE, space="tiny", liked_from=FROM),
    "mean of liked": lambda: MeanLiked(SPACE, space="tiny", liked_from=FROM),
    "rating-weighted mean": lambda: WeightedMean(SPACE, space="tiny", liked_from=FROM),
    "item-kNN": lambda: ItemKNN(liked_from=FROM, neighbours=3, shrink=0.0),
    "item-kNN, shrunk": lambda: ItemKNN(liked_from=FROM),
    "EASE": lambda: EASE(liked_from=FROM, ridge=1.0),
    "iALS": lambda: ALS(AlsSettings((1, 5), dim=4, regularization=0.1), only_likes=True),
    "iALS of more": lambda: ALS(AlsSettings((1, 5), dim=4, regularization=0.1), only_likes=False),
    "encoded": lambda: EncodedScorer("halves", "tiny", SPACE, _halves),
    "last only": lambda: LastOnly(EASE(liked_from=FROM), 3),
    "last only of neighbours": lambda: LastOnly(ItemKNN(liked_from=FROM)),
    "per horizon": lambda: PerHorizon(
        "EASE", overall=EASE(liked_from=FROM, ridge=1.0), next=EASE(liked_from=FROM, ridge=9.0)
    ),
}


class TestEveryBaseline(ScorerContract):
    """Each floor and baseline keeps the contract of scorers."""

    @pytest.fixture(params=MAKERS.values(), ids=MAKERS.keys())
    def make(self, request):
        return request.param


def test_popularity_counts_likes_and_nothing_else():
    train = people([(0, 5), (1, 3), (2, TAGGED)], [(0, 4), (2, 5)])
    scorer = Popularity(liked_from=FROM)
    scorer.fit(train, 4)
    assert scorer.score(people([(0, 1)])).tolist() == [[2, 0, 1, 0]]


def test_recent_popularity_counts_the_last_days_and_lets_popularity_settle_ties():
    train = people([(0, 5, 0), (1, 5, 0), (2, 5, 100 * DAY)], [(1, 5, 0), (3, 1, 100 * DAY)])
    scorer = RecentPopularity(liked_from=FROM, days=30)
    scorer.fit(train, 4)
    assert np.argsort(-scorer.score(people([]))[0]).tolist() == [2, 1, 0, 3]


def test_recent_popularity_without_times_is_refused():
    with pytest.raises(DataError, match="no training interaction has a time"):
        RecentPopularity(liked_from=FROM).fit(people([(0, 5)]), 1)


def test_the_constant_is_the_mean_of_unit_vectors_of_likes():
    vectors = np.array([[2, 0], [0, 3], [9, 9]], np.float32)
    scorer = Constant(vectors, space="s", liked_from=FROM)
    scorer.fit(people([(0, 5), (2, 1)], [(0, 4), (1, 5), (0, 5)]), 3)
    np.testing.assert_allclose(scorer.vectors(people([], [])), [[0.75, 0.25]] * 2)
    assert scorer.name == "constant (s)"


def test_the_mean_of_liked_is_a_persons_own_and_else_the_constant():
    vectors = np.array([[2, 0], [0, 4], [0, 0]], np.float32)
    scorer = MeanLiked(vectors, space="s", liked_from=FROM)
    scorer.fit(people([(0, 5)]), 3)
    asked = people([(0, 5), (1, 4)], [(1, 3)], [(2, 5)], [])
    np.testing.assert_allclose(scorer.vectors(asked), [[1, 2], [1, 0], [1, 0], [1, 0]])


def test_the_rating_weighted_mean_goes_away_from_what_was_disliked():
    vectors = np.array([[2, 0], [0, 4], [0, 0]], np.float32)
    scorer = WeightedMean(vectors, space="s", liked_from=FROM)
    scorer.fit(people([(0, 5)]), 3)
    # 5 and 1 are +1 and -1 for who rates so; who always says 5 says nothing, and neither does a tag.
    asked = people([(0, 5), (1, 1)], [(0, 5), (1, 5)], [(0, TAGGED)], [])
    np.testing.assert_allclose(scorer.vectors(asked), [[1, -2], [1, 0], [1, 0], [1, 0]])
    assert scorer.name == "rating-weighted mean (s)"


# Liked: film 0 by three people, 1 by two of them, 2 by one of these and by another person, 3 by nobody.
TRIANGLE = people([(0, 5), (1, 5), (2, 5)], [(0, 5), (1, 4)], [(0, 5), (3, 1)], [(2, 5)])


def test_films_are_near_by_the_cosine_of_those_who_liked_them():
    scorer = ItemKNN(liked_from=FROM, neighbours=3, shrink=0.0)
    scorer.fit(TRIANGLE, 4)
    likeness = scorer.score(people(*[[(film, 5)] for film in range(4)]))
    near, far, middle = 2 / np.sqrt(3 * 2), 1 / np.sqrt(3 * 2), 1 / np.sqrt(2 * 2)
    np.testing.assert_allclose(
        likeness, [[0, near, far, 0], [near, 0, middle, 0], [far, middle, 0, 0], [0, 0, 0, 0]], rtol=1e-6
    )
    assert scorer.score(people([(0, 5), (1, 5), (3, 1)]))[0, 2] == pytest.approx(far + middle)


def test_shrinking_draws_likeness_to_nothing_where_few_people_speak():
    scorer = ItemKNN(liked_from=FROM, neighbours=3, shrink=10.0)
    scorer.fit(TRIANGLE, 4)
    assert scorer.score(people([(0, 5)]))[0, 1] == pytest.approx(2 / (np.sqrt(3 * 2) + 10))


def test_a_film_hears_its_nearest_neighbours_only():
    scorer = ItemKNN(liked_from=FROM, neighbours=1, shrink=0.0)
    scorer.fit(TRIANGLE, 4)
    heard = scorer.score(people(*[[(film, 5)] for film in range(4)])) > 0
    # 0 hears 1, 1 hears 0, and 2 hears 1, which is nearer than 0.
    assert np.argwhere(heard).tolist() == [[0, 1], [1, 0], [1, 2]]


def test_neighbours_are_the_same_whatever_block_they_are_found_in(monkeypatch):
    whole = MAKERS["item-kNN"]()
    whole.fit(world(), worlds.FILMS)
    monkeypatch.setattr(neighbours, "_CELLS", 1)  # one film at a time
    single = MAKERS["item-kNN"]()
    single.fit(world(), worlds.FILMS)
    np.testing.assert_array_equal(whole.score(world()), single.score(world()))


def test_neighbours_need_no_table_of_all_films_by_all_films(monkeypatch):
    films = 4_000  # squared, at four bytes: 64 MB
    train = people(*[[(film, 5), (film + 1, 5)] for film in range(films - 1)])
    scorer = ItemKNN(liked_from=FROM, neighbours=2, shrink=0.0)
    monkeypatch.setattr(neighbours, "_CELLS", 1 << 16)
    tracemalloc.start()
    scorer.fit(train, 50_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6
    assert np.flatnonzero(scorer.score(people([(7, 5)]))[0]).tolist() == [6, 8]


def test_where_nobody_liked_anything_no_film_has_a_neighbour():
    scorer = ItemKNN(liked_from=FROM)
    scorer.fit(people([(0, 1)]), 3)
    assert scorer.score(people([(0, 5)])).tolist() == [[0, 0, 0]]


def test_each_question_is_answered_by_the_scorer_tuned_for_it():
    overall, following = EASE(liked_from=FROM, ridge=1.0), EASE(liked_from=FROM, ridge=9.0)
    scorer = PerHorizon("EASE", overall=overall, next=following)
    scorer.fit(world(), worlds.FILMS)
    assert scorer.asked("overall") is overall
    assert scorer.asked("next") is following
    np.testing.assert_array_equal(scorer.score(world()), following.score(world()))


def test_what_is_fitted_with_a_system_can_be_told():
    one, other = Popularity(liked_from=FROM), EASE(liked_from=FROM)
    assert fitted_parts(one) == (one,)
    assert fitted_parts(LastOnly(one)) == (one,)
    assert fitted_parts(PerHorizon("p", overall=one, next=LastOnly(other))) == (one, other)
    assert fitted_parts(PerHorizon("p", overall=one, next=one)) == (one,)


def test_ease_weights_solve_their_equation():
    likes = liked_matrix(world(), worlds.FILMS, FROM).toarray()
    scorer = EASE(liked_from=FROM, ridge=3.0)
    scorer.fit(world(), worlds.FILMS)
    everything = people(*[[(film, 5)] for film in range(worlds.FILMS)])
    weights = scorer.score(everything)
    assert np.diag(weights) == pytest.approx(0)
    # One film's column is the ridge regression on all other films.
    for film in (0, 13):
        others = np.arange(worlds.FILMS) != film
        normal = likes[:, others].T @ likes[:, others] + 3.0 * np.eye(worlds.FILMS - 1)
        expected = np.linalg.solve(normal, likes[:, others].T @ likes[:, film])
        np.testing.assert_allclose(weights[others, film], expected, atol=1e-5)


def test_ease_keeps_to_the_most_liked_films_of_a_large_catalogue(monkeypatch):
    monkeypatch.setattr(linear, "_MOST_FILMS", 2)
    scorer = EASE(liked_from=FROM, ridge=1.0)
    scorer.fit(people([(0, 5), (1, 5), (3, 5)], [(1, 5), (3, 5)]), 5)
    scores = scorer.score(people([(1, 5)]))[0]
    assert scores[3] > 0
    assert scores[[0, 2, 4]].tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", ["EASE", "iALS", "mean of liked", "rating-weighted mean", "item-kNN"])
def test_those_who_love_one_half_of_the_films_are_offered_that_half(name):
    scorer = MAKERS[name]()
    scorer.fit(world(), worlds.FILMS)
    scores = scorer.score(people([(0, 5), (2, 5), (3, 4), (14, 1)], [(11, 5), (12, 5), (13, 4), (1, 1)]))
    halves = scores.reshape(2, 2, worlds.FILMS // 2).mean(axis=2)
    assert halves[0, 0] > halves[0, 1]
    assert halves[1, 1] > halves[1, 0]


def test_last_only_forgets_what_is_older():
    scorer = LastOnly(EASE(liked_from=FROM), 2)
    scorer.fit(world(), worlds.FILMS)
    long, short = people([(0, 5), (11, 5), (12, 5)]), people([(11, 5), (12, 5)])
    np.testing.assert_array_equal(scorer.score(long), scorer.score(short))
    assert scorer.name == "EASE, last 2 only"


def test_als_of_likes_does_not_see_what_was_not_liked():
    scorer = MAKERS["iALS"]()
    scorer.fit(world(), worlds.FILMS)
    scores = scorer.score(people([(0, 5)], [(0, 5), (13, 1), (15, TAGGED)]))
    np.testing.assert_array_equal(scores[0], scores[1])


def test_als_scores_by_vectors_whose_space_another_seed_turns():
    made = [ALS(AlsSettings((1, 5), dim=4, seed=seed), only_likes=False) for seed in (1, 2)]
    made[0].fit(world(), worlds.FILMS)
    person = people([(0, 5), (1, 3)])
    np.testing.assert_array_equal(made[0].vectors(person) @ made[0].item_vectors.T, made[0].score(person))
    assert made[0].space != made[1].space


def test_an_encoder_answers_both_questions_and_never_offers_a_film_without_a_vector():
    scorer = MAKERS["encoded"]()
    person = people([(0, 5), (1, 5), (11, 5)])
    assert scorer.vectors(person).tolist() == [[2, 2]]
    assert scorer.asked("overall").vectors(person).tolist() == [[2, 1]]
    assert scorer.score(person)[0].argmin() == 5  # the film without a vector

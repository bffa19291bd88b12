"""What is done for every person, timed alone: ``make speed``. In the suite each of these runs once, and is not timed."""

import numpy as np
import pytest

from tastevec.data.histories import Histories, normalise_ratings
from tastevec.data.topk import rank_unseen, top_k
from tastevec.serving.neighbours import Neighbours
from tastevec.serving.recommender import best_films

PEOPLE, FILMS, DIM, RATED, K = 256, 20_000, 64, 150, 100

pytestmark = pytest.mark.benchmark(disable_gc=True)


@pytest.fixture(scope="module", name="crowd")
def _crowd():
    """People, each with films in steps of his own through the catalogue."""
    rng = np.random.default_rng(7)
    steps, begins = rng.integers(1, 100, PEOPLE), rng.integers(0, FILMS, PEOPLE)
    items = (begins[:, None] + steps[:, None] * np.arange(RATED)) % FILMS
    offsets = np.arange(0, PEOPLE * RATED + 1, RATED)
    ratings = rng.integers(1, 6, PEOPLE * RATED).astype(np.float32)
    return Histories(
        user_ids=np.arange(PEOPLE),
        offsets=offsets,
        items=items.ravel().astype(np.int32),
        ratings=ratings,
        normalised=normalise_ratings(ratings, offsets),
        times=np.arange(PEOPLE * RATED),
    )


@pytest.fixture(scope="module", name="vectors")
def _vectors():
    return np.random.default_rng(8).standard_normal((PEOPLE, DIM)).astype(np.float32)


@pytest.fixture(scope="module", name="films")
def _films():
    return np.random.default_rng(9).standard_normal((FILMS, DIM)).astype(np.float32)


def test_the_best_films_of_256_people(benchmark, vectors, films, crowd):
    places, _ = benchmark(best_films, vectors, films, crowd, K)
    assert places.shape == (PEOPLE, K)


def test_the_best_films_of_one_person(benchmark, vectors, films, crowd):
    places, _ = benchmark(best_films, vectors[:1], films, crowd.take(np.array([0])), K)
    assert places.shape == (1, K)


def test_the_100_highest_of_20_000_scores(benchmark, vectors, films):
    assert benchmark(top_k, vectors @ films.T, K).shape == (PEOPLE, K)


def test_a_ranking_without_a_persons_own_films(benchmark, vectors, films, crowd):
    assert benchmark(rank_unseen, vectors @ films.T, crowd, K).shape == (PEOPLE, K)


def test_the_ten_nearest_films_of_256(benchmark, films):
    known = Neighbours(np.arange(FILMS), films)
    places, _ = benchmark(known.nearest, films[:PEOPLE], 10)
    assert places.shape == (PEOPLE, 10)


def test_ratings_of_256_people_on_their_own_scales(benchmark, crowd):
    found = benchmark(normalise_ratings, crowd.ratings, crowd.offsets)
    assert found.shape == crowd.ratings.shape


def test_256_people_gathered_out_of_histories(benchmark, crowd):
    people = np.random.default_rng(10).permutation(PEOPLE)
    assert len(benchmark(crowd.take, people)) == PEOPLE

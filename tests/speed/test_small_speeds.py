"""Benchmarks of per-user operations, run by ``make speed``; in the suite each runs once, untimed."""

import numpy as np
import pyarrow as pa
import pytest

from tastevec.data.histories import Histories
from tastevec.data.topk import best_items, rank_items, top_k
from tastevec.data.value_scale import ValueScale, normalize_ratings
from tastevec.serving.interactions import parse
from tastevec.serving.neighbors import Neighbors
from tastevec.serving.parsed_users import ModelReading

USERS, ITEMS, DIM, RATED, K = 256, 20_000, 64, 150, 100

pytestmark = pytest.mark.benchmark(disable_gc=True)


@pytest.fixture(scope="module", name="crowd")
def _crowd():
    """Return users whose items are evenly spaced in the catalog."""
    rng = np.random.default_rng(7)
    steps, begins = rng.integers(1, 100, USERS), rng.integers(0, ITEMS, USERS)
    items = (begins[:, None] + steps[:, None] * np.arange(RATED)) % ITEMS
    offsets = np.arange(0, USERS * RATED + 1, RATED)
    ratings = rng.integers(1, 6, USERS * RATED).astype(np.float32)
    return Histories(
        user_ids=np.arange(USERS),
        offsets=offsets,
        items=items.ravel().astype(np.int32),
        ratings=ratings,
        normalized_ratings=normalize_ratings(ratings, offsets),
        timestamps=np.arange(USERS * RATED),
    )


@pytest.fixture(scope="module", name="vectors")
def _vectors():
    return np.random.default_rng(8).standard_normal((USERS, DIM)).astype(np.float32)


@pytest.fixture(scope="module", name="items")
def _items():
    return np.random.default_rng(9).standard_normal((ITEMS, DIM)).astype(np.float32)


def test_speed_of_best_items_of_256_users(benchmark, vectors, items, crowd):
    best = benchmark(best_items, vectors, items, crowd, K)
    assert best.indices.shape == (USERS, K)


def test_speed_of_best_items_of_one_user(benchmark, vectors, items, crowd):
    best = benchmark(best_items, vectors[:1], items, crowd.take(np.array([0])), K)
    assert best.indices.shape == (1, K)


def test_speed_of_the_100_highest_of_20_000_scores(benchmark, vectors, items):
    assert benchmark(top_k, vectors @ items.T, K).shape == (USERS, K)


def test_speed_of_ranking_without_the_history(benchmark, vectors, items, crowd):
    assert benchmark(rank_items, vectors @ items.T, crowd, K).shape == (USERS, K)


def test_speed_of_the_ten_nearest_items_of_256(benchmark, items):
    known = Neighbors(np.arange(ITEMS), items)
    places, _ = benchmark(known.nearest, items[:USERS], 10)
    assert places.shape == (USERS, 10)


def test_speed_of_normalizing_ratings_of_256_users(benchmark, crowd):
    found = benchmark(normalize_ratings, crowd.ratings, crowd.offsets)
    assert found.shape == crowd.ratings.shape


def test_speed_of_taking_256_users_from_histories(benchmark, crowd):
    users = np.random.default_rng(10).permutation(USERS)
    assert len(benchmark(crowd.take, users)) == USERS


READING = ModelReading({str(item): item for item in range(ITEMS)}, ValueScale.explicit(1, 5))
HISTORY = [(100 * row, 1 + row % 5, 1_600_000_000 + 60 * row) for row in range(200)]


def test_speed_of_reading_a_list_of_200_interactions(benchmark):
    """This is what a call adds to the model's own time; less than 1 ms."""
    assert benchmark(parse, HISTORY, READING).n_known.tolist() == [200]


def test_speed_of_reading_a_table_of_200_interactions(benchmark):
    """The same of a table of one user; less than 5 ms."""
    columns = dict(zip(("item_id", "rating", "timestamp"), zip(*HISTORY, strict=True), strict=True))
    table = pa.table({"user_id": ["ann"] * len(HISTORY)} | columns)
    assert benchmark(parse, table, READING).n_known.tolist() == [200]

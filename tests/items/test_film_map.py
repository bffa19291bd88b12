"""A map on which near films are neighbours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastevec.items.item_map import MIN_ITEMS, ItemMap

CLUSTERS = 4


def _items(count=80, seed=0):
    """Films of four kinds, one after another; the last has no vector."""
    rng = np.random.default_rng(seed)
    kinds = np.eye(CLUSTERS, 8)[np.arange(count) % CLUSTERS]
    vectors = np.asarray(3 * kinds + rng.normal(scale=0.3, size=(count, 8)), np.float32)
    vectors[-1] = 0
    return vectors


@pytest.fixture(name="drawn", scope="module")
def _drawn():
    return ItemMap.fit(_items(), seed=1)


def test_films_of_a_kind_are_neighbours(drawn):
    kinds = np.arange(79) % CLUSTERS
    far = np.linalg.norm(drawn.positions[:79, None] - drawn.positions[None, :79], axis=2)
    np.fill_diagonal(far, np.inf)
    nearest = np.argsort(far, axis=1)[:, :5]
    assert np.mean(kinds[nearest] == kinds[:, None]) > 0.95


def test_places_fill_the_unit_square_and_a_film_without_a_vector_has_none(drawn):
    assert np.isnan(drawn.positions[-1]).all()
    placed = drawn.positions[:-1]
    assert placed.min() >= 0
    assert placed.max() <= 1
    assert np.ptp(placed, axis=0).max() == pytest.approx(1, abs=1e-5)


def test_the_same_films_and_seed_give_the_same_map(drawn):
    np.testing.assert_array_equal(ItemMap.fit(_items(), seed=1).positions, drawn.positions)


def test_a_few_films_make_no_map():
    assert ItemMap.fit(_items(MIN_ITEMS), seed=1) is None  # one of them has no vector


def test_a_person_stands_among_the_films_of_his_kind_whatever_the_length_of_his_vector(drawn):
    kinds = np.eye(CLUSTERS, 8, dtype=np.float32)
    places = drawn.locate(kinds, _items())
    np.testing.assert_array_equal(drawn.locate(100 * kinds, _items()), places)
    centres = np.array([drawn.positions[kind:79:CLUSTERS].mean(axis=0) for kind in range(CLUSTERS)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, np.arange(CLUSTERS))


def test_nobody_in_particular_stands_amid_all_films(drawn):
    [place] = drawn.locate(np.zeros((1, 8), np.float32), _items())
    np.testing.assert_allclose(place, np.median(drawn.positions[:-1], axis=0), atol=1e-6)


@given(order=st.permutations(range(12)))
def test_later_films_move_no_other_wherever_they_stand(order):
    rng = np.random.default_rng(2)
    vectors = np.asarray(rng.normal(size=(12, 4)), np.float32)
    before = ItemMap(np.asarray(rng.uniform(size=(9, 2)), np.float32))
    rows = np.array([item if item < 9 else -1 for item in order])
    after = before.with_items(rows, vectors[order])
    np.testing.assert_array_equal(after.positions[rows >= 0], before.positions[rows[rows >= 0]])
    assert np.isfinite(after.positions).all()
    assert after.positions.min() >= before.positions.min()


def test_what_is_saved_is_loaded(drawn, tmp_path):
    drawn.save(tmp_path / "map.safetensors")
    np.testing.assert_array_equal(ItemMap.load(tmp_path / "map.safetensors").positions, drawn.positions)

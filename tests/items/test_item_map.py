"""The two-dimensional map of items (tastevec.items.item_map)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastevec.items.item_map import MIN_ITEMS, ItemMap

CLUSTERS = 4


def _items(count=80, seed=0):
    """Return vectors of four clusters in turn; the last is zero."""
    rng = np.random.default_rng(seed)
    clusters = np.eye(CLUSTERS, 8)[np.arange(count) % CLUSTERS]
    vectors = np.asarray(3 * clusters + rng.normal(scale=0.3, size=(count, 8)), np.float32)
    vectors[-1] = 0
    return vectors


@pytest.fixture(name="fitted", scope="module")
def _fitted():
    return ItemMap.fit(_items(), seed=1)


def test_item_map_puts_items_of_a_cluster_together(fitted):
    clusters = np.arange(79) % CLUSTERS
    distances = np.linalg.norm(fitted.positions[:79, None] - fitted.positions[None, :79], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, :5]
    assert np.mean(clusters[nearest] == clusters[:, None]) > 0.95


def test_item_map_fills_unit_square_and_skips_item_without_vector(fitted):
    assert np.isnan(fitted.positions[-1]).all()
    positions = fitted.positions[:-1]
    assert positions.min() >= 0
    assert positions.max() <= 1
    assert np.ptp(positions, axis=0).max() == pytest.approx(1, abs=1e-5)


def test_item_map_depends_on_vectors_and_seed_alone(fitted):
    np.testing.assert_array_equal(ItemMap.fit(_items(), seed=1).positions, fitted.positions)


def test_item_map_of_few_items_is_none():
    assert ItemMap.fit(_items(MIN_ITEMS), seed=1) is None  # one of them has no vector


def test_locate_puts_user_in_cluster_of_their_vector_at_any_norm(fitted):
    clusters = np.eye(CLUSTERS, 8, dtype=np.float32)
    positions = fitted.locate(clusters, _items())
    np.testing.assert_array_equal(fitted.locate(100 * clusters, _items()), positions)
    centers = np.array([fitted.positions[cluster:79:CLUSTERS].mean(axis=0) for cluster in range(CLUSTERS)])
    nearest = np.linalg.norm(positions[:, None] - centers, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, np.arange(CLUSTERS))


def test_locate_of_zero_vector_is_median_of_all_items(fitted):
    [position] = fitted.locate(np.zeros((1, 8), np.float32), _items())
    np.testing.assert_allclose(position, np.median(fitted.positions[:-1], axis=0), atol=1e-6)


@given(order=st.permutations(range(12)))
def test_with_items_keeps_positions_of_old_items(order):
    rng = np.random.default_rng(2)
    vectors = np.asarray(rng.normal(size=(12, 4)), np.float32)
    before = ItemMap(np.asarray(rng.uniform(size=(9, 2)), np.float32))
    rows = np.array([item if item < 9 else -1 for item in order])
    after = before.with_items(rows, vectors[order])
    np.testing.assert_array_equal(after.positions[rows >= 0], before.positions[rows[rows >= 0]])
    assert np.isfinite(after.positions).all()
    assert after.positions.min() >= before.positions.min()


def test_item_map_survives_saving(fitted, tmp_path):
    fitted.save(tmp_path / "map.safetensors")
    np.testing.assert_array_equal(ItemMap.load(tmp_path / "map.safetensors").positions, fitted.positions)

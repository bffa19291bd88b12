"""Inner product, cosine and Euclidean distance rank the vectors that are handed out alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastevec.model.geometry import Geometry

DIMS = st.integers(2, 9)
SEEDS = st.integers(0, 2**32 - 1)


def world(seed, dim, *, users=40, items=30):
    """Return item embeddings of very different lengths (N, D), user embeddings (B, D), and their geometry."""
    rng = np.random.default_rng(seed)
    lengths = np.exp(rng.normal(size=(items, 1)))
    table = (rng.normal(size=(items, dim)) * lengths).astype(np.float32)
    crowd = (rng.normal(size=(users, dim)) * rng.exponential(size=(1, dim)) + 0.3).astype(np.float32)
    return table, crowd, Geometry.fit(table, crowd)


def scores(users, items):
    """Return (B, N) each of inner products, cosines and negative squared Euclidean distances."""
    products = users.astype(np.float64) @ items.T.astype(np.float64)
    lengths = [np.linalg.norm(rows.astype(np.float64), axis=1) for rows in (users, items)]
    distances = ((users.astype(np.float64)[:, None] - items) ** 2).sum(axis=2)
    return products, products / np.outer(*lengths), -distances


@given(seed=SEEDS, dim=DIMS)
def test_three_metrics_rank_items_alike_and_as_the_projected_embeddings(seed, dim):
    table, crowd, geometry = world(seed, dim)
    users, norms = geometry.of_users(crowd)
    products, cosines, distances = scores(users, geometry.of_items(table))
    assert users.shape == crowd.shape
    assert not users[:, -1].any()
    np.testing.assert_allclose(cosines, products, atol=1e-5)
    np.testing.assert_allclose(distances, 2 * products - 2, atol=1e-5)
    basis = geometry.item_basis.astype(np.float64) @ geometry.user_basis.T
    expected = crowd @ (table @ basis).T  # what remains of the scores, in units of the longest item
    np.testing.assert_allclose(products * norms[:, None], expected, atol=1e-4 * max(1, norms.max()))


@given(seed=SEEDS, dim=DIMS)
def test_vectors_have_unit_length_and_an_embedding_of_zeros_has_none(seed, dim):
    table, crowd, geometry = world(seed, dim)
    table[3] = crowd[5] = 0
    items, (users, norms) = geometry.of_items(table), geometry.of_users(crowd)
    for vectors, empty in ((items, 3), (users, 5)):
        assert vectors.dtype == np.float32
        lengths = np.linalg.norm(vectors, axis=1)
        assert not vectors[empty].any()
        np.testing.assert_allclose(np.delete(lengths, empty), 1, rtol=1e-6)
    assert norms[5] == 0
    assert (np.delete(norms, 5) > 0).all()


@given(seed=SEEDS, dim=DIMS)
def test_longest_item_has_no_fold_and_a_longer_new_one_is_scaled_to_it(seed, dim):
    table, _, geometry = world(seed, dim)
    items = geometry.of_items(table)
    assert abs(items[:, -1]).min() < 1e-3
    assert np.linalg.norm(items[:, :-1], axis=1).max() == pytest.approx(1, abs=1e-6)
    longest = np.linalg.norm(table @ geometry.item_basis, axis=1).argmax()
    longer = geometry.of_items(3 * table[[longest]])
    np.testing.assert_allclose(longer, geometry.of_items(table[[longest]]), atol=1e-3)
    assert longer[0, -1] == 0


@given(seed=SEEDS, dim=st.integers(3, 9))
def test_scores_are_exact_where_a_direction_is_not_used(seed, dim):
    """One direction of the users has items of no extent along it: dropping it loses nothing."""
    table, crowd, _ = world(seed, dim)
    unused = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0][0]
    table -= np.outer(table @ unused, unused).astype(np.float32)
    geometry = Geometry.fit(table, crowd)
    kept = crowd @ geometry.user_basis @ (table @ geometry.item_basis).T
    exact = crowd @ table.T
    ratio = float((kept * exact).sum() / (exact * exact).sum())
    np.testing.assert_allclose(kept, ratio * exact, atol=2e-4 * ratio * abs(exact).max())


@given(seed=SEEDS, dim=st.integers(2, 9))
def test_no_direction_could_be_dropped_with_a_smaller_change_of_scores(seed, dim):
    """The mean squared change is the smallest squared singular value of the scores: no matrix of less rank is nearer."""
    table, crowd, geometry = world(seed, dim)
    units = crowd / np.linalg.norm(crowd, axis=1, keepdims=True)
    exact = units.astype(np.float64) @ table.T
    projected = table @ geometry.item_basis.astype(np.float64)
    kept = units @ geometry.user_basis.astype(np.float64) @ projected.T
    length = (kept * exact).sum() / (kept * kept).sum()  # the items were divided by the longest
    least = np.linalg.svd(exact)[1][dim - 1]
    assert np.linalg.norm(length * kept - exact) <= least * 1.01 + 1e-3 * np.linalg.norm(exact)


def test_fewer_users_than_dimensions_and_no_users_give_finite_geometries():
    table, crowd, _ = world(7, 9)
    for users in (crowd[:2], crowd[:0]):
        geometry = Geometry.fit(table, users)
        assert np.isfinite(geometry.item_basis).all()
        np.testing.assert_allclose(np.linalg.norm(geometry.of_items(table), axis=1), 1, rtol=1e-6)


def test_without_a_fold_users_have_unit_length_and_items_stay():
    zeros = np.zeros((3, 2), np.float32)
    geometry, table = Geometry(zeros, zeros), np.eye(3, dtype=np.float32)
    users, norms = geometry.of_users(np.array([[3.0, 0.0, 4.0]], np.float32))
    np.testing.assert_allclose(users, [[0.6, 0, 0.8]], rtol=1e-6)
    assert norms.tolist() == [5]
    assert geometry.of_items(table) is geometry.directions(table) is table
    assert not geometry.folds

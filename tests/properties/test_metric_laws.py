"""Properties of list metrics and geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tastevec.data.topk import top_k
from tastevec.evaluation.geometry import (
    between_user_cosine,
    effective_rank,
    hubness,
    split_half_cosine,
    top_direction,
)
from tastevec.evaluation.metrics import (
    coverage,
    gini,
    intra_list_similarity,
    log_popularity,
    novelty,
    ranks_of,
    recommendation_counts,
)

USERS = 15
item_counts = arrays.arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 50))
seeds = st.integers(0, 10_000)
sizes = st.tuples(st.integers(2, 12), st.integers(1, 6))


def cloud(seed, size):
    return np.random.default_rng(seed).standard_normal(size)


def turned(seed, dimensions):
    """Return a rotation."""
    return np.linalg.qr(cloud(seed, (dimensions, dimensions)))[0]


@given(item_counts, st.integers(1, 5), st.randoms())
def test_gini_and_coverage_are_bounded_and_invariant(counts, times, random):
    assert 0 <= coverage(counts) <= 1
    if not counts.any():
        return
    assert -1e-12 <= gini(counts) <= 1 - 1 / len(counts) + 1e-12
    mixed = counts.tolist()
    random.shuffle(mixed)
    assert gini(times * np.array(mixed)) == pytest.approx(gini(counts), abs=1e-12)


@given(st.integers(1, 30), st.integers(1, 50))
def test_gini_of_equal_counts_is_zero(items, count):
    assert gini(np.full(items, count)) == pytest.approx(0, abs=1e-12)


@given(seeds, st.integers(1, 20), st.integers(1, 12))
def test_list_metrics_are_bounded(seed, items, depth):
    rng = np.random.default_rng(seed)
    ranked = np.stack([np.append(rng.permutation(items), np.full(depth, -1))[:depth] for _ in range(4)])
    raters = rng.integers(0, USERS + 1, items)
    popular, novel = log_popularity(ranked, raters), novelty(ranked, raters, USERS)
    assert ((popular >= 0) & (popular <= np.log1p(raters.max()) + 1e-12)).all()
    assert ((novel >= -1e-12) & (novel <= np.log2(USERS + 1) + 1e-12)).all()
    alike = intra_list_similarity(ranked, cloud(seed, (items, 3)))
    assert (np.isnan(alike) | (np.abs(alike) <= 1 + 1e-9)).all()
    assert recommendation_counts(ranked, items).sum() == (ranked >= 0).sum()


@given(seeds, sizes)
def test_geometry_is_invariant_to_rotation_and_order(seed, size):
    vectors = cloud(seed, size)
    other = np.random.default_rng(seed).permutation(vectors) @ turned(seed, size[1])
    rank, top = effective_rank(vectors), top_direction(vectors)
    assert 1 - 1e-9 <= rank <= min(size) + 1e-9
    assert 1 / min(size) - 1e-9 <= top <= 1 + 1e-9
    assert effective_rank(other) == pytest.approx(rank)
    assert top_direction(other) == pytest.approx(top)
    assert effective_rank(7 * vectors) == pytest.approx(rank)


@given(seeds, st.integers(3, 12), st.integers(1, 5))
def test_hubness_ignores_vector_lengths(seed, users, k):
    vectors = cloud(seed, (users, 4))
    lengths = np.random.default_rng(seed).uniform(0.5, 2, (users, 1))
    np.testing.assert_allclose(hubness(vectors * lengths, k), hubness(vectors, k), equal_nan=True)


@given(seeds, sizes)
def test_split_half_cosines_are_bounded(seed, size):
    first, second = cloud(seed, (2, *size))
    for values in (split_half_cosine(first, second), between_user_cosine(first, second)):
        assert (np.abs(values) <= 1 + 1e-9).all()
    np.testing.assert_allclose(split_half_cosine(first, 3 * first), 1)
    np.testing.assert_allclose(split_half_cosine(first, -first), -1)


@given(seeds, st.integers(1, 20), st.integers(1, 25))
def test_ranks_of_equals_list_position(seed, items, k):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, items + 1, 3)
    targets = np.concatenate([rng.permutation(items)[:size] for size in sizes]).astype(np.int32)
    ranked = top_k(rng.random((3, items)).astype(np.float32), k)
    places = ranks_of(ranked, np.concatenate([[0], np.cumsum(sizes)]), targets, items)
    for owner, target, place in zip(np.repeat(np.arange(3), sizes), targets, places, strict=True):
        assert place == (ranked[owner].tolist().index(target) if target in ranked[owner] else ranked.shape[1])

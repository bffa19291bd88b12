"""Properties of item vectors, fold-ins and item features."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tastevec.data.histories import Histories
from tastevec.data.value_scale import ValueScale
from tastevec.items.als import AlsSettings, fold_in
from tastevec.items.cold_start import VECTOR_ORIGINS, initial_vectors
from tastevec.items.content import GENRE_NAMES, ContentFeatures, genre_matrix, reduce_features
from tastevec.items.linalg import reduce_rank, solve_ridge

SETTINGS = AlsSettings(scale=ValueScale.explicit(1, 5), dim=3, regularization=0.1)
FACTORS = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
users = st.lists(
    st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from([1, 3, 5])), max_size=9, unique_by=lambda row: row[0]
    ),
    max_size=6,
)
genre_lists = st.lists(
    st.none()
    | st.lists(st.sampled_from(["Action", "Children's", "Children", "Anime", "unknown", ""]), max_size=3),
    min_size=1,
    max_size=8,
)
small = st.integers(0, 6)


def histories(rows) -> Histories:
    flat = [entry for user in rows for entry in user]
    return Histories(
        user_ids=np.arange(len(rows)),
        offsets=np.cumsum([0, *map(len, rows)]),
        items=np.array([item for item, _ in flat], np.int32),
        ratings=np.array([stars for _, stars in flat], np.float32),
        normalized_ratings=np.zeros(len(flat), np.float32),
        timestamps=np.zeros(len(flat), np.int64),
    )


@given(users)
def test_fold_in_of_many_users_equals_fold_in_of_each(rows):
    together = fold_in(FACTORS, histories(rows), SETTINGS)
    assert together.shape == (len(rows), 3)
    for user, vector in zip(rows, together, strict=True):
        np.testing.assert_allclose(fold_in(FACTORS, histories([user]), SETTINGS)[0], vector, atol=1e-5)


@given(users, st.randoms(use_true_random=False))
def test_fold_in_does_not_depend_on_order_of_history(rows, random):
    shuffled = [random.sample(user, len(user)) for user in rows]
    one, other = (fold_in(FACTORS, histories(each), SETTINGS) for each in (rows, shuffled))
    np.testing.assert_allclose(one, other, atol=1e-5)


@given(users, st.integers(0, 99))
def test_solve_ridge_of_each_row_equals_solution_of_all(rows, seed):
    rng, given = np.random.default_rng(seed), histories(rows)
    confidence, targets = rng.uniform(0, 3, (2, len(given.items))).astype(np.float32)
    ridges, prior = rng.uniform(0.5, 2, len(rows)).astype(np.float32), rng.normal(size=(len(rows), 3))
    together = solve_ridge(FACTORS, given.offsets, given.items, confidence, targets, ridges, prior)
    assert together.shape == (len(rows), 3)
    for row, (start, end) in enumerate(pairwise(given.offsets)):
        own = (given.items[start:end], confidence[start:end], targets[start:end])
        offsets, last = np.array([0, end - start]), slice(row, row + 1)
        alone = solve_ridge(FACTORS, offsets, *own, ridges[last], prior[last])
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-5, atol=1e-6)


@given(small.filter(bool), small, st.integers(1, 8))
def test_reduce_rank_keeps_inner_products_up_to_its_rank(rows, columns, dim):
    matrix = np.random.default_rng(rows * 7 + columns).normal(size=(rows, columns))
    reduced = reduce_rank(matrix, dim, n_iter=7, seed=42)
    assert reduced.shape == (rows, dim)
    if dim >= min(rows, columns):
        np.testing.assert_allclose(reduced @ reduced.T, matrix @ matrix.T, atol=1e-8)


@given(genre_lists)
def test_genre_matrix_has_a_genre_or_no_genres_column_for_each_item(lists):
    matrix = genre_matrix(pa.array(lists, pa.list_(pa.string())))
    assert matrix.shape == (len(lists), len(GENRE_NAMES))
    assert ((matrix[:, :-1].any(axis=1)) ^ (matrix[:, -1] == 1)).all()


@settings(max_examples=30)
@given(genre_lists, st.data())
def test_content_vectors_do_not_depend_on_item_order(lists, data):
    count = len(lists)
    years = data.draw(st.lists(st.none() | st.integers(1890, 2040), min_size=count, max_size=count))
    items = pa.table(
        {
            "item_id": pa.array(range(count)),
            "title": pa.array([f"Red {row % 3}" for row in range(count)]),
            "year": pa.array(years, pa.int32()),
            "genres": pa.array(lists, pa.list_(pa.string())),
        }
    )
    tags = pa.table(
        {"item_id": pa.array([], pa.int64()), "tag": pa.array([], pa.string()), "weight": np.zeros(0)}
    )
    order = data.draw(st.permutations(range(count)))
    features = ContentFeatures.fit(items, tags)
    one, other = (
        reduce_features(features.rows(table, tags), dim=30) for table in (items, items.take(pa.array(order)))
    )
    np.testing.assert_allclose(other @ other.T, (one @ one.T)[np.ix_(order, order)], atol=1e-4)


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=12))
def test_initial_vectors_are_finite_and_zero_only_without_origin(items):
    rng = np.random.default_rng(len(items))
    counts = np.array([count for count, _ in items])
    content = rng.normal(size=(len(items), 4)) * np.array([[has] for _, has in items])
    factors = rng.normal(size=(len(items), 3)).astype(np.float32)
    initial = initial_vectors(factors, content.astype(np.float32), counts)
    assert np.isfinite(initial.vectors).all()
    assert set(initial.origins) <= set(VECTOR_ORIGINS)
    assert ((initial.origins == "none") == ~initial.vectors.any(axis=1)).all()

"""Properties of rankings."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tastevec.data.topk import rank_items, top_k
from tastevec.evaluation.metrics import hit_rate, hits_at, mrr, ndcg, ranks_of, recall
from users import TAGGED, items_of, users

ITEMS = 30


@st.composite
def crowds(draw):
    """Return up to 6 users with 0 to 20 different items each, some tag-only, in time order."""
    each = []
    for _ in range(draw(st.integers(1, 6))):
        items = draw(st.lists(st.integers(0, ITEMS - 1), max_size=20, unique=True))
        ratings = draw(
            st.lists(st.sampled_from([1, 2, 3, 4, 5, TAGGED]), min_size=len(items), max_size=len(items))
        )
        timestamps = sorted(draw(st.lists(st.integers(0, 9), min_size=len(items), max_size=len(items))))
        each.append(list(zip(items, ratings, timestamps, strict=True)))
    return users(*each)


scores_with_ties = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, ITEMS)),
    elements=st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0]),
)


@given(scores_with_ties, st.integers(1, 40))
def test_top_k_equals_stable_sort(scores, k):
    np.testing.assert_array_equal(top_k(scores, k), np.argsort(-scores, axis=1, kind="stable")[:, :k])


@given(crowds(), st.integers(1, ITEMS), st.integers(0, 10_000))
def test_rank_items_has_each_new_item_once(histories, k, seed):
    scores = np.random.default_rng(seed).integers(0, 4, (len(histories), ITEMS)).astype(np.float32)
    for user, ranked in enumerate(rank_items(scores, histories, k)):
        own = items_of(histories, user)
        there = ranked[ranked >= 0].tolist()
        assert len(set(there)) == len(there) == min(k, ITEMS - len(own))
        assert not set(there) & set(own)


@given(st.integers(0, 10_000), st.integers(1, ITEMS))
def test_ranking_metrics_are_bounded_and_monotone(seed, k):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, ITEMS, 4)
    targets = np.concatenate([rng.permutation(ITEMS)[:size] for size in sizes]).astype(np.int32)
    ranked = top_k(rng.random((4, ITEMS)).astype(np.float32), ITEMS)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    hit = hits_at(ranks_of(ranked, offsets, targets, ITEMS), offsets, ITEMS)
    np.testing.assert_array_equal(hit.sum(axis=1), sizes)
    for values in (hit_rate(hit, k), recall(hit, sizes, k), ndcg(hit, sizes, k), mrr(hit, k)):
        assert ((values >= 0) & (values <= 1 + 1e-12)).all()
    assert (hit_rate(hit, k) >= hit_rate(hit, max(1, k - 1))).all()
    np.testing.assert_allclose(recall(hit, sizes, ITEMS), 1)

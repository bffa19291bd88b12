from __future__ import annotations

import ir_measures
import numpy as np
import pytest

from tastevec.data import topk
from tastevec.data.topk import rank_items, top_k
from tastevec.errors import DataError
from tastevec.evaluation.metrics import hit_rate, hits_at, mrr, ndcg, ranks_of, recall
from users import users

USERS, ITEMS, DEPTH = 40, 60, 20


@pytest.fixture(scope="module")
def crowd():
    """Random scores with many ties, and 1 to 30 held-out items each."""
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 12, (USERS, ITEMS)).astype(np.float32)
    sizes = rng.integers(1, 31, USERS)
    targets = np.concatenate([rng.permutation(ITEMS)[:size] for size in sizes]).astype(np.int32)
    return scores, np.concatenate([[0], np.cumsum(sizes)]), targets


@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_metrics_agree_with_ir_measures(crowd, k):
    scores, offsets, targets = crowd
    ranked = top_k(scores, DEPTH)
    ranks, hidden = ranks_of(ranked, offsets, targets, ITEMS), np.diff(offsets)
    hit = hits_at(ranks, offsets, DEPTH)
    qrels = {
        str(user): {str(item): 1 for item in targets[offsets[user] : offsets[user + 1]]}
        for user in range(USERS)
    }
    run = {
        str(user): {str(item): float(DEPTH - place) for place, item in enumerate(ranked[user])}
        for user in range(USERS)
    }
    measures = {
        ir_measures.Success @ k: hit_rate(hit, k),
        ir_measures.nDCG @ k: ndcg(hit, hidden, k),
        ir_measures.RR @ k: mrr(hit, k),
        ir_measures.R @ k: recall(hit, hidden, k) * np.minimum(k, hidden) / hidden,
    }
    found = {
        (measure.measure, int(measure.query_id)): measure.value
        for measure in ir_measures.iter_calc(list(measures), qrels, run)
    }
    for measure, ours in measures.items():
        np.testing.assert_allclose(ours, [found[measure, user] for user in range(USERS)], atol=1e-12)


@pytest.mark.parametrize("items", [5, 1500, 4099])
@pytest.mark.parametrize("values", [1, 3, 100_000])
def test_top_k_of_large_catalog_equals_stable_sort(items, values):
    """One value is all ties, 3 values are many, 100,000 few; the items are 1 to 4 times the 1,024 strands."""
    scores = (
        np.random.default_rng(items).integers(-values // 2, values // 2 + 1, (7, items)).astype(np.float32)
    )
    np.testing.assert_array_equal(top_k(scores, 100), np.argsort(-scores, axis=1, kind="stable")[:, :100])


def test_top_k_above_number_of_strands_is_exact():
    scores = np.random.default_rng(0).standard_normal((3, 5000)).astype(np.float32)
    np.testing.assert_array_equal(top_k(scores, 2000), np.argsort(-scores, axis=1, kind="stable")[:, :2000])


def test_top_k_of_no_users_is_empty():
    assert rank_items(np.zeros((0, 5), np.float32), users(), 2).shape == (0, 2)


def test_block_size_changes_nothing(crowd, monkeypatch):
    scores = crowd[0]
    known = users(*[[(user, 5), (user + 1, 5)] for user in range(USERS)])
    whole = rank_items(scores, known, DEPTH)
    monkeypatch.setattr(topk, "_CELLS", 3 * ITEMS)
    np.testing.assert_array_equal(rank_items(scores, known, DEPTH), whole)


def test_rank_items_excludes_input_items():
    scores = np.array([[9, 8, 7, 6], [9, 8, 7, 6]], np.float32)
    ranked = rank_items(scores, users([(0, 1)], [(1, 5), (2, 5)]), 2)
    np.testing.assert_array_equal(ranked, [[1, 2], [0, 3]])
    np.testing.assert_array_equal(scores[0], [9, 8, 7, 6])  # the caller's scores are left as they were


def test_rank_items_keeps_candidates_only():
    scores = np.array([[9, 8, 7, 6]], np.float32)
    candidates = np.array([True, True, False, True])
    np.testing.assert_array_equal(rank_items(scores, users([(0, 1)]), 4, candidates), [[1, 3, -1, -1]])


@pytest.mark.parametrize("share", [0.02, 0.2, 0.6])
def test_rank_items_of_candidates_is_the_full_ranking_without_the_others(share):
    rng = np.random.default_rng(5)
    scores = rng.integers(0, 30, size=(4, 200)).astype(np.float32)  # with ties
    known = users(*[[(int(item), 5) for item in rng.choice(200, 9, replace=False)] for _ in range(4)])
    candidates = rng.random((4, 200)) < share
    by_user = rank_items(scores, known, 12, candidates)
    full = rank_items(scores, known, 200)
    for user, mask in enumerate(candidates):
        expected = [item for item in full[user].tolist() if item >= 0 and mask[item]][:12]
        expected += [-1] * (12 - len(expected))
        assert by_user[user].tolist() == expected
        assert rank_items(scores, known, 12, mask)[user].tolist() == expected


def test_rank_items_is_at_most_as_deep_as_catalog():
    assert rank_items(np.zeros((1, 3), np.float32), users([(0, 1)]), 100).tolist() == [[1, 2, -1]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rank_items_with_nan_names_user_and_item(bad, monkeypatch):
    monkeypatch.setattr(topk, "_CELLS", 3)  # ann stands in the second block
    scores = np.zeros((2, 3), np.float32)
    scores[1, 2] = bad
    with pytest.raises(DataError, match=rf"item 2 for user ann: {bad}\. Expected a finite number"):
        rank_items(scores, users([(0, 1)], [(0, 1)], ids=["bob", "ann"]), 2)


def test_hits_ignores_missing_ranks():
    ranks = ranks_of(np.array([[1, -1, -1]]), np.array([0, 1]), np.array([2]), 3)
    assert not hits_at(ranks, np.array([0, 1]), 3).any()


def test_ranks_of_beyond_255_is_exact():
    ranked = np.arange(400)[None]
    assert ranks_of(ranked, np.array([0, 2]), np.array([399, 400]), 500).tolist() == [399, 400]


def test_recall_of_short_list_is_capped_by_k():
    hit = np.array([[True, True]])  # a catalog with two items left
    assert recall(hit, np.array([2]), 50) == ndcg(hit, np.array([2]), 50) == 1

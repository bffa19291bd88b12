from __future__ import annotations

import ir_measures
import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_distances

from people import people
from tastevec.errors import DataError
from tastevec.evaluation.metrics import (
    cosine_distance,
    hit_rate,
    hits,
    mean_direction,
    mrr,
    ndcg,
    rank_unseen,
    recall,
    top_k,
    unit_rows,
    without_direction,
)

USERS, FILMS, DEPTH = 40, 60, 20


@pytest.fixture(scope="module")
def ranking():
    """Random scores with many ties, and 1 to 30 hidden films each."""
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 12, (USERS, FILMS)).astype(np.float32)
    sizes = rng.integers(1, 31, USERS)
    targets = np.concatenate([rng.permutation(FILMS)[:size] for size in sizes]).astype(np.int32)
    return scores, np.concatenate([[0], np.cumsum(sizes)]), targets


@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_metrics_agree_with_ir_measures(ranking, k):
    scores, offsets, targets = ranking
    ranked = top_k(scores, DEPTH)
    hit, hidden = hits(ranked, offsets, targets, FILMS), np.diff(offsets)
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


def test_cosine_distance_is_that_of_sklearn_zeros_included():
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 30, 8)).astype(np.float32)
    left[3] = 0
    np.testing.assert_allclose(
        cosine_distance(left, right), np.diag(cosine_distances(left, right)), atol=1e-6
    )


def test_films_that_share_one_direction_look_alike_until_it_is_taken_away():
    rng = np.random.default_rng(1)
    films = (rng.standard_normal((500, 16)) + 3).astype(np.float32)
    one, other = films[:250], films[250:]
    assert cosine_distance(one, other).mean() < 0.15
    direction = mean_direction(films)
    apart = cosine_distance(without_direction(one, direction), without_direction(other, direction))
    assert apart.mean() == pytest.approx(1.0, abs=0.05)


def test_taking_a_direction_away_does_not_depend_on_a_vectors_length():
    rng = np.random.default_rng(2)
    vectors, direction = rng.standard_normal((5, 4)), unit_rows(rng.standard_normal((1, 4)))[0]
    once, twice = without_direction(vectors, direction), without_direction(2 * vectors, direction)
    np.testing.assert_allclose(unit_rows(once), unit_rows(twice))
    np.testing.assert_allclose(once @ direction, 0, atol=1e-12)


def test_a_persons_own_films_are_never_ranked():
    scores = np.array([[9, 8, 7, 6], [9, 8, 7, 6]], np.float32)
    ranked = rank_unseen(scores, people([(0, 1)], [(1, 5), (2, 5)]), 2)
    np.testing.assert_array_equal(ranked, [[1, 2], [0, 3]])
    np.testing.assert_array_equal(scores[0], [9, 8, 7, 6])  # the caller's scores are left as they were


def test_a_ranking_is_no_deeper_than_the_catalogue():
    assert rank_unseen(np.zeros((1, 3), np.float32), people([(0, 1)]), 100).tolist() == [[1, 2, -1]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_names_user_and_item(bad):
    scores = np.zeros((2, 3), np.float32)
    scores[1, 2] = bad
    with pytest.raises(DataError, match=f"item 2 for user ann is {bad}; expected a finite number"):
        rank_unseen(scores, people([(0, 1)], [(0, 1)], ids=["bob", "ann"]), 2)


def test_an_empty_place_is_no_hit():
    hit = hits(np.array([[1, -1, -1]]), np.array([0, 1]), np.array([2]), 3)
    assert not hit.any()


def test_recall_of_a_short_ranking_counts_what_could_stand_there():
    hit = np.array([[True, True]])  # a catalogue with two films left
    assert recall(hit, np.array([2]), 50) == ndcg(hit, np.array([2]), 50) == 1

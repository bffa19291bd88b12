"""The best items of a batch of users equal those of a full sort of the scores."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tastevec.data import topk as module
from tastevec.data.topk import best_items
from tastevec.errors import DataError
from users import users

DIM = 2


@st.composite
def worlds(draw):
    """Draw items and users with exact, often equal scores, their histories and the candidate items."""
    indices = draw(st.integers(1, 12))
    crowd = draw(st.integers(0, 9))
    numbers = st.integers(-3, 3)
    items = draw(hnp.arrays(np.float32, (indices, DIM), elements=numbers))
    vectors = draw(hnp.arrays(np.float32, (crowd, DIM), elements=numbers))
    own = [draw(st.lists(st.integers(0, indices - 1), unique=True)) for _ in range(crowd)]
    known = users(*[[(item, 5) for item in mine] for mine in own])
    candidates = draw(st.none() | hnp.arrays(np.bool_, indices))
    return vectors, items, known, candidates


@given(worlds(), st.integers(1, 15))
def test_best_items_equal_the_head_of_a_stable_sort(world, k):
    vectors, items, known, candidates = world
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MAX_SCORES", 1)  # two users per block, as many as there are dimensions
        places, scores, percentiles = best_items(vectors, items, known, k, candidates)
    assert places.shape == scores.shape == (len(known), min(k, len(items)))
    for user, vector in enumerate(vectors):
        own = known.items[known.offsets[user] : known.offsets[user + 1]]
        may = np.ones(len(items), np.bool_) if candidates is None else candidates.copy()
        may[own] = False
        gained = items @ vector
        expected = [item for item in np.argsort(-gained, kind="stable") if may[item]][:k]
        empty = places.shape[1] - len(expected)
        assert places[user].tolist() == expected + [-1] * empty
        assert scores[user].tolist() == [*gained[expected].tolist(), *[-np.inf] * empty]
        lower = [100 * (gained < gained[item]).mean() for item in expected]
        np.testing.assert_allclose(percentiles[user], lower + [0] * empty, rtol=1e-6)


def test_best_items_with_one_long_history_do_not_change_for_other_users():
    rng = np.random.default_rng(5)
    items, vectors = (rng.standard_normal((count, 8)).astype(np.float32) for count in (300, 3))
    short, long = [(0, 5)], [(item, 5) for item in range(299)]
    together = best_items(vectors, items, users(short, long, short), 20).indices
    alone = best_items(vectors[[0]], items, users(short), 20).indices
    np.testing.assert_array_equal(together[0], alone[0])
    assert together[1].tolist() == [299, *[-1] * 19]


def test_best_items_do_not_change_their_inputs():
    items, vectors = np.eye(3, dtype=np.float32), np.ones((1, 3), np.float32)
    best_items(vectors, items, users([(1, 5)]), 2, np.array([True, True, False]))
    np.testing.assert_array_equal(items, np.eye(3))
    np.testing.assert_array_equal(vectors, np.ones((1, 3)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_best_items_of_a_non_finite_vector_name_the_user(bad):
    vectors = np.array([[1, 0], [bad, 1]], np.float32)
    with pytest.raises(DataError, match=r"for user 2: .*Expected a finite number"):
        best_items(vectors, np.eye(2, dtype=np.float32), users([(0, 5)], []), 1)


@pytest.mark.parametrize("crowd", [500, 4000])
def test_best_items_of_many_users_need_bounded_memory(crowd, monkeypatch):
    """Apart from the result, 16 bytes per item, memory is equal for 500 and 4,000 users."""
    monkeypatch.setattr(module, "_MAX_SCORES", 1 << 18)
    rng = np.random.default_rng(1)
    items, vectors = (rng.standard_normal((count, 8)).astype(np.float32) for count in (2000, crowd))
    known = users(*[[(user % 2000, 5)] for user in range(crowd)])
    tracemalloc.start()
    best_items(vectors, items, known, 10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - 16 * 10 * crowd < 12 << 20

"""The list loss: lists of scores, and the user vectors that solve it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tastevec.model.list_solver import RIDGE, ListSolver, TopLists
from users import users

N, D = 30, 4
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(N, D)).astype(np.float32)


def lists_of(scores, known, length):
    """Return the lists of users with these histories."""
    return TopLists.of(scores.copy(), known.owners, known.items.astype(np.int64), length)


def _known(count, rng=RNG):
    return users(
        *[[(int(item), 5) for item in rng.choice(N, rng.integers(0, 6), replace=False)] for _ in range(count)]
    )


def _loss(lists, vectors, found):
    _, logs = lists.softmax(found, vectors)
    return logs - (lists.target(vectors) * found).sum(axis=1) + RIDGE * (found * found).sum(axis=1)


def test_lists_have_the_best_new_items_first():
    scores = np.array([[5, 4, 3, 2, 1], [1, 2, 3, 4, 5]], np.float32)
    lists = lists_of(scores, users([(0, 5)], [(4, 5), (2, 1)]), 3)
    assert lists.items.tolist() == [[1, 2, 3], [3, 1, 0]]
    assert (np.diff(lists.weights) < 0).all()
    np.testing.assert_allclose(lists.weights.sum(axis=1), 1)


def test_user_who_has_nearly_everything_has_a_short_list():
    lists = lists_of(np.ones((1, 4), np.float32), users([(0, 5), (1, 5), (2, 5)]), 3)
    assert (lists.items[0, 0], lists.weights.tolist()) == (3, [[1, 0, 0]])


@given(st.integers(0, 1000), st.lists(st.integers(0, 6), unique=True))
def test_taken_and_joined_lists_are_the_same(seed, some):
    rng = np.random.default_rng(seed)
    known = _known(7, rng)
    scores = rng.normal(size=(7, N)).astype(np.float32)
    users_ = np.array(sorted(some), np.int64)
    taken = lists_of(scores, known, 5).take(users_)
    direct = lists_of(scores[users_], known.take(users_), 5)
    joined = TopLists.concatenate([direct, lists_of(scores, known, 8)])
    for name in ("items", "weights", "seen_owners", "seen_items"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(direct, name))
    assert len(joined) == len(some) + 7
    assert joined.seen_items.tolist() == [*direct.seen_items, *known.items]
    assert joined.seen_owners.tolist() == [*direct.seen_owners, *(known.owners + len(some))]
    np.testing.assert_allclose(joined.weights.sum(axis=1), 1, rtol=1e-5)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_no_vector_has_a_smaller_loss_than_the_solution(seed):
    rng = np.random.default_rng(seed)
    lists = lists_of(rng.normal(size=(5, N)).astype(np.float32), _known(5, rng), 6)
    found = ListSolver.of(VECTORS).solve(lists)
    best = _loss(lists, VECTORS, found)
    for step in (1e-1, 1.0):
        nearby = found + step * rng.normal(size=found.shape).astype(np.float32)
        assert (_loss(lists, VECTORS, nearby) >= best - 0.05).all()


def test_vector_of_a_user_does_not_depend_on_others():
    lists = lists_of(RNG.normal(size=(300, N)).astype(np.float32), _known(300), 6)
    solver = ListSolver.of(VECTORS.astype(np.float64))
    together = solver.solve(lists)
    alone = np.concatenate([solver.solve(lists.take(np.array([user]))) for user in (0, 31, 32, 299)])
    np.testing.assert_allclose(together[[0, 31, 32, 299]], alone, atol=1e-6)


def test_no_users_have_no_vectors():
    lists = lists_of(np.zeros((0, N), np.float32), users(), 3)
    assert ListSolver.of(VECTORS).solve(lists).shape == (0, D)

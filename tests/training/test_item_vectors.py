"""The list loss: lists of scores, user vectors that solve it, and item vectors that are fitted to it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastevec.training.item_vectors import RIDGE, ListSolver, TopLists, fit_item_vectors
from users import users

N, D = 30, 4
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(N, D)).astype(np.float32)


def _known(count, rng=RNG):
    return users(
        *[[(int(item), 5) for item in rng.choice(N, rng.integers(0, 6), replace=False)] for _ in range(count)]
    )


def _loss(lists, vectors, found):
    _, logs = lists.softmax(found, vectors)
    return logs - (lists.target(vectors) * found).sum(axis=1) + RIDGE * (found * found).sum(axis=1)


def test_lists_have_the_best_new_items_first():
    scores = np.array([[5, 4, 3, 2, 1], [1, 2, 3, 4, 5]], np.float32)
    lists = TopLists.of(scores, users([(0, 5)], [(4, 5), (2, 1)]), 3)
    assert lists.items.tolist() == [[1, 2, 3], [3, 1, 0]]
    assert (np.diff(lists.weights) < 0).all()
    np.testing.assert_allclose(lists.weights.sum(axis=1), 1)


def test_user_who_has_nearly_everything_has_a_short_list():
    lists = TopLists.of(np.ones((1, 4), np.float32), users([(0, 5), (1, 5), (2, 5)]), 3)
    assert (lists.items[0, 0], lists.weights.tolist()) == (3, [[1, 0, 0]])


@given(st.integers(0, 1000), st.lists(st.integers(0, 6), unique=True))
def test_taken_and_joined_lists_are_the_same(seed, some):
    rng = np.random.default_rng(seed)
    known = _known(7, rng)
    scores = rng.normal(size=(7, N)).astype(np.float32)
    users_ = np.array(sorted(some), np.int64)
    taken = TopLists.of(scores, known, 5).take(users_)
    direct = TopLists.of(scores[users_], known.take(users_), 5)
    joined = TopLists.concatenate([direct, TopLists.of(scores, known, 8)])
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
    lists = TopLists.of(rng.normal(size=(5, N)).astype(np.float32), _known(5, rng), 6)
    found = ListSolver.of(VECTORS).solve(lists)
    best = _loss(lists, VECTORS, found)
    for step in (1e-1, 1.0):
        nearby = found + step * rng.normal(size=found.shape).astype(np.float32)
        assert (_loss(lists, VECTORS, nearby) >= best - 0.05).all()


def test_vector_of_a_user_does_not_depend_on_others():
    lists = TopLists.of(RNG.normal(size=(300, N)).astype(np.float32), _known(300), 6)
    together, solver = ListSolver.of(VECTORS).solve(lists), ListSolver.of(VECTORS)
    alone = np.concatenate([solver.solve(lists.take(np.array([user]))) for user in (0, 127, 128, 299)])
    np.testing.assert_allclose(together[[0, 127, 128, 299]], alone, atol=1e-4)


def test_no_users_have_no_vectors():
    lists = TopLists.of(np.zeros((0, N), np.float32), users(), 3)
    assert ListSolver.of(VECTORS).solve(lists).shape == (0, D)


@pytest.fixture(scope="module", name="tastes")
def _tastes():
    """Lists of 60 users, each of whom wants one half of the items, and has some of it."""
    half = np.arange(60) % 2
    scores = RNG.normal(size=(60, N)) + 4 * (np.arange(N) % 2 == half[:, None])
    return TopLists.of(scores.astype(np.float32), _known(60), 10)


def test_fitted_vectors_rank_the_lists(tastes):
    steps = []
    start = RNG.normal(size=(N, D)).astype(np.float32)
    vectors = fit_item_vectors(
        start, tastes, seed=1, progress=lambda done, total: steps.append((done, total))
    )
    found = ListSolver.of(vectors).solve(tastes)
    before = ListSolver.of(start).solve(tastes)
    assert _loss(tastes, vectors, found).mean() < _loss(tastes, start, before).mean() - 0.5
    same = vectors[::2] @ vectors[::2].T, vectors[::2] @ vectors[1::2].T
    assert same[0].mean() > same[1].mean()
    assert steps[-1] == (len(steps), len(steps))


def test_lists_that_few_dimensions_explain_are_nearly_reached_from_any_start():
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(200, D)) * np.geomspace(3, 0.3, 200)[:, None]  # most items are in few lists
    scores = (rng.normal(size=(400, D)) @ truth.T).astype(np.float32)
    lists = TopLists.of(scores, _known(400, rng), 20)
    vectors = fit_item_vectors(rng.normal(size=truth.shape).astype(np.float32), lists, seed=1)
    loss = _loss(lists, vectors, ListSolver.of(vectors).solve(lists)).mean()
    entropy = -(lists.weights * np.log(lists.weights)).sum(axis=1).mean()
    assert loss < entropy + 0.3


def test_fit_is_reproducible_and_leaves_its_start(tastes):
    start = RNG.normal(size=(N, D)).astype(np.float32)
    kept = start.copy()
    one, other = (fit_item_vectors(start, tastes, seed=1) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(start, kept)

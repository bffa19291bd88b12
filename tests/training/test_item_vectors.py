"""Item vectors that are fitted to the list loss."""

import numpy as np
import pytest

from tastevec.model.list_solver import RIDGE, ListSolver, TopLists
from tastevec.training.item_vectors import fit_item_vectors

N, D = 30, 4
RNG = np.random.default_rng(0)


def _loss(lists, vectors, found):
    _, logs = lists.softmax(found, vectors)
    return logs - (lists.target(vectors) * found).sum(axis=1) + RIDGE * (found * found).sum(axis=1)


@pytest.fixture(scope="module", name="tastes")
def _tastes():
    """Lists of 60 users, each of whom wants one half of the items, and has some of it."""
    half = np.arange(60) % 2
    scores = RNG.normal(size=(60, N)) + 4 * (np.arange(N) % 2 == half[:, None])
    return TopLists.of(scores.astype(np.float32), np.arange(60), RNG.integers(0, N, 60), 10)


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
    lists = TopLists.of(scores, np.arange(400), rng.integers(0, 200, 400), 20)
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

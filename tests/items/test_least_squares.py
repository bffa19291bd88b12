"""Regularised least squares for many at once (tastevec.items.linalg)."""

import numpy as np
import pytest

from tastevec.items import linalg as least_squares
from tastevec.items.linalg import solved


def case(lengths, dim=3, items=9, kind=np.float64, seed=0):
    """The arguments of `solved` for rows of these lengths."""
    rng = np.random.default_rng(seed)
    places = [rng.permutation(items)[:length] for length in lengths]
    count = sum(lengths)
    return (
        rng.normal(size=(items, dim)).astype(kind),
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        np.concatenate([np.zeros(0, np.int64), *places]),
        rng.uniform(0, 3, count).astype(np.float32),
        rng.uniform(-1, 3, count).astype(np.float32),
        rng.uniform(0.5, 2, len(lengths)).astype(np.float32),
        rng.normal(size=(len(lengths), dim)).astype(kind),
    )


def dense(*told):
    """Each row with a weight for every film, as it is written in the books."""
    others, offsets, places, confidence, pull, ridges, expected = told
    found = []
    for row in range(len(expected)):
        own = slice(offsets[row], offsets[row + 1])
        weights, item_prior = np.ones(len(others)), np.zeros(len(others))
        weights[places[own]] += confidence[own]
        item_prior[places[own]] = pull[own]
        system = others.T @ np.diag(weights) @ others + ridges[row] * np.eye(others.shape[1])
        found.append(np.linalg.inv(system) @ (expected[row] + others.T @ item_prior))
    return np.array(found)


def test_each_row_is_the_dense_solution():
    told = case([4, 0, 9, 1, 4])
    np.testing.assert_allclose(solved(*told), dense(*told), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("lengths", [[0], [0, 0, 0], [5, 0, 0, 1], [1, 0]])
def test_rows_without_interactions_are_solved_among_others(lengths):
    told = case(lengths)
    np.testing.assert_allclose(solved(*told), dense(*told), rtol=1e-6, atol=1e-9)


def test_in_small_batches_it_is_the_same(monkeypatch):
    told = case([4, 0, 9, 1, 4])
    whole = solved(*told)
    for rows in (1, 8, 10):
        monkeypatch.setattr(least_squares, "_BATCH_ROWS", rows)
        np.testing.assert_allclose(solved(*told), whole, rtol=1e-9, atol=1e-12)


def test_without_interactions_only_what_is_expected_speaks():
    others, *rest, expected = case([0, 0])
    found = solved(others, *rest, np.stack([expected[0], 0 * expected[1]]))
    assert found[0].any()
    assert not found[1].any()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_it_is_as_precise_as_the_other_side_and_leaves_its_arguments_alone(kind):
    told = case([4, 2], kind=kind)
    before = [argument.copy() for argument in told]
    assert solved(*told).dtype == kind
    for argument, copy in zip(told, before, strict=True):
        np.testing.assert_array_equal(argument, copy)


def test_of_nobody_there_is_nothing():
    assert solved(*case([])).shape == (0, 3)

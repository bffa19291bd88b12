"""Ridge solvers and inverses (tastevec.items.linalg)."""

import sys

import numpy as np
import pytest
from scipy import sparse
from threadpoolctl import threadpool_info, threadpool_limits

from tastevec.errors import MissingExtraError
from tastevec.items import linalg
from tastevec.items.linalg import (
    one_blas_thread,
    reduce_rank,
    ridge_regression,
    solve_ridge,
)


def case(lengths, dim=3, items=9, dtype=np.float64, seed=0):
    """Return the arguments of `solve_ridge` for rows of these lengths."""
    rng = np.random.default_rng(seed)
    indices = [rng.permutation(items)[:length] for length in lengths]
    count = sum(lengths)
    return (
        rng.normal(size=(items, dim)).astype(dtype),
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        np.concatenate([np.zeros(0, np.int64), *indices]),
        rng.uniform(0, 3, count).astype(np.float32),
        rng.uniform(-1, 3, count).astype(np.float32),
        rng.uniform(0.5, 2, len(lengths)).astype(np.float32),
        rng.normal(size=(len(lengths), dim)).astype(dtype),
    )


def dense(*arguments):
    """Return the textbook solution of each row, with a weight for every item."""
    others, offsets, indices, confidence, targets, ridges, prior = arguments
    solutions = []
    for row in range(len(prior)):
        own = slice(offsets[row], offsets[row + 1])
        weights, right = np.ones(len(others)), np.zeros(len(others))
        weights[indices[own]] += confidence[own]
        right[indices[own]] = targets[own]
        system = others.T @ np.diag(weights) @ others + ridges[row] * np.eye(others.shape[1])
        solutions.append(np.linalg.inv(system) @ (prior[row] + others.T @ right))
    return np.array(solutions)


@pytest.mark.parametrize("lengths", [[4, 0, 9, 1, 4], [0], [0, 0, 0], [5, 0, 0, 1], [1, 0]])
def test_solve_ridge_equals_dense_solution(lengths):
    arguments = case(lengths)
    np.testing.assert_allclose(solve_ridge(*arguments), dense(*arguments), rtol=1e-6, atol=1e-9)


def test_solve_ridge_in_small_batches_equals_one_batch(monkeypatch):
    arguments = case([4, 0, 9, 1, 4])
    expected = solve_ridge(*arguments)
    for rows in (1, 8, 10):
        monkeypatch.setattr(linalg, "_BATCH_ROWS", rows)
        np.testing.assert_allclose(solve_ridge(*arguments), expected, rtol=1e-9, atol=1e-12)


def test_solve_ridge_without_interactions_depends_on_prior_alone():
    others, *rest, prior = case([0, 0])
    solutions = solve_ridge(others, *rest, np.stack([prior[0], 0 * prior[1]]))
    assert solutions[0].any()
    assert not solutions[1].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_solve_ridge_keeps_dtype_and_arguments(dtype):
    arguments = case([4, 2], dtype=dtype)
    before = [argument.copy() for argument in arguments]
    assert solve_ridge(*arguments).dtype == dtype
    for argument, copy in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(argument, copy)


def test_solve_ridge_of_no_rows_is_empty():
    assert solve_ridge(*case([])).shape == (0, 3)


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
def test_ridge_regression_equals_weighted_normal_equations(convert):
    rng = np.random.default_rng(2)
    features, targets = rng.normal(size=(40, 5)), rng.normal(size=(40, 3))
    weights = rng.uniform(0.1, 1, 40)
    slopes, intercept = ridge_regression(convert(features), targets, weights, 3.0)
    centered = features - np.average(features, axis=0, weights=weights)
    offsets = targets - np.average(targets, axis=0, weights=weights)
    system = centered.T @ (weights[:, None] * centered) + 3.0 * np.eye(5)
    expected = np.linalg.solve(system, centered.T @ (weights[:, None] * offsets))
    np.testing.assert_allclose(slopes, expected, rtol=1e-3, atol=1e-4)
    mean = np.average(targets - features @ expected, axis=0, weights=weights)
    np.testing.assert_allclose(intercept, mean, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reduce_rank_keeps_inner_products(dtype):
    matrix = np.random.default_rng(0).normal(size=(6, 4)).astype(dtype)
    reduced = reduce_rank(matrix, 9, n_iter=7, seed=42)
    assert not reduced[:, 4:].any()
    np.testing.assert_allclose(reduced @ reduced.T, matrix @ matrix.T, atol=1e-5)


def test_one_blas_thread_limits_blas_and_restores_it():
    def threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with threadpool_limits(2, "blas"):
        with one_blas_thread():
            assert threads() == {1}
        assert threads() == {2}


def test_one_blas_thread_without_threadpoolctl_names_install_command(monkeypatch):
    linalg._libraries.cache_clear()
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tastevec\[train\]'"):
        one_blas_thread()

"""Properties of paired differences."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tastevec.evaluation.plots import spread
from tastevec.evaluation.statistics import bootstrap_users, mean_intervals, pairwise_differences

# Eighths, whose sums are exact.
scores = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 12), st.integers(1, 5)),
    elements=st.integers(0, 8).map(lambda eighths: eighths / 8),
)


@given(scores, st.integers(0, 5))
def test_pairwise_differences_are_antisymmetric(values, seed):
    draws = bootstrap_users(len(values), seed)
    found, turned = pairwise_differences(values, draws), pairwise_differences(values[:, ::-1], draws)
    for matrix, other in zip(found, (found.mean, found.ci_high, found.ci_low), strict=True):
        np.testing.assert_array_equal(matrix, -other.T)
    for matrix, other in zip(found, turned, strict=True):  # the order of the systems changes nothing
        np.testing.assert_allclose(matrix, other[::-1, ::-1], atol=1e-12)


@given(scores, st.integers(0, 5), st.integers(-8, 8))
def test_constant_difference_has_exact_interval(values, seed, eighths):
    pair = np.stack([values[:, 0] + eighths / 8, values[:, 0]], axis=1)
    found = pairwise_differences(pair, bootstrap_users(len(values), seed))
    assert [matrix[0, 1] for matrix in found] == pytest.approx([eighths / 8] * 3, abs=1e-12)


@given(scores, st.integers(0, 5))
def test_mean_and_interval_are_within_values(values, seed):
    for interval, column in zip(
        mean_intervals(values, bootstrap_users(len(values), seed)), values.T, strict=True
    ):
        assert column.min() <= interval.ci_low <= interval.ci_high <= column.max()
        assert interval.mean == pytest.approx(column.mean())


@given(st.lists(st.floats(-10, 10), max_size=12).map(sorted), st.floats(0.01, 3))
def test_spread_keeps_order_and_gap(heights, gap):
    moved = spread(heights, gap)
    assert len(moved) == len(heights)
    assert all(right - left >= gap - 1e-9 for left, right in pairwise(moved))
    assert sum(moved) == pytest.approx(sum(heights), abs=1e-6)  # nothing drifts

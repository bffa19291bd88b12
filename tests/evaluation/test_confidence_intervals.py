"""Bootstrap confidence intervals and paired differences."""

from __future__ import annotations

import numpy as np
import pytest

from tastevec.evaluation import statistics as intervals
from tastevec.evaluation.statistics import (
    RESAMPLES,
    bootstrap_users,
    difference_intervals,
    mean_intervals,
    pairwise_differences,
    sign_of_interval,
)


def intervals_of(values, seed=1):
    return mean_intervals(values, bootstrap_users(len(values), seed))


def test_each_resample_has_as_many_draws_as_users():
    draws = bootstrap_users(30, seed=7)
    assert draws.shape == (RESAMPLES, 30)
    assert (draws.sum(axis=1) == 30).all()
    assert draws.mean(axis=0) == pytest.approx(np.ones(30), abs=0.15)


def test_interval_is_close_to_normal_distribution():
    values = np.random.default_rng(0).normal(0.3, 0.2, (800, 1))
    [interval] = intervals_of(values)
    half = 1.96 * values.std() / np.sqrt(800)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.ci_low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert interval.ci_high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_intervals_cover_the_mean_in_95_percent():
    samples = np.random.default_rng(4).random((150, 300)) < 0.3  # 300 samples of 150 users, truth 0.3
    covered = [item.ci_low <= 0.3 <= item.ci_high for item in intervals_of(samples.astype(float), seed=2)]
    assert 0.9 <= np.mean(covered) <= 0.99


def test_interval_depends_on_seed():
    values = np.random.default_rng(0).random((50, 2))
    assert intervals_of(values, 1) == intervals_of(values, 1)
    assert intervals_of(values, 1) != intervals_of(values, 2)


def test_users_without_value_do_not_count():
    values = np.array([[0.2], [0.4], [0.9]])
    [alone] = intervals_of(values)
    [padded] = intervals_of(np.concatenate([values, np.full((2, 1), np.nan)]))
    assert (padded.mean, padded.n_users) == (alone.mean, 3)
    assert 0.2 <= padded.ci_low <= padded.ci_high <= 0.9


def test_column_without_values_has_no_interval():
    first, second = intervals_of(np.array([[1.0, np.nan], [1.0, np.nan]]))
    assert (first.ci_low, first.ci_high, first.n_users) == (1, 1, 2)
    assert np.isnan([second.mean, second.ci_low, second.ci_high]).all()
    assert second.n_users == 0


def test_no_columns_have_no_intervals():
    assert intervals_of(np.zeros((3, 0))) == []


def test_block_size_changes_nothing(monkeypatch):
    values = np.random.default_rng(1).random((30, 1))
    whole = intervals_of(values)
    monkeypatch.setattr(intervals, "_CELLS", 60)  # two draws of 30 users at a time
    assert intervals_of(values)[0] == pytest.approx(whole[0])


def test_paired_interval_is_narrower():
    rng = np.random.default_rng(0)
    user = rng.random((200, 1))  # users differ much, the systems by 0.02
    better, worse = user + 0.02 + rng.normal(0, 0.01, (200, 1)), user
    draws = bootstrap_users(200, seed=3)
    [paired] = difference_intervals(better, worse, draws)
    [alone] = mean_intervals(better, draws)
    assert 0 < paired.ci_low < 0.02 < paired.ci_high + 0.005
    assert paired.ci_high - paired.ci_low < 0.1 * (alone.ci_high - alone.ci_low)


def test_pairwise_differences_equal_single_pairs():
    values, draws = np.random.default_rng(2).random((40, 4)), bootstrap_users(40, seed=5)
    found = pairwise_differences(values, draws)
    for a in range(4):
        for b in range(4):
            [alone] = difference_intervals(values[:, [a]], values[:, [b]], draws)
            assert [matrix[a, b] for matrix in found] == pytest.approx(alone[:3])


def test_differences_of_two_users_are_exact():
    """Differences are 0 and 1, so that the mean of a resample is 0, 0.5, 0.5 or 1: both ends have over 2.5 %."""
    found = pairwise_differences(np.array([[0.5, 0.5], [1.0, 0.0]]), bootstrap_users(2, seed=42))
    assert [matrix[0, 1] for matrix in found] == [0.5, 0.0, 1.0]
    assert [matrix[1, 0] for matrix in found] == [-0.5, -1.0, 0.0]


def test_user_without_value_of_one_system_counts_for_none():
    values = np.array([[0.5, 0.25, 0.0], [1.0, 0.75, np.nan]])
    found = pairwise_differences(values, bootstrap_users(2, seed=42))
    assert found.mean[0, 2] == found.ci_low[0, 2] == found.ci_high[0, 2] == 0.5
    nothing = pairwise_differences(np.full((2, 2), np.nan), bootstrap_users(2, seed=42))
    assert np.isnan(nothing.mean[0, 1])
    assert (nothing.mean.diagonal() == 0).all()


def test_sign_of_interval_ignores_rounding():
    assert (
        sign_of_interval(1e-16, 1e-15)
        == sign_of_interval(-1e-15, -1e-16)
        == sign_of_interval(float("nan"), float("nan"))
        == 0
    )

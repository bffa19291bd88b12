from __future__ import annotations

import numpy as np
import pytest

from tastevec.evaluation import intervals
from tastevec.evaluation.intervals import mean_intervals, paired_differences


def test_an_interval_is_near_the_one_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(0.3, 0.2, (800, 1))
    [interval] = mean_intervals(values, seed=1)
    half = 1.96 * values.std() / np.sqrt(800)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_intervals_cover_the_truth_about_95_times_in_100():
    samples = np.random.default_rng(4).random((150, 300)) < 0.3  # 300 samples of 150 people, truth 0.3
    covered = [item.low <= 0.3 <= item.high for item in mean_intervals(samples.astype(float), seed=2)]
    assert 0.9 <= np.mean(covered) <= 0.99


def test_the_same_seed_gives_the_same_interval_and_another_does_not():
    values = np.random.default_rng(0).random((50, 2))
    assert mean_intervals(values, seed=1) == mean_intervals(values, seed=1)
    assert mean_intervals(values, seed=1) != mean_intervals(values, seed=2)


def test_people_without_a_value_do_not_count():
    values = np.array([[0.2], [0.4], [0.9]])
    [alone] = mean_intervals(values, seed=5)
    [padded] = mean_intervals(np.concatenate([values, np.full((2, 1), np.nan)]), seed=5)
    assert (padded.mean, padded.users) == (alone.mean, 3)
    assert 0.2 <= padded.low <= padded.high <= 0.9


def test_a_column_without_any_value_has_no_interval():
    first, second = mean_intervals(np.array([[1.0, np.nan], [1.0, np.nan]]), seed=1)
    assert (first.low, first.high, first.users) == (1, 1, 2)
    assert np.isnan([second.mean, second.low, second.high]).all()
    assert second.users == 0


def test_small_blocks_still_draw_every_resample(monkeypatch):
    monkeypatch.setattr(intervals, "_CELLS", 60)  # two resamples of 30 people at a time
    values = np.random.default_rng(1).random((30, 1))
    [interval] = mean_intervals(values, seed=1)
    assert interval.low < values.mean() < interval.high


def test_the_same_people_under_two_systems_differ_by_less_than_two_groups_would():
    rng = np.random.default_rng(0)
    person = rng.random((200, 1))  # people differ much, the systems by 0.02
    better, worse = person + 0.02 + rng.normal(0, 0.01, (200, 1)), person
    [paired] = paired_differences(better, worse, seed=3)
    [alone] = mean_intervals(better, seed=3)
    assert 0 < paired.low < 0.02 < paired.high + 0.005
    assert paired.high - paired.low < 0.1 * (alone.high - alone.low)

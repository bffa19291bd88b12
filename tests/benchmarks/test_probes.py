"""The measures of the probes are those of scikit-learn, and of a resample those of its users."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probes import Probe, Target, mean_auc, mean_r2, mean_rand
from sklearn.metrics import adjusted_rand_score, r2_score, roc_auc_score

USERS = 12
DRAWN = st.lists(st.integers(0, USERS - 1), min_size=USERS, max_size=USERS)


def _drawn(users):
    return np.bincount(users, minlength=USERS)[None].astype(np.float32)


@given(DRAWN, st.integers(0, 99))
def test_measures_of_a_resample_equal_those_of_its_users(users, seed):
    rng = np.random.default_rng(seed)
    scores, values = rng.integers(5, size=(USERS, 1)).astype(float), rng.normal(size=(USERS, 2))
    inside = (np.arange(USERS) % 3 == 0).astype(float)[:, None]
    if 0 < inside[users].sum() < USERS:
        expected = roc_auc_score(inside[users, 0], scores[users, 0])
        assert mean_auc(scores, inside, _drawn(users))[0] == pytest.approx(expected)
    if len(set(users)) > 1:
        predicted = values + rng.normal(size=values.shape)
        expected = r2_score(values[users], predicted[users])
        assert mean_r2(predicted, values, _drawn(users))[0] == pytest.approx(expected)


@given(st.integers(0, 99))
def test_agreement_of_clusters_equals_that_of_sklearn(seed):
    left, right = np.random.default_rng(seed).integers(3, size=(2, USERS))
    [found] = mean_rand(left, right, np.ones((1, USERS), np.float32))
    assert found == pytest.approx(adjusted_rand_score(left, right), abs=1e-9)


def test_agreement_of_a_resample_counts_no_pair_of_a_user_with_themselves():
    sides = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    once, twice = mean_rand(*sides, np.array([[1, 1, 1, 1], [2, 2, 2, 2]], np.float32))
    assert once == pytest.approx(adjusted_rand_score(*sides))
    assert twice < 0


def test_a_probe_reads_a_linear_attribute_and_not_one_that_is_not_there():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(200, 4))
    fit = np.arange(200) < 100
    linear, noise = (
        Target("two classes", np.eye(2)[classes], of_classes=True)
        for classes in ((vectors[:, 0] > 0).astype(int), rng.integers(2, size=200))
    )
    there, absent = (Probe.fit(vectors, target, fit, ~fit) for target in (linear, noise))
    itself, found = there.interval(1, there), absent.interval(1, there)
    assert itself["ci_low"] > 0.9
    assert not itself["significant"]
    assert found["ci_low"] < 0.5 < found["ci_high"]
    assert found["significant"]

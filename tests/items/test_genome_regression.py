from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from tastevec.items.genome_prediction import GenomeRegression, level_of, row_correlations

RNG = np.random.default_rng(1)
FEATURES = RNG.normal(size=(30, 4))
NOBODY = sparse.csr_matrix((30, 2))


def relevance(noise: float = 0.02) -> np.ndarray:
    """Two tags that go with the first two features."""
    return np.clip(0.5 + 0.1 * FEATURES[:, :2] + RNG.normal(scale=noise, size=(30, 2)), 0, 1)


def ridge(features: np.ndarray, wanted: np.ndarray, penalty: float, asked: np.ndarray) -> np.ndarray:
    centred = features - features.mean(axis=0)
    normal = centred.T @ centred + penalty * np.eye(features.shape[1])
    slopes = np.linalg.solve(normal, centred.T @ (wanted - wanted.mean(axis=0)))
    return (asked - features.mean(axis=0)) @ slopes + wanted.mean(axis=0)


def test_films_left_out_are_given_what_a_regression_without_them_gives():
    truth = relevance()
    model = GenomeRegression.fit(FEATURES, NOBODY, truth)
    apart = np.abs(model.predict(FEATURES, NOBODY) - ridge(FEATURES, truth, 0.25, FEATURES)).max()
    assert apart < 1e-6  # so little noise takes the smallest penalty
    for item in range(len(FEATURES)):
        others = np.arange(len(FEATURES)) != item
        given = ridge(FEATURES[others], truth[others], 0.25, FEATURES[item])
        np.testing.assert_allclose(model.left_out[item], np.clip(given, 0, 1), atol=1e-9)


def test_features_that_say_nothing_take_the_largest_penalty():
    truth = RNG.uniform(size=(30, 2))
    model = GenomeRegression.fit(FEATURES, NOBODY, truth)
    np.testing.assert_allclose(
        model.predict(FEATURES, NOBODY), np.clip(ridge(FEATURES, truth, 16.0, FEATURES), 0, 1), atol=1e-6
    )


def test_the_share_that_applied_tags_gain_is_learned():
    loud = np.where(np.arange(30) % 2, 3.0, 0.0)
    applied = sparse.csr_matrix(np.stack([loud, np.zeros(30)], axis=1))
    truth = np.stack([np.where(loud > 0, 0.8, 0.2), np.full(30, 0.5)], axis=1)
    model = GenomeRegression.fit(np.zeros((30, 1)), applied, truth)
    gained = model.by_name[0] + model.by_name[1] * np.log1p(3.0)
    assert gained == pytest.approx(0.3 / 0.5, abs=0.05)  # from the mean .5 to .8, of what is missing to 1
    assert (model.predict(np.zeros((1, 1)), applied[:1])[0] == np.float32([0.5, 0.5])).all()


def test_more_evidence_never_counts_for_less():
    truth = relevance(0.2)
    model = GenomeRegression.fit(FEATURES, NOBODY, truth)
    asked = np.linspace(-1, 12, 50)
    expected = model.expect(truth, np.arange(30) % 10.0, asked)
    assert (np.diff(expected) >= 0).all()
    assert ((expected >= 0) & (expected <= 1)).all()


def test_where_evidence_is_alike_confidence_is_the_mean_of_what_was_found():
    truth = relevance(0.2)
    model = GenomeRegression.fit(FEATURES, NOBODY, truth)
    found = row_correlations(model.left_out - model.mean, truth - model.mean).mean()
    np.testing.assert_allclose(model.expect(truth, np.zeros(30), np.array([0.0, 5.0])), max(found, 0))


def test_errors_are_told_by_level_and_are_the_mean_one_where_no_prediction_was():
    truth = relevance()
    model = GenomeRegression.fit(FEATURES, NOBODY, truth)
    errors, off = model.errors(truth), (model.left_out - truth) ** 2
    assert errors[0] == pytest.approx(np.sqrt(off.mean()))  # nothing is predicted below .05
    middle = level_of(model.left_out) == level_of(np.array([0.4]))[0]
    assert errors[level_of(np.array([0.4]))[0]] == pytest.approx(np.sqrt(off[middle].mean()), rel=0.1)

"""Calibration of probabilities: bins, errors and what the report shows."""

from dataclasses import replace

import numpy as np
import pytest

import tastevec as tv
from reports import lively
from tastevec.evaluation.calibration import CalibrationCurve, measure_calibration
from tastevec.evaluation.html_report import write_report
from tastevec.evaluation.report import Report
from tastevec.evaluation.scorers import EncodedScorer, Predictions, Runs
from tastevec.evaluation.statistics import bootstrap_users
from tastevec.evaluation.tables import report_text
from tastevec.schema import REPORT_FILE
from tastevec.serving.calibration import Calibration
from tastevec.serving.recommender import Recommender
from users import users

RNG = np.random.default_rng(7)
CHANCE, OWNERS = RNG.uniform(size=20_000).astype(np.float32), np.sort(RNG.integers(0, 200, 20_000))
DRAWS = bootstrap_users(200, seed=42)


def predicted(chance, of=lambda chance: chance):
    """The calibration of probabilities whose outcomes are drawn with probability ``of`` them."""
    positive = np.random.default_rng(8).uniform(size=len(chance)) < of(chance)
    return CalibrationCurve.of("ours", "overall", Predictions(chance, positive, OWNERS), DRAWS)


def test_calibrated_probabilities_have_a_small_error():
    found = predicted(CHANCE)
    assert found.calibration_error < 0.02
    assert found.predicted == pytest.approx(np.arange(0.05, 1, 0.1), abs=0.01)
    assert found.observed == pytest.approx(found.predicted, abs=0.04)
    inside = (np.array(found.observed_low) < found.predicted) & (
        found.predicted < np.array(found.observed_high)
    )
    assert inside.sum() >= 8
    assert found.brier_low < found.brier < found.brier_high < found.brier_of_base_rate
    assert found.brier == pytest.approx(1 / 6, abs=0.01)  # of outcomes of uniform probabilities
    assert (found.n_users, found.n_ratings) == (200, 20_000)


def test_probabilities_that_are_too_high_have_the_error_they_are_too_high_by():
    found = predicted(CHANCE, lambda chance: chance / 2)
    assert found.calibration_error == pytest.approx(0.25, abs=0.02)


def test_few_ratings_have_a_bin_each():
    few = Predictions(np.array([0.9, 0.1], np.float32), np.array([True, False]), np.array([0, 1]))
    found = CalibrationCurve.of("ours", "next", few, bootstrap_users(2, seed=42))
    assert found.predicted == pytest.approx((0.1, 0.9))
    assert found.observed == (0.0, 1.0)


def test_report_has_curve_and_table_and_is_read_again(tmp_path):
    report = replace(
        lively(baselines=["popularity"], models=["ours"], users=20, tasks=("next-item",)),
        calibration=(predicted(CHANCE), replace(predicted(CHANCE, lambda chance: chance**2), horizon="next")),
    )
    write_report(report, tmp_path / "out")
    assert Report.read(tmp_path / "out").calibration == report.calibration
    page = (tmp_path / "out" / REPORT_FILE).read_text(encoding="utf-8")
    assert '<figure id="calibration">' in page
    assert "20,000 later ratings of 200 users" in page
    table = report_text(report).partition("Calibration:")[2]
    assert f"ours, overall  20,000   {report.calibration[0].base_rate:.3f}" in table
    assert "Calibration:" not in report_text(replace(report, calibration=()))


def test_models_with_probabilities_are_measured_on_later_ratings(bundle_folder):
    from tastevec.pipelines.evaluate import model_scorer  # noqa: PLC0415  it needs the trained model

    model = tv.load(bundle_folder)
    n_items = len(model.bundle.items)
    shares = np.linspace(0.1, 0.9, n_items)
    calibration = Calibration(np.array([0.5]), shares, np.array([0, 1.0, 0]), np.zeros(2), np.zeros(2))
    calibrated = Recommender(replace(model.bundle, calibration=calibration))
    held_out = users(*[[(item, 5 if item >= 10 else 1) for item in (0, 1, 12, 2, 15)] for _ in range(4)])
    systems = [Runs.one(model_scorer(one, name)) for name, one in (("with", calibrated), ("without", model))]
    found = measure_calibration(systems, held_out, horizons=("overall", "next"))
    assert [(row.system, row.horizon, row.n_ratings) for row in found] == [
        ("with", "overall", 4),
        ("with", "next", 4),
    ]
    assert found[0].predicted[0] == pytest.approx(
        shares[15], abs=1e-6
    )  # of the last fifth; the item's share alone counts
    assert found[0].base_rate == 1
    assert isinstance(systems[0].scorers[0], EncodedScorer)

"""Means, skill scores and paired differences against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from reports import facts, measured, report_of, task_record
from tastevec.evaluation.results import Slice, TaskRecord, TaskResult, headline_metric
from tastevec.evaluation.tasks import Task

NAN = float("nan")


def found(records, **wanted):
    """Return the single record with these fields."""
    [record] = [
        record for record in records if all(getattr(record, name) == value for name, value in wanted.items())
    ]
    return record


def three_runs(**changes):
    task = task_record(users=2)
    fields = {
        "values": {"ndcg@100": np.array([0.2, 0.4])},
        "runs": {"ndcg@100": np.array([0.2, 0.3, 0.4])},
        "system_metrics": {"coverage@10": np.array([0.5, 0.6, 0.7])},
        "slices": (Slice("cold_items", "1-4", "found@20", np.array([1.0, NAN])),),
    }
    return TaskResult("ours", task, **fields | changes)


@pytest.fixture
def report():
    return report_of([facts("ours", runs=3)], [three_runs()])


def test_row_has_mean_over_users_and_sd_of_runs(report):
    row = found(report.rows, metric="ndcg@100")
    assert (row.system, row.task) == ("ours", "random-20pct")
    assert (row.mean, row.ci_low, row.ci_high, row.n_users) == pytest.approx((0.3, 0.2, 0.4, 2))
    assert (row.runs, row.seed_sd) == (3, pytest.approx(0.1))  # sample deviation of 0.2, 0.3 and 0.4


def test_single_run_has_no_sd():
    report = report_of([facts("ours")], [measured("ours", task_record(), ndcg_at_10=[0, 1, 1, 1])])
    assert found(report.rows).seed_sd is None
    assert report.to_dict()["rows"][0]["seed_sd"] is None


def test_system_metrics_are_means_over_runs_without_interval(report):
    row = found(report.system_metrics)
    assert (row.metric, row.mean, row.runs, row.seed_sd) == pytest.approx(("coverage@10", 0.6, 3, 0.1))
    plain = report.to_dict()["system_metrics"][0]
    assert (plain["ci_low"], plain["ci_high"], plain["n_users"]) == (None, None, 2)


def test_slice_row_counts_users_with_value(report):
    row = found(report.slices)
    assert (row.by, row.label, row.metric, row.n_users) == ("cold_items", "1-4", "found@20", 1)
    assert (row.mean, row.ci_low, row.ci_high) == (1, 1, 1)


def test_constant_lead_over_baseline_is_significant():
    task, names = (
        task_record(),
        [facts("floor", is_baseline=True), facts("better"), facts("worse"), facts("mixed")],
    )
    results = [
        measured("floor", task, ndcg_at_10=[0.2, 0.4, 0.2, 0.4], recall_at_20=[0.5] * 4),
        measured("better", task, ndcg_at_10=[0.3, 0.5, 0.3, 0.5], recall_at_20=[0.5] * 4),
        measured("worse", task, ndcg_at_10=[0.1, 0.3, 0.1, 0.3], recall_at_20=[0.5] * 4),
        measured("mixed", task, ndcg_at_10=[0.9, 0.0, 0.9, 0.0], recall_at_20=[0.5] * 4),
    ]
    report = report_of(names, results)
    stars = {(skill.system, skill.metric): skill.significant for skill in report.skills}
    assert [system for (system, _), star in stars.items() if star] == ["better"]
    better = found(report.skills, system="better", metric="ndcg@10")
    # The baseline's mean is 0.3, perfection 1: 0.1 of 0.7 of the way.
    assert (better.baseline, better.difference, better.skill) == pytest.approx(("floor", 0.1, 1 / 7))
    assert (better.ci_low, better.ci_high) == pytest.approx((0.1, 0.1))


def test_skill_uses_best_baseline():
    task, names = (
        task_record(users=2),
        [facts("a", is_baseline=True), facts("b", is_baseline=True), facts("ours")],
    )
    results = [
        measured("a", task, hr_at_10=[0.1, 0.1]),
        measured("b", task, hr_at_10=[0.3, 0.3]),
        measured("ours", task, hr_at_10=[0.2, 0.2]),
    ]
    skill = found(report_of(names, results).skills)
    assert (skill.baseline, skill.significant) == ("b", False)
    assert skill.difference == pytest.approx(-0.1)


def test_smaller_distance_is_better_within_one_space():
    task = task_record(users=2)
    names = [
        facts("mine", is_baseline=True, space="one"),
        facts("others", is_baseline=True, space="two"),
        facts("blind", is_baseline=True, space="one"),
        facts("ours", space="one"),
    ]
    results = [
        measured("mine", task, cosine_distance=[0.4, 0.4]),
        measured("others", task, cosine_distance=[0.1, 0.1]),
        TaskResult(
            "blind", task, {"cosine_distance": np.array([NAN, NAN])}, {"cosine_distance": np.array([NAN])}
        ),
        measured("ours", task, cosine_distance=[0.3, 0.3]),
    ]
    skill = found(report_of(names, results).skills)
    assert (skill.baseline, skill.significant) == ("mine", True)
    assert skill.skill == pytest.approx(0.25)  # a quarter of the way from 0.4 to 0


def test_list_metrics_have_no_skill():
    task = task_record("next-item", users=2)
    values = {
        "ndcg_at_10": [1, 1],
        "novelty_at_10": [9, 9],
        "ndcg_at_10_shuffled": [1, 1],
        "split_half_cosine": [1, 1],
    }
    results = [measured(name, task, **values) for name in ("floor", "ours")]
    report = report_of([facts("floor", is_baseline=True), facts("ours")], results)
    assert [skill.metric for skill in report.skills] == ["ndcg@10"]


def test_paired_differences_have_each_pair_once():
    task = task_record(users=2)
    values = {"a": [0.5, 1.0], "b": [0.25, 0.75], "c": [0.0, 1.0]}
    results = [
        measured(name, task, ndcg_at_100=column, recall_at_20=[0, 1]) for name, column in values.items()
    ]
    report = report_of([facts(name) for name in values], results)
    assert [(pair.a, pair.b) for pair in report.paired_differences] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert {pair.metric for pair in report.paired_differences} == {"ndcg@100"}
    first, second, third = report.paired_differences
    assert (first.difference, first.ci_low, first.ci_high, first.significant) == (0.25, 0.25, 0.25, True)
    assert (second.difference, second.ci_low, second.ci_high, second.significant) == (0.25, 0.0, 0.5, False)
    assert (third.difference, third.ci_low, third.ci_high, third.significant) == (0.0, -0.25, 0.25, False)


def test_paired_differences_skip_systems_without_task():
    results = [
        measured("a", task_record("random-20pct"), ndcg_at_100=[1] * 4),
        measured("a", task_record("next-item"), ndcg_at_10=[1] * 4),
        measured("b", task_record("next-item"), ndcg_at_10=[0] * 4),
    ]
    report = report_of([facts("a"), facts("b")], results)
    assert [(pair.task, pair.a, pair.b) for pair in report.paired_differences] == [("next-item", "a", "b")]


@pytest.mark.parametrize(
    ("task", "metrics", "expected"),
    [
        ("top-rated", ["ndcg@10", "ndcg@100"], "ndcg@10"),
        ("next-item", ["ndcg@100", "ndcg@10", "ndcg@10_shuffled"], "ndcg@10"),
        ("global-temporal", ["ndcg@10", "ndcg@100"], "ndcg@100"),
        ("random-20pct", ["found@20"], "found@20"),
    ],
)
def test_headline_metric_of_each_task(task, metrics, expected):
    assert headline_metric(task, metrics) == expected


def question(**changes):
    from users import users  # noqa: PLC0415  only these tests hold_out

    fields = {
        "name": "random-20pct",
        "inputs": users([(0, 5), (1, 3)], [(2, 4)]),
        "offsets": np.array([0, 1, 3]),
        "targets": np.array([4, 3, 4], np.int32),
        "timestamps": np.zeros(3, np.int64),
        "excluded_users": 0,
        "note": "",
    }
    return TaskRecord.of(Task(**fields | changes))


def test_task_record_has_users_and_counts():
    kept = question()
    assert TaskRecord.of(kept) is kept
    assert (len(kept), kept.horizon) == (2, "overall")
    assert (kept.input_items.tolist(), kept.held_out_items.tolist()) == ([2, 1], [1, 2])
    assert question(name="last-20pct").horizon == "next"


def test_fingerprint_changes_with_users_items_and_candidates():
    from users import users  # noqa: PLC0415  only these tests hold_out

    same = question(note="read with care", timestamps=np.ones(3, np.int64))
    others = [
        question(targets=np.array([4, 3, 0], np.int32)),
        question(offsets=np.array([0, 2, 3])),
        question(inputs=users([(0, 5), (1, 3)], [(1, 4)])),
        question(inputs=users([(0, 5), (1, 3)], [(2, 4)], ids=[1, 3])),
        question(candidates=np.array([True, True, True, False, True])),
    ]
    prints = [other.fingerprint for other in others]
    assert same.fingerprint == question().fingerprint
    assert len({question().fingerprint, *prints}) == 6

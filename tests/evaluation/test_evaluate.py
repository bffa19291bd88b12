from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

import worlds
from fakes import Fixed, Summed
from tastevec.data.value_scale import ValueScale
from tastevec.errors import DataError, SettingsError
from tastevec.evaluation import scorers as answers
from tastevec.evaluation.baselines import (
    EASE,
    GlobalMeanVector,
    LastItems,
    MeanPositive,
    Popularity,
    WeightedMean,
)
from tastevec.evaluation.dataset import NO_YEAR, EvalDataset
from tastevec.evaluation.evaluate import evaluate
from tastevec.evaluation.html_report import write_report
from tastevec.evaluation.report import Report
from tastevec.evaluation.scorers import Runs
from tastevec.evaluation.tables import report_text
from users import items_of, plain_dataset, users, valued, world

FROM = 4.0
STARS = ValueScale.explicit(1, 5)


@pytest.fixture
def dataset():
    """Five users of each taste train; the sixth of each is held out."""
    train = np.array([0, 1, 2, 3, 4, 6, 7, 8, 9, 10])
    return plain_dataset(world().take(train), world().take(np.array([5, 11])), worlds.ITEMS, STARS)


def row_of(report, system, task, metric):
    [row] = [r for r in report.rows if (r.system, r.task, r.metric) == (system, task, metric)]
    return row


def test_perfect_scorer_has_one_and_inverse_scorer_zero():
    held_out = users([(0, 5), (1, 1), (2, 5)], [(3, 1), (0, 2), (2, 4)])  # next-item holds out item 2 of both
    dataset = plain_dataset(users([(0, 5)], ids=[99]), held_out, 5, STARS)
    right, wrong = Fixed([0, 0, 1, 0, 0], "right"), Fixed([0, 0, -1, 0, 0], "wrong")
    report = evaluate([right, wrong], dataset, tasks=["next-item", "last-20pct"], at=[1, 2])
    for metric in ("hr@1", "recall@2", "ndcg@2", "mrr@1"):
        assert row_of(report, "right", "next-item", metric).mean == 1
        assert row_of(report, "wrong", "next-item", metric).mean == 0


def test_evaluate_measures_every_system_task_and_metric(dataset):
    report = evaluate(
        [EASE(positive_from=FROM)], dataset, baselines=[Popularity(positive_from=FROM)], at=[5, 10]
    )
    assert [task.name for task in report.tasks] == ["top-rated", "random-20pct", "next-item", "last-20pct"]
    assert [(result.system, result.task.name) for result in report.results] == [
        (system, task.name) for system in ("popularity", "EASE (positives)") for task in report.tasks
    ]
    accuracy = {
        f"{metric}@{k}" for metric in ("hr", "recall", "uncapped_recall", "ndcg", "mrr") for k in (5, 10)
    }
    described = {"log_popularity@10", "novelty@10", "intra_list_similarity@10"}
    for result in report.results:
        in_order = {f"{metric}_shuffled" for metric in accuracy} if result.task.horizon == "next" else set()
        assert set(result.values) == set(result.runs) == accuracy | described | in_order
        assert set(result.system_metrics) == {"coverage@10", "gini@10"}
        assert {part.by for part in result.slices} == {
            "history_length",
            "item_popularity_decile",
            "cold_items",
        }
        assert all(values.shape == (2,) for values in result.values.values())
        assert all(part.values.shape == (2,) for part in result.slices)


def test_vector_scorer_has_distances_and_geometry(dataset):
    space = np.random.default_rng(0).standard_normal((worlds.ITEMS, 3))
    report = evaluate([Summed(space)], dataset, tasks=["random-20pct"])
    [result] = report.results
    halves = {"split_half_cosine", "between_user_cosine", "split_half_accuracy"}
    assert {"cosine_distance", "cosine_distance_centred"} | halves < set(result.values)
    assert set(result.system_metrics) == {
        "coverage@10",
        "gini@10",
        "effective_rank",
        "top_direction",
        "hubness@10",
    }
    assert 1 <= result.system_metrics["effective_rank"][0] <= 2  # two users


def test_list_metrics_are_of_the_first_10_items(dataset):
    """Ten items for each of the two users, among them the 4 that are not input."""
    report = evaluate([Fixed(np.arange(worlds.ITEMS))], dataset, tasks=["top-rated"])
    [result] = report.results
    answered = [set(range(worlds.ITEMS)) - set(items_of(result.task.inputs, user)) for user in range(2)]
    counts = np.bincount([item for items in answered for item in items], minlength=worlds.ITEMS)
    assert result.system_metrics["coverage@10"] == [np.mean(counts > 0)]
    raters = dataset.items.raters
    assert result.values["log_popularity@10"] == pytest.approx(
        [np.log1p(raters[list(items)]).mean() for items in answered]
    )


def test_order_free_scorer_is_equal_with_sessions_shuffled(dataset):
    report = evaluate([EASE(positive_from=FROM)], dataset, tasks=["next-item", "last-20pct"])
    for result in report.results:
        for metric in ("ndcg@10", "recall@100"):
            np.testing.assert_array_equal(result.values[metric], result.values[f"{metric}_shuffled"])
        assert "Sessions shuffled: the input items of each session" in result.task.note


def test_scorer_of_last_item_is_worse_with_sessions_shuffled():
    class NextNumber(Fixed):
        """Rank the item after the user's last one first."""

        def score(self, histories):
            return np.eye(30, dtype=np.float32)[histories.items[histories.offsets[1:] - 1] + 1]

    chains = users(*[[(item, 5, 0) for item in range(start, start + 9)] for start in range(20)])
    dataset = plain_dataset(users([(0, 5)], ids=[99]), chains, 30, STARS)
    report = evaluate([NextNumber([])], dataset, tasks=["next-item", "last-20pct"])
    assert row_of(report, "fixed", "next-item", "hr@10").mean == 1
    assert row_of(report, "fixed", "next-item", "mrr@10").mean == 1
    assert row_of(report, "fixed", "next-item", "mrr@10_shuffled").mean < 0.5


def test_last_items_have_order_aware_tasks_only(dataset):
    scorer = Fixed(np.zeros(worlds.ITEMS))
    short = Runs("short", (LastItems(scorer), LastItems(Fixed(np.ones(worlds.ITEMS)))))
    report = evaluate([scorer, LastItems(scorer), short], dataset)
    task_record = {
        name: [r.task.name for r in report.results if r.system == name]
        for name in ("fixed", "fixed, last 20 items", "short")
    }
    assert task_record["fixed"] == ["top-rated", "random-20pct", "next-item", "last-20pct"]
    assert task_record["fixed, last 20 items"] == task_record["short"] == ["next-item", "last-20pct"]


def test_system_without_task_is_omitted(dataset):
    scorer = Fixed(np.zeros(worlds.ITEMS))
    report = evaluate([scorer, LastItems(scorer)], dataset, tasks=["random-20pct"])
    assert [facts.system for facts in report.systems] == ["fixed"]
    with pytest.raises(
        SettingsError,
        match=r"no system for tasks random-20pct\. Expected one that does not read the order alone",
    ):
        evaluate([LastItems(scorer)], dataset, tasks=["random-20pct"])


def test_value_is_mean_over_runs(dataset):
    one, other = Fixed(np.arange(worlds.ITEMS), "one"), Fixed(-np.arange(worlds.ITEMS), "other")
    both = evaluate([Runs("both", (one, other), {"seeds": 2})], dataset, tasks=["random-20pct"], at=[3])
    alone = evaluate([one, other], dataset, tasks=["random-20pct"], at=[3])
    [result], apart = both.results, alone.results
    assert (both.systems[0].runs, both.systems[0].settings) == (2, {"seeds": 2})
    for metric, values in result.values.items():
        np.testing.assert_allclose(values, (apart[0].values[metric] + apart[1].values[metric]) / 2)
        np.testing.assert_allclose(result.runs[metric], [apart[0].runs[metric][0], apart[1].runs[metric][0]])
    for metric, values in result.system_metrics.items():
        assert values.tolist() == [apart[0].system_metrics[metric][0], apart[1].system_metrics[metric][0]]
    for part, first, second in zip(result.slices, apart[0].slices, apart[1].slices, strict=True):
        assert (part.by, part.label, part.metric) == (first.by, first.label, first.metric)
        np.testing.assert_allclose(part.values, (first.values + second.values) / 2)


def test_progress_reports_steps_and_total(dataset):
    found_text = []
    systems = [Fixed(np.zeros(worlds.ITEMS)), LastItems(Fixed(np.ones(worlds.ITEMS), "other"))]
    evaluate(
        systems,
        dataset,
        tasks=["random-20pct", "next-item", "last-20pct"],
        progress=lambda *what: found_text.append(what),
    )
    assert found_text == [
        (0, 5, "fixed: fit"),
        (0, 5, "other, last 20 items: fit"),
        (0, 5, "fixed: random-20pct"),
        (1, 5, "fixed: next-item"),
        (2, 5, "fixed: last-20pct"),
        (3, 5, "other, last 20 items: next-item"),
        (4, 5, "other, last 20 items: last-20pct"),
        (5, 5, "confidence intervals"),
    ]


def test_equal_seed_gives_equal_results(dataset):
    space = np.random.default_rng(0).standard_normal((worlds.ITEMS, 3))
    first, again = (evaluate([Summed(space)], dataset, seed=7) for _ in range(2))
    for one, other in zip(first.results, again.results, strict=True):
        for metric, values in (one.values | one.system_metrics).items():
            np.testing.assert_array_equal(values, (other.values | other.system_metrics)[metric])


def test_mean_equals_mean_of_per_user_values(dataset):
    report = evaluate([EASE(positive_from=FROM)], dataset, at=[5])
    for result in report.results:
        for metric, values in result.values.items():
            mean = row_of(report, result.system, result.task.name, metric).mean
            if metric == "intra_list_similarity@10":  # nothing is known of the items
                assert np.isnan(mean)
            else:
                assert mean == pytest.approx(values.mean())


def test_the_size_of_the_chunks_changes_nothing(dataset, monkeypatch):
    space = np.random.default_rng(0).standard_normal((worlds.ITEMS, 4)).astype(np.float32)
    systems = [EASE(positive_from=FROM), MeanPositive(space, space="s", positive_from=FROM)]
    whole = evaluate(systems, dataset)
    monkeypatch.setattr(answers, "_CELLS", 1)  # one user at a time
    for row, expected in zip(evaluate(systems, dataset).rows, whole.rows, strict=True):
        assert (row.system, row.task, row.metric) == (expected.system, expected.task, expected.metric)
        assert (row.mean, row.ci_low) == pytest.approx((expected.mean, expected.ci_low), nan_ok=True)


def test_last_items_share_the_fit_of_the_scorer(dataset):
    scorer = Fixed(np.zeros(worlds.ITEMS))
    evaluate([scorer, LastItems(scorer)], dataset, tasks=["next-item", "last-20pct"])
    assert scorer.fits == 1


def test_distances_are_within_the_space_of_the_system(dataset):
    space = np.zeros((worlds.ITEMS, 2), np.float32)
    space[: worlds.ITEMS // 2, 0], space[worlds.ITEMS // 2 :, 1] = 1, 1  # the two tastes, at right angles
    systems = [MeanPositive(space, space="tastes", positive_from=FROM), EASE(positive_from=FROM)]
    report = evaluate(
        systems, dataset, baselines=[GlobalMeanVector(space, space="tastes", positive_from=FROM)]
    )
    mean, constant = "mean of positives (tastes)", "global mean vector (tastes)"
    for task in ("top-rated", "random-20pct"):
        assert row_of(report, mean, task, "cosine_distance").mean == pytest.approx(0, abs=1e-6)
        assert row_of(report, constant, task, "cosine_distance").mean == pytest.approx(
            1 - np.sqrt(0.5), abs=0.01
        )
        assert row_of(report, mean, task, "cosine_distance_centred").mean == pytest.approx(0, abs=1e-6)
    assert not [row for row in report.rows if row.system == "EASE (positives)" and "cosine" in row.metric]


def test_distance_ignores_held_out_items_without_vector():
    space = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    held_out = users([(0, 4), (1, 5), (2, 5)], [(0, 4), (2, 5)])  # top-rated holds out 1 and 2; and 2 alone
    report = evaluate(
        [MeanPositive(space, space="s", positive_from=FROM)],
        plain_dataset(users([(0, 5)], ids=[99]), held_out, 3, STARS),
        tasks=["top-rated"],
    )
    row = row_of(report, "mean of positives (s)", "top-rated", "cosine_distance")
    assert (row.mean, row.n_users) == (1, 1)


def test_evaluate_uses_the_horizon_of_the_task(dataset):
    task_record = []

    class TwoAnswers(Fixed):
        def at_horizon(self, horizon):
            task_record.append(horizon)
            return self

    evaluate([TwoAnswers(np.zeros(worlds.ITEMS))], dataset)
    assert task_record == ["overall", "overall", "next", "next"]


def test_skill_is_share_of_gap_from_best_baseline():
    held_out = users(*[[(0, 5), (user % 4 + 1, 5)] for user in range(8)])  # next-item holds out items 1 to 4
    dataset = plain_dataset(users([(0, 5)], ids=[99]), held_out, 6, STARS)
    low, floor = Fixed([0, 0, 0, 0, 0, 9], "low"), Fixed([0, 9, 0, 0, 0, 0], "floor")
    better = Fixed([0, 9, 8, 0, 0, 0], "better")
    report = evaluate([better], dataset, baselines=[low, floor], tasks=["next-item", "last-20pct"], at=[1, 2])
    found = {(skill.task, skill.metric): skill for skill in report.skills}
    one, two = found["next-item", "recall@1"], found["next-item", "recall@2"]
    assert (one.baseline, one.skill, one.difference) == ("floor", 0, 0)
    # At 2 the baseline's second place is item 2 too, the lowest index of its ties: both have half of the items.
    assert (two.baseline, two.skill) == ("floor", 0)
    best = Fixed([0, 9, 8, 7, 6, 0], "best")
    report = evaluate(
        [best],
        dataset,
        baselines=[Fixed([0, 0, 0, 0, 0, 9], "low")],
        tasks=["next-item", "last-20pct"],
        at=[2],
    )
    skill = next(s for s in report.skills if (s.task, s.metric) == ("next-item", "recall@2"))
    assert skill.skill == pytest.approx((0.5 - 0.25) / (1 - 0.25))
    assert skill.ci_low <= skill.difference == 0.25 <= skill.ci_high


def test_skill_of_distance_uses_baselines_of_same_space(dataset):
    one, other = np.random.default_rng(0).standard_normal((2, worlds.ITEMS, 3)).astype(np.float32)
    report = evaluate(
        [MeanPositive(one, space="one", positive_from=FROM)],
        dataset,
        baselines=[
            GlobalMeanVector(one, space="one", positive_from=FROM),
            GlobalMeanVector(other, space="other", positive_from=FROM),
        ],
        tasks=["random-20pct"],
    )
    [skill] = [skill for skill in report.skills if skill.metric == "cosine_distance"]
    assert skill.baseline == "global mean vector (one)"
    floor = row_of(report, skill.baseline, "random-20pct", "cosine_distance").mean
    system = row_of(report, skill.system, "random-20pct", "cosine_distance").mean
    assert skill.skill == pytest.approx(1 - system / floor)


def test_without_baselines_there_is_no_skill(dataset):
    assert evaluate([Fixed(np.zeros(worlds.ITEMS))], dataset, tasks=["random-20pct"]).skills == ()


def test_dataset_without_held_out_users_is_refused():
    with pytest.raises(DataError, match="the split has 0 users"):
        plain_dataset(world(), world().take(np.array([], np.int64)), worlds.ITEMS, STARS)


def test_dataset_with_overlapping_users_is_refused():
    with pytest.raises(DataError, match="1 users are both training and held-out users, user 3 among them"):
        plain_dataset(world().take(np.array([0, 2])), world().take(np.array([2, 4])), worlds.ITEMS, STARS)


def test_task_without_users_is_skipped_with_its_reason(tmp_path):
    once = ValueScale.strength("implicit", positive_from=1, top=1)
    train, held_out = valued(once, [(0, 1), (1, 1)]), valued(once, [(0, 1), (2, 1)], [(1, 1), (2, 1)])
    dataset = plain_dataset(replace(train, user_ids=np.array([99])), held_out, 3, once)
    vectors = np.eye(3, dtype=np.float32)
    report = evaluate([WeightedMean(vectors, space="s", positive_from=1)], dataset)
    assert report.skipped == {
        "top-rated": "implicit feedback has no value above others",
        "random-20pct": "no user has 5 positives",
    }
    assert [task.name for task in report.tasks] == ["next-item", "last-20pct"]
    assert "(random-20pct): skipped, no user has 5 positives." in report_text(report)
    write_report(report, tmp_path / "out")
    assert Report.read(tmp_path / "out").skipped == report.skipped
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "skipped, implicit feedback has no value above others." in page


def test_rating_weighted_mean_differs_by_user_for_implicit_feedback():
    once = ValueScale.strength("implicit", positive_from=1, top=1)
    scorer = WeightedMean(np.eye(3, dtype=np.float32), space="s", positive_from=1)
    assert scorer.vectors(valued(once, [(0, 1)], [(2, 1)])).tolist() == [[1, 0, 0], [0, 0, 1]]


def test_without_order_in_time_order_aware_tasks_are_skipped(dataset):
    found, skipped = replace(dataset, order="none").tasks()
    assert [task.name for task in found] == ["top-rated", "random-20pct"]
    assert set(skipped.values()) == {"there is no order in time"}
    with pytest.raises(DataError, match="next-item: there is no order in time"):
        replace(dataset, order="none").tasks(["next-item"])


def test_dataset_without_tasks_is_refused():
    dataset = plain_dataset(users([(0, 5)], ids=[9]), users([(0, 5)]), 3, STARS)
    with pytest.raises(
        DataError,
        match=r"none of the 1 users has a task to evaluate \(top-rated: no user has a value above",
    ):
        evaluate([Fixed([0, 0, 0])], dataset)


def test_scores_of_another_catalog_are_refused(dataset):
    with pytest.raises(DataError, match=r"fixed: scores of shape 2 x 7. Expected 2 x 20"):
        evaluate([Fixed(np.zeros(7))], dataset)


def test_systems_with_equal_names_are_refused(dataset):
    with pytest.raises(SettingsError, match=r"fixed, fixed\. Expected unique names"):
        evaluate([Fixed([0])], dataset, baselines=[Fixed([0])])


@pytest.mark.parametrize("at", [[], [0, 10]])
def test_depth_below_one_is_refused(dataset, at):
    with pytest.raises(SettingsError, match="Expected depths of at least 1"):
        evaluate([Fixed([0])], dataset, at=at)


def test_scorer_never_sees_held_out_items(dataset):
    """Histories given to a scorer never contain all held-out items of a task."""
    for name in dataset.task_ids:
        spy = Fixed(np.zeros(worlds.ITEMS))
        report = evaluate([spy], dataset, tasks=[name])
        hidden = [
            {
                (user, item)
                for user, item in zip(
                    np.repeat(task.inputs.user_ids, task.held_out_items), task.targets, strict=True
                )
            }
            for task in report.tasks
        ]
        assert spy.seen
        for known in spy.seen:
            pairs = set(zip(known.user_ids[known.owners], known.items, strict=True))
            assert any(not items & pairs for items in hidden)


def test_dataset_of_prepared_has_its_splits():
    class Folder:
        """The parts of a prepared dataset that an evaluation reads."""

        histories = world()
        scale = STARS
        order = "timestamp"
        items = pa.table({"year": [1999] * (worlds.ITEMS - 1) + [None]})
        vectors: ClassVar = {"content": np.ones((worlds.ITEMS, 2), np.float32)}

        def setting(self, name):
            return {"split_strategy": "hash"}[name]

        def users_in(self, split):
            return {"train": np.arange(8), "validation": np.array([8, 9]), "test": np.array([10, 11])}[split]

    assert EvalDataset.of(Folder()).held_out_users.user_ids.tolist() == [11, 12]
    assert EvalDataset.of(Folder()).items.years[-2:].tolist() == [1999, NO_YEAR]
    dataset = EvalDataset.of(Folder(), "validation")
    assert (len(dataset.train), dataset.held_out_users.user_ids.tolist(), dataset.n_items) == (
        8,
        [9, 10],
        worlds.ITEMS,
    )

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fakes import Fixed
from tastevec.data.value_scale import ValueScale
from tastevec.evaluation.evaluate import Evaluator
from users import plain_dataset, users

ITEMS = 8


@pytest.fixture
def dataset():
    task_record = users([(0, 4, 0), (1, 4, 60), (2, 5, 120)], [(0, 4, 0), (3, 4, 60), (2, 5, 120)])
    return plain_dataset(
        users([(0, 5), (2, 5), (7, 5)], ids=[99]), task_record, ITEMS, ValueScale.explicit(1, 5)
    )


def evaluator_of(dataset, task, **changes):
    return Evaluator.of(replace(dataset.task(task), **changes), dataset.items, (1, 3), seed=1)


def test_only_order_aware_tasks_have_shuffled_metrics(dataset):
    scorer = Fixed(np.zeros(ITEMS))
    assert not [
        metric for metric in evaluator_of(dataset, "top-rated").measure(scorer).values if "shuffled" in metric
    ]
    result = evaluator_of(dataset, "next-item").measure(scorer)
    accuracy = [
        f"{metric}@{k}" for k in (1, 3) for metric in ("hr", "recall", "uncapped_recall", "ndcg", "mrr")
    ]
    assert [metric for metric in result.values if "shuffled" in metric] == [
        f"{metric}_shuffled" for metric in accuracy
    ]


def test_coverage_and_gini_are_of_candidates(dataset):
    candidates = np.isin(np.arange(ITEMS), [2, 4, 5, 6])  # 2 is hidden; none is input of these
    result = evaluator_of(dataset, "next-item", candidates=candidates).measure(Fixed(np.arange(ITEMS)))
    assert result.system_metrics == {"coverage@10": 1, "gini@10": 0}
    result = evaluator_of(dataset, "next-item").measure(Fixed(np.arange(ITEMS)))
    assert result.system_metrics["coverage@10"] == 7 / 8  # item 0 is input of both
    assert result.system_metrics["gini@10"] > 0


def test_measure_ranks_once_for_each_input(dataset):
    """One ranking of the input, one shuffled, and one for each shorter history length, here 1 of 2 items."""
    scorer = Fixed(np.zeros(ITEMS))
    evaluator_of(dataset, "next-item").measure(scorer)
    assert [seen.lengths.tolist() for seen in scorer.seen] == [[2, 2], [2, 2], [1, 1]]


def test_slice_depth_is_20_for_smaller_metric_depths(dataset):
    result = evaluator_of(dataset, "next-item").measure(
        Fixed([0, 0, -1, 0, 0, 0, 0, 0])
    )  # the held-out item comes last
    [found] = [part for part in result.slices if part.by == "cold_items"]
    assert (found.label, found.metric, found.values.tolist()) == ("1-4", "found@20", [1, 1])

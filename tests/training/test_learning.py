"""Training on users with two tastes and an order of items: the model finds both, popularity cannot."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from encoders import TINY, TINY_NOTE
from tastevec.pipelines.evaluate import evaluate
from tastevec.pipelines.prepare import prepare
from tastevec.pipelines.train import train

USERS, ITEMS = 240, 40


@pytest.fixture(scope="module", name="planted")
def _planted(tmp_path_factory):
    """Return a prepared dataset: even users like even items, odd users odd ones, in ascending order from a random item on."""
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(5)
    rows = []
    for user in range(USERS):
        start = rng.integers(ITEMS // 2)
        positive = [2 * ((start + step) % (ITEMS // 2)) + user % 2 for step in range(10)]
        disliked = rng.choice(np.arange(1 - user % 2, ITEMS, 2), 3, replace=False)
        items = [(item, int(rng.integers(4, 6))) for item in positive]
        for item in disliked:
            items.insert(int(rng.integers(len(items))), (int(item), int(rng.integers(1, 3))))
        rows += [(user, item, stars, 1_000_000_000 + step) for step, (item, stars) in enumerate(items)]
    with (folder / "ratings.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("user", "item", "rating", "time"), *rows])
    names = [(item, f"{'Odd' if item % 2 else 'Even'} film", "") for item in range(ITEMS)]
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("item", "title", "genres"), *names])
    return prepare(
        folder / "ratings.csv", folder / "data", seed=2, items=folder / "items.csv", rating_range="1:5"
    ).folder


def scores(report):
    """Return NDCG@10 by task and system."""
    return {(row.task, row.system): row.mean for row in report.rows if row.metric == "ndcg@10"}


def test_taste_after_few_epochs_beats_popularity_and_mean_of_positives(planted, tmp_path):
    train(planted, tmp_path / "ours", **{**TINY, "dim": 16, "hidden_size": 32, "epochs": 12, "dropout": 0.0})
    found = scores(evaluate([tmp_path / "ours"], planted, with_baselines=False))
    for task in ("top-rated", "random-20pct", "next-item", "last-20pct"):
        assert found[task, "ours"] > 2 * found[task, "popularity"]
    # The taste is visible in any order, the next item only in the right one.
    (positive,) = (system for task, system in found if task == "next-item" and system.startswith("mean of"))
    assert found["next-item", "ours"] > found["next-item", positive] + 0.05


def test_bert_cosine_distance_falls_over_epochs(planted, tmp_path):
    model = train(
        planted,
        tmp_path / "note",
        **{**TINY_NOTE, "preset": "bert-cosine", "epochs": 6, "learning_rate": 1e-3},
    )
    distances = [
        entry["eval_cosine_distance"]
        for entry in model.bundle.facts["log"]
        if "eval_cosine_distance" in entry
    ]
    assert distances[-1] < distances[0]

"""Case 28: a dataset with ``--repeats keep``, prepared, trained on, evaluated and read."""

from __future__ import annotations

import numpy as np
import pytest

import tastevec
from contracts.leaks import assert_no_target_is_input
from encoders import TINY
from tastevec.data.describe import summarize
from tastevec.data.prepared import Prepared
from tastevec.evaluation.dataset import EvalDataset
from tastevec.pipelines.train import train
from users import rows_of

START = 1_600_000_000


def table(column):
    """Return 900 rows of 40 users and 20 items, half of them repeats; some rows of a user have equal times."""
    rng = np.random.default_rng(3)
    return {
        "user_id": rng.integers(1, 41, 900).tolist(),
        "item_id": rng.integers(1, 21, 900).tolist(),
        column: rng.integers(1, 6, 900).astype(float).tolist(),
        "timestamp": (START + rng.integers(0, 500, 900) * 1000).tolist(),
    }


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    tastevec.prepare(table("hours"), folder / "data", repeats="keep")
    train(folder / "data", folder / "model", epochs=1, **TINY)
    return folder


@pytest.mark.parametrize(("column", "other"), [("hours", "sum"), ("rating", "latest")])
def test_view_of_each_item_once_equals_merged_repeats(column, other, tmp_path):
    kept, merged = (
        tastevec.prepare(table(column), tmp_path / repeats, repeats=repeats) for repeats in ("keep", other)
    )
    once = Prepared.open(tmp_path / "keep").histories.once()
    expected = Prepared.open(tmp_path / other).histories
    assert kept.scale == merged.scale
    assert [rows_of(once, user) for user in range(40)] == [rows_of(expected, user) for user in range(40)]
    np.testing.assert_allclose(once.normalized_ratings, expected.normalized_ratings, atol=1e-6)


@pytest.mark.parametrize("strategy", ["hash", "temporal"])
def test_no_known_item_is_held_out_of_any_task(strategy, tmp_path):
    tastevec.prepare(table("hours"), tmp_path / "data", repeats="keep", split_strategy=strategy)
    prepared = Prepared.open(tmp_path / "data")
    dataset = EvalDataset.of(prepared)
    tasks, _ = dataset.tasks()
    assert len(tasks) == (4 if strategy == "hash" else 5)
    for task in tasks:
        assert_no_target_is_input(task)
    assert max(task.inputs.lengths.max() for task in tasks if task.horizon == "next") > 20
    assert dataset.items.raters.max() <= len(dataset.train)
    assert summarize(prepared)["totals"]["density"] < 1


def test_evaluation_and_recommendations_exclude_every_known_item(folder):
    report = tastevec.evaluate([folder / "model"], folder / "data", with_baselines=False)
    assert report.systems
    model, rows = tastevec.load(folder / "model"), table("hours")
    pairs = set(zip(rows["user_id"], rows["item_id"], strict=True))
    found = model.recommend(rows, k=20).to_pylist()
    assert len(found) == 40 * 20 - len(pairs)
    assert not pairs & {(row["user_id"], row["item_id"]) for row in found}


def test_next_reads_repeats_and_overall_does_not(folder):
    model = tastevec.load(folder / "model")
    once = [(1, 2.0, START), (2, 5.0, START + 50), (3, 4.0, START + 90)]
    again = [(1, 0.5, START), (2, 5.0, START + 50), (1, 1.5, START + 80), (3, 4.0, START + 90)]
    moved = [(2, 5.0, START + 50), (1, 2.0, START + 80), (3, 4.0, START + 90)]
    np.testing.assert_array_equal(model.encode(again), model.encode(moved))
    for other in (once, moved):
        assert not np.allclose(model.encode(again, horizon="next"), model.encode(other, horizon="next"))
    delivered_twice = [*again, again[2]]
    np.testing.assert_array_equal(
        model.encode(delivered_twice, horizon="next"), model.encode(again, horizon="next")
    )

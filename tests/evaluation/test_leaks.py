"""Planted leaks: each check must fail on its kind of leak."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import worlds
from contracts.leaks import (
    assert_held_out_users_change_nothing,
    assert_no_target_is_input,
    assert_normalized_by_inputs,
    assert_nothing_after_first_target,
    assert_nothing_from_split_timestamp,
    assert_targets_are_real,
    assert_users_are_disjoint,
)
from sources import Row, prepare, source
from tastevec.data import expressions as tables
from tastevec.data.prepared import Prepared
from tastevec.data.preprocess import PreprocessSettings
from tastevec.data.value_scale import ValueScale
from tastevec.errors import DataError
from tastevec.evaluation import tasks as task_module
from tastevec.evaluation.dataset import EvalDataset, ItemFacts
from tastevec.evaluation.tasks import TASK_TITLES, LiangSplit, Task, TemporalSplit, build_task, hold_out
from tastevec.items.als import AlsSettings, als_factors
from users import plain_dataset, rows_of, together, world

STARS = ValueScale.explicit(1, 5)
CUT = 978_300_000 + 12 * 1_000_000 + 500_000  # the last user is in the middle of his history
EVERY = np.ones(worlds.ITEMS, np.bool_)
SPLITS = {"hash": None, "liang": LiangSplit(EVERY), "temporal": TemporalSplit(CUT, EVERY)}


@pytest.fixture(name="dataset")
def _dataset():
    return plain_dataset(world().take(np.arange(10)), world().take(np.array([10, 11])), worlds.ITEMS, STARS)


def task_of(name, split=None):
    return build_task(name, world(), scale=STARS, split=SPLITS.get(split))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", TASK_TITLES)
def test_no_task_leaks(name, split):
    if name == "global-temporal" and split != "temporal":
        pytest.skip("this task needs a temporal split")
    task = task_of(name, split)
    assert len(task)
    assert_no_target_is_input(task)
    assert_targets_are_real(task, world())
    assert_normalized_by_inputs(task)
    if task.horizon == "next":
        assert_nothing_after_first_target(task, world())


def test_no_dataset_of_prepared_leaks(prepared_folder):
    dataset = EvalDataset.of(Prepared.open(prepared_folder))
    assert_users_are_disjoint(dataset)
    np.testing.assert_array_equal(dataset.items.raters, popularity(dataset))
    for statistic in (popularity, factors):
        assert_held_out_users_change_nothing(statistic, dataset)


def popularity(dataset):
    return ItemFacts.without_metadata(dataset.train, dataset.n_items).raters


def factors(dataset):
    settings = AlsSettings(scale=dataset.scale, dim=4, iterations=2)
    return als_factors(dataset.train, dataset.n_items, settings)


def blabbing(histories, hidden, known, **how):
    """Hold out items, and leave them in the input."""
    return hold_out(histories, hidden, known | hidden, **how)


def test_task_with_planted_target_in_input_is_refused(monkeypatch):
    monkeypatch.setattr(task_module, "hold_out", blabbing)
    found_text = r"^task top-rated: item \d+ of user 1 is both an input item and held out\. Expected .*Run: tastevec prepare$"
    with pytest.raises(DataError, match=found_text):
        task_of("top-rated")


def test_planted_target_in_input_fails_the_check(monkeypatch):
    monkeypatch.setattr(task_module, "hold_out", blabbing)
    monkeypatch.setattr(Task, "__post_init__", lambda _: None)
    task = task_of("top-rated")
    with pytest.raises(AssertionError, match="user 1 has held-out items in the input"):
        assert_no_target_is_input(task)


def test_planted_unrated_target_fails_the_check(monkeypatch):
    monkeypatch.setattr(Task, "__post_init__", lambda _: None)
    task = task_of("top-rated")
    with pytest.raises(AssertionError):
        assert_targets_are_real(replace(task, targets=(task.targets + 1) % worlds.ITEMS), world())


def test_planted_normalization_with_held_out_ratings_fails_the_check(monkeypatch):
    def with_the_whole_scale(histories, hidden, known, **how):
        task = hold_out(histories, hidden, known, **how)
        task_record = histories.take(np.flatnonzero(np.isin(histories.user_ids, task.inputs.user_ids)))
        shown = known[np.isin(histories.user_ids, task.inputs.user_ids)[histories.owners]]
        return replace(
            task, inputs=replace(task.inputs, normalized_ratings=task_record.normalized_ratings[shown])
        )

    monkeypatch.setattr(task_module, "hold_out", with_the_whole_scale)
    task = task_of("top-rated")
    with pytest.raises(AssertionError, match="not equal"):
        assert_normalized_by_inputs(task)


def test_planted_popularity_of_held_out_users_fails_the_check(dataset):
    def leaky(of):
        return ItemFacts.without_metadata(together(of.train, of.held_out_users), of.n_items).raters

    assert_held_out_users_change_nothing(popularity, dataset)
    with pytest.raises(AssertionError, match="held-out users change a statistic"):
        assert_held_out_users_change_nothing(leaky, dataset)


def test_planted_factors_of_held_out_users_fail_the_check(dataset):
    def leaky(of):
        return factors(
            SimpleNamespace(
                **{**vars(of), "train": together(of.train, of.held_out_users), "n_items": of.n_items}
            )
        )

    assert_held_out_users_change_nothing(factors, dataset)
    with pytest.raises(AssertionError, match="held-out users change a statistic"):
        assert_held_out_users_change_nothing(leaky, dataset)


def test_planted_later_input_fails_the_check(monkeypatch):
    monkeypatch.setattr(task_module, "_before_first", lambda _, held_out: ~held_out)
    task = task_of("next-item")
    with pytest.raises(AssertionError, match="has later items in the input"):
        assert_nothing_after_first_target(task, world())


def test_planted_input_after_split_timestamp_fails_the_check(monkeypatch):
    monkeypatch.setattr(task_module, "_before", lambda histories, _: histories.ratings < 3)
    task = task_of("global-temporal", "temporal")
    with pytest.raises(AssertionError, match="has later items in the input"):
        assert_nothing_after_first_target(task, world())


def test_planted_overlapping_user_fails_the_check_and_is_refused(dataset):
    both = SimpleNamespace(
        train=dataset.train,
        held_out_users=together(dataset.held_out_users, dataset.train.take(np.array([3]))),
    )
    with pytest.raises(AssertionError, match=r"training and held-out users: \[4\]"):
        assert_users_are_disjoint(both)
    with pytest.raises(DataError, match="1 users are both training and held-out users, user 4 among them"):
        replace(dataset, held_out_users=both.held_out_users)


def test_planted_training_row_after_split_timestamp_fails_the_check(tmp_path, monkeypatch):
    rows = [Row(user, item, 4.0, 10 * item + user % 3) for user in range(30) for item in range(1, 9)]
    chosen = PreprocessSettings(split_strategy="temporal", split_timestamp=70)

    def train_histories(name):
        prepared = prepare(source(rows), tmp_path / name, chosen)
        return prepared.histories.take(prepared.users_in("train"))

    honest = train_histories("honest")
    assert_nothing_from_split_timestamp(honest, 70)
    assert rows_of(honest, 0)[-1][2] >= 60
    monkeypatch.setattr(tables, "before_split", lambda interactions, *_, **__: interactions)
    with pytest.raises(AssertionError, match="training data after the split timestamp"):
        assert_nothing_from_split_timestamp(train_histories("leaky"), 70)

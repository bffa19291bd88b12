from __future__ import annotations

import numpy as np
import pytest

from fakes import Summed
from tastevec.data.value_scale import ValueScale
from tastevec.evaluation import slices as module
from tastevec.evaluation.geometry import effective_rank, hubness, top_direction
from tastevec.evaluation.metrics import unit_rows
from tastevec.evaluation.slices import (
    distance_metrics,
    encode_in_chunks,
    geometry_metrics,
    split_half_metrics,
)
from tastevec.evaluation.tasks import build_task
from users import users

STARS = ValueScale.explicit(1, 5)
RIGHT = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.float32)  # items at right angles, between, and nowhere


def test_distance_is_mean_over_held_out_items_with_vector():
    task_record = users([(0, 1), (1, 5), (2, 5), (3, 5)], [(0, 1), (3, 5)])
    task = build_task("top-rated", task_record, scale=STARS)  # held out: 1, 2 and 3; and 3 alone
    scorer = Summed(RIGHT)
    found = distance_metrics(scorer, encode_in_chunks(scorer, task.inputs), task)
    np.testing.assert_allclose(found["cosine_distance"], [(1 + 1 - np.sqrt(0.5)) / 2, np.nan])


def test_centered_distance_ignores_shared_direction():
    scorer = Summed(np.array([[1, 9], [-1, 9], [1, 9], [-1, 9]], np.float32))
    task = build_task("top-rated", users([(0, 1), (2, 5)], [(0, 1), (1, 5)]), scale=STARS)
    found = distance_metrics(scorer, encode_in_chunks(scorer, task.inputs), task)
    assert found["cosine_distance"].max() < 0.03
    np.testing.assert_allclose(found["cosine_distance_centred"], [0, 2], atol=1e-6)


def test_split_halves_are_alternate_items():
    """The halves are (0, 0) and (1); none; (1) and (0): the first user's odd items equal the last user's even item."""
    found = split_half_metrics(Summed(RIGHT), users([(0, 1), (1, 1), (0, 1)], [(2, 5)], [(1, 1), (0, 1)]))
    np.testing.assert_allclose(found["split_half_cosine"], [0, np.nan, 0])
    np.testing.assert_allclose(found["between_user_cosine"], [1, np.nan, 1])
    np.testing.assert_allclose(found["split_half_accuracy"], [0, np.nan, 0])


def test_split_half_is_normalized_by_its_own_items():
    items = [(0, 5), (1, 3), (2, 5), (1, 1)]  # each half alone: 0 and 2 alike, so they say nothing; 3 above 1
    found = split_half_metrics(Summed(RIGHT, weighted=True), users(items, items))
    assert found["split_half_cosine"].tolist() == [0, 0]  # the first half's vector is zero


def test_split_half_of_single_item_is_nan():
    assert all(
        np.isnan(values).all()
        for values in split_half_metrics(Summed(RIGHT), users([(0, 1)], [(1, 1)])).values()
    )


def test_the_size_of_the_chunks_changes_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    items = [[(int(item), 1 + int(item) % 5) for item in rng.permutation(30)[:9]] for _ in range(11)]
    task = build_task("top-rated", users(*items), scale=STARS)
    scorer = Summed(rng.standard_normal((30, 4)))
    whole = distance_metrics(scorer, encode_in_chunks(scorer, task.inputs), task) | split_half_metrics(
        scorer, task.inputs
    )
    monkeypatch.setattr(module, "_CHUNK", 3)
    parts = distance_metrics(scorer, encode_in_chunks(scorer, task.inputs), task) | split_half_metrics(
        scorer, task.inputs
    )
    for metric, values in whole.items():
        np.testing.assert_allclose(parts[metric], values, atol=1e-6)


def test_geometry_ignores_vector_lengths():
    vectors = np.random.default_rng(1).standard_normal((40, 4)).astype(np.float32)
    found = geometry_metrics(vectors * np.arange(1, 41, dtype=np.float32)[:, None], seed=0)
    units = unit_rows(vectors)
    assert found == pytest.approx(
        {
            "effective_rank": effective_rank(units),
            "top_direction": top_direction(units),
            "hubness@10": hubness(units, 10),
        }
    )


def test_hubness_of_many_users_uses_a_sample(monkeypatch):
    vectors = np.random.default_rng(2).standard_normal((60, 4)).astype(np.float32)
    monkeypatch.setattr(module, "_HUB_USERS", 30)
    found = {geometry_metrics(vectors, seed)["hubness@10"] for seed in (0, 0, 1, 2)}
    assert len(found) == 3

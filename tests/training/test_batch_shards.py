"""Shards of a batch: together they are the batch, and cost the same."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoders import TINY, TINY_NOTE, reading
from tastevec.data.prepared import Prepared
from tastevec.training import trainer
from tastevec.training.batches import Collator, shard_of
from tastevec.training.fit import train
from tastevec.training.settings import resolve_settings
from users import users

BOTH = pytest.mark.parametrize("preset", ["taste", "bert-cosine"])


def batch_of(histories, preset="taste", seed=1):
    """Return one batch of all users."""
    tiny = TINY_NOTE if preset == "bert-cosine" else {**TINY, "history_split_rate": 0.5}
    settings = resolve_settings(preset, **{**tiny, "max_history": 30, "seed": seed})
    collator = Collator(histories, reading(max_history=30), settings)
    return collator([(0, user) for user in range(len(histories))])


def targets_of(batch):
    """Return each target with the items and the ratings before it."""
    width = batch["items"].shape[1]
    if "target_users" in batch:
        rows, positions = batch["target_users"], batch["lengths"][batch["target_users"]]
    else:
        rows, positions = (
            batch["target_positions"] // (width + 1),
            batch["target_positions"] % (width + 1),
        )
    return sorted(
        (batch["items"][row, :position].tolist(), batch["rating_bins"][row, :position].tolist(), item)
        for row, position, item in zip(rows, positions.tolist(), batch["target_items"].tolist(), strict=True)
    )


lengths = st.lists(st.integers(0, 25), min_size=1, max_size=12)


def histories_of(counts):
    """Return users with so many interactions each."""
    return users(*([(item, 1 + (item * 7 + count) % 5) for item in range(count)] for count in counts))


@BOTH
@given(counts=lengths, count=st.integers(1, 9), seed=st.integers(0, 99))
def test_shards_have_each_target_of_the_batch_once(preset, counts, count, seed):
    batch = batch_of(histories_of(counts), preset, seed)
    shards = [shard_of(batch, rank, count, trim=True) for rank in range(count)]
    assert sorted(target for shard in shards for target in targets_of(shard)) == targets_of(batch)
    assert sum(len(shard["target_items"]) for shard in shards) == len(batch["target_items"])
    for shard in shards:
        assert shard["items"].shape[1] == max(int(shard["lengths"].max()), 1)
        assert len(shard["lengths"]) >= 1


@given(counts=lengths, count=st.integers(1, 5))
def test_shards_differ_by_one_run_at_most(counts, count):
    batch = batch_of(histories_of(counts))
    sizes = [len(shard_of(batch, rank, count, trim=True)["lengths"]) for rank in range(count)]
    assert max(sizes) - min(sizes) <= 1


def test_shard_without_trim_keeps_padding():
    batch = batch_of(histories_of([3, 9]), "bert-cosine")
    assert shard_of(batch, 1, 2, trim=False)["items"].shape[1] == batch["items"].shape[1]


def losses_and_weights(data, folder, preset, **changes):
    """Return the loss of each step and the weights, without dropout, which draws other numbers for a piece."""
    tiny = TINY_NOTE if preset == "bert-cosine" else {**TINY, "input_dropout": 0.0}
    settings = resolve_settings(preset, **{**tiny, "epochs": 2, "dropout": 0.0, **changes})
    trained = train(Prepared.open(data), folder, settings)
    return [
        entry["loss"] for entry in trained.fitted.log if "loss" in entry
    ], trained.fitted.model.state_dict()


@BOTH
@pytest.mark.parametrize("pieces", [2, 7])
def test_gradient_accumulation_steps_give_the_losses_and_weights_of_one_step(
    prepared_folder, tmp_path, monkeypatch, preset, pieces
):
    monkeypatch.setattr(trainer, "_LOGGING_STEPS", 1)
    changes = {"sequence_packing": False} if preset == "taste" else {}
    losses, weights = losses_and_weights(prepared_folder, tmp_path / "one", preset, **changes)
    found = losses_and_weights(
        prepared_folder, tmp_path / "pieces", preset, gradient_accumulation_steps=pieces
    )
    assert len(losses) == 4
    np.testing.assert_allclose(found[0], losses, rtol=1e-4)
    for name in weights.keys() - {
        "user_basis",
        "item_basis",
    }:  # in a tiny world the dropped direction is arbitrary
        torch.testing.assert_close(found[1][name], weights[name], rtol=1e-3, atol=1e-4, msg=name)

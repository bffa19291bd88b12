"""Shares of a batch: together they are the batch, and cost alike."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoders import TINY, TINY_SEED, reading
from tastevec.data.prepared import Prepared
from tastevec.training import trainer as loop
from tastevec.training.batches import Collator, shard_of, target_count
from tastevec.training.fit import train
from tastevec.training.settings import resolve_settings
from users import users


def batch(histories, seed=1, **changes):
    """One batch of everybody."""
    target = changes.get("target", "positive")
    how = {
        **(TINY_SEED if target == "best-rated" else TINY),
        "max_history": 30,
        "seed": seed,
        "history_split_rate": 0.5,
    }
    settings = resolve_settings("bert-cosine" if target == "best-rated" else "taste", **{**how, **changes})
    return Collator(histories, reading(max_history=30), settings)(
        [(0, user) for user in range(len(histories))]
    )


def questions(made):
    """Each question as what was read before it, at which ratings, and the film that is wanted."""
    width = made["items"].shape[1]
    if "target_users" in made:
        rows, places = made["target_users"], made["lengths"][made["target_users"]]
    else:
        rows, places = made["moments"] // (width + 1), made["moments"] % (width + 1)
    wanted = made.get("target_items", made.get("target_items"))
    return sorted(
        (made["items"][row, :rank].tolist(), made["rating_bins"][row, :rank].tolist(), item)
        for row, rank, item in zip(rows, places.tolist(), wanted.tolist(), strict=True)
    )


lengths = st.lists(st.integers(0, 25), min_size=1, max_size=12)


def several(counts):
    """People who rate so many films each."""
    return users(*([(item, 1 + (item * 7 + count) % 5) for item in range(count)] for count in counts))


@pytest.mark.parametrize("target", ["positive", "best-rated"])
@given(counts=lengths, shares=st.integers(1, 9), seed=st.integers(0, 99))
def test_shares_ask_together_what_the_batch_asks_and_nothing_twice(target, counts, shares, seed):
    whole = batch(several(counts), seed, target=target)
    parts = [shard_of(whole, rank, shares, trim=True) for rank in range(shares)]
    assert sorted(question for part in parts for question in questions(part)) == questions(whole)
    assert sum(target_count(part, "softmax") for part in parts) == target_count(whole, "softmax")
    for part in parts:
        assert part["items"].shape[1] == max(int(part["lengths"].max()), 1)
        assert len(part["lengths"]) >= 1


@given(counts=lengths, shares=st.integers(1, 5))
def test_no_share_has_more_than_one_run_more_than_another(counts, shares):
    whole = batch(several(counts))
    sizes = [len(shard_of(whole, rank, shares, trim=True)["lengths"]) for rank in range(shares)]
    assert max(sizes) - min(sizes) <= 1


def test_an_encoder_that_sees_its_padding_keeps_it():
    whole = batch(several([3, 9]), target="best-rated")
    assert shard_of(whole, 1, 2, trim=False)["items"].shape[1] == whole["items"].shape[1]


def test_answers_are_counted_or_people_where_each_weighs_the_same():
    rated = users([(0, 5), (1, 5), (2, 1)], [(3, 4), (4, 1)])
    made = batch(rated, target="best-rated", ties="all")
    assert target_count(made, "cosine") == 3
    assert target_count(made, "softmax") == 2
    positive = batch(rated, target_fraction=1.0)
    assert target_count(positive, "softmax") == len(positive["target_items"])


def learned(data, folder, preset, **changes):
    """The loss of each step and the weights, without dropout, which draws other numbers for a piece."""
    tiny = TINY_SEED if preset == "bert-cosine" else TINY
    plain = {**tiny, "epochs": 2, "dropout": 0.0, "input_dropout": 0.0}
    trained = train(Prepared.open(data), folder, resolve_settings(preset, **{**plain, **changes}))
    return [entry["loss"] for entry in trained.log if "loss" in entry], trained.model.state_dict()


@pytest.mark.parametrize("pieces", [2, 7])
@pytest.mark.parametrize(
    ("preset", "changes"),
    [("taste", {"sequence_packing": True}), ("bert-cosine", {}), ("bert-cosine", {"loss": "softmax"})],
)
def test_steps_in_pieces_have_the_losses_and_the_weights_of_whole_ones(
    prepared_folder, tmp_path, monkeypatch, preset, changes, pieces
):
    monkeypatch.setattr(loop, "_STEPS_A_LINE", 1)
    losses, weights = learned(
        prepared_folder, tmp_path / "whole", preset, **{**changes, "sequence_packing": False}
    )
    found = learned(
        prepared_folder, tmp_path / "pieces", preset, **changes, gradient_accumulation_steps=pieces
    )
    assert len(losses) == 4
    np.testing.assert_allclose(found[0], losses, rtol=1e-4)
    for name, weight in weights.items():
        torch.testing.assert_close(found[1][name], weight, rtol=1e-3, atol=1e-4, msg=name)

"""Properties of training batches: no input contains its target."""

from __future__ import annotations

from math import isnan

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders import SCALE, TASTE, TINY, encoder, reading
from tastevec.data.inputs import N_TIME_GAP_BINS
from tastevec.training.batches import Collator, LengthBuckets, top_rated_batch
from tastevec.training.settings import TasteSettings
from users import TAGGED, users

MODEL = encoder(**TASTE)
RATINGS = st.sampled_from([1.0, 3.0, 4.0, 5.0, TAGGED])
HISTORY = st.lists(
    st.tuples(st.integers(0, 19), RATINGS), min_size=1, max_size=14, unique_by=lambda row: row[0]
)
HISTORIES = st.lists(HISTORY, min_size=1, max_size=4)
FEW = settings(max_examples=60, deadline=None)


def batch_of(histories, most, **changes):
    """Return the batch of all histories."""
    collator = Collator(users(*histories), reading(max_history=most), TasteSettings(**{**TINY, **changes}))
    return collator([(0, user) for user in range(len(histories))])


def positives(history):
    return [item for item, rating in history if rating >= 4]


def items_of(batch, row):
    return batch["items"][row, : batch["lengths"][row]].tolist()


@given(
    HISTORIES,
    st.integers(0, 50),
    st.sampled_from([0.2, 1.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(1, 9),
)
@FEW
def test_target_is_first_positive_after_its_position(histories, seed, target_fraction, split_rate, most):
    changes = {"seed": seed, "target_fraction": target_fraction, "history_split_rate": split_rate}
    batch = batch_of(histories, most, max_history=most, **changes)
    width, positive = batch["items"].shape[1] + 1, [set(positives(history)) for history in histories]
    owners = owners_of(batch, histories, most)
    assert len(set(batch["target_positions"].tolist())) == len(batch["target_positions"])
    for flat, item in zip(batch["target_positions"].tolist(), batch["target_items"].tolist(), strict=True):
        row, position = divmod(flat, width)
        # Neither it nor a later item is read.
        assert item == next(
            other for other in items_of(batch, row)[position:] if other in positive[owners[row]]
        )


def owners_of(batch, histories, most):
    """Return the user of each row: the run of a user is one row, or two."""
    owners, row = [], 0
    for user, history in enumerate(histories):
        length = min(len(history), most)
        run = items_of(batch, row)
        owners.append(user)
        if len(run) < length:
            row += 1
            run += items_of(batch, row)
            owners.append(user)
        row += 1
        items = [item for item, _ in history]
        assert run in [items[start : start + length] for start in range(len(items) - length + 1)]
    assert row == len(batch["items"])
    return owners


@given(HISTORIES, st.integers(0, 50))
@FEW
def test_target_fraction_of_one_has_every_position_before_a_positive(histories, seed):
    batch = batch_of(histories, 20, max_history=20, seed=seed, target_fraction=1.0, history_split_rate=0.0)
    positions = sum(
        any(item in positives(history) for item, _ in history[start:])
        for history in histories
        for start in range(len(history))
    )
    assert len(batch["target_positions"]) == positions


@given(HISTORIES, st.sampled_from(["time", "item"]))
@FEW
def test_top_rated_batch_moves_top_rated_item_from_input_to_target(histories, order):
    batch = top_rated_batch(users(*histories), reading(max_history=99, order=order))
    for user, history in enumerate(histories):
        targets = batch["target_items"][batch["target_users"] == user].tolist()
        rated = [(rating, item) for item, rating in history if not isnan(rating)]
        top = {item for rating, item in rated if rating == max(rated)[0]}
        assert set(targets) <= top
        assert len(targets) == min(len(top), 1)
        assert sorted(items_of(batch, user) + targets) == sorted(item for item, _ in history)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=90), st.integers(1, 9), st.integers(0, 9))
@FEW
def test_length_buckets_each_epoch_is_a_permutation_of_users(lengths, batch_size, epoch):
    buckets = LengthBuckets(np.array(lengths), batch_size, seed=1)
    buckets.set_epoch(epoch)
    assert sorted(buckets) == list(range(len(lengths)))


@given(HISTORIES, st.data())
@settings(max_examples=15, deadline=None)
def test_state_at_target_position_does_not_depend_on_target_or_later_items(histories, data):
    """From batch to state: another item as the target, and other items after it, change no state before it."""
    batch = batch_of(histories, 12, max_history=12, history_split_rate=0.0)
    if not len(batch["target_positions"]):
        return
    inputs = {name: batch[name] for name in ("items", "rating_bins", "lengths", "time_gap_bins")}
    one = data.draw(st.integers(0, len(batch["target_positions"]) - 1))
    owner, position = divmod(int(batch["target_positions"][one]), inputs["items"].shape[1] + 1)
    target = inputs["items"][owner].tolist().index(int(batch["target_items"][one]))
    assert target >= position
    other = {name: array.clone() for name, array in inputs.items()}
    other["items"][owner, target:] = (other["items"][owner, target:] + 1) % 20
    other["rating_bins"][owner, target:] = SCALE.n_bins - other["rating_bins"][owner, target:]
    other["time_gap_bins"][owner, target:] = (other["time_gap_bins"][owner, target:] + 1) % N_TIME_GAP_BINS
    with torch.no_grad():
        before, after = MODEL(**inputs).per_position, MODEL(**other).per_position
    torch.testing.assert_close(after[owner, position], before[owner, position], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(after[owner, target + 1], before[owner, target + 1], atol=1e-4)

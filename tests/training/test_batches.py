"""Training batches: targets, draws, subsets and the order of users."""

import numpy as np
import pytest
import torch

from encoders import TINY, reading
from tastevec.data.inputs import FIRST_TIME_GAP_BIN, UNKNOWN_TIME_GAP_BIN
from tastevec.data.value_scale import normalize_ratings
from tastevec.training.batches import (
    Collator,
    HistorySubset,
    LengthBuckets,
    UserDataset,
    positive_batch,
    top_rated_batch,
)
from tastevec.training.settings import resolve_settings
from users import TAGGED, users, world

# Every position has a target, no history is split.
EVERY_POSITION = {"target_fraction": 1.0, "history_split_rate": 0.0, "input_dropout": 0.0}
ALL = resolve_settings(**TINY, **EVERY_POSITION)
NOTE = resolve_settings("bert-cosine", backbone="none", max_history=4)


class FixedDraws:
    """A generator whose draws are written down: where each run begins, and shares, in the order in which they are targets_of."""

    def __init__(self, starts, *shares):
        self.starts, self.shares = np.array(starts), [np.array(share) for share in shares]

    def integers(self, _low, high):
        assert (self.starts < high).all()
        return self.starts

    def random(self, count):
        shares = self.shares.pop(0)
        assert len(shares) == count
        return shares


def targets_of(batch, width):
    """Return the target of each (user, position)."""
    rows, positions = np.divmod(batch["target_positions"], width)
    return dict(
        zip(zip(rows.tolist(), positions.tolist(), strict=True), batch["target_items"].tolist(), strict=True)
    )


def user_targets(batch):
    return list(zip(batch["target_users"].tolist(), batch["target_items"].tolist(), strict=True))


def test_positive_batch_target_is_next_positive():
    # A positive, B not, C tag-only, D positive, E not: after D there is no positive.
    histories = users([(0, 5), (1, 2), (2, TAGGED), (3, 4), (4, 3)], [(7, 1)], [(8, 4)])
    batch = positive_batch(histories, reading(max_history_overall=9), ALL, np.random.default_rng(1))
    assert batch["items"].tolist() == [[0, 1, 2, 3, 4], [7, 0, 0, 0, 0], [8, 0, 0, 0, 0]]
    assert targets_of(batch, 6) == {(0, 0): 0, (0, 1): 3, (0, 2): 3, (0, 3): 3, (2, 0): 8}
    # The ridge fold-in does not learn, so it has no inputs here.
    assert set(batch) == {
        *("items", "normalized_ratings", "rating_bins", "time_gap_bins", "lengths"),
        *("target_positions", "target_items"),
    }


def test_target_fraction_draws_a_share_of_positions():
    histories = users([(0, 5), (1, 2), (2, 4), (3, 5)])
    some = ALL.model_copy(update={"target_fraction": 0.5})
    draws = FixedDraws([0], [0.9], [0.9], [0.9], [0.4, 0.5, 0.6, 0.1])
    assert targets_of(positive_batch(histories, reading(), some, draws), 5) == {(0, 0): 0, (0, 3): 3}
    counts = [
        len(positive_batch(histories, reading(), some, np.random.default_rng(seed))["target_positions"])
        for seed in range(500)
    ]
    assert np.mean(counts) == pytest.approx(2, abs=0.15)
    assert {0, 4} <= set(counts)


def test_positive_batch_long_history_reads_random_run():
    histories = users([(0, 5), (1, 5), (2, 5), (3, 5)], [(4, 5)])
    settings = ALL.model_copy(update={"max_history": 2})
    draws = FixedDraws([1, 0], [0.5] * 2, [0.5] * 2, [0.5] * 2, [0.5] * 3)
    batch = positive_batch(histories, reading(max_history=2, max_history_overall=9), settings, draws)
    assert batch["items"].tolist() == [[1, 2], [4, 0]]
    assert targets_of(batch, 3) == {(0, 0): 1, (0, 1): 2, (1, 0): 4}


def test_history_split_rate_splits_a_share_of_runs():
    histories = users(
        [(0, 5, 10), (1, 1, 11), (2, 5, 12)],
        [(3, 5, 10), (4, 5, 11)],
        [(5, 5, 7)],
        [],
        [(6, 5, 1), (7, 5, 2)],
    )
    settings = ALL.model_copy(update={"history_split_rate": 0.5})
    # The first is split before its last item, the second is not, the next two cannot be, the last can be at one position.
    cuts, places = [0.4, 0.5, 0.1, 0.1, 0.0], [0.5, 0.5, 0.5, 0.5, 0.99]
    batch = positive_batch(
        histories, reading(), settings, FixedDraws([0] * 5, cuts, places, [0.9] * 7, [0.9] * 7)
    )
    assert batch["items"].tolist() == [[0, 1], [2, 0], [3, 4], [5, 0], [0, 0], [6, 0], [7, 0]]
    assert batch["lengths"].tolist() == [2, 1, 2, 1, 0, 1, 1]
    assert targets_of(batch, 3) == {
        (0, 0): 0,
        (1, 0): 2,
        (2, 0): 3,
        (2, 1): 4,
        (3, 0): 5,
        (5, 0): 6,
        (6, 0): 7,
    }
    first = [gaps[0] for gaps, length in zip(batch["time_gap_bins"], batch["lengths"], strict=True) if length]
    assert first == [FIRST_TIME_GAP_BIN] * 6


def test_history_split_falls_before_any_item_but_the_first():
    histories = users([(item, 5) for item in range(6)])
    settings = ALL.model_copy(update={"history_split_rate": 1.0})
    firsts = [
        positive_batch(histories, reading(), settings, np.random.default_rng(seed))["lengths"].tolist()
        for seed in range(100)
    ]
    assert {tuple(lengths) for lengths in firsts} == {(length, 6 - length) for length in range(1, 6)}


def test_input_dropout_removes_times_of_a_share_of_histories():
    histories = users([(0, 5, 10), (1, 5, 11)], [(2, 5, 10), (3, 5, 12)])
    settings = ALL.model_copy(update={"input_dropout": 0.1})
    draws = FixedDraws([0, 0], [0.9] * 2, [0.9] * 2, [0.09, 0.1], [0.9] * 4)
    batch = positive_batch(histories, reading(), settings, draws)
    assert batch["time_gap_bins"].tolist() == [
        [UNKNOWN_TIME_GAP_BIN, UNKNOWN_TIME_GAP_BIN],
        [FIRST_TIME_GAP_BIN, 2],
    ]


def test_random_runs_reach_every_part_of_history():
    histories = users([(item, 5) for item in range(10)])
    settings = ALL.model_copy(update={"max_history": 3})
    batches = [
        positive_batch(
            histories, reading(max_history=3, max_history_overall=9), settings, np.random.default_rng(seed)
        )
        for seed in range(60)
    ]
    assert {batch["items"][0, 0] for batch in batches} == set(range(8))


def test_top_rated_batch_removes_target_from_input_and_not_from_statistics():
    histories = users([(9, 5), (7, 1), (3, 5), (5, 4)], [(6, 2)], [(2, TAGGED)])
    batch = top_rated_batch(histories, reading(max_history=4, order="item", truncate="oldest", pad="full"))
    assert user_targets(batch) == [(0, 3), (1, 6)]
    assert batch["items"].tolist() == [[5, 7, 9, 0], [0, 0, 0, 0], [2, 0, 0, 0]]
    assert batch["lengths"].tolist() == [3, 0, 1]
    # Its rating stays part of the user's mean of 3.75 and range.
    normalized = normalize_ratings(np.array([5, 1, 5, 4], np.float32), np.array([0, 4]))
    assert batch["normalized_ratings"][0].tolist() == [normalized[3], normalized[1], normalized[0], 0]


def test_top_rated_batch_tie_has_lowest_id_as_target():
    for rows in ([(9, 5), (7, 1), (3, 5), (5, 4)], [(3, 5), (7, 1), (9, 5)]):
        assert user_targets(top_rated_batch(users(rows), reading())) == [(0, 3)]


def test_collator_returns_tensors_of_its_users():
    batches = Collator(world(), reading(max_history=50), ALL.model_copy(update={"max_history": 50}))
    made = batches([(0, 3), (0, 1)])
    assert all(isinstance(tensor, torch.Tensor) for tensor in made.values())
    items = world().take(np.array([3, 1]))
    assert made["items"][0].tolist() == items.items[: items.offsets[1]].tolist()
    assert made["items"][1].tolist() == items.items[items.offsets[1] :].tolist()


def test_collator_of_note_draws_nothing():
    batches = Collator(world(), reading(), NOTE)
    for one, other in zip(batches([(0, 3)]).items(), batches([(7, 3)]).items(), strict=True):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1])


def test_collator_draws_depend_on_seed_epoch_and_users_alone():
    def drawn(seed, epoch, *users):
        settings = resolve_settings(**{**TINY, "max_history": 5}, seed=seed)
        batches = Collator(world(), reading(max_history=5), settings)
        batches([(9, 0)])  # earlier batches change nothing
        return {name: tensor.tolist() for name, tensor in batches([(epoch, user) for user in users]).items()}

    first = drawn(1, 0, 3, 4, 5)
    assert drawn(1, 0, 3, 4, 5) == first
    for other in (drawn(2, 0, 3, 4, 5), drawn(1, 1, 3, 4, 5), drawn(1, 0, 4, 3, 5)):
        assert other["items"] != first["items"]
        assert other["target_positions"] != first["target_positions"]


def test_history_subset_equals_histories_of_its_users():
    users = np.array([1, 4, 5, 9])
    chosen, alone = HistorySubset(world(), users), world().take(users)
    settings = resolve_settings(**{**TINY, "max_history": 5})
    batches = [Collator(some, reading(max_history=5), settings) for some in (chosen, alone)]
    for pairs in ([(0, 3), (0, 1)], [(2, 0)]):
        one, other = (each(pairs) for each in batches)
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert len(chosen) == 4
    assert chosen.lengths.tolist() == alone.lengths.tolist()
    assert chosen.all().items.tolist() == alone.items.tolist()


def test_histories_in_memory_are_without_times():
    users = np.array([1, 4, 5, 9])
    histories, alone = world(), world().take(users)
    unread = np.empty(0)  # no array of that length could be gathered from
    object.__setattr__(histories, "timestamps", unread)
    object.__setattr__(histories, "normalized_ratings", unread)
    found = HistorySubset(histories, users).in_memory()
    np.testing.assert_array_equal(found.items, alone.items)
    np.testing.assert_array_equal(found.ratings, alone.ratings)
    np.testing.assert_array_equal(found.offsets, alone.offsets)
    assert found.timestamps.strides == found.normalized_ratings.strides == (0,)  # constants take no memory


def test_user_dataset_pairs_user_with_epoch():
    dataset = UserDataset(np.array([4, 7]))
    dataset.set_epoch(3)
    assert len(dataset) == 2
    assert [dataset[0], dataset[1]] == [(3, 4), (3, 7)]


def order_of(buckets, epoch):
    buckets.set_epoch(epoch)
    return list(buckets)


def test_length_buckets_each_epoch_has_each_user_once_in_its_own_order():
    lengths = np.arange(101) % 17
    buckets = LengthBuckets(lengths, 4, seed=5)
    epochs = [order_of(buckets, epoch) for epoch in range(3)]
    assert len(buckets) == 101
    for order in epochs:
        assert sorted(order) == list(range(101))
    assert epochs[0] != epochs[1] != epochs[2]
    assert order_of(buckets, 1) == epochs[1]
    assert order_of(LengthBuckets(lengths, 4, seed=5), 1) == epochs[1]
    assert order_of(LengthBuckets(lengths, 4, seed=6), 1) != epochs[1]


def test_length_buckets_fewer_users_than_a_batch_are_all_there():
    assert sorted(LengthBuckets(np.array([3, 1, 2]), 32, seed=1)) == [0, 1, 2]


def test_length_buckets_have_little_padding_and_random_batch_order():
    lengths = np.random.default_rng(1).lognormal(4, 1, 4000).astype(np.int64) + 1
    order = np.minimum(lengths, 200)[np.array(list(LengthBuckets(lengths, 32, seed=1)))].reshape(-1, 32)
    longest = order.max(axis=1, keepdims=True)
    in_any_order = np.minimum(lengths, 200).reshape(-1, 32)
    assert 1 - order.sum() / (longest * 32).sum() < 0.15
    assert 1 - in_any_order.sum() / (in_any_order.max(axis=1) * 32).sum() > 0.5
    assert abs(np.corrcoef(np.arange(len(longest)), longest[:, 0])[0, 1]) < 0.3

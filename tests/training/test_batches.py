import numpy as np
import pytest
import torch

from encoders import TINY, reading
from tastevec.data.histories import normalize_ratings
from tastevec.data.inputs import FIRST_TIME_GAP_BIN, UNKNOWN_TIME_GAP_BIN
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

# Everything that is drawn, but for where a run begins.
WHOLE = {"target_fraction": 1.0, "history_split_rate": 0.0, "input_dropout": 0.0}
ALL = resolve_settings(**TINY, **WHOLE)
NOTE = resolve_settings("bert-cosine", backbone="fresh", max_history=4)


class Draws:
    """A generator whose draws are written down: where each run begins, and shares, in the order in which they are asked."""

    def __init__(self, starts, *shares):
        self.starts, self.shares = np.array(starts), [np.array(share) for share in shares]

    def integers(self, _low, high):
        assert (self.starts < high).all()
        return self.starts

    def random(self, count):
        shares = self.shares.pop(0)
        assert len(shares) == count
        return shares


def asked(batch, width):
    """Which film each moment is asked for, by (person, moment)."""
    people_, moments = np.divmod(batch["moments"], width)
    return dict(
        zip(zip(people_.tolist(), moments.tolist(), strict=True), batch["target_items"].tolist(), strict=True)
    )


def hidden(batch):
    return list(zip(batch["target_users"].tolist(), batch["target_items"].tolist(), strict=True))


def test_every_moment_is_asked_for_the_next_liked_film():
    # A liked, B not, C tagged, D liked, E not: behind D nothing liked comes any more.
    histories = users([(0, 5), (1, 2), (2, TAGGED), (3, 4), (4, 3)], [(7, 1)], [(8, 4)])
    batch = positive_batch(histories, reading(max_history_overall=9), ALL, np.random.default_rng(1))
    assert batch["items"].tolist() == [[0, 1, 2, 3, 4], [7, 0, 0, 0, 0], [8, 0, 0, 0, 0]]
    assert asked(batch, 6) == {(0, 0): 0, (0, 1): 3, (0, 2): 3, (0, 3): 3, (2, 0): 8}
    # What is solved in closed form is not learned, so that it is given nothing to read.
    assert set(batch) == {
        *("items", "normalized_ratings", "rating_bins", "time_gap_bins", "lengths"),
        *("moments", "target_items"),
    }


def test_only_a_share_of_the_moments_is_asked_each_time():
    histories = users([(0, 5), (1, 2), (2, 4), (3, 5)])
    some = ALL.model_copy(update={"target_fraction": 0.5})
    draws = Draws([0], [0.9], [0.9], [0.9], [0.4, 0.5, 0.6, 0.1])
    assert asked(positive_batch(histories, reading(), some, draws), 5) == {(0, 0): 0, (0, 3): 3}
    counts = [
        len(positive_batch(histories, reading(), some, np.random.default_rng(seed))["moments"])
        for seed in range(500)
    ]
    assert np.mean(counts) == pytest.approx(2, abs=0.15)
    assert {0, 4} <= set(counts)


def test_of_a_long_history_a_random_run_is_read():
    histories = users([(0, 5), (1, 5), (2, 5), (3, 5)], [(4, 5)])
    settings = ALL.model_copy(update={"max_history": 2})
    draws = Draws([1, 0], [0.5] * 2, [0.5] * 2, [0.5] * 2, [0.5] * 3)
    batch = positive_batch(histories, reading(max_history=2, max_history_overall=9), settings, draws)
    assert batch["items"].tolist() == [[1, 2], [4, 0]]
    assert asked(batch, 3) == {(0, 0): 1, (0, 1): 2, (1, 0): 4}


def test_a_share_of_the_runs_is_read_as_two_that_know_nothing_of_each_other():
    histories = users(
        [(0, 5, 10), (1, 1, 11), (2, 5, 12)],
        [(3, 5, 10), (4, 5, 11)],
        [(5, 5, 7)],
        [],
        [(6, 5, 1), (7, 5, 2)],
    )
    settings = ALL.model_copy(update={"history_split_rate": 0.5})
    # The first is cut before his last film, the second is not, the next two cannot be, and the last can be in one place.
    cuts, places = [0.4, 0.5, 0.1, 0.1, 0.0], [0.5, 0.5, 0.5, 0.5, 0.99]
    batch = positive_batch(histories, reading(), settings, Draws([0] * 5, cuts, places, [0.9] * 7, [0.9] * 7))
    assert batch["items"].tolist() == [[0, 1], [2, 0], [3, 4], [5, 0], [0, 0], [6, 0], [7, 0]]
    assert batch["lengths"].tolist() == [2, 1, 2, 1, 0, 1, 1]
    assert asked(batch, 3) == {(0, 0): 0, (1, 0): 2, (2, 0): 3, (2, 1): 4, (3, 0): 5, (5, 0): 6, (6, 0): 7}
    first = [gaps[0] for gaps, length in zip(batch["time_gap_bins"], batch["lengths"], strict=True) if length]
    assert first == [FIRST_TIME_GAP_BIN] * 6


def test_a_cut_falls_before_any_film_but_the_first():
    histories = users([(item, 5) for item in range(6)])
    settings = ALL.model_copy(update={"history_split_rate": 1.0})
    firsts = [
        positive_batch(histories, reading(), settings, np.random.default_rng(seed))["lengths"].tolist()
        for seed in range(100)
    ]
    assert {tuple(lengths) for lengths in firsts} == {(length, 6 - length) for length in range(1, 6)}


def test_a_share_of_the_histories_is_read_without_its_times():
    histories = users([(0, 5, 10), (1, 5, 11)], [(2, 5, 10), (3, 5, 12)])
    settings = ALL.model_copy(update={"input_dropout": 0.1})
    draws = Draws([0, 0], [0.9] * 2, [0.9] * 2, [0.09, 0.1], [0.9] * 4)
    batch = positive_batch(histories, reading(), settings, draws)
    assert batch["time_gap_bins"].tolist() == [
        [UNKNOWN_TIME_GAP_BIN, UNKNOWN_TIME_GAP_BIN],
        [FIRST_TIME_GAP_BIN, 2],
    ]


def test_the_runs_of_a_long_history_reach_every_part_of_it():
    histories = users([(item, 5) for item in range(10)])
    settings = ALL.model_copy(update={"max_history": 3})
    batches = [
        positive_batch(
            histories, reading(max_history=3, max_history_overall=9), settings, np.random.default_rng(seed)
        )
        for seed in range(60)
    ]
    assert {batch["items"][0, 0] for batch in batches} == set(range(8))


def test_the_notes_target_is_the_top_rating_of_the_lowest_id_taken_out_of_the_input():
    histories = users([(9, 5), (7, 1), (3, 5), (5, 4)], [(6, 2)], [(2, TAGGED)])
    batch = top_rated_batch(
        histories, reading(max_history=4, order="item", truncate="oldest", pad="full"), NOTE
    )
    assert hidden(batch) == [(0, 3), (1, 6)]
    assert batch["items"].tolist() == [[5, 7, 9, 0], [0, 0, 0, 0], [2, 0, 0, 0]]
    assert batch["lengths"].tolist() == [3, 0, 1]
    # Its rating stays part of his mean of 3.75 and of his range.
    whole = normalize_ratings(np.array([5, 1, 5, 4], np.float32), np.array([0, 4]))
    assert batch["normalized_ratings"][0].tolist() == [whole[3], whole[1], whole[0], 0]


@pytest.mark.parametrize(
    ("ties", "targets"),
    [("all", [(0, 9), (0, 3)]), ("latest", [(0, 3)]), ("lowest-item", [(0, 3)])],
)
def test_ties_for_the_top_are_all_asked_or_the_newest_or_the_lowest(ties, targets):
    histories = users([(9, 5), (7, 1), (3, 5), (5, 4)])
    assert hidden(top_rated_batch(histories, reading(), NOTE.model_copy(update={"ties": ties}))) == targets


def test_the_newest_and_the_lowest_of_a_tie_differ_in_another_order():
    histories = users([(3, 5), (7, 1), (9, 5)])
    for ties, item in (("latest", 9), ("lowest-item", 3)):
        batch = top_rated_batch(histories, reading(), NOTE.model_copy(update={"ties": ties}))
        assert hidden(batch) == [(0, item)]


def test_without_the_target_a_persons_scale_is_of_what_is_known():
    histories = users([(0, 5), (1, 4), (2, 3)])
    for statistics, normalized_ratings in (("everything", [0, -1]), ("known", [1, -1])):
        settings = NOTE.model_copy(update={"statistics": statistics})
        assert top_rated_batch(histories, reading(), settings)["normalized_ratings"].tolist() == [
            normalized_ratings
        ]


def test_a_batch_of_the_trainer_is_tensors_of_the_people_asked():
    batches = Collator(world(), reading(max_history=50), ALL.model_copy(update={"max_history": 50}))
    made = batches([(0, 3), (0, 1)])
    assert all(isinstance(tensor, torch.Tensor) for tensor in made.values())
    items = world().take(np.array([3, 1]))
    assert made["items"][0].tolist() == items.items[: items.offsets[1]].tolist()
    assert made["items"][1].tolist() == items.items[items.offsets[1] :].tolist()


def test_a_batch_of_the_notes_question_has_nothing_drawn_in_it():
    batches = Collator(world(), reading(), NOTE)
    for one, other in zip(batches([(0, 3)]).items(), batches([(7, 3)]).items(), strict=True):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1])


def test_the_draws_depend_on_seed_epoch_and_people_alone():
    def drawn(seed, epoch, *users):
        settings = resolve_settings(**{**TINY, "max_history": 5}, seed=seed)
        batches = Collator(world(), reading(max_history=5), settings)
        batches([(9, 0)])  # what came before leaves no trace
        return {name: tensor.tolist() for name, tensor in batches([(epoch, user) for user in users]).items()}

    first = drawn(1, 0, 3, 4, 5)
    assert drawn(1, 0, 3, 4, 5) == first
    for other in (drawn(2, 0, 3, 4, 5), drawn(1, 1, 3, 4, 5), drawn(1, 0, 4, 3, 5)):
        assert other["items"] != first["items"]
        assert other["moments"] != first["moments"]


def test_people_chosen_among_others_are_read_as_if_they_stood_alone():
    users = np.array([1, 4, 5, 9])
    chosen, alone = HistorySubset(world(), users), world().take(users)
    settings = resolve_settings(**{**TINY, "max_history": 5})
    batches = [Collator(some, reading(max_history=5), settings) for some in (chosen, alone)]
    for people_ in ([(0, 3), (0, 1)], [(2, 0)]):
        one, other = (each(people_) for each in batches)
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert len(chosen) == 4
    assert chosen.lengths.tolist() == alone.lengths.tolist()
    assert chosen.all().items.tolist() == alone.items.tolist()


def test_ratings_alone_are_read_without_looking_at_times():
    users = np.array([1, 4, 5, 9])
    histories, alone = world(), world().take(users)
    unread = np.empty(0)  # no array of that length could be gathered from
    object.__setattr__(histories, "timestamps", unread)
    object.__setattr__(histories, "normalized_ratings", unread)
    told = HistorySubset(histories, users).ratings_alone()
    np.testing.assert_array_equal(told.items, alone.items)
    np.testing.assert_array_equal(told.ratings, alone.ratings)
    np.testing.assert_array_equal(told.offsets, alone.offsets)
    assert told.timestamps.strides == told.normalized_ratings.strides == (0,)  # no room is taken for them


def test_each_person_comes_with_the_epoch():
    dataset = UserDataset(np.array([4, 7]))
    dataset.set_epoch(3)
    assert len(dataset) == 2
    assert [dataset[0], dataset[1]] == [(3, 4), (3, 7)]


def order_of(buckets, epoch):
    buckets.set_epoch(epoch)
    return list(buckets)


def test_every_epoch_meets_everybody_once_in_an_order_of_its_own():
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


def test_fewer_people_than_a_batch_are_met_too():
    assert sorted(LengthBuckets(np.array([3, 1, 2]), 32, seed=1)) == [0, 1, 2]


def test_little_of_what_is_read_in_order_is_padding_and_short_batches_come_at_any_time():
    lengths = np.random.default_rng(1).lognormal(4, 1, 4000).astype(np.int64) + 1
    order = np.minimum(lengths, 200)[np.array(list(LengthBuckets(lengths, 32, seed=1)))].reshape(-1, 32)
    longest = order.max(axis=1, keepdims=True)
    in_any_order = np.minimum(lengths, 200).reshape(-1, 32)
    assert 1 - order.sum() / (longest * 32).sum() < 0.15
    assert 1 - in_any_order.sum() / (in_any_order.max(axis=1) * 32).sum() > 0.5
    assert abs(np.corrcoef(np.arange(len(longest)), longest[:, 0])[0, 1]) < 0.3

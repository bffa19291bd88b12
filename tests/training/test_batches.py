import numpy as np
import pytest
import torch

from encoders import TINY, reading
from people import TAGGED, people, world
from tastevec.data.histories import normalise_ratings
from tastevec.training.batches import Batches, LengthBuckets, People, best_rated_batch, liked_batch
from tastevec.training.settings import resolve_settings

NOTHING_HIDDEN = resolve_settings(hide=0.0, **TINY)
NOTE = resolve_settings("seed", backbone="fresh", max_history=4)


class Draws:
    """A generator whose draws are written down: who hides how much, which films, where each run begins."""

    def __init__(self, shares, films, starts):
        self.shares, self.films, self.starts = shares, films, starts

    def random(self, _count):
        return np.array(self.films)

    def uniform(self, _low, high, _count):
        return np.array(self.shares) * high

    def integers(self, _low, high):
        assert (np.array(self.starts) < high).all()
        return np.array(self.starts)


def asked(batch, width):
    """Which film each moment is asked for, by (person, moment)."""
    people_, moments = np.divmod(batch["moments"], width)
    return dict(
        zip(zip(people_.tolist(), moments.tolist(), strict=True), batch["next_items"].tolist(), strict=True)
    )


def hidden(batch):
    return list(zip(batch["hidden_people"].tolist(), batch["hidden_items"].tolist(), strict=True))


def test_every_moment_is_asked_for_the_next_liked_film():
    # A liked, B not, C tagged, D liked, E not: behind D nothing liked comes any more.
    histories = people([(0, 5), (1, 2), (2, TAGGED), (3, 4), (4, 3)], [(7, 1)], [(8, 4)])
    batch = liked_batch(histories, reading(set_history=9), NOTHING_HIDDEN, np.random.default_rng(1))
    assert batch["items"].tolist() == [[0, 1, 2, 3, 4], [7, 0, 0, 0, 0], [8, 0, 0, 0, 0]]
    assert asked(batch, 6) == {(0, 0): 0, (0, 1): 3, (0, 2): 3, (0, 3): 3, (2, 0): 8}
    assert hidden(batch) == []


def test_hidden_films_leave_the_set_and_the_liked_ones_are_asked_of_it():
    histories = people([(0, 5), (1, 2), (2, TAGGED), (3, 4), (4, 5)])
    # At most half is hidden, of him all of that: the films with a draw below .5, which are A, B and E.
    rng = Draws([1.0], [0.1, 0.4, 0.6, 0.9, 0.2], [0])
    batch = liked_batch(histories, reading(set_history=9), resolve_settings(hide=0.5, **TINY), rng)
    assert batch["set_items"].tolist() == [[2, 3]]
    assert batch["set_levels"].tolist() == [[9, 6]]
    assert hidden(batch) == [(0, 0), (0, 4)]
    # What is read in order is whole: the two questions share no answer.
    assert batch["items"].tolist() == [[0, 1, 2, 3, 4]]
    assert asked(batch, 6) == {(0, 0): 0, (0, 1): 3, (0, 2): 3, (0, 3): 3, (0, 4): 4}


def test_of_a_long_history_a_random_run_is_read_in_order_and_everything_as_a_set():
    histories = people([(0, 5), (1, 5), (2, 5), (3, 5)], [(4, 5)])
    settings = resolve_settings(**{**TINY, "max_history": 2, "hide": 0.0})
    batch = liked_batch(
        histories, reading(max_history=2, set_history=9), settings, Draws([0, 0], [0.5] * 5, [1, 0])
    )
    assert batch["items"].tolist() == [[1, 2], [4, 0]]
    assert asked(batch, 3) == {(0, 0): 1, (0, 1): 2, (1, 0): 4}
    assert batch["set_items"].tolist() == [[0, 1, 2, 3], [4, 0, 0, 0]]


def test_the_runs_of_a_long_history_reach_every_part_of_it():
    histories = people([(film, 5) for film in range(10)])
    settings = resolve_settings(**{**TINY, "max_history": 3})
    batches = [
        liked_batch(histories, reading(max_history=3, set_history=9), settings, np.random.default_rng(seed))
        for seed in range(60)
    ]
    assert {batch["items"][0, 0] for batch in batches} == set(range(8))


def test_the_notes_target_is_the_top_rating_of_the_lowest_id_taken_out_of_the_input():
    histories = people([(9, 5), (7, 1), (3, 5), (5, 4)], [(6, 2)], [(2, TAGGED)])
    batch = best_rated_batch(
        histories, reading(max_history=4, order="item", truncate="oldest", pad="full"), NOTE
    )
    assert hidden(batch) == [(0, 3), (1, 6)]
    assert batch["items"].tolist() == [[5, 7, 9, 0], [0, 0, 0, 0], [2, 0, 0, 0]]
    assert batch["lengths"].tolist() == [3, 0, 1]
    # Its rating stays part of his mean of 3.75 and of his range.
    whole = normalise_ratings(np.array([5, 1, 5, 4], np.float32), np.array([0, 4]))
    assert batch["strengths"][0].tolist() == [whole[3], whole[1], whole[0], 0]


@pytest.mark.parametrize(
    ("ties", "targets"),
    [("all", [(0, 9), (0, 3)]), ("latest", [(0, 3)]), ("lowest-item", [(0, 3)])],
)
def test_ties_for_the_top_are_all_asked_or_the_newest_or_the_lowest(ties, targets):
    histories = people([(9, 5), (7, 1), (3, 5), (5, 4)])
    assert hidden(best_rated_batch(histories, reading(), NOTE.model_copy(update={"ties": ties}))) == targets


def test_the_newest_and_the_lowest_of_a_tie_differ_in_another_order():
    histories = people([(3, 5), (7, 1), (9, 5)])
    for ties, film in (("latest", 9), ("lowest-item", 3)):
        batch = best_rated_batch(histories, reading(), NOTE.model_copy(update={"ties": ties}))
        assert hidden(batch) == [(0, film)]


def test_without_the_target_a_persons_scale_is_of_what_is_known():
    histories = people([(0, 5), (1, 4), (2, 3)])
    for statistics, strengths in (("everything", [0, -1]), ("known", [1, -1])):
        settings = NOTE.model_copy(update={"statistics": statistics})
        assert best_rated_batch(histories, reading(), settings)["strengths"].tolist() == [strengths]


def test_a_batch_of_the_trainer_is_tensors_of_the_people_asked():
    batches = Batches(world(), reading(set_history=50), NOTHING_HIDDEN)
    made = batches([(0, 3), (0, 1)])
    assert all(isinstance(tensor, torch.Tensor) for tensor in made.values())
    films = world().take(np.array([3, 1]))
    assert made["set_items"][0].tolist() == films.items[: films.offsets[1]].tolist()
    assert made["set_items"][1].tolist() == films.items[films.offsets[1] :].tolist()


def test_the_draws_depend_on_seed_epoch_and_people_alone():
    def drawn(seed, epoch, *users):
        settings = resolve_settings(**{**TINY, "max_history": 5}, seed=seed)
        batches = Batches(world(), reading(max_history=5, set_history=50), settings)
        batches([(9, 0)])  # what came before leaves no trace
        return {name: tensor.tolist() for name, tensor in batches([(epoch, user) for user in users]).items()}

    first = drawn(1, 0, 3, 4)
    assert drawn(1, 0, 3, 4) == first
    for other in (drawn(2, 0, 3, 4), drawn(1, 1, 3, 4)):
        assert other["set_items"] != first["set_items"]


def test_each_person_comes_with_the_epoch():
    dataset = People(np.array([4, 7]))
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

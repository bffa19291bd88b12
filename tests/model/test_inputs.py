"""What an encoder reads of a film besides its vector and its rating, and what of it a later film lacks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from encoders import KINDS, TASTE, ask, encoder, reading, tensors
from users import of_every_length, users


def sittings(*times):
    """The same films and ratings, at other times."""
    return users(*([(item, 5, time) for item, time in enumerate(told)] for told in times))


def test_the_pauses_between_films_move_what_comes_next_and_not_the_overall_taste():
    histories = sittings([100, 160, 220], [100, 160, 90_000])
    told = ask(encoder(**TASTE), histories, reading())
    assert torch.equal(told.moments[0, :3], told.moments[1, :3])
    assert not torch.allclose(told.next[0], told.next[1], atol=1e-3)
    torch.testing.assert_close(told.overall[0], told.overall[1], rtol=1e-5, atol=1e-6)
    deaf = ask(encoder(**{**TASTE, "time_gap_bins": 0}), histories, reading())
    torch.testing.assert_close(deaf.next[0], deaf.next[1], rtol=1e-5, atol=1e-6)


def test_what_is_learned_of_a_film_as_input_moves_what_comes_next_and_not_the_overall_taste():
    model, histories = encoder(**TASTE), users([(0, 5), (1, 4)])
    before = ask(model, histories, reading())
    with torch.no_grad():
        model.inputs.weight[1] *= -1
    after = ask(model, histories, reading())
    assert torch.equal(after.moments[0, :2], before.moments[0, :2])
    assert not torch.allclose(after.next, before.next, atol=1e-3)
    assert torch.equal(after.overall, before.overall)


def moments(model):
    torch.manual_seed(3)
    with torch.no_grad():
        return model(**tensors(of_every_length())).moments


def test_only_in_training_films_go_without_what_is_learned_of_them():
    plain = encoder(**TASTE, dropout=0.0)
    dropping = encoder(**TASTE, dropout=0.0, input_dropout=0.5)
    assert torch.equal(moments(dropping), moments(plain))
    assert torch.equal(moments(plain.train()), moments(plain.eval()))
    assert not torch.allclose(moments(dropping.train()), moments(plain), atol=1e-3)


def test_of_a_film_all_is_dropped_or_nothing_and_so_often_as_is_said():
    model, items = encoder(**TASTE, input_dropout=0.3).train(), torch.arange(20).repeat(200, 1)
    torch.manual_seed(3)
    learned = model._learned(items)
    dropped = (learned == 0).all(-1)
    assert torch.equal(learned[~dropped], model.inputs(items)[~dropped])
    assert dropped.float().mean().item() == pytest.approx(0.3, abs=0.03)


def grown_by_two(model):
    """The model with a film in front of all others and one behind, which is the twin of its film 3."""
    table = model.item_vectors
    return model.with_items(np.concatenate([np.full((1, 8), 9, np.float32), table, table[3:4]]), [0, 21])


@KINDS
def test_films_that_come_later_move_nobodys_vectors_by_a_bit(shape, layout):
    model, histories, how = encoder(**shape), of_every_length(), reading(**layout)
    shifted = replace(histories, items=histories.items + 1)
    for horizon in ("next", "overall"):
        np.testing.assert_array_equal(
            grown_by_two(model).encode(horizon, **how.arrays(shifted)),
            model.encode(horizon, **how.arrays(histories)),
        )


def test_a_film_that_came_later_is_read_by_its_vector_alone():
    model = encoder(**TASTE)
    grown = grown_by_two(model)
    assert not grown.inputs.weight[[0, 21]].any()
    assert not grown.fold_in.item_prior[[0, 21]].any()
    with torch.no_grad():
        model.inputs.weight[3] = 0
        model.fold_in.item_prior[3] = 0
    twin, item = users([(5, 4), (21, 5)]), users([(4, 4), (3, 5)])
    for horizon in ("next", "overall"):
        np.testing.assert_array_equal(
            grown.encode(horizon, **reading().arrays(twin)), model.encode(horizon, **reading().arrays(item))
        )


def test_films_may_come_later_more_than_once():
    model = encoder(**TASTE)
    once = grown_by_two(model)
    first = model.with_items(once.item_vectors[1:], [20])
    twice = first.with_items(once.item_vectors, [0, 21])
    assert all(torch.equal(weight, twice.state_dict()[name]) for name, weight in once.state_dict().items())
    assert (first.config.n_items, first.config.added_items) == (21, [20])
    assert (twice.config.n_items, twice.config.added_items) == (22, [0, 21])
    assert model.config.n_items == len(model.inputs.weight) == 20

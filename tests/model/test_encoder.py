"""The encoders of both presets: batches, inputs, per-position states, new items, saving and loading."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch.nn import functional

from encoders import KINDS, NOTE, TASTE, embeddings, encoder, forward, reading, tensors
from users import of_every_length, users, world

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@KINDS
def test_encoder_saved_and_loaded_is_bit_equal(tmp_path, shape, layout):
    model, histories = encoder(**shape), world()
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert {**loaded.config.to_dict(), "_name_or_path": ""} == model.config.to_dict()
    weights = loaded.state_dict()
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], weight) for name, weight in model.state_dict().items())
    arrays = reading(**layout).arrays(histories)
    for horizon in ("next", "overall"):
        np.testing.assert_array_equal(loaded.encode(horizon, **arrays), model.encode(horizon, **arrays))


@KINDS
def test_encoder_batch_equals_one_user_at_a_time_for_every_length(shape, layout):
    model, config, histories = encoder(**shape), reading(**layout), of_every_length()
    batch = embeddings(model, histories, config)
    for user, history in enumerate(histories.chunks(1)):
        for horizon, single in embeddings(model, history, config).items():
            np.testing.assert_allclose(batch[horizon][user], single[0], **CLOSE)


@KINDS
def test_encoder_shuffled_users_gives_shuffled_embeddings(shape, layout):
    model, config, histories = encoder(**shape), reading(**layout), of_every_length()
    order = np.random.default_rng(3).permutation(len(histories))
    output, shuffled = (embeddings(model, some, config) for some in (histories, histories.take(order)))
    for horizon in output:
        np.testing.assert_allclose(shuffled[horizon], output[horizon][order], **CLOSE)


@KINDS
def test_encoder_empty_history_gives_finite_embeddings(shape, layout):
    for found in embeddings(encoder(**shape), users([], [(0, 5)]), reading(**layout)).values():
        assert np.isfinite(found).all()


@KINDS
def test_encoder_inputs_embeds_replaces_gathered_vectors(shape, layout):
    model = encoder(**shape)
    inputs = tensors(model, of_every_length(), reading(**layout))
    with torch.no_grad():
        inside, gathered = model(**inputs), model.items(inputs["items"])
        same, doubled = (model(**inputs, inputs_embeds=vectors) for vectors in (gathered, 2 * gathered))
    assert torch.equal(inside.next, same.next)
    assert not torch.allclose(inside.next[1:], doubled.next[1:], atol=1e-3)


def test_taste_encoder_long_history_reads_most_recent_items():
    history = [(item, 1 + item % 5) for item in range(20)]
    model, config = encoder(**TASTE), reading(max_history_overall=12)
    for horizon in ("next", "overall"):
        np.testing.assert_array_equal(
            model.encode(horizon, **config.arrays(users(history))),
            model.encode(horizon, **config.arrays(users(history).last(12))),
        )


@KINDS
def test_encoder_attention_is_sdpa(shape, layout):
    model = encoder(**shape)
    with patch.object(
        functional, "scaled_dot_product_attention", wraps=functional.scaled_dot_product_attention
    ) as attention:
        forward(model, world(), reading(**layout))
    assert attention.call_count == model.config.layers


@KINDS
def test_encoder_other_items_or_ratings_change_embeddings(shape, layout):
    histories = users([(0, 5), (1, 1)], [(2, 5), (1, 1)], [(0, 1), (1, 5)])
    for found in embeddings(encoder(**shape), histories, reading(**layout)).values():
        assert not np.allclose(found[0], found[1], atol=1e-3)
        assert not np.allclose(found[0], found[2], atol=1e-3)


def test_taste_encoder_other_order_changes_next_and_not_overall():
    histories = users([(0, 5), (1, 1)], [(1, 1), (0, 5)])
    found = embeddings(encoder(**TASTE), histories, reading(max_history_overall=5))
    assert not np.allclose(*found["next"], atol=1e-3)
    np.testing.assert_allclose(*found["overall"], **CLOSE)


def test_taste_encoder_state_is_that_of_last_position():
    output = forward(encoder(**TASTE), of_every_length(), reading())
    assert output.per_position.shape == (13, 13, 8)
    assert torch.equal(output.next, output.per_position[torch.arange(13), torch.arange(13)])


def test_taste_encoder_overall_runs_no_transformer():
    model, arrays = encoder(**TASTE), reading(max_history_overall=100).arrays(of_every_length())
    with patch.object(model.blocks, "forward", side_effect=AssertionError("the transformer ran")):
        model.encode("overall", **arrays)


@KINDS
@pytest.mark.parametrize("histories", [world, of_every_length])
@pytest.mark.parametrize("layers", [1, 2])
def test_last_state_equals_forward(shape, layout, histories, layers):
    model = encoder(**shape, layers=layers)
    inputs = tensors(model, histories(), reading(**layout))
    with torch.no_grad():
        vectors = model._gather(inputs["items"], inputs["lengths"])
        if shape is NOTE:
            expected = model(**inputs).next
            found = model.last_state(vectors, inputs["normalized_ratings"])
        else:
            expected = model(**inputs).next
            names = ("rating_bins", "lengths", "time_gap_bins")
            learned = model._item_inputs(inputs["items"])
            found = model.last_state(vectors, item_inputs=learned, **{name: inputs[name] for name in names})
        torch.testing.assert_close(found, expected, **CLOSE)


def test_time_gaps_change_next_and_not_overall():
    histories = users(
        *([(item, 5, t) for item, t in enumerate(row)] for row in ([100, 160, 220], [100, 160, 90_000]))
    )
    states = forward(encoder(**TASTE), histories, reading()).per_position
    assert torch.equal(states[0, :3], states[1, :3])
    found = embeddings(encoder(**TASTE), histories, reading())
    assert not np.allclose(*found["next"], atol=1e-3)
    np.testing.assert_array_equal(*found["overall"])
    without = embeddings(encoder(**{**TASTE, "time_gap_bins": 0}), histories, reading())
    np.testing.assert_allclose(*without["next"], rtol=1e-5, atol=1e-6)


def test_item_inputs_change_next_and_not_overall():
    model, histories = encoder(**TASTE), users([(0, 5), (1, 4)])
    before, states = (call(model, histories, reading()) for call in (embeddings, forward))
    with torch.no_grad():
        model.item_inputs.weight[1] *= -1
    after = embeddings(model, histories, reading())
    changed = forward(model, histories, reading()).per_position
    assert torch.equal(changed[0, :2], states.per_position[0, :2])
    assert not np.allclose(after["next"], before["next"], atol=1e-3)
    np.testing.assert_array_equal(after["overall"], before["overall"])


def states(model):
    torch.manual_seed(3)
    return forward(model, of_every_length(), reading()).per_position


def test_input_dropout_applies_in_training_alone():
    plain = encoder(**TASTE, dropout=0.0)
    dropping = encoder(**TASTE, dropout=0.0, input_dropout=0.5)
    assert torch.equal(states(dropping), states(plain))
    assert torch.equal(states(plain.train()), states(plain.eval()))
    assert not torch.allclose(states(dropping.train()), states(plain), atol=1e-3)


def test_input_dropout_drops_complete_embeddings_at_its_rate():
    model, items = encoder(**TASTE, input_dropout=0.3).train(), torch.arange(20).repeat(200, 1)
    torch.manual_seed(3)
    learned = model._item_inputs(items)
    dropped = (learned == 0).all(-1)
    assert torch.equal(learned[~dropped], model.item_inputs(items)[~dropped])
    assert dropped.float().mean().item() == pytest.approx(0.3, abs=0.03)


def with_two_items(model):
    """Return the model with a new first item and a new last one, which has the vector of its item 3."""
    table = model.table
    return model.with_items(np.concatenate([np.full((1, 8), 9, np.float32), table, table[3:4]]), [0, 21])


@KINDS
def test_with_items_changes_no_embedding(shape, layout):
    model, histories, config = encoder(**shape), of_every_length(), reading(**layout)
    shifted = replace(histories, items=histories.items + 1)
    for horizon in ("next", "overall"):
        np.testing.assert_array_equal(
            with_two_items(model).encode(horizon, **config.arrays(shifted)),
            model.encode(horizon, **config.arrays(histories)),
        )


def test_with_items_new_item_is_read_as_its_nearest_item():
    model = encoder(**TASTE)
    grown = with_two_items(model)
    assert not grown.item_inputs.weight[[0, 21]].any()
    with torch.no_grad():
        model.item_inputs.weight[3] = 0
    new, known = reading().arrays(users([(5, 4), (21, 5)])), reading().arrays(users([(4, 4), (3, 5)]))
    for horizon in ("next", "overall"):
        np.testing.assert_array_equal(grown.encode(horizon, **new), model.encode(horizon, **known))


def test_with_items_twice_equals_once():
    model = encoder(**TASTE)
    once = with_two_items(model)
    first = model.with_items(once.item_vectors[1:], [20])
    twice = first.with_items(once.item_vectors, [0, 21])
    assert all(torch.equal(weight, twice.state_dict()[name]) for name, weight in once.state_dict().items())
    assert (first.config.n_items, first.config.added_items) == (21, [20])
    assert (twice.config.n_items, twice.config.added_items) == (22, [0, 21])
    assert model.config.n_items == len(model.item_inputs.weight) == 20


@KINDS
def test_initialize_sets_item_vectors(shape, layout):  # noqa: ARG001  of the pair
    model, vectors = encoder(**shape), torch.randn(20, 8)
    model.initialize(vectors)
    np.testing.assert_array_equal(model.table, vectors.numpy())

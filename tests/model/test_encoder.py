"""The encoders of both presets: batches, inputs, per-position states, new items, saving and loading."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch.nn import functional

from encoders import KINDS, NOTE, TASTE, encoder, forward, reading, tensors
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
    batch = forward(model, histories, config)
    for user, history in enumerate(histories.chunks(1)):
        single = forward(model, history, config)
        torch.testing.assert_close(batch.next[user], single.next[0], **CLOSE)
        torch.testing.assert_close(batch.overall[user], single.overall[0], **CLOSE)


@KINDS
def test_encoder_shuffled_users_gives_shuffled_embeddings(shape, layout):
    model, config, histories = encoder(**shape), reading(**layout), of_every_length()
    order = np.random.default_rng(3).permutation(len(histories))
    output, shuffled = forward(model, histories, config), forward(model, histories.take(order), config)
    torch.testing.assert_close(shuffled.next, output.next[order], **CLOSE)
    torch.testing.assert_close(shuffled.overall, output.overall[order], **CLOSE)


@KINDS
def test_encoder_empty_history_gives_finite_embeddings(shape, layout):
    output = forward(encoder(**shape), users([], [(0, 5)]), reading(**layout))
    assert output.next.isfinite().all()
    assert output.overall.isfinite().all()


@KINDS
def test_encoder_inputs_embeds_replaces_gathered_vectors(shape, layout):
    model = encoder(**shape)
    inputs = tensors(model, of_every_length(), reading(**layout))
    with torch.no_grad():
        inside, gathered = model(**inputs), model.items(inputs["items"])
        same, doubled = (model(**inputs, inputs_embeds=vectors) for vectors in (gathered, 2 * gathered))
    assert torch.equal(inside.next, same.next)
    assert torch.equal(inside.overall, same.overall)
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
    output = forward(encoder(**shape), histories, reading(**layout))
    for embeddings in (output.next, output.overall):
        assert not torch.allclose(embeddings[0], embeddings[1], atol=1e-3)
        assert not torch.allclose(embeddings[0], embeddings[2], atol=1e-3)


def test_taste_encoder_other_order_changes_next_and_not_overall():
    histories = users([(0, 5), (1, 1)], [(1, 1), (0, 5)])
    output = forward(encoder(**TASTE), histories, reading(max_history_overall=5))
    assert not torch.allclose(output.next[0], output.next[1], atol=1e-3)
    torch.testing.assert_close(output.overall[0], output.overall[1], **CLOSE)


def test_taste_encoder_without_blend_next_is_state_at_last_position():
    shape = {**TASTE, "blend_overall": 0.0, "blend_recent": 0.0, "blend_short": 0.0}
    output = forward(encoder(**shape), of_every_length(), reading())
    assert output.per_position.shape == (13, 13, 8)
    assert torch.equal(output.next, output.per_position[torch.arange(13), torch.arange(13)])


@pytest.mark.parametrize("n_recent", [3, 10])
def test_taste_encoder_blend_adds_overall_and_fold_in_of_recent_items(n_recent):
    model, histories, lengths = encoder(**TASTE, n_recent=n_recent), of_every_length(), torch.arange(13)
    output = forward(model, histories, reading(max_history_overall=100))
    recent = tensors(model, histories.last(n_recent), reading())
    items, bins, counts = recent["items"], recent["rating_bins"], recent["lengths"]
    with torch.no_grad():
        part = model.fold_in(model.items(items), items, bins, counts, mean=False)
    weight = 0.5 + 1.0 / lengths.clamp(min=1)
    expected = output.per_position[lengths, lengths] + 0.5 * output.overall + weight[:, None] * part
    torch.testing.assert_close(output.next, expected, **CLOSE)


def test_taste_encoder_skips_fold_in_in_training_and_transformer_for_overall():
    model, config, lengths = encoder(**TASTE), reading(max_history_overall=100), torch.arange(13)
    with torch.no_grad():
        training = model(**tensors(model, of_every_length(), reading()), fold_in=False)
    output = forward(model, of_every_length(), config)
    assert training.overall is None
    assert torch.equal(training.per_position, output.per_position)
    assert torch.equal(training.next, output.per_position[lengths, lengths])
    with patch.object(model.blocks, "forward", side_effect=AssertionError("the transformer ran")):
        found = model.encode("overall", **config.arrays(of_every_length()))
    np.testing.assert_array_equal(found, output.overall.numpy())


@KINDS
@pytest.mark.parametrize("histories", [world, of_every_length])
@pytest.mark.parametrize("layers", [1, 2])
def test_last_state_equals_forward_without_blend(shape, layout, histories, layers):
    model = encoder(**shape, layers=layers)
    inputs = tensors(model, histories(), reading(**layout))
    with torch.no_grad():
        vectors = model._gather(inputs["items"], inputs["lengths"])
        if shape is NOTE:
            expected = model(**inputs).next
            found = model.last_state(vectors, inputs["normalized_ratings"])
        else:
            expected = model(**inputs, fold_in=False).next
            names = ("rating_bins", "lengths", "time_gap_bins")
            learned = model._item_inputs(inputs["items"])
            found = model.last_state(vectors, item_inputs=learned, **{name: inputs[name] for name in names})
        torch.testing.assert_close(found, expected, **CLOSE)


def test_time_gaps_change_next_and_not_overall():
    histories = users(
        *([(item, 5, t) for item, t in enumerate(row)] for row in ([100, 160, 220], [100, 160, 90_000]))
    )
    output = forward(encoder(**TASTE), histories, reading())
    assert torch.equal(output.per_position[0, :3], output.per_position[1, :3])
    assert not torch.allclose(output.next[0], output.next[1], atol=1e-3)
    torch.testing.assert_close(output.overall[0], output.overall[1], rtol=1e-5, atol=1e-6)
    without = forward(encoder(**{**TASTE, "time_gap_bins": 0}), histories, reading())
    torch.testing.assert_close(without.next[0], without.next[1], rtol=1e-5, atol=1e-6)


def test_item_inputs_change_next_and_not_overall():
    model, histories = encoder(**TASTE), users([(0, 5), (1, 4)])
    before = forward(model, histories, reading())
    with torch.no_grad():
        model.item_inputs.weight[1] *= -1
    after = forward(model, histories, reading())
    assert torch.equal(after.per_position[0, :2], before.per_position[0, :2])
    assert not torch.allclose(after.next, before.next, atol=1e-3)
    assert torch.equal(after.overall, before.overall)


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


def test_with_items_new_item_is_read_by_its_vector_alone():
    model = encoder(**TASTE)
    grown = with_two_items(model)
    assert not grown.item_inputs.weight[[0, 21]].any()
    assert not grown.fold_in.item_prior[[0, 21]].any()
    with torch.no_grad():
        model.item_inputs.weight[3] = 0
        model.fold_in.item_prior[3] = 0
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

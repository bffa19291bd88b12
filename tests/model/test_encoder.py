from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch.nn import functional

from encoders import KINDS, MASKED, NOTE, TASTE, ask, encoder, reading, tensors
from tastevec.model.encoder import TasteEncoder
from users import of_every_length, users, world


@KINDS
def test_a_saved_encoder_comes_back_bit_for_bit(tmp_path, shape, layout):
    model, histories = encoder(**shape), world()
    model.save_pretrained(tmp_path)
    again = TasteEncoder.from_pretrained(tmp_path)
    assert {**again.config.to_dict(), "_name_or_path": ""} == model.config.to_dict()
    weights = again.state_dict()
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], weight) for name, weight in model.state_dict().items())
    how = reading(**layout)
    for horizon in ("next", "overall"):
        arrays = how.arrays(histories)
        np.testing.assert_array_equal(again.encode(horizon, **arrays), model.encode(horizon, **arrays))


@KINDS
def test_a_batch_equals_one_person_at_a_time_for_every_length(shape, layout):
    model, how, histories = encoder(**shape), reading(**layout), of_every_length()
    together = ask(model, histories, how)
    for user, alone in enumerate(histories.chunks(1)):
        single = ask(model, alone, how)
        torch.testing.assert_close(together.next[user], single.next[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(together.overall[user], single.overall[0], rtol=1e-5, atol=1e-5)


@KINDS
def test_the_order_of_the_people_is_the_order_of_the_answers(shape, layout):
    model, how, histories = encoder(**shape), reading(**layout), of_every_length()
    order = np.random.default_rng(3).permutation(len(histories))
    there, back = ask(model, histories, how), ask(model, histories.take(order), how)
    torch.testing.assert_close(back.next, there.next[order], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(back.overall, there.overall[order], rtol=1e-5, atol=1e-5)


@KINDS
def test_somebody_without_a_history_gets_finite_vectors(shape, layout):
    answer = ask(encoder(**shape), users([], [(0, 5)]), reading(**layout))
    assert answer.next.isfinite().all()
    assert answer.overall.isfinite().all()


@KINDS
def test_films_gathered_by_the_caller_are_those_gathered_inside(shape, layout):
    model, arrays = encoder(**shape), tensors(of_every_length(), **layout)
    with torch.no_grad():
        inside, gathered = model(**arrays), model.items(arrays["items"])
        outside, others = (model(**arrays, inputs_embeds=vectors) for vectors in (gathered, 2 * gathered))
    assert torch.equal(inside.next, outside.next)
    assert torch.equal(inside.overall, outside.overall)
    assert not torch.allclose(inside.next[1:], others.next[1:], atol=1e-3)


@pytest.mark.parametrize("shape", [TASTE, MASKED], ids=["taste", "masked"])
def test_of_a_history_that_is_too_long_the_newest_films_are_read(shape):
    items = [(place, 1 + place % 5) for place in range(20)]
    model, how = encoder(**shape), reading(max_history_overall=12)
    # The scale of the note is over everything that he rated, so that it must be given by hand.
    long, short = users(items), users(items).last(12)
    for horizon in ("next", "overall"):
        np.testing.assert_array_equal(
            model.encode(horizon, **how.arrays(long)), model.encode(horizon, **how.arrays(short))
        )


@pytest.mark.parametrize("shape", [TASTE, NOTE, MASKED], ids=["taste", "note", "masked"])
def test_the_attention_that_runs_is_sdpa(shape):
    model = encoder(**shape)
    with patch.object(
        functional, "scaled_dot_product_attention", wraps=functional.scaled_dot_product_attention
    ) as ran:
        ask(model, world(), reading())
    assert ran.call_count == model.config.layers


@KINDS
def test_the_films_that_are_read_and_their_ratings_move_the_answer(shape, layout):
    model, how = encoder(**shape), reading(**layout)
    answers = ask(model, users([(0, 5), (1, 1)], [(2, 5), (1, 1)], [(0, 1), (1, 5)]), how)
    for told in (answers.next, answers.overall):
        assert not torch.allclose(told[0], told[1], atol=1e-3)
        assert not torch.allclose(told[0], told[2], atol=1e-3)


def test_the_order_of_the_films_moves_what_comes_next_and_not_the_overall_taste():
    answers = ask(encoder(**TASTE), users([(0, 5), (1, 1)], [(1, 1), (0, 5)]), reading(max_history_overall=5))
    assert not torch.allclose(answers.next[0], answers.next[1], atol=1e-3)
    torch.testing.assert_close(answers.overall[0], answers.overall[1], rtol=1e-5, atol=1e-5)


def test_what_the_blocks_say_comes_next_is_the_newest_of_the_moments():
    shape = {**TASTE, "blend_overall": 0.0, "blend_recent": 0.0, "blend_short": 0.0}
    answers = ask(encoder(**shape), of_every_length(), reading())
    assert answers.moments.shape == (13, 13, 8)
    assert torch.equal(answers.next, answers.moments[torch.arange(13), torch.arange(13)])


@pytest.mark.parametrize("recent", [3, 10])
def test_to_that_the_linear_answers_to_everything_and_to_the_newest_films_are_added(recent):
    model, histories, count = encoder(**TASTE, recent=recent), of_every_length(), torch.arange(13)
    answers = ask(model, histories, reading(max_history_overall=100))
    newest = tensors(histories.last(recent))
    items, levels, lengths = newest["items"], newest["rating_bins"], newest["lengths"]
    with torch.no_grad():
        recent_ = model.fold_in(model.items(items), items, levels, lengths, mean=False)
    weight = 0.5 + 1.0 / count.clamp(min=1)
    expected = answers.moments[count, count] + 0.5 * answers.overall + weight[:, None] * recent_
    torch.testing.assert_close(answers.next, expected, rtol=1e-5, atol=1e-5)


def test_training_asks_the_blocks_alone_and_an_overall_answer_of_a_set_does_not_ask_them():
    model, arrays = encoder(**TASTE), reading(max_history_overall=100).arrays(of_every_length())
    with torch.no_grad():
        told = model(**tensors(of_every_length()), linear=False)
    whole = ask(model, of_every_length(), reading(max_history_overall=100))
    assert told.overall is None
    assert torch.equal(told.moments, whole.moments)
    assert torch.equal(told.next, whole.moments[torch.arange(13), torch.arange(13)])
    with patch.object(model.blocks, "forward", side_effect=AssertionError("the blocks were asked")):
        np.testing.assert_array_equal(model.encode("overall", **arrays), whole.overall.numpy())


def test_one_vector_answers_both_questions_in_the_notes_recipe():
    answers = ask(encoder(**NOTE), world(), reading(pad="full"))
    assert answers.moments is None
    assert torch.equal(answers.next, answers.overall)


def test_the_note_sees_its_padding_and_a_mask_hides_it():
    short, padded = reading(max_history=3, pad="full"), reading(pad="full")
    histories = users([(0, 5), (1, 1)])
    for shape, seen in ((NOTE, True), (MASKED, False)):
        model = encoder(**shape)
        same = torch.allclose(
            ask(model, histories, short).next, ask(model, histories, padded).next, atol=1e-5
        )
        assert same is not seen


def test_the_film_table_starts_from_the_vectors_given():
    model, vectors = encoder(**TASTE), torch.randn(20, 8)
    model.initialize(vectors)
    np.testing.assert_array_equal(model.item_vectors, vectors.numpy())


def test_where_similarity_is_the_cosine_film_vectors_have_unit_length_and_an_absent_one_stays_zero():
    model = encoder(**NOTE, similarity="cosine")
    vectors = torch.randn(20, 8)
    vectors[3] = 0
    model.initialize(vectors)
    expected = functional.normalize(vectors, dim=1).numpy()
    np.testing.assert_allclose(model.item_vectors, expected, rtol=1e-5, atol=1e-7)
    assert not model.item_vectors[3].any()

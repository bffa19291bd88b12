from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch.nn import functional

from encoders import MASKED, NOTE, SCALE, TASTE, ask, encoder, reading
from people import TAGGED, people, world
from tastevec.items.collaborative import AlsSettings, fold_in
from tastevec.model.encoder import TasteEncoder
from tastevec.model.fold_in import RidgeFoldIn

FULL = {"pad": "full"}
KINDS = pytest.mark.parametrize(
    ("shape", "layout"),
    [(TASTE, {"set_history": 100}), (NOTE, FULL), (MASKED, {})],
    ids=["taste", "note", "masked"],
)


def of_every_length():
    """People with 0, 1, 2, ... 12 films, one of them only tagged."""
    films = [(3 * place % 20, TAGGED if place == 4 else 1 + place % 5) for place in range(12)]
    return people(*(films[:length] for length in range(13)))


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
        np.testing.assert_array_equal(again.answer(horizon, **arrays), model.answer(horizon, **arrays))


@KINDS
def test_a_batch_equals_one_person_at_a_time_for_every_length(shape, layout):
    model, how, histories = encoder(**shape), reading(**layout), of_every_length()
    together = ask(model, histories, how)
    for person, alone in enumerate(histories.chunks(1)):
        single = ask(model, alone, how)
        torch.testing.assert_close(together.next[person], single.next[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(together.overall[person], single.overall[0], rtol=1e-5, atol=1e-5)


@KINDS
def test_the_order_of_the_people_is_the_order_of_the_answers(shape, layout):
    model, how, histories = encoder(**shape), reading(**layout), of_every_length()
    order = np.random.default_rng(3).permutation(len(histories))
    there, back = ask(model, histories, how), ask(model, histories.take(order), how)
    torch.testing.assert_close(back.next, there.next[order], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(back.overall, there.overall[order], rtol=1e-5, atol=1e-5)


@KINDS
def test_somebody_without_a_history_gets_finite_vectors(shape, layout):
    answer = ask(encoder(**shape), people([], [(0, 5)]), reading(**layout))
    assert answer.next.isfinite().all()
    assert answer.overall.isfinite().all()


@KINDS
def test_films_gathered_by_the_caller_are_those_gathered_inside(shape, layout):
    model = encoder(**shape)
    arrays = {
        name: torch.from_numpy(array) for name, array in reading(**layout).arrays(of_every_length()).items()
    }
    with torch.no_grad():
        inside = model(**arrays)
        outside = model(
            **{**arrays, "items": arrays["items"] * 0}, inputs_embeds=model.items(arrays["items"])
        )
    assert torch.equal(inside.next, outside.next)
    assert torch.equal(inside.overall, outside.overall)


@pytest.mark.parametrize("shape", [TASTE, MASKED], ids=["taste", "masked"])
def test_of_a_history_that_is_too_long_the_newest_films_are_read(shape):
    films = [(place, 1 + place % 5) for place in range(20)]
    model, how = encoder(**shape), reading(set_history=12)
    # The scale of the note is over everything that he rated, so that it must be given by hand.
    long, short = people(films), people(films).last(12)
    for horizon in ("next", "overall"):
        np.testing.assert_array_equal(
            model.answer(horizon, **how.arrays(long)), model.answer(horizon, **how.arrays(short))
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
    answers = ask(model, people([(0, 5), (1, 1)], [(2, 5), (1, 1)], [(0, 1), (1, 5)]), how)
    for told in (answers.next, answers.overall):
        assert not torch.allclose(told[0], told[1], atol=1e-3)
        assert not torch.allclose(told[0], told[2], atol=1e-3)


def test_the_order_of_the_films_moves_what_comes_next_and_not_the_overall_taste():
    answers = ask(encoder(**TASTE), people([(0, 5), (1, 1)], [(1, 1), (0, 5)]), reading(set_history=5))
    assert not torch.allclose(answers.next[0], answers.next[1], atol=1e-3)
    torch.testing.assert_close(answers.overall[0], answers.overall[1], rtol=1e-5, atol=1e-5)


def test_what_comes_next_is_the_newest_of_the_moments():
    answers = ask(encoder(**TASTE), of_every_length(), reading())
    assert answers.moments.shape == (13, 13, 8)
    assert torch.equal(answers.next, answers.moments[torch.arange(13), torch.arange(13)])


def test_one_vector_answers_both_questions_in_the_notes_recipe():
    answers = ask(encoder(**NOTE), world(), reading(pad="full"))
    assert answers.moments is None
    assert torch.equal(answers.next, answers.overall)


def test_the_note_sees_its_padding_and_a_mask_hides_it():
    short, padded = reading(max_history=3, pad="full"), reading(pad="full")
    histories = people([(0, 5), (1, 1)])
    for shape, seen in ((NOTE, True), (MASKED, False)):
        model = encoder(**shape)
        same = torch.allclose(
            ask(model, histories, short).next, ask(model, histories, padded).next, atol=1e-5
        )
        assert same is not seen


def test_the_film_table_starts_from_the_vectors_given():
    model, vectors = encoder(**TASTE), torch.randn(20, 8)
    model.start_from(vectors)
    np.testing.assert_array_equal(model.item_vectors, vectors.numpy())


def test_where_similarity_is_the_cosine_film_vectors_have_unit_length_and_an_absent_one_stays_zero():
    model = encoder(**NOTE, similarity="cosine")
    vectors = torch.randn(20, 8)
    vectors[3] = 0
    model.start_from(vectors)
    expected = functional.normalize(vectors, dim=1).numpy()
    np.testing.assert_allclose(model.item_vectors, expected, rtol=1e-5, atol=1e-7)
    assert not model.item_vectors[3].any()


def test_the_linear_answer_with_the_constants_of_als_is_the_fold_in_of_als():
    settings = AlsSettings(rating_range=(1.0, 5.0), dim=8, regularization=3.0, liked=7.0, neutral=1.5)
    histories = people([(0, 5), (1, 4), (2, 3), (3, 1), (4, TAGGED)], [], [(19, 4)])
    table = np.random.default_rng(1).normal(size=(20, 8)).astype(np.float32)
    linear = RidgeFoldIn(8, SCALE.levels)
    ratings = [*np.linspace(1, 5, SCALE.levels), np.nan]
    confidence = torch.from_numpy(settings.confidence(np.array(ratings, np.float32)))
    with torch.no_grad():
        linear.log_confidence.copy_(
            (confidence - 1).clamp(min=0).log()
        )  # the logarithm of 0 is 0 confidence again
        linear.pull.copy_(confidence)
        linear.log_ridge.fill_(np.log(settings.regularization))
        linear.log_sharpness.fill_(0)
        arrays = reading().arrays(histories)
        there = np.arange(arrays["items"].shape[1]) < arrays["lengths"][:, None]
        vectors = torch.from_numpy(table[arrays["items"]] * there[..., None])
        answer = linear(vectors, torch.from_numpy(arrays["levels"]), torch.from_numpy(table))
    np.testing.assert_allclose(answer.numpy(), fold_in(table, histories, settings), rtol=1e-4, atol=1e-5)


def test_every_weight_of_the_linear_answer_learns():
    linear = RidgeFoldIn(4, 3)
    vectors, table = torch.randn(2, 4, 4), torch.randn(9, 4, requires_grad=True)
    linear(vectors, torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]]), table).square().sum().backward()
    for weight in (*linear.parameters(), table):
        assert weight.grad.isfinite().all()
        assert weight.grad.any()


def test_the_fold_in_has_the_same_gradient_each_time_whatever_its_threads():
    torch.manual_seed(0)
    linear, table = RidgeFoldIn(8, 9), torch.randn(300, 8)
    films, levels = torch.randint(0, 300, (32, 1500)), torch.randint(0, 10, (32, 1500))

    def gradients():
        linear.zero_grad()
        linear(functional.embedding(films, table), levels, table).square().sum().backward()
        return torch.cat([linear.log_confidence.grad, linear.pull.grad])

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = gradients()
        assert all(torch.equal(gradients(), first) for _ in range(10))
    finally:
        torch.set_num_threads(threads)

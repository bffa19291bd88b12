from math import exp, log

import pytest
import torch
from sklearn.metrics.pairwise import cosine_distances

from tastevec.model import losses
from tastevec.model.losses import cosine_loss, hidden_softmax_loss, next_softmax_loss

NONE = torch.zeros(0, dtype=torch.long)
# Three films in the plane, so that an answer (x, y) scores them x, y and 0.
FILMS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])


def random_case(answers=7, films=11):
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(answers, 4, generator=generator, requires_grad=True),
        torch.randn(films, 4, generator=generator, requires_grad=True),
        torch.randint(films, (answers,), generator=generator),
    )


def unread(answers, films=11):
    """Nothing was read before any of the answers."""
    return torch.full((answers, 1), films)


def gradients(loss, *tensors):
    return torch.autograd.grad(loss, tensors)


def test_the_next_film_costs_its_surprise_among_all_films():
    answers, targets = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 2])
    surprise = [log(exp(2) + 2) - 2, log(3)]
    loss = next_softmax_loss(answers, FILMS, targets, unread(2, films=3))
    torch.testing.assert_close(loss, torch.tensor(sum(surprise) / 2))


def test_a_film_that_was_read_before_an_answer_competes_with_its_target_no_more():
    answers, targets = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([1, 1])
    loss = next_softmax_loss(answers, FILMS, targets, torch.tensor([[0, 3], [3, 3]]))
    torch.testing.assert_close(loss, torch.tensor((log(2) + log(exp(2) + 2)) / 2))
    alone = next_softmax_loss(answers[:1], FILMS, targets[:1], torch.tensor([[0, 2]]))
    torch.testing.assert_close(alone, torch.tensor(0.0))


def test_nobody_learns_to_keep_away_from_what_he_has_read():
    answers, films, _ = random_case(answers=1)
    loss = next_softmax_loss(answers, films, torch.tensor([4]), torch.tensor([[5, 5, 11]]))
    (moved,) = gradients(loss, films)
    assert not moved[5].any()
    assert moved[[0, 1, 2, 3, 4, 6, 7, 8, 9, 10]].any(dim=1).all()


READ = torch.tensor(
    [[(answer + step) % 11 if step < answer else 11 for step in range(1, 5)] for answer in range(7)]
)


def test_in_blocks_the_next_loss_and_its_gradients_are_the_same(monkeypatch):
    answers, films, _ = random_case()
    targets = torch.arange(7)  # never among what was read
    whole = next_softmax_loss(answers, films, targets, READ)
    expected = gradients(whole, answers, films)
    monkeypatch.setattr(losses, "_BLOCK", 2 * len(films))  # two answers a block, and one in the last
    parts = next_softmax_loss(answers, films, targets, READ)
    torch.testing.assert_close(parts, whole)
    for found, wanted in zip(gradients(parts, answers, films), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_where_one_row_of_scores_is_more_than_a_block_the_answers_go_one_by_one(monkeypatch):
    answers, films, _ = random_case()
    whole = next_softmax_loss(answers, films, torch.arange(7), READ)
    monkeypatch.setattr(losses, "_BLOCK", 1)
    torch.testing.assert_close(next_softmax_loss(answers, films, torch.arange(7), READ), whole)


def test_hidden_films_compete_with_every_film_that_is_not_known():
    answers = torch.tensor([[2.0, 1.0]])
    known = torch.tensor([[0, 3]])  # film 0, and padding
    loss = hidden_softmax_loss(answers, FILMS, known, torch.tensor([0]), torch.tensor([1]))
    torch.testing.assert_close(loss, torch.tensor(log(exp(1) + 1) - 1))


def test_a_person_weighs_the_same_however_many_films_he_has_hidden_and_one_with_none_not_at_all():
    answers = torch.tensor([[2.0, 0.0], [0.0, 0.0], [9.0, 9.0]])
    people, targets = torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 2])
    loss = hidden_softmax_loss(answers, FILMS, torch.full((3, 1), 3), people, targets)
    torch.testing.assert_close(loss, torch.tensor((log(exp(2) + 2) - 2 + log(3)) / 2))


def test_a_person_with_nothing_hidden_moves_nothing():
    answers, films, _ = random_case(answers=2)
    loss = hidden_softmax_loss(answers, films, torch.full((2, 1), 11), torch.tensor([0]), torch.tensor([4]))
    (moved,) = gradients(loss, answers)
    assert moved[0].any()
    assert not moved[1].any()


def test_a_known_film_is_pushed_nowhere():
    answers, films, _ = random_case(answers=1)
    loss = hidden_softmax_loss(answers, films, torch.tensor([[5, 11]]), torch.tensor([0]), torch.tensor([4]))
    (moved,) = gradients(loss, films)
    assert not moved[5].any()
    assert moved[[0, 1, 2, 3, 4, 6, 7, 8, 9, 10]].any(dim=1).all()


def test_the_cosine_loss_is_the_notes_and_its_metric():
    answers, films, targets = random_case()
    people = torch.tensor([0, 0, 3, 6])
    loss = cosine_loss(answers, films, people, targets[people])
    wanted = torch.nn.CosineEmbeddingLoss()(answers[people], films[targets[people]], torch.ones(4))
    torch.testing.assert_close(loss, wanted)
    distances = cosine_distances(answers[people].detach().numpy(), films[targets[people]].detach().numpy())
    assert loss.item() == pytest.approx(distances.diagonal().mean(), abs=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        lambda answers, films: next_softmax_loss(answers[:0], films, NONE, unread(0)),
        lambda answers, films: hidden_softmax_loss(answers, films, torch.full((7, 1), 11), NONE, NONE),
        lambda answers, films: cosine_loss(answers, films, NONE, NONE),
    ],
    ids=["next", "hidden", "cosine"],
)
def test_people_who_liked_nothing_teach_nothing_and_break_nothing(loss):
    answers, films, _ = random_case()
    value = loss(answers, films)
    assert value == 0
    for moved in gradients(value, answers, films):
        assert not moved.any()

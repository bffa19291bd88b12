from math import exp, log

import pytest
import torch
from sklearn.metrics.pairwise import cosine_distances

from tastevec.model import losses
from tastevec.model.losses import cosine_loss, hidden_softmax_loss, next_softmax_loss

NONE = torch.zeros(0, dtype=torch.long)
# Three films in the plane, so that an answer (x, y) scores them x, y and 0.
ITEMS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])


def random_case(answers=7, items=11):
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(answers, 4, generator=generator, requires_grad=True),
        torch.randn(items, 4, generator=generator, requires_grad=True),
        torch.randint(items, (answers,), generator=generator),
    )


def unread(answers, items=11):
    """Nothing was read before any of the answers."""
    return torch.full((answers, 1), items)


def gradients(loss, *tensors):
    return torch.autograd.grad(loss, tensors)


def test_the_next_film_costs_its_surprise_among_all_films():
    answers, targets = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 2])
    surprise = [log(exp(2) + 2) - 2, log(3)]
    loss = next_softmax_loss(answers, ITEMS, targets, unread(2, items=3))
    torch.testing.assert_close(loss, torch.tensor(sum(surprise) / 2))


def test_a_film_that_was_read_before_an_answer_competes_with_its_target_no_more():
    answers, targets = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([1, 1])
    loss = next_softmax_loss(answers, ITEMS, targets, torch.tensor([[0, 3], [3, 3]]))
    torch.testing.assert_close(loss, torch.tensor((log(2) + log(exp(2) + 2)) / 2))
    alone = next_softmax_loss(answers[:1], ITEMS, targets[:1], torch.tensor([[0, 2]]))
    torch.testing.assert_close(alone, torch.tensor(0.0))


def test_nobody_learns_to_keep_away_from_what_he_has_read():
    answers, items, _ = random_case(answers=1)
    loss = next_softmax_loss(answers, items, torch.tensor([4]), torch.tensor([[5, 5, 11]]))
    (moved,) = gradients(loss, items)
    assert not moved[5].any()
    assert moved[[0, 1, 2, 3, 4, 6, 7, 8, 9, 10]].any(dim=1).all()


READ = torch.tensor(
    [[(answer + step) % 11 if step < answer else 11 for step in range(1, 5)] for answer in range(7)]
)


def test_in_blocks_the_next_loss_and_its_gradients_are_the_same(monkeypatch):
    answers, items, _ = random_case()
    targets = torch.arange(7)  # never among what was read
    whole = next_softmax_loss(answers, items, targets, READ)
    expected = gradients(whole, answers, items)
    monkeypatch.setattr(losses, "_BLOCK", 2 * len(items))  # two answers a block, and one in the last
    parts = next_softmax_loss(answers, items, targets, READ)
    torch.testing.assert_close(parts, whole)
    for found, wanted in zip(gradients(parts, answers, items), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_where_one_row_of_scores_is_more_than_a_block_the_answers_go_one_by_one(monkeypatch):
    answers, items, _ = random_case()
    whole = next_softmax_loss(answers, items, torch.arange(7), READ)
    monkeypatch.setattr(losses, "_BLOCK", 1)
    torch.testing.assert_close(next_softmax_loss(answers, items, torch.arange(7), READ), whole)


def test_hidden_films_compete_with_every_film_that_is_not_known():
    answers = torch.tensor([[2.0, 1.0]])
    known = torch.tensor([[0, 3]])  # film 0, and padding
    loss = hidden_softmax_loss(answers, ITEMS, known, torch.tensor([0]), torch.tensor([1]))
    torch.testing.assert_close(loss, torch.tensor(log(exp(1) + 1) - 1))


def test_a_person_weighs_the_same_however_many_films_he_has_hidden_and_one_with_none_not_at_all():
    answers = torch.tensor([[2.0, 0.0], [0.0, 0.0], [9.0, 9.0]])
    users, targets = torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 2])
    loss = hidden_softmax_loss(answers, ITEMS, torch.full((3, 1), 3), users, targets)
    torch.testing.assert_close(loss, torch.tensor((log(exp(2) + 2) - 2 + log(3)) / 2))


def test_a_person_with_nothing_hidden_moves_nothing():
    answers, items, _ = random_case(answers=2)
    loss = hidden_softmax_loss(answers, items, torch.full((2, 1), 11), torch.tensor([0]), torch.tensor([4]))
    (moved,) = gradients(loss, answers)
    assert moved[0].any()
    assert not moved[1].any()


def test_a_known_film_is_pushed_nowhere():
    answers, items, _ = random_case(answers=1)
    loss = hidden_softmax_loss(answers, items, torch.tensor([[5, 11]]), torch.tensor([0]), torch.tensor([4]))
    (moved,) = gradients(loss, items)
    assert not moved[5].any()
    assert moved[[0, 1, 2, 3, 4, 6, 7, 8, 9, 10]].any(dim=1).all()


def test_the_cosine_loss_is_the_notes_and_its_metric():
    answers, items, targets = random_case()
    users = torch.tensor([0, 0, 3, 6])
    loss = cosine_loss(answers, items, users, targets[users])
    wanted = torch.nn.CosineEmbeddingLoss()(answers[users], items[targets[users]], torch.ones(4))
    torch.testing.assert_close(loss, wanted)
    distances = cosine_distances(answers[users].detach().numpy(), items[targets[users]].detach().numpy())
    assert loss.item() == pytest.approx(distances.diagonal().mean(), abs=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        lambda answers, items: next_softmax_loss(answers[:0], items, NONE, unread(0)),
        lambda answers, items: hidden_softmax_loss(answers, items, torch.full((7, 1), 11), NONE, NONE),
        lambda answers, items: cosine_loss(answers, items, NONE, NONE),
    ],
    ids=["next", "hidden", "cosine"],
)
def test_people_who_liked_nothing_teach_nothing_and_break_nothing(loss):
    answers, items, _ = random_case()
    value = loss(answers, items)
    assert value == 0
    for moved in gradients(value, answers, items):
        assert not moved.any()

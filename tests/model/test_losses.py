"""The training losses against worked values, PyTorch and scikit-learn."""

from math import exp, log

import pytest
import torch
from sklearn.metrics.pairwise import cosine_distances

from tastevec.model import losses
from tastevec.model.losses import cosine_loss, next_softmax_loss

NONE = torch.zeros(0, dtype=torch.long)
# Three items in the plane: a prediction (x, y) scores them x, y and 0.
ITEMS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])


def random_case(predictions=7, items=11):
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(predictions, 4, generator=generator, requires_grad=True),
        torch.randn(items, 4, generator=generator, requires_grad=True),
        torch.randint(items, (predictions,), generator=generator),
    )


def nothing_read(predictions, items=11):
    return torch.full((predictions, 1), items)


def gradients(loss, *tensors):
    return torch.autograd.grad(loss, tensors)


def test_next_softmax_loss_is_mean_cross_entropy_over_all_items():
    predictions, targets = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 2])
    expected = [log(exp(2) + 2) - 2, log(3)]
    loss = next_softmax_loss(predictions, ITEMS, targets, nothing_read(2, items=3))
    torch.testing.assert_close(loss, torch.tensor(sum(expected) / 2))


def test_next_softmax_loss_excludes_read_items():
    predictions, targets = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([1, 1])
    loss = next_softmax_loss(predictions, ITEMS, targets, torch.tensor([[0, 3], [3, 3]]))
    torch.testing.assert_close(loss, torch.tensor((log(2) + log(exp(2) + 2)) / 2))
    alone = next_softmax_loss(predictions[:1], ITEMS, targets[:1], torch.tensor([[0, 2]]))
    torch.testing.assert_close(alone, torch.tensor(0.0))


def test_next_softmax_loss_has_no_gradient_for_read_items():
    predictions, items, _ = random_case(predictions=1)
    loss = next_softmax_loss(predictions, items, torch.tensor([4]), torch.tensor([[5, 5, 11]]))
    (gradient,) = gradients(loss, items)
    assert not gradient[5].any()
    assert gradient[[0, 1, 2, 3, 4, 6, 7, 8, 9, 10]].any(dim=1).all()


READ = torch.tensor([[(row + step) % 11 if step < row else 11 for step in range(1, 5)] for row in range(7)])


@pytest.mark.parametrize("rows", [2, 1 / 11])
def test_next_softmax_loss_in_blocks_has_the_same_value_and_gradients(monkeypatch, rows):
    """Two predictions a block, and one in the last; and a block smaller than one row of scores."""
    predictions, items, _ = random_case()
    targets = torch.arange(7)  # never among the read items
    loss = next_softmax_loss(predictions, items, targets, READ)
    expected = gradients(loss, predictions, items)
    monkeypatch.setattr(losses, "_BLOCK", int(rows * len(items)))
    in_blocks = next_softmax_loss(predictions, items, targets, READ)
    torch.testing.assert_close(in_blocks, loss)
    for found, gradient in zip(gradients(in_blocks, predictions, items), expected, strict=True):
        torch.testing.assert_close(found, gradient)


def test_cosine_loss_is_cosine_embedding_loss_and_mean_cosine_distance():
    predictions, items, targets = random_case()
    users = torch.tensor([0, 0, 3, 6])
    loss = cosine_loss(predictions, items, users, targets[users])
    expected = torch.nn.CosineEmbeddingLoss()(predictions[users], items[targets[users]], torch.ones(4))
    torch.testing.assert_close(loss, expected)
    distances = cosine_distances(predictions[users].detach().numpy(), items[targets[users]].detach().numpy())
    assert loss.item() == pytest.approx(distances.diagonal().mean(), abs=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        lambda predictions, items: next_softmax_loss(predictions[:0], items, NONE, nothing_read(0)),
        lambda predictions, items: cosine_loss(predictions, items, NONE, NONE),
    ],
    ids=["next", "cosine"],
)
def test_loss_without_targets_is_zero_with_zero_gradients(loss):
    predictions, items, _ = random_case()
    value = loss(predictions, items)
    assert value == 0
    for gradient in gradients(value, predictions, items):
        assert not gradient.any()

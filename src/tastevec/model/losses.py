"""The training losses: softmax cross-entropy over the catalog, and the research note's cosine loss.

Dimensions: M predictions, N items, D dimensions, L history, B users, P targets.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 2**24  # scores in memory at once: 64 MB of float32, with logarithms and gradients three times that


def next_softmax_loss(predictions: Tensor, items: Tensor, targets: Tensor, read: Tensor) -> Tensor:
    """Return the mean cross-entropy of each prediction's target among all items except those read before it.

    Read items are excluded because recommendations exclude them: otherwise the model would spend capacity on avoiding what
    its user has seen.

    Args:
        predictions: (M, D).
        items: (N, D) the item embedding matrix.
        targets: (M,) int in [0, N - 1].
        read: (M, L) int in [0, N], the items before each position; N at padding.

    A bounded number of scores is in memory at once. Without predictions the loss is 0: a batch without positives changes
    nothing.
    """
    loss: Tensor = _NextSoftmax.apply(predictions, items, targets, read)
    return loss


def cosine_loss(predictions: Tensor, items: Tensor, users: Tensor, targets: Tensor) -> Tensor:
    """Return the research note's ``CosineEmbeddingLoss``: the mean of 1 - cosine; 0 without targets.

    Args:
        predictions: (B, D).
        items: (N, D) the item embedding matrix.
        users: (P,) int in [0, B - 1], the user of each target.
        targets: (P,) int in [0, N - 1].
    """
    same = torch.ones(len(users), device=predictions.device)
    total = functional.cosine_embedding_loss(predictions[users], items[targets], same, reduction="sum")
    return total / max(len(users), 1)  # the mean of no values would be NaN, and so would all weights after it


class _NextSoftmax(torch.autograd.Function):
    """`next_softmax_loss` and its gradients, one block of predictions at a time: no scores are stored or recomputed."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  torch's own
        predictions: Tensor,
        items: Tensor,
        targets: Tensor,
        read: Tensor,
    ) -> Tensor:
        """Return the loss; save its gradients."""
        weight = predictions.new_ones(()) / max(len(predictions), 1)
        total = predictions.new_zeros(())
        to_predictions = torch.zeros_like(predictions)  # (M, D)
        to_items = torch.zeros_like(items) if ctx.needs_input_grad[1] else None  # (N, D)
        height = max(_BLOCK // len(items), 1)
        for start in range(0, len(predictions), height):
            block = slice(start, start + height)
            scores = _exclude(predictions[block] @ items.T, read[block])  # (m, N)
            loss, gradient = _cross_entropy(scores, targets[block], weight)
            total += loss
            to_predictions[block] = gradient @ items
            if to_items is not None:
                to_items += gradient.T @ predictions[block]
            del scores, gradient  # before the next block allocates its own
        ctx.save_for_backward(to_predictions, to_items)
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  torch's own
        """Return the saved gradients times the upstream gradient."""
        to_predictions, to_items = ctx.saved_tensors
        return to_predictions * upstream[0], None if to_items is None else to_items * upstream[0], None, None


def _cross_entropy(scores: Tensor, targets: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted cross-entropy of ``scores`` (m, N), which are overwritten, and its gradient (m, N)."""
    logs = functional.log_softmax(scores, -1)  # (m, N)
    rows = torch.arange(len(targets), device=targets.device)
    loss = -(logs[rows, targets] * weight).sum()
    one_hot = scores.zero_().index_put_((rows, targets), -weight)
    return loss, torch._log_softmax_backward_data(one_hot, logs, -1, logs.dtype)  # noqa: SLF001  autograd's own


def _exclude(scores: Tensor, read: Tensor) -> Tensor:
    """Set ``scores`` (M, N) to the lowest float, in place, at the items of ``read`` (M, L), N at padding."""
    rows, positions = (read < scores.shape[1]).nonzero(as_tuple=True)
    scores[rows, read[rows, positions]] = torch.finfo(scores.dtype).min
    return scores

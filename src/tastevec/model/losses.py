"""The losses: how far an answer is from the films that the person liked.

Dimensions: M answers, N films of the catalogue, D numbers a vector, B people, P liked films of all people together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["cosine_loss", "hidden_softmax_loss", "next_softmax_loss"]

_BLOCK = 2**24  # scores held at once: 64 MB of float32, with their logarithms and gradients three times that


def next_softmax_loss(answers: Tensor, items: Tensor, targets: Tensor, read: Tensor) -> Tensor:
    """Mean cross-entropy of each answer's one target among all films that were not read before it.

    What was read is left out because it is left out when films are recommended: else an answer would spend itself on
    keeping away from what its person has seen.

    Args:
        answers: (M, D).
        items: (N, D) the film table.
        targets: (M,) int in [0, N - 1].
        read: (M, L) int in [0, N], the films before each answer; N where there are no more.

    No more than a fixed number of scores is held at once. Without any answer the loss is 0: a batch of people who liked
    nothing teaches nothing.
    """
    rows = torch.arange(len(answers), device=answers.device)
    each = answers.new_ones(()) / max(len(answers), 1)
    return _surprise(answers, items, read, rows, targets, each.expand(len(answers)))


def hidden_softmax_loss(
    answers: Tensor, items: Tensor, known: Tensor, users: Tensor, targets: Tensor
) -> Tensor:
    """Cross-entropy of each person's hidden films among all films that he does not know, mean over people.

    Each person weighs the same, however many films he has hidden (after the multinomial likelihood of Liang et al.
    2018, section 2.2); people with none are left out. No more than a fixed number of scores is held at once.

    Args:
        answers: (B, D).
        items: (N, D) the film table.
        known: (B, L) int in [0, N], the films that were read, which compete no more; N where padded.
        users: (P,) int in [0, B - 1], the owner of each hidden film.
        targets: (P,) int in [0, N - 1].
    """
    hidden = torch.bincount(users, minlength=len(answers))  # (B,)
    weights = 1 / (hidden[users] * (hidden > 0).sum()).to(answers.dtype)  # (P,)
    return _surprise(answers, items, known, users, targets, weights)


def cosine_loss(answers: Tensor, items: Tensor, users: Tensor, targets: Tensor) -> Tensor:
    """The note's ``CosineEmbeddingLoss``: mean of 1 - cosine between each answer and its target's vector; 0 without targets.

    Args:
        answers: (B, D).
        items: (N, D) the film table.
        users: (P,) int in [0, B - 1].
        targets: (P,) int in [0, N - 1].
    """
    same = torch.ones(len(users), device=answers.device)
    total = functional.cosine_embedding_loss(answers[users], items[targets], same, reduction="sum")
    return total / max(len(users), 1)  # the mean of nothing would be NaN, and so would every weight after it


def _surprise(
    answers: Tensor, items: Tensor, read: Tensor, rows: Tensor, targets: Tensor, weights: Tensor
) -> Tensor:
    """The weighted sum of how little each of the targets was expected by the answer in its row."""
    loss: Tensor = _Surprise.apply(answers, items, read, rows, targets, weights)
    return loss


class _Surprise(torch.autograd.Function):
    """`_surprise`, a block of answers at a time, and of each its gradients at once: nothing of a block is kept or computed again."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917  as `_surprise`
        ctx: Any,  # noqa: ANN401  torch's own
        answers: Tensor,
        items: Tensor,
        read: Tensor,
        rows: Tensor,
        targets: Tensor,
        weights: Tensor,
    ) -> Tensor:
        """The loss; keeps its gradients."""
        total = answers.new_zeros(())
        to_answers = torch.zeros_like(answers)  # (M, D)
        to_items = torch.zeros_like(items) if ctx.needs_input_grad[1] else None  # (N, D)
        height = max(_BLOCK // len(items), 1)
        for start in range(0, len(answers), height):
            block, own = slice(start, start + height), (rows >= start) & (rows < start + height)
            asked = rows[own] - start, targets[own]
            lost, pull = _of_block(_without(answers[block] @ items.T, read[block]), asked, weights[own])
            total += lost
            to_answers[block] = pull @ items
            if to_items is not None:
                to_items += pull.T @ answers[block]
            del pull  # before the next block's are made
        ctx.save_for_backward(to_answers, to_items)
        return total

    @staticmethod
    def backward(ctx: Any, *moved: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  torch's own
        """The kept gradients, times what the loss is multiplied by."""
        to_answers, to_items = ctx.saved_tensors
        return to_answers * moved[0], None if to_items is None else to_items * moved[0], *[None] * 4


def _of_block(scores: Tensor, asked: tuple[Tensor, Tensor], weights: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted surprise at the places ``asked`` of ``scores`` (m, N), which are overwritten, and its gradient (m, N)."""
    logs = functional.log_softmax(scores, -1)  # (m, N)
    lost = -(logs[asked] * weights).sum()
    wanted = scores.zero_().index_put_(asked, -weights, accumulate=True)
    return lost, torch._log_softmax_backward_data(wanted, logs, -1, logs.dtype)  # noqa: SLF001  autograd's own


def _without(scores: Tensor, read: Tensor) -> Tensor:
    """``scores`` (M, N), in their own place, with the lowest there is for the films of ``read`` (M, L), N where there are no more."""
    rows, places = (read < scores.shape[1]).nonzero(as_tuple=True)
    scores[rows, read[rows, places]] = torch.finfo(scores.dtype).min
    return scores

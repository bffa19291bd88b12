"""The losses: how far an answer is from the films that the person liked.

Dimensions: M answers, N films of the catalogue, D numbers a vector, B people, P liked films of all people together.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

__all__ = ["cosine_loss", "hidden_softmax_loss", "next_softmax_loss"]

_BLOCK = 2**26  # scores held at once: 256 MB of float32


def next_softmax_loss(answers: Tensor, items: Tensor, targets: Tensor, read: Tensor) -> Tensor:
    """Mean cross-entropy of each answer's one target among all films that were not read before it.

    What was read is left out because it is left out when films are recommended: else an answer would spend itself on
    keeping away from what its person has seen.

    Args:
        answers: (M, D).
        items: (N, D) the film table.
        targets: (M,) int in [0, N - 1].
        read: (M, L) int in [0, N], the films before each answer; N where there are no more.

    No more than a fixed number of scores is held at once; further blocks are computed again on the way back. Without
    any answer the loss is 0: a batch of people who liked nothing teaches nothing.
    """
    rows = max(_BLOCK // len(items), 1)
    if len(answers) <= rows:
        return _block_loss(answers, items, targets, read) / max(len(answers), 1)
    total = answers.new_zeros(())
    for part, wanted, before in zip(answers.split(rows), targets.split(rows), read.split(rows), strict=True):
        total = total + checkpoint(_block_loss, part, items, wanted, before, use_reentrant=False)
    return total / len(answers)


def hidden_softmax_loss(
    answers: Tensor, items: Tensor, known: Tensor, people: Tensor, targets: Tensor
) -> Tensor:
    """Cross-entropy of each person's hidden films among all films that he does not know, mean over people.

    Each person weighs the same, however many films he has hidden (after the multinomial likelihood of Liang et al.
    2018, section 2.2); people with none are left out.

    Args:
        answers: (B, D).
        items: (N, D) the film table.
        known: (B, L) int in [0, N], the films that were read, which compete no more; N where padded.
        people: (P,) int in [0, B - 1], the owner of each hidden film.
        targets: (P,) int in [0, N - 1].
    """
    scores = _without(answers @ items.T, known)  # (B, N)
    hidden = torch.bincount(people, minlength=len(answers))  # (B,)
    gained = functional.log_softmax(scores, -1)[people, targets] / hidden[people]  # (P,)
    return -gained.sum() / (hidden > 0).sum().clamp(min=1)


def cosine_loss(answers: Tensor, items: Tensor, people: Tensor, targets: Tensor) -> Tensor:
    """The note's ``CosineEmbeddingLoss``: mean of 1 - cosine between each answer and its target's vector; 0 without targets.

    Args:
        answers: (B, D).
        items: (N, D) the film table.
        people: (P,) int in [0, B - 1].
        targets: (P,) int in [0, N - 1].
    """
    same = torch.ones(len(people), device=answers.device)
    total = functional.cosine_embedding_loss(answers[people], items[targets], same, reduction="sum")
    return total / max(len(people), 1)  # the mean of nothing would be NaN, and so would every weight after it


def _block_loss(answers: Tensor, items: Tensor, targets: Tensor, read: Tensor) -> Tensor:
    return functional.cross_entropy(_without(answers @ items.T, read), targets, reduction="sum")


def _without(scores: Tensor, read: Tensor) -> Tensor:
    """``scores`` (M, N) with the lowest there is for the films of ``read`` (M, L), N where there are no more."""
    taken = torch.zeros(len(scores), scores.shape[1] + 1, dtype=torch.bool, device=scores.device)
    return scores.masked_fill(taken.scatter(1, read, value=True)[:, :-1], torch.finfo(scores.dtype).min)

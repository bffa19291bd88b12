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


def next_softmax_loss(answers: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of each answer's one target among all films.

    Args:
        answers: (M, D).
        items: (N, D) the film table.
        targets: (M,) int in [0, N - 1].

    No more than a fixed number of scores is held at once; further blocks are computed again on the way back. Without
    any answer the loss is 0: a batch of people who liked nothing teaches nothing.
    """
    rows = max(_BLOCK // len(items), 1)
    if len(answers) <= rows:
        return _block_loss(answers, items, targets) / max(len(answers), 1)
    total = answers.new_zeros(())
    for part, wanted in zip(answers.split(rows), targets.split(rows), strict=True):
        total = total + checkpoint(_block_loss, part, items, wanted, use_reentrant=False)
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
    taken = torch.zeros(len(answers), len(items) + 1, dtype=torch.bool, device=answers.device).scatter(
        1, known, value=True
    )
    scores = (answers @ items.T).masked_fill(taken[:, :-1], torch.finfo(answers.dtype).min)  # (B, N)
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


def _block_loss(answers: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(answers @ items.T, targets, reduction="sum")

"""The linear answer: a person's vector as a ridge regression on his films.

Dimensions: B people, L films of a history, N films of the catalogue, D numbers a vector, R rating levels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RidgeFoldIn"]

_TYPICAL = 50  # films at which the ridge holds as it is given


class RidgeFoldIn(nn.Module):
    """Ridge regression of a person's vector on his films. Nothing of it learns: it was solved before the training.

    With V all films of the training, and for each film v of the person what it says of others w, and by its rating level
    how much it was seen s, a confidence c and a pull p, the answer is ``(V'V + sum c v v' + ridge I)^-1 (trust * sum s w +
    sum p v)``, and the fewer films there are the more of the mean person is added: iALS' step for one person (Hu, Koren &
    Volinsky 2008, equation 4) towards what an item regression expects instead of zeros.

    Args:
        item_count: N.
        dim: D.
        rating_levels: R; one level more stands for "only tagged".

    Attributes:
        pulls: (N, D) what each film says of others; zeros for one that came after the training.
        everyone: (D, D) V'V of the films of the training, so that later films move nobody.
        mean: (D,) the mean person.
        levels: (R + 1, 3) how much a rating level was seen, its confidence and its pull.
        constants: (4,) trust, the ridge at 50 films, the power of the number of films with which it grows, and the number
            of films at which the mean person weighs a quarter.
    """

    pulls: Tensor
    everyone: Tensor
    mean: Tensor
    levels: Tensor
    constants: Tensor

    def __init__(self, item_count: int, dim: int, rating_levels: int) -> None:
        super().__init__()
        self.register_buffer("pulls", torch.zeros(item_count, dim))
        self.register_buffer("everyone", torch.zeros(dim, dim))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("levels", torch.ones(rating_levels + 1, 3))
        self.register_buffer("constants", torch.tensor([1.0, 10.0, 0.0, 1.0]))

    def start_from(
        self, items: Tensor, pulls: Tensor, mean: Tensor, levels: Tensor, constants: Tensor
    ) -> None:
        """Take what was solved around the film table ``items`` (N, D)."""
        self.everyone.copy_(items.T @ items)
        for name, value in (("pulls", pulls), ("mean", mean), ("levels", levels), ("constants", constants)):
            getattr(self, name).copy_(value)

    def forward(
        self, vectors: Tensor, items: Tensor, levels: Tensor, lengths: Tensor, *, mean: bool = True
    ) -> Tensor:
        """(B, D) the people's vectors.

        Args:
            vectors: (B, L, D) their films' vectors, zeros where padded: those add nothing.
            items: (B, L) int in [0, N - 1], any of them where padded.
            levels: (B, L) int in [0, R].
            lengths: (B,) int in [0, L].
            mean: Whether the mean person is added.
        """
        trust, shrinkage, power, mean_films = self.constants
        steps = torch.arange(items.shape[1], device=lengths.device)
        there = (steps < lengths[:, None])[..., None]  # (B, L, 1)
        seen, confidence, pull = self.levels[levels].mul(there).split(1, -1)  # (B, L, 1) each
        expected = trust * (self.pulls[items] * seen).sum(1)  # (B, D)
        ridge = shrinkage * ((lengths + 1) / _TYPICAL) ** power  # (B,)
        systems = self.everyone + (vectors * confidence).transpose(1, 2) @ vectors  # (B, D, D)
        systems = systems + ridge[:, None, None] * torch.eye(vectors.shape[2], device=vectors.device)
        own: Tensor = torch.linalg.solve(systems, expected + (vectors * pull).sum(1))
        if mean:
            own = own + (mean_films / (mean_films + lengths))[:, None] ** 2 * self.mean
        return own

"""The linear answer: what a person's vector must be if ratings were dot products with film vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RidgeFoldIn"]

# Where the learned numbers start: implicit ALS as tuned on validation users. A film rated in the upper half, or only
# tagged, counts 2, a liked one 5, a low one as if not seen; 1 of each is in the sum over all films already.
_LIKED, _NEUTRAL, _LOW = 5.0, 2.0, 1.1
_LIKED_FROM, _NEUTRAL_FROM = 0.75, 0.5  # of the way from the lowest rating level to the highest
_RIDGE, _SHARPNESS = 20.0, 9.0


class RidgeFoldIn(nn.Module):
    """Ridge regression of a person's vector on his films, each rating level with a learned confidence and pull.

    With V all films, and for each film v of the person a confidence a and a pull b by its rating level, the answer is
    ``sharpness * (V'V + sum a v v' + ridge I)^-1 sum b v``: implicit ALS' step for one person (Hu, Koren & Volinsky
    2008, equation 4) with its constants learned. It is differentiable in the film vectors too.

    Args:
        dim: D, numbers in a vector.
        rating_levels: R; one level more stands for "only tagged".
    """

    def __init__(self, dim: int, rating_levels: int) -> None:
        super().__init__()
        self.dim = dim
        share = torch.arange(rating_levels + 1) / (rating_levels - 1)
        share[-1] = _NEUTRAL_FROM
        weight = torch.full_like(share, _LOW)
        weight[share >= _NEUTRAL_FROM] = _NEUTRAL
        weight[share >= _LIKED_FROM] = _LIKED
        self.log_confidence = nn.Parameter((weight - 1).log())
        self.pull = nn.Parameter(torch.where(weight > _LOW, weight, 0.0))
        self.log_ridge = nn.Parameter(torch.tensor(_RIDGE).log())
        self.log_sharpness = nn.Parameter(torch.tensor(_SHARPNESS).log())

    def forward(self, vectors: Tensor, levels: Tensor, items: Tensor) -> Tensor:
        """(B, D) the people's vectors.

        Args:
            vectors: (B, L, D) their films, zeros where padded: those add nothing.
            levels: (B, L) int in [0, R].
            items: (N, D) the film table.
        """
        weighted = vectors * _of_level(self.log_confidence.exp(), levels)  # (B, L, D)
        everyone = items.T @ items + self.log_ridge.exp() * torch.eye(self.dim, device=items.device)  # (D, D)
        pulled = (vectors * _of_level(self.pull, levels)).sum(1)  # (B, D)
        answer: Tensor = self.log_sharpness.exp() * torch.linalg.solve(
            everyone + weighted.transpose(1, 2) @ vectors, pulled
        )
        return answer


def _of_level(values: Tensor, levels: Tensor) -> Tensor:
    """(B, L, 1) each film's value by its level.

    By the embedding, not by indexing: the gradient of an index adds up in whatever order the threads come, so that two
    runs of the same seed would differ.
    """
    return functional.embedding(levels, values[:, None])

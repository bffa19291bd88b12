"""Rows of padded histories and of film tables: blanked, cut, left out, spread.

Dimensions: B people, L films of a history, D numbers a vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["blank", "newest_of", "spread", "without"]


def blank(vectors: Tensor, lengths: Tensor) -> Tensor:
    """``vectors`` (B, L, D) with zeros where padded."""
    steps = torch.arange(vectors.shape[1], device=lengths.device)
    return vectors * (steps < lengths[:, None])[..., None]


def newest_of(items: Tensor, levels: Tensor, lengths: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The newest ``count`` films of each history: ``items`` and ``levels`` (B, count), and how many there are (B,)."""
    steps = torch.arange(count, device=lengths.device)
    places = ((lengths - count).clamp(min=0)[:, None] + steps).clamp(max=items.shape[1] - 1)
    return items.gather(1, places), levels.gather(1, places), lengths.clamp(max=count)


def without(count: int, rows: list[int], device: torch.device) -> Tensor:
    """(count,) true but in these rows."""
    kept = torch.ones(count, dtype=torch.bool, device=device)
    kept[rows] = False
    return kept


def spread(rows: Tensor, places: Tensor) -> Tensor:
    """``rows`` in the places where ``places`` is true, in order, and zeros in the others."""
    grown = torch.zeros(len(places), rows.shape[1], dtype=rows.dtype, device=rows.device)
    grown[places] = rows
    return grown

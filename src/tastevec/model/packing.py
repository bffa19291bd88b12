"""Packing: runs of unlike lengths laid one behind another into rows, so that the blocks compute little padding.

Dimensions: B runs, L places of the longest, R rows, W places of a row, H numbers a place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Packing", "through_packed"]


@dataclass(frozen=True, eq=False)
class Packing:
    """Where the places of B runs lie in R rows.

    Attributes:
        runs: (B, L) the shape of what is packed.
        rows: (R, W) the shape in which it is packed.
        sources: (T,) the places that hold something, flat in (B, L).
        places: (T,) where they lie, flat in (R, W).
    """

    runs: tuple[int, int]
    rows: tuple[int, int]
    sources: Tensor
    places: Tensor

    @classmethod
    def of(cls, lengths: Tensor, width: int) -> Packing:
        """Of runs of these lengths (B,), from 1 to ``width``: the longest first, each into the first row that has room.

        A row is as long as the longest run, or one place more where fewer places are needed then: the two pieces of a run
        that was cut are together one place longer than it was, since each begins with a start.
        """
        told = lengths.tolist()
        longest = max(told, default=1)
        packed = min(
            (_first_fit(told, room) for room in (longest, longest + 1)), key=lambda it: it[2] * it[3]
        )
        row, start, height, room = packed
        steps = torch.arange(width, device=lengths.device)
        there = steps < lengths[:, None]  # (B, L)
        firsts = lengths.new_tensor([r * room + s for r, s in zip(row, start, strict=True)])
        return cls(
            (len(told), width),
            (height, room),
            there.flatten().nonzero()[:, 0],
            (firsts[:, None] + steps)[there],
        )

    def pack(self, states: Tensor) -> Tensor:
        """(R, W, H) of ``states`` (B, L, H); zeros where nothing lies."""
        return _moved(states, self.sources, self.places, self.rows)

    def unpack(self, states: Tensor) -> Tensor:
        """(B, L, H) of ``states`` (R, W, H); zeros where there was padding."""
        return _moved(states, self.places, self.sources, self.runs)

    def mask(self) -> Tensor:
        """(R, 1, W, W) true where a place may look: at its own run, and not ahead. What is padding sees padding."""
        owners = torch.full(self.rows, -1, device=self.places.device)
        owners.view(-1)[self.places] = self.sources // self.runs[1]
        same = owners[:, :, None] == owners[:, None, :]
        return same.tril()[:, None]


def through_packed(blocks: nn.Module, head: nn.Module, tokens: Tensor, lengths: Tensor) -> Tensor:
    """What causal ``blocks`` and ``head`` make of each place of ``tokens`` (B, L, H) up to ``lengths`` (B,); zeros behind."""
    packing = Packing.of(lengths, tokens.shape[1])
    states = blocks(packing.pack(tokens), packing.mask()).last_hidden_state  # (R, W, H)
    return packing.unpack(head(states))


def _first_fit(lengths: list[int], room: int) -> tuple[list[int], list[int], int, int]:
    """Each run's row and first place, the number of rows, and the room that each of them has."""
    row, start, filled = [0] * len(lengths), [0] * len(lengths), list[int]()
    for run in sorted(range(len(lengths)), key=lambda run: -lengths[run]):
        place = next(
            (place for place, taken in enumerate(filled) if taken + lengths[run] <= room), len(filled)
        )
        if place == len(filled):
            filled.append(0)
        row[run], start[run] = place, filled[place]
        filled[place] += lengths[run]
    return row, start, max(len(filled), 1), room


def _moved(states: Tensor, sources: Tensor, places: Tensor, shape: tuple[int, int]) -> Tensor:
    """``states`` (X, Y, H) in an empty (*shape, H), each of ``sources`` at its of ``places``."""
    empty = states.new_zeros(shape[0] * shape[1], states.shape[2])
    return empty.index_copy(0, places, states.flatten(0, 1)[sources]).view(*shape, -1)

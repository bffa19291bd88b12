"""The newest answer alone: what the blocks leave at one place of each history, and at no other.

Dimensions: B people, L positions, H hidden width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor
    from transformers.models.bert.modeling_bert import BertEncoder

__all__ = ["state_at"]


def state_at(
    blocks: BertEncoder, tokens: Tensor, places: Tensor, *, mask: Tensor | None, seen: Tensor | None
) -> Tensor:
    """(B, H) the state of each history at its place, as ``blocks(tokens, mask)`` gives it there.

    The last block asks for that place only, and reads of the others no more than their keys and values: of two blocks this
    leaves out two fifths of all that is computed.

    Args:
        blocks: One or more, not in training: nothing is dropped.
        tokens: (B, L, H) what they read.
        places: (B,) int in [0, L - 1].
        mask: As the blocks take it.
        seen: (B, 1, 1, L) true where the last block may look from that place; None: everywhere.
    """
    last: Any
    *first, last = blocks.layer
    for block in first:
        tokens = block(tokens, mask)
    asked = tokens[torch.arange(len(places), device=places.device), places][:, None]  # (B, 1, H)
    reader = last.attention.self
    query, key, value = (
        read(told)
        .unflatten(-1, (reader.num_attention_heads, -1))
        .transpose(1, 2)  # (B, heads, 1 or L, H / heads)
        for read, told in ((reader.query, asked), (reader.key, tokens), (reader.value, tokens))
    )
    found = functional.scaled_dot_product_attention(query, key, value, seen, scale=reader.scaling)
    attended = last.attention.output(found.transpose(1, 2).flatten(2), asked)  # (B, 1, H)
    state: Tensor = last.feed_forward_chunk(attended)[:, 0]
    return state

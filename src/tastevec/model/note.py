"""The research note's model: BERT over item vectors times normalized ratings, read by its pooler (preset ``bert-cosine``).

Dimensions: B users, L history (padding included), N items, D dimensions, H hidden size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers.models.bert.modeling_bert import BertPooler

from .config import NoteConfig
from .encoder import EncoderOutput, HistoryEncoder, state_at

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


class NoteEncoder(HistoryEncoder):
    """The research note's model, as the note describes it, to compare with.

    All positions attend to all others, padding included, which stays at zero; there are no position embeddings. Because of
    that the embedding depends on the padded length, which is always ``max_history``. One embedding serves both horizons.
    """

    config_class = NoteConfig
    inputs = ("items", "normalized_ratings", "lengths")

    def __init__(self, config: NoteConfig) -> None:
        super().__init__(config, causal=False)
        self.pooler = BertPooler(config.bert(causal=False))
        self.post_init()

    @torch.no_grad()
    def initialize(self, vectors: Tensor) -> None:
        """Set the item vectors (N, D), which do not learn."""
        self.items.weight.copy_(vectors)

    def forward(
        self,
        items: Tensor,
        normalized_ratings: Tensor,
        lengths: Tensor,
        *,
        inputs_embeds: Tensor | None = None,
    ) -> EncoderOutput:
        """Encode B histories, padded on the right.

        Args:
            items: (B, L) int in [0, N - 1]; any at padding.
            normalized_ratings: (B, L) float in [-1, 1], ratings on the scale of their user.
            lengths: (B,) int in [0, L], history lengths.
            inputs_embeds: (B, L, D) item vectors, by default rows of the item embedding matrix.
        """
        vectors = self._gather(items, lengths, inputs_embeds)
        states = self.blocks(self._tokens(vectors, normalized_ratings)).last_hidden_state  # (B, L, H)
        embedding = self.head(self.pooler(states))  # (B, D)
        return EncoderOutput(next=embedding)

    def last_state(self, vectors: Tensor, normalized_ratings: Tensor) -> Tensor:
        """Return the embedding (B, D) from item vectors (B, L, D), zeros at padding; ONNX exports this part.

        The pooler reads the first position alone, so that the last layer skips the others.
        """
        tokens = self._tokens(vectors, normalized_ratings)
        first = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
        state = state_at(self.blocks, tokens, first, seen=None)
        embedding: Tensor = self.head(self.pooler(state[:, None]))
        return embedding

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(N, D) the item vectors, of unit length: the cosine loss has no lengths."""
        lengths = np.linalg.norm(self.table, axis=1, keepdims=True)
        return np.asarray(self.table / np.where(lengths > 0, lengths, 1.0))

    def _tokens(self, vectors: Tensor, normalized_ratings: Tensor) -> Tensor:
        tokens: Tensor = self.input_projection(vectors * normalized_ratings[..., None])  # (B, L, H)
        return tokens

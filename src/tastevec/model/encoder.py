"""The encoder: a person's rated film vectors in, a vector in the films' own space out.

Dimensions: B people, L films of a history, N films of the catalogue, D numbers a vector, H hidden width, R rating levels.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertEncoder, BertPooler
from transformers.utils.generic import ModelOutput

from .config import TasteConfig
from .fold_in import RidgeFoldIn

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["TasteEncoder", "TasteOutput"]

_CALM = 0.4  # the answer's length at the start: at 1 the softmax is so sure that its first steps wreck the film table


@dataclass
class TasteOutput(ModelOutput):
    """What the encoder says of B people.

    Attributes:
        next: (B, D) the answer to "what comes next?".
        overall: (B, D) the answer to "what is the taste as a whole?".
        moments: (B, L + 1, D) the answer to *next* before the first film and after each one; row ``lengths[b]``
            is ``next[b]``. None where one vector answers both.
    """

    next: Tensor | None = None
    overall: Tensor | None = None
    moments: Tensor | None = None


class TasteEncoder(PreTrainedModel):
    """A transformer over film vectors; nothing about a person is stored in it.

    The film table ``items`` (N, D) is shared: its rows are gathered as input, and the answer lies in the same space.
    """

    config_class = TasteConfig
    base_model_prefix = "taste"
    _supports_sdpa = True

    def __init__(self, config: TasteConfig) -> None:
        super().__init__(config)
        self.items = nn.Embedding(config.item_count, config.dim)
        self.lift = nn.Linear(config.dim, config.hidden_size)
        self.blocks = BertEncoder(config.blocks())
        self.head = nn.Linear(config.hidden_size, config.dim)
        if config.rating_input == "embed":
            self.levels = nn.Embedding(config.rating_levels + 1, config.hidden_size)
        if config.positions == "from_end":
            self.positions = nn.Embedding(config.max_history, config.hidden_size)
        if config.readout == "pooler":
            self.pooler = BertPooler(config.blocks())
        else:
            self.start = nn.Embedding(1, config.hidden_size)  # what is said before the first film
            self.norm = nn.LayerNorm(config.hidden_size)
            self.dropout = nn.Dropout(config.dropout)
            self.fold_in = RidgeFoldIn(config.dim, config.rating_levels)
        self.post_init()

    @torch.no_grad()
    def start_from(self, vectors: Tensor) -> None:
        """Start the film table from ``vectors`` (N, D), and the input and the answer at the identity."""
        self.items.weight.copy_(vectors)
        if self.config.readout == "moments":
            nn.init.eye_(self.lift.weight)
            self.head.weight.copy_(_CALM * torch.eye(self.config.dim, self.config.hidden_size))

    def forward(  # noqa: PLR0913  a model's inputs are its batch's columns, as Hugging Face passes them
        self,
        items: Tensor,
        strengths: Tensor,
        levels: Tensor,
        lengths: Tensor,
        *,
        set_items: Tensor | None = None,
        set_levels: Tensor | None = None,
        set_lengths: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> TasteOutput:
        """Encode B histories in the order given, padded on the right.

        Args:
            items: (B, L) int in [0, N - 1], the films; any of them where padded.
            strengths: (B, L) float in [-1, 1], normalised ratings.
            levels: (B, L) int in [0, R], rating levels, R for "only tagged".
            lengths: (B,) int in [0, L], films of each person.
            set_items: (B, S) as ``items``: what the linear answer reads, if it is more than what is read in order.
            set_levels: (B, S) as ``levels``.
            set_lengths: (B,) as ``lengths``.
            inputs_embeds: (B, L, D) the films' vectors, gathered from the film table where not given.
        """
        vectors = self._gather(items, lengths) if inputs_embeds is None else _blank(inputs_embeds, lengths)
        tokens = self._inputs(vectors, strengths, levels, lengths)  # (B, L, H)
        length = tokens.shape[1]
        if self.config.readout == "pooler":
            states = self.blocks(tokens, self._mask(lengths, length)).last_hidden_state
            answer = self.head(self.pooler(states))  # (B, D)
            return TasteOutput(next=answer, overall=answer)
        tokens = self._with_start(tokens)  # (B, L + 1, H)
        states = self.blocks(tokens, self._mask(lengths + 1, length + 1)).last_hidden_state
        moments = self.head(states)  # (B, L + 1, D)
        if set_items is not None and set_levels is not None and set_lengths is not None:
            vectors, levels = self._gather(set_items, set_lengths), set_levels  # (B, S, D), (B, S)
        newest = moments[torch.arange(len(lengths), device=lengths.device), lengths]  # (B, D)
        overall = self.fold_in(vectors, levels, self._trained_items())  # (B, D)
        return TasteOutput(next=newest, overall=overall, moments=moments)

    @torch.inference_mode()
    def answer(self, horizon: str, **arrays: NDArray[np.generic]) -> NDArray[np.float32]:
        """(B, D) the people's vectors for a horizon, ``next`` or ``overall``, from the arguments of `forward` in NumPy."""
        self.eval()
        output = self(**{name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()})
        return np.asarray(getattr(output, horizon).float().cpu().numpy())

    @torch.no_grad()
    def with_items(self, table: NDArray[np.float32], added: list[int]) -> TasteEncoder:
        """The same encoder on a larger film table (N, D), of which the rows ``added`` came after the training."""
        grown = copy.deepcopy(self)
        grown.items = nn.Embedding.from_pretrained(torch.tensor(table, device=self.device), freeze=False)
        grown.config.item_count, grown.config.added_items = len(table), added
        return grown

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(N, D) the film table; of unit length where similarity is the cosine."""
        table = self.items.weight.detach().float().cpu().numpy()
        if self.config.similarity == "dot":
            return np.asarray(table)
        lengths = np.linalg.norm(table, axis=1, keepdims=True)
        return np.asarray(table / np.where(lengths > 0, lengths, 1.0))

    def _trained_items(self) -> Tensor:
        """(N, D) the films that everyone could have known: without those added later, which would move old answers."""
        table = self.items.weight
        if not self.config.added_items:
            return table
        trained = torch.ones(len(table), dtype=torch.bool, device=table.device)
        trained[self.config.added_items] = False
        return table[trained]

    def _gather(self, items: Tensor, lengths: Tensor) -> Tensor:
        return _blank(self.items(items), lengths)

    def _inputs(self, vectors: Tensor, strengths: Tensor, levels: Tensor, lengths: Tensor) -> Tensor:
        if self.config.rating_input == "multiply":
            tokens: Tensor = self.lift(vectors * strengths[..., None])  # (B, L, H)
        else:
            tokens = self.lift(vectors) + self.levels(levels)
        if self.config.positions == "from_end":
            steps = torch.arange(vectors.shape[1], device=lengths.device)
            tokens = tokens + self.positions((lengths[:, None] - 1 - steps).clamp(min=0))
        return tokens

    def _with_start(self, tokens: Tensor) -> Tensor:
        """Put the start in front of the films, so that there is an answer before the first of them."""
        start = self.start.weight[None].expand(len(tokens), 1, -1)
        marked: Tensor = self.dropout(self.norm(torch.cat([start, tokens], 1)))  # (B, L + 1, H)
        return marked

    def _mask(self, lengths: Tensor, length: int) -> Tensor | None:
        """(B, 1, 1, L) true where a position may be seen, or None.

        Causal blocks need no mask: padding stands on the right, after everything that could look at it.
        """
        if self.config.attention != "masked":
            return None
        return (torch.arange(length, device=lengths.device) < lengths[:, None])[:, None, None, :]


def _blank(vectors: Tensor, lengths: Tensor) -> Tensor:
    """``vectors`` (B, L, D) with zeros where padded."""
    steps = torch.arange(vectors.shape[1], device=lengths.device)
    return vectors * (steps < lengths[:, None])[..., None]

"""The encoder: a person's rated film vectors in, a vector in the films' own space out.

Dimensions: B people, L films of a history, N films of the catalogue, D numbers a vector, H hidden width, R rating levels.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertEncoder, BertPooler

from .config import TasteConfig
from .fold_in import RidgeFoldIn
from .newest import state_at
from .output import TasteOutput
from .packing import through_packed
from .rows import blank, newest_of, spread, without

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["TasteEncoder", "TasteOutput"]

_CALM = 0.4  # the answer's length at the start: at 1 the softmax is so sure that its first steps wreck the film table


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
        if config.item_input == "learned":
            self.inputs = nn.Embedding(config.item_count, config.hidden_size)
        if config.gap_levels:
            self.gaps = nn.Embedding(config.gap_levels, config.hidden_size)
        if config.readout == "pooler":
            self.pooler = BertPooler(config.blocks())
        else:
            self.start = nn.Embedding(1, config.hidden_size)  # what is said before the first film
            self.norm = nn.LayerNorm(config.hidden_size)
            self.dropout = nn.Dropout(config.dropout)
            self.fold_in = RidgeFoldIn(config.item_count, config.dim, config.rating_levels)
        self.post_init()

    @torch.no_grad()
    def start_from(self, vectors: Tensor, **linear: Tensor) -> None:
        """Take the film table ``vectors`` (N, D), which stays as it is; start the input and the answer at the identity.

        Args:
            vectors: The film table.
            linear: The linear answer, as `RidgeFoldIn.start_from` takes it, where there is one.
        """
        self.items.weight.copy_(vectors)
        if self.config.readout == "moments":
            if linear:
                self.fold_in.start_from(vectors, **linear)
            nn.init.eye_(self.lift.weight)
            self.head.weight.copy_(_CALM * torch.eye(self.config.dim, self.config.hidden_size))

    def forward(  # noqa: PLR0913  a model's inputs are its batch's columns, as Hugging Face passes them
        self,
        items: Tensor,
        strengths: Tensor,
        levels: Tensor,
        lengths: Tensor,
        gaps: Tensor | None = None,
        *,
        set_items: Tensor | None = None,
        set_levels: Tensor | None = None,
        set_lengths: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        linear: bool = True,
        packed: bool = False,
    ) -> TasteOutput:
        """Encode B histories in the order given, padded on the right.

        Args:
            items: (B, L) int in [0, N - 1], the films; any of them where padded.
            strengths: (B, L) float in [-1, 1], normalised ratings.
            levels: (B, L) int in [0, R], rating levels, R for "only tagged".
            lengths: (B,) int in [0, L], films of each person.
            gaps: (B, L) int in [0, G - 1], how long after the film before it each film was rated; unknown,
                which is the last level, where it is not given.
            set_items: (B, S) as ``items``: what the linear answer reads, if it is more than what is read in order.
            set_levels: (B, S) as ``levels``.
            set_lengths: (B,) as ``lengths``.
            inputs_embeds: (B, L, D) the films' vectors, gathered from the film table where not given.
            linear: Whether the linear answer is wanted, and its part in *next*; training does without.
            packed: Whether several histories share a row in causal blocks, so that less of it is padding; the answers are
                the same.
        """
        vectors = self._gather(items, lengths) if inputs_embeds is None else blank(inputs_embeds, lengths)
        learned = self._learned(items) if self.config.item_input == "learned" else None
        newest, moments = self.read(vectors, strengths, levels, lengths, gaps, learned, packed=packed)
        if moments is None:
            return TasteOutput(next=newest, overall=newest)
        if not linear:
            return TasteOutput(next=newest, moments=moments)
        if set_items is not None and set_levels is not None and set_lengths is not None:
            overall = self.linear_answer(set_items, set_levels, set_lengths)
        else:
            overall = self.fold_in(vectors, items, levels, lengths)  # (B, D)
        following = newest + self.config.next_overall * overall + self._recent(items, levels, lengths)
        return TasteOutput(next=following, overall=overall, moments=moments)

    def read(  # noqa: PLR0913  as `forward`
        self,
        vectors: Tensor,
        strengths: Tensor,
        levels: Tensor,
        lengths: Tensor,
        gaps: Tensor | None = None,
        learned: Tensor | None = None,
        *,
        packed: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """What the blocks say, without any table of films.

        Args:
            vectors: (B, L, D) the films' vectors, zeros where padded.
            strengths: As `forward` takes them, like the next three.
            levels: (B, L).
            lengths: (B,).
            gaps: (B, L), or None.
            learned: (B, L, H) what is learned of each film as input, where something is.
            packed: As `forward` takes it.

        Returns:
            (B, D) the newest answer, and (B, L + 1, D) those of all moments; None where there is one answer alone.
        """
        tokens = self._inputs(vectors, strengths, levels, lengths, gaps, learned)  # (B, L, H)
        length = tokens.shape[1]
        if self.config.readout == "pooler":
            states = self.blocks(tokens, self._mask(lengths, length)).last_hidden_state
            answer: Tensor = self.head(self.pooler(states))  # (B, D)
            return answer, None
        tokens = self._with_start(tokens)  # (B, L + 1, H)
        moments: Tensor  # (B, L + 1, D)
        if packed:
            moments = through_packed(self.blocks, self.head, tokens, lengths + 1)
        else:
            states = self.blocks(tokens, self._mask(lengths + 1, length + 1)).last_hidden_state
            moments = self.head(states)
        return moments[torch.arange(len(lengths), device=lengths.device), lengths], moments

    def newest(
        self,
        vectors: Tensor,
        strengths: Tensor,
        levels: Tensor,
        lengths: Tensor,
        gaps: Tensor | None = None,
        learned: Tensor | None = None,
    ) -> Tensor:
        """(B, D) the newest answer of `read`, without working out the others: this part is exported."""
        tokens = self._inputs(vectors, strengths, levels, lengths, gaps, learned)  # (B, L, H)
        if self.config.readout == "pooler":
            mask = self._mask(lengths, tokens.shape[1])
            state = state_at(self.blocks, tokens, torch.zeros_like(lengths), mask=mask, seen=mask)
            state = self.pooler(state[:, None])
        else:
            tokens = self._with_start(tokens)  # (B, L + 1, H)
            mask = self._mask(lengths + 1, tokens.shape[1])
            seen = (torch.arange(tokens.shape[1], device=lengths.device) <= lengths[:, None])[:, None, None]
            state = state_at(self.blocks, tokens, lengths, mask=mask, seen=seen)
        answer: Tensor = self.head(state)
        return answer

    def linear_answer(self, items: Tensor, levels: Tensor, lengths: Tensor) -> Tensor:
        """(B, D) the *overall* answer to these films, without asking the blocks; the arguments are those of `forward`."""
        answer: Tensor = self.fold_in(self._gather(items, lengths), items, levels, lengths)
        return answer

    @torch.inference_mode()
    def answer(self, horizon: str, **arrays: NDArray[np.generic]) -> NDArray[np.float32]:
        """(B, D) the people's vectors for a horizon, ``next`` or ``overall``, from the arguments of `forward` in NumPy."""
        self.eval()
        told = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
        if horizon == "overall" and self.config.readout == "moments" and "set_items" in told:
            answer = self.linear_answer(*(told[f"set_{name}"] for name in ("items", "levels", "lengths")))
        else:
            answer = self(**told)[horizon]
        return np.asarray(answer.float().cpu().numpy())

    @torch.no_grad()
    def with_items(self, table: NDArray[np.float32], added: list[int]) -> TasteEncoder:
        """The same encoder on a larger film table (N, D), of which the rows ``added`` came after the training.

        Nobody's vector moves. As input a film that was added is its vector, without anything learned of it.
        """
        grown = copy.deepcopy(self)
        grown.items = nn.Embedding.from_pretrained(torch.tensor(table, device=self.device))
        before = without(len(self.items.weight), self.config.added_items, self.device)
        after = without(len(table), added, self.device)  # the same films, where they stand now
        if self.config.item_input == "learned":
            learned = spread(self.inputs.weight[before], after)
            grown.inputs = nn.Embedding.from_pretrained(learned, freeze=False)
        if self.config.readout == "moments":
            grown.fold_in.pulls = spread(self.fold_in.pulls[before], after)
        grown.config.item_count, grown.config.added_items = len(table), added
        return grown

    @property
    def table(self) -> NDArray[np.float32]:
        """(N, D) the film table as it is."""
        return np.asarray(self.items.weight.detach().float().cpu().numpy())

    @property
    def added_items(self) -> list[int]:
        """Rows of the film table that came after the training."""
        return list(self.config.added_items)

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(N, D) the film table; of unit length where similarity is the cosine."""
        table = self.table
        if self.config.similarity == "dot":
            return table
        lengths = np.linalg.norm(table, axis=1, keepdims=True)
        return np.asarray(table / np.where(lengths > 0, lengths, 1.0))

    def _gather(self, items: Tensor, lengths: Tensor) -> Tensor:
        return blank(self.items(items), lengths)

    def _inputs(
        self,
        vectors: Tensor,
        strengths: Tensor,
        levels: Tensor,
        lengths: Tensor,
        gaps: Tensor | None,
        learned: Tensor | None,
    ) -> Tensor:
        if self.config.rating_input == "multiply":
            tokens: Tensor = self.lift(vectors * strengths[..., None])  # (B, L, H)
        else:
            tokens = self.lift(vectors) + self.levels(levels)
        if learned is not None:
            tokens = tokens + learned
        if self.config.gap_levels:
            unknown = levels.new_full(levels.shape, self.config.gap_levels - 1)
            tokens = tokens + self.gaps(unknown if gaps is None else gaps)
        if self.config.positions == "from_end":
            steps = torch.arange(vectors.shape[1], device=lengths.device)
            tokens = tokens + self.positions((lengths[:, None] - 1 - steps).clamp(min=0))
        return tokens

    def _recent(self, items: Tensor, levels: Tensor, lengths: Tensor) -> Tensor:
        """(B, D) what the newest few films add to the *next* answer, the more the fewer are known."""
        newest, ratings, there = newest_of(items, levels, lengths, self.config.recent)
        weight = self.config.next_recent + self.config.next_short / lengths.clamp(min=1)  # (B,)
        answer = self.fold_in(self._gather(newest, there), newest, ratings, there, mean=False)
        added: Tensor = weight[:, None] * answer
        return added

    def _learned(self, items: Tensor) -> Tensor:
        """(B, L, H) what is learned of each film as input; dropped for some in training, as if they had just come."""
        learned: Tensor = self.inputs(items)
        if self.training and self.config.input_dropout:
            kept = torch.rand(items.shape, device=items.device) >= self.config.input_dropout
            learned = learned * kept[..., None]
        return learned

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

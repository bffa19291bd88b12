"""The encoder: a causal transformer over rated item embeddings with a ridge fold-in.

Dimensions: B users, L history, N items, D dimensions, H hidden size, R rating bins, G time gap bins.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertEncoder
from transformers.utils.generic import ModelOutput

from .config import EncoderConfig, TasteConfig
from .geometry import Geometry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor


@dataclass
class EncoderOutput(ModelOutput):
    """The user embeddings of B histories.

    Attributes:
        next: (B, D) the *next* embedding, from the state at the last position.
        overall: (B, D) the *overall* embedding; None where the ridge fold-in is skipped.
        per_position: (B, L + 1, D) the per-position states: position k is the *next* embedding after the first k
            interactions. None for the research note's model.
    """

    next: Tensor | None = None
    overall: Tensor | None = None
    per_position: Tensor | None = None


class HistoryEncoder(PreTrainedModel):
    """The part that both models share: items, BERT layers between two projections, and inference in NumPy.

    The item embedding matrix ``items`` (N, D) is input and output: user embeddings are in the same space. Nothing about a
    user is stored in the weights. What is handed out are not the embeddings, but the vectors of `geometry`.
    """

    user_basis: torch.Tensor  # transformers reads annotations at run time
    item_basis: torch.Tensor
    base_model_prefix = "taste"
    _supports_sdpa = True
    inputs: ClassVar[tuple[str, ...]]  # arguments of `forward` among the arrays of a batch

    def __init__(self, config: EncoderConfig, *, causal: bool) -> None:
        super().__init__(config)
        self.items = nn.Embedding(config.n_items, config.dim)
        self.input_projection = nn.Linear(config.dim, config.hidden_size)
        self.blocks = BertEncoder(config.bert(causal=causal))
        self.head = nn.Linear(config.hidden_size, config.dim)
        for name in ("user_basis", "item_basis"):
            self.register_buffer(name, torch.zeros(config.dim, config.dim - 1))

    @property
    def geometry(self) -> Geometry:
        """The geometry of the vectors handed out, which `fold` sets after the training."""
        user_basis, item_basis = (basis.float().cpu().numpy() for basis in (self.user_basis, self.item_basis))
        return Geometry(user_basis, item_basis)

    @torch.no_grad()
    def fold(self, geometry: Geometry) -> None:
        """Set the geometry of the vectors handed out; no embedding changes."""
        self.user_basis.copy_(torch.from_numpy(geometry.user_basis))
        self.item_basis.copy_(torch.from_numpy(geometry.item_basis))

    @property
    def table(self) -> NDArray[np.float32]:
        """(N, D) the item embedding matrix as it is read."""
        return np.asarray(self.items.weight.detach().float().cpu().numpy())

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(N, D) the item vectors, whose inner product with a user vector is the score."""
        return self.geometry.of_items(self.table)

    def user_vectors(self, embeddings: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the user vectors (B, D), of unit length, of user embeddings (B, D), and the lengths (B,) that they had."""
        return self.geometry.of_users(embeddings.detach().float().cpu().numpy())

    @property
    def added_items(self) -> list[int]:
        """Rows of the item embedding matrix added after training."""
        return list(self.config.added_items)

    @torch.inference_mode()
    def encode(self, horizon: str, **arrays: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return the user embeddings (B, D) of a horizon, ``next`` or ``overall``, from the inputs of `forward` in NumPy."""
        self.eval()
        inputs = {
            name: torch.from_numpy(arrays[name]).to(self.device) for name in self.inputs if name in arrays
        }
        return np.asarray(self._embedding(horizon, inputs).float().cpu().numpy())

    @torch.no_grad()
    def with_items(self, table: NDArray[np.float32], added: list[int]) -> Self:
        """Return the encoder with the item embedding matrix ``table`` (N, D), whose rows ``added`` are new.

        No user embedding changes. A new item is read by its vector alone.
        """
        grown = copy.deepcopy(self)
        grown.items = nn.Embedding.from_pretrained(torch.tensor(table, device=self.device))
        grown.config.n_items, grown.config.added_items = len(table), added
        return grown

    def _embedding(self, horizon: str, inputs: Mapping[str, Tensor]) -> Tensor:
        embedding: Tensor = self(**inputs)[horizon]
        return embedding

    def _gather(self, items: Tensor, lengths: Tensor, inputs_embeds: Tensor | None = None) -> Tensor:
        """Return the vectors (B, L, D) of ``items`` (B, L), or else ``inputs_embeds``, with zeros at padding."""
        vectors: Tensor = self.items(items) if inputs_embeds is None else inputs_embeds
        steps = torch.arange(vectors.shape[1], device=lengths.device)
        return vectors * (steps < lengths[:, None])[..., None]


# Of the initial output: at 1 the softmax is so peaked that the first steps ruin the item vectors.
_INITIAL_NORM = 0.4


class TasteEncoder(HistoryEncoder):
    """The ``taste`` model: a causal transformer for *next*, a ridge fold-in for *overall*."""

    config_class = TasteConfig
    inputs = (
        *("items", "rating_bins", "lengths", "time_gap_bins"),
        *("overall_items", "overall_rating_bins", "overall_lengths"),
    )

    def __init__(self, config: TasteConfig) -> None:
        super().__init__(config, causal=True)
        self.rating_bins = nn.Embedding(config.rating_bins + 1, config.hidden_size)
        self.positions = nn.Embedding(config.max_history, config.hidden_size)
        self.item_inputs = nn.Embedding(config.n_items, config.hidden_size)
        if config.time_gap_bins:
            self.time_gap_bins = nn.Embedding(config.time_gap_bins, config.hidden_size)
        self.start = nn.Embedding(1, config.hidden_size)  # the token before the first item
        self.norm = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.fold_in = RidgeFoldIn(config.n_items, config.dim, config.rating_bins)
        self.post_init()

    @torch.no_grad()
    def initialize(self, vectors: Tensor, **solution: Tensor) -> None:
        """Set the item vectors (N, D) and the ridge fold-in, which do not learn; start the projections at the identity.

        ``solution`` is that of the ridge fold-in, as `RidgeFoldIn.initialize` takes it.
        """
        self.items.weight.copy_(vectors)
        if solution:
            self.fold_in.initialize(vectors, **solution)
        nn.init.eye_(self.input_projection.weight)
        self.head.weight.copy_(_INITIAL_NORM * torch.eye(self.config.dim, self.config.hidden_size))

    def forward(  # noqa: PLR0913  a model's inputs are its batch's columns, as Hugging Face passes them
        self,
        items: Tensor,
        rating_bins: Tensor,
        lengths: Tensor,
        time_gap_bins: Tensor | None = None,
        *,
        overall_items: Tensor | None = None,
        overall_rating_bins: Tensor | None = None,
        overall_lengths: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        fold_in: bool = True,
        packing: bool = False,
    ) -> EncoderOutput:
        """Encode B histories, oldest interaction first, padded on the right.

        Args:
            items: (B, L) int in [0, N - 1]; any at padding.
            rating_bins: (B, L) int in [0, R]; R for tag-only interactions.
            lengths: (B,) int in [0, L], history lengths.
            time_gap_bins: (B, L) int in [0, G - 1], time since the previous interaction; by default unknown, the last bin.
            overall_items: (B, S) as ``items``: the history that the fold-in reads, if longer than the ordered one.
            overall_rating_bins: (B, S) as ``rating_bins``.
            overall_lengths: (B,) as ``lengths``.
            inputs_embeds: (B, L, D) item vectors, by default rows of the item embedding matrix.
            fold_in: Whether to compute *overall* and its part in *next*; training skips both.
            packing: Whether histories share rows in the transformer, which reduces padding; the output is the same.
        """
        vectors = self._gather(items, lengths, inputs_embeds)
        tokens = self._tokens(vectors, rating_bins, lengths, self._item_inputs(items), time_gap_bins)
        if packing:
            states = self._packed(tokens, lengths + 1)
        else:
            states = self.head(self.blocks(tokens).last_hidden_state)  # (B, L + 1, D)
        last = states[torch.arange(len(lengths), device=lengths.device), lengths]  # (B, D)
        if not fold_in:
            return EncoderOutput(next=last, per_position=states)
        if overall_items is not None and overall_rating_bins is not None and overall_lengths is not None:
            overall = self.ridge_fold_in(overall_items, overall_rating_bins, overall_lengths)
        else:
            overall = self.fold_in(vectors, items, rating_bins, lengths)
        blended = last + self.config.blend_overall * overall + self._recent(items, rating_bins, lengths)
        return EncoderOutput(next=blended, overall=overall, per_position=states)

    def last_state(
        self,
        vectors: Tensor,
        rating_bins: Tensor,
        lengths: Tensor,
        item_inputs: Tensor,
        time_gap_bins: Tensor | None = None,
    ) -> Tensor:
        """Return the per-position state at the last position (B, D) and skip the others; ONNX exports this part.

        The arguments are those of `forward`, but ``vectors`` are (B, L, D) item vectors, zeros at padding, and ``item_inputs``
        are (B, L, H) rows of the learned input embedding.
        """
        tokens = self._tokens(vectors, rating_bins, lengths, item_inputs, time_gap_bins)  # (B, L + 1, H)
        seen = torch.arange(tokens.shape[1], device=lengths.device) <= lengths[:, None]
        state: Tensor = self.head(state_at(self.blocks, tokens, lengths, seen=seen[:, None, None]))
        return state

    def ridge_fold_in(self, items: Tensor, rating_bins: Tensor, lengths: Tensor) -> Tensor:
        """Return the *overall* embedding (B, D) without the transformer; the arguments are those of `forward`."""
        embedding: Tensor = self.fold_in(self._gather(items, lengths), items, rating_bins, lengths)
        return embedding

    @torch.no_grad()
    def with_items(self, table: NDArray[np.float32], added: list[int]) -> Self:
        """Return the encoder with the item embedding matrix ``table`` (N, D), whose rows ``added`` are new.

        No user embedding changes. The learned input and the prior of a new item are zeros.
        """
        grown = super().with_items(table, added)
        before, after = (
            _mask_without(count, rows, self.device)
            for count, rows in ((self.config.n_items, self.config.added_items), (len(table), added))
        )
        learned = _scatter_rows(self.item_inputs.weight[before], after)
        grown.item_inputs = nn.Embedding.from_pretrained(learned, freeze=False)
        grown.fold_in.item_prior = _scatter_rows(self.fold_in.item_prior[before], after)
        return grown

    def _embedding(self, horizon: str, inputs: Mapping[str, Tensor]) -> Tensor:
        if horizon == "overall" and "overall_items" in inputs:
            return self.ridge_fold_in(
                *(inputs[f"overall_{name}"] for name in ("items", "rating_bins", "lengths"))
            )
        return super()._embedding(horizon, inputs)

    def _item_inputs(self, items: Tensor) -> Tensor:
        """Return the learned input embeddings (B, L, H); in training some are dropped, as for new items."""
        learned: Tensor = self.item_inputs(items)
        if self.training and self.config.input_dropout:
            read = torch.rand(items.shape, device=items.device) >= self.config.input_dropout
            learned = learned * read[..., None]
        return learned

    def _tokens(
        self,
        vectors: Tensor,
        rating_bins: Tensor,
        lengths: Tensor,
        item_inputs: Tensor,
        time_gap_bins: Tensor | None,
    ) -> Tensor:
        """Return the input of the transformer (B, L + 1, H): the start token, then one token an interaction."""
        tokens = self.input_projection(vectors) + self.rating_bins(rating_bins) + item_inputs  # (B, L, H)
        if self.config.time_gap_bins:
            unknown = rating_bins.new_full(rating_bins.shape, self.config.time_gap_bins - 1)
            tokens = tokens + self.time_gap_bins(unknown if time_gap_bins is None else time_gap_bins)
        steps = torch.arange(vectors.shape[1], device=lengths.device)
        # Positions count from the end: the last interaction has position 0.
        tokens = tokens + self.positions((lengths[:, None] - 1 - steps).clamp(min=0))
        start = self.start.weight[None].expand(len(tokens), 1, -1)
        normed: Tensor = self.dropout(self.norm(torch.cat([start, tokens], 1)))
        return normed

    def _packed(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the states (B, L, D) of ``tokens`` (B, L, H) up to ``lengths`` (B,), computed in shared rows; zeros behind."""
        packing = Packing.of(lengths, tokens.shape[1])
        states = self.blocks(packing.pack(tokens), packing.mask()).last_hidden_state  # (R, W, H)
        return packing.unpack(self.head(states))

    def _recent(self, items: Tensor, rating_bins: Tensor, lengths: Tensor) -> Tensor:
        """Return the part (B, D) of the most recent items in *next*: the shorter the history, the more."""
        recent, bins, count = last_items(items, rating_bins, lengths, self.config.n_recent)
        weight = self.config.blend_recent + self.config.blend_short / lengths.clamp(min=1)  # (B,)
        part: Tensor = weight[:, None] * self.fold_in(
            self._gather(recent, count), recent, bins, count, mean=False
        )
        return part


_TYPICAL = 50  # history length at which the ridge is the constant itself


class RidgeFoldIn(nn.Module):
    """Ridge fold-in: the closed-form vector of a history. It does not learn; it is solved before training.

    With V the item vectors, and for each item v of the history its prior w and, by rating bin, a prior weight s, a
    confidence c and a target weight p, the vector is ``(V'V + sum c v v' + ridge I)^-1 (trust * sum s w + sum p v)``, plus
    the prior mean, whose weight falls with the history length. This is the iALS step for one user (Hu, Koren & Volinsky
    2008, equation 4) towards the prediction of an item regression instead of zeros.

    Args:
        n_items: N.
        dim: D.
        rating_bins: R; one more bin is for tag-only interactions.

    Attributes:
        item_prior: (N, D) what each item predicts of the others; zeros for an item added after training.
        gram: (D, D) V'V of the items in training, so that new items change no user embedding.
        prior_mean: (D,) the mean training-user vector.
        rating_weights: (R + 1, 3) prior weight, confidence and target weight of each rating bin.
        constants: (4,) trust, the ridge at 50 items, the power of the history length with which it grows, and the history
            length at which the prior mean has a weight of one quarter.
    """

    item_prior: Tensor
    gram: Tensor
    prior_mean: Tensor
    rating_weights: Tensor
    constants: Tensor

    def __init__(self, n_items: int, dim: int, rating_bins: int) -> None:
        super().__init__()
        self.register_buffer("item_prior", torch.zeros(n_items, dim))
        self.register_buffer("gram", torch.zeros(dim, dim))
        self.register_buffer("prior_mean", torch.zeros(dim))
        self.register_buffer("rating_weights", torch.ones(rating_bins + 1, 3))
        self.register_buffer("constants", torch.tensor([1.0, 10.0, 0.0, 1.0]))

    def initialize(self, items: Tensor, **solution: Tensor) -> None:
        """Set the solution around the item vectors ``items`` (N, D): every attribute but ``gram``."""
        self.gram.copy_(items.T @ items)
        for name in ("item_prior", "prior_mean", "rating_weights", "constants"):
            getattr(self, name).copy_(solution[name])

    def forward(
        self, vectors: Tensor, items: Tensor, rating_bins: Tensor, lengths: Tensor, *, mean: bool = True
    ) -> Tensor:
        """Return the user vectors (B, D).

        Args:
            vectors: (B, L, D) the item vectors, zeros at padding: they add nothing.
            items: (B, L) int in [0, N - 1]; any at padding.
            rating_bins: (B, L) int in [0, R].
            lengths: (B,) int in [0, L].
            mean: Whether the prior mean is added.
        """
        trust, ridge_at_typical, power, mean_items = self.constants
        steps = torch.arange(items.shape[1], device=lengths.device)
        present = (steps < lengths[:, None])[..., None]  # (B, L, 1)
        prior, confidence, target = self.rating_weights[rating_bins].mul(present).split(1, -1)  # (B, L, 1)
        expected = trust * (self.item_prior[items] * prior).sum(1)  # (B, D)
        ridge = ridge_at_typical * ((lengths + 1) / _TYPICAL) ** power  # (B,)
        systems = self.gram + (vectors * confidence).transpose(1, 2) @ vectors  # (B, D, D)
        systems = systems + ridge[:, None, None] * torch.eye(vectors.shape[2], device=vectors.device)
        own: Tensor = torch.linalg.solve(systems, expected + (vectors * target).sum(1))
        if mean:
            own = own + (mean_items / (mean_items + lengths))[:, None] ** 2 * self.prior_mean
        return own


def last_items(
    items: Tensor, rating_bins: Tensor, lengths: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the last ``count`` items and rating bins of each history, (B, count) each, and how many it has (B,)."""
    steps = torch.arange(count, device=lengths.device)
    positions = ((lengths - count).clamp(min=0)[:, None] + steps).clamp(max=items.shape[1] - 1)
    return items.gather(1, positions), rating_bins.gather(1, positions), lengths.clamp(max=count)


def state_at(blocks: BertEncoder, tokens: Tensor, positions: Tensor, *, seen: Tensor | None) -> Tensor:
    """Return the hidden state (B, H) at one position of each history, as ``blocks(tokens)`` has it there.

    The last layer computes a query at that position only, and keys and values at all: of two layers this saves two fifths
    of the computation.

    Args:
        blocks: One or more BERT layers, in evaluation mode: nothing is dropped.
        tokens: (B, L, H) the input.
        positions: (B,) int in [0, L - 1].
        seen: (B, 1, 1, L) true where the last layer may attend from that position; None: everywhere.
    """
    last: Any
    *first, last = blocks.layer
    for block in first:
        tokens = block(tokens, None)
    at = tokens[torch.arange(len(positions), device=positions.device), positions][:, None]  # (B, 1, H)
    attention = last.attention.self
    query, key, value = (
        project(states)
        .unflatten(-1, (attention.num_attention_heads, -1))
        .transpose(1, 2)  # (B, heads, 1 or L, H / heads)
        for project, states in ((attention.query, at), (attention.key, tokens), (attention.value, tokens))
    )
    context = functional.scaled_dot_product_attention(query, key, value, seen, scale=attention.scaling)
    attended = last.attention.output(context.transpose(1, 2).flatten(2), at)  # (B, 1, H)
    state: Tensor = last.feed_forward_chunk(attended)[:, 0]
    return state


@dataclass(frozen=True, eq=False)
class Packing:
    """Sequence packing: the positions of B sequences in R rows.

    Attributes:
        padded: (B, L) shape before packing.
        rows: (R, W) shape after packing.
        sources: (T,) positions that hold a token, flat in (B, L).
        targets: (T,) their positions after packing, flat in (R, W).
    """

    padded: tuple[int, int]
    rows: tuple[int, int]
    sources: Tensor
    targets: Tensor

    @classmethod
    def of(cls, lengths: Tensor, width: int) -> Packing:
        """Pack sequences of these lengths (B,), from 1 to ``width``: longest first, each into the first row with room.

        A row is as long as the longest sequence, or one position more where that needs fewer positions: the two halves of a
        split history are together one position longer than it was, since each begins with a start token.
        """
        counts = lengths.tolist()
        longest = max(counts, default=1)
        row, start, height, room = min(
            (_first_fit(counts, room) for room in (longest, longest + 1)), key=lambda it: it[2] * it[3]
        )
        steps = torch.arange(width, device=lengths.device)
        present = steps < lengths[:, None]  # (B, L)
        firsts = lengths.new_tensor([r * room + s for r, s in zip(row, start, strict=True)])
        return cls(
            (len(counts), width),
            (height, room),
            present.flatten().nonzero()[:, 0],
            (firsts[:, None] + steps)[present],
        )

    def pack(self, states: Tensor) -> Tensor:
        """Return ``states`` (B, L, H) as rows (R, W, H); zeros where a row is empty."""
        return _move(states, self.sources, self.targets, self.rows)

    def unpack(self, states: Tensor) -> Tensor:
        """Return rows (R, W, H) as (B, L, H); zeros at padding."""
        return _move(states, self.targets, self.sources, self.padded)

    def mask(self) -> Tensor:
        """Return the attention mask (R, 1, W, W): each position sees its own sequence up to itself; padding sees padding."""
        owners = torch.full(self.rows, -1, device=self.targets.device)
        owners.view(-1)[self.targets] = self.sources // self.padded[1]
        same = owners[:, :, None] == owners[:, None, :]
        return same.tril()[:, None]


def _first_fit(lengths: list[int], room: int) -> tuple[list[int], list[int], int, int]:
    """Return the row and the first position of each sequence, the number of rows, and the length of each of them."""
    row, start, filled = [0] * len(lengths), [0] * len(lengths), list[int]()
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        first = next((r for r, taken in enumerate(filled) if taken + lengths[index] <= room), len(filled))
        if first == len(filled):
            filled.append(0)
        row[index], start[index] = first, filled[first]
        filled[first] += lengths[index]
    return row, start, max(len(filled), 1), room


def _move(states: Tensor, sources: Tensor, targets: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return zeros (*shape, H) with the ``sources`` of ``states`` (X, Y, H) at the ``targets``."""
    empty = states.new_zeros(shape[0] * shape[1], states.shape[2])
    return empty.index_copy(0, targets, states.flatten(0, 1)[sources]).view(*shape, -1)


def _mask_without(count: int, rows: list[int], device: torch.device) -> Tensor:
    """Return a mask (count,) that is false at these rows."""
    mask = torch.ones(count, dtype=torch.bool, device=device)
    mask[rows] = False
    return mask


def _scatter_rows(rows: Tensor, mask: Tensor) -> Tensor:
    """Return ``rows`` where ``mask`` is true, in order, and zeros elsewhere."""
    scattered = torch.zeros(len(mask), rows.shape[1], dtype=rows.dtype, device=rows.device)
    scattered[mask] = rows
    return scattered

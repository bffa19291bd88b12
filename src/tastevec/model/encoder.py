"""The encoder: a causal transformer over rated item embeddings, and the closed form that solves a user.

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

from .closed_form import DISLIKE_WEIGHT, ClosedForm
from .config import EncoderConfig, TasteConfig
from .geometry import Geometry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor


@dataclass
class EncoderOutput(ModelOutput):
    """The output of the network for B histories.

    Attributes:
        next: (B, D) the state at the last position; of the research note's model the user embedding.
        per_position: (B, L + 1, D) the per-position states: position k has read the first k interactions. None for the
            research note's model.
    """

    next: Tensor | None = None
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

    def user_vectors(
        self, embeddings: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the user vectors (B, D), of unit length, of user embeddings (B, D), and the lengths (B,) that they had."""
        return self.geometry.of_users(embeddings)

    @property
    def added_items(self) -> list[int]:
        """Rows of the item embedding matrix added after training."""
        return list(self.config.added_items)

    def encode(
        self,
        horizon: str,
        *,
        dislike_weight: float = DISLIKE_WEIGHT,  # noqa: ARG002  of preset taste
        **arrays: NDArray[np.generic],
    ) -> NDArray[np.float32]:
        """Return the user embeddings (B, D) of a horizon, ``next`` or ``overall``, from the inputs of `forward` in NumPy."""
        return self.states(horizon, **arrays)

    @torch.inference_mode()
    def states(self, _horizon: str, **arrays: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return the states at the last position (B, D), from the inputs of `forward` in NumPy; for *next* alone."""
        self.eval()
        inputs = {
            name: torch.from_numpy(arrays[name]).to(self.device) for name in self.inputs if name in arrays
        }
        return np.asarray(self(**inputs).next.float().cpu().numpy())

    @torch.no_grad()
    def with_items(self, table: NDArray[np.float32], added: list[int]) -> Self:
        """Return the encoder with the item embedding matrix ``table`` (N, D), whose rows ``added`` are new.

        No user embedding changes. A new item is read by its vector alone.
        """
        grown = copy.deepcopy(self)
        grown.items = nn.Embedding.from_pretrained(torch.tensor(table, device=self.device))
        grown.config.n_items, grown.config.added_items = len(table), added
        return grown

    def _gather(self, items: Tensor, lengths: Tensor, inputs_embeds: Tensor | None = None) -> Tensor:
        """Return the vectors (B, L, D) of ``items`` (B, L), or else ``inputs_embeds``, with zeros at padding."""
        vectors: Tensor = self.items(items) if inputs_embeds is None else inputs_embeds
        steps = torch.arange(vectors.shape[1], device=lengths.device)
        return vectors * (steps < lengths[:, None])[..., None]


# Of the initial output: at 1 the softmax is so peaked that the first steps ruin the item vectors.
_INITIAL_NORM = 0.4


class TasteEncoder(HistoryEncoder):
    """The ``taste`` model: a closed form for both horizons, and a causal transformer as one of its components for *next*."""

    config_class = TasteConfig
    inputs = ("items", "rating_bins", "lengths", "time_gap_bins")

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
        self.solution = nn.Module()
        self._reserve(config.solution)
        self._closed_form: ClosedForm | None = None
        self.post_init()

    def _reserve(self, shapes: Mapping[str, list[int]]) -> None:
        """Make room for the arrays of the closed form, by name."""
        for name, shape in shapes.items():
            whole = name.endswith(("_rows", "_targets"))
            empty = torch.zeros(shape, dtype=torch.int32 if whole else torch.float32)
            self.solution.register_buffer(name, empty)

    @property
    def closed_form(self) -> ClosedForm:
        """The closed form.

        Raises:
            ValueError: There is none, or its arrays do not fit each other.
        """
        if self._closed_form is None:
            arrays = {name: array.cpu().numpy() for name, array in self.solution.named_buffers()}
            config = self.config
            self._closed_form = ClosedForm.of(
                arrays, config.weights, self.table, config.added_items, config.rating_bins + 1
            )
        return self._closed_form

    @torch.no_grad()
    def solve(self, closed_form: ClosedForm) -> None:
        """Set the closed form, whose item vectors are those of the encoder."""
        arrays = closed_form.arrays()
        self.config.weights = {horizon: dict(weights) for horizon, weights in closed_form.weights.items()}
        self.config.solution = {name: list(array.shape) for name, array in arrays.items()}
        self.solution = nn.Module()
        self._reserve(self.config.solution)
        for name, array in arrays.items():
            self.solution.get_buffer(name).copy_(torch.from_numpy(array))
        self._closed_form = None

    @torch.no_grad()
    def initialize(self, vectors: Tensor) -> None:
        """Set the item vectors (N, D), which do not learn; start the projections at the identity."""
        self.items.weight.copy_(vectors)
        nn.init.eye_(self.input_projection.weight)
        self.head.weight.copy_(_INITIAL_NORM * torch.eye(self.config.dim, self.config.hidden_size))

    def encode(
        self, horizon: str, *, dislike_weight: float = DISLIKE_WEIGHT, **arrays: NDArray[np.generic]
    ) -> NDArray[np.float32]:
        """Return the user embeddings (B, D) of a horizon, ``next`` or ``overall``, from the arrays of `InputConfig.arrays`.

        With a higher ``dislike_weight``, up to 1, ratings below the middle of the scale push further away.
        """
        states = self.states(horizon, **arrays) if self.closed_form.reads_states(horizon) else None
        return self.closed_form.encode(horizon, arrays, states, dislike_weight)

    def forward(
        self,
        items: Tensor,
        rating_bins: Tensor,
        lengths: Tensor,
        time_gap_bins: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        packing: bool = False,
    ) -> EncoderOutput:
        """Encode B histories, oldest interaction first, padded on the right.

        Args:
            items: (B, L) int in [0, N - 1]; any at padding.
            rating_bins: (B, L) int in [0, R]; R for tag-only interactions.
            lengths: (B,) int in [0, L], history lengths.
            time_gap_bins: (B, L) int in [0, G - 1], time since the previous interaction; by default unknown, the last bin.
            inputs_embeds: (B, L, D) item vectors, by default rows of the item embedding matrix.
            packing: Whether histories share rows in the transformer, which reduces padding; the output is the same.
        """
        vectors = self._gather(items, lengths, inputs_embeds)
        tokens = self._tokens(vectors, rating_bins, lengths, self._item_inputs(items), time_gap_bins)
        if packing:
            states = self._packed(tokens, lengths + 1)
        else:
            states = self.head(self.blocks(tokens).last_hidden_state)  # (B, L + 1, D)
        last = states[torch.arange(len(lengths), device=lengths.device), lengths]  # (B, D)
        return EncoderOutput(next=last, per_position=states)

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

    @torch.no_grad()
    def with_items(self, table: NDArray[np.float32], added: list[int]) -> Self:
        """Return the encoder with the item embedding matrix ``table`` (N, D), whose rows ``added`` are new.

        No user embedding changes. The learned input of a new item is zeros.
        """
        grown = super().with_items(table, added)
        before, after = (
            _mask_without(count, rows, self.device)
            for count, rows in ((self.config.n_items, self.config.added_items), (len(table), added))
        )
        learned = _scatter_rows(self.item_inputs.weight[before], after)
        grown.item_inputs = nn.Embedding.from_pretrained(learned, freeze=False)
        grown._closed_form = None  # noqa: SLF001  its own
        return grown

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

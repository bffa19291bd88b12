"""The encoder: a causal transformer over rated item vectors with a ridge fold-in.

Dimensions: B people, L films of a history, N films of the catalogue, D numbers a vector, H hidden width, R rating levels.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertEncoder, BertPooler
from transformers.utils.generic import ModelOutput

from .config import TasteConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = [
    "Packing",
    "RidgeFoldIn",
    "TasteEncoder",
    "TasteOutput",
    "blank",
    "newest_of",
    "spread",
    "state_at",
    "through_packed",
    "without",
]


@dataclass
class TasteOutput(ModelOutput):
    """What the encoder says of B people.

    Attributes:
        next: (B, D) the answer to "what comes next?": the newest of the moments, and some of the linear answer.
        overall: (B, D) the answer to "what is the taste as a whole?"; None where it was not asked.
        moments: (B, L + 1, D) what the blocks say of what comes next before the first film and after each one. None where
            one vector answers both questions.
    """

    next: Tensor | None = None
    overall: Tensor | None = None
    moments: Tensor | None = None


def blank(vectors: Tensor, lengths: Tensor) -> Tensor:
    """``vectors`` (B, L, D) with zeros where padded."""
    steps = torch.arange(vectors.shape[1], device=lengths.device)
    return vectors * (steps < lengths[:, None])[..., None]


def newest_of(
    items: Tensor, rating_bins: Tensor, lengths: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The newest ``count`` films of each history: ``items`` and ``rating_bins`` (B, count), and how many there are (B,)."""
    steps = torch.arange(count, device=lengths.device)
    places = ((lengths - count).clamp(min=0)[:, None] + steps).clamp(max=items.shape[1] - 1)
    return items.gather(1, places), rating_bins.gather(1, places), lengths.clamp(max=count)


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


_TYPICAL = 50  # films at which the ridge holds as it is given


class RidgeFoldIn(nn.Module):
    """Ridge regression of a person's vector on his films. Nothing of it learns: it was solved before the training.

    With V all films of the training, and for each film v of the person what it says of others w, and by its rating level
    how much it was seen s, a confidence c and a pull p, the answer is ``(V'V + sum c v v' + ridge I)^-1 (trust * sum s w +
    sum p v)``, and the fewer films there are the more of the mean person is added: iALS' step for one person (Hu, Koren &
    Volinsky 2008, equation 4) towards what an item regression expects instead of zeros.

    Args:
        n_items: N.
        dim: D.
        rating_bins: R; one level more stands for "only tagged".

    Attributes:
        item_prior: (N, D) what each film says of others; zeros for one that came after the training.
        gram: (D, D) V'V of the films of the training, so that later films move nobody.
        prior_mean: (D,) the mean person.
        rating_weights: (R + 1, 3) how much a rating level was seen, its confidence and its pull.
        constants: (4,) trust, the ridge at 50 films, the power of the number of films with which it grows, and the number
            of films at which the mean person weighs a quarter.
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

    def initialize(
        self, items: Tensor, item_prior: Tensor, prior_mean: Tensor, rating_weights: Tensor, constants: Tensor
    ) -> None:
        """Take what was solved around the film table ``items`` (N, D)."""
        self.gram.copy_(items.T @ items)
        for name, value in (
            ("item_prior", item_prior),
            ("prior_mean", prior_mean),
            ("rating_weights", rating_weights),
            ("constants", constants),
        ):
            getattr(self, name).copy_(value)

    def forward(
        self, vectors: Tensor, items: Tensor, rating_bins: Tensor, lengths: Tensor, *, mean: bool = True
    ) -> Tensor:
        """(B, D) the people's vectors.

        Args:
            vectors: (B, L, D) their films' vectors, zeros where padded: those add nothing.
            items: (B, L) int in [0, N - 1], any of them where padded.
            rating_bins: (B, L) int in [0, R].
            lengths: (B,) int in [0, L].
            mean: Whether the mean person is added.
        """
        trust, shrinkage, power, mean_items = self.constants
        steps = torch.arange(items.shape[1], device=lengths.device)
        there = (steps < lengths[:, None])[..., None]  # (B, L, 1)
        seen, confidence, pull = self.rating_weights[rating_bins].mul(there).split(1, -1)  # (B, L, 1) each
        expected = trust * (self.item_prior[items] * seen).sum(1)  # (B, D)
        ridge = shrinkage * ((lengths + 1) / _TYPICAL) ** power  # (B,)
        systems = self.gram + (vectors * confidence).transpose(1, 2) @ vectors  # (B, D, D)
        systems = systems + ridge[:, None, None] * torch.eye(vectors.shape[2], device=vectors.device)
        own: Tensor = torch.linalg.solve(systems, expected + (vectors * pull).sum(1))
        if mean:
            own = own + (mean_items / (mean_items + lengths))[:, None] ** 2 * self.prior_mean
        return own


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
        self.items = nn.Embedding(config.n_items, config.dim)
        self.lift = nn.Linear(config.dim, config.hidden_size)
        self.blocks = BertEncoder(config.blocks())
        self.head = nn.Linear(config.hidden_size, config.dim)
        if config.rating_input == "embed":
            self.rating_bins = nn.Embedding(config.rating_bins + 1, config.hidden_size)
        if config.positions == "from_end":
            self.positions = nn.Embedding(config.max_history, config.hidden_size)
        if config.item_input == "learned":
            self.inputs = nn.Embedding(config.n_items, config.hidden_size)
        if config.time_gap_bins:
            self.time_gap_bins = nn.Embedding(config.time_gap_bins, config.hidden_size)
        if config.readout == "pooler":
            self.pooler = BertPooler(config.blocks())
        else:
            self.start = nn.Embedding(1, config.hidden_size)  # what is said before the first film
            self.norm = nn.LayerNorm(config.hidden_size)
            self.dropout = nn.Dropout(config.dropout)
            self.fold_in = RidgeFoldIn(config.n_items, config.dim, config.rating_bins)
        self.post_init()

    @torch.no_grad()
    def initialize(self, vectors: Tensor, **linear: Tensor) -> None:
        """Take the film table ``vectors`` (N, D), which stays as it is; start the input and the answer at the identity.

        Args:
            vectors: The film table.
            linear: The linear answer, as `RidgeFoldIn.start_from` takes it, where there is one.
        """
        self.items.weight.copy_(vectors)
        if self.config.readout == "moments":
            if linear:
                self.fold_in.initialize(vectors, **linear)
            nn.init.eye_(self.lift.weight)
            self.head.weight.copy_(_CALM * torch.eye(self.config.dim, self.config.hidden_size))

    def forward(  # noqa: PLR0913  a model's inputs are its batch's columns, as Hugging Face passes them
        self,
        items: Tensor,
        normalized_ratings: Tensor,
        rating_bins: Tensor,
        lengths: Tensor,
        time_gap_bins: Tensor | None = None,
        *,
        overall_items: Tensor | None = None,
        overall_rating_bins: Tensor | None = None,
        overall_lengths: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        linear: bool = True,
        packed: bool = False,
    ) -> TasteOutput:
        """Encode B histories in the order given, padded on the right.

        Args:
            items: (B, L) int in [0, N - 1], the films; any of them where padded.
            normalized_ratings: (B, L) float in [-1, 1], normalised ratings.
            rating_bins: (B, L) int in [0, R], rating levels, R for "only tagged".
            lengths: (B,) int in [0, L], films of each person.
            time_gap_bins: (B, L) int in [0, G - 1], how long after the film before it each film was rated; unknown,
                which is the last level, where it is not given.
            overall_items: (B, S) as ``items``: what the linear answer reads, if it is more than what is read in order.
            overall_rating_bins: (B, S) as ``rating_bins``.
            overall_lengths: (B,) as ``lengths``.
            inputs_embeds: (B, L, D) the films' vectors, gathered from the film table where not given.
            linear: Whether the linear answer is wanted, and its part in *next*; training does without.
            packed: Whether several histories share a row in causal blocks, so that less of it is padding; the answers are
                the same.
        """
        vectors = self._gather(items, lengths) if inputs_embeds is None else blank(inputs_embeds, lengths)
        learned = self._learned(items) if self.config.item_input == "learned" else None
        newest, moments = self.read(
            vectors, normalized_ratings, rating_bins, lengths, time_gap_bins, learned, packed=packed
        )
        if moments is None:
            return TasteOutput(next=newest, overall=newest)
        if not linear:
            return TasteOutput(next=newest, moments=moments)
        if overall_items is not None and overall_rating_bins is not None and overall_lengths is not None:
            overall = self.linear_answer(overall_items, overall_rating_bins, overall_lengths)
        else:
            overall = self.fold_in(vectors, items, rating_bins, lengths)  # (B, D)
        following = newest + self.config.blend_overall * overall + self._recent(items, rating_bins, lengths)
        return TasteOutput(next=following, overall=overall, moments=moments)

    def read(  # noqa: PLR0913  as `forward`
        self,
        vectors: Tensor,
        normalized_ratings: Tensor,
        rating_bins: Tensor,
        lengths: Tensor,
        time_gap_bins: Tensor | None = None,
        learned: Tensor | None = None,
        *,
        packed: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """What the blocks say, without any table of films.

        Args:
            vectors: (B, L, D) the films' vectors, zeros where padded.
            normalized_ratings: As `forward` takes them, like the next three.
            rating_bins: (B, L).
            lengths: (B,).
            time_gap_bins: (B, L), or None.
            learned: (B, L, H) what is learned of each film as input, where something is.
            packed: As `forward` takes it.

        Returns:
            (B, D) the newest answer, and (B, L + 1, D) those of all moments; None where there is one answer alone.
        """
        tokens = self._inputs(
            vectors, normalized_ratings, rating_bins, lengths, time_gap_bins, learned
        )  # (B, L, H)
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
        normalized_ratings: Tensor,
        rating_bins: Tensor,
        lengths: Tensor,
        time_gap_bins: Tensor | None = None,
        learned: Tensor | None = None,
    ) -> Tensor:
        """(B, D) the newest answer of `read`, without working out the others: this part is exported."""
        tokens = self._inputs(
            vectors, normalized_ratings, rating_bins, lengths, time_gap_bins, learned
        )  # (B, L, H)
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

    def linear_answer(self, items: Tensor, rating_bins: Tensor, lengths: Tensor) -> Tensor:
        """(B, D) the *overall* answer to these films, without asking the blocks; the arguments are those of `forward`."""
        answer: Tensor = self.fold_in(self._gather(items, lengths), items, rating_bins, lengths)
        return answer

    @torch.inference_mode()
    def encode(self, horizon: str, **arrays: NDArray[np.generic]) -> NDArray[np.float32]:
        """(B, D) the people's vectors for a horizon, ``next`` or ``overall``, from the arguments of `forward` in NumPy."""
        self.eval()
        told = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
        if horizon == "overall" and self.config.readout == "moments" and "overall_items" in told:
            answer = self.linear_answer(
                *(told[f"overall_{name}"] for name in ("items", "rating_bins", "lengths"))
            )
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
            grown.fold_in.item_prior = spread(self.fold_in.item_prior[before], after)
        grown.config.n_items, grown.config.added_items = len(table), added
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
        normalized_ratings: Tensor,
        rating_bins: Tensor,
        lengths: Tensor,
        time_gap_bins: Tensor | None,
        learned: Tensor | None,
    ) -> Tensor:
        if self.config.rating_input == "multiply":
            tokens: Tensor = self.lift(vectors * normalized_ratings[..., None])  # (B, L, H)
        else:
            tokens = self.lift(vectors) + self.rating_bins(rating_bins)
        if learned is not None:
            tokens = tokens + learned
        if self.config.time_gap_bins:
            unknown = rating_bins.new_full(rating_bins.shape, self.config.time_gap_bins - 1)
            tokens = tokens + self.time_gap_bins(unknown if time_gap_bins is None else time_gap_bins)
        if self.config.positions == "from_end":
            steps = torch.arange(vectors.shape[1], device=lengths.device)
            tokens = tokens + self.positions((lengths[:, None] - 1 - steps).clamp(min=0))
        return tokens

    def _recent(self, items: Tensor, rating_bins: Tensor, lengths: Tensor) -> Tensor:
        """(B, D) what the newest few films add to the *next* answer, the more the fewer are known."""
        newest, ratings, there = newest_of(items, rating_bins, lengths, self.config.recent)
        weight = self.config.blend_recent + self.config.blend_short / lengths.clamp(min=1)  # (B,)
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

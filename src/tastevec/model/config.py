"""The settings that fix the network's shape and travel with its weights."""

from __future__ import annotations

from typing import Any, Literal

from transformers import BertConfig, PretrainedConfig

__all__ = ["TasteConfig"]


class TasteConfig(PretrainedConfig):
    """Settings of a `TasteEncoder`.

    Args:
        n_items: N, films in the catalogue.
        dim: D, numbers in a film's and a person's vector.
        hidden_size: H, width of the transformer blocks.
        layers: Transformer blocks.
        heads: Attention heads; divides ``hidden_size``.
        intermediate_size: Width inside a block's feed-forward part.
        max_history: The newest so many films of a person are read; a pretrained backbone sets no limit, since its own
            positions are not used.
        dropout: Probability of dropping a hidden number while training.
        rating_bins: R, equal steps that the rating range is cut into; one level more stands for "only tagged".
        rating_input: ``embed``: a learned vector a rating level is added; ``multiply``: the note's, the film's
            vector is multiplied by the normalised rating.
        attention: ``causal``: a film sees only earlier ones; ``masked``: all films see each other; ``padded``:
            the note's, as ``masked`` but padding up to ``max_history`` is seen too.
        readout: ``moments``: the state behind each film answers *next*, a ridge fold-in *overall*; ``pooler``: the
            note's, BERT's pooler over the first position answers both.
        item_input: ``learned``: beside its row of the film table a film has a learned vector (H,) as input; ``table``: not.
        input_dropout: Probability that it is dropped for a film of a history while training, so that films without one
            are understood too.
        time_gap_bins: G, steps of the time between one film and the next that are told apart; 0: time is not read.
        blend_overall: How much of the *overall* answer is added to *next*, once training is over.
        blend_recent: How much is added of the linear answer to the newest ``recent`` films, without the mean person.
        blend_short: How much more of that, divided by the number of films that are known: of a few films the linear answer
            knows better what comes next than the blocks do.
        recent: Films.
        similarity: ``dot``: a film's score is its product with the answer; ``cosine``: their cosine, where the loss
            knows no lengths.
        positions: ``from_end``: the newest film has position 0; ``none``: the note's.
        activation: Of the feed-forward part, as Hugging Face names it.
        added_items: Rows of the film table that came after the training; nobody's answer is drawn by them unasked.
    """

    model_type = "tastevec"

    def __init__(  # noqa: PLR0913, PLR0917  Hugging Face rebuilds a configuration from its keywords
        self,
        n_items: int = 1,
        dim: int = 64,
        hidden_size: int = 64,
        layers: int = 2,
        heads: int = 4,
        intermediate_size: int = 256,
        max_history: int = 200,
        dropout: float = 0.1,
        rating_bins: int = 10,
        rating_input: Literal["embed", "multiply"] = "embed",
        attention: Literal["causal", "masked", "padded"] = "causal",
        readout: Literal["moments", "pooler"] = "moments",
        positions: Literal["from_end", "none"] = "from_end",
        item_input: Literal["table", "learned"] = "table",
        input_dropout: float = 0.0,
        time_gap_bins: int = 0,
        blend_overall: float = 0.0,
        blend_recent: float = 0.0,
        blend_short: float = 0.0,
        recent: int = 10,
        similarity: Literal["dot", "cosine"] = "dot",
        activation: str = "gelu",
        added_items: tuple[int, ...] | list[int] = (),
        **kwargs: Any,  # noqa: ANN401  Hugging Face's own fields
    ) -> None:
        self.n_items = n_items
        self.dim = dim
        self.hidden_size = hidden_size
        self.layers = layers
        self.heads = heads
        self.intermediate_size = intermediate_size
        self.max_history = max_history
        self.dropout = dropout
        self.rating_bins = rating_bins
        self.rating_input = rating_input
        self.attention = attention
        self.readout = readout
        self.positions = positions
        self.item_input = item_input
        self.input_dropout = input_dropout
        self.time_gap_bins = time_gap_bins
        self.blend_overall = blend_overall
        self.blend_recent = blend_recent
        self.blend_short = blend_short
        self.recent = recent
        self.similarity = similarity
        self.activation = activation
        self.added_items = list(added_items)
        super().__init__(**kwargs)

    def blocks(self) -> BertConfig:
        """The same shape in the words of Hugging Face's BERT, whose blocks are used."""
        blocks = BertConfig(
            vocab_size=1,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.intermediate_size,
            hidden_act=self.activation,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            is_decoder=self.attention == "causal",
        )
        blocks._attn_implementation = "sdpa"  # noqa: SLF001  Hugging Face's own name for it
        return blocks

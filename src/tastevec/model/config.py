"""The settings that fix the network's shape and travel with its weights."""

from __future__ import annotations

from typing import Any, Literal

from transformers import BertConfig, PretrainedConfig

__all__ = ["TasteConfig"]


class TasteConfig(PretrainedConfig):
    """Settings of a `TasteEncoder`.

    Args:
        item_count: N, films in the catalogue.
        dim: D, numbers in a film's and a person's vector.
        hidden_size: H, width of the transformer blocks.
        layers: Transformer blocks.
        heads: Attention heads; divides ``hidden_size``.
        intermediate_size: Width inside a block's feed-forward part.
        max_history: The newest so many films of a person are read; a pretrained backbone sets no limit, since its own
            positions are not used.
        dropout: Probability of dropping a hidden number while training.
        rating_levels: R, equal steps that the rating range is cut into; one level more stands for "only tagged".
        rating_input: ``embed``: a learned vector a rating level is added; ``multiply``: the note's, the film's
            vector is multiplied by the normalised rating.
        attention: ``causal``: a film sees only earlier ones; ``masked``: all films see each other; ``padded``:
            the note's, as ``masked`` but padding up to ``max_history`` is seen too.
        readout: ``moments``: the state behind each film answers *next*, a ridge fold-in *overall*; ``pooler``: the
            note's, BERT's pooler over the first position answers both.
        similarity: ``dot``: a film's score is its product with the answer; ``cosine``: their cosine, where the loss
            knows no lengths.
        positions: ``from_end``: the newest film has position 0; ``none``: the note's.
        activation: Of the feed-forward part, as Hugging Face names it.
        added_items: Rows of the film table that came after the training; nobody's answer is drawn by them unasked.
    """

    model_type = "tastevec"

    def __init__(  # noqa: PLR0913, PLR0917  Hugging Face rebuilds a configuration from its keywords
        self,
        item_count: int = 1,
        dim: int = 64,
        hidden_size: int = 64,
        layers: int = 2,
        heads: int = 4,
        intermediate_size: int = 256,
        max_history: int = 200,
        dropout: float = 0.1,
        rating_levels: int = 10,
        rating_input: Literal["embed", "multiply"] = "embed",
        attention: Literal["causal", "masked", "padded"] = "causal",
        readout: Literal["moments", "pooler"] = "moments",
        positions: Literal["from_end", "none"] = "from_end",
        similarity: Literal["dot", "cosine"] = "dot",
        activation: str = "gelu",
        added_items: tuple[int, ...] | list[int] = (),
        **kwargs: Any,  # noqa: ANN401  Hugging Face's own fields
    ) -> None:
        self.item_count = item_count
        self.dim = dim
        self.hidden_size = hidden_size
        self.layers = layers
        self.heads = heads
        self.intermediate_size = intermediate_size
        self.max_history = max_history
        self.dropout = dropout
        self.rating_levels = rating_levels
        self.rating_input = rating_input
        self.attention = attention
        self.readout = readout
        self.positions = positions
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

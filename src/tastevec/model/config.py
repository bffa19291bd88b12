"""Model configurations: the settings that fix the shape of an encoder and are saved with its weights."""

from __future__ import annotations

from typing import Any

from transformers import BertConfig, PretrainedConfig


class EncoderConfig(PretrainedConfig):
    """The part of the configuration that both encoders have.

    Args:
        n_items: N, items of the catalog.
        dim: D, dimension of item and user embeddings.
        hidden_size: H, width of the transformer.
        layers: Transformer layers.
        heads: Attention heads; divides ``hidden_size``.
        intermediate_size: Width inside a feed-forward layer.
        max_history: Interactions that the transformer reads.
        dropout: Dropout probability in training.
        activation: Activation of the feed-forward layers, as Hugging Face names it.
        added_items: Rows of the item embedding matrix added after training; not recommended by default.
    """

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
        self.activation = activation
        self.added_items = list(added_items)
        super().__init__(**kwargs)

    def bert(self, *, causal: bool) -> BertConfig:
        """Return the configuration of the BERT layers."""
        bert = BertConfig(
            vocab_size=1,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.intermediate_size,
            hidden_act=self.activation,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            is_decoder=causal,
        )
        bert._attn_implementation = "sdpa"  # noqa: SLF001  Hugging Face's own name for it
        return bert


class TasteConfig(EncoderConfig):
    """Configuration of a `TasteEncoder`.

    Args:
        rating_bins: R, equal steps of the rating scale; one more bin is for tag-only interactions.
        input_dropout: Probability that the learned input embedding of an item is dropped in training, so that the
            model also reads new items, which have none.
        time_gap_bins: G, bins of the time since the previous interaction; 0: times are not read.
        weights: By horizon, the weight of each component of the closed form.
        solution: Shape of each array of the closed form.
        kwargs: See `EncoderConfig`.
    """

    model_type = "tastevec"

    def __init__(
        self,
        rating_bins: int = 10,
        input_dropout: float = 0.0,
        time_gap_bins: int = 0,
        weights: dict[str, dict[str, float]] | None = None,
        solution: dict[str, list[int]] | None = None,
        **kwargs: Any,  # noqa: ANN401  as above
    ) -> None:
        self.rating_bins = rating_bins
        self.input_dropout = input_dropout
        self.time_gap_bins = time_gap_bins
        self.weights = weights or {}
        self.solution = solution or {}
        super().__init__(**kwargs)


class NoteConfig(EncoderConfig):
    """Configuration of a `NoteEncoder`, the research note's model."""

    model_type = "tastevec-bert-cosine"

    # Without this, transformers generates an __init__ that does not set the shared fields.
    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  as above
        super().__init__(**kwargs)

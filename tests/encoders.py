"""Encoders small enough for tests, with weights large enough that every input matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from tastevec.data.inputs import N_TIME_GAP_BINS, InputConfig, RatingScale
from tastevec.model.config import TasteConfig
from tastevec.model.encoder import TasteEncoder

if TYPE_CHECKING:
    from tastevec.data.histories import Histories
    from tastevec.model.encoder import TasteOutput

# On a busy machine, threads that share such small tensors wait for each other most of the time.
torch.set_num_threads(1)

SCALE = RatingScale.of((1.0, 5.0))

# Settings of a training run that takes a moment.
TINY = {
    "dim": 8,
    "hidden_size": 8,
    "heads": 2,
    "layers": 1,
    "max_history": 12,
    "batch_size": 4,
    "device": "cpu",
    "report_to": "none",
}
# The research note's recipe as small as that; the note's film vectors have 64 numbers.
TINY_SEED = {**TINY, "dim": 64, "backbone": "fresh", "epochs": 1}

# What the presets make of an encoder, and the note's with its padding masked.
TASTE = {
    "attention": "causal",
    "readout": "moments",
    "item_input": "learned",
    "time_gap_bins": N_TIME_GAP_BINS,
    "blend_overall": 0.5,
    "blend_recent": 0.5,
    "blend_short": 1.0,
}
NOTE = {"attention": "padded", "readout": "pooler", "rating_input": "multiply", "positions": "none"}
MASKED = {**NOTE, "attention": "masked"}
# Each of them with how it reads histories.
KINDS = pytest.mark.parametrize(
    ("shape", "layout"),
    [(TASTE, {"max_history_overall": 100}), (NOTE, {"pad": "full"}), (MASKED, {})],
    ids=["taste", "note", "masked"],
)


def encoder(*, items: int = 20, max_history: int = 12, **changes: Any) -> TasteEncoder:
    """An encoder of 8 numbers over 20 films, the same at each call, ready to answer."""
    config = TasteConfig(
        n_items=items,
        dim=8,
        hidden_size=16,
        layers=2,
        heads=2,
        intermediate_size=32,
        max_history=max_history,
        rating_bins=SCALE.n_bins,
        **changes,
    )
    made = TasteEncoder(config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
        if made.config.readout == "moments":
            made.fold_in.initialize(
                made.items.weight,
                item_prior=torch.randn(made.fold_in.item_prior.shape, generator=generator) * 0.3,
                prior_mean=torch.randn(made.fold_in.prior_mean.shape, generator=generator) * 0.3,
                rating_weights=torch.rand(made.fold_in.rating_weights.shape, generator=generator) + 0.2,
                constants=torch.tensor([0.7, 2.0, 0.5, 3.0]),
            )
    return made.eval()


def reading(*, max_history: int = 12, **changes: Any) -> InputConfig:
    """How such an encoder reads histories rated from 1 to 5."""
    return InputConfig(scale=SCALE, max_history=max_history, **changes)


def tensors(histories: Histories, **layout: Any) -> dict[str, torch.Tensor]:
    """The arguments of such an encoder."""
    return {name: torch.from_numpy(array) for name, array in reading(**layout).arrays(histories).items()}


def ask(model: TasteEncoder, histories: Histories, how: InputConfig) -> TasteOutput:
    """What the encoder says of these people."""
    with torch.no_grad():
        return model(**{name: torch.from_numpy(array) for name, array in how.arrays(histories).items()})

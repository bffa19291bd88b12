"""Encoders small enough for tests, with weights large enough that every input matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from tastevec.data.inputs import N_TIME_GAP_BINS, InputConfig
from tastevec.data.value_scale import ValueScale
from tastevec.model.config import NoteConfig, TasteConfig
from tastevec.model.encoder import TasteEncoder
from tastevec.model.note import NoteEncoder

if TYPE_CHECKING:
    from tastevec.data.histories import Histories
    from tastevec.model.encoder import EncoderOutput

# On a busy machine, threads that share such small tensors wait for each other most of the time.
torch.set_num_threads(1)

SCALE = ValueScale.explicit(1.0, 5.0)

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
# The preset bert-cosine as small as that; the note's item vectors have 64 dimensions.
TINY_NOTE = {**TINY, "dim": 64, "backbone": "none", "epochs": 1}

# Encoders as the presets make them, and the inputs that each of them reads.
TASTE = {
    "time_gap_bins": N_TIME_GAP_BINS,
    "blend_overall": 0.5,
    "blend_recent": 0.5,
    "blend_short": 1.0,
}
NOTE = {"preset": "bert-cosine"}
KINDS = pytest.mark.parametrize(
    ("shape", "layout"),
    [(TASTE, {"max_history_overall": 100}), (NOTE, {"pad": "full"})],
    ids=["taste", "note"],
)


def encoder(*, preset: str = "taste", items: int = 20, max_history: int = 12, **changes: Any) -> Any:
    """Return an encoder of 8 dimensions over 20 items, the same at each call, in evaluation mode."""
    shape = {"n_items": items, "dim": 8, "hidden_size": 16, "layers": 2, "heads": 2, "intermediate_size": 32}
    shape |= {"max_history": max_history, **changes}
    made: TasteEncoder | NoteEncoder
    if preset == "taste":
        config = TasteConfig(**shape, rating_bins=SCALE.n_bins)
        made = TasteEncoder(config)
    else:
        made = NoteEncoder(NoteConfig(**shape))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
        if isinstance(made, TasteEncoder):
            made.fold_in.initialize(
                made.items.weight,
                item_prior=torch.randn(made.fold_in.item_prior.shape, generator=generator) * 0.3,
                prior_mean=torch.randn(made.fold_in.prior_mean.shape, generator=generator) * 0.3,
                rating_weights=torch.rand(made.fold_in.rating_weights.shape, generator=generator) + 0.2,
                constants=torch.tensor([0.7, 2.0, 0.5, 3.0]),
            )
    return made.eval()


def reading(*, max_history: int = 12, **changes: Any) -> InputConfig:
    """Return the inputs that such an encoder reads of histories rated from 1 to 5."""
    return InputConfig(scale=SCALE, max_history=max_history, **changes)


def tensors(model: Any, histories: Histories, config: InputConfig) -> dict[str, torch.Tensor]:
    """Return the arguments of the encoder."""
    arrays = config.arrays(histories)
    return {name: torch.from_numpy(arrays[name]) for name in model.inputs if name in arrays}


def forward(model: Any, histories: Histories, config: InputConfig) -> EncoderOutput:
    """Return the output of the encoder for these histories."""
    with torch.no_grad():
        output: EncoderOutput = model(**tensors(model, histories, config))
        return output

"""Encoders small enough for tests, with weights large enough that every input matters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tastevec.data.inputs import N_TIME_GAP_BINS, InputConfig
from tastevec.data.value_scale import ValueScale
from tastevec.model.closed_form import ClosedForm, Factors, FadingPopularity, SparseRegression
from tastevec.model.config import NoteConfig, TasteConfig
from tastevec.model.encoder import TasteEncoder
from tastevec.model.note import NoteEncoder
from tastevec.serving.encoder import OnnxEncoder
from tastevec.serving.recommender import Recommender
from tastevec.training.teacher import push_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    "patience": 0,
    "tune": False,
    "item_vector_steps": 100,
    "transformer_weight": 2.0,
}
# The preset bert-cosine as small as that; the note's item vectors have 64 dimensions.
_NOT_OF_NOTE = {"tune", "item_vector_steps", "transformer_weight"}
TINY_NOTE = {name: value for name, value in TINY.items() if name not in _NOT_OF_NOTE} | {
    "dim": 64,
    "backbone": "none",
    "epochs": 1,
}

# Encoders as the presets make them, and the inputs that each of them reads.
TASTE = {"time_gap_bins": N_TIME_GAP_BINS}
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
            made.solve(closed_form(made.table))
    return made.eval()


def closed_form(table: NDArray[np.float32]) -> ClosedForm:
    """Return a closed form of these item vectors with every kind of component, in which the transformer has a weight."""
    rng, n = np.random.default_rng(7), len(table)
    levels = SCALE.n_bins + 1

    def numbers(*shape: int) -> NDArray[np.float32]:
        return rng.normal(size=shape).astype(np.float32)

    def regression(fading: NDArray[np.float32]) -> SparseRegression:
        targets = np.stack([rng.permutation(n)[:6] for _ in range(n)]).astype(np.int32)
        inputs = np.linspace(-0.5, 1, levels, dtype=np.float32)
        return SparseRegression(np.arange(n, dtype=np.int32), targets, numbers(n, 6), inputs, fading)

    components = {
        "whole": regression(np.zeros(0, np.float32)),
        "lagged": regression(0.5 ** np.arange(4, dtype=np.float32)),
        "factors": Factors(numbers(n, 4), *np.abs(numbers(2, levels)), np.ones(1, np.float32)),
        "popularity": FadingPopularity(numbers(n)),
    }
    weights = {
        "overall": {"whole": 1.0, "factors": 0.5, "popularity": 0.2},
        "next": {"lagged": 1.0, "whole": 0.5, "transformer": 1.5},
    }
    push = push_of(SCALE, 0.0)
    return ClosedForm(
        components,
        weights,
        numbers(n),
        np.array([1.0, 8.0], np.float32),
        np.array([0.01], np.float32),
        push,
        table,
    )


def embeddings(model: Any, histories: Histories, config: InputConfig) -> dict[str, NDArray[np.float32]]:
    """Return the user embeddings (B, D) by horizon."""
    arrays = config.arrays(histories)
    return {horizon: model.encode(horizon, **arrays) for horizon in ("next", "overall")}


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


def with_dislikes(model: Recommender) -> Recommender:
    """Return the model with dislikes, which are no rare ones in the tiny world, and with them in both horizons."""
    encoder = model.bundle.model
    assert isinstance(encoder, OnnxEncoder)
    config, weights, graph = encoder.parts
    overall = config["weights"]["overall"]
    config = {**config, "weights": {"overall": overall, "next": {"transformer": 2.0, **overall}}}
    weights = {**weights, "solution.push": push_of(model.bundle.reading.scale, 0.0)}
    return Recommender(replace(model.bundle, model=OnnxEncoder(config, weights, graph)))

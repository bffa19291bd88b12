"""ONNX export of the transformer, which serving runs without PyTorch."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn

from .encoder import TasteEncoder

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from .note import NoteEncoder


class _LastState(nn.Module):
    """The exported part: everything but the item matrices, which grow with new items, and the ridge fold-in."""

    def __init__(self, encoder: TasteEncoder | NoteEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the state at the last position (B, D)."""
        return self.encoder.last_state(**dict(zip(_example(self.encoder), inputs, strict=True)))


def _example(encoder: TasteEncoder | NoteEncoder) -> dict[str, Tensor]:
    """Return an example of each input by name, of a shape that no dimension of the network has."""
    config = encoder.config
    users = 3
    if not isinstance(encoder, TasteEncoder):
        length = config.max_history  # the only length that it reads
        return {
            "vectors": torch.zeros(users, length, config.dim),
            "normalized_ratings": torch.zeros(users, length),
        }
    length = min(7, config.max_history)
    bins = torch.zeros(users, length, dtype=torch.long)
    inputs = {
        "vectors": torch.zeros(users, length, config.dim),
        "rating_bins": bins,
        "lengths": torch.full((users,), length),
        "item_inputs": torch.zeros(users, length, config.hidden_size),
    }
    if config.time_gap_bins:
        inputs["time_gap_bins"] = bins.clone()  # one tensor under two names would become one input
    return inputs


def export_onnx(encoder: TasteEncoder | NoteEncoder, path: Path) -> None:
    """Write the transformer as an ONNX graph, whose output ``last_state`` is (B, D), for any B and L.

    The inputs are those of `TasteEncoder.last_state` or `NoteEncoder.last_state`; the latter reads one L alone.

    Raises:
        ImportError: onnx or onnxscript is not installed.
    """
    import onnx  # noqa: PLC0415  needed for the export alone
    import onnxscript  # noqa: F401, PLC0415  as above

    inputs, free = _example(encoder), torch.export.Dim.DYNAMIC
    any_length = isinstance(encoder, TasteEncoder) and encoder.config.max_history > 1
    shapes = {name: {0: free, 1: free} if any_length and name != "lengths" else {0: free} for name in inputs}
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)  # its warnings are about optional libraries
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _LastState(encoder).cpu().eval(),
                tuple(inputs.values()),
                path,
                dynamo=True,
                external_data=False,
                input_names=list(inputs),
                output_names=["last_state"],
                dynamic_shapes={"inputs": tuple(shapes.values())},
                verbose=False,
            )
    finally:
        log.setLevel(before)
    # torch writes where in the source code each node comes from, with the paths of this machine.
    model = onnx.load(path)
    for part in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        model.graph,
    ):
        part.ClearField("metadata_props")
    onnx.save(model, path)

"""The blocks as an ONNX graph, which answers without torch."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from .encoder import TasteEncoder

__all__ = ["export_onnx"]


class _Blocks(nn.Module):
    """Of an encoder all but its tables of films, which grow when films are added, and the linear answer, which is solved."""

    def __init__(self, encoder: TasteEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *told: Tensor) -> Tensor:
        """(B, D) the newest answer."""
        named = dict(zip(_inputs(self.encoder), told, strict=True))
        return self.encoder.newest(**named)


def _inputs(encoder: TasteEncoder) -> dict[str, Tensor]:
    """By name, an example of all that the blocks read, of a shape that no dimension of the network has."""
    config = encoder.config
    users, items = 3, min(7, config.max_history)
    if config.attention == "padded":
        items = config.max_history  # the only length that it is ever shown
    rows = torch.zeros(users, items, dtype=torch.long)
    told = {
        "vectors": torch.zeros(users, items, config.dim),
        "normalized_ratings": torch.zeros(users, items),
        "rating_bins": rows,
        "lengths": torch.full((users,), items),
    }
    if config.time_gap_bins:
        told["time_gap_bins"] = rows.clone()  # one tensor in two places would be taken for one input
    if config.item_input == "learned":
        told["learned"] = torch.zeros(users, items, config.hidden_size)
    return told


def export_onnx(encoder: TasteEncoder, path: Path) -> None:
    """Write the graph that answers as the encoder's blocks do.

    It takes ``vectors`` (B, L, D), ``normalized_ratings`` (B, L), ``rating_bins`` (B, L), ``lengths`` (B,), ``time_gap_bins`` (B, L) and ``learned``
    (B, L, H), those of them that this encoder reads, for any B and L, and gives ``newest`` (B, D).

    Raises:
        ImportError: onnx or onnxscript is not installed.
    """
    import onnx  # noqa: F401, PLC0415  only where something is exported
    import onnxscript  # noqa: F401, PLC0415  as above

    told, free = _inputs(encoder), torch.export.Dim.DYNAMIC
    any_length = encoder.config.attention != "padded" and encoder.config.max_history > 1
    shapes = {name: {0: free, 1: free} if any_length and name != "lengths" else {0: free} for name in told}
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)  # it warns of libraries that nobody needs here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _Blocks(encoder).cpu().eval(),
                tuple(told.values()),
                path,
                dynamo=True,
                external_data=False,
                input_names=list(told),
                output_names=["newest"],
                dynamic_shapes={"told": tuple(shapes.values())},
                verbose=False,
            )
    finally:
        log.setLevel(before)

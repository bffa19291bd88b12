"""Weights of bundles that earlier versions wrote, in the names and the form that today's network has.

Format 1 has had three linear answers. The first had a learned correction beside it, which no network of today can say: such a
bundle is refused. The second was learned too, and is the third with other numbers (`_solved`); the third is solved, and is
today's. What else is younger than the format (places for later films, the graph, tags, a map, code) may be lacking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

from tastevec.errors import FormatError
from tastevec.schema import WEIGHTS_FILE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["LEARNED", "form_of", "read_weights"]

LEARNED: Final = "learned linear answer"  # until decision 9
_SIGN: Final = "fold_in.log_sharpness"  # a weight that those bundles alone have


def form_of(folder: Path) -> str | None:
    """What the weights were when they were written, where that is not what they are today."""
    with safe_open(folder / WEIGHTS_FILE, "numpy") as file:
        return LEARNED if _SIGN in file.keys() else None  # noqa: SIM118  it is no mapping


def read_weights(folder: Path, names: Collection[str], added: Sequence[int]) -> dict[str, NDArray[Any]]:
    """The weights of a bundle as today's network has them.

    Args:
        folder: The bundle, whose files are known to be whole.
        names: Of all weights that the network has, as its configuration makes it.
        added: Rows of the film table that came after the training.

    Raises:
        FormatError: They are of a network that this version no longer has.
    """
    weights = load_file(folder / WEIGHTS_FILE)
    if _SIGN in weights and not any(name.startswith("correction.") for name in weights):
        weights = _solved(weights, added)
    if differing := sorted({*names} ^ weights.keys()):
        raise FormatError(
            f"{folder} holds a network of an earlier version, which this one no longer has (it differs in {', '.join(differing[:3])}); "
            "use it with the version that bundle.json names, or train again"
        )
    return weights


def _solved(weights: dict[str, NDArray[Any]], added: Sequence[int]) -> dict[str, NDArray[Any]]:
    """The learned linear answer in the terms of the solved one, number for number the same.

    It was ``sharpness * (V'V + sum a v v' + ridge I)^-1 sum b v``, with a confidence a and a pull b by rating level, of which
    today's is the general case: what films say of others is not trusted, the ridge does not grow with films, and there is no
    mean person. See `tastevec.model.encoder`.
    """
    old = {name: weights[name].astype(np.float64) for name in weights if name.startswith("fold_in.")}
    table = weights["items.weight"].astype(np.float64)
    trained = np.delete(table, list(added), axis=0)
    confidence, pull = np.exp(old["fold_in.log_confidence"]), np.exp(old[_SIGN]) * old["fold_in.pull"]
    solved = {
        "fold_in.pulls": np.zeros_like(table),
        "fold_in.everyone": trained.T @ trained,
        "fold_in.mean": np.zeros(table.shape[1]),
        "fold_in.levels": np.stack([np.zeros_like(pull), confidence, pull], axis=1),
        # Trust, the ridge, its power of the number of films, and films of the mean person, who is nobody.
        "fold_in.constants": np.array([0.0, np.exp(old["fold_in.log_ridge"]), 0.0, 1.0]),
    }
    kept = {name: array for name, array in weights.items() if name not in old}
    return kept | {name: array.astype(np.float32) for name, array in solved.items()}

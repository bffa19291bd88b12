"""Film features on disk: one safetensors file of their numbers and of what stands beside them, the words in its header."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from tastevec.items.features import ContentFeatures

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["load_features", "save_features"]

_WORDS = "words"  # the header's only entry: several would be written in any order, and the same data as other bytes
_GENOME = "genome"
_RARITIES, _MEANS = "rarities.", "genome_means"


def save_features(path: Path, features: ContentFeatures, **beside: NDArray[Any]) -> None:
    """Write the features and the arrays ``beside`` them to ``path``."""
    arrays = {f"{_RARITIES}{name}": values for name, values in features.rarities.items()}
    arrays |= {_MEANS: features.genome_means, **beside}
    words = {**features.words, _GENOME: features.genome_tags}
    contiguous = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    save_file(contiguous, path, {_WORDS: json.dumps(words, ensure_ascii=False)})


def load_features(path: Path) -> tuple[ContentFeatures, dict[str, NDArray[Any]]]:
    """The features of a file, and the arrays that were saved beside them."""
    with safe_open(path, "numpy") as file:
        words = {name: tuple(told) for name, told in json.loads(file.metadata()[_WORDS]).items()}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    genome_tags, means = words.pop(_GENOME), arrays.pop(_MEANS)
    rarities = {name: arrays.pop(f"{_RARITIES}{name}") for name in words}
    return ContentFeatures(words, rarities, genome_tags, means), arrays

"""Film features on disk: one safetensors file of their numbers and of what stands beside them, the words in its header."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

from tastevec.data.arrays import WORDS, fitted, read_arrays, read_words
from tastevec.data.files import Shape
from tastevec.items.features import ContentFeatures
from tastevec.schema import PREPARE_AGAIN

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["load_features", "save_features"]

_GENOME = "genome"
_RARITIES, _MEANS = "rarities.", "genome_means"


class _Words(Shape):
    tags: list[str]
    genres: list[str]
    title: list[str]
    genome: list[str]


def save_features(path: Path, features: ContentFeatures, **beside: NDArray[Any]) -> None:
    """Write the features and the arrays ``beside`` them to ``path``."""
    arrays = {f"{_RARITIES}{name}": values for name, values in features.rarities.items()}
    arrays |= {_MEANS: features.genome_means, **beside}
    words = {**features.words, _GENOME: features.genome_tags}
    contiguous = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    save_file(contiguous, path, {WORDS: json.dumps(words, ensure_ascii=False)})


def load_features(
    path: Path, again: str = PREPARE_AGAIN, **beside: tuple[str | int, ...]
) -> tuple[ContentFeatures, dict[str, NDArray[Any]]]:
    """The features of a file, and the arrays that were saved beside them.

    Args:
        path: The file.
        again: What to do where it is damaged.
        **beside: The shapes of arrays that must be beside them, as `fitted` takes them; ``F`` is the features' width.

    Raises:
        FormatError: It is missing or damaged, or its arrays contradict each other or its words.
    """
    arrays, told = read_arrays(path, again)
    words = read_words(path, told, _Words, again)
    genome_tags = words.pop(_GENOME)
    shapes: dict[str, tuple[str | int, ...]] = {
        f"{_RARITIES}{name}": (len(vocabulary),) for name, vocabulary in words.items()
    }
    features = ContentFeatures(
        {name: tuple(vocabulary) for name, vocabulary in words.items()},
        {name: arrays.get(f"{_RARITIES}{name}", np.zeros(0)) for name in words},
        tuple(genome_tags),
        arrays.get(_MEANS, np.zeros(0)),
    )
    shapes[_MEANS] = (len(genome_tags),)
    own = set(shapes)
    fitted(path, arrays, shapes | beside, again, sizes={"F": features.width})
    return features, {name: arrays[name] for name in arrays.keys() - own}

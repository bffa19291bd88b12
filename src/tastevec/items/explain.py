"""A vector in words: the direction of each tag among the film vectors, how sure it is, and how to move along it.

Dimensions: B vectors, N films, D numbers a vector, T tags.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from safetensors.numpy import save_file

from tastevec.data.arrays import WORDS, fitted, read_arrays, read_words
from tastevec.errors import SettingsError
from tastevec.items.tag_regression import TagRegression, best_penalty
from tastevec.items.tag_table import same_word
from tastevec.schema import TRAIN_AGAIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.items.tag_table import TagBlock
    from tastevec.schema import Horizon

__all__ = ["Spread", "TagDirections"]

# Of ml-1m's tags on shuffled films none is read with a confidence above .07, and from .1 on 95 in 100 tags tell the hidden
# likes of validation people from those of others.
_LEAST_SURE: Final = 0.1
# Directions nearer than this say the same: "sci-fi" beside "scifi" .77, "future" .87, "space" .81; beside "action" .5.
_ALIKE: Final = 0.75
_SINGULAR = 1e-4  # of the largest: tags that cannot be moved apart
_SUGGESTED = 3


@dataclass(frozen=True, eq=False)
class Spread:
    """What the readings of many vectors are: their mean (T,) and standard deviation (T,), float32."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TagDirections:
    """T tags as directions among the film vectors.

    A vector is read along a direction and compared with other vectors of its kind: films with films, people with people
    of the same horizon. Readings are standard deviations from their average.

    Attributes:
        names: T, each another word.
        directions: (T, D) float32, along which the relevance of each tag grows by 1.
        confidence: (T,) float32 in [0, 1], how well the relevance of films left out can be read off their vectors: its
            correlation with what is read.
        spreads: What is compared with, by kind: ``films`` and, once measured, ``next`` and ``overall``.
    """

    names: tuple[str, ...]
    directions: NDArray[np.float32]
    confidence: NDArray[np.float32]
    spreads: Mapping[str, Spread]

    @classmethod
    def fit(
        cls, blocks: Sequence[TagBlock], vectors: NDArray[np.float32], people: NDArray[np.int64]
    ) -> TagDirections:
        """A ridge regression of relevances on film vectors, with one penalty for all tags, chosen on films left out.

        Tags with a confidence under 0.1 are left out, and of the spellings of one word all but the surest.

        Args:
            blocks: The tags and the films of which they are said, N films each.
            vectors: (N, D); a row of zeros is a film without one, and teaches nothing.
            people: (N,) training people behind each; n count n / (n + 10), and films of nobody teach nothing.
        """
        placed = (people > 0) & vectors.any(axis=1)
        fits = [fit for block in blocks if (fit := TagRegression.of(block, vectors, people)) is not None]
        penalty = best_penalty(fits)
        names = [name for fit in fits for name in fit.names]
        dim = vectors.shape[1]
        directions = np.concatenate([np.zeros((0, dim)), *(fit.directions(penalty) for fit in fits)])
        confidence = np.concatenate([np.zeros(0), *(fit.confidence(penalty) for fit in fits)])
        kept = _surest(names, confidence)
        made = cls(
            tuple(names[tag] for tag in kept),
            directions[kept].astype(np.float32),
            confidence[kept].astype(np.float32),
            {},
        )
        # A film counts as often as it was seen: else most films would be little known, and every known one far from them.
        return made.against("films", vectors[placed], weights=people[placed])

    def against(
        self,
        kind: Horizon | Literal["films"],
        vectors: NDArray[np.float32],
        *,
        weights: NDArray[np.integer] | None = None,
    ) -> TagDirections:
        """The same directions, on which vectors of this kind are compared with these (B, D), each counted so often (B,)."""
        raw = vectors.astype(np.float64) @ self.directions.T.astype(np.float64)  # (B, T)
        shares = np.ones(len(raw)) if weights is None else weights.astype(np.float64)
        shares /= max(shares.sum(), 1.0)
        mean = shares @ raw
        deviation = np.sqrt(shares @ (raw - mean) ** 2)
        spread = Spread(mean.astype(np.float32), deviation.astype(np.float32))
        return replace(self, spreads={**self.spreads, kind: spread})

    def read(self, vectors: NDArray[np.float32], kind: Horizon | Literal["films"]) -> NDArray[np.float64]:
        """(B, T) how far each vector (B, D) is from the average along each tag, in standard deviations."""
        return self.change(vectors, kind) - self._spread(kind).mean * self._scale(kind)

    def change(self, moves: NDArray[np.floating], kind: Horizon | Literal["films"]) -> NDArray[np.float64]:
        """(..., T) how much the readings change where vectors move by this (..., D), in standard deviations."""
        return np.asarray(moves.astype(np.float64) @ self.directions.T * self._scale(kind))

    def distinct(self, order: Iterable[int], count: int) -> list[int]:
        """The first ``count`` of these tags, of tags that say the same, or its opposite, only the first."""
        units = _unit(self.directions.astype(np.float64))
        chosen: list[int] = []
        for tag in order:
            if len(chosen) == count:
                break
            if not np.any(np.abs(units[chosen] @ units[tag]) > _ALIKE):
                chosen.append(tag)
        return chosen

    def steer(
        self,
        vector: NDArray[np.float32],
        wanted: Mapping[str, float],
        *,
        hold: float = 1.0,
        kind: Horizon = "overall",
    ) -> NDArray[np.float32]:
        """(D,) the vector of a person, moved so that its reading of each wanted tag changes by its dose.

        Of all moves that do this it is the one with the smallest sum of its own squared length and, as far as ``hold``
        says, the mean squared change of all other readings, each weighed by its confidence. Tags that say the same as a
        wanted one are free to follow it. Where wanted tags say the same, they get what is nearest to all doses.

        Args:
            vector: (D,).
            wanted: Standard deviations by tag, in any spelling; 0 holds a tag exactly.
            hold: In [0, 1].
            kind: The horizon of the vector.

        Raises:
            SettingsError: There is no such tag, or a number is out of range.
        """
        if not 0 <= hold <= 1:
            raise SettingsError(f"hold is {hold}; expected 0 (move along the tag) to 1 (hold all other tags)")
        tags = self._places(wanted)
        if not len(tags):
            return np.array(vector, np.float32)
        along = self.directions.astype(np.float64) * self._scale(kind)[:, None]  # (T, D), a reading each
        free = (np.abs(_unit(along) @ _unit(along[tags]).T) > _ALIKE).any(axis=1)
        held = np.where(free, 0.0, self.confidence)[:, None] * along
        scatter = held.T @ held  # (D, D)
        dim, size = len(scatter), np.trace(scatter)
        # The scatter as large as the identity, so that ``hold`` means the same whatever the vectors' scale.
        cost = np.eye(dim) + (hold * dim / size * scatter if size > 0 else 0.0)
        ways = np.linalg.solve(cost, along[tags].T)  # (D, wanted)
        doses = np.array(list(wanted.values()), np.float64)
        shares = np.linalg.pinv(along[tags] @ ways, rcond=_SINGULAR, hermitian=True) @ doses
        return np.asarray(vector + ways @ shares, np.float32)

    def save(self, path: Path) -> None:
        """Write them to ``path``."""
        arrays = {"directions": self.directions, "confidence": self.confidence}
        for kind, spread in self.spreads.items():
            arrays |= {f"mean.{kind}": spread.mean, f"deviation.{kind}": spread.deviation}
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(contiguous, path, {WORDS: json.dumps(self.names, ensure_ascii=False)})

    @classmethod
    def load(cls, path: Path) -> TagDirections:
        """What ``save`` wrote.

        Raises:
            FormatError: It is missing or damaged.
        """
        arrays, told = read_arrays(path, TRAIN_AGAIN)
        names = read_words(path, told, list[str], TRAIN_AGAIN)
        kinds = [name.removeprefix("mean.") for name in arrays if name.startswith("mean.")]
        shapes: dict[str, tuple[str | int, ...]] = {"directions": ("T", "D"), "confidence": ("T",)}
        shapes |= {f"{what}.{kind}": ("T",) for kind in kinds for what in ("mean", "deviation")}
        fitted(path, arrays, shapes, TRAIN_AGAIN, sizes={"T": len(names)})
        spreads = {kind: Spread(arrays[f"mean.{kind}"], arrays[f"deviation.{kind}"]) for kind in kinds}
        return cls(tuple(names), arrays["directions"], arrays["confidence"], spreads)

    def _places(self, wanted: Mapping[str, float]) -> NDArray[np.int64]:
        """(wanted,) which tags are meant."""
        known = {same_word(name): tag for tag, name in enumerate(self.names)}
        for tag, dose in wanted.items():
            if not np.isfinite(dose):
                raise SettingsError(
                    f"the dose of {tag!r} is {dose}; expected a number of standard deviations"
                )
            if same_word(tag) not in known:
                raise SettingsError(f"there is no tag {tag!r}; {self._suggestion(tag)}")
        return np.array([known[same_word(tag)] for tag in wanted], np.int64)

    def _suggestion(self, tag: str) -> str:
        near = get_close_matches(tag.casefold(), [name.casefold() for name in self.names], _SUGGESTED)
        if near:
            spelled = {name.casefold(): name for name in self.names}
            return f"did you mean {' or '.join(repr(spelled[name]) for name in near)}?"
        surest = [self.names[place] for place in np.argsort(-self.confidence, kind="stable")[:_SUGGESTED]]
        return f"the model knows {len(self.names)} tags, among them {', '.join(surest) or 'none'}"

    def _scale(self, kind: str) -> NDArray[np.float64]:
        """(T,) standard deviations a unit; 0 where all are alike, so that nothing differs from the average."""
        deviation = self._spread(kind).deviation.astype(np.float64)
        return np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)

    def _spread(self, kind: str) -> Spread:
        if kind not in self.spreads:
            raise SettingsError(f"{kind!r} cannot be read in tags; expected one of {', '.join(self.spreads)}")
        return self.spreads[kind]


def _surest(names: Sequence[str], confidence: NDArray[np.float64]) -> list[int]:
    """Places of the tags that are sure enough, in order; of the spellings of a word the surest."""
    best: dict[str, int] = {}
    for tag in np.argsort(-confidence, kind="stable").tolist():
        if confidence[tag] >= _LEAST_SURE:
            best.setdefault(same_word(names[tag]), tag)
    return sorted(best.values())


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0))

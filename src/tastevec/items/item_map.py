"""A two-dimensional map of all items by t-SNE, and the position of a user on it.

Dimensions: B users, N items, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from safetensors.numpy import save_file

from tastevec.data.arrays import check_shapes, read_arrays
from tastevec.errors import FormatError
from tastevec.schema import TRAIN_AGAIN

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MIN_ITEMS: Final = 50  # fewer give no useful layout
_PERPLEXITY = 30
_EXACT = 20_000  # items up to which all pairs are compared
_NEAREST = 25  # items whose median is a user's position
_POSITIONS = "positions"


@dataclass(frozen=True, eq=False)
class ItemMap:
    """Positions of items on the map.

    Attributes:
        positions: (N, 2) float32 in [0, 1], the longer side filling it; NaN for an item without a vector.
    """

    positions: NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: NDArray[np.float32], *, seed: int) -> ItemMap | None:
        """Compute the map of item vectors (N, D) by t-SNE on cosines (van der Maaten & Hinton 2008); None for under 50 items.

        The same vectors and seed give the same map on the same machine.

        Raises:
            ImportError: openTSNE is not installed.
        """
        from openTSNE import TSNE  # noqa: PLC0415  an extra
        from threadpoolctl import threadpool_limits  # noqa: PLC0415  as above

        valid = np.asarray(vectors.any(axis=1))
        if valid.sum() < MIN_ITEMS:
            return None
        tsne = TSNE(
            perplexity=min(_PERPLEXITY, (int(valid.sum()) - 1) // 3),
            metric="cosine",
            neighbors="exact" if valid.sum() <= _EXACT else "auto",
            n_jobs=1,  # the sums of several threads differ in their last bits
            random_state=seed,
        )
        with threadpool_limits(1):
            layout = np.asarray(tsne.fit(vectors[valid]))
        positions = np.full((len(vectors), 2), np.nan, np.float32)
        low, high = layout.min(axis=0), layout.max(axis=0)
        positions[valid] = 0.5 + (layout - (low + high) / 2) / (high - low).max()
        return cls(positions)

    def locate(self, vectors: NDArray[np.float32], item_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return positions of vectors, (B, 2): the median position of the most similar items, robust to outliers.

        Args:
            vectors: (B, D) of users; a vector of zeros gets the median of all items.
            item_vectors: (N, D).
        """
        mapped = np.flatnonzero(np.isfinite(self.positions).all(axis=1))
        items = item_vectors[mapped] / np.linalg.norm(item_vectors[mapped], axis=1, keepdims=True)
        similarities = vectors @ items.T  # (B, N), in the order of the cosines
        count = min(_NEAREST, len(mapped))
        nearest = np.argpartition(-similarities, count - 1, axis=1)[:, :count]
        positions = np.median(self.positions[mapped[nearest]], axis=1)
        center = np.median(self.positions[mapped], axis=0)
        known = np.asarray(vectors.any(axis=1))
        return np.asarray(np.where(known[:, None], positions, center), np.float32)

    def with_items(self, rows: NDArray[np.int64], item_vectors: NDArray[np.float32]) -> ItemMap:
        """Return the map with new items, each at the median of the most similar items; old positions stay.

        Args:
            rows: (M,) row in this map of each item of the larger catalog, -1 where it is new.
            item_vectors: (M, D) of the larger catalog.
        """
        old = rows >= 0
        positions = np.full((len(rows), 2), np.nan, np.float32)
        positions[old] = self.positions[rows[old]]
        new = ~old & np.asarray(item_vectors.any(axis=1))
        positions[new] = ItemMap(positions[old]).locate(item_vectors[new], item_vectors[old])
        return ItemMap(positions)

    def save(self, path: Path) -> None:
        """Write the map to ``path``."""
        save_file({_POSITIONS: np.ascontiguousarray(self.positions)}, path)

    @classmethod
    def load(cls, path: Path) -> ItemMap:
        """Read what ``save`` wrote.

        Raises:
            FormatError: It is missing or damaged.
        """
        arrays, _ = read_arrays(path, TRAIN_AGAIN)
        check_shapes(path, arrays, {_POSITIONS: ("N", 2)}, TRAIN_AGAIN)
        if not np.isfinite(arrays[_POSITIONS]).all(axis=1).any():
            raise FormatError(f"{path}: no item has a position. Expected one or more. {TRAIN_AGAIN}")
        return cls(arrays[_POSITIONS])

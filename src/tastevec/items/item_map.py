"""A map of all films, on which films that lie near each other in the taste space are neighbours, and a person's place on it.

Dimensions: B people, N films, D numbers a vector.
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

__all__ = ["MIN_ITEMS", "ItemMap"]

MIN_ITEMS: Final = 50  # fewer make no landscape
_PERPLEXITY = 30
_EXACT = 20_000  # films up to which all pairs are compared
_NEAREST = 25  # films among which a person stands
_PLACES = "places"


@dataclass(frozen=True, eq=False)
class ItemMap:
    """Where each film lies.

    Attributes:
        places: (N, 2) float32 in [0, 1], the longer side filling it; NaN for a film without a vector.
    """

    places: NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: NDArray[np.float32], *, seed: int) -> ItemMap | None:
        """Lay the films (N, D) out by t-SNE on the cosine (van der Maaten & Hinton 2008); None if they are fewer than 50.

        The same vectors and seed give the same map on the same machine.

        Raises:
            ImportError: openTSNE is not installed.
        """
        from openTSNE import TSNE  # noqa: PLC0415  an extra
        from threadpoolctl import threadpool_limits  # noqa: PLC0415  as above

        placed = np.asarray(vectors.any(axis=1))
        if placed.sum() < MIN_ITEMS:
            return None
        layout = TSNE(
            perplexity=min(_PERPLEXITY, (int(placed.sum()) - 1) // 3),
            metric="cosine",
            neighbors="exact" if placed.sum() <= _EXACT else "auto",
            n_jobs=1,  # several threads add in any order
            random_state=seed,
        )
        with threadpool_limits(1):
            found = np.asarray(layout.fit(vectors[placed]))
        places = np.full((len(vectors), 2), np.nan, np.float32)
        low, high = found.min(axis=0), found.max(axis=0)
        places[placed] = 0.5 + (found - (low + high) / 2) / (high - low).max()
        return cls(places)

    def place(self, vectors: NDArray[np.float32], item_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 2) where people stand: amid the films nearest to their vectors, at the median, so that none pulls far.

        Args:
            vectors: (B, D) of people; nobody in particular, a vector of zeros, stands amid all films.
            item_vectors: (N, D).
        """
        mapped = np.flatnonzero(np.isfinite(self.places).all(axis=1))
        items = item_vectors[mapped] / np.linalg.norm(item_vectors[mapped], axis=1, keepdims=True)
        alike = vectors @ items.T  # (B, N), the order of the cosines
        count = min(_NEAREST, len(mapped))
        nearest = np.argpartition(-alike, count - 1, axis=1)[:, :count]
        places = np.median(self.places[mapped[nearest]], axis=1)
        everywhere = np.median(self.places[mapped], axis=0)
        says = np.asarray(vectors.any(axis=1))
        return np.asarray(np.where(says[:, None], places, everywhere), np.float32)

    def with_items(self, rows: NDArray[np.int64], item_vectors: NDArray[np.float32]) -> ItemMap:
        """The map with films that came later, each amid the films nearest to it; those that were there do not move.

        Args:
            rows: (M,) for each film of the larger catalogue its row here, -1 where it is new.
            item_vectors: (M, D) the larger catalogue's.
        """
        old = rows >= 0
        places = np.full((len(rows), 2), np.nan, np.float32)
        places[old] = self.places[rows[old]]
        new = ~old & np.asarray(item_vectors.any(axis=1))
        places[new] = ItemMap(places[old]).place(item_vectors[new], item_vectors[old])
        return ItemMap(places)

    def save(self, path: Path) -> None:
        """Write it to ``path``."""
        save_file({_PLACES: np.ascontiguousarray(self.places)}, path)

    @classmethod
    def load(cls, path: Path) -> ItemMap:
        """What ``save`` wrote.

        Raises:
            FormatError: It is missing or damaged.
        """
        arrays, _ = read_arrays(path, TRAIN_AGAIN)
        check_shapes(path, arrays, {_PLACES: ("N", 2)}, TRAIN_AGAIN)
        if not np.isfinite(arrays[_PLACES]).all(axis=1).any():
            raise FormatError(f"{path} places no film. {TRAIN_AGAIN}")
        return cls(arrays[_PLACES])

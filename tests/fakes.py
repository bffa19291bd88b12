"""Scorers made by hand: what they say is what the test says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories


class Fixed:
    """Scores given film by film; it counts how often it was fitted, and keeps what it was asked."""

    def __init__(self, scores, name: str = "fixed") -> None:
        self.name = name
        self.fits = 0
        self.seen: list[Histories] = []
        self._scores = np.asarray(scores, np.float32)

    def fit(self, train: Histories, n_items: int) -> None:
        """Count it."""
        del train, n_items
        self.fits += 1

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the same row for everybody."""
        self.seen.append(histories)
        return np.tile(self._scores, (len(histories), 1))


class Summed(Fixed):
    """A person's vector is the sum of the vectors of his films, each times its normalised rating or, told so, once."""

    space = "sums"

    def __init__(self, item_vectors, *, weighted: bool = False, name: str = "summed") -> None:
        super().__init__([], name)
        self.item_vectors = np.asarray(item_vectors, np.float32)
        self._weighted = weighted

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) sums."""
        weights = (
            histories.normalized_ratings if self._weighted else np.ones_like(histories.normalized_ratings)
        )
        sums = np.zeros((len(histories), self.item_vectors.shape[1]), np.float32)
        np.add.at(sums, histories.owners, weights[:, None] * self.item_vectors[histories.items])
        return sums

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) products of vectors."""
        self.seen.append(histories)
        return self.vectors(histories) @ self.item_vectors.T

"""A trained encoder as a scorer: its vectors times the film table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.schema import Horizon

__all__ = ["EncodedScorer"]


@dataclass(frozen=True, eq=False)
class EncodedScorer:
    """Scores as products of a person's vector with film vectors.

    Attributes:
        name: What the tables call it.
        space: The name of its film vectors.
        item_vectors: (N, D) the film table; a row of zeros is a film without a vector, and scores lowest.
        encode: (B, D) vectors of these people for a horizon.
        horizon: The question that ``score`` and ``vectors`` answer.
    """

    name: str
    space: str
    item_vectors: NDArray[np.float32]
    encode: Callable[[Histories, Horizon], NDArray[np.float32]]
    horizon: Horizon = "next"

    def fit(self, train: Histories, item_count: int) -> None:
        """Nothing: it is trained."""

    def asked(self, horizon: Horizon) -> EncodedScorer:
        """The same encoder, answering that question."""
        return replace(self, horizon=horizon)

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) one vector a person."""
        return self.encode(histories, self.horizon)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) higher is better."""
        scores = self.vectors(histories) @ self.item_vectors.T
        scores[:, ~self.item_vectors.any(axis=1)] = np.finfo(np.float32).min
        return scores

"""Likes: which films each person liked, and how he rated, as arrays that the baselines share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tastevec.data.histories import Histories

__all__ = ["liked_matrix", "normalised_matrix", "only_liked"]


def only_liked(histories: Histories, liked_from: float) -> Histories:
    """The same people with only the films that they rated ``liked_from`` or higher."""
    return histories.keep(histories.ratings >= liked_from)  # NaN, only tagged, is not liked


def liked_matrix(histories: Histories, item_count: int, liked_from: float) -> Any:  # noqa: ANN401 - scipy ships no types
    """(B, N) a scipy CSR matrix with 1 where a person liked a film."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    liked = only_liked(histories, liked_from)
    ones = np.ones(len(liked.items), np.float32)
    return sparse.csr_matrix((ones, liked.items, liked.offsets), shape=(len(liked), item_count))


def normalised_matrix(histories: Histories, item_count: int) -> Any:  # noqa: ANN401 - scipy ships no types
    """(B, N) a scipy CSR matrix with each person's normalised ratings, from -1 to 1."""
    from scipy import sparse  # noqa: PLC0415 - an extra

    entries = (histories.normalised, histories.items, histories.offsets)
    return sparse.csr_matrix(entries, shape=(len(histories), item_count))

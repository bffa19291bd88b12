"""Likes: which films each person liked, and how he rated, as arrays that the baselines share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.items.regression import matrix_of
from tastevec.schema import LIKED_FROM

if TYPE_CHECKING:
    from tastevec.data.histories import Histories

__all__ = ["graded_matrix", "liked_matrix", "normalised_matrix", "only_liked"]

_MIDDLE_FROM = 0.5  # of the rating range: 3 stars of 1 to 5


def only_liked(histories: Histories, liked_from: float) -> Histories:
    """The same people with only the films that they rated ``liked_from`` or higher."""
    return histories.keep(histories.ratings >= liked_from)  # NaN, only tagged, is not liked


def liked_matrix(histories: Histories, item_count: int, liked_from: float) -> Any:  # noqa: ANN401 - scipy ships no types
    """(B, N) a scipy CSR matrix with 1 where a person liked a film."""
    liked = only_liked(histories, liked_from)
    return matrix_of(liked, np.ones(len(liked.items), np.float32), item_count)


def graded_matrix(
    histories: Histories, item_count: int, rating_range: tuple[float, float], middle: float
) -> Any:  # noqa: ANN401 - scipy ships no types
    """(B, N) a scipy CSR matrix with 1 where a person liked a film, and ``middle`` where he rated it in between.

    In between is from the middle of the rating range on, and what was only tagged.
    """
    share = (histories.ratings - rating_range[0]) / (rating_range[1] - rating_range[0])
    between = np.isnan(share) | (share >= _MIDDLE_FROM)
    values = np.select([share >= LIKED_FROM, between], [1.0, middle], 0.0).astype(np.float32)
    return matrix_of(histories.keep(values > 0), values[values > 0], item_count)


def normalised_matrix(histories: Histories, item_count: int) -> Any:  # noqa: ANN401 - scipy ships no types
    """(B, N) a scipy CSR matrix with each person's normalised ratings, from -1 to 1."""
    return matrix_of(histories, np.asarray(histories.normalised), item_count)

"""Floors: what can be had without knowing the person, or by averaging what he liked.

Dimension letters: B users, N items, D dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.data.histories import NO_TIME
from tastevec.errors import DataError
from tastevec.evaluation.baselines.likes import liked_matrix, normalised_matrix, only_liked
from tastevec.evaluation.metrics import unit_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

__all__ = ["Constant", "MeanLiked", "Popularity", "RecentPopularity", "WeightedMean"]

_DAY = 86_400  # seconds


class Popularity:
    """Every film scores the number of training people who liked it.

    Args:
        liked_from: The rating from which a film is liked.
    """

    name = "popularity"

    def __init__(self, *, liked_from: float) -> None:
        self._liked_from = liked_from
        self._scores = np.zeros(0, np.float32)

    def fit(self, train: Histories, item_count: int) -> None:
        """Count the likes of each film."""
        liked = only_liked(train, self._liked_from)
        self._scores = np.bincount(liked.items, minlength=item_count).astype(np.float32)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the same row for everybody."""
        return np.tile(self._scores, (len(histories), 1))


class RecentPopularity:
    """Every film scores its likes within the last days of the training people's time; popularity settles ties.

    Args:
        liked_from: The rating from which a film is liked.
        days: How far back from the newest training interaction likes count.
    """

    name = "recent popularity"

    def __init__(self, *, liked_from: float, days: int = 30) -> None:
        self._liked_from = liked_from
        self._days = days
        self._scores = np.zeros(0, np.float32)

    def fit(self, train: Histories, item_count: int) -> None:
        """Count the recent likes of each film.

        Raises:
            DataError: No training interaction has a time.
        """
        newest = train.times.max(initial=NO_TIME)
        if newest == NO_TIME:
            raise DataError(
                "no training interaction has a time; expected timestamps; leave recent popularity out of this evaluation"
            )
        liked = only_liked(train, self._liked_from)
        ever = np.bincount(liked.items, minlength=item_count)
        recent = np.bincount(liked.items[liked.times > newest - self._days * _DAY], minlength=item_count)
        self._scores = (recent + ever / (1 + ever.max(initial=0))).astype(np.float32)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the same row for everybody."""
        return np.tile(self._scores, (len(histories), 1))


class Constant:
    """One vector for everybody: the mean of the unit vectors of all films liked in training.

    No other constant is nearer, by cosine, to what people like.

    Args:
        item_vectors: (N, D) the space; a row of zeros is a film without a vector.
        space: The name of the space.
        liked_from: The rating from which a film is liked.
    """

    def __init__(self, item_vectors: NDArray[np.float32], *, space: str, liked_from: float) -> None:
        self.name = f"constant ({space})"
        self.space = space
        self.item_vectors = item_vectors
        self._units = unit_rows(item_vectors).astype(np.float32)
        self._liked_from = liked_from
        self._vector = np.zeros(item_vectors.shape[1], np.float32)

    def fit(self, train: Histories, item_count: int) -> None:
        """Average the liked films of the training people; each like counts once."""
        likes = np.bincount(only_liked(train, self._liked_from).items, minlength=item_count)
        self._vector = (likes.astype(np.float32) @ self._units) / np.float32(max(1, likes.sum()))

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) the same vector for everybody."""
        return np.tile(self._vector, (len(histories), 1))

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the constant's cosine with each film, the same row for everybody."""
        return np.tile(_cosines(self._vector[None], self._units), (len(histories), 1))


class MeanLiked(Constant):
    """The mean of the vectors of the films that a person liked; the constant for who liked none.

    Args:
        item_vectors: (N, D) the space; a row of zeros is a film without a vector.
        space: The name of the space.
        liked_from: The rating from which a film is liked.
    """

    def __init__(self, item_vectors: NDArray[np.float32], *, space: str, liked_from: float) -> None:
        super().__init__(item_vectors, space=space, liked_from=liked_from)
        self.name = f"mean of liked ({space})"

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) one mean a person."""
        likes = liked_matrix(histories, len(self.item_vectors), self._liked_from)
        return self._means(likes)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the cosine of each person's mean with each film."""
        return _cosines(self.vectors(histories), self._units)

    def _means(self, weights: Any) -> NDArray[np.float32]:  # noqa: ANN401 - scipy ships no types
        """(B, D) the mean of the film vectors of each row of ``weights`` (B, N); the constant where it is zero."""
        means = np.asarray(weights @ self.item_vectors) / np.maximum(1, np.diff(weights.indptr))[:, None]
        known = means.any(axis=1, keepdims=True)  # not: nothing is told, or only of films without a vector
        return np.where(known, means, self._vector).astype(np.float32)


class WeightedMean(MeanLiked):
    """The mean of the vectors of all films of a person, each times its normalised rating: away from what he disliked.

    The note's input to its encoder, averaged. The constant stands for a person whose ratings say nothing.

    Args:
        item_vectors: (N, D) the space; a row of zeros is a film without a vector.
        space: The name of the space.
        liked_from: The rating from which a film is liked, for the constant.
    """

    def __init__(self, item_vectors: NDArray[np.float32], *, space: str, liked_from: float) -> None:
        super().__init__(item_vectors, space=space, liked_from=liked_from)
        self.name = f"rating-weighted mean ({space})"

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) one weighted mean a person; ratings as ``Histories.normalised`` has them, from -1 to 1."""
        return self._means(normalised_matrix(histories, len(self.item_vectors)))


def _cosines(vectors: NDArray[np.float32], units: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, N) cosines of people with films."""
    return unit_rows(vectors).astype(np.float32) @ units.T

"""Linear systems: strong, quick to fit, and at home with people they have never seen.

Dimension letters: B users, N items, P fitted items, D dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.data.inputs import liked_from
from tastevec.evaluation.baselines.likes import graded_matrix, liked_matrix, only_liked
from tastevec.items.collaborative import AlsSettings, als_factors, fold_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

__all__ = ["ALS", "EASE"]

_MOST_FILMS = 10_000  # P x P float64 is then 800 MB


class EASE:
    """Each film's score is a weighted sum of the liked films, the weights in closed form.

    The weights minimise ``|X - XB|^2 + ridge |B|^2`` with a zero diagonal: ``B = I - C / diag(C)``, where C is the
    inverse of ``X'X + ridge I``. Films beyond the 10,000 most liked score 0, since the inverse grows with their square.

    Args:
        liked_from: The rating from which a film is liked.
        ridge: lambda; 400 is the best found on ml-1m.
        name: What the tables call it.
        middle: What a film of the middle ratings counts beside the 1 of a liked one, and the rating range in which
            that is the middle; then ``liked_from`` plays no part.

    Source: Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", section 3.1.
    """

    def __init__(
        self,
        *,
        liked_from: float,
        ridge: float = 400.0,
        name: str = "EASE",
        middle: tuple[float, tuple[float, float]] | None = None,
    ) -> None:
        self.name = name
        self._liked_from = liked_from
        self._ridge = ridge
        self._middle = middle
        self._films = np.zeros(0, np.int64)
        self._weights = np.zeros((0, 0), np.float32)
        self._item_count = 0

    def fit(self, train: Histories, item_count: int) -> None:
        """Solve for the weights (P, P) between the films that training people liked."""
        likes = self._read(train, item_count)
        counts = np.asarray(likes.sum(axis=0)).ravel()
        most = np.argsort(-counts, kind="stable")[:_MOST_FILMS]
        self._films = np.sort(most[counts[most] > 0])
        self._item_count = item_count
        fitted = likes[:, self._films]
        gram = (fitted.T @ fitted).toarray().astype(np.float64)  # (P, P)
        gram[np.diag_indices_from(gram)] += self._ridge
        inverse = np.linalg.inv(gram)
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        self._weights = weights.astype(np.float32)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the liked films of each person times the weights."""
        likes = self._read(histories, self._item_count)[:, self._films]
        scores = np.zeros((len(histories), self._item_count), np.float32)
        scores[:, self._films] = likes @ self._weights
        return scores

    def _read(self, histories: Histories, item_count: int) -> Any:  # noqa: ANN401 - scipy ships no types
        """(B, N) what counts of each history."""
        if self._middle is None:
            return liked_matrix(histories, item_count, self._liked_from)
        weight, rating_range = self._middle
        return graded_matrix(histories, item_count, rating_range, weight)


class ALS:
    """Matrix factors of the training people, an unseen person folded in by one exact step.

    Args:
        settings: How the factors are fitted and people folded in.
        only_likes: Whether films that were not liked are left out, of training and of histories; otherwise those of
            the middle ratings count a little, as the settings say.

    Source: Hu, Koren & Volinsky 2008, "Collaborative Filtering for Implicit Feedback Datasets".
    """

    def __init__(self, settings: AlsSettings, *, only_likes: bool) -> None:
        self.name = f"iALS, {'likes' if only_likes else 'likes and middle'}"
        self._settings = settings
        self._only_likes = only_likes
        self._liked_from = liked_from(settings.rating_range)
        self._factors = np.zeros((0, settings.dim), np.float32)

    @property
    def space(self) -> str:
        """The space of its factors, which another seed turns."""
        return f"{self.name}, seed {self._settings.seed}"

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(N, D) the films' factors."""
        return self._factors

    def fit(self, train: Histories, item_count: int) -> None:
        """Fit the factors (N, D) of the films."""
        self._factors = als_factors(self._read(train), item_count, self._settings)

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) people folded in."""
        return fold_in(self._factors, self._read(histories), self._settings)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) dot products of folded-in people with films."""
        return self.vectors(histories) @ self._factors.T

    def _read(self, histories: Histories) -> Histories:
        return only_liked(histories, self._liked_from) if self._only_likes else histories

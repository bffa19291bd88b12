"""Baselines: popularity, vector means, item-kNN, EASE, lagged item regression and iALS.

Dimension letters: B users, N items, D dimensions, P items with positives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.topk import top_k
from tastevec.errors import DataError
from tastevec.evaluation.metrics import unit_rows
from tastevec.items.als import AlsSettings, als_factors, fold_in
from tastevec.items.regression import ItemProducts, ItemRegression, Lags, interaction_matrix
from tastevec.schema import POSITIVE_FROM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.value_scale import ValueScale
    from tastevec.evaluation.scorers import Scorer
    from tastevec.schema import Horizon


def last_items_name(name: str, count: int) -> str:
    """Return the name of a system that reads the latest items only."""
    return f"{name}, last {count} items"


class LastItems:
    """A scorer on the latest ``count`` items of each history; fitting this fits the scorer."""

    reads_order = True  # for next-item and last-20pct alone

    def __init__(self, scorer: Scorer, count: int = 20) -> None:
        self.name = last_items_name(scorer.name, count)
        self.scorer = scorer
        self.parts = (scorer,)  # the scorers that fitting this one fits
        self._count = count

    def fit(self, train: Histories, n_items: int) -> None:
        """Fit the scorer on full training histories."""
        self.scorer.fit(train, n_items)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) scores of the shortened histories."""
        return self.scorer.score(histories.last(self._count))


class PerHorizon:
    """One system with settings of its own for each horizon; ``next`` is the default."""

    def __init__(self, name: str, *, overall: Scorer, next: Scorer) -> None:  # noqa: A002  the horizon's one spelling
        self.name = name
        self._scorers: dict[Horizon, Scorer] = {"overall": overall, "next": next}
        # The scorers that fitting this one fits; a shared one once.
        self.parts = (overall,) if overall is next else (overall, next)

    def fit(self, train: Histories, n_items: int) -> None:
        """Fit the scorers."""
        for scorer in self.parts:
            scorer.fit(train, n_items)

    def at_horizon(self, horizon: Horizon) -> Scorer:
        """Return the scorer of this horizon."""
        return self._scorers[horizon]

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) scores at horizon ``next``."""
        return self._scorers["next"].score(histories)


_MIDDLE_FROM = 0.5  # the share of 3 of 1 to 5


def only_positives(histories: Histories, positive_from: float) -> Histories:
    """Return the histories with positives only."""
    return histories.keep(histories.ratings >= positive_from)  # NaN, a tag-only interaction, is not positive


def positive_matrix(histories: Histories, n_items: int, positive_from: float) -> Any:  # noqa: ANN401  scipy ships no types
    """(B, N) scipy CSR matrix with 1 for each positive."""
    positive = only_positives(histories, positive_from)
    return interaction_matrix(positive, np.ones(len(positive.items), np.float32), n_items)


def graded_matrix(histories: Histories, n_items: int, scale: ValueScale, middle: float) -> Any:  # noqa: ANN401  scipy ships no types
    """(B, N) scipy CSR matrix with 1 for each positive, and ``middle`` for each mid-scale rating.

    Mid-scale: from a share of one half up to a positive, and tag-only interactions.
    """
    share = scale.share(histories.ratings)
    mid_scale = np.isnan(share) | (share >= _MIDDLE_FROM)
    values = np.select([share >= POSITIVE_FROM, mid_scale], [1.0, middle], 0.0).astype(np.float32)
    return interaction_matrix(histories.keep(values > 0), values[values > 0], n_items)


_DAY = 86_400  # seconds


class Popularity:
    """Each item's score is its number of positives in the training data.

    Args:
        positive_from: The lowest positive value.
    """

    name = "popularity"

    def __init__(self, *, positive_from: float) -> None:
        self._positive_from = positive_from
        self._scores = np.zeros(0, np.float32)

    def fit(self, train: Histories, n_items: int) -> None:
        """Count the positives of each item."""
        positive = only_positives(train, self._positive_from)
        self._scores = np.bincount(positive.items, minlength=n_items).astype(np.float32)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the same row for every user."""
        return np.tile(self._scores, (len(histories), 1))


class RecentPopularity(Popularity):
    """Each item's score is its number of positives in the last days of the training data; popularity breaks ties.

    Args:
        positive_from: The lowest positive value.
        days: Length of the period before the latest training interaction.
    """

    name = "recent popularity"

    def __init__(self, *, positive_from: float, days: int = 30) -> None:
        super().__init__(positive_from=positive_from)
        self._days = days

    def fit(self, train: Histories, n_items: int) -> None:
        """Count the recent positives of each item.

        Raises:
            DataError: No training interaction has a timestamp.
        """
        latest = train.timestamps.max(initial=NO_TIMESTAMP)
        if latest == NO_TIMESTAMP:
            raise DataError(
                "recent popularity: no training interaction has a timestamp. Expected timestamps. Evaluate without it"
            )
        positive = only_positives(train, self._positive_from)
        total = np.bincount(positive.items, minlength=n_items)
        recent = np.bincount(
            positive.items[positive.timestamps > latest - self._days * _DAY], minlength=n_items
        )
        self._scores = (recent + total / (1 + total.max(initial=0))).astype(np.float32)


class GlobalMeanVector:
    """One vector for all users: the mean of the unit vectors of all training positives.

    No other constant vector has a higher mean cosine to the positives.

    Args:
        item_vectors: (N, D); a row of zeros is an item without a vector.
        space: The embedding space.
        positive_from: The lowest positive value.
    """

    kind = "global mean vector"

    def __init__(self, item_vectors: NDArray[np.float32], *, space: str, positive_from: float) -> None:
        self.name = f"{self.kind} ({space})"
        self.space = space
        self.item_vectors = item_vectors
        self._units = unit_rows(item_vectors).astype(np.float32)
        self._positive_from = positive_from
        self._vector = np.zeros(item_vectors.shape[1], np.float32)

    def fit(self, train: Histories, n_items: int) -> None:
        """Average the training positives; each interaction counts once."""
        positives = np.bincount(only_positives(train, self._positive_from).items, minlength=n_items)
        self._vector = (positives.astype(np.float32) @ self._units) / np.float32(max(1, positives.sum()))

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) the same vector for every user."""
        return np.tile(self._vector, (len(histories), 1))

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) cosine of the vector and each item, the same row for every user."""
        return np.tile(_cosines(self._vector[None], self._units), (len(histories), 1))


class MeanPositive(GlobalMeanVector):
    """The mean of the vectors of a user's positives; the global mean vector without positives."""

    kind = "mean of positives"

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) one mean a user."""
        return self._means(positive_matrix(histories, len(self.item_vectors), self._positive_from))

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) cosine of each user's mean and each item."""
        return _cosines(self.vectors(histories), self._units)

    def _means(self, weights: Any) -> NDArray[np.float32]:  # noqa: ANN401  scipy ships no types
        """(B, D) weighted mean of the item vectors by row of (B, N); the global mean vector where it is zero."""
        means = np.asarray(weights @ self.item_vectors) / np.maximum(1, np.diff(weights.indptr))[:, None]
        known = means.any(axis=1, keepdims=True)  # False without interactions or without items with a vector
        return np.where(known, means, self._vector).astype(np.float32)


class WeightedMean(MeanPositive):
    """The mean of the vectors of all items of a user, each times its normalized rating: away from disliked items.

    The input of the research note's encoder, averaged. The global mean vector where all normalized ratings are 0.
    """

    kind = "rating-weighted mean"

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) one weighted mean a user, by ``Histories.normalized_ratings``, from -1 to 1."""
        ratings = np.asarray(histories.normalized_ratings)
        return self._means(interaction_matrix(histories, ratings, len(self.item_vectors)))


def _cosines(vectors: NDArray[np.float32], units: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, N) cosines of users and items."""
    return unit_rows(vectors).astype(np.float32) @ units.T


class _ItemWeights:
    """Each item's score is a weighted sum of the user's items, over the P items with positives; all others score 0."""

    def __init__(self, positive_from: float) -> None:
        self._positive_from = positive_from
        self._n_items = 0
        self._items = np.zeros(0, np.int64)  # (P,)
        self._weights: Any = None  # (P, P) array or scipy CSR; column: a scored item

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) interactions of each user times the weights."""
        scores = np.zeros((len(histories), self._n_items), np.float32)
        summed = self._matrix(histories, self._n_items)[:, self._items] @ self._weights
        scores[:, self._items] = summed if isinstance(summed, np.ndarray) else summed.toarray()
        return scores

    def _matrix(self, histories: Histories, n_items: int) -> Any:  # noqa: ANN401  scipy ships no types
        """(B, N) weight of each interaction."""
        return positive_matrix(histories, n_items, self._positive_from)


def _symmetric_inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of a positive definite matrix, which is overwritten: by Cholesky, half the work of any other one's."""
    from scipy.linalg import lapack  # noqa: PLC0415  an extra

    factor, failed = lapack.dpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)  # transposed: in LAPACK's order
    assert not failed, "not positive definite"
    lower, _ = lapack.dpotri(factor, lower=1, overwrite_c=1)
    for column in range(len(lower)):  # one triangle is computed
        lower[column, column:] = lower[column:, column]
    return np.asarray(lower)


_MAX_ITEMS = 10_000  # P x P float64 is then 800 MB


class EASE(_ItemWeights):
    """Each item's score is a weighted sum of the user's positives, with weights in closed form.

    The weights minimize ``|X - XB|^2 + ridge |B|^2`` with a zero diagonal: ``B = I - C / diag(C)``, where C is the
    inverse of ``X'X + ridge I``. Items beyond the 10,000 with the most positives score 0, since the inverse grows with
    their square.

    Args:
        positive_from: The lowest positive value.
        ridge: lambda; 400 is the best found on ml-1m.
        name: The system name.
        middle: The weight of mid-scale ratings, where positives weigh 1, and the value scale; ``positive_from`` is then
            unused.

    Source: Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", section 3.1.
    """

    def __init__(
        self,
        *,
        positive_from: float,
        ridge: float = 400.0,
        name: str = "EASE (positives)",
        middle: tuple[float, ValueScale] | None = None,
    ) -> None:
        super().__init__(positive_from)
        self.name = name
        self._ridge = ridge
        self._middle = middle

    def fit(self, train: Histories, n_items: int) -> None:
        """Solve for the weights (P, P) between items with training positives."""
        positives = self._matrix(train, n_items)
        counts = np.asarray(positives.sum(axis=0)).ravel()
        most = np.argsort(-counts, kind="stable")[:_MAX_ITEMS]
        self._items = np.sort(most[counts[most] > 0])
        self._n_items = n_items
        fitted = positives[:, self._items]
        gram = (fitted.T @ fitted).toarray().astype(np.float64)  # (P, P)
        gram[np.diag_indices_from(gram)] += self._ridge
        inverse = _symmetric_inverse(gram)
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        self._weights = weights.astype(np.float32)

    def _matrix(self, histories: Histories, n_items: int) -> Any:  # noqa: ANN401  scipy ships no types
        if self._middle is None:
            return super()._matrix(histories, n_items)
        weight, scale = self._middle
        return graded_matrix(histories, n_items, scale, weight)


class LaggedRegression:
    """Each item's score is a weighted sum of the user's latest items, with weights in closed form.

    The weights predict the items that follow a moment of a training history, the sooner the more, from those before it,
    the later the more. Every interaction is an input alike.

    Args:
        positive_from: The lowest positive value.
        others: Weight of an interaction that is not positive as a target, where a positive weighs 1.
        decay: See `Lags`; so is ``lead``.
        ridge: See `ItemProducts.solve`.
        user_power: See `ItemProducts.of`.

    Source: Choi et al. 2021, "Session-aware Linear Item-Item Models for Session-based Recommendation" (SLIST).
    """

    name = "lagged item regression"
    reads_order = True

    def __init__(
        self,
        *,
        positive_from: float,
        others: float = 0.3,
        decay: float = 0.8,
        lead: float = 0.5,
        ridge: float = 3.0,
        user_power: float = 0.5,
    ) -> None:
        self._positive_from, self._others = positive_from, others
        self._ridge, self._user_power = ridge, user_power
        self._lags = Lags(decay=decay, lead=lead)
        self._regression: ItemRegression | None = None

    def fit(self, train: Histories, n_items: int) -> None:
        """Solve for the weights between the 10,000 items with the most interactions."""
        wanted = np.where(train.ratings >= self._positive_from, 1.0, self._others).astype(np.float32)
        inputs = np.ones(len(train.items), np.float32)
        products = ItemProducts.of(
            train, inputs, wanted, n_items, user_power=self._user_power, lags=self._lags
        )
        self._regression = products.solve(self._ridge)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) scores of the latest items."""
        assert self._regression is not None
        return self._regression.score(histories, np.ones(len(histories.items), np.float32))


class ALS:
    """Implicit ALS: item factors of the training data; held-out users are folded in by one exact step.

    Args:
        settings: Of the factors and the fold-in.
        positives_only: Whether positives alone count, in training data and in histories; otherwise mid-scale ratings
            weigh less, by the settings.

    Source: Hu, Koren & Volinsky 2008, "Collaborative Filtering for Implicit Feedback Datasets".
    """

    def __init__(self, settings: AlsSettings, *, positives_only: bool) -> None:
        self.name = f"iALS ({'positives' if positives_only else 'graded'})"
        self._settings = settings
        self._positives_only = positives_only
        self._positive_from = settings.scale.positive_from
        self.space = f"{self.name}, seed {settings.seed}"  # each seed has its own factors
        self.item_vectors = np.zeros((0, settings.dim), np.float32)  # (N, D) item factors

    def fit(self, train: Histories, n_items: int) -> None:
        """Fit the item factors (N, D)."""
        self.item_vectors = als_factors(self._relevant(train), n_items, self._settings)

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) fold-in of the users."""
        return fold_in(self.item_vectors, self._relevant(histories), self._settings)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) inner products of users and items."""
        return self.vectors(histories) @ self.item_vectors.T

    def _relevant(self, histories: Histories) -> Histories:
        return only_positives(histories, self._positive_from) if self._positives_only else histories


_CELLS = 1 << 22  # similarities in memory at once: 16 MB, a few times that in the search of the highest


class ItemKNN(_ItemWeights):
    """Each item's score is the sum of its similarities to those of the user's positives that are its nearest neighbors.

    The similarity of two items is ``both / (sqrt(one * other) + shrink)``, of the numbers of training users with both, the
    one and the other as positives: their cosine, shrunk towards 0 where few users have both. At most K neighbors of an
    item are stored, computed a block of items at a time. With a decay the latest items count most.

    Args:
        positive_from: The lowest positive value.
        neighbors: K.
        shrink: Added to the denominator; 0 is the plain cosine.
        decay: An item of a history weighs ``(1 + lag) ** -decay``, where the latest has lag 0; None: all alike.

    Source: Sarwar et al. 2001, "Item-Based Collaborative Filtering Recommendation Algorithms"; shrinkage and defaults
    as in the code of Ferrari Dacrema et al. 2019, "Are We Really Making Much Progress?".
    """

    def __init__(
        self,
        *,
        positive_from: float,
        neighbors: int = 50,
        shrink: float = 100.0,
        decay: float | None = None,
    ) -> None:
        super().__init__(positive_from)
        self.name = "item-kNN" if decay is None else "lagged item-kNN"
        self.reads_order = decay is not None
        self._lags = None if decay is None else Lags(decay=decay)
        self._neighbors = neighbors
        self._shrink = shrink

    def fit(self, train: Histories, n_items: int) -> None:
        """Compute the neighbors of each item with training positives."""
        from scipy import sparse  # noqa: PLC0415  an extra

        positives = positive_matrix(train, n_items, self._positive_from)
        self._items = np.flatnonzero(np.bincount(positives.indices, minlength=n_items))
        self._n_items = n_items
        nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        blocks = zip(nothing, *self._nearest(positives[:, self._items]), strict=True)
        items, neighbors, similarities = (np.concatenate(part) for part in blocks)
        shape = (len(self._items), len(self._items))
        self._weights = sparse.csr_matrix((similarities, (neighbors, items)), shape=shape)

    def _matrix(self, histories: Histories, n_items: int) -> Any:  # noqa: ANN401  scipy ships no types
        if self._lags is None:
            return super()._matrix(histories, n_items)
        weights = self._lags.weights(histories)
        read = (weights > 0) & (histories.ratings >= self._positive_from)
        return interaction_matrix(histories.keep(read), weights[read], n_items)

    def _nearest(
        self,
        positives: Any,  # noqa: ANN401  scipy ships no types
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Yield items, neighbors and similarities, all flat, of each block of items, from positives (B, P)."""
        by_item = positives.T.tocsr()  # (P, B)
        norms = np.sqrt(np.diff(by_item.indptr))  # (P,)
        block = max(1, _CELLS // max(1, len(norms)))
        for start in range(0, len(norms), block):
            items = np.arange(start, min(start + block, len(norms)))
            both = (by_item[items] @ positives).toarray()  # (Q, P)
            both[np.arange(len(items)), items] = 0.0  # an item is not its own neighbor
            similarity = (both / (np.outer(norms[items], norms) + self._shrink)).astype(np.float32)
            nearest = top_k(similarity, self._neighbors)  # (Q, K)
            values = np.take_along_axis(similarity, nearest, 1)
            valid = values > 0
            yield np.repeat(items, valid.sum(axis=1)), nearest[valid], values[valid]

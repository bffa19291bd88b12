"""Baselines: popularity, vector means, item-kNN, EASE and iALS.

Dimension letters: B users, N items, D dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.inputs import positive_from
from tastevec.data.topk import top_k
from tastevec.errors import DataError
from tastevec.evaluation.metrics import unit_rows
from tastevec.items.als import AlsSettings, als_factors, fold_in
from tastevec.items.taste_space import interaction_matrix
from tastevec.schema import POSITIVE_FROM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.scorers import Scorer
    from tastevec.schema import Horizon

__all__ = [
    "ALS",
    "EASE",
    "Constant",
    "ItemKNN",
    "LastOnly",
    "MeanPositive",
    "PerHorizon",
    "Popularity",
    "RecentPopularity",
    "WeightedMean",
    "graded_matrix",
    "normalised_matrix",
    "only_positives",
    "positive_matrix",
]


class LastOnly:
    """A scorer that sees only the newest films of each person.

    Args:
        scorer: The system; fitting this fits it.
        count: How many of the newest interactions it sees.
    """

    def __init__(self, scorer: Scorer, count: int = 20) -> None:
        self.name = f"{scorer.name}, last {count} only"
        self.scorer = scorer
        self._count = count

    @property
    def parts(self) -> tuple[Scorer, ...]:
        """What fitting this fits."""
        return (self.scorer,)

    def fit(self, train: Histories, item_count: int) -> None:
        """Fit the scorer on whole training histories."""
        self.scorer.fit(train, item_count)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the scorer's scores for the shortened histories."""
        return self.scorer.score(histories.last(self._count))


class PerHorizon:
    """One row of the tables whose settings differ by question.

    Args:
        name: What the tables call it.
        overall: Answers what the taste is *overall*.
        next: Answers what comes *next*, and whoever does not say what he asks.
    """

    def __init__(self, name: str, *, overall: Scorer, next: Scorer) -> None:  # noqa: A002  the horizon's one spelling
        self.name = name
        self._scorers: dict[Horizon, Scorer] = {"overall": overall, "next": next}

    @property
    def parts(self) -> tuple[Scorer, ...]:
        """What fitting this fits; a scorer that answers both questions once."""
        return tuple({id(scorer): scorer for scorer in self._scorers.values()}.values())

    def fit(self, train: Histories, item_count: int) -> None:
        """Fit the scorers."""
        for scorer in self.parts:
            scorer.fit(train, item_count)

    def asked(self, horizon: Horizon) -> Scorer:
        """The scorer of this question."""
        return self._scorers[horizon]

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the scores of what comes next."""
        return self._scorers["next"].score(histories)


_MIDDLE_FROM = 0.5  # of the rating range: 3 stars of 1 to 5


def only_positives(histories: Histories, positive_from: float) -> Histories:
    """The same people with only the films that they rated ``positive_from`` or higher."""
    return histories.keep(histories.ratings >= positive_from)  # NaN, only tagged, is not liked


def positive_matrix(histories: Histories, item_count: int, positive_from: float) -> Any:  # noqa: ANN401 - scipy ships no types
    """(B, N) a scipy CSR matrix with 1 where a person liked a film."""
    positive = only_positives(histories, positive_from)
    return interaction_matrix(positive, np.ones(len(positive.items), np.float32), item_count)


def graded_matrix(
    histories: Histories, item_count: int, rating_range: tuple[float, float], middle: float
) -> Any:  # noqa: ANN401 - scipy ships no types
    """(B, N) a scipy CSR matrix with 1 where a person liked a film, and ``middle`` where he rated it in between.

    In between is from the middle of the rating range on, and what was only tagged.
    """
    share = (histories.ratings - rating_range[0]) / (rating_range[1] - rating_range[0])
    between = np.isnan(share) | (share >= _MIDDLE_FROM)
    values = np.select([share >= POSITIVE_FROM, between], [1.0, middle], 0.0).astype(np.float32)
    return interaction_matrix(histories.keep(values > 0), values[values > 0], item_count)


def normalised_matrix(histories: Histories, item_count: int) -> Any:  # noqa: ANN401 - scipy ships no types
    """(B, N) a scipy CSR matrix with each person's normalised ratings, from -1 to 1."""
    return interaction_matrix(histories, np.asarray(histories.normalized_ratings), item_count)


_DAY = 86_400  # seconds


class Popularity:
    """Every film scores the number of training people who liked it.

    Args:
        positive_from: The rating from which a film is liked.
    """

    name = "popularity"

    def __init__(self, *, positive_from: float) -> None:
        self._positive_from = positive_from
        self._scores = np.zeros(0, np.float32)

    def fit(self, train: Histories, item_count: int) -> None:
        """Count the likes of each film."""
        positive = only_positives(train, self._positive_from)
        self._scores = np.bincount(positive.items, minlength=item_count).astype(np.float32)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the same row for everybody."""
        return np.tile(self._scores, (len(histories), 1))


class RecentPopularity:
    """Every film scores its likes within the last days of the training people's time; popularity settles ties.

    Args:
        positive_from: The rating from which a film is liked.
        days: How far back from the newest training interaction likes count.
    """

    name = "recent popularity"

    def __init__(self, *, positive_from: float, days: int = 30) -> None:
        self._positive_from = positive_from
        self._days = days
        self._scores = np.zeros(0, np.float32)

    def fit(self, train: Histories, item_count: int) -> None:
        """Count the recent likes of each film.

        Raises:
            DataError: No training interaction has a time.
        """
        newest = train.timestamps.max(initial=NO_TIMESTAMP)
        if newest == NO_TIMESTAMP:
            raise DataError(
                "no training interaction has a time; expected timestamps; leave recent popularity out of this evaluation"
            )
        positive = only_positives(train, self._positive_from)
        ever = np.bincount(positive.items, minlength=item_count)
        recent = np.bincount(
            positive.items[positive.timestamps > newest - self._days * _DAY], minlength=item_count
        )
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
        positive_from: The rating from which a film is liked.
    """

    def __init__(self, item_vectors: NDArray[np.float32], *, space: str, positive_from: float) -> None:
        self.name = f"constant ({space})"
        self.space = space
        self.item_vectors = item_vectors
        self._units = unit_rows(item_vectors).astype(np.float32)
        self._positive_from = positive_from
        self._vector = np.zeros(item_vectors.shape[1], np.float32)

    def fit(self, train: Histories, item_count: int) -> None:
        """Average the liked films of the training people; each like counts once."""
        positives = np.bincount(only_positives(train, self._positive_from).items, minlength=item_count)
        self._vector = (positives.astype(np.float32) @ self._units) / np.float32(max(1, positives.sum()))

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) the same vector for everybody."""
        return np.tile(self._vector, (len(histories), 1))

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the constant's cosine with each film, the same row for everybody."""
        return np.tile(_cosines(self._vector[None], self._units), (len(histories), 1))


class MeanPositive(Constant):
    """The mean of the vectors of the films that a person liked; the constant for who liked none.

    Args:
        item_vectors: (N, D) the space; a row of zeros is a film without a vector.
        space: The name of the space.
        positive_from: The rating from which a film is liked.
    """

    def __init__(self, item_vectors: NDArray[np.float32], *, space: str, positive_from: float) -> None:
        super().__init__(item_vectors, space=space, positive_from=positive_from)
        self.name = f"mean of liked ({space})"

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) one mean a person."""
        positives = positive_matrix(histories, len(self.item_vectors), self._positive_from)
        return self._means(positives)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the cosine of each person's mean with each film."""
        return _cosines(self.vectors(histories), self._units)

    def _means(self, weights: Any) -> NDArray[np.float32]:  # noqa: ANN401 - scipy ships no types
        """(B, D) the mean of the film vectors of each row of ``weights`` (B, N); the constant where it is zero."""
        means = np.asarray(weights @ self.item_vectors) / np.maximum(1, np.diff(weights.indptr))[:, None]
        known = means.any(axis=1, keepdims=True)  # not: nothing is told, or only of films without a vector
        return np.where(known, means, self._vector).astype(np.float32)


class WeightedMean(MeanPositive):
    """The mean of the vectors of all films of a person, each times its normalised rating: away from what he disliked.

    The note's input to its encoder, averaged. The constant stands for a person whose ratings say nothing.

    Args:
        item_vectors: (N, D) the space; a row of zeros is a film without a vector.
        space: The name of the space.
        positive_from: The rating from which a film is liked, for the constant.
    """

    def __init__(self, item_vectors: NDArray[np.float32], *, space: str, positive_from: float) -> None:
        super().__init__(item_vectors, space=space, positive_from=positive_from)
        self.name = f"rating-weighted mean ({space})"

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) one weighted mean a person; ratings as ``Histories.normalized_ratings`` has them, from -1 to 1."""
        return self._means(normalised_matrix(histories, len(self.item_vectors)))


def _cosines(vectors: NDArray[np.float32], units: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, N) cosines of people with films."""
    return unit_rows(vectors).astype(np.float32) @ units.T


_MAX_ITEMS = 10_000  # P x P float64 is then 800 MB


class EASE:
    """Each film's score is a weighted sum of the liked films, the weights in closed form.

    The weights minimise ``|X - XB|^2 + ridge |B|^2`` with a zero diagonal: ``B = I - C / diag(C)``, where C is the
    inverse of ``X'X + ridge I``. Films beyond the 10,000 most liked score 0, since the inverse grows with their square.

    Args:
        positive_from: The rating from which a film is liked.
        ridge: lambda; 400 is the best found on ml-1m.
        name: What the tables call it.
        middle: What a film of the middle ratings counts beside the 1 of a liked one, and the rating range in which
            that is the middle; then ``positive_from`` plays no part.

    Source: Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", section 3.1.
    """

    def __init__(
        self,
        *,
        positive_from: float,
        ridge: float = 400.0,
        name: str = "EASE",
        middle: tuple[float, tuple[float, float]] | None = None,
    ) -> None:
        self.name = name
        self._positive_from = positive_from
        self._ridge = ridge
        self._middle = middle
        self._items = np.zeros(0, np.int64)
        self._weights = np.zeros((0, 0), np.float32)
        self._item_count = 0

    def fit(self, train: Histories, item_count: int) -> None:
        """Solve for the weights (P, P) between the films that training people liked."""
        positives = self._read(train, item_count)
        counts = np.asarray(positives.sum(axis=0)).ravel()
        most = np.argsort(-counts, kind="stable")[:_MAX_ITEMS]
        self._items = np.sort(most[counts[most] > 0])
        self._item_count = item_count
        fitted = positives[:, self._items]
        gram = (fitted.T @ fitted).toarray().astype(np.float64)  # (P, P)
        gram[np.diag_indices_from(gram)] += self._ridge
        inverse = np.linalg.inv(gram)
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        self._weights = weights.astype(np.float32)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the liked films of each person times the weights."""
        positives = self._read(histories, self._item_count)[:, self._items]
        scores = np.zeros((len(histories), self._item_count), np.float32)
        scores[:, self._items] = positives @ self._weights
        return scores

    def _read(self, histories: Histories, item_count: int) -> Any:  # noqa: ANN401 - scipy ships no types
        """(B, N) what counts of each history."""
        if self._middle is None:
            return positive_matrix(histories, item_count, self._positive_from)
        weight, rating_range = self._middle
        return graded_matrix(histories, item_count, rating_range, weight)


class ALS:
    """Matrix factors of the training people, an unseen person folded in by one exact step.

    Args:
        settings: How the factors are fitted and people folded in.
        positives_only: Whether films that were not liked are left out, of training and of histories; otherwise those of
            the middle ratings count a little, as the settings say.

    Source: Hu, Koren & Volinsky 2008, "Collaborative Filtering for Implicit Feedback Datasets".
    """

    def __init__(self, settings: AlsSettings, *, positives_only: bool) -> None:
        self.name = f"iALS, {'likes' if positives_only else 'likes and middle'}"
        self._settings = settings
        self._positives_only = positives_only
        self._positive_from = positive_from(settings.rating_range)
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
        return only_positives(histories, self._positive_from) if self._positives_only else histories


_CELLS = 1 << 22  # likenesses held at once: 16 MB, and a few times that while the highest are looked for


class ItemKNN:
    """A film scores the sum of its likenesses to the liked films, of those that are among its nearest neighbours.

    The likeness of two films is ``both / (sqrt(one * other) + shrink)``, out of the numbers of people who liked both,
    the one and the other: their cosine, drawn towards 0 where few people speak. No more than K neighbours a film are
    kept, found a block of films at a time.

    Args:
        positive_from: The rating from which a film is liked.
        neighbors: K.
        shrink: Added to the denominator; 0 is the plain cosine.

    Source: Sarwar et al. 2001, "Item-Based Collaborative Filtering Recommendation Algorithms"; shrinkage and defaults
    as in the code of Ferrari Dacrema et al. 2019, "Are We Really Making Much Progress?".
    """

    name = "item-kNN"

    def __init__(self, *, positive_from: float, neighbors: int = 50, shrink: float = 100.0) -> None:
        self._positive_from = positive_from
        self._neighbours = neighbors
        self._shrink = shrink
        self._item_count = 0
        self._items = np.zeros(0, np.int64)
        self._weights: Any = (
            None  # (P, P) scipy CSR, at most K a column: the neighbours of each film that is scored
        )

    def fit(self, train: Histories, item_count: int) -> None:
        """Find the neighbours of each film among what training people liked."""
        from scipy import sparse  # noqa: PLC0415 - an extra

        positives = positive_matrix(train, item_count, self._positive_from)
        self._items = np.flatnonzero(np.bincount(positives.indices, minlength=item_count))
        self._item_count = item_count
        nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        blocks = zip(nothing, *self._nearest(positives[:, self._items]), strict=True)
        items, neighbors, likenesses = (np.concatenate(part) for part in blocks)
        shape = (len(self._items), len(self._items))
        self._weights = sparse.csr_matrix((likenesses, (neighbors, items)), shape=shape)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the liked films of each person times the likenesses."""
        positives = positive_matrix(histories, self._item_count, self._positive_from)[:, self._items]
        scores = np.zeros((len(histories), self._item_count), np.float32)
        scores[:, self._items] = (positives @ self._weights).toarray()
        return scores

    def _nearest(
        self,
        positives: Any,  # noqa: ANN401 - scipy ships no types
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Films, neighbours and likenesses, all flat, of one block of films after another, out of likes (B, P)."""
        by_item = positives.T.tocsr()  # (P, B)
        norms = np.sqrt(np.diff(by_item.indptr))  # (P,)
        block = max(1, _CELLS // max(1, len(norms)))
        for start in range(0, len(norms), block):
            items = np.arange(start, min(start + block, len(norms)))
            both = (by_item[items] @ positives).toarray()  # (Q, P)
            both[np.arange(len(items)), items] = 0.0  # a film is no neighbour of its own
            likeness = (both / (np.outer(norms[items], norms) + self._shrink)).astype(np.float32)
            nearest = top_k(likeness, self._neighbours)  # (Q, K)
            values = np.take_along_axis(likeness, nearest, 1)
            there = values > 0
            yield np.repeat(items, there.sum(axis=1)), nearest[there], values[there]

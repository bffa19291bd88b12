"""Scorers: the interface of a system under evaluation, its rankings and its vectors.

Dimension letters: B users, N items, D dimensions, K ranks, T held-out items.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np

from tastevec.data.topk import rank_items
from tastevec.errors import DataError
from tastevec.evaluation.metrics import hit_rate, hits_at, mrr, ndcg, ranks_of, recall, uncapped_recall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.tasks import Task
    from tastevec.schema import Horizon, TaskId


@runtime_checkable
class Scorer(Protocol):
    """A system that scores the full catalog for held-out users."""

    @property
    def name(self) -> str:
        """The system name, unique in a report."""

    def fit(self, train: Histories, n_items: int) -> None:
        """Fit on the training users; a trained model does nothing."""

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) finite scores, higher is better; each row depends on that user's history alone."""


def as_read(scorer: Scorer, histories: Histories) -> Histories:
    """Return the histories as the scorer reads them: each item once, unless it ``reads_repeats``."""
    return histories if getattr(scorer, "reads_repeats", False) else histories.once()


@runtime_checkable
class VectorScorer(Scorer, Protocol):
    """A scorer with user and item vectors in one space, for cosine distances and embedding geometry."""

    @property
    def space(self) -> str:
        """The embedding space; distances of different spaces are never compared."""

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(N, D) item vectors; a row of zeros is an item without a vector."""

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) user vectors."""


@runtime_checkable
class HorizonScorer(Scorer, Protocol):
    """A scorer whose scores depend on the horizon."""

    def at_horizon(self, horizon: Horizon) -> Scorer:
        """Return the same system at that horizon."""


@dataclass(frozen=True, eq=False)
class Runs:
    """One system of a report: one scorer, or one for each random seed.

    The scorers are at least one and differ in the seed alone; the settings are JSON values.
    """

    name: str
    scorers: Sequence[Scorer | GivenLists]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def one(cls, scorer: Scorer) -> Runs:
        """Return a system of a single run, under the scorer's name."""
        return cls(scorer.name, (scorer,))


def fitted_parts(scorer: Scorer) -> tuple[Scorer, ...]:
    """Return the scorers that fitting this one fits, so that a part of several systems is fitted once."""
    parts = getattr(scorer, "parts", (scorer,))
    return (scorer,) if parts == (scorer,) else tuple(leaf for part in parts for leaf in fitted_parts(part))


class Predictions(NamedTuple):
    """Later ratings of users, predicted from the known part of each history.

    Attributes:
        probabilities: (T,) that each is positive.
        positive: (T,) whether it is.
        owners: (T,) index of its user.
    """

    probabilities: NDArray[np.float32]
    positive: NDArray[np.bool_]
    owners: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EncodedScorer:
    """Scores as inner products of user and item vectors.

    Attributes:
        item_vectors: (N, D); a row of zeros is an item without a vector, and scores lowest.
        encode: Returns the (B, D) vectors of histories at a horizon.
        horizon: The horizon of ``score`` and ``vectors``.
        scored_items: (N, D) the item vectors of the scores, where they differ from those of cosines.
        probabilities: Predicts the later ratings of histories at a horizon; None for a model without probabilities.
        reads_repeats: Each row of an item is read where it is; the encoder has each item once for ``overall`` itself.
    """

    name: str
    space: str
    item_vectors: NDArray[np.float32]
    encode: Callable[[Histories, Horizon], NDArray[np.float32]]
    horizon: Horizon = "next"
    scored_items: NDArray[np.float32] | None = None
    probabilities: Callable[[Histories, Horizon], Predictions] | None = None
    reads_repeats: ClassVar[bool] = True

    def fit(self, train: Histories, n_items: int) -> None:
        """Do nothing: the model is trained."""

    def at_horizon(self, horizon: Horizon) -> EncodedScorer:
        """Return the same encoder at that horizon."""
        return replace(self, horizon=horizon)

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) user vectors."""
        return self.encode(histories, self.horizon)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) scores, higher is better."""
        items = self.item_vectors if self.scored_items is None else self.scored_items
        scores = self.vectors(histories) @ items.T
        scores[:, ~items.any(axis=1)] = np.finfo(np.float32).min
        return scores


_CELLS = 1 << 22  # scores in memory at once: 16 MB


@dataclass(frozen=True, eq=False)
class RankedLists:
    """The top items of one scorer on one task: 4 K bytes a user, and never a row of N.

    Attributes:
        ranked: (B, K) int32 item indices, best first; -1 where fewer items remain.
        ranks: (T,) rank of each held-out item in its user's list, from 0; K where it is absent.
    """

    task: Task
    ranked: NDArray[np.int32]
    ranks: NDArray[np.int64]

    @classmethod
    def of(cls, task: Task, ranked: NDArray[np.int32], n_items: int) -> RankedLists:
        """Return lists (B, K) of a task with the ranks of its held-out items; 4 million cells are in memory at once."""
        ranks, users = [], max(1, _CELLS // n_items)
        for start in range(0, len(task), users):
            offsets = task.offsets[start : start + users + 1]
            targets = task.targets[offsets[0] : offsets[-1]]
            ranks.append(ranks_of(ranked[start : start + users], offsets - offsets[0], targets, n_items))
        return cls(task, ranked, np.concatenate(ranks))

    def accuracy(self, at: Sequence[int]) -> dict[str, NDArray[np.float64]]:
        """(B,) HR, Recall (capped and uncapped), NDCG and MRR at each depth."""
        hit = hits_at(self.ranks, self.task.offsets, self.ranked.shape[1])
        sizes = self.task.held_out_items
        values = {}
        for k in at:
            values[f"hr@{k}"] = hit_rate(hit, k)
            values[f"recall@{k}"] = recall(hit, sizes, k)
            values[f"uncapped_recall@{k}"] = uncapped_recall(hit, sizes, k)
            values[f"ndcg@{k}"] = ndcg(hit, sizes, k)
            values[f"mrr@{k}"] = mrr(hit, k)
        return values


@dataclass(frozen=True, eq=False)
class GivenLists:
    """One run of a system of which nothing but its lists is known.

    Attributes:
        ranked: By task, (B, K) item indices, best first; -1 for none.
    """

    name: str
    ranked: Mapping[TaskId, NDArray[np.int32]]


def rank_lists(scorer: Scorer, task: Task, n_items: int, depth: int) -> RankedLists:
    """Return the first ``depth`` items of every user; 4 million scores are in memory at once, 16 MB.

    Raises:
        DataError: The scores do not fit the catalog, or a score is not finite.
    """
    ranked = []
    for part in task.chunks(max(1, _CELLS // n_items)):
        scores = scorer.score(as_read(scorer, part.inputs))
        if scores.shape != (len(part), n_items):
            raise DataError(
                f"{scorer.name}: scores of shape {scores.shape[0]} x {scores.shape[-1]}. Expected {len(part)} x {n_items}, users x "
                "items of these data. Evaluate a model on the dataset that it was trained on"
            )
        best = rank_items(scores, part.seen or part.inputs, depth, part.candidates)
        ranked.append(best.astype(np.int32))
    return RankedLists.of(task, np.concatenate(ranked), n_items)


def measure(scorer: Scorer, task: Task, n_items: int, at: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """(B,) HR, Recall, NDCG and MRR of each user at each depth, for tuning and epoch selection."""
    return rank_lists(with_horizon(scorer, task), task, n_items, max(at)).accuracy(at)


def with_horizon(scorer: Scorer, task: Task) -> Scorer:
    """Return the scorer at the horizon of the task, where its scores depend on it."""
    return scorer.at_horizon(task.horizon) if isinstance(scorer, HorizonScorer) else scorer

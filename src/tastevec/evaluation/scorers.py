"""Scorers: the interface of a system under evaluation, its rankings and its vectors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from tastevec.data.histories import normalize_ratings
from tastevec.data.topk import rank_items
from tastevec.errors import DataError
from tastevec.evaluation.metrics import hit_rate, hits_at, mrr, ndcg, ranks_of, recall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.tasks import Task
    from tastevec.schema import Horizon

__all__ = [
    "Answers",
    "EncodedScorer",
    "HorizonScorer",
    "Runs",
    "Scorer",
    "VectorScorer",
    "answers",
    "fitted_parts",
    "measure",
    "only_known",
    "with_horizon",
]


@runtime_checkable
class Scorer(Protocol):
    """A system that scores the whole catalogue for people it has never seen."""

    @property
    def name(self) -> str:
        """What the tables call it; no two systems of a table share one."""

    def fit(self, train: Histories, item_count: int) -> None:
        """Learn from the training people; a system that is already trained does nothing."""

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) finite scores, higher is better; each row depends on that person's history alone."""


@runtime_checkable
class VectorScorer(Scorer, Protocol):
    """A scorer that says where a person stands among film vectors, so that cosine distances can be measured too."""

    @property
    def space(self) -> str:
        """The name of the film vectors; distances of different spaces are never compared."""

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(N, D) one row a film; a row of zeros is a film without a vector."""

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) one vector a person."""


@runtime_checkable
class HorizonScorer(Scorer, Protocol):
    """A scorer that answers differently to *what is next* and *what is the taste overall*."""

    def asked(self, horizon: Horizon) -> Scorer:
        """The same system, answering that question."""


@dataclass(frozen=True, eq=False)
class Runs:
    """One system of the tables: the same scorer made once or, where chance has a part in it, from several seeds.

    Attributes:
        name: What the tables call it; no two systems of a table share one.
        scorers: One a seed, at least one, alike in everything else.
        settings: What it was made with, for the record; JSON holds every value.
    """

    name: str
    scorers: Sequence[Scorer]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def one(cls, scorer: Scorer) -> Runs:
        """A system of a single run, under the scorer's own name."""
        return cls(scorer.name, (scorer,))


def fitted_parts(scorer: Scorer) -> tuple[Scorer, ...]:
    """The scorers that fitting this one fits, so that one which stands in several systems need be fitted only once."""
    parts = getattr(scorer, "parts", (scorer,))
    return (scorer,) if parts == (scorer,) else tuple(leaf for part in parts for leaf in fitted_parts(part))


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


_CELLS = 1 << 22  # scores held at once: 16 MB


@dataclass(frozen=True, eq=False)
class Answers:
    """What is kept of one scorer's scores: 4 K bytes a person, and never a row of N.

    Attributes:
        task: The question.
        ranked: (B, K) int32 item indices, best first; -1 for an empty place.
        places: (T,) the place of each hidden film in its person's ranking, from 0; K where it is not there.
    """

    task: Task
    ranked: NDArray[np.int32]
    places: NDArray[np.int64]

    def accuracy(self, at: Sequence[int]) -> dict[str, NDArray[np.float64]]:
        """(B,) HR, Recall, NDCG and MRR at each depth."""
        hit, hidden = hits_at(self.places, self.task.offsets, self.ranked.shape[1]), self.task.hidden
        values = {}
        for k in at:
            values[f"hr@{k}"] = hit_rate(hit, k)
            values[f"recall@{k}"] = recall(hit, hidden, k)
            values[f"ndcg@{k}"] = ndcg(hit, hidden, k)
            values[f"mrr@{k}"] = mrr(hit, k)
        return values


def answers(scorer: Scorer, task: Task, item_count: int, depth: int) -> Answers:
    """The first ``depth`` films for everybody, the people taken in chunks: 4 million scores are held at once, 16 MB.

    Raises:
        DataError: The scores are not those of this catalogue, or one is not a finite number.
    """
    ranked, places = [], []
    for part in task.chunks(max(1, _CELLS // item_count)):
        scores = scorer.score(part.known)
        if scores.shape != (len(part), item_count):
            raise DataError(
                f"{scorer.name} scored {scores.shape[0]} users x {scores.shape[-1]} films; expected {len(part)} x {item_count}, "
                "the catalogue of the data; evaluate it on the data that it was trained on"
            )
        best = rank_items(scores, part.own or part.known, depth, part.candidates)
        ranked.append(best.astype(np.int32))
        places.append(ranks_of(best, part.offsets, part.targets, item_count))
    return Answers(task, np.concatenate(ranked), np.concatenate(places))


def measure(scorer: Scorer, task: Task, item_count: int, at: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """(B,) HR, Recall, NDCG and MRR of each person at each depth: what a system is tuned and selected by."""
    return answers(with_horizon(scorer, task), task, item_count, max(at)).accuracy(at)


def with_horizon(scorer: Scorer, task: Task) -> Scorer:
    """The scorer, asked for the horizon of the task where it answers both differently."""
    return scorer.asked(task.horizon) if isinstance(scorer, HorizonScorer) else scorer


def only_known(histories: Histories, mask: NDArray[np.bool_]) -> Histories:
    """The same people as if they had told only the films where ``mask`` (M,) is true: the others leave no trace."""
    left = histories.keep(mask)
    return replace(left, normalized_ratings=normalize_ratings(left.ratings, left.offsets))

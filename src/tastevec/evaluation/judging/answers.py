"""Answers: the films that one scorer ranks first for the people of a task, and how well they hit what is hidden.

Dimension letters: B users, N items, K places of a ranking, T hidden films.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tastevec.data.histories import normalise_ratings
from tastevec.errors import DataError
from tastevec.evaluation.metrics import hit_rate, hits_at, mrr, ndcg, places_of, rank_unseen, recall
from tastevec.evaluation.scorers import HorizonScorer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.protocol import Task
    from tastevec.evaluation.scorers import Scorer

__all__ = ["Answers", "answers", "measure", "only_known", "with_horizon"]

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
        best = rank_unseen(scores, part.own or part.known, depth, part.candidates)
        ranked.append(best.astype(np.int32))
        places.append(places_of(best, part.offsets, part.targets, item_count))
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
    return replace(left, normalised=normalise_ratings(left.ratings, left.offsets))

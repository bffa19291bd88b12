"""Trial: every system answers every question for people it has never seen.

Dimension letters: B users, N items, T hidden films.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from tastevec.errors import DataError, SettingsError
from tastevec.evaluation.baselines import LastOnly
from tastevec.evaluation.metrics import (
    cosine_distance,
    hit_rate,
    hits,
    mean_direction,
    mean_of_targets,
    mrr,
    ndcg,
    rank_unseen,
    recall,
    without_direction,
)
from tastevec.evaluation.protocol import cases
from tastevec.evaluation.report import Report
from tastevec.evaluation.results import CENTRED_DISTANCE, DISTANCE, Measured, SystemFacts
from tastevec.evaluation.scorers import HorizonScorer, VectorScorer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.prepared import Prepared
    from tastevec.evaluation.protocol import Task
    from tastevec.evaluation.scorers import Scorer
    from tastevec.schema import Protocol, Split

__all__ = ["AT", "PROTOCOLS", "Cohort", "evaluate", "measure"]

AT = (10, 20, 50, 100)
PROTOCOLS: tuple[Protocol, ...] = ("best-rated", "fold-in", "future")
_CELLS = 1 << 22  # scores held at once: 16 MB, and a few times that while they are ranked


@dataclass(frozen=True, eq=False)
class Cohort:
    """Who teaches the systems and who is asked; nobody is both.

    Attributes:
        train: The people that systems may learn from.
        unseen: The people whose films are hidden and guessed.
        item_count: N, films in the catalogue.
        rating_range: The lowest and highest possible rating.

    Raises:
        DataError: A person is in both, or there is nobody to ask.
    """

    train: Histories
    unseen: Histories
    item_count: int
    rating_range: tuple[float, float]

    def __post_init__(self) -> None:
        if not len(self.unseen):
            raise DataError(
                "there is nobody to ask: the split holds 0 users; prepare with a larger share for it"
            )
        both = np.intersect1d(self.train.user_ids, self.unseen.user_ids)
        if len(both):
            raise DataError(
                f"{len(both)} users are both taught and asked, user {both[0]} among them; expected disjoint splits; prepare again"
            )

    @classmethod
    def of(cls, prepared: Prepared, split: Split = "test") -> Cohort:
        """The people of a prepared folder: its training users, and those of another split."""
        return cls(
            train=prepared.histories.take(prepared.users_in("train")),
            unseen=prepared.histories.take(prepared.users_in(split)),
            item_count=prepared.items.num_rows,
            rating_range=prepared.rating_range,
        )


def evaluate(
    systems: Sequence[Scorer],
    cohort: Cohort,
    *,
    floors: Sequence[Scorer] = (),
    protocols: Sequence[Protocol] = PROTOCOLS,
    at: Sequence[int] = AT,
    seed: int = 42,
) -> Report:
    """One report: every system and floor, fitted on the training people, on every task of the unseen.

    Args:
        systems: What is to be judged; each is fitted here (a trained model does nothing then).
        cohort: Who teaches and who is asked.
        floors: What the systems must beat; skill is counted from the best of them.
        protocols: The questions to ask.
        at: The depths k of the ranking metrics.
        seed: Reaches the random part of the protocols and the intervals.

    Returns:
        Means with intervals and per-user values. At no time are the scores of all users held.

    Raises:
        DataError: Nobody has enough for a task, or a system's scores do not fit the catalogue.
        SettingsError: Two systems share a name, or a depth is below 1.
    """
    everyone = [*floors, *systems]
    names = [system.name for system in everyone]
    if len(set(names)) < len(names):
        raise SettingsError(f"the systems are named {', '.join(names)}; expected different names; rename one")
    if not at or min(at) < 1:
        raise SettingsError(f"at is {tuple(at)}; expected depths of 1 or more, such as {AT}")
    tasks = [task for protocol in protocols for task in _tasks(cohort, protocol, seed)]
    fit_seconds = _fit(everyone, cohort)
    measured, facts = [], []
    for place, system in enumerate(everyone):
        start = perf_counter()
        space = system.space if isinstance(system, VectorScorer) else None
        measured += [
            Measured(system.name, task, measure(system, task, cohort.item_count, at)) for task in tasks
        ]
        seconds = perf_counter() - start
        facts.append(SystemFacts(system.name, place < len(floors), space, fit_seconds[place], seconds))
    return Report.of(facts, measured, at=at, seed=seed)


def _tasks(cohort: Cohort, protocol: Protocol, seed: int) -> tuple[Task, ...]:
    tasks = cases(cohort.unseen, protocol=protocol, rating_range=cohort.rating_range, seed=seed)
    for task in tasks:
        if not len(task):
            raise DataError(
                f"none of the {task.left_out} users can be asked {task.name}: nobody has both a film to hide and a film "
                "to know; evaluate more users or leave this protocol out"
            )
    return tasks


def _fit(systems: Sequence[Scorer], cohort: Cohort) -> list[float]:
    """Fit each system and return the seconds; one that appears bare and shortened is fitted once."""
    seconds: dict[int, float] = {}
    inner = [system.scorer if isinstance(system, LastOnly) else system for system in systems]
    for system in inner:
        if id(system) not in seconds:
            start = perf_counter()
            system.fit(cohort.train, cohort.item_count)
            seconds[id(system)] = perf_counter() - start
    return [seconds[id(system)] for system in inner]


def measure(system: Scorer, task: Task, item_count: int, at: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """(B,) values of each metric, the people taken in chunks."""
    asked = system.asked(task.horizon) if isinstance(system, HorizonScorer) else system
    direction = mean_direction(asked.item_vectors) if isinstance(asked, VectorScorer) else None
    parts = []
    for part in task.chunks(max(1, _CELLS // item_count)):
        values = _ranking_values(asked, part, item_count, at)
        if isinstance(asked, VectorScorer) and direction is not None:
            values |= _vector_values(asked, part, direction)
        parts.append(values)
    return {metric: np.concatenate([part[metric] for part in parts]) for metric in parts[0]}


def _ranking_values(
    system: Scorer, task: Task, item_count: int, at: Sequence[int]
) -> dict[str, NDArray[np.float64]]:
    scores = system.score(task.known)
    if scores.shape != (len(task), item_count):
        raise DataError(
            f"{system.name} scored {scores.shape[0]} users x {scores.shape[-1]} films; expected {len(task)} x {item_count}, "
            "the catalogue of the data; evaluate it on the data that it was trained on"
        )
    hit = hits(rank_unseen(scores, task.known, max(at)), task.offsets, task.targets, item_count)
    values = {}
    for k in at:
        values[f"hr@{k}"] = hit_rate(hit, k)
        values[f"recall@{k}"] = recall(hit, task.hidden, k)
        values[f"ndcg@{k}"] = ndcg(hit, task.hidden, k)
        values[f"mrr@{k}"] = mrr(hit, k)
    return values


def _vector_values(
    system: VectorScorer, task: Task, direction: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Cosine distances, the mean over each person's hidden films that have a vector."""
    targets = system.item_vectors[task.targets]  # (T, D)
    people = np.repeat(system.vectors(task.known), task.hidden, axis=0)  # (T, D)
    distances = {
        DISTANCE: cosine_distance(people, targets),
        CENTRED_DISTANCE: cosine_distance(
            without_direction(people, direction), without_direction(targets, direction)
        ),
    }
    there = targets.any(axis=1)
    return {
        metric: mean_of_targets(np.where(there, values, np.nan), task.offsets)
        for metric, values in distances.items()
    }

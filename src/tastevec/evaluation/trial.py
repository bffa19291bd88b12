"""Trial: every system answers every question for people it has never seen.

Dimension letters: B users, N items, T hidden films.
"""

from __future__ import annotations

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
from tastevec.evaluation.report import Report
from tastevec.evaluation.results import CENTRED_DISTANCE, DISTANCE, Measured, SystemFacts
from tastevec.evaluation.scorers import HorizonScorer, Runs, VectorScorer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tastevec.evaluation.cohort import Cohort
    from tastevec.evaluation.protocol import Task
    from tastevec.evaluation.scorers import Scorer
    from tastevec.schema import Protocol

__all__ = ["AT", "PROTOCOLS", "evaluate", "measure"]

AT = (10, 20, 50, 100)
PROTOCOLS: tuple[Protocol, ...] = ("best-rated", "fold-in", "future")
_CELLS = 1 << 22  # scores held at once: 16 MB, and a few times that while they are ranked


def evaluate(
    systems: Sequence[Scorer | Runs],
    cohort: Cohort,
    *,
    floors: Sequence[Scorer | Runs] = (),
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
    everyone = [system if isinstance(system, Runs) else Runs.one(system) for system in (*floors, *systems)]
    names = [system.name for system in everyone]
    if len(set(names)) < len(names):
        raise SettingsError(f"the systems are named {', '.join(names)}; expected different names; rename one")
    if not at or min(at) < 1:
        raise SettingsError(f"at is {tuple(at)}; expected depths of 1 or more, such as {AT}")
    tasks = [task for protocol in protocols for task in cohort.tasks(protocol, seed)]
    fit_seconds = _fit([scorer for system in everyone for scorer in system.scorers], cohort)
    measured, facts = [], []
    for place, system in enumerate(everyone):
        start = perf_counter()
        measured += [_measured(system, task, cohort, at) for task in tasks]
        facts.append(
            SystemFacts(
                system=system.name,
                floor=place < len(floors),
                space=_space(system),
                runs=len(system.scorers),
                settings=system.settings,
                fit_seconds=sum(fit_seconds[id(scorer)] for scorer in system.scorers),
                score_seconds=perf_counter() - start,
            )
        )
    return Report.of(facts, measured, at=at, seed=seed)


def _measured(system: Runs, task: Task, cohort: Cohort, at: Sequence[int]) -> Measured:
    """One system on one task, each person's values the mean over its runs."""
    runs = [measure(scorer, task, cohort.item_count, at) for scorer in system.scorers]
    stacked = {metric: np.stack([run[metric] for run in runs]) for metric in runs[0]}  # (S, B)
    return Measured(
        system=system.name,
        task=task,
        values={metric: values.mean(axis=0) for metric, values in stacked.items()},
        runs={metric: _means(values) for metric, values in stacked.items()},
    )


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S,) the mean of each run over the people that have a value."""
    there = np.isfinite(values)
    counts = there.sum(axis=1)
    means = np.full(len(values), np.nan)
    np.divide(np.where(there, values, 0.0).sum(axis=1), counts, out=means, where=counts > 0)
    return means


def _space(system: Runs) -> str | None:
    """The space of its vectors; of runs that were trained apart, the spaces of all in their order."""
    spaces = [scorer.space for scorer in system.scorers if isinstance(scorer, VectorScorer)]
    return " + ".join(dict.fromkeys(spaces)) or None


def _fit(scorers: Sequence[Scorer], cohort: Cohort) -> dict[int, float]:
    """Fit each scorer; the seconds of each by identity. One that appears bare and shortened is fitted once."""
    seconds: dict[int, float] = {}
    for scorer in scorers:
        inner = scorer.scorer if isinstance(scorer, LastOnly) else scorer
        if id(inner) not in seconds:
            start = perf_counter()
            inner.fit(cohort.train, cohort.item_count)
            seconds[id(inner)] = perf_counter() - start
        seconds[id(scorer)] = seconds[id(inner)]
    return seconds


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
    hit = hits(
        rank_unseen(scores, task.known, max(at), task.candidates), task.offsets, task.targets, item_count
    )
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

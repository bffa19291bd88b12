"""Evaluation of systems on tasks: every metric of each system and task.

Dimension letters: B users, S runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.errors import SettingsError
from tastevec.evaluation.baselines import LastOnly
from tastevec.evaluation.metrics import (
    coverage,
    gini,
    intra_list_similarity,
    log_popularity,
    novelty,
    recommended,
)
from tastevec.evaluation.report import Report
from tastevec.evaluation.results import SHUFFLED, Measured, SystemFacts
from tastevec.evaluation.scorers import Runs, VectorScorer, answers, fitted_parts, with_horizon
from tastevec.evaluation.slices import (
    CURVE_DEPTH,
    FOUND_AT,
    distances,
    encoded,
    halves,
    quality_curve,
    session_note,
    shape,
    shuffled,
    slicings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tastevec.evaluation.dataset import EvalDataset, Items
    from tastevec.evaluation.results import Slice
    from tastevec.evaluation.scorers import Answers, Scorer
    from tastevec.evaluation.tasks import Task
    from tastevec.schema import Protocol

__all__ = ["AT", "PROTOCOLS", "Evaluator", "Judged", "evaluate"]

_LIST: Final = 10  # films of each list that are looked at for what they are


@dataclass(frozen=True, eq=False)
class Judged:
    """What was measured of one scorer on one task.

    Attributes:
        values: (B,) by metric; NaN where a person has none.
        system_metrics: By metric, what only the scorer as a whole has.
        slices: The parts of the task.
    """

    values: dict[str, NDArray[np.float64]]
    system_metrics: dict[str, float]
    slices: tuple[Slice, ...]


@dataclass(frozen=True, eq=False)
class Evaluator:
    """What all scorers meet on one task.

    Attributes:
        task: The question.
        shuffled: The same with the films of each known session in a random order; None where order carries nothing.
        items: The catalogue.
        at: The depths of the ranking metrics.
        seed: Of the people that are drawn where not all can be taken.
    """

    task: Task
    shuffled: Task | None
    items: Items
    at: Sequence[int]
    seed: int

    @classmethod
    def of(cls, task: Task, items: Items, at: Sequence[int], seed: int) -> Evaluator:
        """The judge of a task; the sessions of one that asks what comes next are shuffled by the seed."""
        in_order = task.horizon == "next"
        other = replace(task, known=shuffled(task.known, seed)) if in_order else None
        return cls(task, other, items, at, seed)

    def judged(self, scorer: Scorer) -> Judged:
        """Rank once for everything that can be read off one ranking; again for what is known otherwise."""
        system, item_count = with_horizon(scorer, self.task), len(self.items)
        whole = answers(system, self.task, item_count, max(*self.at, FOUND_AT, CURVE_DEPTH))
        values = whole.accuracy(self.at) | self._lists(whole)
        system_metrics = self._catalog(whole)
        if self.shuffled is not None:
            again = answers(system, self.shuffled, item_count, max(self.at)).accuracy(self.at)
            values |= {f"{metric}{SHUFFLED}": value for metric, value in again.items()}
        if isinstance(system, VectorScorer):
            vectors = encoded(system, self.task.known)
            values |= distances(system, vectors, self.task) | halves(system, self.task.known)
            system_metrics |= shape(vectors, self.seed)
        slices = [*quality_curve(system, whole, item_count, self.seed)]
        for slicing in slicings(self.task, self.items):
            slices += slicing.found(self.task, whole.places)
        return Judged(values, system_metrics, tuple(slices))

    def _lists(self, whole: Answers) -> dict[str, NDArray[np.float64]]:
        """(B,) what kind of films stand in each person's first 10."""
        lists, items = whole.ranked[:, :_LIST], self.items
        return {
            f"log_popularity@{_LIST}": log_popularity(lists, items.raters),
            f"novelty@{_LIST}": novelty(lists, items.raters, items.train_users),
            f"intra_list_similarity@{_LIST}": intra_list_similarity(lists, items.vectors),
        }

    def _catalog(self, whole: Answers) -> dict[str, float]:
        """How much of what may be recommended is, and how unequally."""
        counts = recommended(whole.ranked[:, :_LIST], len(self.items))
        if self.task.candidates is not None:
            counts = counts[self.task.candidates]
        return {f"coverage@{_LIST}": coverage(counts), f"gini@{_LIST}": gini(counts)}


AT = (10, 20, 50, 100)
PROTOCOLS: tuple[Protocol, ...] = ("best-rated", "fold-in", "future")


def evaluate(  # noqa: PLR0913  what a command's flags set, each by its keyword
    systems: Sequence[Scorer | Runs],
    dataset: EvalDataset,
    *,
    trivial_baselines: Sequence[Scorer | Runs] = (),
    protocols: Sequence[Protocol] = PROTOCOLS,
    at: Sequence[int] = AT,
    seed: int = 42,
    progress: Callable[[int, int, str], None] | None = None,
) -> Report:
    """One report: every system and floor, fitted on the training people, on every task of the unseen.

    Memory is bounded by 4 million scores at once and by what grows with the people: the histories that the tasks know,
    of the scorer at hand 100 places and a few vectors a person, and of every system and task one number a person and
    metric. There is never a row of scores for each person.

    Args:
        systems: What is to be judged; each is fitted here (a trained model does nothing then). `LastOnly` is asked
            only what comes next, and is left out where nothing of the kind is asked.
        dataset: Who teaches and who is asked.
        trivial_baselines: What the systems must beat; skill is counted from the best of them.
        protocols: The questions to ask.
        at: The depths k of the ranking metrics.
        seed: Reaches the random part of the protocols, the shuffled sessions, the people drawn and the intervals.
        progress: Told how many of the pairs of a system and a task are done, of how many, and what begins now.

    Returns:
        Means with intervals and per-user values.

    Raises:
        DataError: Nobody has enough for a task, or a system's scores do not fit the catalogue.
        SettingsError: Two systems share a name, none can be asked, or a depth is below 1.
    """
    everyone = _checked([*trivial_baselines, *systems], at)
    judges = [
        Evaluator.of(_with_note(task), dataset.items, at, seed)
        for protocol in protocols
        for task in dataset.tasks(protocol, seed)
    ]
    asked = {system.name: [judge for judge in judges if _meets(system, judge.task)] for system in everyone}
    everyone = [system for system in everyone if asked[system.name]]
    if not everyone:
        raise SettingsError(
            f"no system can be asked {', '.join(protocols)}; expected one that is not a LastOnly; add a system or a protocol"
        )
    total, report = sum(map(len, asked.values())), progress or _silent
    fit_seconds = _fit(everyone, dataset, lambda what: report(0, total, what))
    floor_names = {system.name for system in trivial_baselines}
    measured: list[Measured] = []
    facts = []
    for system in everyone:
        start = perf_counter()
        for judge in asked[system.name]:
            report(len(measured), total, f"{system.name}: {judge.task.name}")
            measured.append(_measured(system, judge))
        facts.append(
            SystemFacts(
                system=system.name,
                floor=system.name in floor_names,
                space=_space(system),
                runs=len(system.scorers),
                settings=system.settings,
                fit_seconds=fit_seconds[system.name],
                score_seconds=perf_counter() - start,
            )
        )
    report(total, total, "intervals")
    return Report.of(facts, measured, at=at, seed=seed)


def _checked(systems: Sequence[Scorer | Runs], at: Sequence[int]) -> list[Runs]:
    everyone = [system if isinstance(system, Runs) else Runs.one(system) for system in systems]
    names = [system.name for system in everyone]
    if len(set(names)) < len(names):
        raise SettingsError(f"the systems are named {', '.join(names)}; expected different names; rename one")
    if not at or min(at) < 1:
        raise SettingsError(f"at is {tuple(at)}; expected depths of 1 or more, such as {AT}")
    return everyone


def _silent(done: int, total: int, what: str) -> None:
    """Nobody wants to know."""


def _with_note(task: Task) -> Task:
    """A task that asks what comes next is read with its sessions in mind."""
    if task.horizon != "next":
        return task
    return replace(task, note=f"{task.note} {session_note(task.known)}")


def _meets(system: Runs, task: Task) -> bool:
    """Whether the system is asked the task: the newest films alone answer what comes next and nothing else."""
    return task.horizon == "next" or not all(isinstance(scorer, LastOnly) for scorer in system.scorers)


def _measured(system: Runs, judge: Evaluator) -> Measured:
    """One system on one task, each person's values the mean over its runs."""
    runs = [judge.judged(scorer) for scorer in system.scorers]
    stacked = {metric: np.stack([run.values[metric] for run in runs]) for metric in runs[0].values}  # (S, B)
    return Measured(
        system=system.name,
        task=judge.task,
        values={metric: values.mean(axis=0) for metric, values in stacked.items()},
        runs={metric: _means(values) for metric, values in stacked.items()},
        system_metrics={
            metric: np.array([run.system_metrics[metric] for run in runs])
            for metric in runs[0].system_metrics
        },
        slices=tuple(
            replace(parts[0], values=np.mean([part.values for part in parts], axis=0))
            for parts in zip(*(run.slices for run in runs), strict=True)
        ),
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


def _fit(systems: Sequence[Runs], dataset: EvalDataset, progress: Callable[[str], None]) -> dict[str, float]:
    """Fit every scorer; the seconds of each system. What stands in several systems is fitted once, and counts in each."""
    seconds: dict[int, float] = {}  # by what was fitted
    total = {}
    for system in systems:
        parts = {id(part): part for scorer in system.scorers for part in fitted_parts(scorer)}
        progress(f"{system.name}: fit")
        for part in parts.values():
            if id(part) not in seconds:
                start = perf_counter()
                part.fit(dataset.train, dataset.item_count)
                seconds[id(part)] = perf_counter() - start
        total[system.name] = sum(seconds[part] for part in parts)
    return total

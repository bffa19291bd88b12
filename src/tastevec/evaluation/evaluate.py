"""Evaluation of systems on tasks: every metric of each system and task.

Dimension letters: B users, S runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.errors import SettingsError
from tastevec.evaluation.metrics import (
    coverage,
    gini,
    intra_list_similarity,
    log_popularity,
    mean_of_valid,
    novelty,
    recommendation_counts,
)
from tastevec.evaluation.report import Report
from tastevec.evaluation.results import SHUFFLED, SystemFacts, TaskResult
from tastevec.evaluation.scorers import (
    GivenLists,
    RankedLists,
    Runs,
    VectorScorer,
    fitted_parts,
    rank_lists,
    with_horizon,
)
from tastevec.evaluation.slices import (
    CURVE_DEPTH,
    SLICE_DEPTH,
    distance_metrics,
    encode_in_chunks,
    geometry_metrics,
    quality_curve,
    session_note,
    shuffle_sessions,
    slicings,
    split_half_metrics,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tastevec.evaluation.dataset import EvalDataset, ItemFacts
    from tastevec.evaluation.results import Slice
    from tastevec.evaluation.scorers import Scorer
    from tastevec.evaluation.tasks import Task
    from tastevec.schema import TaskId

AT = (10, 20, 50, 100)
DEPTH: Final = max(*AT, SLICE_DEPTH, CURVE_DEPTH)  # of the lists at these depths of metrics
_LIST: Final = 10  # depth of the list metrics


@dataclass(frozen=True, eq=False)
class RunResult:
    """One run of a system on one task: (B,) per-user values by metric, NaN where a user has none, and system-level metrics."""

    values: dict[str, NDArray[np.float64]]
    system_metrics: dict[str, float]
    slices: tuple[Slice, ...]
    lists: RankedLists


@dataclass(frozen=True, eq=False)
class Evaluator:
    """One task under equal conditions for all scorers.

    Attributes:
        shuffled: The task with the items of each input session in random order; None where the task is order-free.
        at: Depths of the ranking metrics.
        seed: Random seed of the sampled users.
    """

    task: Task
    shuffled: Task | None
    items: ItemFacts
    at: Sequence[int]
    seed: int

    @classmethod
    def of(cls, task: Task, items: ItemFacts, at: Sequence[int], seed: int) -> Evaluator:
        """Return the evaluator of a task; the seed shuffles the sessions of an order-aware one."""
        if task.horizon != "next":
            return cls(task, None, items, at, seed)
        task = replace(task, note=f"{task.note} {session_note(task.inputs)}")
        return cls(task, replace(task, inputs=shuffle_sessions(task.inputs, seed)), items, at, seed)

    def measure(self, scorer: Scorer | GivenLists) -> RunResult:
        """Return all metrics of a scorer; rankings are computed once, and again for changed inputs."""
        if isinstance(scorer, GivenLists):
            return self._measure_lists(
                RankedLists.of(self.task, scorer.ranked[self.task.name], len(self.items))
            )
        system, n_items = with_horizon(scorer, self.task), len(self.items)
        measured = self._measure_lists(
            rank_lists(system, self.task, n_items, max(*self.at, SLICE_DEPTH, CURVE_DEPTH))
        )
        values, system_metrics = measured.values, measured.system_metrics
        if self.shuffled is not None:
            again = rank_lists(system, self.shuffled, n_items, max(self.at)).accuracy(self.at)
            values |= {f"{metric}{SHUFFLED}": value for metric, value in again.items()}
        if isinstance(system, VectorScorer):
            vectors = encode_in_chunks(system, self.task.inputs)
            values |= distance_metrics(system, vectors, self.task)
            values |= split_half_metrics(system, self.task.inputs)
            system_metrics |= geometry_metrics(vectors, self.seed)
        curve = quality_curve(system, measured.lists, n_items, self.seed)
        return RunResult(values, system_metrics, (*curve, *measured.slices), measured.lists)

    def _measure_lists(self, lists: RankedLists) -> RunResult:
        """Return the metrics that lists alone have: without shuffled sessions, vectors and shorter histories."""
        slices = [
            part for one in slicings(self.task, self.items) for part in one.recall(self.task, lists.ranks)
        ]
        values = lists.accuracy(self.at) | self._list_metrics(lists)
        return RunResult(values, self._catalog_metrics(lists), tuple(slices), lists)

    def _list_metrics(self, lists: RankedLists) -> dict[str, NDArray[np.float64]]:
        """(B,) popularity, novelty and similarity of each user's first 10 items."""
        ranked, items = lists.ranked[:, :_LIST], self.items
        return {
            f"log_popularity@{_LIST}": log_popularity(ranked, items.raters),
            f"novelty@{_LIST}": novelty(ranked, items.raters, items.n_train_users),
            f"intra_list_similarity@{_LIST}": intra_list_similarity(ranked, items.vectors),
        }

    def _catalog_metrics(self, lists: RankedLists) -> dict[str, float]:
        """Coverage and exposure Gini over the items that may be recommended."""
        counts = recommendation_counts(lists.ranked[:, :_LIST], len(self.items))
        if self.task.candidates is not None:
            counts = counts[self.task.candidates]
        return {f"coverage@{_LIST}": coverage(counts), f"gini@{_LIST}": gini(counts)}


def evaluate(  # noqa: PLR0913  the settings of the command, each by its keyword
    systems: Sequence[Scorer | Runs],
    dataset: EvalDataset,
    *,
    baselines: Sequence[Scorer | Runs] = (),
    tasks: Sequence[TaskId] | None = None,
    at: Sequence[int] = AT,
    seed: int = 42,
    progress: Callable[[int, int, str], None] | None = None,
    on_lists: Callable[[str, int, RankedLists], None] | None = None,
) -> Report:
    """Return the report of every system and baseline, fitted on the training users, on every task.

    Memory: at most 4 million scores at once, and what grows with the users: the input histories of the tasks, 100 ranks
    and a few vectors a user of the current scorer, and one number a user and metric of every system and task. There is
    never a row of scores for each user.

    Args:
        systems: The systems to evaluate; each is fitted here (a trained model does nothing then). Those that read the order
            alone (`reads_order`) have order-aware tasks alone, `GivenLists` the tasks of their lists; without any a system is omitted.
        dataset: The training users and the held-out users.
        baselines: The baselines; the skill score counts from the best of them.
        tasks: The tasks; None means all tasks of the dataset. One that no user has is skipped, and the report gives the reason.
        at: Depths k of the ranking metrics.
        seed: Random seed of ``random-20pct``, shuffled sessions, sampled users and confidence intervals.
        progress: Called with the number of measured pairs of system and task, the total, and the current step.
        on_lists: Called with a system, the index of the run and its lists, as soon as they are measured.

    Raises:
        DataError: No user has enough interactions for any task, or scores do not fit the catalog.
        SettingsError: Two systems share a name, none has a task, or a depth is below 1.
    """
    entries = _checked([*baselines, *systems], at)
    found, skipped = dataset.tasks(tasks, seed)
    evaluators = [Evaluator.of(task, dataset.items, at, seed) for task in found]
    chosen = {entry.name: [one for one in evaluators if _of_task(entry, one.task)] for entry in entries}
    entries = [entry for entry in entries if chosen[entry.name]]
    if not entries:
        raise SettingsError(
            f"no system for tasks {', '.join(task.name for task in found)}. Expected one that does not read the order alone."
        )
    total, report = sum(map(len, chosen.values())), progress or (lambda _done, _total, _step: None)
    fit_seconds = _fit(entries, dataset, lambda step: report(0, total, step))
    baseline_names = {entry.name for entry in baselines}
    results: list[TaskResult] = []
    facts = []
    for entry in entries:
        start = perf_counter()
        for evaluator in chosen[entry.name]:
            report(len(results), total, f"{entry.name}: {evaluator.task.name}")
            results.append(_task_result(entry, evaluator, on_lists or (lambda _system, _run, _lists: None)))
        facts.append(
            SystemFacts(
                system=entry.name,
                is_baseline=entry.name in baseline_names,
                space=_space(entry),
                runs=len(entry.scorers),
                settings=entry.settings,
                fit_seconds=fit_seconds[entry.name],
                score_seconds=perf_counter() - start,
            )
        )
    report(total, total, "confidence intervals")
    return Report.of(facts, results, at=at, seed=seed, skipped=skipped)


def _checked(systems: Sequence[Scorer | Runs], at: Sequence[int]) -> list[Runs]:
    entries = [system if isinstance(system, Runs) else Runs.one(system) for system in systems]
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise SettingsError(f"systems: {', '.join(names)}. Expected unique names. Rename one.")
    if not at or min(at) < 1:
        raise SettingsError(f"at: {tuple(at)}. Expected depths of at least 1, for example {AT}.")
    return entries


def _of_task(system: Runs, task: Task) -> list[Scorer | GivenLists]:
    """Return the runs that have the task: the last items alone are for order-aware tasks, given lists for theirs."""
    return [
        scorer
        for scorer in system.scorers
        if (
            task.name in scorer.ranked
            if isinstance(scorer, GivenLists)
            else task.horizon == "next" or not getattr(scorer, "reads_order", False)
        )
    ]


def _task_result(
    system: Runs, evaluator: Evaluator, on_lists: Callable[[str, int, RankedLists], None]
) -> TaskResult:
    """Return one system on one task, each user's values the mean over the runs."""
    runs = []
    for index, scorer in enumerate(_of_task(system, evaluator.task)):
        run = evaluator.measure(scorer)
        on_lists(system.name, index, run.lists)
        runs.append(run)
    stacked = {metric: np.stack([run.values[metric] for run in runs]) for metric in runs[0].values}  # (S, B)
    return TaskResult(
        system=system.name,
        task=evaluator.task,
        values={metric: values.mean(axis=0) for metric, values in stacked.items()},
        runs={
            metric: mean_of_valid(values, np.isfinite(values), axis=1) for metric, values in stacked.items()
        },
        system_metrics={
            metric: np.array([run.system_metrics[metric] for run in runs])
            for metric in runs[0].system_metrics
        },
        slices=tuple(
            replace(parts[0], values=np.mean([part.values for part in parts], axis=0))
            for parts in zip(*(run.slices for run in runs), strict=True)
        ),
    )


def _space(system: Runs) -> str | None:
    """Return the embedding space; of several runs, all spaces in their order."""
    spaces = [scorer.space for scorer in system.scorers if isinstance(scorer, VectorScorer)]
    return " + ".join(dict.fromkeys(spaces)) or None


def _fit(systems: Sequence[Runs], dataset: EvalDataset, progress: Callable[[str], None]) -> dict[str, float]:
    """Fit every scorer and return the seconds of each system; a shared part is fitted once and counts in each."""
    seconds: dict[int, float] = {}  # by the id of the part
    total = {}
    for system in systems:
        scorers = [scorer for scorer in system.scorers if not isinstance(scorer, GivenLists)]
        parts = {id(part): part for scorer in scorers for part in fitted_parts(scorer)}
        progress(f"{system.name}: fit")
        for part in parts.values():
            if id(part) not in seconds:
                start = perf_counter()
                part.fit(dataset.train, dataset.n_items)
                seconds[id(part)] = perf_counter() - start
        total[system.name] = sum(seconds[part] for part in parts)
    return total

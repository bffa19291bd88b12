"""Tuning: each baseline's settings for each question, chosen by validation people within one budget for all."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.errors import DataError, MissingExtraError, SettingsError
from tastevec.evaluation.baselines import LastOnly
from tastevec.evaluation.registry import Between, HistorySubset
from tastevec.evaluation.report import read_results
from tastevec.evaluation.scorers import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    from optuna.distributions import BaseDistribution

    from tastevec.evaluation.dataset import EvalDataset
    from tastevec.evaluation.registry import BaselineSpec, Choices, OneOf, Question
    from tastevec.evaluation.tasks import Task
    from tastevec.schema import Horizon, Protocol

__all__ = ["SECONDS", "TRIALS", "read_choices", "tune"]

TRIALS: Final = 12  # settings that are tried of each system, the published ones first
SECONDS: Final = 120.0  # for each question; whoever is asked several has them together; no trial is cut short

# Whose last task chooses, by its NDCG at a depth.
_PROTOCOL: Final[dict[Horizon, Protocol]] = {"overall": "fold-in", "next": "future"}
_DEPTH = 100
_RANDOM_TRIALS = 5  # Optuna's 10 would leave two trials of twelve to what was learned


def tune(
    specs: Sequence[BaselineSpec],
    dataset: EvalDataset,
    *,
    horizons: Sequence[Horizon] = ("overall", "next"),
    seed: int = 42,
    progress: Callable[[int, int, str], None] | None = None,
) -> Choices:
    """The best settings of each system for each question that it is asked, of those tried.

    A setting is fitted once and asked all questions of its recipe, whole and shortened histories alike; each question
    then chooses for itself. So a recipe of three questions has 12 trials, each of which counts for all three, and 360
    seconds.

    Args:
        specs: What is tuned; what has nothing to tune keeps its published settings.
        dataset: Training people teach, and the *unseen* here are the validation people, who choose.
        horizons: The questions.
        seed: Of the search, of what fold-in hides and of the systems.
        progress: Told how many trials are done, of how many, and of which system.

    Returns:
        For each question the settings and what they were chosen by, as JSON holds it.

    Raises:
        MissingExtraError: Optuna is not installed.
        DataError: No validation person can be asked.
    """
    tasks = {horizon: dataset.tasks(_PROTOCOL[horizon], seed)[-1] for horizon in horizons}
    choices: Choices = {}
    for place, spec in enumerate(specs):

        def report(trials: int, before: int = place * TRIALS, name: str = spec.name) -> None:
            if progress:
                progress(before + trials, len(specs) * TRIALS, f"Tuning {name}")

        report(0)
        questions = spec.questions(horizons)
        if not spec.space:
            choices |= {question: HistorySubset(spec.published) for question in questions}
            continue
        choices |= _Search(spec, questions, dataset, tasks, seed).run(report)
    return choices


@dataclass(eq=False)
class _Search:
    """The trials of one recipe."""

    spec: BaselineSpec
    questions: list[Question]
    dataset: EvalDataset
    tasks: Mapping[Horizon, Task]
    seed: int
    tried: list[dict[str, Any]] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)  # of each trial, one a question

    def run(self, progress: Callable[[int], None]) -> Choices:
        """Search within the budget; what it found for each question."""
        seconds, start = SECONDS * len(self.questions), perf_counter()
        with _quiet() as optuna:
            sampler = optuna.samplers.TPESampler(seed=self.seed, n_startup_trials=_RANDOM_TRIALS)
            study = optuna.create_study(directions=["maximize"] * len(self.questions), sampler=sampler)
            study.enqueue_trial(dict(self.spec.published))
            space = {name: _distribution(allowed) for name, allowed in self.spec.space.items()}
            while not self.tried or (len(self.tried) < TRIALS and perf_counter() - start < seconds):
                trial = study.ask(space)
                self._try({name: _short(value) for name, value in trial.params.items()})
                study.tell(trial, self.values[-1])
                progress(len(self.tried))
        spent = {
            "trials": len(self.tried),
            "seconds": round(perf_counter() - start, 1),
            "budget": {"trials": TRIALS, "seconds": seconds},
        }
        return {
            question: self._chosen(place, question, spent) for place, question in enumerate(self.questions)
        }

    def _try(self, settings: dict[str, Any]) -> None:
        scorer = self.spec.make(settings, self.seed)
        scorer.fit(self.dataset.train, self.dataset.item_count)
        self.tried.append(settings)
        self.values.append([])
        for question in self.questions:
            asked = LastOnly(scorer, question.newest) if question.newest else scorer
            gains = measure(asked, self.tasks[question.horizon], self.dataset.item_count, (_DEPTH,))
            self.values[-1].append(float(gains[f"ndcg@{_DEPTH}"].mean()))

    def _chosen(self, place: int, question: Question, spent: Mapping[str, Any]) -> HistorySubset:
        values = [of_trial[place] for of_trial in self.values]
        best = int(np.argmax(values))  # the first of equals, so that nothing is changed for nothing
        found = {
            "measure": f"{self.tasks[question.horizon].name} ndcg@{_DEPTH} of validation people",
            "published": values[0],
            "best": values[best],
        }
        return HistorySubset(self.tried[best], {**found, **spent})


def read_choices(
    folder: Path, specs: Sequence[BaselineSpec], *, horizons: Sequence[Horizon], fingerprint: str
) -> Choices:
    """What an earlier evaluation was tuned to.

    Args:
        folder: Where its results lie.
        specs: The systems whose settings are wanted.
        horizons: The questions.
        fingerprint: Of the prepared data; settings of other data are refused, since their people may be unseen here.

    Raises:
        FormatError: The folder holds no results, or damaged ones.
        DataError: They are of other data.
        SettingsError: A system was not tuned for one of the questions.
    """
    results = read_results(folder)
    found = (results.get("data") or {}).get("fingerprint")
    if found != fingerprint:
        raise DataError(
            f"{folder} was tuned on data {found}; expected {fingerprint}, the data of this evaluation: evaluate with --tune"
        )
    saved = {str(system.get("system")): system.get("settings") for system in results["systems"]}
    choices: Choices = {}
    for spec in specs:
        for question in spec.questions(horizons):
            record = _part(saved.get(question.system), question.horizon)
            settings, tuning = _part(record, "settings"), _part(record, "tuning")
            if not record or settings.keys() != spec.published.keys() or (spec.space and not tuning):
                raise SettingsError(
                    f"{folder} holds no tuned settings of {question.system!r} for what is asked {question.horizon}; expected "
                    "an evaluation of the same systems and protocols that was tuned: evaluate with --tune"
                )
            choices[question] = HistorySubset(settings, record.get("tuning"))
    return choices


def _part(told: Any, name: str) -> dict[str, Any]:  # noqa: ANN401  what JSON holds
    """What a record says under this name, where both are records; else nothing."""
    part = told.get(name) if isinstance(told, dict) else None
    return part if isinstance(part, dict) else {}


def _distribution(allowed: Between | OneOf) -> BaseDistribution:
    from optuna.distributions import (  # noqa: PLC0415 - an extra
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if not isinstance(allowed, Between):
        return CategoricalDistribution(allowed.options)
    if allowed.whole:
        return IntDistribution(int(allowed.low), int(allowed.high), log=allowed.log)
    return FloatDistribution(allowed.low, allowed.high, log=allowed.log)


def _short(value: float) -> float:
    """A tried number at three digits, so that the record can be read and is what was run.

    Examples:
        >>> _short(123.456), _short(0.0123456), _short(64)
        (123.0, 0.0123, 64)
    """
    return value if value == round(value) else float(f"{value:.3g}")


@contextmanager
def _quiet() -> Iterator[ModuleType]:
    """Optuna, which tells of each trial unless it is told not to."""
    try:
        import optuna  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError("optuna", "tune") from error
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield optuna
    finally:
        optuna.logging.set_verbosity(before)

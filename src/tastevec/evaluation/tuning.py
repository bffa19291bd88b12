"""Hyperparameter tuning of baselines on validation users, with one budget for all."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.data.histories import most_frequent
from tastevec.errors import DataError, MissingExtraError, SettingsError
from tastevec.evaluation.baselines import LastItems
from tastevec.evaluation.dataset import EvalDataset, ItemFacts
from tastevec.evaluation.registry import Range, VariantSettings
from tastevec.evaluation.report import read_results
from tastevec.evaluation.scorers import measure
from tastevec.evaluation.tasks import LiangSplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    from optuna.distributions import BaseDistribution

    from tastevec.evaluation.registry import BaselineSettings, BaselineSpec, Variant
    from tastevec.evaluation.tasks import Task
    from tastevec.schema import Horizon, TaskId

TRIALS: Final = 12  # of each baseline, the published settings first
SECONDS: Final = 120.0  # for each variant; several variants share their sum; no trial is cut short

_TASK: Final[dict[Horizon, TaskId]] = {"overall": "random-20pct", "next": "last-20pct"}
_DEPTH = 100  # of the NDCG that is optimized
# What a trial reads at most, as the choice of our own constants does: the most frequent items, and users drawn at random.
MAX_ITEMS: Final = 4_000
_MAX_TRAIN: Final = 20_000
_MAX_USERS: Final = 800
_RANDOM_TRIALS = 5  # Optuna's 10 would leave the sampler two trials of twelve


def tune(
    specs: Sequence[BaselineSpec],
    dataset: EvalDataset,
    *,
    horizons: Sequence[Horizon] = ("overall", "next"),
    seed: int = 42,
    progress: Callable[[int, int, str], None] | None = None,
) -> BaselineSettings:
    """Return the best settings of each variant among the trials, and its tuning record, as JSON values.

    A trial reads the 4,000 most frequent items of at most 20,000 training users and 800 validation users. It is fitted once and measured for all variants of its spec; each variant then takes its own best trial. A spec
    with three variants has 12 trials, each of which counts for all three, and 360 seconds.

    Args:
        specs: The baselines; those without a search space keep their published settings.
        dataset: Training users, and as held-out users the validation users.
        horizons: The horizons to tune for.
        seed: Random seed of the search, of ``random-20pct`` and of the systems.
        progress: Called with the number of finished trials, the total, and the current baseline.

    Raises:
        MissingExtraError: Optuna is not installed.
        DataError: No validation user has enough interactions.
    """
    dataset = _reduced(dataset, seed)
    tasks = {horizon: dataset.task(_TASK[horizon], seed) for horizon in horizons}
    chosen: BaselineSettings = {}
    for index, spec in enumerate(specs):

        def report(trials: int, before: int = index * TRIALS, name: str = spec.name) -> None:
            if progress:
                progress(before + trials, len(specs) * TRIALS, f"Tuning {name}")

        report(0)
        variants = spec.variants(horizons)
        if spec.space and variants:  # what reads the order has none where no task does
            chosen |= _Search(spec, variants, dataset, tasks, seed).run(report)
        else:
            chosen |= {variant: VariantSettings(spec.published) for variant in variants}
    return chosen


def _reduced(dataset: EvalDataset, seed: int) -> EvalDataset:
    """Return what the trials read of a dataset."""
    train = dataset.train.sample(_MAX_TRAIN, seed)
    users = dataset.held_out_users.sample(_MAX_USERS, seed)
    split, n_items = dataset.split, min(dataset.n_items, MAX_ITEMS)
    if n_items < dataset.n_items:
        index = most_frequent(train, dataset.n_items, n_items)
        train, users = train.renumbered(index), users.renumbered(index)
        if isinstance(split, LiangSplit):
            split = LiangSplit(split.candidates[index >= 0])
        elif split is not None:
            split = replace(split, rated=split.rated[index >= 0])
    items = ItemFacts.without_metadata(train, n_items)
    return replace(dataset, train=train, held_out_users=users, items=items, split=split)


@dataclass(eq=False)
class _Search:
    """The trials of one baseline."""

    spec: BaselineSpec
    variants: list[Variant]
    dataset: EvalDataset
    tasks: Mapping[Horizon, Task]
    seed: int
    tried: list[dict[str, Any]] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)  # of each trial, one a variant

    def run(self, progress: Callable[[int], None]) -> BaselineSettings:
        """Search within the budget and return the best settings of each variant."""
        seconds, start = SECONDS * len(self.variants), perf_counter()
        with _quiet_optuna() as optuna:
            sampler = optuna.samplers.TPESampler(seed=self.seed, n_startup_trials=_RANDOM_TRIALS)
            study = optuna.create_study(directions=["maximize"] * len(self.variants), sampler=sampler)
            study.enqueue_trial(dict(self.spec.published))
            space = {name: _distribution(values) for name, values in self.spec.space.items()}
            while not self.tried or (len(self.tried) < TRIALS and perf_counter() - start < seconds):
                trial = study.ask(space)
                self._try({name: _rounded(value) for name, value in trial.params.items()})
                study.tell(trial, self.values[-1])
                progress(len(self.tried))
        spent = {
            "trials": len(self.tried),
            "seconds": round(perf_counter() - start, 1),
            "budget": {"trials": TRIALS, "seconds": seconds},
        }
        return {variant: self._best(index, variant, spent) for index, variant in enumerate(self.variants)}

    def _try(self, settings: dict[str, Any]) -> None:
        scorer = self.spec.make(settings, self.seed)
        scorer.fit(self.dataset.train, self.dataset.n_items)
        self.tried.append(settings)
        self.values.append([])
        for variant in self.variants:
            system = LastItems(scorer, variant.last_n) if variant.last_n else scorer
            metrics = measure(system, self.tasks[variant.horizon], self.dataset.n_items, (_DEPTH,))
            self.values[-1].append(float(metrics[f"ndcg@{_DEPTH}"].mean()))

    def _best(self, index: int, variant: Variant, spent: Mapping[str, Any]) -> VariantSettings:
        values = [of_trial[index] for of_trial in self.values]
        best = int(np.argmax(values))  # the first of equals: published settings stay unless others are better
        found = {
            "measure": f"{self.tasks[variant.horizon].name} ndcg@{_DEPTH} of validation users, {self.dataset.n_items} items",
            "published": values[0],
            "best": values[best],
        }
        return VariantSettings(self.tried[best], {**found, **spent})


def read_tuned_settings(
    folder: Path, specs: Sequence[BaselineSpec], *, horizons: Sequence[Horizon], fingerprint: str
) -> BaselineSettings:
    """Return the tuned settings of an earlier evaluation.

    Settings of data with another fingerprint are refused, since their users may be held out here.

    Raises:
        FormatError: The folder has no results, or damaged ones.
        DataError: They are of other data.
        SettingsError: A baseline was not tuned for one of the horizons.
    """
    results = read_results(folder)
    found = (results.get("data") or {}).get("fingerprint")
    if found != fingerprint:
        raise DataError(
            f"{folder}: tuned on data {found}. Expected {fingerprint}, the data of this evaluation. Evaluate with --tune"
        )
    saved = {str(system.get("system")): system.get("settings") for system in results["systems"]}
    chosen: BaselineSettings = {}
    for spec in specs:
        for variant in spec.variants(horizons):
            record = _dict_at(saved.get(variant.system), variant.horizon)
            settings, tuning = _dict_at(record, "settings"), _dict_at(record, "tuning")
            if not record or settings.keys() != spec.published.keys() or (spec.space and not tuning):
                raise SettingsError(
                    f"{folder}: no tuned settings of {variant.system!r} for horizon {variant.horizon}. Expected a tuned evaluation "
                    "of the same systems and tasks. Evaluate with --tune"
                )
            chosen[variant] = VariantSettings(settings, record.get("tuning"))
    return chosen


def _dict_at(record: Any, name: str) -> dict[str, Any]:  # noqa: ANN401  any JSON value
    """Return the object under a name of a JSON object, else an empty one."""
    part = record.get(name) if isinstance(record, dict) else None
    return part if isinstance(part, dict) else {}


def _distribution(values: Range | tuple[float, ...]) -> BaseDistribution:
    from optuna import distributions  # noqa: PLC0415  an extra

    if not isinstance(values, Range):
        return distributions.CategoricalDistribution(values)
    if values.integer:
        return distributions.IntDistribution(int(values.low), int(values.high), log=values.log)
    return distributions.FloatDistribution(values.low, values.high, log=values.log)


def _rounded(value: float) -> float:
    """Return a value at three digits, so that the record is short and exactly what was run.

    Examples:
        >>> _rounded(123.456), _rounded(0.0123456), _rounded(64)
        (123.0, 0.0123, 64)
    """
    return value if value == round(value) else float(f"{value:.3g}")


@contextmanager
def _quiet_optuna() -> Iterator[ModuleType]:
    """Yield Optuna without its log line for each trial."""
    try:
        import optuna  # noqa: PLC0415  an extra
    except ImportError as error:
        raise MissingExtraError("optuna", "tune") from error
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield optuna
    finally:
        optuna.logging.set_verbosity(before)

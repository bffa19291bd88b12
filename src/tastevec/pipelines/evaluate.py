"""The evaluate stage: models and baselines on held-out users of a prepared dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from tastevec.data.files import check_replaceable
from tastevec.data.prepared import Prepared
from tastevec.errors import DataError, FormatError, SettingsError
from tastevec.evaluation.scorers import EncodedScorer, Runs
from tastevec.extras import require
from tastevec.pipelines.progress import progress_bar
from tastevec.schema import BUNDLE_FILE, GENRES, RESULTS_FILE, Horizon
from tastevec.serving.recommender import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tastevec.evaluation.registry import BaselineSpec
    from tastevec.evaluation.report import Report
    from tastevec.pipelines.progress import Progress
    from tastevec.schema import Split, TaskId
    from tastevec.serving.recommender import Recommender

_RUN_SETTINGS: Final = ("seed", "device", "report_to")  # settings in which the runs of one system may differ


def model_scorer(recommender: Recommender, name: str) -> EncodedScorer:
    """Return a trained model as a scorer."""
    return EncodedScorer(
        name,
        recommender.bundle.space,
        recommender.item_directions,
        recommender.vectors,
        scored_items=recommender.item_vectors,
    )


def model_runs(folder: Path, prepared: Prepared) -> Runs:
    """Return the model of a folder as a system with the folder's name.

    Args:
        folder: A model folder; or a folder of model folders, one a seed, which are runs of one system.
        prepared: The dataset of the evaluation, on which the model was trained.

    Raises:
        FormatError: It is neither, or a model is damaged or of another format version.
        DataError: A model was trained on other data or has added items, or models of a folder differ by more than the seed.
    """
    folder = folder.resolve()
    models = {path: load(path) for path in _model_folders(folder)}
    for path, recommender in models.items():
        _refuse_other_data(path.relative_to(folder.parent), recommender, prepared)
    first, *others = models
    for other in others:
        _refuse_other_settings(first, other, models)
    settings = [recommender.bundle.facts["settings"] for recommender in models.values()]
    seeds = [own["seed"] for own in settings]
    if len(set(seeds)) < len(seeds):
        raise DataError(
            f"{folder}: models with seeds {', '.join(map(str, seeds))}. Expected a different seed for each. Remove duplicates"
        )
    shared = {name: value for name, value in settings[0].items() if name not in _RUN_SETTINGS}
    scorers = [model_scorer(recommender, folder.name) for recommender in models.values()]
    return Runs(folder.name, scorers, {"seeds": seeds, **shared})


def _model_folders(folder: Path) -> list[Path]:
    """Return the folder itself, or the model folders in it, by name."""
    inside = sorted(path for path in folder.glob("[!.]*") if path.is_dir())
    if (folder / BUNDLE_FILE).exists() or not any((path / BUNDLE_FILE).exists() for path in inside):
        return [folder]
    for path in inside:
        if not (path / BUNDLE_FILE).exists():
            raise FormatError(
                f"{folder}: {path.name} is not a model folder (no {BUNDLE_FILE}). Expected one model folder for each seed and "
                "nothing else. Wait until its training ends, or move it"
            )
    return inside


def _refuse_other_data(path: Path, recommender: Recommender, prepared: Prepared) -> None:
    """Raise DataError for other training data, which may contain the held-out users, and for added items."""
    if recommender.bundle.facts["data"]["fingerprint"] != prepared.fingerprint:
        raise DataError(
            f"model {path} was not trained on {prepared.folder}: held-out users may be in its training data. Expected the dataset of "
            f"the training. Evaluate it on that dataset, or run: tastevec train {prepared.folder} --out {path}"
        )
    if added := len(recommender.bundle.model.added_items):
        raise DataError(
            f"model {path} has {added} items added after training, which the dataset lacks. Expected the model as trained. "
            "Evaluate the model before add-items"
        )


def _refuse_other_settings(first: Path, other: Path, models: dict[Path, Recommender]) -> None:
    one, two = (models[path].bundle.facts["settings"] for path in (first, other))
    changed = [name for name in sorted({*one, *two} - {*_RUN_SETTINGS}) if one.get(name) != two.get(name)]
    if changed:
        raise DataError(
            f"{first.parent}: models {first.name} and {other.name} differ in {', '.join(changed)}. Expected runs that differ in the "
            "seed alone. Evaluate them as two models"
        )


def evaluate(
    models: Path | str | Sequence[Path | str],
    data: Path | str,
    out: Path | str | None = None,
    *,
    tasks: Sequence[TaskId] | None = None,
    with_baselines: bool = True,
    without: Sequence[str] = (),
    split: Split = "test",
    seed: int = 42,
    seeds: int = 3,
    tune: bool = False,
    tuned: Path | str | None = None,
    progress: bool | Progress = True,
) -> Report:
    """Evaluate models on held-out users against baselines.

    Args:
        models: Model folders, one or several; or folders of models that differ in the seed alone. The folder name is the system
            name.
        data: The prepared dataset on which they were trained.
        out: Output folder; None writes nothing.
        tasks: The tasks; None means all tasks of the dataset.
        with_baselines: Whether to fit strong baselines (item-kNN, EASE, lagged item regression, iALS, Mult-VAE), not only trivial ones.
        without: Names of strong baselines that are not fitted, such as ``Mult-VAE``, the slowest.
        split: ``test``; or ``validation``, whose metrics are optimistic: its users selected the epoch and what is tuned.
        seed: Random seed of ``random-20pct`` and of the CIs, and the first seed of the baselines.
        seeds: Number of runs of seeded baselines.
        tune: Tune every baseline first, on the validation users.
        tuned: The folder of an earlier evaluation on these data, whose tuned settings are used.
        progress: Show a progress bar in a notebook or a terminal; or a function of the finished steps, their total, and the current
            step; or False.

    Raises:
        FormatError: A folder has other content.
        DataError: A model or the tuned settings are of other data, or no user has enough interactions for a task.
        SettingsError: Two model folders share a name, a baseline is unknown, or settings contradict each other.
        MissingExtraError: ``tune`` is set and Optuna is not installed.
    """
    from tastevec.evaluation.behavior import measure_behavior
    from tastevec.evaluation.dataset import EvalDataset
    from tastevec.evaluation.evaluate import evaluate as evaluate_systems
    from tastevec.evaluation.html_report import write_report
    from tastevec.evaluation.mult_vae import mult_vae
    from tastevec.evaluation.registry import (
        build_baselines,
        published_settings,
        strong_baselines,
        trivial_baselines,
        vector_baselines,
    )
    from tastevec.evaluation.tuning import read_tuned_settings
    from tastevec.evaluation.tuning import tune as tune_baselines

    folders = [Path(one).resolve() for one in ([models] if isinstance(models, Path | str) else models)]
    _check_settings(folders, seed=seed, seeds=seeds, tune=tune, tuned=tuned)
    prepared = Prepared.open(Path(data))
    if out is not None:  # now, not after the evaluation
        check_replaceable(Path(out), marker_file=RESULTS_FILE, inputs=(*folders, data, tuned))
        require("matplotlib")
    systems = [model_runs(folder, prepared) for folder in folders]
    dataset, scale = EvalDataset.of(prepared, split), prepared.scale
    found, _ = dataset.tasks(tasks, seed)  # without any it fails now, not after the tuning
    horizons = [horizon for horizon in get_args(Horizon) if horizon in {task.horizon for task in found}]
    strong = _others([*strong_baselines(scale=scale), mult_vae(scale=scale)], without)
    specs = [*trivial_baselines(dataset.train, scale=scale), *(strong if with_baselines else ())]
    with progress_bar(progress) as step:
        if tune:
            validation = EvalDataset.of(prepared, "validation")
            chosen = tune_baselines(specs, validation, horizons=horizons, seed=seed, progress=step)
        elif tuned is not None:
            chosen = read_tuned_settings(
                Path(tuned), specs, horizons=horizons, fingerprint=prepared.fingerprint
            )
        else:
            chosen = published_settings(specs, horizons)
        baselines = build_baselines(specs, chosen, range(seed, seed + seeds))
        baselines += [one for model in systems for one in vector_baselines(model, scale=scale)]
        report = evaluate_systems(
            systems, dataset, baselines=baselines, tasks=tasks, seed=seed, progress=step
        )
        step(0, 1, "behavior")
        behavior = measure_behavior(systems, dataset, prepared.items[GENRES], horizons=horizons, seed=seed)
    facts = {"name": prepared.manifest["source"]["name"], "fingerprint": prepared.fingerprint, "split": split}
    facts |= {"item_noun": prepared.noun.to_json(), "n_items": len(prepared.items)}
    report = replace(report, data=facts, behavior=behavior)
    if out is not None:
        write_report(report, Path(out))
    return report


def _others(specs: Sequence[BaselineSpec], without: Sequence[str]) -> list[BaselineSpec]:
    """Return the baselines without those of these names; raise SettingsError for an unknown name."""
    known = [spec.name for spec in specs]
    for name in without:
        if name not in known:
            raise SettingsError(f"without: {name!r}. Expected one of {', '.join(known)}.")
    return [spec for spec in specs if spec.name not in without]


def _check_settings(
    folders: Sequence[Path], *, seed: int, seeds: int, tune: bool, tuned: Path | str | None
) -> None:
    """Raise SettingsError for settings that contradict each other, and for folders that share a name."""
    if seeds < 1:
        raise SettingsError(f"seeds: {seeds}. Expected at least 1.")
    if tune and tuned is not None:
        raise SettingsError(f"tune: True, and tuned: {tuned}. Expected at most one of them.")
    if seed < 0:
        raise SettingsError(f"seed: {seed}. Expected at least 0.")
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        raise SettingsError(f"model folders: {', '.join(names)}. Expected unique names. Rename one.")

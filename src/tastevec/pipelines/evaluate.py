"""The evaluate stage: models and baselines on held-out users of a prepared dataset."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from tastevec.data.files import atomic_folder, check_replaceable
from tastevec.data.prepared import Prepared
from tastevec.errors import DataError, FormatError, SettingsError
from tastevec.evaluation.calibration import measure_calibration
from tastevec.evaluation.results import MEASURES, Behavior
from tastevec.evaluation.scorers import EncodedScorer, Predictions, Runs
from tastevec.evaluation.shared import on_items_of
from tastevec.extras import require
from tastevec.pipelines.progress import progress_bar
from tastevec.schema import BUNDLE_FILE, GENRES, RANKINGS_FILE, RESULTS_FILE, Horizon
from tastevec.serving.calibration import later_ratings
from tastevec.serving.recommender import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.value_scale import ValueScale
    from tastevec.evaluation.registry import BaselineSettings, BaselineSpec
    from tastevec.evaluation.report import Report
    from tastevec.evaluation.scorers import RankedLists
    from tastevec.evaluation.tasks import Task
    from tastevec.pipelines.progress import Progress
    from tastevec.schema import Split, TaskId
    from tastevec.serving.recommender import Recommender

_RUN_SETTINGS: Final = ("seed", "device", "report_to")  # settings in which the runs of one system may differ


def model_scorer(recommender: Recommender, name: str) -> EncodedScorer:
    """Return a trained model as a scorer."""
    calibration = recommender.bundle.calibration
    positive_from = recommender.bundle.reading.scale.positive_from

    def predicted(histories: Histories, horizon: Horizon) -> Predictions:
        assert calibration is not None
        known, later, positive = later_ratings(histories, positive_from)
        shares = calibration.user_shares(known, positive_from)[later.owners]
        scores = recommender.scores(known, later, horizon)
        found = calibration.probabilities(scores, later.items, shares, horizon)
        return Predictions(found, positive, later.owners)

    return EncodedScorer(
        name,
        recommender.bundle.space,
        recommender.item_directions,
        recommender.vectors,
        scored_items=recommender.item_vectors,
        probabilities=None if calibration is None else predicted,
    )


def model_runs(folder: Path, prepared: Prepared, others: Sequence[Prepared] = ()) -> Runs:
    """Return the model of a folder as a system with the folder's name.

    Args:
        folder: A model folder; or a folder of model folders, one a seed, which are runs of one system.
        prepared: The dataset of the evaluation.
        others: Other datasets; on one of all these the model was trained.

    Raises:
        FormatError: It is neither, or a model is damaged or of another format version.
        DataError: A model was trained on other data or has added items, or models of a folder differ by more than the seed.
    """
    folder = folder.resolve()
    models = {path: load(path) for path in _model_folders(folder)}
    scorers = []
    for path, recommender in models.items():
        trained_on = _dataset_of(path.relative_to(folder.parent), recommender, (prepared, *others))
        scorer = model_scorer(recommender, folder.name)
        scorers.append(scorer if trained_on is prepared else on_items_of(prepared, trained_on, scorer))
    first, *rest = models
    for other in rest:
        _refuse_other_settings(first, other, models)
    settings = [recommender.bundle.facts["settings"] for recommender in models.values()]
    seeds = [own["seed"] for own in settings]
    if len(set(seeds)) < len(seeds):
        raise DataError(
            f"{folder}: models with seeds {', '.join(map(str, seeds))}. Expected a different seed for each. Remove duplicates"
        )
    shared = {name: value for name, value in settings[0].items() if name not in _RUN_SETTINGS}
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


def _dataset_of(path: Path, recommender: Recommender, datasets: Sequence[Prepared]) -> Prepared:
    """Return the dataset of the training; raise DataError for others, which may train on held-out users, and for added items."""
    fingerprint = recommender.bundle.facts["data"]["fingerprint"]
    found = next((one for one in datasets if one.fingerprint == fingerprint), None)
    if found is None:
        names = ", ".join(str(one.folder) for one in datasets)
        raise DataError(
            f"model {path} was not trained on {names}: held-out users may be in its training data. Expected the dataset of the "
            f"training. Add it as a second --data, or run: tastevec train {datasets[0].folder} --out {path}"
        )
    if added := len(recommender.bundle.model.added_items):
        raise DataError(
            f"model {path} has {added} items added after training, which the dataset lacks. Expected the model as trained. "
            "Evaluate the model before add-items"
        )
    return found


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
    data: Path | str | Sequence[Path | str],
    out: Path | str | None = None,
    *,
    lists: Mapping[str, Any] | None = None,
    tasks: Sequence[TaskId] | None = None,
    with_baselines: bool = True,
    without: Sequence[str] = (),
    split: Split = "test",
    seed: int = 42,
    seeds: int = 3,
    tune: bool = False,
    tuned: Path | str | None = None,
    rankings: bool = True,
    progress: bool | Progress = True,
) -> Report:
    """Evaluate models and lists of other systems on held-out users against baselines.

    Args:
        models: Model folders, one or several; or folders of models that differ in the seed alone. The folder name is the system
            name. Without any, baselines and lists are evaluated.
        data: The prepared dataset on which they were trained. Several, where the models are of several: the users held out of
            all and the items of all are evaluated, with the histories of the first (`shared_dataset`).
        out: Output folder; None writes nothing.
        lists: By system name, the lists of any other system for the users of the tasks: a Parquet or CSV file, or a table,
            with the columns of ``rankings.parquet`` (`read_lists`).
        tasks: The tasks; None means all tasks of the dataset.
        with_baselines: Whether to fit strong baselines (item-kNN, EASE, lagged item regression, iALS, Mult-VAE), not only trivial ones.
        without: Names of strong baselines that are not fitted, such as ``Mult-VAE``, the slowest.
        split: ``test``; or ``validation``, whose metrics are optimistic: its users selected the epoch and what is tuned.
        seed: Random seed of ``random-20pct`` and of the CIs, and the first seed of the baselines.
        seeds: Number of runs of seeded baselines.
        tune: Tune every baseline first, on the validation users.
        tuned: The folder of an earlier evaluation on these data, whose tuned settings are used.
        rankings: Whether to write the lists of all systems, the first 100 items of each user (``rankings.parquet``).
        progress: Show a progress bar in a notebook or a terminal; or a function of the finished steps, their total, and the current
            step; or False.

    Raises:
        FormatError: A folder or file has other content.
        DataError: A model or the tuned settings are of other data, no user has enough interactions for a task, or lists are
            not of the users and items of the tasks.
        SettingsError: Two systems share a name, a baseline is unknown, or settings contradict each other.
        MissingExtraError: ``tune`` is set and Optuna is not installed.
    """
    from tastevec.evaluation.behavior import measure_behavior
    from tastevec.evaluation.dataset import EvalDataset
    from tastevec.evaluation.evaluate import DEPTH
    from tastevec.evaluation.evaluate import evaluate as evaluate_systems
    from tastevec.evaluation.html_report import write_files
    from tastevec.evaluation.lists import read_lists
    from tastevec.evaluation.registry import build_baselines, trivial_baselines, vector_baselines
    from tastevec.evaluation.shared import shared_dataset

    models, lists = [models] if isinstance(models, Path | str) else models, lists or {}
    folders = [Path(one).resolve() for one in models]
    _check_settings([folder.name for folder in folders], lists, seed=seed, seeds=seeds)
    datasets = [data] if isinstance(data, Path | str) else [*data]
    prepared, *others = (Prepared.open(Path(one)) for one in datasets)
    _check_out(out, (*models, *datasets, tuned, *lists.values()))  # now, not after the evaluation
    systems = [model_runs(folder, prepared, others) for folder in folders]
    dataset = shared_dataset(prepared, others, split) if others else EvalDataset.of(prepared, split)
    found, _ = dataset.tasks(tasks, seed)  # without any it fails now, not after the tuning
    given = [read_lists(name, one, found, prepared.item_ids, DEPTH) for name, one in lists.items()]
    horizons = [horizon for horizon in get_args(Horizon) if horizon in {task.horizon for task in found}]
    strong = _strong_baselines(prepared.scale, without)
    specs = [*trivial_baselines(dataset.train, scale=prepared.scale), *(strong if with_baselines else ())]
    with (
        progress_bar(progress) as step,
        _result_folder(out, found, prepared.item_ids, rankings=rankings) as (folder, on_lists),
    ):
        chosen = _settings(specs, prepared, horizons, seed=seed, tune=tune, tuned=tuned, progress=step)
        baselines = build_baselines(specs, chosen, range(seed, seed + seeds))
        baselines += [one for model in systems for one in vector_baselines(model, scale=prepared.scale)]
        report = evaluate_systems(
            [*systems, *given],
            dataset,
            baselines=baselines,
            tasks=tasks,
            seed=seed,
            progress=step,
            on_lists=on_lists,
        )
        step(0, 1, "behavior")
        behavior = Behavior((), dict.fromkeys(MEASURES, "the models are of several prepared datasets"))
        if not others:
            genres = prepared.items[GENRES]
            behavior = measure_behavior(systems, dataset, genres, horizons=horizons, seed=seed)
        calibration = measure_calibration(systems, dataset.held_out_users, horizons=horizons, seed=seed)
        report = replace(
            report, data=_facts(prepared, others, split), behavior=behavior, calibration=calibration
        )
        if folder is not None:
            write_files(report, folder)
    return report


def _check_out(out: Path | str | None, inputs: Sequence[Any]) -> None:
    """Raise an error where ``out`` cannot be written, or would replace an input."""
    if out is not None:
        files = [one for one in inputs if isinstance(one, str | Path)]
        check_replaceable(Path(out), marker_file=RESULTS_FILE, inputs=files)
        require("matplotlib")


def _facts(prepared: Prepared, others: Sequence[Prepared], split: Split) -> dict[str, Any]:
    """Return what results say of the data."""
    named, *also = (
        {"name": one.manifest["source"]["name"], "fingerprint": one.fingerprint}
        for one in (prepared, *others)
    )
    return {
        **named,
        **({"others": also} if also else {}),
        "split": split,
        "item_noun": prepared.noun.to_json(),
        "n_items": len(prepared.items),
    }


@contextmanager
def _result_folder(
    out: Path | str | None, tasks: Sequence[Task], item_ids: NDArray[Any], *, rankings: bool
) -> Iterator[tuple[Path | None, Callable[[str, int, RankedLists], None] | None]]:
    """Yield a temporary folder that becomes ``out``, with the items of the tasks, and what writes lists into it."""
    from tastevec.evaluation.rankings import lists_writer, write_task_items

    if out is None:
        yield None, None
        return
    with atomic_folder(Path(out), marker_file=RESULTS_FILE) as folder:
        write_task_items(folder, tasks, item_ids)
        with lists_writer(folder / RANKINGS_FILE, item_ids) if rankings else nullcontext() as on_lists:
            yield folder, on_lists


def _strong_baselines(scale: ValueScale, without: Sequence[str]) -> list[BaselineSpec]:
    """Return the strong baselines without those of these names; raise SettingsError for an unknown name."""
    from tastevec.evaluation.mult_vae import mult_vae
    from tastevec.evaluation.registry import strong_baselines

    specs = [*strong_baselines(scale=scale), mult_vae(scale=scale)]
    known = [spec.name for spec in specs]
    for name in without:
        if name not in known:
            raise SettingsError(f"without: {name!r}. Expected one of {', '.join(known)}.")
    return [spec for spec in specs if spec.name not in without]


def _settings(
    specs: Sequence[BaselineSpec],
    prepared: Prepared,
    horizons: Sequence[Horizon],
    *,
    seed: int,
    tune: bool,
    tuned: Path | str | None,
    progress: Progress,
) -> BaselineSettings:
    """Return the settings of the baselines: tuned now or before, or the published ones."""
    from tastevec.evaluation.dataset import EvalDataset
    from tastevec.evaluation.registry import published_settings
    from tastevec.evaluation.tuning import read_tuned_settings
    from tastevec.evaluation.tuning import tune as tune_baselines

    if tune and tuned is not None:
        raise SettingsError(f"tune: True, and tuned: {tuned}. Expected at most one of them.")
    if tune:
        validation = EvalDataset.of(prepared, "validation")
        return tune_baselines(specs, validation, horizons=horizons, seed=seed, progress=progress)
    if tuned is not None:
        return read_tuned_settings(Path(tuned), specs, horizons=horizons, fingerprint=prepared.fingerprint)
    return published_settings(specs, horizons)


def _check_settings(folders: Sequence[str], lists: Mapping[str, Any], *, seed: int, seeds: int) -> None:
    """Raise SettingsError for settings out of range, and for systems that share a name."""
    if seeds < 1:
        raise SettingsError(f"seeds: {seeds}. Expected at least 1.")
    if seed < 0:
        raise SettingsError(f"seed: {seed}. Expected at least 0.")
    if len(set(folders)) < len(folders):
        raise SettingsError(f"model folders: {', '.join(folders)}. Expected unique names. Rename one.")
    if both := lists.keys() & {*folders}:
        raise SettingsError(f"lists: {both.pop()}, which is a model, too. Expected another name.")

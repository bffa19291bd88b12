"""The evaluate stage: models and baselines on held-out users of a prepared dataset."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from tastevec.data.files import check_replaceable
from tastevec.data.prepared import Prepared
from tastevec.errors import DataError, FormatError, SettingsError
from tastevec.evaluation.scorers import Runs
from tastevec.extras import require
from tastevec.schema import BUNDLE_FILE, RESULTS_FILE, Horizon
from tastevec.serving.recommender import load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tastevec.evaluation.report import Report
    from tastevec.schema import Protocol, Split
    from tastevec.serving.recommender import Recommender

__all__ = ["evaluate", "model_runs"]

_OF_ITS_OWN: Final = ("seed", "device", "report_to")  # settings in which the runs of one system may differ


def model_runs(folder: Path, prepared: Prepared) -> Runs:
    """The model of this folder, called by its name, ready to be judged on the data that it was trained on.

    Args:
        folder: A bundle; or a folder of bundles, one a seed, which are one system of several runs.
        prepared: The data of the evaluation.

    Raises:
        FormatError: It is neither, or a bundle is damaged or of another format version.
        DataError: A bundle was trained on other data or knows films that came later, or those of a folder differ by more
            than their seed.
    """
    folder = folder.resolve()
    bundles = {bundle: load(bundle) for bundle in _bundles(folder)}
    for bundle, recommender in bundles.items():
        _refuse_other_data(bundle.relative_to(folder.parent), recommender, prepared)
        _refuse_later_films(bundle.relative_to(folder.parent), recommender)
    first, *others = bundles
    for other in others:
        _refuse_other_settings(first, other, bundles)
    settings = [recommender.bundle.facts["settings"] for recommender in bundles.values()]
    seeds = [own["seed"] for own in settings]
    if len(set(seeds)) < len(seeds):
        raise DataError(
            f"the bundles in {folder} have the seeds {', '.join(map(str, seeds))}; expected a seed of its own for each: "
            "remove what is there twice"
        )
    alike = {name: value for name, value in settings[0].items() if name not in _OF_ITS_OWN}
    scorers = [recommender.scorer(folder.name) for recommender in bundles.values()]
    return Runs(folder.name, scorers, {"seeds": seeds, **alike})


def _bundles(folder: Path) -> list[Path]:
    """The folder itself, or the bundles in it, by name."""
    inside = sorted(path for path in folder.glob("[!.]*") if path.is_dir())
    if (folder / BUNDLE_FILE).exists() or not any((path / BUNDLE_FILE).exists() for path in inside):
        return [folder]
    for path in inside:
        if not (path / BUNDLE_FILE).exists():
            raise FormatError(
                f"{folder} holds bundles, and {path.name}, which is none (it lacks {BUNDLE_FILE}); expected one bundle a "
                "seed and nothing else: let its training end, or move it away"
            )
    return inside


def _refuse_other_data(bundle: Path, recommender: Recommender, prepared: Prepared) -> None:
    """A model that was trained on other people may have seen these, and its films may have other places."""
    if recommender.bundle.facts["data"]["fingerprint"] != prepared.fingerprint:
        raise DataError(
            f"model {bundle} was not trained on {prepared.folder}; people who are unseen there may have taught it: evaluate "
            "it on its own prepared folder, or train on this one"
        )


def _refuse_later_films(bundle: Path, recommender: Recommender) -> None:
    """A model that knows more films than the data ranks another catalogue than its baselines."""
    if added := len(recommender.bundle.model.added_items):
        raise DataError(
            f"model {bundle} knows {added} films that were added after its training, and the data do not; expected the model "
            "as it was trained: evaluate the one that it was made from"
        )


def _refuse_other_settings(first: Path, other: Path, bundles: dict[Path, Recommender]) -> None:
    one, two = (bundles[path].bundle.facts["settings"] for path in (first, other))
    changed = [name for name in sorted({*one, *two} - {*_OF_ITS_OWN}) if one.get(name) != two.get(name)]
    if changed:
        raise DataError(
            f"the bundles {first.name} and {other.name} in {first.parent} differ in {', '.join(changed)}; expected runs of one "
            "system, which differ in their seed alone: evaluate them as two models"
        )


def evaluate(
    models: Sequence[Path | str],
    data: Path | str,
    out: Path | str | None = None,
    *,
    protocols: Sequence[Protocol] = ("best-rated", "fold-in", "future"),
    with_baselines: bool = True,
    split: Split = "test",
    seed: int = 42,
    seeds: int = 3,
    tune: bool = False,
    tuned: Path | str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Report:
    """Judge models beside floors and baselines on people whom none of them has seen.

    Args:
        models: Bundle folders, or folders of bundles that differ by their seed alone; each is called by its name.
        data: The prepared folder that they were trained on.
        out: Where the results go; None writes nothing.
        protocols: The questions asked.
        with_baselines: Whether item-kNN, EASE, ALS and Mult-VAE stand beside the floors.
        split: ``test``; or ``validation``, whose people chose the models' epochs and what is tuned, and flatter them.
        seed: Of the random part of the protocols and of the intervals, and the first seed of the baselines.
        seeds: Runs of a baseline in which chance has a part.
        tune: Tune every baseline first, on the validation people.
        tuned: The folder of an earlier evaluation of these data, whose tuned settings are taken.
        progress: Told how much is done, of how much, and what begins now.

    Raises:
        FormatError: A folder is not what it should be.
        DataError: A model or the tuned settings belong to other data, or nobody can be asked.
        SettingsError: Two models' folders have the same name, or settings contradict each other.
        MissingExtraError: Something shall be tuned and Optuna is not installed.
    """
    from tastevec.evaluation.dataset import EvalDataset
    from tastevec.evaluation.evaluate import evaluate as judge
    from tastevec.evaluation.mult_vae import mult_vae
    from tastevec.evaluation.registry import (
        baselines,
        build_baselines,
        published,
        trivial_baselines,
        vector_baselines,
    )
    from tastevec.evaluation.tuning import read_choices
    from tastevec.evaluation.tuning import tune as tune_all

    folders = [Path(folder).resolve() for folder in models]
    _check_settings(folders, seed=seed, seeds=seeds, tune=tune, tuned=tuned)
    prepared = Prepared.open(Path(data))
    if out is not None:  # now, not after the evaluation
        check_replaceable(Path(out), marker_file=RESULTS_FILE)
        require("matplotlib")
    systems = [model_runs(folder, prepared) for folder in folders]
    dataset = EvalDataset.of(prepared, split)
    asked = {task.horizon for protocol in protocols for task in dataset.tasks(protocol, seed)}
    horizons = [horizon for horizon in get_args(Horizon) if horizon in asked]
    simple = trivial_baselines(dataset.train, rating_range=prepared.rating_range)
    strong = [*baselines(rating_range=prepared.rating_range), mult_vae(rating_range=prepared.rating_range)]
    specs = [*simple, *(strong if with_baselines else [])]
    if tune:
        chooses = EvalDataset.of(prepared, "validation")
        choices = tune_all(specs, chooses, horizons=horizons, seed=seed, progress=progress)
    elif tuned is not None:
        choices = read_choices(Path(tuned), specs, horizons=horizons, fingerprint=prepared.fingerprint)
    else:
        choices = published(specs, horizons)
    beside = build_baselines(specs, choices, range(seed, seed + seeds))
    for model in systems:
        beside += vector_baselines(model, rating_range=prepared.rating_range)
    report = judge(
        systems, dataset, trivial_baselines=beside, protocols=protocols, seed=seed, progress=progress
    )
    name = prepared.manifest["source"]["name"]
    report = dataclasses.replace(
        report, data={"name": name, "fingerprint": prepared.fingerprint, "split": split}
    )
    if out is not None:
        report.write(Path(out))
    return report


def _check_settings(
    folders: Sequence[Path], *, seed: int, seeds: int, tune: bool, tuned: Path | str | None
) -> None:
    """Raise SettingsError for settings that contradict each other, and for folders of the same name."""
    if seeds < 1 or (tune and tuned is not None):
        raise SettingsError(
            f"seeds is {seeds}, tune {tune} and tuned {tuned}; expected 1 seed or more, and one of tune and tuned at most"
        )
    if seed < 0:
        raise SettingsError(f"seed is {seed}; expected 0 or more")
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        raise SettingsError(
            f"the models' folders are called {', '.join(names)}; expected different names: rename one"
        )

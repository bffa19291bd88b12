"""One function a stage: what the command line runs and what ``import tastevec`` offers."""

from __future__ import annotations

import dataclasses
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pyarrow as pa

from tastevec.data.files import refuse_foreign
from tastevec.data.prepared import Prepared
from tastevec.errors import SettingsError
from tastevec.extras import need
from tastevec.schema import BUNDLE_FILE, RESULTS_FILE, VECTOR_SOURCE, Horizon

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tastevec.evaluation.report import Report
    from tastevec.schema import Preset, Protocol, Split
    from tastevec.serving.recommender import Recommender
    from tastevec.training.train import Trained

__all__ = ["add_items", "describe", "evaluate", "prepare", "train"]

_SELECTION = "eval_selection"  # as the training log names it


def prepare(
    source: Path | str,
    out: Path | str,
    *,
    progress: Callable[[str], None] | None = None,
    **changes: Any,  # noqa: ANN401  each has its own type
) -> Prepared:
    """Read a release or a table of one's own and write the prepared folder ``out``.

    Args:
        source: A release's folder or zip, or a CSV or Parquet of interactions; with ``engine="spark"`` also a folder of
            Parquet files, or an address that Spark's workers reach, such as ``s3a://bucket/ml-32m``.
        out: Where the folder shall be; an earlier one of ours is replaced.
        progress: Told the name of each stage as it begins: read, genome, arrange, vectors.
        **changes: Settings that differ from the defaults; see `PrepareSettings`.

    Raises:
        SettingsError: A setting is unknown or does not fit, or Spark fails.
        DataError: The source cannot be understood, or a row is bad.
        FormatError: ``out`` holds something else.
        MissingExtraError: Spark is asked for and not installed.
    """
    from pydantic import TypeAdapter, ValidationError

    from tastevec.data.files import misfit
    from tastevec.items.prepare import PrepareSettings
    from tastevec.items.prepare import prepare as prepare_from

    known = [field.name for field in dataclasses.fields(PrepareSettings)]
    if unknown := sorted(changes.keys() - set(known)):
        raise SettingsError(f"setting {unknown[0]!r} is unknown; known settings: {', '.join(known)}")
    try:
        settings = TypeAdapter(PrepareSettings).validate_python(changes)
    except ValidationError as error:
        raise SettingsError(
            f"a setting is not what it may be: {misfit(error)}; see tastevec prepare --help"
        ) from error
    return prepare_from(source, Path(out), settings=settings, progress=progress)


def describe(data: Path | str, out: Path | str) -> dict[str, Any]:
    """Write one page of pictures about a prepared folder, and the numbers behind them, into ``out``; the numbers.

    Raises:
        FormatError: ``data`` is no prepared folder, or ``out`` holds something else.
        MissingExtraError: matplotlib is not installed.
    """
    from tastevec.data.describe import describe as draw

    return draw(Prepared.open(Path(data)), Path(out))


def train(
    data: Path | str,
    out: Path | str,
    *,
    preset: Preset = "taste",
    resume: bool = False,
    tell: Callable[[int, int, dict[str, float]], None] | None = None,
    **changes: object,
) -> Recommender:
    """Train on a prepared folder and write a bundle.

    Args:
        data: A folder that ``prepare`` wrote.
        out: The bundle's folder. Until it is whole, checkpoints and curves lie beside it in ``OUT.training``.
        preset: The recipe, ``taste`` or ``seed`` (the research note's).
        resume: Go on with an interrupted run; the result equals that of never having stopped.
        tell: Called with steps done, steps in all, and the newest measures.
        **changes: Settings that differ from the preset's; see `TrainSettings`.

    Returns:
        The trained model, ready to be asked.

    Raises:
        SettingsError: A setting is unknown or does not fit.
        FormatError: ``data`` is no prepared folder, or ``out`` holds something else.
        TrainingError: There are too few people, or nothing to resume.
        MissingExtraError: Curves shall go to W&B and it is not installed.
    """
    from tastevec.serving.bundle import Bundle
    from tastevec.serving.outfit import outfitted
    from tastevec.serving.recommender import Recommender
    from tastevec.training.progress import Tell
    from tastevec.training.settings import resolve_settings
    from tastevec.training.train import train as train_on

    out, settings = Path(out), resolve_settings(preset, **changes)
    if settings.report_to == "wandb":
        need("wandb")
    prepared = Prepared.open(Path(data))
    refuse_foreign(out, owned_by=BUNDLE_FILE)  # now, not after the training
    unfinished = out.with_name(f"{out.name}.training")
    trained = train_on(
        prepared, unfinished, settings, resume=resume, callbacks=[Tell(tell)] if tell else None
    )
    items = prepared.items.drop_columns([VECTOR_SOURCE])
    items = items.append_column(VECTOR_SOURCE, pa.array(trained.origins.tolist()))
    items = items.append_column("train_users", pa.array(trained.counts))
    bundle = Bundle(trained.model, trained.reading, items, _facts(prepared, trained), trained.placing)
    bundle = outfitted(bundle, prepared, trained.counts)
    bundle.save(out, curves=unfinished / "tensorboard")
    shutil.rmtree(unfinished)
    return Recommender(Bundle.load(out))


def add_items(
    model: Path | str,
    items: Path | str,
    out: Path | str,
    *,
    tags: Sequence[Path | str] = (),
    genome: Path | str | None = None,
) -> Recommender:
    """Write the bundle ``out``: the bundle ``model`` with films that arrived after its training.

    Args:
        model: A bundle's folder.
        items: A CSV or Parquet of item_id, title and, if known, year and genres.
        out: The bundle's folder; an earlier one is replaced, and it may be ``model`` itself.
        tags: Files of tags, as ``prepare`` takes them.
        genome: A folder with the tag genome that the model was trained with, borrowed by film id.

    Returns:
        The new model; see `Recommender.with_items` for what stays as it was.

    Raises:
        DataError: A film is known already, nothing that the model can read is said of it, or a row is wrong.
        FormatError: ``model`` is no bundle or cannot take films, or ``out`` holds something else.
    """
    from tastevec.serving.recommender import load

    model, out = Path(model), Path(out)
    refuse_foreign(out, owned_by=BUNDLE_FILE)
    grown = load(model).with_items(Path(items), tags=tags, genome=genome)
    grown.bundle.save(out, curves=model / "tensorboard")
    return load(out)


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
    from tastevec.evaluation.dataset import Cohort
    from tastevec.evaluation.evaluate import evaluate as judge
    from tastevec.evaluation.mult_vae import mult_vae
    from tastevec.evaluation.registry import baselines, floors, line_up, published, vector_floors
    from tastevec.evaluation.tuning import read_choices
    from tastevec.evaluation.tuning import tune as tune_all
    from tastevec.serving.runs import model_runs

    if seeds < 1 or (tune and tuned is not None):
        raise SettingsError(
            f"seeds is {seeds}, tune {tune} and tuned {tuned}; expected 1 seed or more, and one of tune and tuned at most"
        )
    if seed < 0:
        raise SettingsError(f"seed is {seed}; expected 0 or more")
    folders = [Path(folder).resolve() for folder in models]
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        raise SettingsError(
            f"the models' folders are called {', '.join(names)}; expected different names: rename one"
        )
    prepared = Prepared.open(Path(data))
    if out is not None:  # now, not after the evaluation
        refuse_foreign(Path(out), owned_by=RESULTS_FILE)
        need("matplotlib")
    systems = [model_runs(folder, prepared) for folder in folders]
    cohort = Cohort.of(prepared, split)
    asked = {task.horizon for protocol in protocols for task in cohort.tasks(protocol, seed)}
    horizons = [horizon for horizon in get_args(Horizon) if horizon in asked]
    simple = floors(cohort.train, rating_range=prepared.rating_range)
    strong = [*baselines(rating_range=prepared.rating_range), mult_vae(rating_range=prepared.rating_range)]
    recipes = [*simple, *(strong if with_baselines else [])]
    if tune:
        chooses = Cohort.of(prepared, "validation")
        choices = tune_all(recipes, chooses, horizons=horizons, seed=seed, progress=progress)
    elif tuned is not None:
        choices = read_choices(Path(tuned), recipes, horizons=horizons, fingerprint=prepared.fingerprint)
    else:
        choices = published(recipes, horizons)
    beside = line_up(recipes, choices, range(seed, seed + seeds))
    for model in systems:
        beside += vector_floors(model, rating_range=prepared.rating_range)
    report = judge(systems, cohort, floors=beside, protocols=protocols, seed=seed, progress=progress)
    name = prepared.manifest["source"]["name"]
    report = dataclasses.replace(
        report, data={"name": name, "fingerprint": prepared.fingerprint, "split": split}
    )
    if out is not None:
        report.write(Path(out))
    return report


def _facts(prepared: Prepared, trained: Trained) -> dict[str, Any]:
    """What a bundle remembers of its making."""
    chosen = max(
        (entry for entry in trained.log if _SELECTION in entry),
        key=lambda entry: entry[_SELECTION],
        default={},
    )
    settings = trained.settings.model_dump()
    if Path(settings["backbone"]).is_dir():  # a bundle travels; where the folder lay says nothing elsewhere
        settings["backbone"] = Path(settings["backbone"]).resolve().name
    return {
        "tastevec": version("tastevec"),
        "data": {
            "name": prepared.manifest["source"]["name"],
            "fingerprint": prepared.fingerprint,
            "train_users": len(prepared.users_in("train")),
            "items": prepared.items.num_rows,
        },
        "settings": settings,
        "validation": {name: value for name, value in chosen.items() if name.startswith("eval_")},
        "log": trained.log,
    }

"""One function a stage: what the command line runs and what ``import tastevec`` offers."""

from __future__ import annotations

import dataclasses
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tastevec.data.atomic import refuse_foreign
from tastevec.data.prepared import Prepared
from tastevec.errors import DataError, SettingsError
from tastevec.extras import need
from tastevec.schema import BUNDLE_FILE, VECTOR_SOURCE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tastevec.evaluation.report import Report
    from tastevec.schema import Preset, Protocol, Split
    from tastevec.serving.recommender import Recommender
    from tastevec.training.train import Trained

__all__ = ["describe", "evaluate", "prepare", "train"]

_SELECTION = "eval_selection"  # as the training log names it
_PATHS = ("genome", "items")  # settings of the preparation that are paths


def prepare(
    source: Path | str,
    out: Path | str,
    *,
    progress: Callable[[str], None] | None = None,
    **changes: Any,  # noqa: ANN401  each has its own type
) -> Prepared:
    """Read a release or a table of one's own and write the prepared folder ``out``.

    Args:
        source: A release's folder or zip, or a CSV or Parquet of interactions.
        out: Where the folder shall be; an earlier one of ours is replaced.
        progress: Told the name of each stage as it begins: read, genome, arrange, vectors.
        **changes: Settings that differ from the defaults; see `PrepareSettings`.

    Raises:
        SettingsError: A setting is unknown or does not fit.
        DataError: The source cannot be understood, or a row is bad.
        FormatError: ``out`` holds something else.
    """
    from tastevec.items.prepare import PrepareSettings
    from tastevec.items.prepare import prepare as prepare_from

    known = [field.name for field in dataclasses.fields(PrepareSettings)]
    if unknown := sorted(changes.keys() - set(known)):
        raise SettingsError(f"setting {unknown[0]!r} is unknown; known settings: {', '.join(known)}")
    paths = {name: Path(changes[name]) for name in _PATHS if changes.get(name) is not None}
    tags = tuple(Path(file) for file in changes.get("tags", ()))
    settings = PrepareSettings(**{**changes, **paths, "tags": tags})
    return prepare_from(Path(source), Path(out), settings=settings, progress=progress)


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
    Bundle(trained.model, trained.reading, items, _facts(prepared, trained)).save(
        out, curves=unfinished / "tensorboard"
    )
    shutil.rmtree(unfinished)
    return Recommender(Bundle.load(out))


def evaluate(
    models: Sequence[Path | str],
    data: Path | str,
    out: Path | str | None = None,
    *,
    protocols: Sequence[Protocol] = ("best-rated", "fold-in", "future"),
    with_baselines: bool = True,
    split: Split = "test",
    seed: int = 42,
) -> Report:
    """Judge models beside floors and baselines on people whom none of them has seen.

    Args:
        models: Bundle folders, each called by its folder's name.
        data: The prepared folder that they were trained on.
        out: Where ``results.json`` and the per-user values go; None writes nothing.
        protocols: The questions asked.
        with_baselines: Whether EASE and ALS stand beside the floors.
        split: ``test``; or ``validation``, whose people chose the models' epochs and flatter them.
        seed: Of the random part of the protocols and of the intervals.

    Raises:
        FormatError: A folder is not what it should be.
        DataError: A model belongs to other data, or nobody can be asked.
        SettingsError: Two models' folders have the same name.
    """
    from tastevec.evaluation.baselines import baselines, floors
    from tastevec.evaluation.cohort import Cohort
    from tastevec.evaluation.trial import evaluate as judge
    from tastevec.serving.recommender import load

    prepared = Prepared.open(Path(data))
    cohort = Cohort.of(prepared, split)
    names = [Path(folder).resolve().name for folder in models]
    if len(set(names)) < len(names):
        raise SettingsError(
            f"the models' folders are called {', '.join(names)}; expected different names: rename one"
        )
    recommenders = {name: load(folder) for name, folder in zip(names, models, strict=True)}
    for name, recommender in recommenders.items():
        _refuse_other_data(name, recommender, prepared)
    spaces = {recommender.bundle.space: recommender.item_vectors for recommender in recommenders.values()}
    beside = floors(spaces, cohort.train, rating_range=prepared.rating_range)
    if with_baselines:
        beside += baselines(rating_range=prepared.rating_range, seed=seed)
    systems = [recommender.scorer(name) for name, recommender in recommenders.items()]
    report = judge(systems, cohort, floors=beside, protocols=protocols, seed=seed)
    if out is not None:
        report.write(Path(out))
    return report


def _refuse_other_data(name: str, recommender: Recommender, prepared: Prepared) -> None:
    """A model that was trained on other people may have seen these, and its films may have other places."""
    if recommender.bundle.facts["data"]["fingerprint"] != prepared.fingerprint:
        raise DataError(
            f"model {name} was not trained on {prepared.folder}; people who are unseen there may have taught it: evaluate "
            "it on its own prepared folder, or train on this one"
        )


def _facts(prepared: Prepared, trained: Trained) -> dict[str, Any]:
    """What a bundle remembers of its making."""
    chosen = max(
        (entry for entry in trained.log if _SELECTION in entry),
        key=lambda entry: entry[_SELECTION],
        default={},
    )
    return {
        "tastevec": version("tastevec"),
        "data": {
            "name": prepared.manifest["source"]["name"],
            "fingerprint": prepared.fingerprint,
            "train_users": len(prepared.users_in("train")),
            "items": prepared.items.num_rows,
        },
        "settings": trained.settings.model_dump(),
        "validation": {name: value for name, value in chosen.items() if name.startswith("eval_")},
        "log": trained.log,
    }

"""The train stage: from a prepared dataset to a model folder; and new items for a trained model."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack

import pyarrow as pa

from tastevec.data.files import check_replaceable, only_writer, remove_result
from tastevec.data.prepared import Prepared, with_shown_titles
from tastevec.extras import require
from tastevec.items.cold_start import load_item_features
from tastevec.items.item_map import ItemMap
from tastevec.items.tag_directions import TagDirections, tag_blocks
from tastevec.pipelines.progress import progress_bar, training_text
from tastevec.schema import BUNDLE_FILE, RUN_FILE, VECTOR_SOURCE
from tastevec.serving.bundle import Bundle
from tastevec.serving.calibration import Calibration
from tastevec.serving.explain import with_user_reference
from tastevec.serving.recommender import Recommender, load
from tastevec.training.distributed import rank

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tastevec.schema import Preset
    from tastevec.training.fit import Trained
    from tastevec.training.settings import AnySettings, TrainChoices
    from tastevec.training.warm_start import WarmStart

_MAX_VALIDATION: Final = 2_000  # users whose scores are calibrated; more change no digit that is shown


def train(
    data: Path | str,
    out: Path | str,
    *,
    preset: Preset = "taste",
    init: Path | str | None = None,
    resume: bool = False,
    progress: bool | Callable[[int, int, dict[str, float]], None] = True,
    stage: Callable[[str], None] | None = None,
    **changes: Unpack[TrainChoices],
) -> Recommender:
    """Train a model on a prepared dataset and write its folder.

    Args:
        data: The folder of a prepared dataset.
        out: The model folder. Until it is complete, checkpoints and training curves are in ``OUT.training``.
        preset: ``taste``, ``bert-cosine`` (the research note's model), or ``direction`` (the direction of what users rate highest).
        init: A model of the same preset and shape to begin with, such as last week's, or ``out`` itself: its transformer, and its
            item vectors, by item ID. The closed form is fitted again. The result has a space of its own.
        resume: Resume an interrupted run; the result equals that of an uninterrupted one, unless there are more epochs now.
        progress: Show a progress bar in a notebook or a terminal; or a function of the steps done, their total, and the latest
            loss and validation score of the transformer; or False.
        stage: Called with what begins: the choice of each constant, the item vectors, the transformer.
        **changes: Settings that differ from the preset; see `TasteSettings`, `NoteSettings` and
            `DirectionSettings`.

    Returns:
        The trained model.

    Raises:
        SettingsError: A setting is unknown or does not fit.
        FormatError: ``data`` is no prepared dataset, ``out`` contains something else, or another process trains there.
        TrainingError: There are too few users, or no run to resume.
        MissingExtraError: ``report_to`` is wandb or mlflow, which is not installed.
    """
    from tastevec.training.settings import resolve_settings

    out, settings = Path(out), resolve_settings(preset, **changes)
    if (tracker := getattr(settings, "report_to", "none")) in {"wandb", "mlflow"}:
        require(tracker)
    in_place = init is not None and out.exists() and Path(init).exists() and out.samefile(init)
    inputs = (data, getattr(settings, "backbone", None), None if in_place else init)
    prepared = Prepared.open(Path(data))
    check_replaceable(out, marker_file=BUNDLE_FILE, inputs=inputs)  # before the training, not after it
    warm_start = None if init is None else _warm_start(init, prepared, settings)
    run_folder = out.with_name(f"{out.name}.training")
    how: dict[str, Any] = {"resume": resume, "warm_start": warm_start}
    if rank():  # of torchrun: rank 0 writes
        return _train(prepared, out, run_folder, settings, progress=progress, stage=stage, **how)
    check_replaceable(run_folder, marker_file=RUN_FILE, inputs=inputs)
    with only_writer(run_folder), _without_bars(), progress_bar(progress is True) as show:
        if progress is True:
            progress = lambda done, total, latest: show(done, total, training_text(latest))  # noqa: E731  as an argument
            stage = stage or (lambda text: show(0, 1, f"Training: {text}"))
        return _train(prepared, out, run_folder, settings, progress=progress, stage=stage, **how)


def _warm_start(init: Path | str, prepared: Prepared, settings: AnySettings) -> WarmStart:
    """Return the warm start from a model; see `WarmStart.of`."""
    from tastevec.training.warm_start import WarmStart  # torch

    bundle = load(init, runtime="torch").bundle
    found = WarmStart.of(bundle.model, bundle.facts, prepared.item_ids, bundle.item_ids)
    found.check(settings, prepared.scale.n_bins)
    return found


@contextmanager
def _without_bars() -> Iterator[None]:
    """Hide the bars that transformers draws for each file it writes; ours shows the training."""
    from transformers.utils import logging  # seconds

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def _train(
    prepared: Prepared,
    out: Path,
    run_folder: Path,
    settings: AnySettings,
    *,
    resume: bool,
    warm_start: WarmStart | None,
    progress: bool | Callable[[int, int, dict[str, float]], None],
    stage: Callable[[str], None] | None,
) -> Recommender:
    from tastevec.training.fit import train as fit  # torch
    from tastevec.training.trainer import StepProgressCallback

    trained = fit(
        prepared,
        run_folder,
        settings,
        resume=resume,
        warm_start=warm_start,
        stage=stage or (lambda _text: None),
        callbacks=[StepProgressCallback(progress)] if callable(progress) else None,
    )
    fitted = trained.fitted
    items = with_shown_titles(prepared.items.drop_columns([VECTOR_SOURCE]))
    items = items.append_column(VECTOR_SOURCE, pa.array(fitted.origins.tolist()))
    items = items.append_column("train_users", pa.array(trained.counts))
    facts = _facts(prepared, trained) | ({"init": warm_start.facts} if warm_start else {})
    bundle = Bundle(fitted.model, trained.input_config, items, facts, trained.cold_start)
    bundle = with_tags_and_map(bundle, prepared, trained.counts)
    bundle = dataclasses.replace(bundle, calibration=_calibration(bundle, prepared))
    bundle.save(out, curves=run_folder / "tensorboard")
    remove_result(run_folder, marker_file=RUN_FILE)
    return Recommender(Bundle.load(out))


def with_tags_and_map(bundle: Bundle, prepared: Prepared, users: NDArray[np.int64]) -> Bundle:
    """Return the bundle with tag directions, whose reference is the training users, and with an item map.

    Args:
        bundle: The trained model.
        prepared: The prepared dataset of its training.
        users: (N,) training users of each item.
    """
    recommender = Recommender(bundle)
    vectors = recommender.item_directions
    seed = bundle.facts["settings"]["seed"]
    item_map = (
        ItemMap.fit(vectors, seed=seed) if find_spec("openTSNE") else None
    )  # an extra, for the map alone
    tags = TagDirections.fit(tag_blocks(*load_item_features(prepared.folder)), vectors, users)
    if not tags.names:
        return dataclasses.replace(bundle, item_map=item_map)
    train_users = prepared.histories.take(prepared.users_in("train"))
    tags = with_user_reference(tags, recommender.vectors, train_users)
    return dataclasses.replace(bundle, item_map=item_map, tags=tags)


def _calibration(bundle: Bundle, prepared: Prepared) -> Calibration | None:
    """Return the calibration of the scores of a bundle; None without enough ratings that are not positive."""
    recommender, seed = Recommender(bundle), bundle.facts["settings"]["seed"]
    train, validation = (
        prepared.histories.take(prepared.users_in(split)) for split in ("train", "validation")
    )
    n_items, positive_from = len(bundle.items), prepared.scale.positive_from
    return Calibration.fit(
        train, validation.sample(_MAX_VALIDATION, seed), n_items, positive_from, recommender.scores
    )


def _facts(prepared: Prepared, trained: Trained) -> dict[str, Any]:
    """Return data, settings, what was chosen on validation users, their metrics, and the training log."""
    settings = trained.settings.model_dump()
    if (backbone := Path(settings.get("backbone", "none"))).is_dir():
        settings["backbone"] = backbone.resolve().name  # its path means nothing on another machine
    source = prepared.manifest["source"]
    return {
        "tastevec": version("tastevec"),
        "data": {
            "name": source["name"],
            "item_noun": prepared.noun.to_json(),
            "feedback": prepared.manifest["feedback"],
            "order": prepared.order,
            "fingerprint": prepared.fingerprint,
            "train_users": len(prepared.users_in("train")),
            "items": prepared.items.num_rows,
        },
        "settings": settings,
        "closed_form": trained.fitted.chosen,
        "validation": trained.fitted.validation,
        "log": trained.fitted.log,
    }


def add_items(
    model: Path | str,
    items: Path | str,
    out: Path | str,
    *,
    tags: Sequence[Path | str] = (),
    genome: Path | str | None = None,
    text_model: str | None = None,
) -> Recommender:
    """Add new items to a model without retraining, and write its folder.

    Args:
        model: The model folder.
        items: A CSV or Parquet file of item_id, title and optionally year and genres.
        out: The new model folder, which may be ``model`` itself; an earlier model there is replaced.
        tags: Tag files, as ``prepare`` reads them.
        genome: A folder with the tag genome of the training, matched by item ID.
        text_model: The folder of the sentence encoder of the training; without it, texts are not read, with a warning.

    Returns:
        The new model; see `Recommender.with_items` for what does not change.

    Raises:
        DataError: An item is known already, has no features that the model reads, or a row is invalid.
        FormatError: ``model`` is no model folder, or ``out`` contains something else.
    """
    model, out = Path(model), Path(out)
    replaces_model = model.exists() and out.exists() and model.samefile(out)
    inputs = (items, *tags, genome, None if replaces_model else model)
    known = load(model)
    check_replaceable(out, marker_file=BUNDLE_FILE, inputs=inputs)
    grown = known.with_items(Path(items), tags=list(tags), genome=genome, text_model=text_model)
    grown.bundle.save(out, curves=model / "tensorboard")
    return load(out)

"""The train stage: from a prepared dataset to a model folder; also adding of new items."""

from __future__ import annotations

import dataclasses
import shutil
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tastevec.data.files import check_replaceable
from tastevec.data.prepared import Prepared
from tastevec.extras import require
from tastevec.items.cold_start import load_item_features
from tastevec.items.item_map import ItemMap
from tastevec.items.tag_directions import TagDirections, tag_blocks
from tastevec.schema import BUNDLE_FILE, ITEM_NOUN, VECTOR_SOURCE
from tastevec.serving.explain import with_user_reference
from tastevec.serving.recommender import Recommender

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tastevec.schema import Preset
    from tastevec.serving.bundle import Bundle
    from tastevec.training.fit import Trained

__all__ = ["add_items", "train", "with_tags_and_map"]


def with_tags_and_map(bundle: Bundle, prepared: Prepared, users: NDArray[np.int64]) -> Bundle:
    """The bundle with tags, on which people are compared with those who taught it, and with a map.

    Args:
        bundle: Just trained.
        prepared: On what.
        users: (N,) how many training people stand behind each film.
    """
    vectors = bundle.model.item_vectors
    seed = bundle.facts["settings"]["seed"]
    drawn = (
        ItemMap.fit(vectors, seed=seed) if find_spec("openTSNE") else None
    )  # an extra, and no vector needs it
    tags = TagDirections.fit(tag_blocks(*load_item_features(prepared.folder)), vectors, users)
    if not tags.names:
        return dataclasses.replace(bundle, item_map=drawn)
    taught = prepared.histories.take(prepared.users_in("train"))
    return dataclasses.replace(
        bundle, item_map=drawn, tags=with_user_reference(tags, Recommender(bundle).vectors, taught)
    )


_VALIDATION_SCORE = "eval_validation_score"  # as the training log names it


def train(
    data: Path | str,
    out: Path | str,
    *,
    preset: Preset = "taste",
    resume: bool = False,
    progress: Callable[[int, int, dict[str, float]], None] | None = None,
    **changes: object,
) -> Recommender:
    """Train on a prepared folder and write a bundle.

    Args:
        data: A folder that ``prepare`` wrote.
        out: The bundle's folder. Until it is whole, checkpoints and curves lie beside it in ``OUT.training``.
        preset: The recipe, ``taste`` or ``bert-cosine`` (the research note's).
        resume: Go on with an interrupted run; the result equals that of never having stopped.
        progress: Called with steps done, steps in all, and the newest measures.
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
    from tastevec.training.fit import train as train_on
    from tastevec.training.settings import resolve_settings
    from tastevec.training.trainer import StepProgressCallback

    out, settings = Path(out), resolve_settings(preset, **changes)
    if settings.report_to == "wandb":
        require("wandb")
    prepared = Prepared.open(Path(data))
    check_replaceable(out, marker_file=BUNDLE_FILE)  # now, not after the training
    unfinished = out.with_name(f"{out.name}.training")
    trained = train_on(
        prepared,
        unfinished,
        settings,
        resume=resume,
        callbacks=[StepProgressCallback(progress)] if progress else None,
    )
    items = prepared.items.drop_columns([VECTOR_SOURCE])
    items = items.append_column(VECTOR_SOURCE, pa.array(trained.origins.tolist()))
    items = items.append_column("train_users", pa.array(trained.counts))
    bundle = Bundle(trained.model, trained.input_config, items, _facts(prepared, trained), trained.cold_start)
    bundle = with_tags_and_map(bundle, prepared, trained.counts)
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
    check_replaceable(out, marker_file=BUNDLE_FILE)
    grown = load(model).with_items(Path(items), tags=tags, genome=genome)
    grown.bundle.save(out, curves=model / "tensorboard")
    return load(out)


def _facts(prepared: Prepared, trained: Trained) -> dict[str, Any]:
    """What a bundle remembers of its making."""
    chosen = max(
        (entry for entry in trained.log if _VALIDATION_SCORE in entry),
        key=lambda entry: entry[_VALIDATION_SCORE],
        default={},
    )
    settings = trained.settings.model_dump()
    if Path(settings.get("backbone", "")).is_dir() and settings.get(
        "backbone"
    ):  # the folder name alone: a path means nothing elsewhere
        settings["backbone"] = Path(settings["backbone"]).resolve().name
    return {
        "tastevec": version("tastevec"),
        "data": {
            "name": prepared.manifest["source"]["name"],
            "item_noun": prepared.manifest["source"].get("item_noun", ITEM_NOUN),
            "fingerprint": prepared.fingerprint,
            "train_users": len(prepared.users_in("train")),
            "items": prepared.items.num_rows,
        },
        "settings": settings,
        "validation": {name: value for name, value in chosen.items() if name.startswith("eval_")},
        "log": trained.log,
    }

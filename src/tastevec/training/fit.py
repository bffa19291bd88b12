"""Fitting of a model to a prepared dataset: the users of each part, the preset's model, and vectors for new items."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from tastevec.data.inputs import InputConfig
from tastevec.errors import SettingsError, TrainingError
from tastevec.extras import is_hub_name
from tastevec.items.cold_start import ColdStartModel, InitialVectors, load_feature_rows
from tastevec.model.backbone import BackboneError, backbone_shape, load_backbone
from tastevec.model.config import NoteConfig
from tastevec.model.note import NoteEncoder
from tastevec.schema import COLLABORATIVE, CONTENT
from tastevec.training.batches import HistorySubset
from tastevec.training.direction import fit_direction
from tastevec.training.distributed import rank
from tastevec.training.settings import AnySettings, DirectionSettings, NoteSettings, TasteSettings
from tastevec.training.taste import Fitted, fit_taste
from tastevec.training.trainer import VALIDATION_SCORE, TrainingRun, best_metrics, train_encoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from transformers import TrainerCallback

    from tastevec.data.histories import Histories
    from tastevec.data.prepared import Prepared
    from tastevec.training.warm_start import WarmStart

_LOG: Final = logging.getLogger("tastevec")
_MIN_USERS = 2
_MIN_ITEMS = 2
_DIRECTION_USERS: Final = 50_000  # that the ridges of preset direction are fitted to; more take memory
_VALIDATION_USERS: Final = 2_000  # that select; more take memory and time, and hardly decide otherwise


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model and what inference needs.

    Attributes:
        fitted: The encoder, where its vectors come from, and how it was chosen.
        input_config: The inputs that it reads of a history.
        settings: The resolved settings.
        counts: (N,) training users with each item in their history.
        cold_start: The model of vectors of new items.
    """

    fitted: Fitted
    input_config: InputConfig
    settings: AnySettings
    counts: NDArray[np.int64]
    cold_start: ColdStartModel


def train(  # noqa: PLR0913  the data, the settings, and how a run begins and reports
    prepared: Prepared,
    folder: Path,
    settings: AnySettings,
    *,
    resume: bool = False,
    stage: Callable[[str], None] = lambda _text: None,
    callbacks: list[TrainerCallback] | None = None,
    warm_start: WarmStart | None = None,
) -> Trained:
    """Train on the training users of ``prepared``; choose constants and epoch on its validation users. Test users are not read.

    Under ``torchrun`` every process calls this: rank 0 returns, and the others exit when the training is over.
    ``folder``, ``resume`` and ``callbacks`` are those of `train_encoder`; ``stage`` is called with what begins before it; see
    `TrainingRun` for ``warm_start``.

    Raises:
        SettingsError: The settings do not fit the data or the backbone.
        TrainingError: There are too few users, or no run to resume.
        SystemExit: With 0, at the end of every process of another rank than 0.
    """
    if isinstance(settings, DirectionSettings):
        return _fit_direction(prepared, settings, resume=resume, stage=stage)
    train_users, validation_users = _split_users(prepared, settings)
    config = _input_config(prepared, settings)
    train_on: Histories | HistorySubset = train_users
    validate_on = validation_users.some(_VALIDATION_USERS, settings.seed)
    given = None if settings.item_vectors == COLLABORATIVE else _prepared_vectors(prepared, settings)
    if given is not None:
        train_on, validate_on = (
            _with_vectors(users, given.vectors) for users in (train_users.all(), validate_on)
        )
    data = (prepared.fingerprint, prepared.order)
    run = TrainingRun(*(train_on, validate_on, config, settings), *data, stage, warm_start)
    if isinstance(settings, TasteSettings):
        _, features = load_feature_rows(prepared.folder)
        fitted = fit_taste(run, features, folder, given, resume=resume, callbacks=callbacks)
    else:
        fitted = _fit_note(run, folder, given, resume=resume, callbacks=callbacks)
    if rank():
        sys.exit(0)
    counts = np.bincount(run.train_in_memory().once().items, minlength=len(prepared.item_ids))
    # Read again: a resumed run does not fit item vectors, which sorts the entries of a row and so changes the last bit of a sum.
    features = load_feature_rows(prepared.folder)
    cold_start = ColdStartModel.fit(*features, fitted.model.table, counts)
    return Trained(fitted, config, settings, counts, cold_start)


def _split_users(prepared: Prepared, settings: AnySettings) -> tuple[HistorySubset, HistorySubset]:
    """Return the training and the validation users."""
    if isinstance(settings, TasteSettings) and prepared.setting("order") != "time":
        raise SettingsError(
            f"{prepared.folder}: histories are in the order of item ids. Expected time order for preset taste. "
            "Run tastevec prepare without --preset bert-cosine, or train with --preset bert-cosine."
        )
    if isinstance(settings, TasteSettings) and settings.transformer_weight and prepared.order == "none":
        raise SettingsError(
            f"transformer_weight: {settings.transformer_weight:g}, but the histories of {prepared.folder} have no order, so that "
            "no transformer is trained. Expected no such setting. Train without it, or prepare with --order file."
        )
    train_users, validation_users = (
        HistorySubset(prepared.histories, prepared.users_in(split)) for split in ("train", "validation")
    )
    if min(len(train_users), len(validation_users)) < _MIN_USERS:
        raise TrainingError(
            f"{prepared.folder}: {len(train_users)} training users and {len(validation_users)} validation users. "
            f"Expected at least {_MIN_USERS} of each. Add users, then run tastevec prepare."
        )
    return train_users, validation_users


def _input_config(prepared: Prepared, settings: TasteSettings | NoteSettings) -> InputConfig:
    scale = prepared.scale
    if isinstance(settings, NoteSettings):
        return InputConfig(scale, settings.max_history, order="item", truncate="oldest", pad="full")
    return InputConfig(scale, settings.max_history, max_history_overall=settings.max_history_overall)


def _prepared_vectors(prepared: Prepared, settings: AnySettings) -> InitialVectors:
    """Return item vectors of the prepared dataset; content vectors where it has no genome."""
    name = settings.item_vectors if settings.item_vectors in prepared.vectors else CONTENT
    vectors = prepared.vectors[name]
    if vectors.shape[1] != settings.dim:
        raise SettingsError(
            f"dim: {settings.dim}, but the {name} vectors of {prepared.folder} have {vectors.shape[1]} dimensions. "
            f"Set dim={vectors.shape[1]}."
        )
    return InitialVectors(vectors, np.where(vectors.any(axis=1), name, "none"))


def _fit_note(
    run: TrainingRun,
    folder: Path,
    given: InitialVectors | None,
    *,
    resume: bool,
    callbacks: list[TrainerCallback] | None,
) -> Fitted:
    """Train the research note's model."""
    assert given is not None, "the note has no item vectors of its own"
    assert isinstance(run.settings, NoteSettings)
    model = _initial_note(given.vectors, run.settings)
    log = train_encoder(model, run, folder, resume=resume, callbacks=callbacks)
    return Fitted(model, given.origins, log, best_metrics(log), {})


def _fit_direction(
    prepared: Prepared,
    settings: DirectionSettings,
    *,
    resume: bool,
    stage: Callable[[str], None],
) -> Trained:
    """Fit the encoder of preset direction, in seconds and in one process."""
    if rank():
        sys.exit(0)
    if resume:
        raise TrainingError(
            "preset direction: no run to resume, its training takes seconds. Run the same command without --resume."
        )
    train_users, validation_users = _split_users(prepared, settings)
    given, config = _prepared_vectors(prepared, settings), InputConfig(prepared.scale, settings.max_history)
    train_on = train_users.some(_DIRECTION_USERS, settings.seed)
    validate_on = validation_users.some(_VALIDATION_USERS, settings.seed)
    try:
        found = fit_direction(train_on, validate_on, given.vectors, reading=config, progress=stage)
    except ValueError as error:
        raise TrainingError(
            f"{prepared.folder}: {error}. Expected users whose top rating is not that of all their items, for preset direction. "
            "Train with --preset taste."
        ) from error
    names = ("eval_cosine_distance", "eval_cosine_distance_centred")
    validation = dict(zip(names, found.distances, strict=True)) | {VALIDATION_SCORE: -found.distances[0]}
    ridges = dict(zip(("means", "items"), found.ridges, strict=True))
    fitted = Fitted(found.model, given.origins, [], validation, {"ridges": ridges})
    counts = np.bincount(train_users.in_memory().once().items, minlength=len(prepared.item_ids))
    cold_start = ColdStartModel.fit(*load_feature_rows(prepared.folder), found.model.table, counts)
    return Trained(fitted, config, settings, counts, cold_start)


def _initial_note(vectors: NDArray[np.float32], settings: NoteSettings) -> NoteEncoder:
    torch.manual_seed(settings.seed)
    shape: dict[str, Any] = settings.model_dump(include={"hidden_size", "heads"})
    shape["intermediate_size"] = 4 * settings.hidden_size
    _check_backbone(settings.backbone)
    try:
        if settings.backbone != "none":
            shape = backbone_shape(settings.backbone, settings.layers)
        same = settings.model_dump(include={"dim", "layers", "max_history", "dropout"})
        model = NoteEncoder(NoteConfig(n_items=len(vectors), **same, **shape))
        model.initialize(torch.from_numpy(vectors))
        if settings.backbone != "none":
            load_backbone(model, settings.backbone)
    except BackboneError as error:
        raise SettingsError(str(error)) from error
    return model


def _check_backbone(name: str) -> None:
    """Check that the name is a folder, or one of the Hub and no misspelled path; say where it is looked up.

    Raises:
        SettingsError: It is neither.
    """
    if name == "none" or Path(name).exists():
        return
    if name != NoteSettings.model_fields["backbone"].default and not is_hub_name(name):
        raise SettingsError(
            f"backbone {name}: no such folder. Expected a folder, org/name on the Hugging Face Hub, or none. "
            "Correct it with --set backbone=FOLDER."
        )
    if not rank():
        _LOG.warning("backbone %s: no such folder. Loading it from the Hugging Face Hub.", name)


def _with_vectors(users: Histories, vectors: NDArray[np.float32]) -> Histories:
    """Return the histories as in the research note: without items that have no vector, then without users of one item."""
    has_vector = np.count_nonzero(vectors, axis=1) > 0  # (N,)
    with_vector = users.keep(has_vector[users.items])
    return with_vector.take(np.flatnonzero(with_vector.once().lengths >= _MIN_ITEMS))

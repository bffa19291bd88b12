"""Fitting of a model to a prepared dataset: item vectors, encoder and training."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from tastevec.data.inputs import N_TIME_GAP_BINS, InputConfig
from tastevec.errors import SettingsError, TrainingError
from tastevec.extras import is_hub_name
from tastevec.items.cold_start import ColdStartModel, InitialVectors, load_feature_rows
from tastevec.items.linalg import one_blas_thread
from tastevec.items.taste_space import TasteSpace, TasteSpaceSettings
from tastevec.model.backbone import BackboneError, backbone_shape, load_backbone
from tastevec.model.config import NoteConfig, TasteConfig
from tastevec.model.encoder import TasteEncoder
from tastevec.model.geometry import Geometry
from tastevec.model.note import NoteEncoder
from tastevec.schema import COLLABORATIVE, CONTENT
from tastevec.training.batches import HistorySubset
from tastevec.training.distributed import rank
from tastevec.training.settings import NoteSettings, TasteSettings
from tastevec.training.trainer import TrainingRun, train_encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import TrainerCallback

    from tastevec.data.histories import Histories
    from tastevec.data.prepared import Prepared

_LOG: Final = logging.getLogger("tastevec")
_MIN_USERS = 2
_MIN_ITEMS = 2
_FOLD_USERS: Final = 4_000  # whose vectors the geometry is fitted to; more do not change it
_FOLD_CHUNK: Final = 256


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model and what inference needs.

    Attributes:
        model: The encoder, at its best epoch on the validation users.
        input_config: The inputs that it reads of a history.
        settings: The resolved settings.
        counts: (N,) training users with each item in their history.
        origins: (N,) source of the vector of each item.
        log: The training log.
        cold_start: The model of vectors of new items.
    """

    model: TasteEncoder | NoteEncoder
    input_config: InputConfig
    settings: TasteSettings | NoteSettings
    counts: NDArray[np.int64]
    origins: NDArray[np.str_]
    log: list[dict[str, float]]
    cold_start: ColdStartModel


def train(
    prepared: Prepared,
    folder: Path,
    settings: TasteSettings | NoteSettings,
    *,
    resume: bool = False,
    callbacks: list[TrainerCallback] | None = None,
) -> Trained:
    """Train on the training users of ``prepared``; select the epoch on its validation users. Test users are not read.

    Under ``torchrun`` every process calls this: rank 0 returns, and the others exit when the training is over.
    ``folder``, ``resume`` and ``callbacks`` are those of `train_encoder`.

    Raises:
        SettingsError: The settings do not fit the data or the backbone.
        TrainingError: There are too few users, or no run to resume.
        SystemExit: With 0, at the end of every process of another rank than 0.
    """
    train_users, validation_users = _split_users(prepared, settings)
    config = _input_config(prepared, settings)
    ratings = train_users.ratings_alone()
    counts = np.bincount(ratings.items, minlength=len(prepared.item_ids))
    model, origins = _initial_model(prepared, ratings, config, settings)
    del ratings  # training reads the histories from the file
    train_on: Histories | HistorySubset = train_users
    validate_on = validation_users.all()
    if settings.item_vectors != COLLABORATIVE:
        train_on, validate_on = (
            _with_vectors(users, model.table) for users in (train_users.all(), validate_on)
        )
        counts = np.bincount(train_on.once().items, minlength=len(counts))
    run = TrainingRun(
        train_on, validate_on, config, settings, fingerprint=prepared.fingerprint, order=prepared.order
    )
    log = train_encoder(model, run, folder, resume=resume, callbacks=callbacks)
    if rank():
        sys.exit(0)
    if isinstance(model, TasteEncoder):  # the note's items are of unit length: there is nothing to fold
        model.fold(_geometry(model, train_users, config, counts))
    cold_start = ColdStartModel.fit(*load_feature_rows(prepared.folder), model.table, counts)
    return Trained(model, config, settings, counts, origins, log, cold_start)


def _geometry(
    model: TasteEncoder, train_users: HistorySubset, config: InputConfig, counts: NDArray[np.int64]
) -> Geometry:
    """Return the geometry of the rated items, fitted to the embeddings of some training users at both horizons."""
    some = train_users.take(np.arange(0, len(train_users), -(-len(train_users) // _FOLD_USERS) or 1))
    parts = [
        model.encode(horizon, **config.arrays(chunk))
        for horizon in ("next", "overall")
        for chunk in some.chunks(_FOLD_CHUNK)
    ]
    rated = model.table[(counts > 0) & model.table.any(axis=1)]
    with one_blas_thread():
        return Geometry.fit(rated, np.concatenate(parts))


def _split_users(
    prepared: Prepared, settings: TasteSettings | NoteSettings
) -> tuple[HistorySubset, HistorySubset]:
    """Return the training and the validation users."""
    if isinstance(settings, TasteSettings) and prepared.setting("order") != "time":
        raise SettingsError(
            f"{prepared.folder}: histories are in the order of item ids. Expected time order for preset taste. "
            "Run tastevec prepare without --preset bert-cosine, or train with --preset bert-cosine."
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


def _initial_model(
    prepared: Prepared, ratings: Histories, config: InputConfig, settings: TasteSettings | NoteSettings
) -> tuple[TasteEncoder | NoteEncoder, NDArray[np.str_]]:
    """Return the encoder before its first step, and the source of each item vector (N,)."""
    if isinstance(settings, NoteSettings):
        initial = _prepared_vectors(prepared, settings)
        return _initial_note(initial.vectors, settings), initial.origins
    space = _taste_space(prepared, ratings, settings)
    return _initial_taste(space, config.scale.n_bins, settings), space.initial.origins


def _prepared_vectors(prepared: Prepared, settings: TasteSettings | NoteSettings) -> InitialVectors:
    """Return item vectors of the prepared dataset; content vectors where it has no genome."""
    name = settings.item_vectors if settings.item_vectors in prepared.vectors else CONTENT
    vectors = prepared.vectors[name]
    if vectors.shape[1] != settings.dim:
        raise SettingsError(
            f"dim: {settings.dim}, but the {name} vectors of {prepared.folder} have {vectors.shape[1]} dimensions. "
            f"Set dim={vectors.shape[1]}."
        )
    return InitialVectors(vectors, np.where(vectors.any(axis=1), name, "none"))


def _taste_space(prepared: Prepared, ratings: Histories, settings: TasteSettings) -> TasteSpace:
    """Return the item vectors and the solution of the ridge fold-in."""
    space = TasteSpaceSettings(scale=prepared.scale, dim=settings.dim, seed=settings.seed)
    if settings.item_vectors != COLLABORATIVE:
        return TasteSpace.from_vectors(_prepared_vectors(prepared, settings), ratings, space)
    if rank():  # rank 0 solves, and broadcasts the solution before the first step
        return TasteSpace.zeros(len(prepared.item_ids), space)
    _, features = load_feature_rows(prepared.folder)
    return TasteSpace.fit(ratings, features, space)


def _initial_taste(space: TasteSpace, rating_bins: int, settings: TasteSettings) -> TasteEncoder:
    torch.manual_seed(settings.seed)
    shared = ("dim", "hidden_size", "layers", "heads", "max_history", "dropout", "input_dropout")
    blend = ("blend_overall", "blend_recent", "blend_short")
    model = TasteEncoder(
        TasteConfig(
            n_items=len(space.initial.vectors),
            intermediate_size=4 * settings.hidden_size,
            rating_bins=rating_bins,
            time_gap_bins=N_TIME_GAP_BINS if settings.time_gaps else 0,
            **settings.model_dump(include={*shared, *blend}),
        )
    )
    solution = space.fold_in_parameters()
    model.initialize(
        torch.from_numpy(space.initial.vectors),
        **{name: torch.from_numpy(array) for name, array in solution.items()},
    )
    return model


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

"""Fitting of a model to a prepared dataset: embedding space, encoder and training."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tastevec.data.inputs import N_TIME_GAP_BINS, InputConfig, RatingScale
from tastevec.errors import SettingsError, TrainingError
from tastevec.items.cold_start import ColdStartModel, InitialVectors, load_feature_rows
from tastevec.items.taste_space import TasteSpace, TasteSpaceSettings
from tastevec.model.backbone import BackboneError, backbone_shape, load_backbone
from tastevec.model.config import TasteConfig
from tastevec.model.encoder import TasteEncoder
from tastevec.schema import CONTENT, GENOME_SVD
from tastevec.training.batches import HistorySubset
from tastevec.training.distributed import rank
from tastevec.training.trainer import TrainingRun, run

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from transformers import TrainerCallback

    from tastevec.data.histories import Histories
    from tastevec.data.prepared import Prepared
    from tastevec.training.settings import TrainSettings

__all__ = ["Trained", "train"]

_LEAST_PEOPLE = 2
_LEAST_FILMS = 2


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model and what it needs to be used.

    Attributes:
        model: The encoder, at its best validated epoch.
        reading: How it reads histories.
        settings: As resolved.
        counts: (N,) training people that have each film in their history.
        origins: (N,) where each film's vector started.
        log: The loop's own log.
        cold_start: Regression of item vectors on item features, for new items.
    """

    model: TasteEncoder
    reading: InputConfig
    settings: TrainSettings
    counts: NDArray[np.int64]
    origins: NDArray[np.str_]
    log: list[dict[str, float]]
    cold_start: ColdStartModel


def train(
    prepared: Prepared,
    folder: Path,
    settings: TrainSettings,
    *,
    resume: bool = False,
    callbacks: list[TrainerCallback] | None = None,
) -> Trained:
    """Train on the training people of ``prepared``; validation people choose the epoch; nobody else is looked at.

    Where ``torchrun`` started several processes, all of them call this: the first returns, and the others leave when the
    training is over, since what is made of it is made once.

    Args:
        prepared: Where histories and film vectors come from.
        folder: For checkpoints and curves while the run is unfinished.
        settings: Of the run.
        resume: Go on from ``folder``.
        callbacks: Told of the progress.

    Raises:
        SettingsError: The settings do not fit the data or the backbone.
        TrainingError: There are too few people, or nothing to resume.
        SystemExit: With 0, at the end of every process but the first.
    """
    users, judges = _users(prepared, settings)
    reading = InputConfig(
        scale=RatingScale.of(prepared.rating_range),
        max_history=settings.max_history,
        order=settings.order,
        truncate=settings.truncate,
        pad="full" if settings.attention == "padded" else "longest",
        max_history_overall=settings.max_history_overall,
    )
    taught = users.ratings_alone()
    counts = np.bincount(taught.items, minlength=len(prepared.item_ids))
    space = _space(prepared, taught, settings)
    del taught  # what is learned is read from the file
    learners: Histories | HistorySubset = users
    choosers = judges.all()
    if settings.item_vectors != "collaborative":
        learners, choosers = (_placed(some, space.initial.vectors) for some in (users.all(), choosers))
        counts = np.bincount(learners.items, minlength=len(counts))
    model = _started(space, reading, settings)
    course = TrainingRun(learners, choosers, reading, settings, fingerprint=prepared.fingerprint)
    log = run(model, course, folder, resume=resume, callbacks=callbacks)
    if rank():
        sys.exit(0)
    return Trained(
        model,
        reading,
        settings,
        counts,
        space.initial.origins,
        log,
        ColdStartModel.fit(*load_feature_rows(prepared.folder), model.table, counts),
    )


def _users(prepared: Prepared, settings: TrainSettings) -> tuple[HistorySubset, HistorySubset]:
    """Those who teach, and those who choose the epoch."""
    order = prepared.setting("order")
    if settings.order == "time" != order:
        raise SettingsError(
            f"the histories of {prepared.folder} are in the order of their films' ids, and order is time; run tastevec "
            "prepare again without --preset bert-cosine, or train with --preset bert-cosine"
        )
    users, judges = (
        HistorySubset(prepared.histories, prepared.users_in(split)) for split in ("train", "validation")
    )
    if min(len(users), len(judges)) < _LEAST_PEOPLE:
        raise TrainingError(
            f"{prepared.folder} holds {len(users)} training and {len(judges)} validation users; expected 2 or more of "
            "each; prepare more data"
        )
    return users, judges


def _placed(users: Histories, vectors: NDArray[np.float32]) -> Histories:
    """As the note does: without films that have no vector, and then without people of a single film."""
    there = np.count_nonzero(vectors, axis=1) > 0  # (N,)
    placed = users.keep(there[users.items])
    return placed.take(np.flatnonzero(placed.lengths >= _LEAST_FILMS))


def _space(prepared: Prepared, users: Histories, settings: TrainSettings) -> TasteSpace:
    """The film table, where each row of it came from, and the linear answer."""
    linear = TasteSpaceSettings(rating_range=prepared.rating_range, dim=settings.dim, seed=settings.seed)
    if settings.item_vectors == "collaborative":
        if rank():  # the first process solves, and tells the others as they begin to learn
            return TasteSpace.zeros(len(prepared.item_ids), linear)
        _, rows = load_feature_rows(prepared.folder)
        return TasteSpace.fit(users, rows, linear)
    name = GENOME_SVD if settings.item_vectors == GENOME_SVD and GENOME_SVD in prepared.vectors else CONTENT
    vectors = prepared.vectors[name]
    if vectors.shape[1] != settings.dim:
        raise SettingsError(
            f"dim is {settings.dim}, and the {name} vectors of {prepared.folder} have {vectors.shape[1]} numbers; set dim={vectors.shape[1]}"
        )
    start = InitialVectors(vectors, np.where(vectors.any(axis=1), name, "none"))
    return TasteSpace.from_vectors(start, users, linear)


def _started(space: TasteSpace, reading: InputConfig, settings: TrainSettings) -> TasteEncoder:
    """The network before its first step."""
    torch.manual_seed(settings.seed)
    shape: dict[str, Any] = {
        "hidden_size": settings.hidden_size,
        "heads": settings.heads,
        "intermediate_size": 4 * settings.hidden_size,
    }
    try:
        if settings.backbone != "fresh":
            shape = backbone_shape(settings.backbone, settings.layers)
        config = TasteConfig(
            n_items=len(space.initial.vectors),
            dim=settings.dim,
            layers=settings.layers,
            max_history=settings.max_history,
            dropout=settings.dropout,
            rating_bins=reading.scale.n_bins,
            rating_input=settings.rating_input,
            attention=settings.attention,
            readout=settings.readout,
            positions=settings.positions,
            item_input=settings.item_input,
            input_dropout=settings.input_dropout,
            blend_overall=settings.blend_overall,
            blend_recent=settings.blend_recent,
            blend_short=settings.blend_short,
            time_gap_bins=N_TIME_GAP_BINS if settings.time_gaps else 0,
            similarity="cosine" if settings.loss == "cosine" else "dot",
            **shape,
        )
        model = TasteEncoder(config)
        linear = space.fold_in_parameters(reading.scale.n_bins)
        model.initialize(
            torch.from_numpy(space.initial.vectors),
            **{name: torch.from_numpy(array) for name, array in linear.items()},
        )
        if settings.backbone != "fresh":
            load_backbone(model, settings.backbone)
    except BackboneError as error:
        raise SettingsError(str(error)) from error
    return model

"""The fit of preset taste: closed form, transformer, the weight of the latter, and the geometry of the vectors.

Dimensions: B users, N items, F features.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from tastevec.data.inputs import N_TIME_GAP_BINS
from tastevec.items.cold_start import SHRINKAGE_USERS, InitialVectors, initial_vectors
from tastevec.items.linalg import one_blas_thread
from tastevec.model.closed_form import TRANSFORMER, ClosedForm
from tastevec.model.config import TasteConfig
from tastevec.model.encoder import TasteEncoder
from tastevec.model.geometry import Geometry
from tastevec.schema import DEFAULT_DISLIKE_WEIGHT
from tastevec.training.checkpoints import SaveClosedForm, load_closed_form
from tastevec.training.closed_form import fit_closed_form
from tastevec.training.distributed import rank
from tastevec.training.settings import TasteSettings
from tastevec.training.teacher import TeacherSettings, low_share
from tastevec.training.teacher_search import choose_content, choose_teacher, weigh_transformer
from tastevec.training.trainer import encoded, train_encoder, validate

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix
    from transformers import TrainerCallback

    from tastevec.data.histories import Histories
    from tastevec.model.direction import DirectionEncoder
    from tastevec.model.note import NoteEncoder
    from tastevec.training.trainer import TrainingRun

_FOLD_USERS: Final = 2_000  # whose vectors the geometry is fitted to; more do not change it
_FOLD_CHUNK: Final = 256
_CONTENT_USERS: Final = (0.0, 3.0, SHRINKAGE_USERS, 30.0)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted encoder.

    Attributes:
        model: The encoder, at its best epoch on the validation users.
        origins: (N,) source of the vector of each item.
        log: The log of the training of the network.
        validation: Metrics of the validation users.
        chosen: What was chosen on them, as JSON values; of the research note's model nothing.
    """

    model: TasteEncoder | NoteEncoder | DirectionEncoder
    origins: NDArray[np.str_]
    log: list[dict[str, float]]
    validation: dict[str, float]
    chosen: dict[str, Any]


def fit_taste(
    run: TrainingRun,
    features: csr_matrix | NDArray[np.float32],
    folder: Path,
    given: InitialVectors | None,
    *,
    resume: bool,
    callbacks: list[TrainerCallback] | None,
) -> Fitted:
    """Return the model of preset ``taste``; on another rank than 0 without a closed form.

    Where the order carries nothing, the transformer is not trained, and has no weight.

    Args:
        run: Users, settings, and what is called with each stage.
        features: (N, F) item features, for items that hardly anybody has.
        folder: Of the checkpoints; see `train_encoder`.
        given: Item vectors to take as they are; None: they are fitted.
        resume: See `train_encoder`.
        callbacks: See `train_encoder`.
    """
    settings, n_items = run.settings, features.shape[0]
    assert isinstance(settings, TasteSettings)
    closed_form, chosen, origins = None, dict[str, Any](), np.full(n_items, "none")
    vectors = np.zeros((n_items, settings.dim), np.float32)
    if not rank():  # which sends the item vectors to the others before the first step
        kept = load_closed_form(folder) if resume else None
        closed_form, chosen, origins = kept or _closed_form(run, features, given)
        vectors = closed_form.table
        callbacks = [SaveClosedForm(closed_form, chosen, origins), *(callbacks or [])]
    model = _initial(vectors, run, settings)
    log = []
    if settings.epochs and run.order != "none":
        run.stage("transformer")
        log = train_encoder(model, run, folder, resume=resume, callbacks=callbacks)
    if closed_form is None:
        return Fitted(model, origins, log, {}, {})
    weight = settings.transformer_weight if log else 0.0
    if weight is None:
        run.stage("weight of the transformer")
        states = partial(encoded, model.states, config=run.input_config, horizon="next")
        weight = weigh_transformer(
            closed_form, states, run.validation, reading=run.input_config, order=run.order, seed=settings.seed
        )
    if weight:
        weights = {**closed_form.weights, "next": {**closed_form.weights["next"], TRANSFORMER: weight}}
        closed_form = dataclasses.replace(closed_form, weights=weights)
    model.solve(closed_form)
    model.fold(_geometry(model, run))
    chosen = {**chosen, "weights": closed_form.weights}
    validation = validate(model, run.validation, run.input_config, settings, run.order, whole=True)
    return Fitted(model, origins, log, validation, chosen)


def _closed_form(
    run: TrainingRun,
    features: csr_matrix | NDArray[np.float32],
    given: InitialVectors | None,
) -> tuple[ClosedForm, dict[str, Any], NDArray[np.str_]]:
    """Return the closed form, what was chosen on validation users, and the source of each item vector."""
    settings, train, n_items = run.settings, run.train_in_memory(), features.shape[0]
    assert isinstance(settings, TasteSettings)
    scale = run.input_config.scale
    same: dict[str, Any] = {"order": run.order, "dim": settings.dim, "seed": settings.seed}
    chosen = TeacherSettings.of(run.order)
    if settings.tune:
        chosen = choose_teacher(train, run.validation, n_items, scale=scale, **same, progress=run.stage)
    first: dict[str, Any] = {"first": run.warm_start.first_vectors} if run.warm_start else {}
    run.stage("item vectors")
    model = fit_closed_form(
        train,
        n_items,
        chosen,
        reading=run.input_config,
        **same,
        steps=settings.item_vector_steps,
        vectors=None if given is None else given.vectors,
        **first,
    )
    initial, facts = given, {**chosen.as_json(), "low_ratings": round(low_share(train, scale), 4)}
    if initial is None:
        initial, facts["content_users"] = _with_content(run, model, features, train)
    facts["dislikes"] = bool(model.push.any())
    return dataclasses.replace(model, table=initial.vectors), facts, initial.origins


def _with_content(
    run: TrainingRun, model: ClosedForm, features: csr_matrix | NDArray[np.float32], train: Histories
) -> tuple[InitialVectors, float]:
    """Return the item vectors, those of rare items nearer to what their content predicts; and how rare these are."""
    counts = np.bincount(train.once().items, minlength=features.shape[0])
    mixed = {
        users: initial_vectors(model.table, features, counts, shrinkage=users) for users in _CONTENT_USERS
    }
    assert isinstance(run.settings, TasteSettings)
    users = SHRINKAGE_USERS
    if run.settings.tune and (mixed[0.0].vectors != mixed[users].vectors).any():
        run.stage("content of rare items")
        models = {some: dataclasses.replace(model, table=each.vectors) for some, each in mixed.items()}
        same: dict[str, Any] = {"order": run.order, "seed": run.settings.seed}
        users = choose_content(models, run.validation, reading=run.input_config, **same)
    return mixed[users], users


def _initial(vectors: NDArray[np.float32], run: TrainingRun, settings: TasteSettings) -> TasteEncoder:
    """Return the encoder before its first step."""
    torch.manual_seed(settings.seed)
    shared = {"dim", "hidden_size", "layers", "heads", "max_history", "dropout", "input_dropout"}
    model = TasteEncoder(
        TasteConfig(
            n_items=len(vectors),
            intermediate_size=4 * settings.hidden_size,
            rating_bins=run.input_config.scale.n_bins,
            time_gap_bins=N_TIME_GAP_BINS if settings.time_gaps else 0,
            **settings.model_dump(include=shared),
        )
    )
    model.initialize(torch.from_numpy(vectors))
    if run.warm_start:
        run.warm_start.load(model)
    return model


def _geometry(model: TasteEncoder, run: TrainingRun) -> Geometry:
    """Return the geometry of the rated items, fitted to the embeddings of some training users at both horizons."""
    users = len(run.train)
    some = run.train.take(np.arange(0, users, -(-users // _FOLD_USERS) or 1))
    parts = [
        model.encode(horizon, dislike_weight=DEFAULT_DISLIKE_WEIGHT, **run.input_config.arrays(chunk))
        for horizon in ("next", "overall")
        for chunk in some.chunks(_FOLD_CHUNK)
    ]
    counts = np.bincount(run.train_in_memory().items, minlength=len(model.table))
    rated = model.table[(counts > 0) & model.table.any(axis=1)]
    with one_blas_thread():
        return Geometry.fit(rated, np.concatenate(parts))

"""The fit of preset direction: ridges from the rest of a history to the direction of its top-rated items.

Dimensions: B users, M interactions, N items, D dimensions, P columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.evaluation.metrics import cosine_distance, mean_direction, mean_of_targets, without_direction
from tastevec.evaluation.tasks import NO_USER, build_task, reason_to_skip
from tastevec.model.direction import DIRECTION_MODEL, DirectionEncoder, known_items, unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import InputConfig
    from tastevec.data.value_scale import ValueScale
    from tastevec.evaluation.tasks import Task
    from tastevec.model.closed_form import Known

_MEAN_RIDGES: Final = (1.0, 3.0, 10.0, 30.0, 100.0)
_ITEM_RIDGES: Final = (100.0, 30.0, 10.0, 3.0)  # strongest first: each solution is the start of the next
_UNRATED: Final = 0.5  # the share of an interaction without a value: its grade is 0
_CHUNK: Final = 256  # users encoded at once
_STEPS: Final = 100
_TOLERANCE: Final = 1e-3  # of the residuals: less changes no distance in the fourth decimal


@dataclass(frozen=True, eq=False)
class FittedDirection:
    """A fitted encoder.

    Attributes:
        model: The encoder.
        ridges: Those of W and of the items, as chosen on the validation users.
        distances: Mean cosine distance of the validation users to their top-rated items, raw, and without the mean direction of
            the items.
    """

    model: DirectionEncoder
    ridges: tuple[float, float]
    distances: tuple[float, float]


def top_rated(users: Histories, scale: ValueScale) -> Task:
    """Return the task of the users' top-rated items.

    Raises:
        ValueError: No user has any.
    """
    reason = reason_to_skip("top-rated", scale, "none")
    task = None if reason else build_task("top-rated", users, scale=scale)
    if task is None or not len(task):
        raise ValueError(reason or NO_USER["top-rated"])
    return task


def fit_direction(
    train: Histories,
    validation: Histories,
    vectors: NDArray[np.float32],
    *,
    reading: InputConfig,
    progress: Callable[[str], None] = lambda _text: None,
) -> FittedDirection:
    """Fit the encoder to training users, and choose both ridges by the mean distance of the validation users.

    The target of a user is the unit direction of the sum of the unit vectors of their top-rated items; the rest of the
    history is the input.

    Args:
        train: Training users.
        validation: Validation users.
        vectors: (N, D) item vectors; zeros for an item without one.
        reading: What is read of a history.
        progress: Called with what begins.

    Raises:
        ValueError: No user of one of the two has a value above others.
    """
    ours, theirs = (top_rated(users, reading.scale) for users in (train, validation))
    blank = _blank(vectors, reading)
    given = [known_items(reading.arrays(part.inputs)) for part in ours.chunks(_CHUNK)]
    targets = _directions(ours, blank.item_vectors)
    known = np.concatenate([blank.known(one) for one in given])
    progress("ridge of the means")
    gram, products = known.T @ known, known.T @ targets
    trials = []
    for ridge in _MEAN_RIDGES:
        solution = np.linalg.solve(gram + ridge * np.eye(len(gram)), products)
        model = blank.replaced(from_means=solution)
        trials.append((distances(model, theirs, reading), ridge, solution, model))
    _, mean_ridge, solution, means = min(trials, key=_raw)
    columns, left = _columns(given, blank), targets - known @ solution
    trials, solution = [], np.zeros((columns.shape[1], left.shape[1]))
    for ridge in _ITEM_RIDGES:
        progress(f"ridge of the items: {ridge:g}")
        solution = solve_sparse(columns, left, ridge, solution)
        parts = np.split(solution, 2)
        model = means.replaced(from_items=parts[0], from_grades=parts[1])
        trials.append((distances(model, theirs, reading), ridge, solution, model))
    found, item_ridge, _, model = min(trials, key=_raw)
    return FittedDirection(model, (mean_ridge, item_ridge), found)


def _raw(trial: tuple[tuple[float, float], Any, Any, Any]) -> float:
    return trial[0][0]


def distances(model: DirectionEncoder, task: Task, reading: InputConfig) -> tuple[float, float]:
    """Return the mean cosine distance of the users to their held-out items, raw, and without the items' mean direction."""
    vectors = model.item_vectors
    shared, parts = mean_direction(vectors), []
    for part in task.chunks(_CHUNK):
        users = model.encode("overall", dislike_weight=0.0, **reading.arrays(part.inputs))
        left, right = np.repeat(users, part.held_out_items, axis=0), vectors[part.targets]
        centred = (without_direction(one, shared) for one in (left, right))
        found = np.stack([cosine_distance(left, right), cosine_distance(*centred)])
        found[:, ~right.any(axis=1)] = np.nan
        parts.append([mean_of_targets(values, part.offsets) for values in found])
    raw, centred_ = np.nanmean(np.concatenate(parts, axis=1), axis=1).tolist()
    return raw, centred_


def solve_sparse(
    columns: csr_matrix, targets: NDArray[np.float64], ridge: float, start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the ridge solution (P, D) of ``columns @ solution = targets``, by preconditioned conjugate gradients.

    Args:
        columns: (B, P), never made dense.
        targets: (B, D), solved side by side.
        ridge: Over 0.
        start: (P, D) where to begin.
    """
    rows = columns.T.tocsr()
    scale = 1 / (np.asarray(columns.multiply(columns).sum(axis=0)).ravel() + ridge)[:, None]  # (P, 1)
    solution = start.copy()
    residual = rows @ (targets - columns @ solution) - ridge * solution
    least = _TOLERANCE * np.linalg.norm(rows @ targets)
    step = scale * residual
    energy = (residual * step).sum(axis=0)
    for _ in range(_STEPS):
        if np.linalg.norm(residual) <= least:
            break
        image = rows @ (columns @ step) + ridge * step
        curvature = (step * image).sum(axis=0)
        length = energy / np.where(curvature > 0, curvature, 1.0)
        solution += length * step
        residual -= length * image
        before, energy = energy, (residual * scale * residual).sum(axis=0)
        step = scale * residual + energy / np.where(before > 0, before, 1.0) * step
    return solution


def _blank(vectors: NDArray[np.float32], reading: InputConfig) -> DirectionEncoder:
    """Return the encoder before the fit."""
    n_items, dim = vectors.shape
    scale, zeros = reading.scale, np.zeros((n_items, dim), np.float32)
    shares = np.append(scale.bin_shares(), np.float32(_UNRATED))
    [positive] = scale.bin_values(np.array([scale.positive_from], np.float32))
    is_positive = (np.arange(len(shares)) >= positive) & (np.arange(len(shares)) < scale.n_bins)
    weights = {
        "items.weight": unit(vectors).astype(np.float32),
        "grades": np.stack([is_positive, np.ones(len(shares)), 2 * shares - 1]).astype(np.float32),
        "from_means": np.zeros((3 * dim + 2, dim), np.float32),
        "from_items": zeros,
        "from_grades": zeros,
    }
    config = {"model_type": DIRECTION_MODEL, "n_items": n_items, "dim": dim, "added_items": []}
    config |= {"max_history": reading.max_history, "rating_bins": scale.n_bins}
    return DirectionEncoder(config, weights)


def _directions(task: Task, item_vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the unit direction (B, D) of the held-out items of each user."""
    starts = task.offsets[:-1]
    return unit(np.add.reduceat(item_vectors[task.targets].astype(np.float64), starts))


def _columns(given: list[Known], model: DirectionEncoder) -> csr_matrix:
    """Return the items (B, N) and their grades (B, N), side by side, over the square root of the length of a history."""
    from scipy import sparse  # noqa: PLC0415  an extra

    lengths = np.concatenate([one.lengths for one in given])
    items, bins = (np.concatenate([getattr(one, name) for one in given]) for name in ("items", "rating_bins"))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    amount = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths)
    shape = (len(lengths), len(model.table))
    parts = [
        sparse.csr_matrix((values * amount, items, offsets), shape=shape)
        for values in model.grades[1:, bins].astype(np.float64)
    ]
    return sparse.hstack(parts, format="csr")

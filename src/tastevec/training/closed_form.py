"""The fit of the closed form: item vectors from the top lists of training users, as held-out users have them.

Dimensions: B users, N items, D dimensions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.evaluation.tasks import build_task
from tastevec.model.closed_form import LENGTHS
from tastevec.model.list_solver import RIDGE, TopLists
from tastevec.training.item_vectors import STEPS, fit_item_vectors
from tastevec.training.teacher import component_fits, low_share, push_of, unfitted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import InputConfig
    from tastevec.model.closed_form import ClosedForm
    from tastevec.schema import Horizon, Order
    from tastevec.training.teacher import TeacherSettings

_LISTS: Final = 4_000  # of each horizon, which the item vectors are fitted to
_PARTS: Final = 8_000  # random parts of histories: with fewer, a few hundred steps learn them by heart
_LEAST_PART: Final = 0.1  # of a history
_NEWEST: Final = 400  # interactions of such a history
_USERS: Final = 256  # scored at once


def fit_closed_form(  # noqa: PLR0913  the data, and what they are
    train: Histories,
    n_items: int,
    settings: TeacherSettings,
    *,
    reading: InputConfig,
    order: Order,
    dim: int = 64,
    seed: int = 42,
    steps: int = STEPS,
    vectors: NDArray[np.float32] | None = None,
    first: Callable[[NDArray[np.float32]], NDArray[np.float32]] = lambda factors: factors,
    progress: Callable[[int, int], None] | None = None,
) -> ClosedForm:
    """Fit the components and the item vectors to the training users.

    The lists are those of training users as held-out users have them: for *overall* a random 20 % of their positives
    hidden, and random parts of their histories, so that vectors of few users fit others too; for *next* up to a random
    moment.

    Args:
        train: Training users.
        n_items: N.
        settings: As `choose_teacher` returns them.
        reading: What is read of a history.
        order: Where the order comes from; ``none``: the item vectors are fitted to *overall* lists alone.
        dim: D.
        seed: Of iALS, of what is hidden, and of the order of the lists.
        steps: Steps of the fit of the item vectors.
        vectors: (N, D) given item vectors, which then stay as they are.
        first: Returns the vectors (N, D - 1) that their fit begins with, from the factors of iALS.
        progress: Called with the number of finished steps of the item vectors and their total.
    """
    fits = component_fits(train, n_items, settings, reading.scale, dim=dim, seed=seed)
    used = {name for weights in settings.weights.values() for name in weights}
    components = {name: fit() for name, fit in fits.items() if name in used}
    given = np.zeros((n_items, dim), np.float32) if vectors is None else vectors
    model = replace(
        unfitted(components, settings.weights, reading.scale, n_items),
        shrinkage=np.array(settings.shrinkage, np.float32),
        ridge=(ridge := np.array([RIDGE], np.float32)),
        push=push_of(reading.scale, low_share(train, reading.scale)),
        table=given,
    )
    rng = np.random.default_rng(seed)
    hidden = build_task("random-20pct", train, scale=reading.scale, seed=seed).inputs
    some = np.sort(rng.choice(len(hidden), min(_LISTS, len(hidden)), replace=False))
    model = replace(model, mean=_mean_scores(model, hidden.take(some), reading))
    if vectors is not None:
        return model
    inputs: list[tuple[Horizon, Histories]] = [
        ("overall", hidden.take(some)),
        ("overall", _parts(train, rng)),
    ]
    if order != "none":
        inputs.append(("next", _moments(train, rng)))
    lists = [
        TopLists.of(scores, known.once().owners, np.asarray(known.once().items, np.int64), LENGTHS[horizon])
        for horizon, histories in inputs
        for known, scores in _scored(model, histories, horizon, reading)
    ]
    start: Any = components.get("factors") or fits["factors"]()
    table = fit_item_vectors(
        first(_reduced(start.factors)), TopLists.concatenate(lists), seed=seed, steps=steps, progress=progress
    )
    # One coordinate stays free for the fold, so that the geometry takes nothing away; the ridge follows the length of 1,
    # at which the transformer reads item vectors best, so that no user ranks otherwise.
    length = np.float32(max(np.linalg.norm(table, axis=1).mean(), 1e-9))
    return replace(model, table=np.pad(table / length, ((0, 0), (0, 1))), ridge=ridge / length**2)


def _reduced(factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the factors (N, D) without the dimension in which they differ least, (N, D - 1)."""
    exact = factors.astype(np.float64)
    axes = np.linalg.eigh(exact.T @ exact)[1]  # by ascending share
    return np.asarray(exact @ axes[:, 1:], np.float32)


def _mean_scores(model: ClosedForm, inputs: Histories, reading: InputConfig) -> NDArray[np.float32]:
    """Return the mean *overall* scores of some training users, (N,)."""
    total = np.zeros(len(model.mean))
    for _, scores in _scored(model, inputs, "overall", reading):
        total += scores.sum(axis=0)
    return (total / max(len(inputs), 1)).astype(np.float32)


def _scored(
    model: ClosedForm, histories: Histories, horizon: Horizon, reading: InputConfig
) -> Iterator[tuple[Histories, NDArray[np.float32]]]:
    """Yield some users at a time with their scores."""
    for some in histories.chunks(_USERS):
        yield some, model.scores(horizon, *model.known(reading.arrays(some)))


def _parts(train: Histories, rng: np.random.Generator) -> Histories:
    """Return a random part of the items of training users, the length of the part random too."""
    users = np.sort(rng.choice(len(train), _PARTS))
    drawn = train.take(users).once()
    shares = rng.uniform(_LEAST_PART, 1.0, len(drawn))
    return drawn.keep(rng.random(len(drawn.items)) < np.repeat(shares, drawn.lengths))


def _moments(train: Histories, rng: np.random.Generator) -> Histories:
    """Return histories of training users up to random moments, each moment equally likely."""
    lengths = train.lengths
    count = min(_LISTS, int(lengths.sum()))
    users = np.sort(rng.choice(len(lengths), count, p=lengths / lengths.sum()))
    ends = rng.integers(1, lengths[users] + 1)
    drawn = train.take(users)
    position = np.arange(len(drawn.items)) - np.repeat(drawn.offsets[:-1], drawn.lengths)
    before = np.repeat(ends, drawn.lengths) - position  # 1 for the last interaction that is known
    return drawn.keep((before >= 1) & (before <= _NEWEST))

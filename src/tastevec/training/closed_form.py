"""Closed-form embeddings: item vectors fitted to the top lists of the teacher, and users solved against them.

Dimensions: B users, N items, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.evaluation.tasks import build_task
from tastevec.training.item_vectors import ListSolver, TopLists, fit_item_vectors
from tastevec.training.teacher import Factors, Teacher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.value_scale import ValueScale
    from tastevec.schema import Horizon, Order
    from tastevec.training.teacher import TeacherSettings

_LENGTHS: Final[dict[Horizon, int]] = {"overall": 150, "next": 100}  # items of a list
_LISTS: Final = 4_000  # of each horizon, which the item vectors are fitted to
_NEWEST: Final = 400  # interactions of such a history
_USERS: Final = 512  # scored at once


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """A fitted teacher and item vectors, against which a user is solved.

    Attributes:
        vectors: (N, D) float32 item vectors, of both horizons.
    """

    teacher: Teacher
    vectors: NDArray[np.float32]

    def encode(self, histories: Histories, horizon: Horizon) -> NDArray[np.float32]:
        """Return the user vectors (B, D), whose inner products with the item vectors rank the items.

        Of data without order, *next* is *overall*.
        """
        if "lagged" not in self.teacher.weights["next"]:
            horizon = "overall"
        solver = ListSolver.of(self.vectors)
        found = [solver.solve(lists) for lists in _lists(self.teacher, histories, horizon)]
        return np.concatenate([np.zeros((0, self.vectors.shape[1]), np.float32), *found])


def fit_closed_form(  # noqa: PLR0913  the data, and what they are
    train: Histories,
    n_items: int,
    settings: TeacherSettings,
    *,
    scale: ValueScale,
    order: Order,
    dim: int = 64,
    seed: int = 42,
    progress: Callable[[int, int], None] | None = None,
) -> ClosedForm:
    """Fit teacher and item vectors to the training users.

    The lists are those of training users as held-out users have them: a random 20 % of their positives hidden, for
    *overall*, and up to a random moment, for *next*.

    Args:
        train: Training users.
        n_items: N.
        settings: The teacher's, as `choose_teacher` returns them.
        scale: The value scale.
        order: Where the order comes from; ``none``: the item vectors are fitted to *overall* lists alone.
        dim: D.
        seed: Of iALS, of what is hidden, and of the order of the lists.
        progress: Called with the number of finished steps of the item vectors and their total.
    """
    teacher = Teacher.fit(train, n_items, settings, scale, dim=dim, seed=seed)
    rng = np.random.default_rng(seed)
    hidden = build_task("random-20pct", train, scale=scale, seed=seed).inputs
    some = np.sort(rng.choice(len(hidden), min(_LISTS, len(hidden)), replace=False))
    inputs: dict[Horizon, Histories] = {"overall": hidden.take(some)}
    teacher = teacher.with_mean(inputs["overall"])
    if order != "none":
        inputs["next"] = _moments(train, rng)
    lists = [part for horizon, known in inputs.items() for part in _lists(teacher, known, horizon)]
    factors = teacher.components.get("factors")
    start = (
        factors
        if isinstance(factors, Factors)
        else Factors.fit(train, n_items, settings.als(scale, dim, seed))
    )
    vectors = fit_item_vectors(start.vectors, TopLists.concatenate(lists), seed=seed, progress=progress)
    return ClosedForm(teacher, vectors)


def _moments(train: Histories, rng: np.random.Generator) -> Histories:
    """Return histories of training users up to random moments, each moment equally likely."""
    lengths = train.lengths
    users = np.sort(rng.choice(len(lengths), _LISTS, p=lengths / lengths.sum()))
    ends = rng.integers(1, lengths[users] + 1)
    drawn = train.take(users)
    position = np.arange(len(drawn.items)) - np.repeat(drawn.offsets[:-1], drawn.lengths)
    before = np.repeat(ends, drawn.lengths) - position  # 1 for the last interaction that is known
    return drawn.keep((before >= 1) & (before <= _NEWEST)).normalized()


def _lists(teacher: Teacher, histories: Histories, horizon: Horizon) -> Iterator[TopLists]:
    for some in histories.chunks(_USERS):
        yield TopLists.of(teacher.score(some, horizon), some, _LENGTHS[horizon])

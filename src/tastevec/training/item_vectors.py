"""Item vectors fitted to the top lists of training users.

Dimensions: B users, N items, D dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.items.linalg import one_blas_thread
from tastevec.model.list_solver import RIDGE, ListSolver

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tastevec.model.list_solver import TopLists

STEPS: Final = 800
_STEPS_OF_VISIT: Final = 1  # of the users of a batch, before the items move
_BATCH: Final = 200
_RATE: Final = 0.06
_FIRST: Final = 0.9  # decay of Adam's mean gradient
_SECOND: Final = 0.98  # and of its mean square
_EPS: Final = 1e-8


def fit_item_vectors(
    start: NDArray[np.float32],
    lists: TopLists,
    *,
    seed: int,
    steps: int = STEPS,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return item vectors (N, D) with the least list loss over users of free vectors.

    The items move by Adam, the users by quasi-Newton steps before each of its steps: users who move by Adam too hold the
    items back where many are rare. The same arguments give the same bytes on the same machine.

    Args:
        start: (N, D) first item vectors, of any length: iALS factors.
        lists: B users.
        seed: Seed of the order of the users.
        steps: Steps of Adam, of 200 users each.
        progress: Called with the number of finished steps and their total.
    """
    vectors = start / np.float32(max(np.sqrt((start * start).sum(axis=1).mean()), 1e-9))
    users = np.zeros((len(lists), vectors.shape[1]), np.float32)
    rng, n_batches = np.random.default_rng(seed), max(-(-len(lists) // _BATCH), 1)
    total = -(-steps // n_batches) * n_batches
    of_items = _Adam(vectors)
    with one_blas_thread():
        for step in range(total):
            if not step % n_batches:
                order = rng.permutation(len(lists))
            some = np.sort(order[step % n_batches * _BATCH :][:_BATCH])
            part = lists.take(some)
            own, errors = ListSolver.of(vectors).improve(users[some], part, _STEPS_OF_VISIT)
            users[some] = own
            np.subtract.at(errors, (np.arange(len(some))[:, None], part.items), part.weights)
            gradient = errors.T @ own / len(some) + 2 * RIDGE / len(vectors) * vectors
            of_items.step(gradient, _RATE * (1.02 - step / total))
            if progress:
                progress(step + 1, total)
    return vectors


class _Adam:
    """Adam in place.

    Args:
        values: (R, D) what is fitted.
    """

    def __init__(self, values: NDArray[np.float32]) -> None:
        self._values, self._mean, self._square = values, np.zeros_like(values), np.zeros_like(values)
        self._steps = 0

    def step(self, gradient: NDArray[np.float32], rate: float) -> None:
        """Move against the gradient (R, D)."""
        self._steps += 1
        self._mean += np.float32(1 - _FIRST) * (gradient - self._mean)
        self._square += np.float32(1 - _SECOND) * (gradient * gradient - self._square)
        mean = self._mean / np.float32(1 - _FIRST**self._steps)
        square = self._square / np.float32(1 - _SECOND**self._steps)
        self._values -= np.float32(rate) * mean / (np.sqrt(square) + np.float32(_EPS))

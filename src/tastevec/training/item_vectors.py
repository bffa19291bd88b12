"""The list loss: item vectors and user vectors whose softmax over the catalog ranks what given scores rank first.

Dimensions: B users, N items, D dimensions, K items of a list, S seen items of B users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.data.topk import rank_items
from tastevec.items.linalg import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

RIDGE: Final = 0.003  # of the squared length of a vector, in the loss of one user
_FLATTEN: Final = 2  # an item at rank k, from 0, weighs 1 / (k + 2)
_SEEN: Final = np.float32(-1e4)  # score of an item that is no candidate: its softmax is 0


@dataclass(frozen=True, eq=False)
class TopLists:
    """The best items of B users by some scores, without the items that they have.

    Attributes:
        items: (B, K) int64 item indices, best first; any where the weight is 0.
        weights: (B, K) float32, falling with the rank, of sum 1 for each user; 0 where fewer items remain.
        seen_owners: (S,) int64 user, ascending, of each item that is not ranked.
        seen_items: (S,) int64 these items.
    """

    items: NDArray[np.int64]
    weights: NDArray[np.float32]
    seen_owners: NDArray[np.int64]
    seen_items: NDArray[np.int64]

    @classmethod
    def of(cls, scores: NDArray[np.float32], seen: Histories, length: int) -> TopLists:
        """Return the first ``length`` items by ``scores`` (B, N), which have one row for each user of ``seen``."""
        items = rank_items(scores, seen, length)
        weights = np.where(items >= 0, 1.0 / (np.arange(items.shape[1]) + _FLATTEN), 0.0)
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
        owners, seen_items = seen.owners, np.asarray(seen.items, np.int64)
        return cls(np.maximum(items, 0), weights.astype(np.float32), owners, seen_items)

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.items)

    def take(self, users: NDArray[np.integer]) -> TopLists:
        """Return the lists of these users, ascending."""
        starts, ends = (np.searchsorted(self.seen_owners, users, side) for side in ("left", "right"))
        lengths = ends - starts
        owners = np.repeat(np.arange(len(users)), lengths)
        rows = np.arange(len(owners)) + np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
        return TopLists(self.items[users], self.weights[users], owners, self.seen_items[rows])

    @staticmethod
    def concatenate(groups: list[TopLists]) -> TopLists:
        """Return the users of all groups; a short list is filled with items of weight 0."""
        longest = max(group.items.shape[1] for group in groups)
        filled = [((0, 0), (0, longest - group.items.shape[1])) for group in groups]
        starts = np.cumsum([0, *map(len, groups)])
        return TopLists(
            np.concatenate([np.pad(group.items, by) for group, by in zip(groups, filled, strict=True)]),
            np.concatenate([np.pad(group.weights, by) for group, by in zip(groups, filled, strict=True)]),
            np.concatenate([group.seen_owners + start for group, start in zip(groups, starts, strict=False)]),
            np.concatenate([group.seen_items for group in groups]),
        )

    def target(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the weighted mean of the listed items' vectors, (B, D)."""
        return np.asarray(np.einsum("bk,bkd->bd", self.weights, vectors[self.items]), np.float32)

    def softmax(
        self, users: NDArray[np.float32], vectors: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the softmax of the candidates (B, N), and the logarithm of its denominator (B,)."""
        scores = users @ vectors.T
        scores[self.seen_owners, self.seen_items] = _SEEN
        highest = scores.max(axis=1, keepdims=True)
        np.exp(scores - highest, out=scores)
        total = scores.sum(axis=1, keepdims=True)
        scores /= total
        return scores, (np.log(total) + highest)[:, 0]


_STEPS: Final = 10
_USERS: Final = 128  # solved at once
_TRUST: Final = 0.3  # of the aim in the curvature, so that the first steps are not too long


@dataclass(frozen=True, eq=False)
class ListSolver:
    """The user vectors with the least list loss, given the item vectors: a convex problem, by a few quasi-Newton steps.

    The loss of a user u is ``-sum w u'v + log sum exp(u'v) + ridge |u|^2``: the cross-entropy of a list of items v with
    weights w and the softmax over all items that the user does not have.

    Attributes:
        vectors: (N, D) float32 item vectors.
        spread: (D, D) float32, the covariance of the item vectors: the curvature of what is not in the list.
    """

    vectors: NDArray[np.float32]
    spread: NDArray[np.float32]

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> ListSolver:
        """Return the solver of these item vectors (N, D)."""
        centered = vectors - vectors.mean(axis=0)
        return cls(vectors, centered.T @ centered / np.float32(max(len(vectors), 1)))

    def solve(self, lists: TopLists) -> NDArray[np.float32]:
        """Return the vectors (B, D) of the users of ``lists``; each depends on its own list alone, up to rounding."""
        starts = range(0, len(lists), _USERS)
        parts = [
            self._solve(lists.take(np.arange(start, min(start + _USERS, len(lists))))) for start in starts
        ]
        return np.concatenate([np.zeros((0, self.vectors.shape[1]), np.float32), *parts])

    def _solve(self, lists: TopLists) -> NDArray[np.float32]:
        users = np.zeros((len(lists), self.vectors.shape[1]), np.float32)
        return self.improve(users, lists, _STEPS)[0]

    def improve(
        self, users: NDArray[np.float32], lists: TopLists, steps: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return better user vectors (B, D), a few steps from these, and the softmax of the candidates (B, N)."""
        aim, listed = lists.target(self.vectors), self.vectors[lists.items]  # (B, D), (B, K, D)
        users, rates = users.copy(), np.ones(len(users), np.float32)
        softmax, loss = self._loss(users, aim, lists)
        for _ in range(steps):
            gradient = softmax @ self.vectors - aim + 2 * RIDGE * users
            moves = np.linalg.solve(self._curvature(softmax, listed, lists), gradient[..., None])[..., 0]
            tried = users - rates[:, None] * moves
            of_tried, loss_tried = self._loss(tried, aim, lists)
            better = loss_tried < loss
            users[better], softmax[better], loss[better] = tried[better], of_tried[better], loss_tried[better]
            rates = np.where(better, np.minimum(rates * 1.5, 1.0), rates * 0.4).astype(np.float32)
        return users, softmax

    def _loss(
        self, users: NDArray[np.float32], aim: NDArray[np.float32], lists: TopLists
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the softmax (B, N) and the loss (B,)."""
        softmax, logs = lists.softmax(users, self.vectors)
        return softmax, logs - (aim * users).sum(axis=1) + RIDGE * (users * users).sum(axis=1)

    def _curvature(
        self, softmax: NDArray[np.float32], listed: NDArray[np.float32], lists: TopLists
    ) -> NDArray[np.float32]:
        """Return approximate second derivatives (B, D, D): exact among the listed items, and the spread for all others."""
        of_listed = np.take_along_axis(softmax, lists.items, 1)
        weights = (1 - _TRUST) * of_listed + _TRUST * lists.weights  # (B, K)
        total = weights.sum(axis=1)
        means = np.einsum("bk,bkd->bd", weights, listed) / np.maximum(total, 1e-9)[:, None]
        curvature = (listed * weights[..., None]).transpose(0, 2, 1) @ listed
        curvature -= total[:, None, None] * means[:, :, None] * means[:, None]
        curvature += np.maximum(1 - total, 0)[:, None, None] * self.spread
        return curvature + 2 * RIDGE * np.eye(listed.shape[2], dtype=np.float32)


_STEPS_OF_FIT: Final = 800
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
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return item vectors (N, D) with the least list loss over users of free vectors.

    The items move by Adam, the users by quasi-Newton steps before each of its steps: users who move by Adam too hold the
    items back where many are rare. The same arguments give the same bytes on the same machine.

    Args:
        start: (N, D) first item vectors, of any length: iALS factors.
        lists: B users.
        seed: Seed of the order of the users.
        progress: Called with the number of finished steps and their total.
    """
    vectors = start / np.float32(max(np.sqrt((start * start).sum(axis=1).mean()), 1e-9))
    users = np.zeros((len(lists), vectors.shape[1]), np.float32)
    rng, n_batches = np.random.default_rng(seed), max(-(-len(lists) // _BATCH), 1)
    total = -(-_STEPS_OF_FIT // n_batches) * n_batches
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

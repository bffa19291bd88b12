"""The list loss: user vectors whose softmax over the items ranks first what given scores rank first.

Dimensions: B users, N items, D dimensions, K items of a list, S seen items of B users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Float = TypeVar("_Float", bound=np.floating[Any])
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
    def of(
        cls, scores: NDArray[np.float32], owners: NDArray[np.int64], seen: NDArray[np.int64], length: int
    ) -> TopLists:
        """Return the first items by ``scores``.

        Args:
            scores: (B, N), which are overwritten.
            owners: (S,) user of each item that is not ranked, ascending.
            seen: (S,) these items.
            length: K; fewer if there are fewer items.
        """
        scores[owners, seen] = -np.inf
        items = _highest(scores, min(length, scores.shape[1]))
        ranked = np.isfinite(np.take_along_axis(scores, items, 1))
        weights = np.where(ranked, 1.0 / (np.arange(items.shape[1]) + _FLATTEN), 0.0)
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
        return cls(items, weights.astype(np.float32), owners, seen)

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

    def target(self, vectors: NDArray[_Float]) -> NDArray[_Float]:
        """Return the weighted mean of the listed items' vectors (N, D), (B, D)."""
        found: NDArray[_Float] = np.einsum(
            "bk,bkd->bd", self.weights.astype(vectors.dtype), vectors[self.items]
        )
        return found

    def softmax(
        self, users: NDArray[_Float], vectors: NDArray[_Float]
    ) -> tuple[NDArray[_Float], NDArray[_Float]]:
        """Return the softmax of the candidates (B, N), and the logarithm of its denominator (B,)."""
        scores: NDArray[_Float] = users @ vectors.T
        scores[self.seen_owners, self.seen_items] = _SEEN
        highest = scores.max(axis=1, keepdims=True)
        np.exp(scores - highest, out=scores)
        total = scores.sum(axis=1, keepdims=True)
        scores /= total
        return scores, (np.log(total) + highest)[:, 0]


def _highest(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the columns of the highest scores, (B, count), best first; equal ones among them are in column order."""
    items = (
        np.argpartition(-scores, count - 1, axis=1)[:, :count] if count else np.zeros((len(scores), 0), int)
    )
    found = np.take_along_axis(scores, items, 1)
    return np.asarray(np.take_along_axis(items, np.lexsort((items, -found)), 1), np.int64)


_STEPS: Final = 10
_USERS: Final = 32  # solved at once: what they need stays in a cache
_TRUST: Final = 0.3  # of the aim in the curvature, so that the first steps are not too long


@dataclass(frozen=True, eq=False)
class ListSolver:
    """The user vectors with the least list loss, given the item vectors: a convex problem, by a few quasi-Newton steps.

    The loss of a user u is ``-sum w u'v + log sum exp(u'v) + ridge |u|^2``: the cross-entropy of a list of items v with
    weights w and the softmax over all items that the user does not have.

    Attributes:
        vectors: (N, D) item vectors, whose precision is that of all that follows. In single precision the vector of a user
            depends on who is solved with them: in the fourth digit, where many vectors are nearly as good.
        spread: (D, D) the covariance of the item vectors: the curvature of what is not in the list.
        ridge: Of the squared length of a user vector.
    """

    vectors: NDArray[Any]
    spread: NDArray[Any]
    ridge: float = RIDGE

    @classmethod
    def of(cls, vectors: NDArray[Any], ridge: float = RIDGE) -> ListSolver:
        """Return the solver of these item vectors (N, D)."""
        centered = vectors - vectors.mean(axis=0)
        return cls(vectors, centered.T @ centered / max(len(vectors), 1), ridge)

    def solve(self, lists: TopLists) -> NDArray[np.float32]:
        """Return the vectors (B, D) of the users of ``lists``; each depends on its own list alone."""
        found = np.zeros((len(lists), self.vectors.shape[1]), np.float32)
        for start in range(0, len(lists), _USERS):
            some = np.arange(start, min(start + _USERS, len(lists)))
            found[some] = self._solve(lists.take(some))
        return found

    def _solve(self, lists: TopLists) -> NDArray[Any]:
        users = np.zeros((len(lists), self.vectors.shape[1]), self.vectors.dtype)
        return self.improve(users, lists, _STEPS)[0]

    def improve(self, users: NDArray[Any], lists: TopLists, steps: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return better user vectors (B, D), a few steps from these, and the softmax of the candidates (B, N)."""
        aim, listed = lists.target(self.vectors), self.vectors[lists.items]  # (B, D), (B, K, D)
        users, rates = users.copy(), np.ones(len(users), users.dtype)
        softmax, loss = self._loss(users, aim, lists)
        for _ in range(steps):
            gradient = softmax @ self.vectors - aim + 2 * self.ridge * users
            moves = np.linalg.solve(self._curvature(softmax, listed, lists), gradient[..., None])[..., 0]
            tried = users - rates[:, None] * moves
            of_tried, loss_tried = self._loss(tried, aim, lists)
            better = loss_tried < loss
            users[better], softmax[better], loss[better] = tried[better], of_tried[better], loss_tried[better]
            rates = np.where(better, np.minimum(rates * 1.5, 1.0), rates * 0.4).astype(users.dtype)
        return users, softmax

    def _loss(
        self, users: NDArray[Any], aim: NDArray[Any], lists: TopLists
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the softmax (B, N) and the loss (B,)."""
        softmax, logs = lists.softmax(users, self.vectors)
        return softmax, logs - (aim * users).sum(axis=1) + self.ridge * (users * users).sum(axis=1)

    def _curvature(self, softmax: NDArray[Any], listed: NDArray[Any], lists: TopLists) -> NDArray[Any]:
        """Return approximate second derivatives (B, D, D): exact among the listed items, and the spread for all others."""
        of_listed = np.take_along_axis(softmax, lists.items, 1)
        weights = (1 - _TRUST) * of_listed + _TRUST * lists.weights  # (B, K)
        total = weights.sum(axis=1)
        means = np.einsum("bk,bkd->bd", weights, listed) / np.maximum(total, 1e-9)[:, None]
        curvature = (listed * weights[..., None]).transpose(0, 2, 1) @ listed
        curvature -= total[:, None, None] * means[:, :, None] * means[:, None]
        curvature += np.maximum(1 - total, 0)[:, None, None] * self.spread
        ridged: NDArray[Any] = curvature + 2 * self.ridge * np.eye(listed.shape[2], dtype=listed.dtype)
        return ridged

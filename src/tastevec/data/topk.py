"""Top-k selection: the k best items of each row of scores, input items excluded, or the best that are unlike each other.

Dimension letters: B users, N items, D dimensions, K ranks, S strands, C candidates of a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from tastevec.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

_CELLS = 1 << 20  # scores ranked at once: 4 MB, which fits in the processor's cache
_STRANDS = 1024
_FEW = 4
_MAX_SCORES = 1 << 24  # of a block, 64 MB: with fewer users at once the matrix product is slower
_DIVERSE_FROM: Final = (
    300  # candidates of a user: with more, one of a low score is chosen because it is unlike the others
)
_MAX_NUMBERS = 1 << 20  # of the candidates of some users, 4 MB


def rank_items(
    scores: NDArray[np.float32],
    input_items: Histories,
    k: int,
    only: NDArray[np.bool_] | None = None,
    *,
    overwrite_scores: bool = False,
) -> NDArray[np.int64]:
    """Return each user's top items from the full catalog without the user's input items, (B, K), best first.

    Equal scores are in catalog order. Besides the scores, memory is bounded by a few million cells for any number of users.

    Args:
        scores: (B, N) one row per user of ``input_items``; higher is better.
        input_items: The items to exclude.
        k: The number of ranks; fewer if the catalog is smaller.
        only: (N,), or (B, N) by user, the items to rank; None ranks all.
        overwrite_scores: Save a copy: scores of excluded items become minus infinity.

    Returns:
        Item indices; -1 fills the ranks of a user with fewer items.

    Raises:
        DataError: A score is not a finite number.

    Examples:
        >>> from tastevec.data.histories import Histories
        >>> one = np.ones(1, np.float32)
        >>> rated = Histories(np.array([7]), np.array([0, 1]), np.array([2], np.int32), one, one, np.array([0]))
        >>> rank_items(np.array([[0.1, 0.5, 0.9, 0.5]], np.float32), rated, 4)  # item 2 is an input item; 1 and 3 tie
        array([[ 1,  3,  0, -1]])
    """
    ranked = np.full((len(scores), min(k, scores.shape[1])), -1, np.int64)
    few = None  # the columns to rank, where it is faster to copy them than to overwrite the others
    if only is not None and only.ndim == 1 and 0 < only.sum() < len(only) // _FEW:
        few = np.flatnonzero(only)
    rows = max(1, _CELLS // scores.shape[1])
    for start in range(0, len(scores), rows):
        block = scores[start : start + rows]
        block = block if overwrite_scores else np.array(block)
        if not np.isfinite(block).all():
            user, item = np.argwhere(~np.isfinite(block))[0]
            raise DataError(
                f"score of item {item} for user {input_items.user_ids[start + user]}: {block[user, item]}. "
                "Expected a finite number. Check the scorer"
            )
        own = slice(input_items.offsets[start], input_items.offsets[start + len(block)])
        owners = np.repeat(np.arange(len(block)), input_items.lengths[start : start + len(block)])
        block[owners, input_items.items[own]] = -np.inf
        if only is not None and only.ndim == 1 and few is None:
            block[:, ~only] = -np.inf
        elif only is not None and few is None:
            block[~only[start : start + rows]] = -np.inf
        best = top_k(block, k) if few is None else few[top_k(block[:, few], k)]
        found = np.where(np.isneginf(np.take_along_axis(block, best, 1)), -1, best)
        ranked[start : start + rows, : found.shape[1]] = found
    return ranked


def top_k(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the columns of the K highest scores, (B, K), best first; equal scores are in column order.

    Equal to a stable sort of each row, and much faster: columns are distributed to at least K strands. K strands have a
    maximum at or above the K-th highest maximum, so no score below that bound is among the K highest. Only the few
    scores at or above it are sorted.

    Args:
        scores: (B, N) float32 without NaN.
        k: K; fewer if there are fewer columns.

    Examples:
        >>> top_k(np.array([[3, 9, 3, 3, 5]], np.float32), 3)
        array([[1, 4, 0]])
    """
    k = min(k, scores.shape[1])
    highest = _strand_maxima(scores, max(k, _STRANDS))  # (B, S)
    bound = np.partition(highest, highest.shape[1] - k, axis=1)[:, highest.shape[1] - k, None]  # (B, 1)
    passed = np.flatnonzero(scores >= bound)  # flat indices, row by row
    edges = np.searchsorted(passed, np.arange(len(scores) + 1) * scores.shape[1])
    counts = np.diff(edges)
    rows = np.repeat(np.arange(len(scores)), counts)
    keys = np.full((len(scores), counts.max(initial=k)), np.iinfo(np.int64).max)  # (B, C)
    slots = np.arange(len(passed)) - edges[rows] + rows * keys.shape[1]
    keys.put(slots, _descending(scores.take(passed)) | (passed - rows * scores.shape[1]))
    return np.sort(np.partition(keys, k - 1, axis=1)[:, :k], axis=1) & 0xFFFFFFFF


def _strand_maxima(scores: NDArray[np.float32], strands: int) -> NDArray[np.float32]:
    """Return the highest score of every S-th column, (B, S); the remaining last columns are in no strand."""
    rounds = scores.shape[1] // strands
    if rounds < 2:  # noqa: PLR2004  a strand of one column saves nothing
        return scores
    return np.asarray(scores[:, : rounds * strands].reshape(len(scores), rounds, strands).max(axis=1))


def _descending(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return numbers whose upper 32 bits ascend as the values descend; the lower 32 bits are 0, for a column.

    The bits of positive floats ascend as the floats do, those of negative ones the other way round (IEEE 754).
    """
    bits = (values + np.float32(0)).view(np.int32)  # -0 + 0 is 0: the two zeros are equal
    ascending = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    return (~ascending).astype(np.int64) << 32


class BestItems(NamedTuple):
    """The best items of users, best first, (B, K) each.

    Attributes:
        indices: Of the items; -1 where a user has fewer.
        scores: Inner products; minus infinity where a user has fewer.
        percentiles: The share of all items with a lower score for this user, from 0 to 100; 0 where a user has fewer.
    """

    indices: NDArray[np.int64]
    scores: NDArray[np.float32]
    percentiles: NDArray[np.float32]

    def take(self, columns: NDArray[np.int64]) -> BestItems:
        """Return these columns (B, C) of each user."""
        return BestItems(
            np.take_along_axis(self.indices, columns, 1),
            np.take_along_axis(self.scores, columns, 1),
            np.take_along_axis(self.percentiles, columns, 1),
        )


def best_items(
    vectors: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
    known: Histories,
    k: int,
    candidates: NDArray[np.bool_] | Callable[[NDArray[Any]], NDArray[np.bool_]] | None = None,
) -> BestItems:
    """Return the best items (B, K) of each user that are not in the history.

    The ranking is over the full catalog, without an index: known items are excluded from the scores themselves, so that a
    long history costs no more than a short one. Equal scores keep the order of the catalog. Memory is that of 16 million
    scores, or of the item vectors where these are larger, for any number of users.

    Args:
        vectors: (B, D) float32, one per user of ``known``.
        item_vectors: (N, D) float32.
        known: The histories whose items are excluded.
        k: Items per user; fewer where the catalog is smaller.
        candidates: (N,) the items that may be returned; None is all. Or a function of some user IDs (B,) that returns them,
            also as (B, N) by user.

    Raises:
        DataError: A score is not finite.

    Examples:
        >>> from tastevec.data.histories import Histories
        >>> one = np.ones(1, np.float32)
        >>> known = Histories(np.array([7]), np.array([0, 1]), np.array([0], np.int32), one, one, np.array([0]))
        >>> items = np.array([[2, 0], [1, 1], [0, 3], [1, 0]], np.float32)
        >>> found = best_items(np.array([[1, 0.5]], np.float32), items, known, 2)  # item 0 is known; 1 and 2 tie
        >>> found.indices, found.scores, found.percentiles  # both are above item 3 alone
        (array([[1, 2]]), array([[1.5, 1.5]], dtype=float32), array([[25., 25.]], dtype=float32))
    """
    items, dim = item_vectors.shape
    rows = max(1, min(len(known), max(dim, _MAX_SCORES // items)))
    buffer = np.empty((rows, items), np.float32)
    indices = np.empty((len(known), min(k, items)), np.int64)  # (B, K)
    scores, percentiles = np.empty((2, *indices.shape), np.float32)
    for block_number, part in enumerate(known.chunks(rows)):
        block = slice(block_number * rows, block_number * rows + len(part))
        with np.errstate(invalid="ignore", over="ignore"):  # rank_items refuses them, and names the user
            products = np.matmul(vectors[block], item_vectors.T, out=buffer[: len(part)])  # (rows, N)
        only = candidates(part.user_ids) if callable(candidates) else candidates
        indices[block] = rank_items(products, part, k, only)
        scores[block] = np.take_along_axis(products, np.maximum(indices[block], 0), 1)
        percentiles[block] = _percentiles(products, scores[block])
    scores[indices < 0], percentiles[indices < 0] = -np.inf, 0
    return BestItems(indices, scores, percentiles)


def _percentiles(products: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return which share of the scores (B, N) of each user is lower than each of some of them (B, K), in percent.

    Only the scores from the lowest of these on are sorted: few, where these are the best.

    Examples:
        >>> _percentiles(np.array([[3, 9, 3, 1, 5]], np.float32), np.array([[9, 3]], np.float32))
        array([[80., 20.]], dtype=float32)
    """
    users, items = products.shape
    reached = np.flatnonzero(
        products >= scores.min(axis=1, initial=np.inf)[:, None]
    )  # flat indices, row by row
    ends = np.searchsorted(reached, np.arange(1, users + 1) * items)
    # The upper 32 bits are the user; in ascending order of ``above``, scores descend.
    above = np.sort((reached // items << 32) + (_descending(products.take(reached)) >> 32))
    wanted = (np.arange(users)[:, None] << 32) + (_descending(scores) >> 32)
    at_least = np.searchsorted(above, wanted, "right") - np.append(0, ends[:-1])[:, None]  # scores no lower
    return np.asarray(100 * (1 - at_least / items), np.float32)


def diverse_candidates(k: int) -> int:
    """Return how many of the best items of a user `most_diverse` chooses ``k`` from."""
    return max(_DIVERSE_FROM, 2 * k)


def most_diverse(
    candidates: BestItems, directions: NDArray[np.float32], k: int, diversity: float
) -> BestItems:
    """Return the candidates (B, K) that score high and are unlike each other: maximal marginal relevance.

    Each rank has the candidate with the highest ``(1 - diversity) * score - diversity * similarity``: its score, scaled to 0
    to 1 over the candidates of the user, and its highest cosine to an item of a better rank. The first is always the best.

    Args:
        candidates: (B, C) items by user.
        directions: (N, D) of the items, of any length.
        k: K; fewer if there are fewer candidates.
        diversity: From 0, the order of the scores, to 1, similarity alone.

    Source: Carbonell & Goldstein 1998, "The use of MMR, diversity-based reranking for reordering documents and producing
    summaries", section 2.

    Examples:
        >>> items = np.array([[1, 0], [1, 0], [0, 1]], np.float32)  # the first two are alike
        >>> scores = np.array([[0.9, 0.8, 0.5]], np.float32)
        >>> most_diverse(BestItems(np.array([[0, 1, 2]]), scores, scores), items, 2, 0.5).indices
        array([[0, 2]])
    """
    indices, scores, _ = candidates
    users, width = indices.shape
    k = min(k, width)
    chosen = np.zeros((users, k), np.int64)  # columns of the candidates
    step = max(1, _MAX_NUMBERS // max(width * directions.shape[1], 1))
    for start in range(0, users, step):
        own = indices[start : start + step]
        vectors = directions[np.maximum(own, 0)]  # (B, C, D)
        lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
        vectors /= np.where(lengths > 0, lengths, np.float32(1))
        relevance = np.float32(1 - diversity) * _scaled(scores[start : start + step])
        relevance[own < 0] = -np.inf
        nearest, rows = np.full(own.shape, -1, np.float32), np.arange(len(own))  # the lowest cosine
        for rank in range(k):
            value = relevance if rank == 0 else relevance - np.float32(diversity) * nearest
            best = value.argmax(axis=1)
            chosen[start : start + step, rank] = best
            relevance[rows, best] = -np.inf
            np.maximum(nearest, np.matmul(vectors, vectors[rows, best][..., None])[..., 0], out=nearest)
    found = candidates.take(chosen)
    absent = np.arange(k) >= (indices >= 0).sum(axis=1, keepdims=True)  # chosen among nothing
    found.indices[absent], found.scores[absent], found.percentiles[absent] = -1, -np.inf, 0
    return found


def _scaled(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the finite scores (B, C) of each row, which descend, from 1 down to 0."""
    finite = np.isfinite(scores)
    low = np.where(finite, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    span = scores[:, :1] - low
    scaled = (scores - low) / np.where(span > 0, span, 1)
    return np.where(finite, scaled, np.float32(0)).astype(np.float32)

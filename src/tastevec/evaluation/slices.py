"""Slices: metrics by history length, item popularity, item age and shuffled sessions; distances and geometry.

Dimension letters: B users, M interactions, N items, D dimensions, T held-out items, G labels of a slicing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.evaluation.dataset import NO_YEAR
from tastevec.evaluation.geometry import (
    between_user_cosine,
    effective_rank,
    hubness,
    split_half_accuracy,
    split_half_cosine,
    top_direction,
)
from tastevec.evaluation.metrics import (
    cosine_distance,
    divide,
    mean_direction,
    mean_of_targets,
    unit_rows,
    without_direction,
)
from tastevec.evaluation.results import DISTANCES, Slice
from tastevec.evaluation.scorers import as_read, rank_lists

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.dataset import ItemFacts
    from tastevec.evaluation.scorers import RankedLists, Scorer, VectorScorer
    from tastevec.evaluation.tasks import Task

SLICE_DEPTH: Final = 20  # depth of the recall of slices
_NO_LABEL: Final = -1
_DECILES: Final = 10
_COLD: Final = (1, 5, 20)  # lowest number of raters of each label but the first
_AGES: Final = (2, 5, 10, 20, 40)  # lowest age in years of each label but the first


@dataclass(frozen=True, eq=False)
class Slicing:
    """The held-out items of a task by label.

    Attributes:
        labels: G labels, in their order.
        codes: (T,) index of the label of each held-out item; -1 without one.
    """

    by: str
    labels: Sequence[str]
    codes: NDArray[np.int64]

    def recall(self, task: Task, ranks: NDArray[np.int64]) -> Iterator[Slice]:
        """Yield, for each label that occurs, the share of a user's held-out items of it with ``ranks`` (T,) below 20."""
        groups = len(self.labels)
        owners = np.repeat(np.arange(len(task)), task.held_out_items)
        labeled = self.codes != _NO_LABEL
        cells = (owners * groups + self.codes)[labeled]
        hit = (ranks < SLICE_DEPTH)[labeled]
        counts = np.bincount(cells, minlength=len(task) * groups).reshape(-1, groups)  # (B, G)
        found = np.bincount(cells, weights=hit, minlength=len(task) * groups).reshape(-1, groups)
        shares = divide(found, counts)
        for group, label in enumerate(self.labels):
            if counts[:, group].any():
                yield Slice(self.by, label, f"found@{SLICE_DEPTH}", shares[:, group].copy())


def slicings(task: Task, items: ItemFacts) -> tuple[Slicing, ...]:
    """Return the held-out items by item popularity, by number of raters, and by item age at the rating.

    ``item_popularity_decile``: of the items with training raters, by their number, "1" the least popular tenth and "10" the
    most popular; ties are in catalog order. Items without raters have no label. ``cold_items``: by the number of training
    raters. ``item_age_years``: year of the rating minus year of the item, at least 0; without a known year or timestamp
    there is no label.
    """
    deciles = [str(decile + 1) for decile in range(_DECILES)]
    cold = np.searchsorted(_COLD, items.raters[task.targets], side="right")
    ages = ("0-1", "2-4", "5-9", "10-19", "20-39", "40 or more")
    return (
        Slicing("item_popularity_decile", deciles, _deciles(items.raters)[task.targets]),
        Slicing("cold_items", ("0 raters", "1-4", "5-19", "20 or more"), cold),
        Slicing("item_age_years", ages, _ages(task.timestamps, items.years[task.targets])),
    )


def _deciles(raters: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) 0 to 9, of equal size as far as possible; -1 for an item without raters."""
    order = np.argsort(raters, kind="stable")
    rated = order[raters[order] > 0]
    deciles = np.full(len(raters), _NO_LABEL)
    deciles[rated] = np.arange(len(rated)) * _DECILES // max(1, len(rated))
    return deciles


def _ages(timestamps: NDArray[np.int64], years: NDArray[np.int64]) -> NDArray[np.int64]:
    """(T,) label index of each held-out item's age in years at the rating."""
    rated = timestamps.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    labels = np.searchsorted(_AGES, rated - years, side="right")
    return np.where((timestamps == NO_TIMESTAMP) | (years == NO_YEAR), _NO_LABEL, labels)


HISTORY_LENGTHS: Final = (1, 2, 3, 5, 10, 20, 50, 100, 200)
CURVE_DEPTH: Final = 100  # of its deepest metric
_CURVE_USERS = 2000  # evaluated at each length: a standard error of about 0.01 at a bounded cost
_SINGLE_TARGET = {"hr@10": 10, "ndcg@10": 10}
_MULTIPLE_TARGETS = {"recall@20": 20, f"ndcg@{CURVE_DEPTH}": CURVE_DEPTH}


def quality_curve(scorer: Scorer, lists: RankedLists, n_items: int, seed: int) -> Iterator[Slice]:
    """Yield metrics of the same users and held-out items with only the latest 1, 2, 3, ... input items.

    At most 2,000 users, drawn by the seed, which bounds the cost; NaN for the others. A user with fewer input items than
    the length counts with all of them, so that every length has the same users. All items of a user are excluded from the
    rankings at every length: otherwise a short history would fail by ranking items that the user has already rated.
    The scorer is at the horizon of the task, and ``lists`` are its lists with the full input, 100 deep.
    """
    task = lists.task
    metrics = _SINGLE_TARGET if task.name == "next-item" else _MULTIPLE_TARGETS
    depths = sorted(set(metrics.values()))
    full = lists.accuracy(depths)
    drawn = np.zeros(len(task), np.bool_)
    drawn[np.random.default_rng(seed).permutation(len(task))[:_CURVE_USERS]] = True
    for length in HISTORY_LENGTHS:
        longer = drawn & (task.inputs.lengths > length)
        short = _shortened(task, longer, length)
        shortened = rank_lists(scorer, short, n_items, max(depths)).accuracy(depths) if len(short) else {}
        for metric in metrics:
            values = np.where(drawn, full[metric], np.nan)
            values[longer] = shortened.get(metric, np.nan)
            yield Slice("history_length", str(length), metric, values)


def _shortened(task: Task, users: NDArray[np.bool_], length: int) -> Task:
    """Return the task of the users where ``users`` (B,) is true, with only their latest input items."""
    full = task.inputs.take(np.flatnonzero(users))
    from_end = np.repeat(full.offsets[1:], full.lengths) - np.arange(full.offsets[-1])
    rows = np.repeat(users, task.held_out_items)
    return replace(
        task,
        inputs=full.keep_alone(from_end <= length),
        seen=full,
        offsets=np.concatenate([[0], np.cumsum(task.held_out_items[users])]),
        targets=task.targets[rows],
        timestamps=task.timestamps[rows],
    )


SESSION_GAP: Final = 1800  # seconds; a longer gap ends a session


def sessions(histories: Histories) -> NDArray[np.int64]:
    """(M,) session index of each interaction, from 0 over all users.

    A session ends with the user, or where the next interaction follows after a gap of more than 30 minutes. Unknown
    timestamps end none, so that a history without timestamps is one session.

    Examples:
        >>> from tastevec.data.histories import Histories
        >>> items, one = np.arange(4, dtype=np.int32), np.ones(4, np.float32)
        >>> times = np.array([0, 1800, 3601, 3601])
        >>> sessions(Histories(np.array([7, 8]), np.array([0, 3, 4]), items, one, one, times))
        array([0, 0, 1, 2])
    """
    timestamps, owners = histories.timestamps, histories.owners
    known = (timestamps[1:] != NO_TIMESTAMP) & (timestamps[:-1] != NO_TIMESTAMP)
    ends = (owners[1:] != owners[:-1]) | (known & (np.diff(timestamps) > SESSION_GAP))
    return np.concatenate([np.zeros(min(1, len(timestamps)), np.int64), np.cumsum(ends)])


def shuffle_sessions(histories: Histories, seed: int) -> Histories:
    """Return the histories, each oldest first, with the items of each session in random order.

    Items move with their ratings; timestamps stay in place, so that they still ascend and session sizes do not change.
    """
    draws = np.random.default_rng(seed).random(len(histories.items), np.float32)
    # An integer plus a float32 below 1 is exact in float64, so that no item leaves its session.
    order = np.argsort(sessions(histories) + draws.astype(np.float64))
    return replace(
        histories,
        items=histories.items[order],
        ratings=histories.ratings[order],
        normalized_ratings=histories.normalized_ratings[order],
    )


def session_note(histories: Histories) -> str:
    """Return what to know when reading metrics of shuffled sessions."""
    if not np.any(histories.timestamps != NO_TIMESTAMP):
        return "No timestamps: with sessions shuffled, each history is one session in random order."
    sizes = np.bincount(sessions(histories))
    share = sizes[sizes > 1].sum() / sizes.sum()
    return (
        f"Sessions shuffled: the input items of each session (gaps of at most {SESSION_GAP // 60} minutes) are in random "
        f"order; {share:.0%} of them share a session."
    )


_CHUNK = 1024  # users encoded at once
_HUB_USERS = 10_000  # hubness compares every pair of them
_NEIGHBORS = 10
_HALVES = 2


def distance_metrics(
    scorer: VectorScorer, vectors: NDArray[np.float32], task: Task
) -> dict[str, NDArray[np.float64]]:
    """(B,) cosine distances, the mean over each user's held-out items that have a vector."""
    direction = mean_direction(scorer.item_vectors)
    parts = []
    for part, start in zip(task.chunks(_CHUNK), range(0, len(task), _CHUNK), strict=True):
        targets = scorer.item_vectors[part.targets]  # (T, D)
        users = np.repeat(vectors[start : start + len(part)], part.held_out_items, axis=0)  # (T, D)
        centred = (without_direction(users, direction), without_direction(targets, direction))
        distances = np.stack([cosine_distance(users, targets), cosine_distance(*centred)])  # (2, T)
        distances[:, ~targets.any(axis=1)] = np.nan
        parts.append([mean_of_targets(values, part.offsets) for values in distances])
    return dict(zip(DISTANCES, np.concatenate(parts, axis=1), strict=True))


def split_half_metrics(scorer: VectorScorer, inputs: Histories) -> dict[str, NDArray[np.float64]]:
    """(B,) split-half cosine, between-user cosine and split-half accuracy.

    The halves are the odd and the even items of each user, each encoded as a history of its own. NaN for a user of one item.
    """
    each_once = inputs.once()  # else both halves would have an item
    enough = np.flatnonzero(each_once.lengths >= _HALVES)
    users = each_once.take(enough)
    odd = (np.arange(users.offsets[-1]) - users.offsets[:-1][users.owners]) % 2 == 0
    first, second = (encode_in_chunks(scorer, users.keep_alone(mask)) for mask in (odd, ~odd))
    found = {}
    for metric in (split_half_cosine, between_user_cosine, split_half_accuracy):
        found[metric.__name__] = np.full(len(inputs), np.nan)
        found[metric.__name__][enough] = metric(first, second)
    return found


def geometry_metrics(vectors: NDArray[np.float32], seed: int) -> dict[str, float]:
    """Return the geometry of all vectors (B, D), each normalized to unit length so that all users weigh the same.

    Hubness is of at most 10,000 users, drawn by the seed.
    """
    units = unit_rows(vectors)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(units))[:_HUB_USERS])
    return {
        "effective_rank": effective_rank(units),
        "top_direction": top_direction(units),
        f"hubness@{_NEIGHBORS}": hubness(units[drawn], _NEIGHBORS),
    }


def encode_in_chunks(scorer: VectorScorer, histories: Histories) -> NDArray[np.float32]:
    """(B, D) user vectors, computed in chunks of users."""
    parts = [scorer.vectors(as_read(scorer, part)) for part in histories.chunks(_CHUNK)]
    return np.concatenate([np.zeros((0, scorer.item_vectors.shape[1]), np.float32), *parts])

"""Training batches: histories, targets and their split among processes.

Dimensions: B people, L films of the longest history, M moments that are asked, P hidden films in all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tastevec.data.histories import NO_TIMESTAMP, normalize_ratings
from tastevec.data.inputs import UNKNOWN_TIME_GAP_BIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import InputConfig
    from tastevec.training.settings import TrainSettings

__all__ = [
    "Collator",
    "HistorySubset",
    "LengthBuckets",
    "UserDataset",
    "positive_batch",
    "shard_of",
    "target_count",
    "top_rated_batch",
]

Arrays = dict[str, "NDArray[np.generic]"]


@dataclass(frozen=True, eq=False)
class HistorySubset:
    """Some of the people of ``histories``, which may stay a memory map: read are those who are taken.

    Attributes:
        histories: Of everybody.
        users: (B,) the positions of those meant.
    """

    histories: Histories
    users: NDArray[np.int64]

    def __len__(self) -> int:
        """The number of people."""
        return len(self.users)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(B,) interactions of each person."""
        return self.histories.lengths[self.users]

    def take(self, users: NDArray[np.integer[Any]]) -> Histories:
        """The histories of those at these positions among the chosen."""
        return self.histories.take(self.users[users])

    def all(self) -> Histories:
        """The histories of all of them, copied."""
        return self.histories.take(self.users)

    def ratings_alone(self) -> Histories:
        """The same without times and normalised ratings, which take no room then and are not read."""
        return _silent(_silent(self.histories).take(self.users))  # neither read from the map, nor kept


class UserDataset(torch.utils.data.Dataset[tuple[int, int]]):
    """The people to learn from, each with the epoch, so that a batch's draws depend on seed, epoch and people alone."""

    def __init__(self, users: NDArray[np.int64]) -> None:
        self.users = users
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: int) -> tuple[int, int]:
        return self.epoch, int(self.users[index])

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer as an epoch begins."""
        self.epoch = epoch


class LengthBuckets(torch.utils.data.Sampler[int]):
    """A new random order each epoch in which neighbours have like lengths, so that little of a batch is padding.

    Args:
        lengths: (B,) films of each person.
        batch_size: People a batch; pools of 16 batches are sorted by length and cut.
        seed: Of the order.
    """

    def __init__(self, lengths: NDArray[np.int64], batch_size: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer as an epoch begins."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        pool = self.batch_size * 16
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        order = np.concatenate([group[np.argsort(self.lengths[group], kind="stable")] for group in pools])
        whole = len(order) // self.batch_size * self.batch_size
        batches = rng.permutation(order[:whole].reshape(-1, self.batch_size)).ravel()
        return iter([*batches.tolist(), *order[whole:].tolist()])


@dataclass(frozen=True)
class Collator:
    """The collator: people in, tensors out."""

    histories: Histories | HistorySubset
    reading: InputConfig
    settings: TrainSettings

    def __call__(self, n_users: Sequence[tuple[int, int]]) -> dict[str, torch.Tensor]:
        """The tensors of one step."""
        users = np.array([user for _, user in n_users])
        histories = self.histories.take(users)
        if self.settings.target == "best-rated":
            arrays = top_rated_batch(histories, self.reading, self.settings)
        else:
            rng = np.random.default_rng([self.settings.seed, n_users[0][0], *users])
            arrays = positive_batch(histories, self.reading, self.settings, rng)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _silent(histories: Histories) -> Histories:
    """No time and no normalised rating, without room for them."""
    there = histories.items.shape
    normalized_ratings, timestamps = (
        np.broadcast_to(np.float32(0), there),
        np.broadcast_to(np.int64(NO_TIMESTAMP), there),
    )
    return replace(histories, normalized_ratings=normalized_ratings, timestamps=timestamps)


def positive_batch(
    histories: Histories, reading: InputConfig, settings: TrainSettings, rng: np.random.Generator
) -> Arrays:
    """What comes next, for each person of ``histories``.

    A random run of ``max_history`` films is read in order, and a random share ``asked`` of its moments is asked for the
    run's next liked film. A share ``cut`` of the runs is cut in two, each read as if the other were not known: else the
    only short histories would be beginnings, which are not like the newest few films of somebody who has been there long.
    A share ``input_dropout`` is read without its times, as the films that somebody names without saying when.

    Returns:
        The arrays of `InputConfig.in_order`, B runs and pieces of runs; ``moments`` (M,) flat positions in (B, L + 1) and ``target_items`` (M,).
    """
    run = _cut(_random_run(histories, settings.max_history, rng), settings.history_split_rate, rng)
    arrays = reading.sequence_arrays(_with_statistics(run, settings))
    arrays["time_gap_bins"][rng.random(len(run)) < settings.input_dropout] = UNKNOWN_TIME_GAP_BIN
    moments, next_rows = _next_item(run, reading.scale.positive(run.ratings), arrays["items"].shape[1] + 1)
    asked = rng.random(len(moments)) < settings.target_fraction
    return arrays | {
        "moments": moments[asked],
        "target_items": run.items[next_rows[asked]].astype(np.int64),
    }


def top_rated_batch(histories: Histories, reading: InputConfig, settings: TrainSettings) -> Arrays:
    """The note's question: the film rated highest is taken out of the input and is the target.

    Returns:
        The arrays of `InputConfig.in_order`, ``target_users`` (P,) and ``target_items`` (P,).
    """
    ratings = np.nan_to_num(histories.ratings, nan=-np.inf)
    best = np.full(len(histories), -np.inf, np.float32)
    np.maximum.at(best, histories.owners, ratings)
    rows = np.flatnonzero(np.isfinite(ratings) & (ratings == best[histories.owners]))
    if settings.ties != "all":
        rows = _one_each(histories, rows, by=settings.ties)
    known = np.ones(len(histories.items), bool)
    known[rows] = False
    return reading.sequence_arrays(_with_statistics(histories.keep(known), settings)) | {
        "target_users": histories.owners[rows],
        "target_items": histories.items[rows].astype(np.int64),
    }


def _with_statistics(known: Histories, settings: TrainSettings) -> Histories:
    """The known ratings on the person's own scale, which the target is part of only in the note's recipe."""
    if settings.statistics == "everything" or settings.rating_input == "embed":
        return known
    return replace(known, normalized_ratings=normalize_ratings(known.ratings, known.offsets))


def _random_run(histories: Histories, length: int, rng: np.random.Generator) -> Histories:
    """A random run of at most ``length`` films of each history."""
    starts = rng.integers(0, np.maximum(histories.lengths - length, 0) + 1)
    rank = np.arange(len(histories.items)) - (histories.offsets[:-1] + starts)[histories.owners]
    return histories.keep((rank >= 0) & (rank < length))


def _cut(runs: Histories, share: float, rng: np.random.Generator) -> Histories:
    """The runs, this share of those of two films or more cut in two before a random film."""
    chosen = (rng.random(len(runs)) < share) & (runs.lengths > 1)
    before = 1 + (rng.random(len(runs)) * (runs.lengths - 1)).astype(np.int64)  # films of the first piece
    offsets = np.sort(np.concatenate([runs.offsets, (runs.offsets[:-1] + before)[chosen]]))
    return replace(runs, user_ids=np.repeat(runs.user_ids, 1 + chosen), offsets=offsets)


def _next_item(
    run: Histories, positive: NDArray[np.bool_], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The moments (flat in (B, width)) that some liked film follows, and the row of the first such film.

    Moment 0 of a person stands before the first film, moment k behind the k-th.
    """
    owners = np.repeat(np.arange(len(run)), run.lengths + 1)
    ahead = np.arange(len(owners)) - owners  # the first row that is still to come
    moments = ahead - run.offsets[owners]
    positive_rows = np.append(np.flatnonzero(positive), len(positive))
    following = positive_rows[np.searchsorted(positive_rows, ahead)]
    asked = following < run.offsets[1:][owners]
    return (owners * width + moments)[asked], following[asked]


def _one_each(histories: Histories, rows: NDArray[np.int64], *, by: str) -> NDArray[np.int64]:
    """One of each person's rows: the newest, or that of the lowest item."""
    key = histories.items[rows] if by == "lowest-item" else -rows
    ordered = rows[np.lexsort((key, histories.owners[rows]))]
    _, first = np.unique(histories.owners[ordered], return_index=True)
    return ordered[first]


Batch = dict[str, torch.Tensor]

_IN_ORDER = ("items", "normalized_ratings", "rating_bins", "time_gap_bins")


def shard_of(batch: Batch, rank: int, count: int, *, trim: bool) -> Batch:
    """The ``rank``-th of ``count`` shares, which together ask everything once; dealt by length, so that they cost alike.

    Args:
        batch: What `Collator` makes.
        rank: From 0 to ``count`` - 1.
        count: More shares than runs leave some with one run of which nothing is asked, so that no process waits in vain.
        trim: Whether padding that no run of the share needs is left out; not where the encoder sees its padding.
    """
    lengths, width = batch["lengths"], batch["items"].shape[1]
    runs = torch.argsort(lengths, descending=True, stable=True)[rank::count]
    dealt = torch.full((len(lengths),), -1).scatter(
        0, runs, torch.arange(len(runs))
    )  # (B,) each run's new row
    if not len(runs):
        runs = torch.zeros(1, dtype=torch.long)
    own = max(int(lengths[runs].max()), 1) if trim else width
    made = {name: batch[name][runs, :own] for name in _IN_ORDER} | {"lengths": lengths[runs]}
    if "moments" in batch:
        rows, places = dealt[batch["moments"] // (width + 1)], batch["moments"] % (width + 1)
        asked = {"moments": rows * (own + 1) + places, "target_items": batch["target_items"]}
    else:
        rows = dealt[batch["target_users"]]
        asked = {"target_users": rows, "target_items": batch["target_items"]}
    return made | {name: values[rows >= 0] for name, values in asked.items()}


def target_count(batch: Batch, loss: str) -> int:
    """Over how many the loss is a mean: answers, or people where each of them weighs the same."""
    if "moments" in batch:
        return len(batch["target_items"])
    users = batch["target_users"]
    return len(users if loss == "cosine" else users.unique())

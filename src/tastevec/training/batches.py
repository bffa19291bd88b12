"""Training batches: histories, targets and the shard of each process.

Dimensions: B users (or pieces of histories), L longest history, M target positions, P targets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.inputs import UNKNOWN_TIME_GAP_BIN
from tastevec.training.settings import NoteSettings, TasteSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import InputConfig

Arrays = dict[str, "NDArray[np.generic]"]
Batch = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class HistorySubset:
    """The users (B,) at some positions of ``histories``, which may be a memory map: only those of a batch are read."""

    histories: Histories
    users: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.users)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(B,) history lengths."""
        return self.histories.lengths[self.users]

    def take(self, users: NDArray[np.integer[Any]]) -> Histories:
        """Return the histories at these positions of the subset."""
        return self.histories.take(self.users[users])

    def all(self) -> Histories:
        """Return all histories, copied into memory."""
        return self.histories.take(self.users)

    def some(self, most: int, seed: int) -> Histories:
        """Return at most so many of the histories, drawn by the seed, copied into memory."""
        users = self.users
        if len(users) > most:
            users = np.sort(np.random.default_rng(seed).choice(users, most, replace=False))
        return self.histories.take(users)

    def in_memory(self) -> Histories:
        """Return the histories without times and normalized ratings, which are neither read from the map nor in memory."""
        return _without_times(_without_times(self.histories).take(self.users))


def _without_times(histories: Histories) -> Histories:
    """Return the histories with constant times and normalized ratings, which take no memory."""
    shape = histories.items.shape
    normalized, times = np.broadcast_to(np.float32(0), shape), np.broadcast_to(np.int64(NO_TIMESTAMP), shape)
    return replace(histories, normalized_ratings=normalized, timestamps=times)


class UserDataset(torch.utils.data.Dataset[tuple[int, int]]):
    """The training users, each with the epoch: the draws of a batch depend on seed, epoch and users alone."""

    def __init__(self, users: NDArray[np.int64]) -> None:
        self.users = users
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: int) -> tuple[int, int]:
        return self.epoch, int(self.users[index])

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the Trainer calls this at its start."""
        self.epoch = epoch


class LengthBuckets(torch.utils.data.Sampler[int]):
    """A random order in each epoch in which neighbors have similar ``lengths`` (B,), so that batches have little padding.

    Pools of 16 batches of ``batch_size`` users are sorted by length, then split.
    """

    def __init__(self, lengths: NDArray[np.int64], batch_size: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the Trainer calls this at its start."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        pool = self.batch_size * 16
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        order = np.concatenate([group[np.argsort(self.lengths[group], kind="stable")] for group in pools])
        full = len(order) // self.batch_size * self.batch_size  # users in full batches
        batches = rng.permutation(order[:full].reshape(-1, self.batch_size)).ravel()
        return iter([*batches.tolist(), *order[full:].tolist()])


@dataclass(frozen=True)
class Collator:
    """The collator of the data loader: (epoch, user) pairs to the tensors of one step."""

    histories: Histories | HistorySubset
    input_config: InputConfig
    settings: TasteSettings | NoteSettings

    def __call__(self, pairs: Sequence[tuple[int, int]]) -> Batch:
        """Return the tensors of one step."""
        users = np.array([user for _, user in pairs])
        histories = self.histories.take(users)
        if isinstance(self.settings, NoteSettings):
            arrays = top_rated_batch(histories, self.input_config)
        else:
            rng = np.random.default_rng([self.settings.seed, pairs[0][0], *users])
            arrays = positive_batch(histories, self.input_config, self.settings, rng)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def positive_batch(
    histories: Histories, config: InputConfig, settings: TasteSettings, rng: np.random.Generator
) -> Arrays:
    """Return a batch of preset ``taste``: at some positions of each history the target is the next positive.

    A random run of ``max_history`` interactions is read in order, and a random ``target_fraction`` of its positions has a
    target. A share ``history_split_rate`` of the runs is split in two, each read without the other: else the only short
    histories would be beginnings, which differ from the most recent items of a long-time user. A share ``input_dropout``
    is read without times, as histories whose times are unknown. An item is a target at its first row alone, since it is known
    afterwards.

    Returns:
        The arrays of `InputConfig.sequence_arrays`, B runs and pieces of runs; ``target_positions`` (M,) flat in (B, L + 1) and
        ``target_items`` (M,).
    """
    in_run = _random_run(histories, settings.max_history, rng)
    runs = _split(histories.keep(in_run), settings.history_split_rate, rng)
    positive = config.scale.positive(histories.values_at_first()[in_run])
    arrays = config.sequence_arrays(runs)
    arrays["time_gap_bins"][rng.random(len(runs)) < settings.input_dropout] = UNKNOWN_TIME_GAP_BIN
    positions, rows = _next_positive(runs, positive, arrays["items"].shape[1] + 1)
    chosen = rng.random(len(positions)) < settings.target_fraction
    return arrays | {
        "target_positions": positions[chosen],
        "target_items": runs.items[rows[chosen]].astype(np.int64),
    }


def top_rated_batch(histories: Histories, config: InputConfig) -> Arrays:
    """Return a batch of the research note: the target of a user is their top-rated item, removed from the input.

    Of several top-rated items the target is that of the lowest id. Its rating stays part of the statistics by which the
    ratings of its user are normalized. Both are flaws that the note's model reproduces.

    Returns:
        The arrays of `InputConfig.sequence_arrays`, ``target_users`` (P,) and ``target_items`` (P,).
    """
    histories = histories.once()
    ratings = np.nan_to_num(histories.ratings, nan=-np.inf)
    best = np.full(len(histories), -np.inf, np.float32)
    np.maximum.at(best, histories.owners, ratings)
    rows = np.flatnonzero(np.isfinite(ratings) & (ratings == best[histories.owners]))
    rows = rows[np.lexsort((histories.items[rows], histories.owners[rows]))]
    users, first = np.unique(histories.owners[rows], return_index=True)
    rows = rows[first]
    known = np.ones(len(histories.items), bool)
    known[rows] = False
    return config.sequence_arrays(histories.keep(known)) | {
        "target_users": users,
        "target_items": histories.items[rows].astype(np.int64),
    }


def _random_run(histories: Histories, length: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the rows (M,) of a random run of at most ``length`` interactions of each history."""
    starts = rng.integers(0, np.maximum(histories.lengths - length, 0) + 1)
    step = np.arange(len(histories.items)) - (histories.offsets[:-1] + starts)[histories.owners]
    return np.asarray((step >= 0) & (step < length))


def _split(runs: Histories, rate: float, rng: np.random.Generator) -> Histories:
    """Return the runs, of which a share ``rate`` of those with two or more items is split at a random item."""
    chosen = (rng.random(len(runs)) < rate) & (runs.lengths > 1)
    before = 1 + (rng.random(len(runs)) * (runs.lengths - 1)).astype(np.int64)  # length of the first piece
    offsets = np.sort(np.concatenate([runs.offsets, (runs.offsets[:-1] + before)[chosen]]))
    return replace(runs, user_ids=np.repeat(runs.user_ids, 1 + chosen), offsets=offsets)


def _next_positive(
    runs: Histories, positive: NDArray[np.bool_], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions (flat in (B, width)) that a positive follows, and the row of the first such positive.

    Position 0 is before the first item, position k after the k-th.
    """
    owners = np.repeat(np.arange(len(runs)), runs.lengths + 1)
    ahead = np.arange(len(owners)) - owners  # the first row after the position
    positions = ahead - runs.offsets[owners]
    positive_rows = np.append(np.flatnonzero(positive), len(positive))
    following = positive_rows[np.searchsorted(positive_rows, ahead)]
    found = following < runs.offsets[1:][owners]
    return (owners * width + positions)[found], following[found]


_PER_INTERACTION = ("items", "normalized_ratings", "rating_bins", "time_gap_bins")


def shard_of(batch: Batch, rank: int, count: int, *, trim: bool) -> Batch:
    """Return one of ``count`` shards of a batch, which have each target once in all, dealt by length to cost the same.

    With more shards than runs, some have one run without targets, so that no process waits forever. ``rank`` is in
    [0, ``count`` - 1]. ``trim`` removes padding that no run of the shard needs; not for an encoder that attends to padding.
    """
    lengths, width = batch["lengths"], batch["items"].shape[1]
    runs = torch.argsort(lengths, descending=True, stable=True)[rank::count]
    # (B,) rows in the shard
    dealt = torch.full((len(lengths),), -1).scatter(0, runs, torch.arange(len(runs)))
    if not len(runs):
        runs = torch.zeros(1, dtype=torch.long)
    own = max(int(lengths[runs].max()), 1) if trim else width
    shard = {name: batch[name][runs, :own] for name in _PER_INTERACTION} | {"lengths": lengths[runs]}
    if "target_positions" in batch:
        positions = batch["target_positions"]
        rows = dealt[positions // (width + 1)]
        targets = {"target_positions": rows * (own + 1) + positions % (width + 1)}
    else:
        rows = dealt[batch["target_users"]]
        targets = {"target_users": rows}
    targets["target_items"] = batch["target_items"]
    return shard | {name: values[rows >= 0] for name, values in targets.items()}

"""Histories by hand: each user is a list of (item, rating) or (item, rating, timestamp), oldest first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

import worlds
from tastevec.data.histories import NO_TIMESTAMP, Histories
from tastevec.data.value_scale import normalize_ratings
from tastevec.evaluation.dataset import EvalDataset, ItemFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tastevec.data.value_scale import ValueScale

TAGGED = float("nan")


def users(*each: Sequence[tuple[float, ...]], ids: Sequence[object] | None = None) -> Histories:
    """Return the histories of these users, with ids 1, 2, 3, ... by default."""
    rows = [row for user in each for row in user]
    offsets = np.concatenate([[0], np.cumsum([len(user) for user in each], dtype=np.int64)])
    ratings = np.array([row[1] for row in rows], np.float32)
    if ids is None:
        user_ids = np.arange(1, len(each) + 1)
    else:
        user_ids = np.array(ids, dtype=object if isinstance(ids[0], str) else np.int64)
    return Histories(
        user_ids=user_ids,
        offsets=offsets,
        items=np.array([row[0] for row in rows], np.int32),
        ratings=ratings,
        normalized_ratings=normalize_ratings(ratings, offsets),
        timestamps=np.array([row[2] if len(row) > 2 else NO_TIMESTAMP for row in rows], np.int64),
    )


def valued(scale: ValueScale, *each: Sequence[tuple[float, ...]]) -> Histories:
    """Return what `users` does, normalized on this scale."""
    found = users(*each)
    normalized = scale.normalize(found.ratings, found.offsets)
    return replace(found, normalized_ratings=normalized, relative=scale.kind == "explicit")


def world() -> Histories:
    """Return the 12 users of the tiny dataset; the item with id i has index i - 1."""
    each: list[list[tuple[float, ...]]] = [[] for _ in range(worlds.USERS)]
    for row in worlds.ratings():
        each[row.user - 1].append((row.item - 1, row.stars, row.time))
    return users(*each)


def of_every_length() -> Histories:
    """Return users with 0, 1, 2, ... 12 of the same items, one of them tag-only."""
    items = [(3 * step % 20, TAGGED if step == 4 else 1 + step % 5) for step in range(12)]
    return users(*(items[:length] for length in range(13)))


def plain_dataset(
    train: Histories, held_out_users: Histories, n_items: int, scale: ValueScale
) -> EvalDataset:
    """Return an evaluation dataset of these training and held-out users; items have numbers only."""
    return EvalDataset(train, held_out_users, ItemFacts.without_metadata(train, n_items), scale)


def items_of(histories: Histories, user: int) -> list[int]:
    """Return the item indices of one user, in order."""
    return histories.items[histories.offsets[user] : histories.offsets[user + 1]].tolist()


def rows_of(histories: Histories, user: int) -> list[tuple[int, float, int]]:
    """Return the items, ratings (float32 bits; -1 for tag-only) and timestamps of one user, in order."""
    part = slice(histories.offsets[user], histories.offsets[user + 1])
    ratings = np.nan_to_num(histories.ratings[part], nan=-1.0)
    return list(
        zip(
            histories.items[part].tolist(), ratings.tolist(), histories.timestamps[part].tolist(), strict=True
        )
    )


def together(*groups: Histories) -> Histories:
    """Return the users of all groups."""
    ratings = np.concatenate([group.ratings for group in groups])
    offsets = np.concatenate([[0], np.cumsum(np.concatenate([group.lengths for group in groups]))])
    return Histories(
        user_ids=np.concatenate([group.user_ids for group in groups]),
        offsets=offsets,
        items=np.concatenate([group.items for group in groups]),
        ratings=ratings,
        normalized_ratings=normalize_ratings(ratings, offsets),
        timestamps=np.concatenate([group.timestamps for group in groups]),
    )


def turned(histories: Histories, scale: ValueScale) -> Histories:
    """Return the same users with all ratings but the oldest reversed."""
    ratings = np.float32(scale.low + scale.high) - histories.ratings
    kept = np.ones(len(ratings), np.bool_)
    kept[histories.offsets[:-1][histories.lengths > 1]] = False
    changed = replace(
        histories, ratings=ratings, normalized_ratings=normalize_ratings(ratings, histories.offsets)
    )
    return changed.keep(kept)

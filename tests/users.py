"""Histories made by hand: each person a list of (film, rating) or (film, rating, time), oldest first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

import worlds
from tastevec.data.histories import NO_TIMESTAMP, Histories, normalize_ratings
from tastevec.evaluation.dataset import EvalDataset, ItemFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

TAGGED = float("nan")


def users(*each: Sequence[tuple[float, ...]], ids: Sequence[object] | None = None) -> Histories:
    """The histories of these people, called 1, 2, 3, ... unless ids are given."""
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


def world() -> Histories:
    """The 12 people of the tiny world; film f is item f - 1."""
    each: list[list[tuple[float, ...]]] = [[] for _ in range(worlds.USERS)]
    for row in worlds.ratings():
        each[row.user - 1].append((row.item - 1, row.stars, row.time))
    return users(*each)


def of_every_length() -> Histories:
    """People with 0, 1, 2, ... 12 of the same films, one of them only tagged."""
    items = [(3 * place % 20, TAGGED if place == 4 else 1 + place % 5) for place in range(12)]
    return users(*(items[:length] for length in range(13)))


def plain_dataset(
    train: Histories, held_out_users: Histories, n_items: int, rating_range: tuple[float, float]
) -> EvalDataset:
    """Who teaches and who is asked, of films that are nothing but numbers."""
    return EvalDataset(train, held_out_users, ItemFacts.without_metadata(train, n_items), rating_range)


def items_of(histories: Histories, user: int) -> list[int]:
    """The item indices of one person, in order."""
    return histories.items[histories.offsets[user] : histories.offsets[user + 1]].tolist()


def rows_of(histories: Histories, user: int) -> list[tuple[int, float, int]]:
    """The films, ratings (as 32 bits; -1 for a tag) and times of one person, in order."""
    part = slice(histories.offsets[user], histories.offsets[user + 1])
    ratings = np.nan_to_num(histories.ratings[part], nan=-1.0)
    return list(
        zip(
            histories.items[part].tolist(), ratings.tolist(), histories.timestamps[part].tolist(), strict=True
        )
    )


def together(*groups: Histories) -> Histories:
    """The people of all groups."""
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


def turned(histories: Histories, rating_range: tuple[float, float]) -> Histories:
    """The same people, who rated all but their oldest film the other way round."""
    low, high = rating_range
    ratings = np.float32(low + high) - histories.ratings
    kept = np.ones(len(ratings), np.bool_)
    kept[histories.offsets[:-1][histories.lengths > 1]] = False
    changed = replace(
        histories, ratings=ratings, normalized_ratings=normalize_ratings(ratings, histories.offsets)
    )
    return changed.keep(kept)

"""How far steering reaches: how many of the first films are new at each dose, of what is asked next and overall, of short histories."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np
from cold_questions import interval

from tastevec.data.histories import normalise_ratings
from tastevec.data.topk import rank_unseen
from tastevec.schema import Horizon

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.items.tag_directions import TagDirections
    from tastevec.serving.recommender import Recommender

__all__ = ["reached"]

LENGTHS: Final = (5, 20, 100)  # newest films of a person that are told; fewer where he has fewer
DOSES: Final = (-4, -2, -1, 1, 2, 4)  # the page's sliders end at 4
FIRST, TAGS, PEOPLE = 12, 20, 100  # films that the page shows; tags of every confidence; people, at most


def reached(
    recommender: Recommender, directions: TagDirections, people: Histories, seed: int
) -> list[dict[str, Any]]:
    """Of the first 12 films those that were not there without steering, by horizon and films told, at each dose.

    Args:
        recommender: The model.
        directions: Its tags, on which people of both horizons are compared.
        people: Of whom the first 100 are asked.
        seed: Of the intervals.
    """
    order = np.argsort(-directions.confidence, kind="stable")
    tags = order[np.unique(np.linspace(0, len(order) - 1, TAGS).astype(int))]
    still = np.zeros(directions.directions.shape[1], np.float32)
    found = []
    for horizon in get_args(Horizon):
        moves = [
            directions.steer(still, {directions.names[tag]: 1.0}, kind=horizon) for tag in tags
        ]  # (D,) each
        for length in LENGTHS:
            known = newest(people.take(np.arange(min(PEOPLE, len(people)))), length)
            vectors = recommender.vectors(known, horizon)
            before = first_films(recommender, known, vectors)
            doses = []
            for dose in DOSES:
                new = [
                    fresh(first_films(recommender, known, vectors + np.float32(dose) * move), before)
                    for move in moves
                ]
                doses.append({"dose": dose, **interval(np.mean(new, axis=0), seed)})
            found.append({"horizon": horizon, "films": length, "first": FIRST, "doses": doses})
    return found


def newest(people: Histories, count: int) -> Histories:
    """People who have told no more than so many films, their newest."""
    told = people.last(count)
    return replace(told, normalised=normalise_ratings(told.ratings, told.offsets))


def first_films(
    recommender: Recommender, known: Histories, vectors: NDArray[np.float32]
) -> NDArray[np.int64]:
    """(B, 12) the films that would be recommended first."""
    scores = vectors @ recommender.item_vectors.T
    scores[:, ~recommender.item_vectors.any(axis=1)] = np.finfo(np.float32).min
    return np.asarray(rank_unseen(scores, known, FIRST))


def fresh(films: NDArray[np.int64], before: NDArray[np.int64]) -> NDArray[np.int64]:
    """(B,) how many of each person's films (B, K) are none of those before (B, K)."""
    return np.asarray((films[:, :, None] != before[:, None]).all(axis=2).sum(axis=1))

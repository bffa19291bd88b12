"""Who lies near: people of a file or of a database, and the films that lie near them.

Dimensions: B people who ask, D numbers a vector, K nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from tastevec.serving.service.persons import Told
    from tastevec.serving.service.served import Served

__all__ = ["Near", "as_cosine", "found_people", "people_in_memory"]

Near = Sequence[Sequence[tuple[Any, float]]]  # of each person the ids and cosines of others
_FOUND = 64  # people whose favourites are looked for at once


def found_people(
    served: Served,
    told: Told,
    near: Near,
    vectors: Mapping[Any, NDArray[np.float32]],
    check: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """The people nearest to each person, with the films nearest to them.

    Args:
        served: The model.
        told: The people who ask.
        near: Ids and cosines of those who were found for each of them, nearest first.
        vectors: (D,) of each who was found, by id; who is not among them is gone by now, and left out.
        check: Called before each block of people; what it raises ends the work.
    """
    ids, favourites = list(vectors), list[list[dict[str, Any]]]()
    for start in range(0, len(ids), _FOUND):
        check()
        favourites += served.favourites(np.stack([vectors[one] for one in ids[start : start + _FOUND]]))
    loved = dict(zip(ids, favourites, strict=True))
    answers = []
    for found, unknown in zip(near, told.unknown, strict=True):
        there = [(user_id, cosine) for user_id, cosine in found if user_id in loved]
        users = [
            {"user_id": user_id, "rank": rank, "similarity": as_cosine(cosine), "favourites": loved[user_id]}
            for rank, (user_id, cosine) in enumerate(there, 1)
        ]
        answers.append({"users": users, "unknown": unknown})
    return answers


def people_in_memory(
    served: Served, vectors: NDArray[np.float32], k: int
) -> tuple[Near, dict[Any, NDArray[np.float32]]]:
    """Who of the people of a file is nearest to each vector (B, D), and their vectors; see `found_people`."""
    assert served.people is not None
    places, cosines = served.people.nearest(vectors, k)  # (B, K) each
    ids, known = served.people.ids, served.people.vectors
    near = [
        list(zip(ids[row].tolist(), found.tolist(), strict=True))
        for row, found in zip(places, cosines, strict=True)
    ]
    once = np.unique(places)
    return near, dict(zip(ids[once].tolist(), known[once], strict=True))


def as_cosine(value: float) -> float:
    """A cosine, which rounding may have carried past 1."""
    return min(1.0, max(-1.0, float(value)))

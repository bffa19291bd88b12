"""Tag explanations of a user embedding, with the contributions of rated items.

Dimensions: B people, L films of one person, N films of the catalogue, D numbers a vector, T tags, K films recommended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.data.histories import Histories, normalize_ratings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tastevec.items.tag_directions import TagDirections
    from tastevec.schema import Horizon
    from tastevec.serving.recommender import Recommender

__all__ = [
    "Contribution",
    "TagExplanation",
    "explain_items",
    "explain_users",
    "item_effects",
    "leave_one_out",
    "measured",
]

Contribution = tuple[Any, float]  # a film's id, and the effect of having rated it

# A person's newest films that are left out in turn: each is an encoding of all the others.
_NEWEST: Final = 500
_ROWS: Final = 1 << 20  # of shortened histories held at once: 20 MB
# People whose readings are the average and its deviation, which are then known to 2 % of a standard deviation.
_COMPARED: Final = 2_000
_HORIZONS: Final[tuple[Horizon, ...]] = ("next", "overall")


@dataclass(frozen=True)
class TagExplanation:
    """What one tag says of a person or a film.

    Attributes:
        tag: Its name.
        strength: Standard deviations from the average person, or film; negative for a tag that applies less than to most.
        reliability: In [0, 1], how well the tag can be read off vectors.
        contributions: The person's own films that made the reading so, the strongest first: item id and effect, the reading less
            what it would be had the person never rated the film; the effect has the sign of the strength. Empty for a film.
    """

    tag: str
    strength: float
    reliability: float
    contributions: tuple[Contribution, ...] = ()


def measured(recommender: Recommender, directions: TagDirections, users: Histories) -> TagDirections:
    """The directions, on which people of both horizons are compared with these; of more than 2,000 with every n-th."""
    some = users.take(np.arange(0, len(users), -(-len(users) // _COMPARED) or 1))
    for horizon in _HORIZONS:
        directions = directions.with_reference(horizon, recommender.vectors(some, horizon))
    return directions


def explain_users(
    recommender: Recommender,
    directions: TagDirections,
    histories: Histories,
    horizon: Horizon = "overall",
    *,
    tags: int = 10,
    items: int = 3,
) -> list[list[TagExplanation]]:
    """Each person in at most ``tags`` tags, the largest strength times confidence first, with up to ``items`` causes each.

    Of tags that say the same only one is told. Nobody's explanation depends on who else is explained.

    Raises:
        SettingsError: There is no such horizon.
    """
    vectors = recommender.vectors(histories, horizon)
    users = []
    for user, strengths in enumerate(directions.strengths(vectors, horizon)):
        told = _told(directions, strengths, tags)
        if items and told:
            rated, moves = _moves(recommender, histories, user, vectors[user], horizon)
            effects = directions.strength_changes(moves, horizon)  # (L, T)
            told = {
                tag: replace(
                    reading, contributions=_contributions(rated, effects[:, tag], items, reading.strength)
                )
                for tag, reading in told.items()
            }
        users.append(list(told.values()))
    return users


def explain_items(
    recommender: Recommender, directions: TagDirections, items: Sequence[int], *, tags: int = 10
) -> list[list[TagExplanation]]:
    """Each of these films, by its place in the catalogue, in at most ``tags`` tags; none where it has no vector."""
    vectors = recommender.item_vectors[np.asarray(items, np.int64)]
    readings = directions.strengths(vectors, "items")
    return [
        list(_told(directions, strengths, tags).values()) if vector.any() else []
        for vector, strengths in zip(vectors, readings, strict=True)
    ]


def item_effects(
    recommender: Recommender,
    histories: Histories,
    recommended: NDArray[np.integer[Any]],
    horizon: Horizon = "next",
    *,
    items: int = 3,
) -> list[list[tuple[Contribution, ...]]]:
    """Why each recommendation: up to ``items`` of the person's own films that raised its score, the strongest first.

    An effect is the score less what it would be had the person never rated the film.

    Args:
        recommender: What recommended.
        histories: B people.
        recommended: (B, K) films by their place in the catalogue; -1 is none, and nothing raised it.
        horizon: That of the recommendations.
        items: How many causes each.

    Raises:
        SettingsError: There is no such horizon.
    """
    vectors = recommender.vectors(histories, horizon)
    users = []
    for user, ranked in enumerate(recommended):
        rated, moves = _moves(recommender, histories, user, vectors[user], horizon)
        effects = moves @ recommender.item_vectors[ranked].T  # (L, K)
        users.append(
            [
                _contributions(rated, effects[:, place], items, 1.0) if item >= 0 else ()
                for place, item in enumerate(ranked)
            ]
        )
    return users


def leave_one_out(history: Histories, places: NDArray[np.int64]) -> Histories:
    """One person's history without the film at each of these places in it, one shortened history each.

    As he would have told it had he never rated the film: on his scale of ratings too.
    """
    left = np.arange(max(len(history.items) - 1, 0))
    rows = (left + (left >= places[:, None])).ravel()
    offsets = np.arange(len(places) + 1, dtype=np.int64) * len(left)
    ratings = history.ratings[rows]
    return Histories(
        user_ids=np.arange(len(places)),
        offsets=offsets,
        items=history.items[rows],
        ratings=ratings,
        normalized_ratings=normalize_ratings(ratings, offsets),
        timestamps=history.timestamps[rows],
    )


def _moves(
    recommender: Recommender, histories: Histories, user: int, vector: NDArray[np.float32], horizon: Horizon
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """The ids (L,) of a person's newest films, and how each of them moved his vector (L, D) from where it would be."""
    history = histories.take(np.array([user]))
    length = len(history.items)
    places = np.arange(max(length - _NEWEST, 0), length)
    step = max(1, _ROWS // max(length, 1))
    groups = [places[start : start + step] for start in range(0, len(places), step)]
    without = [recommender.vectors(leave_one_out(history, group), horizon) for group in groups]
    others = np.concatenate([np.zeros((0, len(vector)), np.float32), *without])
    return recommender.bundle.item_ids[history.items[places]], vector - others


def _told(directions: TagDirections, strengths: NDArray[np.float64], count: int) -> dict[int, TagExplanation]:
    """The tags that say most (T,), by their place, strongest first; of those that say the same only the strongest."""
    weighed = np.abs(strengths) * directions.reliability
    order = [int(tag) for tag in np.argsort(-weighed, kind="stable") if weighed[tag] > 0]
    return {
        tag: TagExplanation(directions.names[tag], float(strengths[tag]), float(directions.reliability[tag]))
        for tag in directions.distinct(order, count)
    }


def _contributions(
    rated: NDArray[Any], effects: NDArray[np.floating[Any]], count: int, sign: float
) -> tuple[Contribution, ...]:
    """The films (L,) with the largest effects (L,) of this sign; of equal ones the newest."""
    along = effects * np.sign(sign)
    order = len(along) - 1 - np.argsort(-along[::-1], kind="stable")[:count]
    ids = rated.tolist()
    return tuple((ids[place], float(effects[place])) for place in order.tolist() if along[place] > 0)

"""What is said of people and of films: from vectors to the answers of the service.

Dimensions: B people, N films of the catalogue, D numbers a vector, K films wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.serving.explain import explain_films, explain_people, film_effects
from tastevec.serving.recommender import best_films
from tastevec.serving.service.errors import Problem
from tastevec.serving.service.finding import as_cosine
from tastevec.serving.service.sentences import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from tastevec.items.tag_directions import TagDirections
    from tastevec.schema import Horizon
    from tastevec.serving.explain import TagReading
    from tastevec.serving.service.persons import Told
    from tastevec.serving.service.schemas import ExplainRequest, RecommendRequest
    from tastevec.serving.service.served import Served

__all__ = [
    "causes_of",
    "explained",
    "explained_films",
    "ranked",
    "similar_films",
    "steered",
]


def ranked(served: Served, told: Told, vectors: NDArray[np.float32], k: int) -> list[list[dict[str, Any]]]:
    """The best K films new to each person: films with rank from 1 and score.

    Args:
        served: The model.
        told: The people; their films are left out.
        vectors: (B, D) theirs.
        k: Films wanted.
    """
    candidates = ~served.without_vector
    places, scores = best_films(vectors, served.model.item_vectors, told.histories, k, candidates)
    return [
        [
            {**served.catalogue.film(place), "rank": rank, "score": score}
            for rank, (place, score) in enumerate(zip(row, gained, strict=True), 1)
            if place >= 0
        ]
        for row, gained in zip(places.tolist(), scores.tolist(), strict=True)
    ]


def steered(
    served: Served, vectors: NDArray[np.float32], doses: dict[str, float], hold: float, horizon: Horizon
) -> NDArray[np.float32]:
    """(B, D) the vectors, moved along the tags.

    Raises:
        Problem: A vector is not of the model's length, or the model has no tags.
        SettingsError: There is no such tag.
    """
    dim = served.model.item_vectors.shape[1]
    if vectors.shape[1:] != (dim,):
        raise Problem(
            422,
            "wrong_data",
            f"vectors hold {vectors.shape[1]} numbers each; expected {dim}, as in the space {served.space}",
            "vectors",
        )
    # One move for all: it is the same wherever it starts.
    move = _tags(served).steer(np.zeros(dim, np.float32), doses, hold=hold, kind=horizon)
    return np.asarray(vectors + move, np.float32)


def similar_films(served: Served, item_ids: Sequence[int | str], k: int) -> list[dict[str, Any]]:
    """The films nearest to each of these.

    Raises:
        Problem: One of them is not in the catalogue.
    """
    catalogue, answers = served.catalogue, []
    for place in _places(served, item_ids):
        found = served.model.similar_items(catalogue.ids[place], k=k).to_pylist()
        similar = [
            {**film, "rank": row["rank"], "similarity": as_cosine(row["score"])}
            for row in found
            for film in catalogue.films([row["item_id"]])
        ]
        answers.append({**catalogue.named(place), "similar": similar})
    return answers


def explained(
    served: Served,
    told: Told,
    vectors: NDArray[np.float32],
    asked: ExplainRequest,
    check: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Each person in tags, with the place on the map.

    Args:
        served: The model.
        told: The people.
        vectors: (B, D) theirs.
        asked: How many tags, how many films of each, and for which horizon.
        check: Called before each person; what it raises ends the work.

    Raises:
        Problem: The model has no tags.
    """
    known, answers = _tags(served), []
    for number, unknown in enumerate(told.unknown):
        check()
        person = told.histories.take(np.array([number]))
        [readings] = explain_people(
            served.model, known, person, asked.horizon, tags=asked.tags, films=asked.films
        )
        tags = [{**_reading(reading), "films": _causes(served, reading.causes)} for reading in readings]
        answers.append({"tags": tags, "place": _place(served, vectors[number]), "unknown": unknown})
    return answers


def explained_films(served: Served, item_ids: Sequence[int | str], tags: int) -> list[dict[str, Any]]:
    """Each of these films in tags.

    Raises:
        Problem: One of them is not in the catalogue, or the model has no tags.
    """
    places = list(_places(served, item_ids))
    read = explain_films(served.model, _tags(served), places, tags=tags)
    return [
        {**served.catalogue.named(place), "tags": [_reading(reading) for reading in readings]}
        for place, readings in zip(places, read, strict=True)
    ]


def causes_of(
    served: Served,
    told: Told,
    best: Sequence[Sequence[dict[str, Any]]],
    asked: RecommendRequest,
    check: Callable[[], None] = lambda: None,
) -> list[list[list[dict[str, Any]]]]:
    """For each recommendation of each person the own films without which its score would be lower, the largest first.

    Args:
        served: The model.
        told: The people.
        best: What is recommended to each of them.
        asked: How many films are to be named, and for which horizon.
        check: Called before each person; what it raises ends the work.
    """
    answers = []
    for number, films in enumerate(best):
        check()
        person = told.histories.take(np.array([number]))
        places = [place for film in films if (place := served.catalogue.place(film["item_id"])) is not None]
        [causes] = film_effects(served.model, person, np.array([places]), asked.horizon, films=asked.why)
        answers.append([_causes(served, of) for of in causes])
    return answers


def _tags(served: Served) -> TagDirections:
    """What vectors say in words.

    Raises:
        Problem: The model has none.
    """
    tags = served.model.bundle.tags
    if tags is None:
        message = (
            "the model knows no tags, since nothing was said of its films; expected one whose data have tags, a genome or "
            "genres"
        )
        raise Problem(404, "no_tags", message)
    return tags


def _places(served: Served, item_ids: Sequence[int | str]) -> Iterator[int]:
    for number, item_id in enumerate(item_ids):
        place = served.catalogue.place(item_id)
        if place is None:
            where = f"item_ids[{number}]"
            message = (
                f"{where} is {shown(item_id)}, which is not among the {len(served.catalogue)} films; expected an id that "
                "/v1/items gives"
            )
            raise Problem(404, "unknown_item", message, where)
        yield place


def _reading(reading: TagReading) -> dict[str, Any]:
    return {"tag": reading.tag, "strength": float(reading.strength), "confidence": float(reading.confidence)}


def _causes(served: Served, causes: Sequence[tuple[Any, float]]) -> list[dict[str, Any]]:
    catalogue = served.catalogue
    return [
        {**catalogue.named(place), "effect": float(effect)}
        for item_id, effect in causes
        if (place := catalogue.place(item_id)) is not None
    ]


def _place(served: Served, vector: NDArray[np.float32]) -> list[float] | None:
    """Where a person stands on the map: amid the films nearest to the vector; None without a map."""
    if served.film_map is None:
        return None
    [place] = served.film_map.place(vector[None], served.model.item_vectors).tolist()
    return [float(axis) for axis in place]

"""Responses of the service: from user vectors to JSON.

Dimensions: B people, N films of the catalogue, D numbers a vector, K films wanted.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from pydantic_core import to_json

from tastevec.data.histories import NO_TIME, Histories, normalise_ratings
from tastevec.schema import Horizon
from tastevec.serving.explain import explain_items, explain_users, item_effects
from tastevec.serving.recommender import best_items
from tastevec.serving.service.catalog import Catalog, example_user
from tastevec.serving.service.errors import Problem
from tastevec.serving.service.messages import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from tastevec.data.inputs import RatingScale
    from tastevec.items.item_map import ItemMap
    from tastevec.items.tag_directions import TagDirections
    from tastevec.serving.explain import TagExplanation
    from tastevec.serving.neighbors import Neighbors
    from tastevec.serving.recommender import Recommender
    from tastevec.serving.service.schemas import ExplainRequest, RecommendRequest, User

__all__ = [
    "Near",
    "ParsedUsers",
    "Served",
    "as_cosine",
    "contributions_of",
    "explained",
    "explained_items",
    "found_users",
    "ranked",
    "similar_items",
    "steered",
    "to_histories",
    "users_in_memory",
]

_Row = tuple[int, float, int]  # the film's place, the rating, the time


@dataclass(frozen=True, eq=False)
class ParsedUsers:
    """What a request tells of B people.

    Attributes:
        histories: Of the films that the catalogue holds, oldest first.
        unknown: The ids that it does not hold, of each person.
    """

    histories: Histories
    unknown: list[list[int | str]]


def to_histories(users: Sequence[User], catalog: Catalog, scale: RatingScale) -> ParsedUsers:
    """Turn people into histories; nobody is repaired.

    Raises:
        Problem: A rating is off the scale, a film stands twice, or a person's times are not of all films.
    """
    rows: list[_Row] = []
    offsets, unknown = [0], []
    for number, user in enumerate(users):
        own, strangers = _read(user, f"users[{number}].ratings", catalog, scale)
        rows += own
        offsets.append(len(rows))
        unknown.append(strangers)
    items, ratings, times = zip(*rows, strict=True) if rows else ((), (), ())
    given, bounds = np.array(ratings, np.float32), np.array(offsets, np.int64)
    histories = Histories(
        user_ids=np.arange(len(users)),
        offsets=bounds,
        items=np.array(items, np.int32),
        ratings=given,
        normalised=normalise_ratings(given, bounds),
        times=np.array(times, np.int64),
    )
    return ParsedUsers(histories, unknown)


def _read(user: User, where: str, catalog: Catalog, scale: RatingScale) -> tuple[list[_Row], list[int | str]]:
    """One person's rows in the order of time, and the ids that are unknown."""
    rows: list[_Row] = []
    unknown: list[int | str] = []
    first: dict[str, int] = {}
    timed = sum(rated.timestamp is not None for rated in user.ratings)
    if timed not in (0, len(user.ratings)):
        raise Problem(
            422,
            "wrong_data",
            f"{where} have a timestamp for {timed} of {len(user.ratings)} films; expected one for all or for none",
            where,
        )
    for number, rated in enumerate(user.ratings):
        if not scale.low <= rated.rating <= scale.high:
            place = f"{where}[{number}].rating"
            message = f"{place} is {rated.rating:g}; expected {scale.low:g} to {scale.high:g}, the model's own scale"
            raise Problem(422, "wrong_data", message, place)
        if (before := first.setdefault(str(rated.item_id), number)) != number:
            place = f"{where}[{number}].item_id"
            message = (
                f"{place} is {shown(rated.item_id)}, which is rated at {where}[{before}] already; expected each film "
                "once, at its last rating"
            )
            raise Problem(422, "wrong_data", message, place)
        item = catalog.place(rated.item_id)
        if item is None:
            unknown.append(rated.item_id)
        else:
            rows.append((item, rated.rating, NO_TIME if rated.timestamp is None else rated.timestamp))
    return sorted(rows, key=lambda row: row[2]), unknown


_FAVOURITES = 6  # films that are told of a person who was found


@dataclass(frozen=True, eq=False)
class Served:
    """A model and all that is made of it once, when it is loaded.

    Attributes:
        model: The recommender.
        name: What the model is called.
        users: Whom it can find, by their vectors of the horizon ``overall``.
    """

    model: Recommender
    name: str = "model"
    users: Neighbors | None = None

    def prepared(self) -> Served:
        """The same, with everything made that requests would otherwise wait for."""
        for made in ("catalog", "without_vector", "facts", "example", "map_body"):
            getattr(self, made)
        return self

    @property
    def space(self) -> str:
        """The name of the vector space."""
        return self.model.bundle.space

    @property
    def item_map(self) -> ItemMap | None:
        """Where the films lie on a plane."""
        return self.model.bundle.item_map

    def favourites(self, vectors: NDArray[np.float32]) -> list[list[dict[str, Any]]]:
        """The films nearest to each vector (B, D) of a person, whether seen or not."""
        scores = vectors @ self.model.item_vectors.T  # (B, N)
        scores[:, self.without_vector] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :_FAVOURITES]
        return [[self.catalog.item(place) for place in places] for places in best.tolist()]

    @cached_property
    def catalog(self) -> Catalog:
        """The films."""
        return Catalog(self.model.bundle.items)

    @cached_property
    def without_vector(self) -> NDArray[np.bool_]:
        """(N,) films that the model cannot recommend."""
        return np.asarray(~self.model.item_vectors.any(axis=1))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What ``/v1/model`` says."""
        bundle, scale = self.model.bundle, self.model.bundle.reading.scale
        return {
            "name": self.name,
            "space": self.space,
            "items": len(self.catalog),
            "dim": int(self.model.item_vectors.shape[1]),
            "data": str(bundle.facts.get("data", {}).get("name", "unknown")),
            "version": str(bundle.facts.get("tastevec", "unknown")),
            "horizons": list(get_args(Horizon)),
            "rating_range": [scale.low, scale.high],
            "rating_step": self._step,
            "tags": self._tags,
            "map": self.item_map is not None,
        }

    @cached_property
    def example(self) -> dict[str, Any]:
        """What ``/v1/example`` says."""
        scale = self.model.bundle.reading.scale
        catalog = self.catalog
        name, rated = example_user(
            catalog.genres,
            catalog.watched,
            self.model.item_vectors,
            (scale.low, scale.high, self._step),
        )
        ratings = [
            {**catalog.named(place), "year": catalog.years[place], "rating": rating}
            for place, rating in rated
        ]
        return {"name": name, "ratings": ratings}

    @cached_property
    def map_body(self) -> tuple[bytes, bytes, str] | None:
        """What ``/v1/map`` says as JSON, plain and compressed, and its tag; None without a map."""
        if self.item_map is None:
            return None
        catalog, places = self.catalog, self.item_map.places
        mapped = np.flatnonzero(np.isfinite(places).all(axis=1))
        x, y = np.round(places[mapped].astype(np.float64), 5).T.tolist()
        columns = {
            "item_ids": [catalog.ids[item] for item in mapped],
            "titles": [catalog.titles[item] for item in mapped],
            "years": [catalog.years[item] for item in mapped],
            "genres": [next(iter(catalog.genres[item]), None) for item in mapped],
            "x": x,
            "y": y,
            "watched": catalog.watched[mapped].tolist(),
        }
        body = to_json(columns)
        return body, gzip.compress(body, 6, mtime=0), f'"{hashlib.sha256(body).hexdigest()[:32]}"'

    @property
    def _tags(self) -> list[dict[str, Any]]:
        """What can be steered by, the surest first."""
        tags = self.model.bundle.tags
        if tags is None:
            return []
        order = np.argsort(-tags.confidence, kind="stable").tolist()
        return [
            {"tag": tags.names[tag], "confidence": round(float(tags.confidence[tag]), 3)} for tag in order
        ]

    @property
    def _step(self) -> float:
        """Between two ratings that the model tells apart."""
        scale = self.model.bundle.reading.scale
        return (scale.high - scale.low) / (scale.levels - 1)


Near = Sequence[Sequence[tuple[Any, float]]]  # of each person the ids and cosines of others
_FOUND = 64  # people whose favourites are looked for at once


def found_users(
    served: Served,
    told: ParsedUsers,
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


def users_in_memory(
    served: Served, vectors: NDArray[np.float32], k: int
) -> tuple[Near, dict[Any, NDArray[np.float32]]]:
    """Who of the people of a file is nearest to each vector (B, D), and their vectors; see `found_users`."""
    assert served.users is not None
    places, cosines = served.users.nearest(vectors, k)  # (B, K) each
    ids, known = served.users.ids, served.users.vectors
    near = [
        list(zip(ids[row].tolist(), found.tolist(), strict=True))
        for row, found in zip(places, cosines, strict=True)
    ]
    once = np.unique(places)
    return near, dict(zip(ids[once].tolist(), known[once], strict=True))


def as_cosine(value: float) -> float:
    """A cosine, which rounding may have carried past 1."""
    return min(1.0, max(-1.0, float(value)))


def ranked(
    served: Served, told: ParsedUsers, vectors: NDArray[np.float32], k: int
) -> list[list[dict[str, Any]]]:
    """The best K films new to each person: films with rank from 1 and score.

    Args:
        served: The model.
        told: The people; their films are left out.
        vectors: (B, D) theirs.
        k: Films wanted.
    """
    candidates = ~served.without_vector
    places, scores = best_items(vectors, served.model.item_vectors, told.histories, k, candidates)
    return [
        [
            {**served.catalog.item(place), "rank": rank, "score": score}
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


def similar_items(served: Served, item_ids: Sequence[int | str], k: int) -> list[dict[str, Any]]:
    """The films nearest to each of these.

    Raises:
        Problem: One of them is not in the catalogue.
    """
    catalog, answers = served.catalog, []
    for place in _places(served, item_ids):
        found = served.model.similar_items(catalog.ids[place], k=k).to_pylist()
        similar = [
            {**item, "rank": row["rank"], "similarity": as_cosine(row["similarity"])}
            for row in found
            for item in catalog.items([row["item_id"]])
        ]
        answers.append({**catalog.named(place), "similar": similar})
    return answers


def explained(
    served: Served,
    told: ParsedUsers,
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
        user = told.histories.take(np.array([number]))
        [readings] = explain_users(
            served.model, known, user, asked.horizon, tags=asked.tags, items=asked.items
        )
        tags = [
            {**_reading(reading), "items": _contributions(served, reading.contributions)}
            for reading in readings
        ]
        answers.append({"tags": tags, "place": _place(served, vectors[number]), "unknown": unknown})
    return answers


def explained_items(served: Served, item_ids: Sequence[int | str], tags: int) -> list[dict[str, Any]]:
    """Each of these films in tags.

    Raises:
        Problem: One of them is not in the catalogue, or the model has no tags.
    """
    places = list(_places(served, item_ids))
    read = explain_items(served.model, _tags(served), places, tags=tags)
    return [
        {**served.catalog.named(place), "tags": [_reading(reading) for reading in readings]}
        for place, readings in zip(places, read, strict=True)
    ]


def contributions_of(
    served: Served,
    told: ParsedUsers,
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
    for number, items in enumerate(best):
        check()
        user = told.histories.take(np.array([number]))
        places = [place for item in items if (place := served.catalog.place(item["item_id"])) is not None]
        [contributions] = item_effects(served.model, user, np.array([places]), asked.horizon, items=asked.why)
        answers.append([_contributions(served, of) for of in contributions])
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
        place = served.catalog.place(item_id)
        if place is None:
            where = f"item_ids[{number}]"
            message = (
                f"{where} is {shown(item_id)}, which is not among the {len(served.catalog)} films; expected an id that "
                "/v1/items gives"
            )
            raise Problem(404, "unknown_item", message, where)
        yield place


def _reading(reading: TagExplanation) -> dict[str, Any]:
    return {"tag": reading.tag, "strength": float(reading.strength), "confidence": float(reading.reliability)}


def _contributions(served: Served, contributions: Sequence[tuple[Any, float]]) -> list[dict[str, Any]]:
    catalog = served.catalog
    return [
        {**catalog.named(place), "effect": float(effect)}
        for item_id, effect in contributions
        if (place := catalog.place(item_id)) is not None
    ]


def _place(served: Served, vector: NDArray[np.float32]) -> list[float] | None:
    """Where a person stands on the map: amid the films nearest to the vector; None without a map."""
    if served.item_map is None:
        return None
    [place] = served.item_map.place(vector[None], served.model.item_vectors).tolist()
    return [float(axis) for axis in place]

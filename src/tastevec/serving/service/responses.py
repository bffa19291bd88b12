"""Responses of the service: from user vectors to JSON.

Dimensions: B users, N items of the catalog, D dimensions, K results.
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

from tastevec.errors import TastevecError
from tastevec.schema import DEFAULT_DISLIKE_WEIGHT, MOVIELENS_NOUN, Horizon
from tastevec.serving.explain import Attribution, explain_items, explain_users, item_effects
from tastevec.serving.interactions import (
    ABSENT,
    Given,
    parse_users,
)
from tastevec.serving.parsed_users import ModelReading, ParsedUsers, refuse_unknown
from tastevec.serving.service import schemas
from tastevec.serving.service.catalog import Catalog, example_user
from tastevec.serving.service.error_messages import Problem, format_value, problem_of
from tastevec.serving.values import InvalidInteractionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.items.tag_directions import TagDirections
    from tastevec.schema import Unknown
    from tastevec.serving.encoder import UserVectors
    from tastevec.serving.explain import TagExplanation
    from tastevec.serving.filters import ItemFilter
    from tastevec.serving.neighbors import Neighbors
    from tastevec.serving.recommender import Recommender
    from tastevec.serving.service.schemas import ExplainRequest, Filters, RecommendRequest, User


_MOST_ICONS = 10  # more do not fit a phone
_NEAREST_ITEMS = 6  # items shown per user found


@dataclass(frozen=True, eq=False)
class AppState:
    """A model and everything that is computed once when it is loaded."""

    model: Recommender
    name: str = "model"
    users: Neighbors | None = None  # users that can be found, by their vectors of the horizon overall

    def prepared(self) -> AppState:
        """Compute everything that requests would otherwise wait for; return the same state."""
        for name in ("catalog", "without_vector", "facts", "example", "map_body"):
            getattr(self, name)
        return self

    @property
    def space(self) -> str:
        """The ID of the embedding space."""
        return self.model.bundle.space

    def parse(
        self, users: Sequence[User], where: str = "users[{}].interactions", unknown: Unknown = "warn"
    ) -> ParsedUsers:
        """Return the histories of users; ``where`` is the location of their interactions.

        Raises:
            Problem: An ID, a value or a timestamp is invalid, or a value is off the scale of the model; or items are unknown and
                ``unknown`` does not allow it.
        """
        names = ("item_id", "value", "timestamp")
        if any(one.event is not None for user in users for one in user.interactions):
            self._check_events(users, where)
            names = ("item_id", "event", "timestamp")
        try:
            parsed = parse_users(list(map(_given, users)), self.reading, where.format, names)
            refuse_unknown(parsed, unknown, self.model.bundle.noun.counted(len(self.catalog)), "interactions")
        except InvalidInteractionError as error:
            raise Problem(422, "invalid_data", str(error), error.where) from None
        except TastevecError as error:
            raise problem_of(error) from None
        return parsed

    def _check_events(self, users: Sequence[User], where: str) -> None:
        """Refuse events of a model that was not trained on events, and an event with a value."""
        for number, user in enumerate(users):
            for row, one in enumerate(user.interactions):
                if one.event is None:
                    continue
                place = f"{where.format(number)}[{row}].event"
                if self.reading.scale.kind != "events":
                    message = f"{place}: {format_value(one.event)}. Expected a value: the model was not trained on events."
                    raise Problem(422, "invalid_data", message, place)
                if one.value is not None:
                    message = f"{place}: an event and a value. Expected one of both."
                    raise Problem(422, "invalid_data", message, place)

    def nearest_items(self, vectors: NDArray[np.float32]) -> list[list[dict[str, Any]]]:
        """Return the items nearest to each user vector (B, D), rated or not."""
        scores = vectors @ self.model.item_vectors.T  # (B, N)
        scores[:, self.without_vector] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :_NEAREST_ITEMS]
        return [[self.catalog.item(index) for index in row] for row in best.tolist()]

    @cached_property
    def catalog(self) -> Catalog:
        """The items."""
        return Catalog(self.model.bundle.items)

    @cached_property
    def reading(self) -> ModelReading:
        """How the model reads interactions."""
        bundle = self.model.bundle
        return ModelReading.of(bundle.facts, bundle.reading.scale, self.catalog.indices)

    @cached_property
    def without_vector(self) -> NDArray[np.bool_]:
        """(N,) items that cannot be recommended."""
        return np.asarray(~self.model.item_vectors.any(axis=1))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The response of ``/v1/model``, without the number of users."""
        bundle, scale = self.model.bundle, self.model.bundle.reading.scale
        data, dislikes = bundle.facts.get("data", {}), bundle.facts.get("closed_form", {}).get("dislikes")
        tags = list[tuple[str, float]]()
        if bundle.tags is not None:
            tags = list(zip(bundle.tags.names, bundle.tags.reliability.tolist(), strict=True))
            tags.sort(key=lambda tag: -tag[1])  # the most reliable first
        return {
            "name": self.name,
            "space": self.space,
            "n_items": len(self.catalog),
            "item_noun": bundle.noun.to_json(),
            "dim": int(self.model.item_vectors.shape[1]),
            "data": str(data.get("name", "unknown")),
            "version": str(bundle.facts.get("tastevec", "unknown")),
            "horizons": list(get_args(Horizon)),
            "feedback": scale.kind,
            "rating_range": [scale.low, scale.high],
            "rating_step": scale.step,
            "positive_from": scale.positive_from,
            "dislike_weight": DEFAULT_DISLIKE_WEIGHT if dislikes else None,
            "rating_control": self._control,
            "tags": [{"tag": name, "reliability": round(reliability, 3)} for name, reliability in tags],
            "map": bundle.item_map is not None,
        }

    @cached_property
    def example(self) -> dict[str, Any]:
        """The response of ``/v1/example``."""
        scale, catalog = self.model.bundle.reading.scale, self.catalog
        name, rated = example_user(
            catalog.genres,
            catalog.n_train_users,
            self.model.item_directions,
            scale,
        )
        ratings = [
            {**catalog.id_and_title(index), "year": catalog.years[index], "value": rating}
            for index, rating in rated
        ]
        return {"name": name, "interactions": ratings}

    @cached_property
    def map_body(self) -> tuple[bytes, bytes, str] | None:
        """The response of ``/v1/map`` as JSON, plain and gzipped, and its ETag; None without a map."""
        catalog, item_map = self.catalog, self.model.bundle.item_map
        if item_map is None:
            return None
        mapped = np.flatnonzero(np.isfinite(item_map.positions).all(axis=1))
        x, y = np.round(item_map.positions[mapped].astype(np.float64), 5).T.tolist()
        columns = {
            "item_ids": [catalog.ids[item] for item in mapped],
            "titles": [catalog.titles[item] for item in mapped],
            "years": [catalog.years[item] for item in mapped],
            "genres": [next(iter(catalog.genres[item]), None) for item in mapped],
            "x": x,
            "y": y,
            "n_train_users": catalog.n_train_users[mapped].tolist(),
        }
        body = to_json(columns)
        return body, gzip.compress(body, 6, mtime=0), f'"{hashlib.sha256(body).hexdigest()[:32]}"'

    @property
    def _control(self) -> str:
        """How a page offers to rate: marks for films on a scale such as 0.5 to 5, numbers on another scale, else a toggle."""
        scale, noun = self.model.bundle.reading.scale, self.model.bundle.noun
        if scale.kind != "explicit":
            return "toggle"
        marks = noun.to_json() == MOVIELENS_NOUN and 0 < scale.low < scale.high <= _MOST_ICONS
        return "icons" if marks else "numbers"


def _given(user: User) -> Given:
    """Return the interactions of a user in a request."""
    items, values, times = list[Any](), list[Any](), list[Any]()
    for one in user.interactions:
        items.append(one.item_id)
        value = one.event if one.value is None else one.value
        values.append(ABSENT if value is None else value)
        times.append(ABSENT if one.timestamp is None else one.timestamp)
    return Given(items, values, times)


def counts(users: ParsedUsers) -> list[dict[str, Any]]:
    """Return what every result of a user has: its interactions with known items, and its unknown items."""
    return [
        {"n_known": known, "unknown": unknown}
        for known, unknown in zip(users.n_known.tolist(), users.unknown, strict=True)
    ]


NearestUsers = Sequence[Sequence[tuple[Any, float]]]  # per user, the IDs and cosines of others, nearest first
_USER_BLOCK = 64  # users whose nearest items are computed at once


def similar_users(
    state: AppState,
    parsed: ParsedUsers,
    nearest: NearestUsers,
    vectors: Mapping[Any, NDArray[np.float32]],
    check: Callable[[], None],
) -> list[dict[str, Any]]:
    """Return the users nearest to each user, with the items nearest to them.

    ``vectors`` are those of the users found (D,), by ID; a user without one was deleted meanwhile and is skipped.
    ``check`` is called before each block of users; an exception ends the work.
    """
    ids, rows = list(vectors), list[list[dict[str, Any]]]()
    for start in range(0, len(ids), _USER_BLOCK):
        check()
        rows += state.nearest_items(np.stack([vectors[one] for one in ids[start : start + _USER_BLOCK]]))
    items = dict(zip(ids, rows, strict=True))
    responses = []
    for found, of_user in zip(nearest, counts(parsed), strict=True):
        responses.append({"users": schemas.user_neighbors(found, items), **of_user})
    return responses


def nearest_users(
    state: AppState, vectors: NDArray[np.float32], k: int
) -> tuple[NearestUsers, dict[Any, NDArray[np.float32]]]:
    """Return the users of the file nearest to each vector (B, D), and their vectors; see `similar_users`."""
    assert state.users is not None
    indices, cosines = state.users.nearest(vectors, k)  # (B, K) each
    ids, known = state.users.ids, state.users.vectors
    nearest = [
        list(zip(ids[row].tolist(), similarities.tolist(), strict=True))
        for row, similarities in zip(indices, cosines, strict=True)
    ]
    unique = np.unique(indices)
    return nearest, dict(zip(ids[unique].tolist(), known[unique], strict=True))


def recommended_items(
    state: AppState,
    parsed: ParsedUsers,
    vectors: NDArray[np.float32],
    k: int,
    horizon: Horizon,
    chosen: ItemFilter,
) -> list[list[dict[str, Any]]]:
    """Return the K best items per user, with rank and `MEANINGS`, for user vectors (B, D)."""
    best = state.model.best_items(parsed.histories, vectors, k, chosen)
    measures = state.model.bundle.measures(parsed.histories, best, horizon)
    values = {name: of_users.tolist() for name, of_users in measures.items()}
    return [
        [
            {**state.catalog.item(index), "rank": rank + 1}
            | {name: of_users[user][rank] for name, of_users in values.items()}
            for rank, index in enumerate(row)
            if index >= 0
        ]
        for user, row in enumerate(best.indices.tolist())
    ]


def item_filter(state: AppState, request: Filters, unknown: Unknown) -> ItemFilter:
    """Return which items a request accepts; items that are not in the catalog are ignored, or refused.

    Raises:
        Problem: No item is left, or a column or a value does not exist; or an item is refused.
    """
    try:
        return state.model.item_filter("ignore" if unknown == "warn" else unknown, **request.filters)
    except TastevecError as error:
        found = problem_of(error)
        found.where = next(
            (name for name in ("where", "only", "exclude") if found.message.startswith(name)), None
        )
        raise found from None


def steer_vectors(
    state: AppState, users: UserVectors, amounts: dict[str, float], hold: float, horizon: Horizon
) -> UserVectors:
    """Return the vectors steered by the tags.

    Raises:
        Problem: The model has no tags.
        SettingsError: The model has no such tag.
    """
    dim = state.model.item_vectors.shape[1]
    # Steering is linear: one move serves all vectors.
    move = _tag_directions(state).steer(np.zeros(dim, np.float32), amounts, hold=hold, horizon=horizon)
    return users.moved(move)


def similar_items(state: AppState, items: Sequence[int], k: int) -> list[dict[str, Any]]:
    """Return the nearest items of each item."""
    catalog, responses = state.catalog, []
    for index in items:
        similar = [
            {
                **catalog.item(neighbor),
                "rank": row["rank"],
                "similarity": schemas.clip_cosine(row["similarity"]),
            }
            for row in state.model.similar_items(catalog.ids[index], k=k).to_pylist()
            if (neighbor := catalog.index(row["item_id"])) is not None
        ]
        responses.append({**catalog.id_and_title(index), "similar": similar})
    return responses


def user_tags(
    state: AppState,
    parsed: ParsedUsers,
    vectors: NDArray[np.float32],
    request: ExplainRequest,
    check: Callable[[], None],
) -> list[dict[str, Any]]:
    """Return the tags and the map position of each user, from user vectors (B, D).

    ``check`` is called before each user; an exception ends the work.
    """
    attribution = _attribution(state, request, check)
    directions, item_map, responses = _tag_directions(state), state.model.bundle.item_map, []
    for number, of_user in enumerate(counts(parsed)):
        check()
        user = parsed.histories.take(np.array([number]))
        [explanations] = explain_users(
            attribution,
            directions,
            user,
            vectors[[number]],
            tags=request.tags,
            contributions=request.contributions,
        )
        tags = [
            {**_tag(explanation), "contributions": _contributions(state, explanation.contributions)}
            for explanation in explanations
        ]
        position = None
        if item_map is not None:
            [position] = item_map.locate(vectors[[number]], state.model.item_directions).tolist()
        responses.append({"tags": tags, "map_position": position, **of_user})
    return responses


def item_tags(state: AppState, items: Sequence[int], tags: int) -> list[dict[str, Any]]:
    """Return the tags of each item."""
    explanations = explain_items(_tag_directions(state), state.model.item_directions[list(items)], tags=tags)
    return [
        {**state.catalog.id_and_title(index), "tags": [_tag(explanation) for explanation in of_item]}
        for index, of_item in zip(items, explanations, strict=True)
    ]


def add_contributions(
    state: AppState,
    parsed: ParsedUsers,
    vectors: NDArray[np.float32],
    recommended: Sequence[Sequence[dict[str, Any]]],
    request: RecommendRequest,
    check: Callable[[], None],
) -> list[list[dict[str, Any]]]:
    """Return the recommended items of each user with the largest contributions to their scores.

    The user vectors (B, D) are those before steering, which moves all vectors alike. ``check`` is called
    before each user; an exception ends the work.
    """
    if not request.contributions:
        return [[{**item, "contributions": []} for item in items] for items in recommended]
    attribution, responses = _attribution(state, request, check), []
    for number, items in enumerate(recommended):
        check()
        user = parsed.histories.take(np.array([number]))
        indices = [index for item in items if (index := state.catalog.index(item["item_id"])) is not None]
        [effects] = item_effects(
            attribution,
            user,
            vectors[[number]],
            np.array([indices], np.int64),
            state.model.item_vectors,
            contributions=request.contributions,
        )
        responses.append(
            [
                {**item, "contributions": _contributions(state, of_item)}
                for item, of_item in zip(items, effects, strict=True)
            ]
        )
    return responses


def _attribution(
    state: AppState, request: ExplainRequest | RecommendRequest, check: Callable[[], None]
) -> Attribution:
    """Return the leave-one-out attribution, which calls ``check`` before each block of histories."""

    def encode(histories: Histories) -> NDArray[np.float32]:
        check()
        return state.model.vectors(histories, request.horizon, request.dislike_weight)

    return Attribution(encode, state.model.bundle.item_ids, request.horizon)


def _tag_directions(state: AppState) -> TagDirections:
    tags = state.model.bundle.tags
    if tags is None:
        message = (
            "the model: no tags. Expected a model of a dataset with tags, a tag genome or genres. Train one."
        )
        raise Problem(404, "no_tags", message)
    return tags


def given_vectors(state: AppState, given: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """Return the user vectors of a request (B, D).

    Raises:
        Problem: They are of different dimensions, of another one than the model, or a vector is that of an item.
    """
    for number, vector in enumerate(given):
        if len(vector) != len(given[0]):
            where = f"vectors[{number}]"
            message = f"{where}: {len(vector)} dimensions. Expected {len(given[0])}, as in vectors[0]."
            raise Problem(422, "invalid_data", message, where)
    vectors, dim = np.array(given, np.float32), state.model.item_vectors.shape[1]
    if vectors.shape[1] != dim:
        message = f"vectors: {vectors.shape[1]} dimensions. Expected {dim}, as in space {state.space}."
        raise Problem(422, "invalid_data", message, "vectors")
    if not state.model.bundle.model.geometry.are_users(vectors):
        message = (
            "vectors: a last coordinate is that of an item. Expected 0, as in each vector of /v1/encode."
        )
        raise Problem(422, "invalid_data", message, "vectors")
    return vectors


def item_indices(state: AppState, item_ids: Sequence[int | str]) -> list[int]:
    """Return the indices of the items that a request names.

    Raises:
        Problem: An item is not in the catalog.
    """
    indices = []
    for number, item_id in enumerate(item_ids):
        if (index := state.catalog.index(item_id)) is None:
            where = f"item_ids[{number}]"
            message = (
                f"{where}: {format_value(item_id)} is not in the catalog ({state.model.bundle.noun.counted(len(state.catalog))}). "
                "Expected an item_id from /v1/items."
            )
            raise Problem(404, "unknown_item", message, where)
        indices.append(index)
    return indices


def _tag(explanation: TagExplanation) -> dict[str, Any]:
    return {
        "tag": explanation.tag,
        "strength": float(explanation.strength),
        "reliability": float(explanation.reliability),
    }


def _contributions(state: AppState, contributions: Sequence[tuple[Any, float]]) -> list[dict[str, Any]]:
    return [
        {**state.catalog.id_and_title(index), "effect": float(effect)}
        for item_id, effect in contributions
        if (index := state.catalog.index(item_id)) is not None
    ]

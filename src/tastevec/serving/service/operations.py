"""Operations of the service: from a request body to the JSON of its response, in pieces.

A response has one entry per user or item of its request. Entries are computed in blocks: large requests take turns, and
memory is that of one block.

Dimensions: B users, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from tastevec.data.topk import diverse_candidates
from tastevec.schema import DEFAULT_DISLIKE_WEIGHT, DISLIKE_WEIGHT
from tastevec.serving.encoder import UserVectors
from tastevec.serving.service import responses, schemas
from tastevec.serving.service.error_messages import Problem, validation_message
from tastevec.serving.service.responses import AppState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tastevec.schema import Horizon, Unknown
    from tastevec.serving.filters import ItemFilter
    from tastevec.serving.parsed_users import ParsedUsers

Check = Callable[
    [], None
]  # called between pieces: others take their turn, or it raises where the client is gone
Entries = list[dict[str, Any]]
# Of AppState, the request, ParsedUsers, UserVectors and Check; of a request with filters, ItemFilter too.
_OfUsers = Callable[..., Entries]
_OfItems = Callable[[AppState, Any, list[int]], Entries]

# Milliseconds on one core, roughly: per user, per history without one item, per item of a history, and per result.
_USER_MS, _AGAIN_MS, _ITEM_MS, _RESULT_MS = 0.4, 0.05, {"next": 0.0135, "overall": 0.0007}, 0.006
_DIVERSE_MS = 0.000025  # per result and candidate, where results are unlike each other
_MAX_ATTRIBUTED = 500  # items of a history that have contributions, see `Attribution`
SMALL_MS: Final = 8.0  # up to this cost, a request is computed at once
_BLOCK_ENTRIES, _BLOCK_SCORES = 16, 1 << 22  # of a block; scores are those of its users and all items


@dataclass(frozen=True, eq=False)
class Work:
    """A valid request.

    Attributes:
        operation: What is computed.
        request: The parsed body.
        horizon: The horizon in which its users are encoded.
        dislike_weight: The weight of dislikes at which they are.
        users: The users; None for a request about items.
        vectors: User vectors (B, D) that the request has in place of interactions, each with the norm 1.
        items: Indices of the items that the request names.
        chosen: Which items may be recommended, where the request can say so.
        cost: Expected milliseconds on one core.
    """

    operation: Operation
    request: Any
    horizon: Horizon
    dislike_weight: float = DEFAULT_DISLIKE_WEIGHT
    users: ParsedUsers | None = None
    vectors: UserVectors | None = None
    items: list[int] | None = None
    chosen: ItemFilter | None = None
    cost: float = 0.0

    @property
    def to_encode(self) -> bool:
        """Whether its users must be encoded first."""
        return self.users is not None and self.vectors is None

    def head(self, state: AppState) -> bytes:
        """Return the JSON before the entries."""
        known: dict[str, Any] = {"space": state.space, "horizon": self.horizon}
        if self.chosen is not None:
            known["unknown"] = self.chosen.unknown
        names = self.operation.facts if self.users is not None else ()
        facts = {name: known[name] if name in known else getattr(self.request, name) for name in names}
        key = "items" if self.users is None else "users"
        return to_json(facts)[:-1] + (b'"' if not facts else b',"') + key.encode() + b'":['

    def entries(self, state: AppState, vectors: UserVectors | None, check: Check) -> bytes:
        """Return the JSON of the entries, separated by commas, from the user vectors if there are users."""
        if self.users is not None:
            assert self.operation.users is not None
            vectors = vectors if self.vectors is None else self.vectors
            assert vectors is not None
            filters = () if self.chosen is None else (self.chosen,)
            found = self.operation.users(state, self.request, self.users, vectors, check, *filters)
        else:
            assert self.operation.items is not None
            found = self.operation.items(state, self.request, self.items or [])
        return to_json(found)[1:-1]

    def blocks(self, state: AppState) -> Iterator[Work]:
        """Yield the work in blocks, whose entries are those of the complete work."""
        count = len(self.items or []) if self.users is None else len(self.users)
        step = max(1, min(_BLOCK_ENTRIES, _BLOCK_SCORES // max(len(state.catalog), 1)))
        if self.users is not None and getattr(self.request, "contributions", None):
            step = 1
        for start in range(0, count, step) if count > step else ():
            block = slice(start, start + step)
            if self.users is None:
                assert self.items is not None
                yield replace(self, items=self.items[block])
                continue
            vectors = None if self.vectors is None else self.vectors.block(block)
            yield replace(self, users=self.users.block(block), vectors=vectors)
        if count <= step:
            yield self


class Operation(NamedTuple):
    """What the response to a request is made of.

    Attributes:
        schema: The request schema.
        users: Returns the entries of users, from their vectors.
        items: Returns the entries of items, from their indices.
        facts: Keys of the response before the entries, in the model or in the request.
        horizon: The horizon, where the request does not choose it.
        where: Location of a user's interactions in error messages.
    """

    schema: type[Any]
    users: _OfUsers | None = None
    items: _OfItems | None = None
    facts: tuple[str, ...] = ()
    horizon: Horizon = "overall"
    where: str = "users[{}].interactions"

    def open(self, state: AppState, body: bytes) -> Work:
        """Return the work of a request body.

        Raises:
            Problem: The body is invalid, or names an unknown item.
        """
        request = parsed_body(self.schema, body)
        weight = getattr(request, DISLIKE_WEIGHT, DEFAULT_DISLIKE_WEIGHT)
        work = Work(self, request, getattr(request, "horizon", self.horizon), weight)
        users = [request] if self.schema is schemas.User else getattr(request, "users", [])
        given = getattr(request, "vectors", [])
        if users or given:
            vectors = None
            if given:
                vectors = UserVectors(responses.given_vectors(state, given), np.ones(len(given), np.float32))
            unknown: Unknown = getattr(request, "unknown", "warn")
            none = [schemas.User(interactions=[])] * len(given)
            parsed = state.parse(users or none, self.where, unknown)
            if isinstance(request, schemas.Filters):
                work = replace(work, chosen=responses.item_filter(state, request, unknown))
            work = replace(work, users=parsed, vectors=vectors, request=_without(request))
        elif item_ids := getattr(request, "item_ids", []):
            work = replace(work, items=responses.item_indices(state, item_ids))
        return replace(work, cost=_cost(state, work))


def _without(request: Any) -> Any:  # noqa: ANN401  as below
    """Return the request without its interactions and vectors: as objects they need 20 times the memory of their arrays."""
    names = {"users", "vectors"} & type(request).model_fields.keys()
    return request.model_copy(update={name: [] for name in names})


def _cost(state: AppState, work: Work) -> float:
    """Return the expected milliseconds of a request: users times their histories, and results."""
    k = int(getattr(work.request, "k", 10))
    if work.users is None:
        return len(work.items or []) * (_USER_MS + k * _RESULT_MS)
    reading = state.model.bundle.reading
    longest = max(reading.max_history, reading.max_history_overall if work.horizon == "overall" else 0)
    rated = work.users.histories.lengths
    once = np.minimum(rated, longest) * _ITEM_MS[work.horizon]  # (B,) ms
    explained = bool(getattr(work.request, "contributions", None))
    without_one = np.minimum(rated, _MAX_ATTRIBUTED) * explained
    encoded = _USER_MS + once + without_one * (_AGAIN_MS + once)
    of_result = _RESULT_MS
    if work.chosen is not None and work.chosen.diversity:
        of_result += diverse_candidates(k) * _DIVERSE_MS
    return float(encoded.sum() + len(rated) * k * of_result)


def parsed_body(schema: type[Any], body: bytes) -> Any:  # noqa: ANN401  an instance of the schema
    """Return the body of a request, which is JSON of this schema, without NaN and Infinity.

    Raises:
        Problem: It is not.
    """
    try:
        content = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        message = f"the body: invalid JSON ({error}). Expected a JSON object."
        raise Problem(400, "invalid_json", message) from None
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        found = validation_message(error.errors(include_url=False))
        raise Problem(422, "invalid_request", *found) from None


def _encode(
    _state: AppState, _request: object, users: ParsedUsers, vectors: UserVectors, _check: Check
) -> Entries:
    return [
        {"vector": vector, "norm": norm, **counts}
        for vector, norm, counts in zip(
            vectors.vectors.tolist(), vectors.norms.tolist(), responses.counts(users), strict=True
        )
    ]


def _encode_stored(
    state: AppState, request: object, users: ParsedUsers, vectors: UserVectors, check: Check
) -> Entries:
    if not len(users.histories.items):
        message = "interactions: no item of the catalog. Expected at least one."
        raise Problem(422, "invalid_data", message, "interactions")
    return _encode(state, request, users, vectors, check)


def _recommend(
    state: AppState,
    request: schemas.RecommendRequest,
    users: ParsedUsers,
    vectors: UserVectors,
    check: Check,
    chosen: ItemFilter,
) -> Entries:
    steered = vectors
    if request.tags:
        steered = responses.steer_vectors(state, vectors, request.tags, 1.0, request.horizon)
    recommended = responses.recommended_items(
        state, users, steered.vectors, request.k, request.horizon, chosen
    )
    explained = responses.add_contributions(state, users, vectors.vectors, recommended, request, check)
    return [
        {"items": items, "n_missing": request.k - len(items), **counts}
        for items, counts in zip(explained, responses.counts(users), strict=True)
    ]


def _similar_users(
    state: AppState,
    request: schemas.SimilarUsersRequest,
    users: ParsedUsers,
    vectors: UserVectors,
    check: Check,
) -> Entries:
    nearest = responses.nearest_users(state, vectors.vectors, request.k)
    return responses.similar_users(state, users, *nearest, check)


def _steer(
    state: AppState,
    request: schemas.SteerRequest,
    users: ParsedUsers,
    vectors: UserVectors,
    _check: Check,
    chosen: ItemFilter,
) -> Entries:
    steered = responses.steer_vectors(state, vectors, request.tags, request.hold, request.horizon)
    recommended = responses.recommended_items(
        state, users, steered.vectors, request.k, request.horizon, chosen
    )
    return [
        {"vector": vector, "norm": norm, "items": items, "n_missing": request.k - len(items), **counts}
        for vector, norm, items, counts in zip(
            steered.vectors.tolist(),
            steered.norms.tolist(),
            recommended,
            responses.counts(users),
            strict=True,
        )
    ]


def _nearest_items(
    state: AppState, _request: object, _users: ParsedUsers, vectors: UserVectors, _check: Check
) -> Entries:
    return [{"items": items} for items in state.nearest_items(vectors.vectors)]


def _explain(
    state: AppState, request: schemas.ExplainRequest, users: ParsedUsers, vectors: UserVectors, check: Check
) -> Entries:
    return responses.user_tags(state, users, vectors.vectors, request, check)


def _search_titles(state: AppState, request: schemas.TitleQuery, _items: list[int]) -> Entries:
    return state.catalog.search(request.query, request.limit)


def _similar_items(state: AppState, request: schemas.SimilarItemsRequest, items: list[int]) -> Entries:
    return responses.similar_items(state, items, request.k)


def _explain_items(state: AppState, request: schemas.ExplainRequest, items: list[int]) -> Entries:
    return responses.item_tags(state, items, request.tags)


_ENCODED: Final = ("space", "horizon", DISLIKE_WEIGHT)
OPERATIONS: Final[Mapping[str, Operation]] = {
    "encode": Operation(schemas.EncodeRequest, _encode, facts=_ENCODED),
    "recommend": Operation(schemas.RecommendRequest, _recommend, facts=(*_ENCODED, "unknown")),
    "similar-users": Operation(schemas.SimilarUsersRequest, _similar_users),
    "explain": Operation(schemas.ExplainRequest, _explain, _explain_items, facts=("horizon",)),
    "steer": Operation(schemas.SteerRequest, _steer, facts=(*_ENCODED, "unknown")),
    "items": Operation(schemas.TitleQuery, items=_search_titles),
    "similar-items": Operation(schemas.SimilarItemsRequest, items=_similar_items),
    # Of stored users: their vectors, the query of a search, and the items nearest to the users that it finds.
    "store-next": Operation(
        schemas.User, _encode_stored, facts=("space",), horizon="next", where="interactions"
    ),
    "store-overall": Operation(schemas.User, _encode_stored, facts=("space",), where="interactions"),
    "search": Operation(schemas.StoredSearchRequest, _encode, facts=("space", "k", "exclude")),
    "nearest-items": Operation(schemas.NearestItemsRequest, _nearest_items),
}

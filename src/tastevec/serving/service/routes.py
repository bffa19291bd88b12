"""HTTP routes for users, items, the model and health."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from numpy.typing import NDArray
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from tastevec.serving.service.errors import JsonRoute, Problem, errors
from tastevec.serving.service.inference import life_of
from tastevec.serving.service.responses import (
    ParsedUsers,
    Served,
    contributions_of,
    explained,
    explained_items,
    found_users,
    ranked,
    steered,
    to_histories,
    users_in_memory,
)
from tastevec.serving.service.responses import (
    similar_items as neighbors_of,
)
from tastevec.serving.service.schemas import (
    EncodeRequest,
    EncodeResponse,
    ErrorResponse,
    ExampleResponse,
    ExplainRequest,
    ExplainResponse,
    ItemsResponse,
    MapResponse,
    ModelResponse,
    RecommendRequest,
    RecommendResponse,
    ReloadResponse,
    SimilarItemsRequest,
    SimilarItemsResponse,
    SimilarUsersRequest,
    SimilarUsersResponse,
    StateResponse,
    SteerRequest,
    SteerResponse,
    User,
)
from tastevec.serving.service.static import unchanged
from tastevec.serving.service.store_routes import findable, found_in_store

__all__ = ["item_router", "service_router", "user_router"]

user_router = APIRouter(
    prefix="/v1", tags=["users"], route_class=JsonRoute, responses=errors(400, 408, 413, 415)
)
_NOBODY = User(ratings=[])  # of whom nothing is known, and whose films are not left out


@user_router.post("/encode", response_model=EncodeResponse)
async def encode(request: Request, asked: EncodeRequest) -> Response:
    """Turn people into taste vectors."""
    life = life_of(request)
    served = life.served
    told = _told(served, asked.users)

    def finish(vectors: NDArray[np.float32]) -> bytes:
        users = [
            {"vector": vector, "unknown": unknown}
            for vector, unknown in zip(vectors.tolist(), told.unknown, strict=True)
        ]
        return to_json({"space": served.space, "horizon": asked.horizon, "users": users})

    return _json_bytes(await life.batcher.ask(served.model, told.histories, asked.horizon, finish))


@user_router.post("/recommend", response_model=RecommendResponse, responses=errors(404))
async def recommend(request: Request, asked: RecommendRequest) -> Response:
    """Recommend films that are new to each person, steered along tags where they are given."""
    life = life_of(request)
    served = life.served
    told = _told(served, asked.users)

    def chosen(vectors: NDArray[np.float32]) -> list[list[dict[str, Any]]]:
        if asked.tags:
            vectors = steered(served, vectors, asked.tags, 1.0, asked.horizon)
        return ranked(served, told, vectors, asked.k)

    def finish(vectors: NDArray[np.float32]) -> bytes:
        return _recommended(served, told, chosen(vectors), None)

    if not asked.why:
        return _json_bytes(await life.batcher.ask(served.model, told.histories, asked.horizon, finish))
    best = await life.batcher.ask(served.model, told.histories, asked.horizon, chosen)

    def reasons(check: Callable[[], None]) -> bytes:
        return _recommended(served, told, best, contributions_of(served, told, best, asked, check))

    return _json_bytes(await life.long(reasons))


@user_router.post("/similar-users", response_model=SimilarUsersResponse, responses=errors(404))
async def similar_users(request: Request, asked: SimilarUsersRequest) -> Response:
    """Find the stored people whose taste is nearest, with films that they love."""
    life = life_of(request)
    served = life.served
    if served.users is None and request.app.state.stored is not None:
        return await found_in_store(request, asked.users, asked.k)
    if served.users is None:
        message = (
            "the service knows no people to be found; expected it to be started with an encoded table of them"
        )
        raise Problem(404, "no_people", message)
    told = _told(served, asked.users)
    vectors = await life.batcher.ask(served.model, told.histories, "overall", np.asarray)

    def found(check: Callable[[], None]) -> bytes:
        near = users_in_memory(served, vectors, asked.k)
        return to_json({"users": found_users(served, told, *near, check)})

    return _json_bytes(await life.long(found))


@user_router.post("/explain", response_model=ExplainResponse, responses=errors(404))
async def explain(request: Request, asked: ExplainRequest) -> Response:
    """Tell people, or films, in tags: each with its strength, its confidence and the films that caused it."""
    life = life_of(request)
    served = life.served
    if asked.item_ids:
        items = await life.long(lambda _check: explained_items(served, asked.item_ids, asked.tags))
        return _json_bytes(to_json({"items": items}))
    told = _told(served, asked.users)
    vectors = await life.batcher.ask(served.model, told.histories, asked.horizon, np.asarray)

    def in_tags(check: Callable[[], None]) -> bytes:
        return to_json({"users": explained(served, told, vectors, asked, check)})

    return _json_bytes(await life.long(in_tags))


@user_router.post("/steer", response_model=SteerResponse, responses=errors(404))
async def steer(request: Request, asked: SteerRequest) -> Response:
    """Move people, or vectors, along tags, and recommend from where they are then."""
    life = life_of(request)
    served = life.served
    given = _vectors(asked.vectors)
    told = _told(served, asked.users or [_NOBODY] * len(given))

    def finish(vectors: NDArray[np.float32]) -> bytes:
        start = vectors if asked.users else given
        moved = steered(served, start, asked.tags, asked.hold, asked.horizon)
        indices = ranked(served, told, moved, asked.k)
        answers = [
            {"vector": vector, "items": items, "unknown": unknown}
            for vector, items, unknown in zip(moved.tolist(), indices, told.unknown, strict=True)
        ]
        return to_json({"space": served.space, "users": answers})

    return _json_bytes(await life.batcher.ask(served.model, told.histories, asked.horizon, finish))


def _told(served: Served, users: Sequence[User]) -> ParsedUsers:
    return to_histories(users, served.catalog, served.model.bundle.reading.scale)


def _vectors(given: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """(B, D) the vectors of a request.

    Raises:
        Problem: They are not of one length.
    """
    for number, vector in enumerate(given):
        where = f"vectors[{number}]"
        if len(vector) != len(given[0]):
            message = (
                f"{where} holds {len(vector)} numbers and vectors[0] {len(given[0])}; expected one length"
            )
            raise Problem(422, "wrong_data", message, where)
    return np.array(given, np.float32)


def _recommended(
    served: Served,
    told: ParsedUsers,
    best: Sequence[Sequence[dict[str, Any]]],
    why: Sequence[Sequence[Sequence[dict[str, Any]]]] | None,
) -> bytes:
    users = []
    for number, (indices, unknown) in enumerate(zip(best, told.unknown, strict=True)):
        contributions = why[number] if why else [()] * len(indices)
        items = [{**item, "why": of} for item, of in zip(indices, contributions, strict=True)]
        users.append({"items": items, "unknown": unknown})
    return to_json({"space": served.space, "users": users})


def _json_bytes(body: bytes) -> Response:
    return Response(body, media_type="application/json")


item_router = APIRouter(prefix="/v1", tags=["items"], route_class=JsonRoute, responses=errors())


class TitleQuery(BaseModel):
    """A search by title."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: str = Field(
        max_length=200,
        description="The beginnings of words of the title; marks, case and articles count for nothing. Without a word, the most watched.",
        examples=["matrix"],
    )
    limit: int = Field(default=20, ge=1, le=100, description="Films at most.")


@item_router.get("/items", response_model=ItemsResponse)
async def items(request: Request, asked: Annotated[TitleQuery, Query()]) -> Response:
    """Find films by title: best matches first, the more watched first among equals."""
    life = life_of(request)
    return _json({"items": life.served.catalog.search(asked.query, asked.limit)})


@item_router.post(
    "/similar-items", response_model=SimilarItemsResponse, responses=errors(400, 404, 408, 413, 415)
)
async def similar_items(request: Request, asked: SimilarItemsRequest) -> Response:
    """Find the films nearest to each of these."""
    life = life_of(request)
    served = life.served
    found = await life.long(lambda _check: neighbors_of(served, asked.item_ids, asked.k))
    return _json({"items": found})


@item_router.get("/map", response_model=MapResponse, responses=errors(404))
async def item_map(request: Request) -> Response:
    """All films on a plane, as it was computed with the model; compressed for whoever takes it so."""
    life = life_of(request)
    made = life.served.map_body
    if made is None:
        message = "the model has no map of its films; expected a bundle that was given one"
        raise Problem(404, "no_map", message)
    body, packed, tag = made
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if unchanged(request, tag):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(packed, headers=headers | {"Content-Encoding": "gzip"}, media_type="application/json")
    return Response(body, headers=headers, media_type="application/json")


@item_router.get("/example", response_model=ExampleResponse)
async def example(request: Request) -> Response:
    """An example person: well-known films of two genres that have little in common. Nobody real."""
    life = life_of(request)
    return _json(life.served.example)


@item_router.get("/model", response_model=ModelResponse)
async def model(request: Request) -> Response:
    """The model that answers, what it was trained on, and what it can say."""
    life = life_of(request)
    return _json(life.served.facts | {"users": await findable(request)})


@item_router.post("/reload", response_model=ReloadResponse, responses=errors(403, 409), tags=["service"])
async def reload(request: Request) -> Response:
    """Load the model again from where it is; requests are answered by the one before until then."""
    life = life_of(request)
    if not request.app.state.has_token:
        message = "the service has no token, and reloads for nobody; expected TASTEVEC_TOKEN to be set when it is started, or SIGHUP"
        raise Problem(403, "no_token", message)
    served, seconds = await life.replaced()
    return _json({"space": served.space, "items": len(served.catalog), "seconds": round(seconds, 3)})


def _json(answer: object) -> Response:
    return Response(to_json(answer), media_type="application/json")


service_router = APIRouter(tags=["service"])


@service_router.get("/healthz", response_model=StateResponse)
async def healthz() -> Response:
    """Whether the process lives."""
    return Response(to_json({"status": "ok"}), media_type="application/json")


@service_router.get(
    "/readyz",
    response_model=StateResponse,
    responses={503: {"model": ErrorResponse, "description": "Not now."}},
)
async def readyz(request: Request) -> Response:
    """Whether requests are welcome: not before the model is loaded, and not while the process stops."""
    life = life_of(request)
    if not life.ready:
        found = "stopping" if life.draining else "still loading its model"
        raise Problem(
            503, "not_ready", f"the service is {found}; expected it to be ready: ask another, or later"
        )
    return Response(to_json({"status": "ready"}), media_type="application/json")


@service_router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Counters, for Prometheus.", "content": {"text/plain": {}}},
        401: {"model": ErrorResponse, "description": "The bearer token is missing or wrong."},
    },
)
async def metrics(request: Request) -> Response:
    """Requests, their times, batches, the model; behind the token where there is one."""
    life = life_of(request)
    return Response(life.metrics.text(), media_type=CONTENT_TYPE_LATEST)

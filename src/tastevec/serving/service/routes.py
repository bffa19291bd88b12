"""HTTP routes for users, items, the model and health."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from numpy.typing import NDArray
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from tastevec.serving.service import responses, schemas
from tastevec.serving.service.errors import JsonRoute, Problem, error_responses, json_response
from tastevec.serving.service.inference import lifecycle_of
from tastevec.serving.service.static import is_not_modified
from tastevec.serving.service.store_routes import findable_users, search_store

user_router = APIRouter(
    prefix="/v1", tags=["users"], route_class=JsonRoute, responses=error_responses(400, 404, 408, 413, 415)
)
_NO_RATINGS = schemas.User(ratings=[])  # the history behind a vector that a request steers


@user_router.post("/encode", response_model=schemas.EncodeResponse)
async def encode(request: Request, body: schemas.EncodeRequest) -> Response:
    """Compute a user vector per user."""
    lifecycle = lifecycle_of(request)
    state = lifecycle.state
    parsed = state.parse(body.users)

    def finish(vectors: NDArray[np.float32]) -> bytes:
        users = [
            {"vector": vector, "unknown": unknown}
            for vector, unknown in zip(vectors.tolist(), parsed.unknown, strict=True)
        ]
        return to_json({"space": state.space, "horizon": body.horizon, "users": users})

    return json_response(await lifecycle.batcher.run(state.model, parsed.histories, body.horizon, finish))


@user_router.post("/recommend", response_model=schemas.RecommendResponse)
async def recommend(request: Request, body: schemas.RecommendRequest) -> Response:
    """Recommend unrated items to each user, steered by tags where tags are given."""
    lifecycle = lifecycle_of(request)
    state = lifecycle.state
    parsed = state.parse(body.users)

    def finish(vectors: NDArray[np.float32], check: Callable[[], None] = lambda: None) -> bytes:
        steered = vectors
        if body.tags:
            steered = responses.steer_vectors(state, vectors, body.tags, 1.0, body.horizon)
        recommended = responses.recommended_items(state, parsed, steered, body.k)
        explained = responses.add_contributions(state, parsed, vectors, recommended, body, check)
        users = [
            {"items": items, "unknown": unknown}
            for items, unknown in zip(explained, parsed.unknown, strict=True)
        ]
        return to_json({"space": state.space, "users": users})

    if not body.contributions:
        return json_response(await lifecycle.batcher.run(state.model, parsed.histories, body.horizon, finish))
    vectors = await lifecycle.batcher.run(state.model, parsed.histories, body.horizon, np.asarray)
    return json_response(await lifecycle.run_in_worker(partial(finish, vectors)))


@user_router.post("/similar-users", response_model=schemas.SimilarUsersResponse)
async def similar_users(request: Request, body: schemas.SimilarUsersRequest) -> Response:
    """Find the most similar users, with the items nearest to each."""
    lifecycle = lifecycle_of(request)
    state = lifecycle.state
    if state.users is None and request.app.state.store is not None:
        return await search_store(request, body.users, body.k)
    if state.users is None:
        message = "the service: no users to find. Expected user vectors. Run: tastevec serve MODEL --user-vectors VECTORS"
        raise Problem(404, "no_users", message)
    parsed = state.parse(body.users)
    vectors = await lifecycle.batcher.run(state.model, parsed.histories, "overall", np.asarray)

    def find(check: Callable[[], None]) -> bytes:
        nearest = responses.nearest_users(state, vectors, body.k)
        return to_json({"users": responses.similar_users(state, parsed, *nearest, check)})

    return json_response(await lifecycle.run_in_worker(find))


@user_router.post("/explain", response_model=schemas.ExplainResponse)
async def explain(request: Request, body: schemas.ExplainRequest) -> Response:
    """Describe users, or items, in tags: strength, reliability and the contributions of rated items."""
    lifecycle = lifecycle_of(request)
    state = lifecycle.state
    if body.item_ids:
        items = await lifecycle.run_in_worker(
            lambda _check: responses.item_tags(state, body.item_ids, body.tags)
        )
        return json_response({"items": items})
    parsed = state.parse(body.users)
    vectors = await lifecycle.batcher.run(state.model, parsed.histories, body.horizon, np.asarray)

    def explained(check: Callable[[], None]) -> bytes:
        return to_json({"users": responses.user_tags(state, parsed, vectors, body, check)})

    return json_response(await lifecycle.run_in_worker(explained))


@user_router.post("/steer", response_model=schemas.SteerResponse)
async def steer(request: Request, body: schemas.SteerRequest) -> Response:
    """Steer users, or user vectors, by tags, and recommend items to the steered vectors."""
    lifecycle = lifecycle_of(request)
    state = lifecycle.state
    given = _vectors(body.vectors)
    parsed = state.parse(body.users or [_NO_RATINGS] * len(given))

    def finish(vectors: NDArray[np.float32]) -> bytes:
        start = vectors if body.users else given
        steered = responses.steer_vectors(state, start, body.tags, body.hold, body.horizon)
        recommended = responses.recommended_items(state, parsed, steered, body.k)
        users = [
            {"vector": vector, "items": items, "unknown": unknown}
            for vector, items, unknown in zip(steered.tolist(), recommended, parsed.unknown, strict=True)
        ]
        return to_json({"space": state.space, "users": users})

    return json_response(await lifecycle.batcher.run(state.model, parsed.histories, body.horizon, finish))


def _vectors(given: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """Return the vectors of a request (B, D), which must be of equal length."""
    for number, vector in enumerate(given):
        if len(vector) != len(given[0]):
            where = f"vectors[{number}]"
            message = f"{where}: {len(vector)} dimensions. Expected {len(given[0])}, as in vectors[0]."
            raise Problem(422, "invalid_data", message, where)
    return np.array(given, np.float32)


item_router = APIRouter(prefix="/v1", tags=["items"], route_class=JsonRoute, responses=error_responses())


class TitleQuery(BaseModel):
    """A search by title."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: str = Field(
        max_length=200,
        description="Prefixes of title words; accents, case and articles are ignored. Without a word, the most popular items.",
        examples=["matrix"],
    )
    limit: int = Field(default=20, ge=1, le=100, description="Maximum number of items.")


@item_router.get("/items", response_model=schemas.ItemsResponse)
async def items(request: Request, query: Annotated[TitleQuery, Query()]) -> Response:
    """Find items by title: best match first, the more popular first among equals."""
    return json_response({"items": lifecycle_of(request).state.catalog.search(query.query, query.limit)})


@item_router.post(
    "/similar-items",
    response_model=schemas.SimilarItemsResponse,
    responses=error_responses(400, 404, 408, 413, 415),
)
async def similar_items(request: Request, body: schemas.SimilarItemsRequest) -> Response:
    """Find the nearest items of each item."""
    lifecycle = lifecycle_of(request)
    state = lifecycle.state
    found = await lifecycle.run_in_worker(
        lambda _check: responses.similar_items(state, body.item_ids, body.k)
    )
    return json_response({"items": found})


@item_router.get("/map", response_model=schemas.MapResponse, responses=error_responses(404))
async def item_map(request: Request) -> Response:
    """Return the positions of all items on the map, gzipped for clients that accept it."""
    map_body = lifecycle_of(request).state.map_body
    if map_body is None:
        raise Problem(404, "no_map", "the model: no item map. Expected a model with a map. Train it again.")
    body, gzipped, etag = map_body
    headers = {"ETag": etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if is_not_modified(request, etag):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = gzipped, "gzip"
    return Response(body, headers=headers, media_type="application/json")


@item_router.get("/example", response_model=schemas.ExampleResponse)
async def example(request: Request) -> Response:
    """Return an example profile, which is made up: popular items of two dissimilar genres."""
    return json_response(lifecycle_of(request).state.example)


@item_router.get("/model", response_model=schemas.ModelResponse)
async def model(request: Request) -> Response:
    """Describe the model: its dataset, rating scale, horizons and tags."""
    return json_response(lifecycle_of(request).state.facts | {"n_users": await findable_users(request)})


@item_router.post(
    "/reload", response_model=schemas.ReloadResponse, responses=error_responses(403, 409), tags=["service"]
)
async def reload(request: Request) -> Response:
    """Load the model again from its folder; the previous model serves requests until then."""
    if not request.app.state.has_token:
        message = (
            "the service: no token, which reload needs. Expected TASTEVEC_TOKEN at the start. Or send SIGHUP."
        )
        raise Problem(403, "no_token", message)
    state, seconds = await lifecycle_of(request).reload()
    return json_response({"space": state.space, "n_items": len(state.catalog), "seconds": round(seconds, 3)})


service_router = APIRouter(tags=["service"])


@service_router.get("/healthz", response_model=schemas.StatusResponse)
async def healthz() -> Response:
    """Check that the process is alive."""
    return json_response({"status": "ok"})


@service_router.get(
    "/readyz",
    response_model=schemas.StatusResponse,
    responses={503: {"model": schemas.ErrorResponse, "description": "Not ready."}},
)
async def readyz(request: Request) -> Response:
    """Check that the model is loaded and the process is not shutting down."""
    lifecycle = lifecycle_of(request)
    if not lifecycle.ready:
        found = "stopping" if lifecycle.draining else "loading its model"
        raise Problem(503, "not_ready", f"the service: {found}. Expected a ready service. Retry later.")
    return json_response({"status": "ready"})


@service_router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus metrics.", "content": {"text/plain": {}}},
        401: {"model": schemas.ErrorResponse, "description": "The bearer token is missing or invalid."},
    },
)
async def metrics(request: Request) -> Response:
    """Return Prometheus metrics: requests, latencies, batches, the model."""
    registry = lifecycle_of(request).metrics.registry
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

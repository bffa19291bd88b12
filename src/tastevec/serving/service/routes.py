"""HTTP routes for users, items, the model and health."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from pydantic_core import to_json

from tastevec.errors import TastevecError
from tastevec.serving.service import schemas
from tastevec.serving.service.error_messages import Problem
from tastevec.serving.service.errors import (
    DirectRoute,
    ResultResponse,
    error_responses,
    json_body,
    json_response,
)
from tastevec.serving.service.pool import Model, Pool
from tastevec.serving.service.static import is_not_modified
from tastevec.serving.service.store_routes import findable_users, search_store

# Path, summary, request and response of what the workers compute; they validate the body, off the event loop.
_COMPUTED: Final[Mapping[str, tuple[str, str, type[BaseModel], type[BaseModel]]]] = {
    "encode": ("users", "Compute a user vector per user.", schemas.EncodeRequest, schemas.EncodeResponse),
    "recommend": (
        "users",
        "Recommend unrated items to each user, steered by tags where tags are given.",
        schemas.RecommendRequest,
        schemas.RecommendResponse,
    ),
    "similar-users": (
        "users",
        "Find the most similar users, with the items nearest to each.",
        schemas.SimilarUsersRequest,
        schemas.SimilarUsersResponse,
    ),
    "explain": (
        "users",
        "Describe users, or items, in tags: strength, reliability and the contributions of rated items.",
        schemas.ExplainRequest,
        schemas.ExplainResponse,
    ),
    "steer": (
        "users",
        "Steer users, or user vectors, by tags, and recommend items to the steered vectors.",
        schemas.SteerRequest,
        schemas.SteerResponse,
    ),
    "similar-items": (
        "items",
        "Find the nearest items of each item.",
        schemas.SimilarItemsRequest,
        schemas.SimilarItemsResponse,
    ),
}
REQUESTS: Final[tuple[type[BaseModel], ...]] = (
    *(entry[2] for entry in _COMPUTED.values()),
    schemas.User,
    schemas.StoredSearchRequest,
)

item_router = APIRouter(prefix="/v1", tags=["items"], responses=error_responses())
user_router = APIRouter(prefix="/v1", route_class=DirectRoute)


def _computed(operation: str) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def endpoint(request: Request) -> Response:
        pool: Pool = request.app.state.pool
        body = await json_body(request)
        if operation == "similar-users" and current_model(pool).n_users is None:
            if request.app.state.store is not None:
                return await search_store(request, body)
            message = "the service: no users to find. Expected user vectors. Run: tastevec serve MODEL --user-vectors VECTORS"
            raise Problem(404, "no_users", message)
        return ResultResponse(pool, await pool.run(operation, body, client_of(request)))

    return endpoint


for _name, (_tag, _summary, _request, _response) in _COMPUTED.items():
    user_router.add_api_route(
        f"/{_name}",
        _computed(_name),
        methods=["POST"],
        name=_name.replace("-", "_"),
        description=_summary,
        tags=[_tag],
        response_model=_response,
        responses=error_responses(400, 404, 408, 413, 415),
        openapi_extra=schemas.request_body(_request),
    )


@item_router.get("/items", response_model=schemas.ItemsResponse)
async def items(request: Request, query: Annotated[schemas.TitleQuery, Query()]) -> Response:
    """Find items by title: best match first, the more popular first among equals."""
    pool: Pool = request.app.state.pool
    return ResultResponse(pool, await pool.run("items", to_json(query), client_of(request)))


@item_router.get("/map", response_model=schemas.MapResponse, responses=error_responses(404))
async def item_map(request: Request) -> Response:
    """Return the positions of all items on the map, gzipped for clients that accept it."""
    map_body = current_model(request.app.state.pool).map_body
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
    return json_response(current_model(request.app.state.pool).example)


@item_router.get("/model", response_model=schemas.ModelResponse)
async def model(request: Request) -> Response:
    """Describe the model: its dataset, rating scale, horizons and tags."""
    facts = current_model(request.app.state.pool).facts
    return json_response(facts | {"n_users": await findable_users(request)})


@item_router.post(
    "/reload", response_model=schemas.ReloadResponse, responses=error_responses(403, 409), tags=["service"]
)
async def reload(request: Request) -> Response:
    """Load the model again from its folder; the previous model serves requests until then."""
    pool: Pool = request.app.state.pool
    if not request.app.state.has_token:
        message = (
            "the service: no token, which reload needs. Expected TASTEVEC_TOKEN at the start. Or send SIGHUP."
        )
        raise Problem(403, "no_token", message)
    try:
        seconds = await pool.load()
    except TastevecError as error:
        message = f"the model: reload failed, the previous model stays in use: {' '.join(str(error).split())}"
        raise Problem(409, "not_reloaded", message) from error
    found = current_model(pool)
    return json_response(
        {"space": found.space, "n_items": found.facts["n_items"], "seconds": round(seconds, 3)}
    )


def current_model(pool: Pool) -> Model:
    """Return the model in use.

    Raises:
        Problem: None is loaded yet.
    """
    if pool.model is None:
        raise pool.not_loaded()
    return pool.model


def client_of(request: Request) -> str:
    """Return the address of a client, behind which others wait for their turn."""
    return request.client.host if request.client else "unknown"


service_router = APIRouter(tags=["service"])


@service_router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """Return the OpenAPI schema, made once."""
    state = request.app.state
    if state.openapi_body is None:
        state.openapi_body = to_json(await asyncio.to_thread(request.app.openapi))
    return Response(state.openapi_body, media_type="application/json")


@service_router.get("/healthz", response_model=schemas.StatusResponse)
async def healthz() -> Response:
    """Check that the process is alive."""
    return json_response({"status": "ok"})


@service_router.get(
    "/readyz",
    response_model=schemas.ReadyResponse,
    responses={
        404: {"model": schemas.ErrorResponse, "description": "Another model is in use."},
        422: {"model": schemas.ErrorResponse, "description": "The request is invalid."},
        503: {"model": schemas.ErrorResponse, "description": "Not ready."},
    },
)
async def readyz(request: Request, space: Annotated[str | None, Query(max_length=200)] = None) -> Response:
    """Check that a model is loaded, the model of ``space`` if given, and that the process is not shutting down."""
    pool: Pool = request.app.state.pool
    if not pool.ready:
        found = "stopping" if pool.stopping else "loading its model"
        message = f"the service: {found}. Expected a ready service. Retry later."
        raise Problem(503, "not_ready", message, headers={"Retry-After": "1"})
    current = current_model(pool).space
    if space not in (None, current):
        message = f"the service: its model has space {current}. Expected the space of the request. Reload it."
        raise Problem(404, "not_ready", message, "space")
    store = request.app.state.store
    database = None if store is None else await store.check()
    return json_response({"status": "ready", "space": current, "workers": pool.workers, "database": database})


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
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)

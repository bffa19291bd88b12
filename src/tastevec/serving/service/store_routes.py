"""HTTP routes for stored user vectors.

They need a database, and a token: without both, nothing is stored.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, get_args

import numpy as np
from fastapi import APIRouter, Path, Request, Response
from numpy.typing import NDArray

from tastevec.errors import DataError
from tastevec.schema import Horizon
from tastevec.serving.service import schemas
from tastevec.serving.service.errors import JsonRoute, Problem, error_responses, json_response
from tastevec.serving.service.inference import lifecycle_of
from tastevec.serving.service.responses import NearestUsers, similar_users
from tastevec.serving.service.store_client import StoreClient
from tastevec.serving.user_store import UserStore, id_text

store_router = APIRouter(
    prefix="/v1",
    tags=["users"],
    route_class=JsonRoute,
    responses=error_responses(400, 403, 404, 408, 413, 415),
)
UserId = Annotated[
    str,
    Path(description="User ID, 1 to 200 characters.", json_schema_extra={"minLength": 1, "maxLength": 200}),
]


@store_router.put("/users/{user_id:path}", response_model=schemas.StoredResponse)
async def store_user(request: Request, user_id: UserId, user: schemas.User) -> Response:
    """Store the vectors of a user, replacing earlier ones; the ratings are not stored."""
    store, name = _store(request), _valid_id(user_id)
    lifecycle = lifecycle_of(request)
    state = lifecycle.state
    parsed = state.parse([user], "ratings")
    if not len(parsed.histories.items):
        message = "ratings: no item of the catalog. Expected at least one."
        raise Problem(422, "invalid_data", message, "ratings")
    vectors = {
        horizon: await lifecycle.batcher.run(state.model, parsed.histories, horizon, np.asarray)
        for horizon in get_args(Horizon)
    }
    await store.run(lambda users: users.upsert(state.space, [name], vectors))
    return json_response({"space": state.space, "unknown": parsed.unknown[0]})


@store_router.delete("/users/{user_id:path}", response_model=schemas.DeletedResponse)
async def delete_user(request: Request, user_id: UserId) -> Response:
    """Delete all stored vectors of a user, of every model."""
    store, name = _store(request), _valid_id(user_id)
    return json_response({"deleted": await store.run(lambda users: users.delete(name))})


@store_router.post("/users/search", response_model=schemas.SimilarUsersResponse)
async def search(request: Request, body: schemas.StoredSearchRequest) -> Response:
    """Find the most similar stored users, with the items nearest to each."""
    return await search_store(request, body.users, body.k, body.exclude)


async def findable_users(request: Request) -> int | None:
    """Return the number of users that /v1/similar-users can find; None while the database is unavailable."""
    state = lifecycle_of(request).state
    store: StoreClient | None = request.app.state.store
    if state.users is not None:
        return len(state.users)
    if store is None or not request.app.state.has_token:
        return 0
    return await store.count(state.space)


async def search_store(
    request: Request, users: Sequence[schemas.User], k: int, exclude: Sequence[str] = ()
) -> Response:
    """Return the response with the stored users nearest to each user."""
    store, lifecycle = _store(request), lifecycle_of(request)
    state = lifecycle.state
    parsed = state.parse(users)
    vectors = await lifecycle.batcher.run(state.model, parsed.histories, "overall", np.asarray)

    def find(stored: UserStore) -> tuple[NearestUsers, dict[str, NDArray[np.float32]]]:
        nearest = stored.nearest(state.space, vectors, k, exclude=exclude)
        return nearest, stored.vectors(
            state.space, sorted({user_id for row in nearest for user_id, _ in row})
        )

    nearest, known = await store.run(find)
    if not any(nearest):
        message = (
            f"the database: no stored users of space {state.space}. Expected users stored with this model. "
            "Store them with PUT /v1/users/{user_id}."
        )
        raise Problem(404, "no_users", message)
    return json_response(
        {"users": await lifecycle.run_in_worker(partial(similar_users, state, parsed, nearest, known))}
    )


def _store(request: Request) -> StoreClient:
    """Return the store of the application, which needs a database and a token."""
    store: StoreClient | None = request.app.state.store
    if store is None:
        message = "the service: no database. Expected TASTEVEC_DATABASE_URL at the start."
        raise Problem(404, "no_store", message)
    if not request.app.state.has_token:
        message = "the service: no token, which stored users need. Expected TASTEVEC_TOKEN at the start."
        raise Problem(403, "no_token", message)
    return store


def _valid_id(user_id: str) -> str:
    try:
        return id_text(user_id, "user_id")
    except DataError as error:
        raise Problem(422, "invalid_data", str(error), "user_id") from None

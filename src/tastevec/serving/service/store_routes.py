"""HTTP routes for stored user vectors.

They need a database, and a token: without both, nothing is stored.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic_core import from_json, to_json

from tastevec.errors import DataError
from tastevec.serving.service import schemas
from tastevec.serving.service.error_messages import Problem
from tastevec.serving.service.errors import ResultResponse, error_responses, json_body, json_response
from tastevec.serving.service.fields import PLAIN_TEXT
from tastevec.serving.service.pool import Result

if TYPE_CHECKING:
    from tastevec.serving.service.pool import Pool
    from tastevec.serving.service.store_client import StoreClient

_VECTORS = 200  # whose nearest items are computed in one piece

store_router = APIRouter(
    prefix="/v1", tags=["users"], responses=error_responses(400, 403, 404, 408, 413, 415)
)
UserId = Annotated[
    str,
    Path(
        description="User ID, 1 to 200 characters, without control characters; 50 and 50.0 are one ID.",
        json_schema_extra={"minLength": 1, "maxLength": 200, "pattern": PLAIN_TEXT},
    ),
]


@store_router.put(
    "/users/{user_id:path}",
    response_model=schemas.StoredResponse,
    openapi_extra=schemas.request_body(schemas.User),
)
async def store_user(request: Request, user_id: UserId) -> Response:
    """Store the vectors of a user, replacing earlier ones; the interactions are not stored."""
    store, name = _store(request), _valid_id(user_id)
    body = await json_body(request)
    found = {horizon: await _computed(request, f"store-{horizon}", body) for horizon in ("next", "overall")}
    space = found["overall"]["space"]
    if found["next"]["space"] != space:
        message = "the service: its model changed meanwhile. Expected one model. Retry."
        raise Problem(503, "unavailable", message, headers={"Retry-After": "1"})
    [user] = found["overall"]["users"]
    parts = ("vector", "norm")
    vectors, norms = ({h: [one["users"][0][part]] for h, one in found.items()} for part in parts)
    await store.write(lambda users: users.upsert(space, [name], vectors, norms))  # type: ignore[arg-type]  # lists become arrays there
    return json_response({"space": space, "n_known": user["n_known"], "unknown": user["unknown"]})


@store_router.delete("/users/{user_id:path}", response_model=schemas.DeletedResponse)
async def delete_user(request: Request, user_id: UserId) -> Response:
    """Delete all stored vectors of a user, of every model."""
    store, name = _store(request), _valid_id(user_id)
    return json_response({"deleted": await store.write(lambda users: users.delete(name))})


@store_router.post(
    "/users/search",
    response_model=schemas.SimilarUsersResponse,
    openapi_extra=schemas.request_body(schemas.StoredSearchRequest),
)
async def search(request: Request) -> Response:
    """Find the most similar stored users, with the items nearest to each."""
    return await search_store(request, await json_body(request))


async def findable_users(request: Request) -> int | None:
    """Return the number of users that /v1/similar-users can find; None while the database is unavailable."""
    pool: Pool = request.app.state.pool
    store: StoreClient | None = request.app.state.store
    assert pool.model is not None
    if pool.model.n_users is not None:
        return pool.model.n_users
    if store is None or not request.app.state.has_token:
        return 0
    return await store.count(pool.model.space)


async def search_store(request: Request, body: bytes) -> Response:
    """Return the response with the stored users nearest to each user."""
    import numpy as np  # noqa: PLC0415  without a database, this process needs no NumPy

    store = _store(request)
    pool: Pool = request.app.state.pool
    pool.check_room()
    query = await _computed(request, "search", body)
    vectors = np.array([user["vector"] for user in query["users"]], np.float32)
    try:
        exclude = [_by_rule(one, f"exclude[{number}]") for number, one in enumerate(query["exclude"])]
    except DataError as error:
        raise Problem(422, "invalid_data", str(error)) from None
    nearest, known = await store.search(query["space"], vectors, query["k"], exclude)
    if not any(nearest):
        message = (
            f"the database: no stored users of space {query['space']}. Expected users stored with this model. "
            "Store them with PUT /v1/users/{user_id}."
        )
        raise Problem(404, "no_users", message)
    ids, items = list(known), []
    for start in range(0, len(ids), _VECTORS):
        part = {"vectors": [known[one].tolist() for one in ids[start : start + _VECTORS]]}
        found = await _computed(request, "nearest-items", to_json(part))
        items += [user["items"] for user in found["users"]]
    of_user = dict(zip(ids, items, strict=True))

    def content() -> bytes:
        users = [
            {
                "users": schemas.user_neighbors(row, of_user),
                "n_known": user["n_known"],
                "unknown": user["unknown"],
            }
            for row, user in zip(nearest, query["users"], strict=True)
        ]
        return to_json({"users": users})

    return ResultResponse(pool, Result(200, [await asyncio.to_thread(content)], {}))


async def _computed(request: Request, operation: str, body: bytes) -> Any:  # noqa: ANN401  any JSON
    """Return what a worker responds, parsed.

    Raises:
        Problem: The worker refuses the request.
    """
    pool: Pool = request.app.state.pool
    client = request.client.host if request.client else "unknown"
    result = await pool.run(operation, body, client)
    content = from_json(b"".join(result.body))
    if result.status != 200:  # noqa: PLR2004  the status is its own name
        raise Problem(result.status, headers=result.headers, **content["error"])
    return content


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
    from tastevec.serving.user_store import id_text  # noqa: PLC0415  as in search_store

    try:
        return id_text(_by_rule(user_id, "user_id"), "user_id")
    except DataError as error:
        raise Problem(422, "invalid_data", str(error), "user_id") from None


def _by_rule(user_id: str, where: str) -> str:
    """Return an ID by the ID rule: 50.0 is 50, and white space at both ends goes.

    Raises:
        DataError: It is no ID; the message does not contain it.
    """
    from tastevec.data.intake.values import BadValueError, read_id  # noqa: PLC0415  as in search_store

    try:
        found = read_id(user_id)
    except BadValueError as error:
        raise DataError(f"{where}: {error.code}. Expected a whole number or a text.") from None
    if found is None:
        raise DataError(f"{where}: empty, or a word for a missing value. Expected a whole number or a text.")
    return found

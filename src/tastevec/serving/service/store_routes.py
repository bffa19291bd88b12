"""HTTP routes for stored user vectors.

Without a database the service keeps nothing about anybody, and without a token it keeps nothing for anybody.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Annotated, TypeVar, get_args

import numpy as np
from fastapi import APIRouter, Path, Request, Response
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from tastevec.errors import DataError, SettingsError, TastevecError
from tastevec.schema import Horizon
from tastevec.serving.service.errors import JsonRoute, Problem, errors
from tastevec.serving.service.inference import life_of
from tastevec.serving.service.responses import Near, ParsedUsers, Served, found_users, to_histories
from tastevec.serving.service.schemas import ItemId, SimilarUsersRequest, SimilarUsersResponse, User
from tastevec.serving.user_store import CONNECTIONS, StoreError, UserStore, connection_settings, id_text

__all__ = ["Stored", "findable", "found_in_store", "stored_router"]

T = TypeVar("T")
_COUNT_S, _FRESH_S = 1.0, 5.0  # a count is waited for so long, and told for so long
_WAITING = 32  # more would wait for a database that is away until their own time is over
_FIRST = "users[0]."

stored_router = APIRouter(
    prefix="/v1", tags=["users"], route_class=JsonRoute, responses=errors(403, 404, 408, 413)
)
UserId = Annotated[
    str,
    Path(
        description="The person's id, of 1 to 200 letters.",
        json_schema_extra={"minLength": 1, "maxLength": 200},
    ),
]


class StoredSearch(SimilarUsersRequest):
    """People whose neighbours among the stored are wanted."""

    exclude: list[str] = Field(
        default=[], max_length=100, description="Ids of stored people who are left out, such as one's own."
    )


class StoredResponse(BaseModel):
    """What was stored: vectors of a space, made of the films that are not unknown."""

    model_config = ConfigDict(extra="forbid")

    space: str
    unknown: Annotated[list[ItemId], Field(description="Items that the catalogue does not hold.")]


class DeletedResponse(BaseModel):
    """Whether there was anything to delete."""

    model_config = ConfigDict(extra="forbid")

    deleted: bool


class Stored:
    """The people of a database, asked in threads of their own; opened by the first question, again if that failed."""

    def __init__(self, url: str) -> None:
        """Nothing is asked of the database yet, which may still be starting.

        Raises:
            SettingsError: The address cannot be read; the message does not repeat it.
            MissingExtraError: psycopg or pgvector is not installed.
        """
        connection_settings(url)
        self._url = url
        self._store: UserStore | None = None
        self._opening = Lock()
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="tastevec-store")
        self._waiting = 0
        self._counted: tuple[str, float, int | None] | None = (
            None  # the space, until when it is told, the people
        )

    async def count(self, space: str) -> int | None:
        """How many people of a space can be found, or could some seconds ago; None while the database does not say."""
        if self._counted is None or self._counted[0] != space or time.monotonic() > self._counted[1]:
            try:
                async with asyncio.timeout(_COUNT_S):
                    users = await self.ask(lambda store: store.count(space))
            except (Problem, TastevecError, TimeoutError):
                users = None
            self._counted = space, time.monotonic() + _FRESH_S, users
        return self._counted[2]

    async def ask(self, work: Callable[[UserStore], T]) -> T:
        """What ``work`` makes of the store.

        Raises:
            Problem: The database does not answer, or too many questions are waiting for it.
        """
        if self._waiting >= _WAITING:
            message = f"{self._waiting} requests are waiting for the stored people; expected fewer: ask again in a second"
            raise Problem(503, "too_busy", message, headers={"Retry-After": "1"})
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: work(self._opened())
            )
        except StoreError as error:
            raise Problem(503, "store_unavailable", str(error), headers={"Retry-After": "2"}) from None
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let the threads and the connections go, once the questions under way are answered."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._store is not None:
            self._store.close()

    def _opened(self) -> UserStore:
        with self._opening:
            if self._store is None:
                try:
                    self._store = UserStore(self._url)
                except SettingsError as error:  # of those who run the service, not of who asks
                    raise Problem(503, "not_able", str(error)) from None
            return self._store


@stored_router.put(
    "/people/{user_id:path}", response_model=StoredResponse, responses=errors(400, 408, 413, 415)
)
async def store_user(request: Request, user_id: UserId, user: User) -> Response:
    """Store a person's vectors, instead of those that were stored; the ratings are forgotten."""
    stored, name = _stored(request), _id(user_id)
    life = life_of(request)
    served = life.served
    told = _told_by_one(served, user)
    if not len(told.histories.items):
        message = (
            "ratings name no film of the catalogue; expected one or more, or there is nothing to be stored"
        )
        raise Problem(422, "wrong_data", message, "ratings")
    vectors = {
        horizon: await life.batcher.ask(served.model, told.histories, horizon, np.asarray)
        for horizon in get_args(Horizon)
    }
    await stored.ask(lambda store: store.upsert(served.space, [name], vectors))
    return _json({"space": served.space, "unknown": told.unknown[0]})


@stored_router.delete("/people/{user_id:path}", response_model=DeletedResponse)
async def delete_user(request: Request, user_id: UserId) -> Response:
    """Delete all that is stored of a person, whichever model made it."""
    stored, name = _stored(request), _id(user_id)
    return _json({"deleted": await stored.ask(lambda store: store.delete(name))})


@stored_router.post("/people/search", response_model=SimilarUsersResponse, responses=errors(400, 415))
async def search(request: Request, asked: StoredSearch) -> Response:
    """Find the stored people whose taste is nearest, with the films nearest to theirs; of what they rated nothing is stored."""
    return await found_in_store(request, asked.users, asked.k, asked.exclude)


async def findable(request: Request) -> int | None:
    """How many people /v1/similar-users can find; None while their database does not say."""
    served, stored = life_of(request).served, request.app.state.stored
    if served.users is not None:
        return len(served.users)
    if stored is None or not request.app.state.has_token:
        return 0
    users: int | None = await stored.count(served.space)
    return users


async def found_in_store(
    request: Request, users: Sequence[User], k: int, exclude: Sequence[str] = ()
) -> Response:
    """The answer that names the stored people nearest to each person.

    Raises:
        Problem: Nobody is stored of the space of the model that answers, or nobody may be.
    """
    stored, life = _stored(request), life_of(request)
    served = life.served
    told = to_histories(users, served.catalog, served.model.bundle.reading.scale)
    vectors = await life.batcher.ask(served.model, told.histories, "overall", np.asarray)

    def nearest(store: UserStore) -> tuple[Near, dict[str, NDArray[np.float32]]]:
        near = store.nearest(served.space, vectors, k, exclude=exclude)
        return near, store.vectors(served.space, sorted({user_id for row in near for user_id, _ in row}))

    near, known = await stored.ask(nearest)
    if not any(near):
        message = (
            f"nobody who could be found is stored of the space {served.space}; expected people stored with the model that "
            "answers, since those of other spaces cannot be compared"
        )
        raise Problem(404, "no_people", message)
    return _json({"users": await life.long(partial(found_users, served, told, near, known))})


def _stored(request: Request) -> Stored:
    """The people of the application that a request came to.

    Raises:
        Problem: It has no database, or no token.
    """
    stored: Stored | None = request.app.state.stored
    if stored is None:
        message = "the service keeps nobody; expected TASTEVEC_DATABASE_URL to be set when it is started"
        raise Problem(404, "no_store", message)
    if not request.app.state.has_token:
        message = "the service has no token, and keeps people for nobody; expected TASTEVEC_TOKEN to be set when it is started"
        raise Problem(403, "no_token", message)
    return stored


def _id(user_id: str) -> str:
    try:
        return id_text(user_id, "user_id")
    except DataError as error:
        raise Problem(422, "wrong_data", str(error), "user_id") from None


def _told_by_one(served: Served, user: User) -> ParsedUsers:
    """One person, who is the whole body: places in it are named so."""
    try:
        return to_histories([user], served.catalog, served.model.bundle.reading.scale)
    except Problem as problem:
        where = problem.where and problem.where.removeprefix(_FIRST)
        message = problem.message.replace(_FIRST, "")
        raise Problem(problem.status_code, problem.code, message, where) from None


def _json(answer: object) -> Response:
    return Response(to_json(answer), media_type="application/json")

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
    Served,
    Told,
    causes_of,
    explained,
    explained_films,
    found_people,
    people_in_memory,
    ranked,
    similar_films,
    steered,
    told_by,
)
from tastevec.serving.service.schemas import (
    EncodeAnswer,
    EncodeRequest,
    ErrorAnswer,
    ExampleAnswer,
    ExplainAnswer,
    ExplainRequest,
    FilmsAnswer,
    MapAnswer,
    ModelAnswer,
    Person,
    RecommendAnswer,
    RecommendRequest,
    ReloadAnswer,
    SimilarItemsAnswer,
    SimilarItemsRequest,
    SimilarUsersAnswer,
    SimilarUsersRequest,
    StateAnswer,
    SteerAnswer,
    SteerRequest,
)
from tastevec.serving.service.static import unchanged
from tastevec.serving.service.store_routes import findable, found_in_store

__all__ = ["film_router", "people_router", "service_router"]

people_router = APIRouter(
    prefix="/v1", tags=["people"], route_class=JsonRoute, responses=errors(400, 408, 413, 415)
)
_NOBODY = Person(ratings=[])  # of whom nothing is known, and whose films are not left out


@people_router.post("/encode", response_model=EncodeAnswer)
async def encode(request: Request, asked: EncodeRequest) -> Response:
    """Turn people into taste vectors."""
    life = life_of(request)
    served = life.served
    told = _told(served, asked.people)

    def finish(vectors: NDArray[np.float32]) -> bytes:
        people = [
            {"vector": vector, "unknown": unknown}
            for vector, unknown in zip(vectors.tolist(), told.unknown, strict=True)
        ]
        return to_json({"space": served.space, "horizon": asked.horizon, "people": people})

    return _json_bytes(await life.batcher.ask(served.model, told.histories, asked.horizon, finish))


@people_router.post("/recommend", response_model=RecommendAnswer, responses=errors(404))
async def recommend(request: Request, asked: RecommendRequest) -> Response:
    """Recommend films that are new to each person, steered along tags where they are given."""
    life = life_of(request)
    served = life.served
    told = _told(served, asked.people)

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
        return _recommended(served, told, best, causes_of(served, told, best, asked, check))

    return _json_bytes(await life.long(reasons))


@people_router.post("/similar-users", response_model=SimilarUsersAnswer, responses=errors(404))
async def similar_users(request: Request, asked: SimilarUsersRequest) -> Response:
    """Find the stored people whose taste is nearest, with films that they love."""
    life = life_of(request)
    served = life.served
    if served.people is None and request.app.state.stored is not None:
        return await found_in_store(request, asked.people, asked.k)
    if served.people is None:
        message = (
            "the service knows no people to be found; expected it to be started with an encoded table of them"
        )
        raise Problem(404, "no_people", message)
    told = _told(served, asked.people)
    vectors = await life.batcher.ask(served.model, told.histories, "overall", np.asarray)

    def found(check: Callable[[], None]) -> bytes:
        near = people_in_memory(served, vectors, asked.k)
        return to_json({"people": found_people(served, told, *near, check)})

    return _json_bytes(await life.long(found))


@people_router.post("/explain", response_model=ExplainAnswer, responses=errors(404))
async def explain(request: Request, asked: ExplainRequest) -> Response:
    """Tell people, or films, in tags: each with its strength, its confidence and the films that caused it."""
    life = life_of(request)
    served = life.served
    if asked.item_ids:
        items = await life.long(lambda _check: explained_films(served, asked.item_ids, asked.tags))
        return _json_bytes(to_json({"items": items}))
    told = _told(served, asked.people)
    vectors = await life.batcher.ask(served.model, told.histories, asked.horizon, np.asarray)

    def in_tags(check: Callable[[], None]) -> bytes:
        return to_json({"people": explained(served, told, vectors, asked, check)})

    return _json_bytes(await life.long(in_tags))


@people_router.post("/steer", response_model=SteerAnswer, responses=errors(404))
async def steer(request: Request, asked: SteerRequest) -> Response:
    """Move people, or vectors, along tags, and recommend from where they are then."""
    life = life_of(request)
    served = life.served
    given = _vectors(asked.vectors)
    told = _told(served, asked.people or [_NOBODY] * len(given))

    def finish(vectors: NDArray[np.float32]) -> bytes:
        start = vectors if asked.people else given
        moved = steered(served, start, asked.tags, asked.hold, asked.horizon)
        films = ranked(served, told, moved, asked.k)
        answers = [
            {"vector": vector, "items": items, "unknown": unknown}
            for vector, items, unknown in zip(moved.tolist(), films, told.unknown, strict=True)
        ]
        return to_json({"space": served.space, "people": answers})

    return _json_bytes(await life.batcher.ask(served.model, told.histories, asked.horizon, finish))


def _told(served: Served, people: Sequence[Person]) -> Told:
    return told_by(people, served.catalogue, served.model.bundle.reading.scale)


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
    told: Told,
    best: Sequence[Sequence[dict[str, Any]]],
    why: Sequence[Sequence[Sequence[dict[str, Any]]]] | None,
) -> bytes:
    people = []
    for number, (films, unknown) in enumerate(zip(best, told.unknown, strict=True)):
        causes = why[number] if why else [()] * len(films)
        items = [{**film, "why": of} for film, of in zip(films, causes, strict=True)]
        people.append({"items": items, "unknown": unknown})
    return to_json({"space": served.space, "people": people})


def _json_bytes(body: bytes) -> Response:
    return Response(body, media_type="application/json")


film_router = APIRouter(prefix="/v1", tags=["films"], route_class=JsonRoute, responses=errors())


class TitleQuery(BaseModel):
    """A search by title."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: str = Field(
        max_length=200,
        description="The beginnings of words of the title; marks, case and articles count for nothing. Without a word, the most watched.",
        examples=["matrix"],
    )
    limit: int = Field(default=20, ge=1, le=100, description="Films at most.")


@film_router.get("/items", response_model=FilmsAnswer)
async def items(request: Request, asked: Annotated[TitleQuery, Query()]) -> Response:
    """Find films by title: best matches first, the more watched first among equals."""
    life = life_of(request)
    return _json({"items": life.served.catalogue.search(asked.query, asked.limit)})


@film_router.post(
    "/similar-items", response_model=SimilarItemsAnswer, responses=errors(400, 404, 408, 413, 415)
)
async def similar_items(request: Request, asked: SimilarItemsRequest) -> Response:
    """Find the films nearest to each of these."""
    life = life_of(request)
    served = life.served
    found = await life.long(lambda _check: similar_films(served, asked.item_ids, asked.k))
    return _json({"items": found})


@film_router.get("/map", response_model=MapAnswer, responses=errors(404))
async def film_map(request: Request) -> Response:
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


@film_router.get("/example", response_model=ExampleAnswer)
async def example(request: Request) -> Response:
    """An example person: well-known films of two genres that have little in common. Nobody real."""
    life = life_of(request)
    return _json(life.served.example)


@film_router.get("/model", response_model=ModelAnswer)
async def model(request: Request) -> Response:
    """The model that answers, what it was trained on, and what it can say."""
    life = life_of(request)
    return _json(life.served.facts | {"people": await findable(request)})


@film_router.post("/reload", response_model=ReloadAnswer, responses=errors(403, 409), tags=["service"])
async def reload(request: Request) -> Response:
    """Load the model again from where it is; requests are answered by the one before until then."""
    life = life_of(request)
    if not request.app.state.has_token:
        message = "the service has no token, and reloads for nobody; expected TASTEVEC_TOKEN to be set when it is started, or SIGHUP"
        raise Problem(403, "no_token", message)
    served, seconds = await life.replaced()
    return _json({"space": served.space, "films": len(served.catalogue), "seconds": round(seconds, 3)})


def _json(answer: object) -> Response:
    return Response(to_json(answer), media_type="application/json")


service_router = APIRouter(tags=["service"])


@service_router.get("/healthz", response_model=StateAnswer)
async def healthz() -> Response:
    """Whether the process lives."""
    return Response(to_json({"status": "ok"}), media_type="application/json")


@service_router.get(
    "/readyz", response_model=StateAnswer, responses={503: {"model": ErrorAnswer, "description": "Not now."}}
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
        401: {"model": ErrorAnswer, "description": "The bearer token is missing or wrong."},
    },
)
async def metrics(request: Request) -> Response:
    """Requests, their times, batches, the model; behind the token where there is one."""
    life = life_of(request)
    return Response(life.metrics.text(), media_type=CONTENT_TYPE_LATEST)

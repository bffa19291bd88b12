"""What can be asked of people: vectors, films, neighbours, words."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from pydantic_core import to_json

from tastevec.serving.service.answering import causes_of, explained, explained_films, ranked, steered
from tastevec.serving.service.answers import (
    EncodeAnswer,
    ExplainAnswer,
    RecommendAnswer,
    SimilarUsersAnswer,
    SteerAnswer,
)
from tastevec.serving.service.errors import Problem
from tastevec.serving.service.finding import found_people, people_in_memory
from tastevec.serving.service.lifecycle import life_of
from tastevec.serving.service.persons import Told, told_by
from tastevec.serving.service.reading import JsonRoute
from tastevec.serving.service.schemas import (
    EncodeRequest,
    ExplainRequest,
    Person,
    RecommendRequest,
    SimilarUsersRequest,
    SteerRequest,
)
from tastevec.serving.service.served import Served
from tastevec.serving.service.statuses import errors
from tastevec.serving.service.stored_routes import found_in_store

__all__ = ["people_router"]

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

    return _json(await life.batcher.ask(served.model, told.histories, asked.horizon, finish))


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
        return _json(await life.batcher.ask(served.model, told.histories, asked.horizon, finish))
    best = await life.batcher.ask(served.model, told.histories, asked.horizon, chosen)

    def reasons(check: Callable[[], None]) -> bytes:
        return _recommended(served, told, best, causes_of(served, told, best, asked, check))

    return _json(await life.long(reasons))


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

    return _json(await life.long(found))


@people_router.post("/explain", response_model=ExplainAnswer, responses=errors(404))
async def explain(request: Request, asked: ExplainRequest) -> Response:
    """Tell people, or films, in tags: each with its strength, its confidence and the films that caused it."""
    life = life_of(request)
    served = life.served
    if asked.item_ids:
        items = await life.long(lambda _check: explained_films(served, asked.item_ids, asked.tags))
        return _json(to_json({"items": items}))
    told = _told(served, asked.people)
    vectors = await life.batcher.ask(served.model, told.histories, asked.horizon, np.asarray)

    def in_tags(check: Callable[[], None]) -> bytes:
        return to_json({"people": explained(served, told, vectors, asked, check)})

    return _json(await life.long(in_tags))


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

    return _json(await life.batcher.ask(served.model, told.histories, asked.horizon, finish))


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


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")

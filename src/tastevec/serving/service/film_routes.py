"""What can be asked of films and of the model itself, and the order to load another."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from tastevec.serving.service.answering import similar_films
from tastevec.serving.service.answers import (
    ExampleAnswer,
    FilmsAnswer,
    MapAnswer,
    ModelAnswer,
    ReloadAnswer,
    SimilarItemsAnswer,
)
from tastevec.serving.service.errors import Problem
from tastevec.serving.service.lifecycle import life_of
from tastevec.serving.service.pages import unchanged
from tastevec.serving.service.reading import JsonRoute
from tastevec.serving.service.schemas import SimilarItemsRequest
from tastevec.serving.service.statuses import errors
from tastevec.serving.service.stored_routes import findable

__all__ = ["film_router"]

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

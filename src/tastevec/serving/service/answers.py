"""What is answered: the shapes that the service promises, as its OpenAPI tells them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tastevec.schema import Horizon
from tastevec.serving.service.schemas import ItemId

__all__ = [
    "EncodeAnswer",
    "ErrorAnswer",
    "ExampleAnswer",
    "ExplainAnswer",
    "FilmsAnswer",
    "MapAnswer",
    "ModelAnswer",
    "RecommendAnswer",
    "ReloadAnswer",
    "SimilarItemsAnswer",
    "SimilarUsersAnswer",
    "StateAnswer",
    "SteerAnswer",
]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Error(_Answer):
    """What was refused."""

    code: Annotated[str, Field(description="What went wrong, for programs.", examples=["unknown_item"])]
    message: Annotated[str, Field(description="One sentence: what was found and what was expected.")]
    where: Annotated[
        str | None, Field(description="The place in the request.", examples=["people[0].ratings[3].rating"])
    ]


class ErrorAnswer(_Answer):
    """The one shape of every error."""

    error: Error


class Film(_Answer):
    """A film of the catalogue."""

    item_id: ItemId
    title: str
    year: int | None
    genres: list[str]


class Cause(_Answer):
    """A film of the person's own and what it does: how much lower the number would be without it."""

    item_id: ItemId
    title: str
    effect: float


class ScoredFilm(Film):
    """A film at its rank."""

    rank: int
    score: float


class RecommendedFilm(ScoredFilm):
    """A film at its rank, with the person's own films that put it there."""

    why: list[Cause]


class SimilarFilm(Film):
    """A film near another."""

    rank: int
    similarity: Annotated[float, Field(description="The cosine, -1 to 1.")]


Unknown = Annotated[
    list[ItemId], Field(description="Items that the catalogue does not hold; they are passed over.")
]
Vector = Annotated[list[float], Field(description="Comparable with vectors of the same space alone.")]


class EncodedPerson(_Answer):
    """A person's vector."""

    vector: Vector
    unknown: Unknown


class EncodeAnswer(_Answer):
    """The people's vectors, in the order of the request."""

    space: str
    horizon: Horizon
    people: list[EncodedPerson]


class RecommendedPerson(_Answer):
    """Films new to a person, best first."""

    items: list[RecommendedFilm]
    unknown: Unknown


class RecommendAnswer(_Answer):
    """What is recommended, in the order of the request."""

    space: str
    people: list[RecommendedPerson]


class SteeredPerson(_Answer):
    """A vector after steering, and the films that follow from it."""

    vector: Vector
    items: list[ScoredFilm]
    unknown: Unknown


class SteerAnswer(_Answer):
    """The people after steering, in the order of the request."""

    space: str
    people: list[SteeredPerson]


class FilmNeighbours(_Answer):
    """A film and the films nearest to it."""

    item_id: ItemId
    title: str
    similar: list[SimilarFilm]


class SimilarItemsAnswer(_Answer):
    """Each film's neighbours, in the order of the request."""

    items: list[FilmNeighbours]


class Neighbour(_Answer):
    """A stored person near the one who asks."""

    user_id: ItemId
    rank: int
    similarity: float
    favourites: list[Film]


class PersonNeighbours(_Answer):
    """The stored people nearest to one."""

    users: list[Neighbour]
    unknown: Unknown


class SimilarUsersAnswer(_Answer):
    """Each person's neighbours, in the order of the request."""

    people: list[PersonNeighbours]


class TagOfFilm(_Answer):
    """A tag as it is read on a film."""

    tag: str
    strength: Annotated[float, Field(description="In standard deviations from the average.")]
    confidence: Annotated[float, Field(ge=0, le=1)]


class TagOfPerson(TagOfFilm):
    """A tag as it is read on a person, and the person's own films behind it."""

    films: list[Cause]


class ExplainedPerson(_Answer):
    """A person in tags, strongest first, and the place on the map of films."""

    tags: list[TagOfPerson]
    place: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    unknown: Unknown


class ExplainedFilm(_Answer):
    """A film in tags, strongest first."""

    item_id: ItemId
    title: str
    tags: list[TagOfFilm]


class ExplainAnswer(_Answer):
    """People, or films, in tags; the other of the two is left out."""

    people: list[ExplainedPerson] = []
    items: list[ExplainedFilm] = []


class FilmsAnswer(_Answer):
    """Films found by their title, best first."""

    items: list[Film]


class MapAnswer(_Answer):
    """All films on a plane, as columns of one length."""

    item_ids: list[ItemId]
    titles: list[str]
    years: list[int | None]
    genres: Annotated[list[str | None], Field(description="The first genre of each.")]
    x: Annotated[list[float], Field(description="0 to 1.")]
    y: Annotated[list[float], Field(description="0 to 1.")]
    watched: Annotated[list[int], Field(description="People of the training who rated it.")]


class ExampleFilm(_Answer):
    """A film that the example person rated."""

    item_id: ItemId
    title: str
    year: int | None
    rating: float


class ExampleAnswer(_Answer):
    """A person who was made up."""

    name: str
    ratings: list[ExampleFilm]


class KnownTag(_Answer):
    """A tag that the model can read and steer along."""

    tag: str
    confidence: Annotated[float, Field(ge=0, le=1)]


class ModelAnswer(_Answer):
    """The model that answers."""

    name: str
    space: str
    films: int
    dim: int
    data: str
    version: str
    horizons: list[Horizon]
    rating_range: Annotated[list[float], Field(min_length=2, max_length=2)]
    rating_step: float
    tags: list[KnownTag]
    people: Annotated[
        int | None,
        Field(
            description="People that /v1/similar-users can find, counted some seconds ago at most where a database keeps them; "
            "null while it does not say."
        ),
    ]
    map: bool


class ReloadAnswer(_Answer):
    """The model that answers from now on."""

    space: str
    films: int
    seconds: float


class StateAnswer(_Answer):
    """How the service is."""

    status: Annotated[str, Field(examples=["ok"])]

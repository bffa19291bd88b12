"""Schemas of requests and responses."""

from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tastevec.schema import Horizon
from tastevec.serving.service.messages import shown

__all__ = [
    "EncodeRequest",
    "EncodeResponse",
    "ErrorResponse",
    "ExampleResponse",
    "ExplainRequest",
    "ExplainResponse",
    "ItemId",
    "ItemsResponse",
    "MapResponse",
    "ModelResponse",
    "Rated",
    "RecommendRequest",
    "RecommendResponse",
    "ReloadResponse",
    "SimilarItemsRequest",
    "SimilarItemsResponse",
    "SimilarUsersRequest",
    "SimilarUsersResponse",
    "StateResponse",
    "SteerRequest",
    "SteerResponse",
    "Tags",
    "User",
]

MAX_USERS, MAX_ITEMS, MOST_IDS, MOST_EXPLAINED = 256, 2_000, 256, 16
_LONGEST_ID = 200
T = TypeVar("T", bound=BaseModel)
_WIDEST_ID = 2**63 - 1
_LAST_SECOND = 253_402_300_799  # of the year 9999


def _wrong(sentence: str) -> PydanticCustomError:
    """An error whose sentence follows the name of the place."""
    return PydanticCustomError("said", "{sentence}", {"sentence": sentence})


def _check_id(value: Any) -> int | str:  # noqa: ANN401  whatever the caller told
    if isinstance(value, str):
        if len(value) <= _LONGEST_ID:
            return value
        raise _wrong(f"is a text of {len(value)} letters; expected {_LONGEST_ID} or fewer")
    if isinstance(value, int) and not isinstance(value, bool):
        if -_WIDEST_ID <= value <= _WIDEST_ID:
            return value
        raise _wrong(f"is {shown(value)}; expected a whole number of at most 63 bits")
    raise _wrong(f"is {shown(value)}; expected an item's id, a whole number or a text")


class _IdSchema:
    """An item's id in one check, so that what is said of a wrong one is one sentence."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_check_id)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        number = {"type": "integer", "minimum": -_WIDEST_ID, "maximum": _WIDEST_ID}
        return {"anyOf": [number, {"type": "string", "maxLength": _LONGEST_ID}]}


ItemId = Annotated[int | str, _IdSchema]
Dose = Annotated[float, Field(ge=-10, le=10)]
Tags = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=100)], Dose],
    Field(
        max_length=50,
        description="Tags to steer along, each with its dose, in standard deviations of people.",
        examples=[{"violence": -1.0}],
    ),
]
K = Annotated[int, Field(ge=1, le=500, description="How many, at most.")]
AskedHorizon = Annotated[
    Horizon, Field(description="next asks what comes next, overall for the taste as a whole.")
]


class _Body(BaseModel):
    """A request's body: unknown keys, other types and numbers that are none are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Rated(_Body):
    """One film, rated."""

    item_id: ItemId = Field(description="The catalogue's own id of the film.", examples=[1])
    rating: float = Field(description="On the model's own scale, which /v1/model tells.", examples=[4.5])
    timestamp: Annotated[int, Field(ge=0, le=_LAST_SECOND)] | None = Field(
        default=None, description="When, in Unix seconds; of all films of the person, or of none."
    )


class User(_Body):
    """One person's ratings; without times, the order in which they stand is the order in time."""

    ratings: list[Rated] = Field(
        max_length=MAX_ITEMS,
        description="Each film once. None at all is a person of whom nothing is known.",
        examples=[[{"item_id": 1, "rating": 4.5}, {"item_id": 2, "rating": 2.0}]],
    )


Users = Annotated[list[User], Field(min_length=1, max_length=MAX_USERS)]
FewUsers = Annotated[list[User], Field(min_length=1, max_length=MOST_EXPLAINED)]
Vectors = Annotated[
    list[Annotated[list[Annotated[float, Field(ge=-1e6, le=1e6)]], Field(min_length=1, max_length=4096)]],
    Field(min_length=1, max_length=MAX_USERS, description="Of the space that /v1/model names."),
]
ItemIds = Annotated[list[ItemId], Field(min_length=1, max_length=MOST_IDS, examples=[[1, 2]])]


def _one_of(one: str, other: str) -> dict[str, Any]:
    """What JSON Schema says of a body that holds one of two things."""
    return {"oneOf": [{"required": [one]}, {"required": [other]}]}


def _refuse_both(body: T, one: str, other: str) -> T:
    """The body, which holds one of two things: neither can be given empty."""
    given = [name for name in (one, other) if getattr(body, name)]
    if len(given) != 1:
        raise _wrong(f"holds {'both' if given else 'neither'}; expected {one} or {other}")
    return body


class EncodeRequest(_Body):
    """People to be turned into vectors."""

    users: Users
    horizon: AskedHorizon = "next"


class RecommendRequest(_Body):
    """People to whom films are recommended."""

    users: Users
    k: K = 10
    horizon: AskedHorizon = "next"
    tags: Tags = Field(default_factory=dict)
    why: Annotated[
        int,
        Field(
            ge=0,
            le=5,
            description=f"The person's own films named as causes; for {MOST_EXPLAINED} people at most.",
        ),
    ] = 0

    @model_validator(mode="after")
    def _few_where_why_is_asked(self) -> Self:
        if self.why and len(self.users) > MOST_EXPLAINED:
            raise _wrong(
                f"asks why for {len(self.users)} people; expected {MOST_EXPLAINED} or fewer, or why to be 0"
            )
        return self


class SimilarItemsRequest(_Body):
    """Films whose neighbours are wanted."""

    item_ids: ItemIds
    k: K = 10


class SimilarUsersRequest(_Body):
    """People whose neighbours are wanted."""

    users: Users
    k: K = 10


class ExplainRequest(_Body):
    """People, or films, to be told in tags."""

    model_config = ConfigDict(json_schema_extra=_one_of("users", "item_ids"))

    users: FewUsers = Field(default_factory=list)
    item_ids: ItemIds = Field(default_factory=list)
    tags: Annotated[int, Field(ge=1, le=100, description="Tags of each, the strongest.")] = 10
    items: Annotated[int, Field(ge=0, le=20, description="The person's own films named for each tag.")] = 3
    horizon: AskedHorizon = "overall"

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        return _refuse_both(self, "users", "item_ids")


class SteerRequest(_Body):
    """People, or vectors, to be moved along tags."""

    model_config = ConfigDict(json_schema_extra=_one_of("users", "vectors"))

    users: Users = Field(default_factory=list)
    vectors: Vectors = Field(default_factory=list)
    tags: Tags
    hold: Annotated[
        float,
        Field(ge=0, le=1, description="How much of everything else is held: 0 nothing, 1 all that can be."),
    ] = 1.0
    k: K = 10
    horizon: AskedHorizon = "overall"

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        return _refuse_both(self, "users", "vectors")


class _Response(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Error(_Response):
    """What was refused."""

    code: Annotated[str, Field(description="What went wrong, for programs.", examples=["unknown_item"])]
    message: Annotated[str, Field(description="One sentence: what was found and what was expected.")]
    where: Annotated[
        str | None, Field(description="The place in the request.", examples=["users[0].ratings[3].rating"])
    ]


class ErrorResponse(_Response):
    """The one shape of every error."""

    error: Error


class Item(_Response):
    """A film of the catalogue."""

    item_id: ItemId
    title: str
    year: int | None
    genres: list[str]


class Contribution(_Response):
    """A film of the person's own and what it does: how much lower the number would be without it."""

    item_id: ItemId
    title: str
    effect: float


class ScoredItem(Item):
    """A film at its rank."""

    rank: int
    score: float


class RecommendedItem(ScoredItem):
    """A film at its rank, with the person's own films that put it there."""

    why: list[Contribution]


class SimilarItem(Item):
    """A film near another."""

    rank: int
    similarity: Annotated[float, Field(description="The cosine, -1 to 1.")]


Unknown = Annotated[
    list[ItemId], Field(description="Items that the catalogue does not hold; they are passed over.")
]
Vector = Annotated[list[float], Field(description="Comparable with vectors of the same space alone.")]


class EncodedUser(_Response):
    """A person's vector."""

    vector: Vector
    unknown: Unknown


class EncodeResponse(_Response):
    """The people's vectors, in the order of the request."""

    space: str
    horizon: Horizon
    users: list[EncodedUser]


class RecommendedUser(_Response):
    """Films new to a person, best first."""

    items: list[RecommendedItem]
    unknown: Unknown


class RecommendResponse(_Response):
    """What is recommended, in the order of the request."""

    space: str
    users: list[RecommendedUser]


class SteeredUser(_Response):
    """A vector after steering, and the films that follow from it."""

    vector: Vector
    items: list[ScoredItem]
    unknown: Unknown


class SteerResponse(_Response):
    """The people after steering, in the order of the request."""

    space: str
    users: list[SteeredUser]


class ItemNeighbors(_Response):
    """A film and the films nearest to it."""

    item_id: ItemId
    title: str
    similar: list[SimilarItem]


class SimilarItemsResponse(_Response):
    """Each film's neighbours, in the order of the request."""

    items: list[ItemNeighbors]


class Neighbor(_Response):
    """A stored person near the one who asks."""

    user_id: ItemId
    rank: int
    similarity: float
    favourites: list[Item]


class UserNeighbors(_Response):
    """The stored people nearest to one."""

    users: list[Neighbor]
    unknown: Unknown


class SimilarUsersResponse(_Response):
    """Each person's neighbours, in the order of the request."""

    users: list[UserNeighbors]


class TagOfItem(_Response):
    """A tag as it is read on a film."""

    tag: str
    strength: Annotated[float, Field(description="In standard deviations from the average.")]
    confidence: Annotated[float, Field(ge=0, le=1)]


class TagOfUser(TagOfItem):
    """A tag as it is read on a person, and the person's own films behind it."""

    items: list[Contribution]


class ExplainedUser(_Response):
    """A person in tags, strongest first, and the place on the map of films."""

    tags: list[TagOfUser]
    place: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    unknown: Unknown


class ExplainedItem(_Response):
    """A film in tags, strongest first."""

    item_id: ItemId
    title: str
    tags: list[TagOfItem]


class ExplainResponse(_Response):
    """People, or films, in tags; the other of the two is left out."""

    users: list[ExplainedUser] = []
    items: list[ExplainedItem] = []


class ItemsResponse(_Response):
    """Films found by their title, best first."""

    items: list[Item]


class MapResponse(_Response):
    """All films on a plane, as columns of one length."""

    item_ids: list[ItemId]
    titles: list[str]
    years: list[int | None]
    genres: Annotated[list[str | None], Field(description="The first genre of each.")]
    x: Annotated[list[float], Field(description="0 to 1.")]
    y: Annotated[list[float], Field(description="0 to 1.")]
    watched: Annotated[list[int], Field(description="People of the training who rated it.")]


class ExampleItem(_Response):
    """A film that the example person rated."""

    item_id: ItemId
    title: str
    year: int | None
    rating: float


class ExampleResponse(_Response):
    """A person who was made up."""

    name: str
    ratings: list[ExampleItem]


class KnownTag(_Response):
    """A tag that the model can read and steer along."""

    tag: str
    confidence: Annotated[float, Field(ge=0, le=1)]


class ModelResponse(_Response):
    """The model that answers."""

    name: str
    space: str
    items: int
    dim: int
    data: str
    version: str
    horizons: list[Horizon]
    rating_range: Annotated[list[float], Field(min_length=2, max_length=2)]
    rating_step: float
    tags: list[KnownTag]
    users: Annotated[
        int | None,
        Field(
            description="People that /v1/similar-users can find, counted some seconds ago at most where a database keeps them; "
            "null while it does not say."
        ),
    ]
    map: bool


class ReloadResponse(_Response):
    """The model that answers from now on."""

    space: str
    items: int
    seconds: float


class StateResponse(_Response):
    """How the service is."""

    status: Annotated[str, Field(examples=["ok"])]

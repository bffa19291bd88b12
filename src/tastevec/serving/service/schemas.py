"""Request and response schemas."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from tastevec.schema import (
    DEFAULT_DISLIKE_WEIGHT,
    MEANINGS,
    PERCENTILE,
    PROBABILITY,
    SCORE,
    FeedbackKind,
    Horizon,
)
from tastevec.serving.service.fields import (
    Condition,
    DislikeWeight,
    HorizonField,
    ItemId,
    K,
    Tags,
    Timestamp,
    UnknownPolicy,
)

MAX_USERS, MAX_ITEMS, MAX_IDS, MAX_EXPLAINED, MAX_NEIGHBORS = 256, 20_000, 256, 16, 12_800


def _invalid(message: str) -> PydanticCustomError:
    """Return an error whose message follows the location of the value."""
    return PydanticCustomError("invalid", "{message}", {"message": message})


class _Request(BaseModel):
    """A request body: no unknown keys, no type conversion, no NaN or Infinity."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Interaction(_Request):
    """One interaction of a user with an item."""

    item_id: ItemId = Field(description="Item ID of the model's catalog.", examples=[1])
    value: float | None = Field(
        default=None,
        description="On the scale of the model, see /v1/model: a rating, or a weight. A user without any value or event has "
        "positive interactions.",
        examples=[4.5],
    )
    event: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None,
        description="Name of the event, in place of a value, where the model was trained on events.",
    )
    timestamp: Timestamp | None = Field(
        default=None,
        description="Unix seconds, or ISO 8601. One without a timestamp among others keeps its place in the list.",
    )


class User(_Request):
    """The interactions of one user; without timestamps, the order of the list is the time order."""

    interactions: list[Interaction] = Field(
        max_length=MAX_ITEMS,
        description="A repeated item counts as the model was trained. May be empty.",
        examples=[[{"item_id": 1, "value": 4.5}, {"item_id": 2, "value": 2.0}]],
    )


Users = Annotated[list[User], Field(min_length=1, max_length=MAX_USERS)]
FewUsers = Annotated[list[User], Field(min_length=1, max_length=MAX_EXPLAINED)]
Vectors = Annotated[
    list[Annotated[list[Annotated[float, Field(ge=-1e6, le=1e6)]], Field(min_length=1, max_length=4096)]],
    Field(min_length=1, max_length=MAX_USERS, description="User vectors of the space in /v1/model."),
]
ItemIds = Annotated[list[ItemId], Field(min_length=1, max_length=MAX_IDS, examples=[[1, 2]])]


_SUBJECTS = ("users", "vectors", "item_ids")


def _describe_one_of_two(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [{"required": [name]} for name in _SUBJECTS if name in schema["properties"]]


def request_body(schema: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI description of a body that the workers validate."""
    reference = {"schema": {"$ref": f"#/components/schemas/{schema.__name__}"}}
    return {"requestBody": {"required": True, "content": {"application/json": reference}}}


class _OneOfTwo(_Request):
    """A request with exactly one of its two lists of subjects."""

    model_config = ConfigDict(json_schema_extra=_describe_one_of_two)

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        one, other = (name for name in _SUBJECTS if name in type(self).model_fields)
        if bool(getattr(self, one)) == bool(getattr(self, other)):
            found = "both" if getattr(self, one) else "neither"
            raise _invalid(f"{found} of two keys. Expected {one} or {other}")
        return self


class TitleQuery(BaseModel):
    """A search by title."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: str = Field(
        max_length=200,
        description="Prefixes of title words; accents, case and articles are ignored. Without a word, the most popular items.",
        examples=["garden"],
    )
    limit: int = Field(default=20, ge=1, le=100, description="Maximum number of items.")


class NearestItemsRequest(_Request):
    """Vectors of stored users whose nearest items to find; of the service itself."""

    vectors: list[list[float]]


class Filters(_Request):
    """Which items may be recommended; all conditions apply."""

    exclude: list[ItemId] = Field(
        default=[], max_length=MAX_ITEMS, description="Items that are never recommended.", examples=[[50]]
    )
    only: Annotated[list[ItemId], Field(min_length=1, max_length=MAX_ITEMS)] | None = Field(
        default=None, description="The only items that may be recommended."
    )
    where: dict[Annotated[str, Field(min_length=1, max_length=100)], Condition] = Field(
        default={},
        max_length=20,
        description="By column of the catalog, the value of an item or a list of which it has one: a category of `genres`, a "
        "number, a range such as 1990:1999, 1990: or :1999, or a text.",
        examples=[{"genres": ["Action", "Drama"], "year": "1980:1999"}],
    )
    filter_seen: bool = Field(default=True, description="Whether items of the history are excluded.")
    diversity: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="How unlike the items are, by maximal marginal relevance: 0, best first, to 1. Scores stay as they are.",
    )

    @property
    def filters(self) -> dict[str, Any]:
        """The stated choices of a filter."""
        names = ("exclude", "only", "where", "filter_seen", "diversity")
        return {name: value for name in names if (value := getattr(self, name)) not in ([], {}, None)}


class EncodeRequest(_Request):
    """Users to encode."""

    users: Users
    horizon: HorizonField = "overall"
    dislike_weight: DislikeWeight = DEFAULT_DISLIKE_WEIGHT
    unknown: UnknownPolicy = "warn"


class RecommendRequest(Filters):
    """Users to recommend items to."""

    users: Users
    k: K = 10
    horizon: HorizonField = "overall"
    dislike_weight: DislikeWeight = DEFAULT_DISLIKE_WEIGHT
    unknown: UnknownPolicy = "warn"
    tags: Tags = Field(default_factory=dict)
    contributions: Annotated[
        int,
        Field(
            ge=0,
            le=5,
            description=f"Contributions of rated items per recommendation; more than 0 for at most {MAX_EXPLAINED} users.",
        ),
    ] = 0

    @model_validator(mode="after")
    def _limit_users_with_contributions(self) -> Self:
        if self.contributions and len(self.users) > MAX_EXPLAINED:
            raise _invalid(
                f"contributions for {len(self.users)} users. Expected {MAX_EXPLAINED} users or fewer, or contributions 0"
            )
        return self


class SimilarItemsRequest(_Request):
    """Items whose neighbors to find."""

    item_ids: ItemIds
    k: K = 10


class SimilarUsersRequest(_Request):
    """Users whose neighbors to find."""

    users: Users
    k: K = 10
    dislike_weight: DislikeWeight = DEFAULT_DISLIKE_WEIGHT
    unknown: UnknownPolicy = "warn"

    @model_validator(mode="after")
    def _limit_results(self) -> Self:
        if (found := len(self.users) * self.k) > MAX_NEIGHBORS:
            raise _invalid(
                f"{found:,} neighbors of {len(self.users)} users. Expected {MAX_NEIGHBORS:,} or fewer, users times k"
            )
        return self


class StoredSearchRequest(SimilarUsersRequest):
    """Users whose neighbors among the stored users to find."""

    exclude: list[str] = Field(
        default=[], max_length=100, description="IDs of stored users to exclude, such as the user's own."
    )


class ExplainRequest(_OneOfTwo):
    """Users, or items, to describe in tags."""

    users: FewUsers = Field(default_factory=list)
    item_ids: ItemIds = Field(default_factory=list)
    tags: Annotated[int, Field(ge=1, le=100, description="Number of tags, strongest first.")] = 10
    contributions: Annotated[int, Field(ge=0, le=20, description="Contributions of rated items per tag.")] = 3
    horizon: HorizonField = "overall"
    dislike_weight: DislikeWeight = DEFAULT_DISLIKE_WEIGHT
    unknown: UnknownPolicy = "warn"


class SteerRequest(_OneOfTwo, Filters):
    """Users, or user vectors, to steer by tags."""

    users: Users = Field(default_factory=list)
    vectors: Vectors = Field(default_factory=list)
    tags: Tags
    hold: Annotated[
        float, Field(ge=0, le=1, description="How strongly other tags stay constant, 0 to 1.")
    ] = 1.0
    k: K = 10
    horizon: HorizonField = "overall"
    dislike_weight: DislikeWeight = DEFAULT_DISLIKE_WEIGHT
    unknown: UnknownPolicy = "warn"


class _Response(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Error(_Response):
    """Why a request failed."""

    code: Annotated[str, Field(description="Error code, for programs.", examples=["unknown_item"])]
    message: Annotated[str, Field(description="Where, what was found, what was expected.")]
    where: Annotated[
        str | None, Field(description="Location in the request.", examples=["users[0].interactions[3].value"])
    ]


class ErrorResponse(_Response):
    """The shape of every error."""

    error: Error


class _NamedItem(_Response):
    item_id: ItemId
    title: str


class Item(_NamedItem):
    """An item of the catalog."""

    year: int | None
    genres: list[str]


class Contribution(_NamedItem):
    """A rated item and its effect: the value minus the value without this rating."""

    effect: float


def _meaning(name: str) -> str:
    return f"{MEANINGS[name].capitalize()}."


class ScoredItem(Item):
    """A recommended item."""

    rank: int
    score: Annotated[float, Field(description=_meaning(SCORE))]
    percentile: Annotated[float, Field(ge=0, le=100, description=_meaning(PERCENTILE))]
    probability: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description=f"{_meaning(PROBABILITY)} Absent where nearly all interactions of the training are positive.",
        ),
    ] = None


class RecommendedItem(ScoredItem):
    """A recommended item with the contributions of rated items to its score."""

    contributions: list[Contribution]


class SimilarItem(Item):
    """A neighbor of an item."""

    rank: int
    similarity: Annotated[float, Field(description="Cosine, -1 to 1.")]


Unknown = Annotated[list[ItemId], Field(description="Item IDs that are not in the catalog; ignored.")]
UnknownListed = Annotated[
    list[ItemId],
    Field(description="Items of `exclude` and `only` that are not in the catalog; ignored."),
]
NMissing = Annotated[
    int,
    Field(ge=0, description="Items fewer than `k`, as no more are left; 0 for a complete list."),
]
NKnown = Annotated[int, Field(ge=0, description="Interactions with an item of the catalog.")]
Vector = Annotated[
    list[float], Field(description="Of unit length; comparable only with vectors of the same space.")
]
Norm = Annotated[
    float, Field(ge=0, description="Length of the vector before it was scaled to 1; of a given vector 1.")
]


class EncodedUser(_Response):
    """A user vector."""

    vector: Vector
    norm: Norm
    n_known: NKnown
    unknown: Unknown


class _Encoded(_Response):
    space: str
    horizon: Horizon
    dislike_weight: float


class EncodeResponse(_Encoded):
    """User vectors, in the order of the request."""

    users: list[EncodedUser]


class RecommendedUser(_Response):
    """Recommendations for one user, best first."""

    items: list[RecommendedItem]
    n_missing: NMissing
    n_known: NKnown
    unknown: Unknown


class RecommendResponse(_Encoded):
    """Recommendations, in the order of the request."""

    unknown: UnknownListed
    users: list[RecommendedUser]


class SteeredUser(_Response):
    """A steered user vector and its recommendations."""

    vector: Vector
    norm: Norm
    items: list[ScoredItem]
    n_missing: NMissing
    n_known: NKnown
    unknown: Unknown


class SteerResponse(_Encoded):
    """Steered users, in the order of the request."""

    unknown: UnknownListed
    users: list[SteeredUser]


class ItemNeighbors(_NamedItem):
    """An item and its neighbors."""

    similar: list[SimilarItem]


class SimilarItemsResponse(_Response):
    """Neighbors per item, in the order of the request."""

    items: list[ItemNeighbors]


class UserNeighbor(_Response):
    """A user who can be found, near to the requested user."""

    user_id: ItemId
    rank: int
    similarity: Annotated[float, Field(description="Cosine, -1 to 1.")]
    nearest_items: list[Item]


def user_neighbors(
    found: Sequence[tuple[Any, float]], items: Mapping[Any, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the neighbors of a user as `UserNeighbor`, from their IDs and cosines, nearest first.

    ``items`` are the items nearest to each; a neighbor without them was deleted meanwhile and is skipped.
    """
    present = [(user_id, cosine) for user_id, cosine in found if user_id in items]
    return [
        {
            "user_id": user_id,
            "rank": rank,
            "similarity": clip_cosine(cosine),
            "nearest_items": items[user_id],
        }
        for rank, (user_id, cosine) in enumerate(present, 1)
    ]


def clip_cosine(value: float) -> float:
    """Return the cosine within [-1, 1], which rounding can exceed."""
    return min(1.0, max(-1.0, float(value)))


class UserNeighbors(_Response):
    """The neighbors of one user."""

    users: list[UserNeighbor]
    n_known: NKnown
    unknown: Unknown


class SimilarUsersResponse(_Response):
    """Neighbors per user, in the order of the request; of horizon overall."""

    users: list[UserNeighbors]


class ItemTag(_Response):
    """A tag of an item."""

    tag: str
    strength: Annotated[float, Field(description="z-score, in standard deviations from the average.")]
    reliability: Annotated[
        float, Field(ge=0, le=1, description="Held-out correlation of predicted and observed tag relevance.")
    ]


class UserTag(ItemTag):
    """A tag of a user, with the contributions of rated items to its strength."""

    contributions: list[Contribution]


class ExplainedUser(_Response):
    """Tags of a user, strongest first, and the position on the item map."""

    tags: list[UserTag]
    map_position: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    n_known: NKnown
    unknown: Unknown


class ExplainedItem(_NamedItem):
    """Tags of an item, strongest first."""

    tags: list[ItemTag]


class ExplainResponse(_Response):
    """Users, or items, in tags; only the requested key is present. Of users, the horizon is, too."""

    horizon: Horizon | None = None
    users: list[ExplainedUser] = []
    items: list[ExplainedItem] = []


class ItemsResponse(_Response):
    """Items found by title, best match first."""

    items: list[Item]


class MapResponse(_Response):
    """All items of the map, as columns of equal length."""

    item_ids: list[ItemId]
    titles: list[str]
    years: list[int | None]
    genres: Annotated[list[str | None], Field(description="The first genre of each item.")]
    x: Annotated[list[float], Field(description="0 to 1.")]
    y: Annotated[list[float], Field(description="0 to 1.")]
    n_train_users: Annotated[list[int], Field(description="Training users who rated the item.")]


class ExampleItem(_NamedItem):
    """A rated item of the example profile."""

    year: int | None
    value: float


class ExampleResponse(_Response):
    """The example profile."""

    name: str
    interactions: list[ExampleItem]


class ModelTag(_Response):
    """A tag of the model, for explanation and steering."""

    tag: str
    reliability: Annotated[float, Field(ge=0, le=1)]


class ItemNoun(_Response):
    """What the catalog calls its items, for texts."""

    one: str
    many: str


class ModelResponse(_Response):
    """The model of the service."""

    name: str
    space: str
    n_items: int
    item_noun: ItemNoun
    dim: int
    data: str
    version: str
    horizons: list[Horizon]
    feedback: FeedbackKind
    rating_range: Annotated[list[float], Field(min_length=2, max_length=2)]
    rating_step: float
    positive_from: Annotated[
        float, Field(description="An interaction is positive when its value is at least this.")
    ]
    dislike_weight: Annotated[
        float | None,
        Field(description="Default weight of dislikes; null where it changes nothing, without low ratings."),
    ]
    rating_control: Annotated[
        Literal["icons", "numbers", "toggle"],
        Field(
            description="How a page offers to rate: a mark per unit, a number per step, or an item is added or not."
        ),
    ]
    tags: list[ModelTag]
    n_users: Annotated[
        int | None,
        Field(
            description="Users that /v1/similar-users can find; at most a few seconds old with a database. "
            "null while the database is unavailable."
        ),
    ]
    map: bool


class ReloadResponse(_Response):
    """The new model."""

    space: str
    n_items: int
    seconds: float


class StatusResponse(_Response):
    """The state of the service."""

    status: Annotated[str, Field(examples=["ok"])]


class ReadyResponse(StatusResponse):
    """The state of the service, its model and its database."""

    space: Annotated[str, Field(description="The space of the model in use.")]
    workers: Annotated[int, Field(description="Workers in use; fewer for a moment after a reload.")]
    database: Annotated[
        str | None,
        Field(
            description="ready, starting or unavailable, with the kind of the error; null without a database."
        ),
    ]


class StoredResponse(_Response):
    """The space of the stored vectors, and the ignored items."""

    space: str
    n_known: NKnown
    unknown: Unknown


class DeletedResponse(_Response):
    """Whether anything was stored."""

    deleted: bool

"""Fields of requests: the types of IDs, times, tags and conditions, with their limits."""

from typing import Annotated

from pydantic import Field, GetPydanticSchema, WithJsonSchema
from pydantic_core import core_schema

from tastevec.schema import CONTROL_CHARACTERS, Horizon, Unknown

_MAX_ID_LENGTH = 1_000
_MAX_ID = 2**63 - 1
PLAIN_TEXT = f"^[^{CONTROL_CHARACTERS[1:-1]}]*$"
_MAX_TIMESTAMP = 253_402_300_799_999_999_999  # the end of the year 9999, in nanoseconds
_MAX_TIME_LENGTH = 40
_MAX_VALUES = 100  # of one column

# One check in the parser's own language: a request may have 30,000 IDs. The ID rule decides about the rest.
_ID_SCHEMA = core_schema.custom_error_schema(
    core_schema.union_schema(
        [
            core_schema.int_schema(strict=True, ge=-_MAX_ID, le=_MAX_ID),
            core_schema.float_schema(strict=True, gt=-_MAX_ID, lt=_MAX_ID),
            core_schema.str_schema(strict=True, min_length=1, max_length=_MAX_ID_LENGTH, pattern=PLAIN_TEXT),
        ]
    ),
    custom_error_type="invalid_id",
    custom_error_message="not an item ID",
)
_INTEGER_ID = {"type": "integer", "minimum": -_MAX_ID, "maximum": _MAX_ID}
_STRING_ID = {"type": "string", "minLength": 1, "maxLength": _MAX_ID_LENGTH, "pattern": PLAIN_TEXT}
ItemId = Annotated[
    int | str,
    GetPydanticSchema(lambda _kind, _handler: _ID_SCHEMA),
    WithJsonSchema({"anyOf": [_INTEGER_ID, _STRING_ID]}),
]
_TIME_SCHEMA = core_schema.custom_error_schema(
    core_schema.union_schema(
        [
            core_schema.int_schema(strict=True, ge=0, le=_MAX_TIMESTAMP),
            core_schema.float_schema(strict=True, ge=0, le=_MAX_TIMESTAMP),
            core_schema.str_schema(strict=True, min_length=1, max_length=_MAX_TIME_LENGTH),
        ]
    ),
    custom_error_type="invalid_time",
    custom_error_message="not a timestamp",
)
Timestamp = Annotated[
    float | str,
    GetPydanticSchema(lambda _kind, _handler: _TIME_SCHEMA),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": _MAX_TIMESTAMP},
                {"type": "string", "minLength": 1, "maxLength": _MAX_TIME_LENGTH},
            ]
        }
    ),
]
_VALUE_SCHEMA = core_schema.union_schema(
    [
        core_schema.int_schema(strict=True, ge=-_MAX_ID, le=_MAX_ID),
        core_schema.float_schema(strict=True, allow_inf_nan=False),
        core_schema.str_schema(strict=True, min_length=1, max_length=_MAX_ID_LENGTH),
    ]
)
_CONDITION_SCHEMA = core_schema.custom_error_schema(
    core_schema.union_schema(
        [
            _VALUE_SCHEMA,
            core_schema.list_schema(_VALUE_SCHEMA, strict=True, min_length=1, max_length=_MAX_VALUES),
        ]
    ),
    custom_error_type="invalid_condition",
    custom_error_message="not a value of a column",
)
_VALUE_JSON = [
    {"type": "number", "minimum": -_MAX_ID, "maximum": _MAX_ID},
    {"type": "string", "minLength": 1, "maxLength": _MAX_ID_LENGTH},
]
_VALUES_JSON = {"type": "array", "items": {"anyOf": _VALUE_JSON}, "minItems": 1, "maxItems": _MAX_VALUES}
Condition = Annotated[
    int | float | str | list[int | float | str],
    GetPydanticSchema(lambda _kind, _handler: _CONDITION_SCHEMA),
    WithJsonSchema({"anyOf": [*_VALUE_JSON, _VALUES_JSON]}),
]
Tags = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=100)], Annotated[float, Field(ge=-10, le=10)]],
    Field(
        max_length=50,
        description="Tags to steer by, each with an amount in standard deviations over users.",
        examples=[{"violence": -1.0}],
    ),
]
K = Annotated[int, Field(ge=1, le=500, description="Maximum number of results.")]
HorizonField = Annotated[
    Horizon,
    Field(
        description="`next`: what the user is likely to want next (order-aware). "
        "`overall`: long-term preferences (order-free)."
    ),
]

UnknownPolicy = Annotated[
    Unknown,
    Field(
        description="What happens to interactions with items that are not in the catalog: `warn` and `ignore` ignore them and list "
        "them in the response, `raise` is an error. With `warn`, it is one if under 5 % of 20 or more are with a known item."
    ),
]

DislikeWeight = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="How far ratings below the middle of the scale push away. Without such ratings it changes nothing.",
    ),
]

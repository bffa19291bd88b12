"""Invalid requests get an error in the common shape, never an internal error."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

VALID = {"interactions": [{"item_id": 1, "value": 4.5}]}
PATHS = ["encode", "recommend", "similar-users", "explain", "steer", "similar-items"]


def refused(response, status=422, code=None):
    """Return the error of a response, which has the common shape."""
    assert response.status_code == status, (response.status_code, response.text)
    content = response.json()
    assert set(content) == {"error"}
    assert set(content["error"]) == {"code", "message", "where"}
    message = content["error"]["message"]
    assert "xpected" in message or "the model knows" in message
    assert "\n" not in message
    for jargon in ("pydantic", "Traceback", "Input should", "dict", "NoneType", "loc"):
        assert jargon not in message
    assert code in (None, content["error"]["code"])
    return content["error"]


def post(client, path, body, kind="application/json"):
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    return client.post(f"/v1/{path}", content=content, headers={"Content-Type": kind})


@pytest.mark.parametrize(
    ("ratings", "where", "message"),
    [
        ([{"item_id": 1, "value": "5"}], ".interactions[0].value", "'5'. Expected a number"),
        ([{"item_id": 1, "value": True}], ".interactions[0].value", "true. Expected a number"),
        ([{"item_id": 1, "value": [5]}], ".interactions[0].value", "a list. Expected a number"),
        (
            [{"item_id": 1, "value": 9}],
            ".interactions[0].value",
            "100 % of ratings are above the model's scale 1:5 (highest: 9). Expected ratings on this scale",
        ),
        (
            [{"item_id": 1, "value": -1}],
            ".interactions[0].value",
            "100 % of ratings are below the model's scale 1:5 (lowest: -1). Expected ratings on this scale",
        ),
        (
            [{"item_id": 1.5, "value": 5}],
            ".interactions[0].item_id",
            "1.5 is no id. Expected item IDs as whole numbers or texts",
        ),
        (
            [{"item_id": None, "value": 5}],
            ".interactions[0].item_id",
            "null. Expected an item ID: an integer",
        ),
        (
            [{"item_id": {"$gt": 0}, "value": 5}],
            ".interactions[0].item_id",
            "an object. Expected an item ID: an integer",
        ),
        (
            [{"item_id": 10**30, "value": 5}],
            ".interactions[0].item_id",
            "Expected an item ID: an integer of at most 63 bits",
        ),
        (
            [{"item_id": "a" * 1001, "value": 5}],
            ".interactions[0].item_id",
            "or a string of 1 to 1,000 characters without control characters",
        ),
        (
            [{"item_id": "a\nb", "value": 5}],
            ".interactions[0].item_id",
            "'a\\nb'. Expected an item ID: an integer",
        ),
        ([{"item_id": " nan ", "value": 5}], ".interactions[0].item_id", "' nan ' is no id"),
        ([{"item_id": "9.78E+12"}], ".interactions[0].item_id", "'9.78E+12' has lost digits"),
        ([{"item_id": True}], ".interactions[0].item_id", "true. Expected an item ID"),
        ([{"item_id": 1, "rating": 5}], ".interactions[0].rating", "Expected value, its new name"),
        ([{"item_id": 1, "event": "view"}], ".interactions[0].event", "'view'. Expected a value"),
        (
            [{"item_id": 1, "value": 5, "mood": 1}],
            ".interactions[0].mood",
            "unknown key. Expected a key that /openapi.json lists",
        ),
        (
            [{"item_id": 1, "value": 5, "timestamp": -5}],
            ".interactions[0].timestamp",
            "-5. Expected a timestamp: Unix seconds as a number",
        ),
        (
            [{"item_id": 1, "value": 5, "timestamp": 1.5}],
            ".interactions[0].timestamp",
            "these times read as 1970",
        ),
        (
            [{"item_id": 1, "timestamp": 1_700_000_000}, {"item_id": 2, "timestamp": 1_700_000_000_000}],
            ".interactions[0].timestamp",
            "mixes seconds and milliseconds. Expected Unix seconds or ISO 8601",
        ),
        (
            [{"item_id": 1, "timestamp": 1_700_000_000}, {"item_id": 2, "timestamp": "soon"}],
            ".interactions[1].timestamp",
            "'soon'. Expected Unix seconds or ISO 8601",
        ),
        ([5], ".interactions[0]", "5. Expected an object"),
        ({"1": 5}, ".interactions", "an object. Expected a list"),
        ("all of them", ".interactions", "'all of them'. Expected a list"),
        ([{"item_id": 1, "value": 5}] * 20_001, ".interactions", "20001 entries. Expected 20000 or fewer"),
        (
            [{"item_id": n, "value": 5} for n in range(20_002)],
            ".interactions",
            "20002 entries. Expected 20000 or fewer",
        ),
    ],
)
def test_invalid_history_is_refused_with_its_location(client, ratings, where, message):
    for path in ("encode", "recommend", "explain", "similar-users"):
        error = refused(post(client, path, {"users": [{"interactions": ratings}]}))
        assert error["where"] == f"users[0]{where}"
        assert error["message"].startswith(f"users[0]{where}: ")
        assert message in error["message"]


def test_old_key_of_a_body_is_refused_with_its_new_name(client):
    error = refused(post(client, "encode", {"users": [{"ratings": [{"item_id": 1, "rating": 5}]}]}))
    message = "users[0].ratings: unknown key. Expected interactions, its new name"
    assert message in error["message"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_nan_and_infinity_are_refused(client, number):
    for body in (
        f'{{"users": [{{"interactions": [{{"item_id": 1, "value": {number}}}]}}]}}',
        f'{{"users": [{{"interactions": [{{"item_id": {number}, "value": 5}}]}}]}}',
    ):
        response = post(client, "encode", body)
        refused(response, 400 if "e" not in number else 422)
    refused(
        post(client, "steer", f'{{"vectors": [[{number}]], "tags": {{"space": 1}}}}'),
        400 if "e" not in number else 422,
    )
    refused(
        post(client, "steer", f'{{"users": [{{"interactions": []}}], "tags": {{"space": {number}}}}}'),
        400 if "e" not in number else 422,
    )


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("encode", {}, "users"),
        ("encode", {"users": []}, "users"),
        ("encode", {"users": [VALID] * 257}, "users"),
        ("encode", {"users": [VALID], "horizon": "soon"}, "horizon"),
        ("encode", {"users": [VALID], "Horizon": "next"}, "Horizon"),
        ("encode", {"users": [VALID], "dislike_weight": 1.01}, "dislike_weight"),
        ("similar-users", {"users": [VALID], "dislike_weight": -0.1}, "dislike_weight"),
        ("explain", {"users": [VALID], "dislike_weight": "0.4"}, "dislike_weight"),
        ("encode", {"users": VALID}, "users"),
        ("encode", [VALID], None),
        ("encode", "null", None),
        ("recommend", {"users": [VALID], "k": 0}, "k"),
        ("recommend", {"users": [VALID], "k": 501}, "k"),
        ("recommend", {"users": [VALID], "k": 10**40}, "k"),
        ("recommend", {"users": [VALID], "k": "10"}, "k"),
        ("recommend", {"users": [VALID], "contributions": 6}, "contributions"),
        ("recommend", {"users": [VALID] * 17, "contributions": 1}, None),
        ("recommend", {"users": [VALID], "tags": {"space": 11}}, "tags.space"),
        ("recommend", {"users": [VALID], "tags": {"no such tag": 1}}, None),
        ("recommend", {"users": [VALID], "tags": {str(n): 1 for n in range(51)}}, "tags"),
        ("similar-items", {"item_ids": []}, "item_ids"),
        ("similar-items", {"item_ids": [1] * 257}, "item_ids"),
        ("similar-users", {"users": [VALID], "k": -1}, "k"),
        ("explain", {}, None),
        ("explain", {"users": [VALID], "item_ids": [1]}, None),
        ("explain", {"users": [VALID] * 17}, "users"),
        ("explain", {"users": [VALID], "tags": 101}, "tags"),
        ("explain", {"users": []}, "users"),
        ("steer", {"users": [VALID]}, "tags"),
        ("steer", {"tags": {"space": 1}}, None),
        ("steer", {"vectors": [[1.0] * 3], "tags": {"space": 1}}, "vectors"),
        ("steer", {"vectors": [[1.0] * 8, [1.0] * 7], "tags": {"space": 1}}, "vectors[1]"),
        ("steer", {"vectors": [[1e300] * 8], "tags": {"space": 1}}, "vectors[0][0]"),
        ("steer", {"vectors": [[]], "tags": {"space": 1}}, "vectors[0]"),
        ("steer", {"users": [VALID], "tags": {"space": 1}, "hold": 1.5}, "hold"),
        ("steer", {"users": [VALID], "tags": {"": 1}}, "tags"),
    ],
)
def test_invalid_request_is_refused_with_its_location(client, path, body, where):
    error = refused(post(client, path, body))
    assert error["where"] == where or error["where"].startswith(where)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"users": "\\ud800"}',
        b"1" * 5_000,
        b"{} {}",
        b"\x00",
        b"{'a': 1}",
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_invalid_json_is_refused(client, path, body):
    refused(post(client, path, body), 400, "invalid_json")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_json_with_another_content_type_is_refused(client, kind):
    """Pages of other origins can send these content types without a preflight request."""
    refused(post(client, "encode", {"users": [VALID]}, kind), 415, "invalid_json")


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ({}, "query"),
        ({"query": "a" * 201}, "query"),
        ({"query": "a", "limit": "0"}, "limit"),
        ({"query": "a", "limit": "ten"}, "limit"),
        ({"query": "a", "limit": "1e2"}, "limit"),
        ({"query": "a", "limit": "9" * 5000}, "limit"),
        ({"query": "a", "limits": "1"}, "limits"),
    ],
)
def test_invalid_query_is_refused(client, query, where):
    assert refused(client.get("/v1/items", params=query))["where"] == where


@pytest.mark.parametrize(
    "query", ["%00", "%ff%fe", "'; DROP TABLE items; --", "%ED%A0%80", "../../etc", "🎬", "\u202e"]
)
def test_title_search_accepts_any_text(client, query):
    assert client.get(f"/v1/items?query={query}").status_code == 200


@pytest.mark.parametrize(
    "path", ["/nope", "/v1", "/v1/", "/v1/encode/", "/docs", "/v1/items/1", "/" + "a" * 5000]
)
def test_unknown_path_returns_not_found(client, path):
    for method in ("GET", "POST", "DELETE"):
        refused(client.request(method, path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/encode"), ("DELETE", "/v1/model"), ("POST", "/healthz"), ("BREW", "/v1/map")],
)
def test_other_method_returns_method_not_allowed(client, method, path):
    response = client.request(method, path)
    refused(response, 405, "method_not_allowed")
    assert response.headers["allow"]


def test_internal_error_does_not_show_its_cause(start_client, make, bundle_of):
    class Broken:
        bundle = bundle_of()
        item_vectors = item_directions = bundle.model.item_vectors

        def user_vectors(self, *_):
            raise RuntimeError("the secret of user 7")

    client = start_client(lambda: make(model=Broken()))
    response = post(client, "encode", {"users": [VALID]})
    refused(response, 500, "internal_error")
    assert "secret" not in response.text
    assert client.get("/readyz").status_code == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*"abc", "interactions", "item_id", "value"]), inner, max_size=4)
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(
    st.sampled_from(
        [
            *("users", "item_ids", "k", "tags", "vectors", "horizon", "items", "hold", "contributions"),
            "dislike_weight",
        ]
    ),
    JSON,
    max_size=4,
)
ITEMS = st.integers(-3, 30) | st.text(max_size=4)
RATED = st.fixed_dictionaries(
    {"item_id": ITEMS, "value": st.floats(0, 6) | st.integers(0, 6)},
    optional={"timestamp": st.integers(-1, 2**40) | st.text(max_size=4)},
)
HISTORY = st.fixed_dictionaries({"interactions": st.lists(RATED, max_size=8)})


@given(st.sampled_from(PATHS), BODIES)
@settings(max_examples=150)
def test_arbitrary_body_causes_no_internal_error(client, path, body):
    response = post(client, path, json.dumps(body))
    assert response.status_code in (200, 400, 404, 422), response.text
    if response.status_code != 200:
        refused(response, response.status_code)


@given(
    st.sampled_from(["encode", "recommend", "explain", "similar-users"]),
    st.lists(HISTORY, min_size=1, max_size=3),
)
@settings(max_examples=100)
def test_arbitrary_history_gives_finite_numbers_or_an_error(client, path, users):
    response = post(client, path, {"users": users})
    if response.status_code == 200:
        content = json.loads(response.text, parse_constant=pytest.fail)
        assert len(content["users"]) == len(users)
        if path == "encode":
            assert all(math.isfinite(value) for found in content["users"] for value in found["vector"])
    else:
        refused(response)

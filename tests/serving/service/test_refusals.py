"""Whatever is asked, the answer is one sentence in one shape, and never a fault of ours."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

GOOD = {"ratings": [{"item_id": 1, "rating": 4.5}]}
PATHS = ["encode", "recommend", "similar-users", "explain", "steer", "similar-items"]


def refused(answer, status=422, code=None):
    """The error that was answered, which has the shape that all have."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    told = answer.json()
    assert set(told) == {"error"}
    assert set(told["error"]) == {"code", "message", "where"}
    message = told["error"]["message"]
    assert "xpected" in message or "the model knows" in message
    assert "\n" not in message
    for jargon in ("pydantic", "Traceback", "Input should", "dict", "NoneType", "loc"):
        assert jargon not in message
    assert code in (None, told["error"]["code"])
    return told["error"]


def post(client, path, body, kind="application/json"):
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    return client.post(f"/v1/{path}", content=content, headers={"Content-Type": kind})


@pytest.mark.parametrize(
    ("ratings", "where", "message"),
    [
        ([{"item_id": 1, "rating": "5"}], ".ratings[0].rating", "'5'. Expected a number"),
        ([{"item_id": 1, "rating": True}], ".ratings[0].rating", "true. Expected a number"),
        ([{"item_id": 1, "rating": None}], ".ratings[0].rating", "null. Expected a number"),
        ([{"item_id": 1, "rating": [5]}], ".ratings[0].rating", "a list. Expected a number"),
        (
            [{"item_id": 1, "rating": 9}],
            ".ratings[0].rating",
            "9. Expected 1 to 5, the rating scale of the model",
        ),
        (
            [{"item_id": 1, "rating": -1}],
            ".ratings[0].rating",
            "-1. Expected 1 to 5, the rating scale of the model",
        ),
        (
            [{"item_id": 1.5, "rating": 5}],
            ".ratings[0].item_id",
            "1.5. Expected an item ID, an integer or a string",
        ),
        (
            [{"item_id": None, "rating": 5}],
            ".ratings[0].item_id",
            "null. Expected an item ID, an integer or a string",
        ),
        (
            [{"item_id": {"$gt": 0}, "rating": 5}],
            ".ratings[0].item_id",
            "an object. Expected an item ID, an integer or a string",
        ),
        (
            [{"item_id": 10**30, "rating": 5}],
            ".ratings[0].item_id",
            "Expected an integer of at most 63 bits",
        ),
        (
            [{"item_id": "a" * 300, "rating": 5}],
            ".ratings[0].item_id",
            "a string of 300 characters. Expected 200 or fewer",
        ),
        ([{"item_id": 1}], ".ratings[0].rating", "missing. Expected a value"),
        (
            [{"item_id": 1, "rating": 5, "mood": 1}],
            ".ratings[0].mood",
            "unknown key. Expected a key that /openapi.json lists",
        ),
        (
            [{"item_id": 1, "rating": 5, "timestamp": -5}],
            ".ratings[0].timestamp",
            "-5. Expected 0 or more",
        ),
        (
            [{"item_id": 1, "rating": 5, "timestamp": 1.5}],
            ".ratings[0].timestamp",
            "1.5. Expected an integer",
        ),
        (
            [{"item_id": 1, "rating": 5, "timestamp": 5}, {"item_id": 2, "rating": 5}],
            ".ratings",
            "1 of 2 items have a timestamp. Expected all or none",
        ),
        (
            [{"item_id": 1, "rating": 5}, {"item_id": "1", "rating": 5}],
            ".ratings[1].item_id",
            "'1', the same as users[0].ratings[0]. Expected each item once, with its latest rating",
        ),
        ([5], ".ratings[0]", "5. Expected an object"),
        ({"1": 5}, ".ratings", "an object. Expected a list"),
        ("all of them", ".ratings", "'all of them'. Expected a list"),
        ([{"item_id": 1, "rating": 5}] * 2001, ".ratings", "2001 entries. Expected 2000 or fewer"),
        (
            [{"item_id": n, "rating": 5} for n in range(10_000)],
            ".ratings",
            "10000 entries. Expected 2000 or fewer",
        ),
    ],
)
def test_a_wrong_history_is_refused_with_its_place(client, ratings, where, message):
    for path in ("encode", "recommend", "explain", "similar-users"):
        error = refused(post(client, path, {"users": [{"ratings": ratings}]}))
        assert error["where"] == f"users[0]{where}"
        assert error["message"].startswith(f"users[0]{where}: ")
        assert message in error["message"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_none_are_refused(client, number):
    for body in (
        f'{{"users": [{{"ratings": [{{"item_id": 1, "rating": {number}}}]}}]}}',
        f'{{"users": [{{"ratings": [{{"item_id": {number}, "rating": 5}}]}}]}}',
    ):
        answer = post(client, "encode", body)
        refused(answer, 400 if "e" not in number else 422)
    refused(
        post(client, "steer", f'{{"vectors": [[{number}]], "tags": {{"space": 1}}}}'),
        400 if "e" not in number else 422,
    )
    refused(
        post(client, "steer", f'{{"users": [{{"ratings": []}}], "tags": {{"space": {number}}}}}'),
        400 if "e" not in number else 422,
    )


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("encode", {}, "users"),
        ("encode", {"users": []}, "users"),
        ("encode", {"users": [GOOD] * 257}, "users"),
        ("encode", {"users": [GOOD], "horizon": "soon"}, "horizon"),
        ("encode", {"users": [GOOD], "Horizon": "next"}, "Horizon"),
        ("encode", {"users": GOOD}, "users"),
        ("encode", [GOOD], None),
        ("encode", "null", None),
        ("recommend", {"users": [GOOD], "k": 0}, "k"),
        ("recommend", {"users": [GOOD], "k": 501}, "k"),
        ("recommend", {"users": [GOOD], "k": 10**40}, "k"),
        ("recommend", {"users": [GOOD], "k": "10"}, "k"),
        ("recommend", {"users": [GOOD], "contributions": 6}, "contributions"),
        ("recommend", {"users": [GOOD] * 17, "contributions": 1}, None),
        ("recommend", {"users": [GOOD], "tags": {"space": 11}}, "tags.space"),
        ("recommend", {"users": [GOOD], "tags": {"no such tag": 1}}, None),
        ("recommend", {"users": [GOOD], "tags": {str(n): 1 for n in range(51)}}, "tags"),
        ("similar-items", {"item_ids": []}, "item_ids"),
        ("similar-items", {"item_ids": [1] * 257}, "item_ids"),
        ("similar-users", {"users": [GOOD], "k": -1}, "k"),
        ("explain", {}, None),
        ("explain", {"users": [GOOD], "item_ids": [1]}, None),
        ("explain", {"users": [GOOD] * 17}, "users"),
        ("explain", {"users": [GOOD], "tags": 101}, "tags"),
        ("explain", {"users": []}, "users"),
        ("steer", {"users": [GOOD]}, "tags"),
        ("steer", {"tags": {"space": 1}}, None),
        ("steer", {"vectors": [[1.0] * 3], "tags": {"space": 1}}, "vectors"),
        ("steer", {"vectors": [[1.0] * 8, [1.0] * 7], "tags": {"space": 1}}, "vectors[1]"),
        ("steer", {"vectors": [[1e300] * 8], "tags": {"space": 1}}, "vectors[0][0]"),
        ("steer", {"vectors": [[]], "tags": {"space": 1}}, "vectors[0]"),
        ("steer", {"users": [GOOD], "tags": {"space": 1}, "hold": 1.5}, "hold"),
        ("steer", {"users": [GOOD], "tags": {"": 1}}, "tags"),
    ],
)
def test_a_wrong_request_is_refused_with_its_place(client, path, body, where):
    error = refused(post(client, path, body))
    assert error["where"] == where or error["where"].startswith(where)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"people": "\\ud800"}',
        b"1" * 5_000,
        b"{} {}",
        b"\x00",
        b"{'a': 1}",
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_what_is_no_json_is_refused(client, path, body):
    refused(post(client, path, body), 400, "invalid_json")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_json_that_is_not_called_so_is_refused(client, kind):
    """A page of another origin may send such bodies without asking."""
    refused(post(client, "encode", {"users": [GOOD]}, kind), 415, "invalid_json")


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
def test_a_wrong_query_is_refused(client, query, where):
    assert refused(client.get("/v1/items", params=query))["where"] == where


@pytest.mark.parametrize(
    "query", ["%00", "%ff%fe", "'; DROP TABLE films; --", "%ED%A0%80", "../../etc", "🎬", "\u202e"]
)
def test_any_text_may_be_searched_for(client, query):
    assert client.get(f"/v1/items?query={query}").status_code == 200


@pytest.mark.parametrize(
    "path", ["/nope", "/v1", "/v1/", "/v1/encode/", "/docs", "/v1/items/1", "/%00", "/" + "a" * 5000]
)
def test_a_path_that_is_not_there_is_refused_in_the_same_shape(client, path):
    for method in ("GET", "POST", "DELETE"):
        refused(client.request(method, path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/encode"), ("DELETE", "/v1/model"), ("POST", "/healthz"), ("BREW", "/v1/map")],
)
def test_another_method_is_refused_in_the_same_shape(client, method, path):
    answer = client.request(method, path)
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"]


def test_a_fault_of_ours_is_told_without_its_inside(asking, make, bundle_of):
    class Broken:
        bundle = bundle_of()
        item_vectors = bundle.model.item_vectors

        def vectors(self, *_):
            raise RuntimeError("the secret of person 7")

    client = asking(lambda: make(model=Broken()))
    answer = post(client, "encode", {"users": [GOOD]})
    refused(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert client.get("/readyz").status_code == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*"abc", "ratings", "item_id", "rating"]), inner, max_size=4)
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(
    st.sampled_from(
        ["users", "item_ids", "k", "tags", "vectors", "horizon", "items", "hold", "contributions"]
    ),
    JSON,
    max_size=4,
)
ITEMS = st.integers(-3, 30) | st.text(max_size=4)
RATED = st.fixed_dictionaries(
    {"item_id": ITEMS, "rating": st.floats(0, 6) | st.integers(0, 6)},
    optional={"timestamp": st.integers(-1, 2**40)},
)
HISTORY = st.fixed_dictionaries({"ratings": st.lists(RATED, max_size=8)})


@given(st.sampled_from(PATHS), BODIES)
@settings(max_examples=150)
def test_no_body_makes_the_service_fail(client, path, body):
    answer = post(client, path, json.dumps(body))
    assert answer.status_code in (200, 400, 404, 422), answer.text
    if answer.status_code != 200:
        refused(answer, answer.status_code)


@given(
    st.sampled_from(["encode", "recommend", "explain", "similar-users"]),
    st.lists(HISTORY, min_size=1, max_size=3),
)
@settings(max_examples=100)
def test_people_are_answered_or_refused_and_every_number_is_one(client, path, users):
    answer = post(client, path, {"users": users})
    if answer.status_code == 200:
        told = json.loads(answer.text, parse_constant=pytest.fail)
        assert len(told["users"]) == len(users)
        if path == "encode":
            assert all(math.isfinite(number) for found in told["users"] for number in found["vector"])
    else:
        refused(answer)

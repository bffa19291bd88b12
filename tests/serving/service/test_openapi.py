"""The description of the service is right, and what it describes holds."""

import json
import time
from unittest import SkipTest

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tastevec.serving.service.app import create_app
from tastevec.serving.service.settings import ServiceSettings

ASKED = ("encode", "recommend", "similar-items", "similar-users", "explain", "steer", "reload")
TOLD = ("/v1/items", "/v1/map", "/v1/example", "/v1/model", "/healthz", "/readyz", "/metrics")
KEPT = {("PUT", "/v1/users/{user_id}"), ("DELETE", "/v1/users/{user_id}"), ("POST", "/v1/users/search")}
OPERATIONS = {("POST", f"/v1/{name}") for name in ASKED} | {("GET", path) for path in TOLD} | KEPT


def operations(described):
    return [
        (path, operation) for path, methods in described["paths"].items() for operation in methods.values()
    ]


def test_every_path_is_described_with_its_errors_in_the_one_shape(client):
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {path for _, path in OPERATIONS}
    for path, operation in operations(described):
        assert operation["description"], path
        for status, answer in operation["responses"].items():
            assert answer["description"], (path, status)
            if int(status) >= 400:
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorResponse"}
        if path.startswith("/v1/"):
            assert {"401", "422", "429", "500", "503", "504"} <= set(operation["responses"])
        if "requestBody" in operation:
            assert {"400", "408", "413", "415"} <= set(operation["responses"])
    assert "HTTPValidationError" not in json.dumps(described)


def test_the_token_is_described_where_it_is_asked_for(asking, client):
    described = asking(token="s3cret").get("/openapi.json").json()
    for path, operation in operations(described):
        assert ("security" in operation) is (path.startswith("/v1/") or path == "/metrics")
    assert all("security" not in operation for _, operation in operations(client.get("/openapi.json").json()))


@pytest.fixture(name="described", scope="session")
def _described(tiny):
    app = create_app(lambda: tiny, ServiceSettings())
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    # A tag that there is not, vectors of another length, and people of whom none are kept: no schema can say that.
    schema.config.checks.positive_data_acceptance.expected_statuses += ["404", "422"]
    while not app.state.lifecycle.ready:
        time.sleep(0.01)
    return schema


def of_the_tiny_world(case):
    """The same request with ratings on the model's scale and mostly films that it knows, which no schema can say."""
    body = case.body if isinstance(case.body, dict) else {}
    for user in body.get("users") or ():
        for number, rated in enumerate(user["ratings"]):
            rated["rating"] = 1 + abs(rated["rating"]) % 4
            if number % 4:
                rated["item_id"] = number
            rated.pop("timestamp", None)
        seen = set()
        user["ratings"] = [
            rated for rated in user["ratings"] if not (rated["item_id"] in seen or seen.add(rated["item_id"]))
        ]
    if "tags" in body and isinstance(body["tags"], dict) and len(body["tags"]) % 2:
        body["tags"] = dict(zip(("space", "tears"), body["tags"].values(), strict=False))
    if "item_ids" in body:
        body["item_ids"] = [number % 20 + 1 for number, _ in enumerate(body["item_ids"])]
    return case


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # streams that schemathesis leaves open
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), sorted(OPERATIONS))
def test_the_service_does_what_it_describes(described, method, path, mode):
    """Schemathesis makes up requests that the description allows, and such that it does not."""
    made = described[path][method].as_strategy(generation_mode=mode)

    @given(made if mode is GenerationMode.NEGATIVE else made.map(of_the_tiny_world))
    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    def ask(case):
        case.call_and_validate()

    try:
        ask()
    except (Unsatisfiable, SkipTest):
        assert mode is GenerationMode.NEGATIVE  # nothing can be wrong with a request that holds nothing

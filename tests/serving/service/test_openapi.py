"""The OpenAPI schema is complete, and the service conforms to it."""

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

POST_ROUTES = ("encode", "recommend", "similar-items", "similar-users", "explain", "steer", "reload")
GET_PATHS = ("/v1/items", "/v1/map", "/v1/example", "/v1/model", "/healthz", "/readyz", "/metrics")
STORE_OPERATIONS = {
    ("PUT", "/v1/users/{user_id}"),
    ("DELETE", "/v1/users/{user_id}"),
    ("POST", "/v1/users/search"),
}
OPERATIONS = (
    {("POST", f"/v1/{name}") for name in POST_ROUTES}
    | {("GET", path) for path in GET_PATHS}
    | STORE_OPERATIONS
)


def operations(described):
    return [
        (path, operation) for path, methods in described["paths"].items() for operation in methods.values()
    ]


def test_schema_describes_every_path_and_its_errors(client):
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {path for _, path in OPERATIONS}
    for path, operation in operations(described):
        assert operation["description"], path
        for status, response in operation["responses"].items():
            assert response["description"], (path, status)
            if int(status) >= 400:
                schema = response["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorResponse"}
        if path.startswith("/v1/"):
            assert {"401", "422", "429", "500", "503", "504"} <= set(operation["responses"])
        if "requestBody" in operation:
            assert {"400", "408", "413", "415"} <= set(operation["responses"])
    assert "HTTPValidationError" not in json.dumps(described)


def test_schema_describes_the_token_on_protected_paths(start_client, client):
    described = start_client(token="s3cret").get("/openapi.json").json()
    for path, operation in operations(described):
        assert ("security" in operation) is (path.startswith("/v1/") or path == "/metrics")
    assert all("security" not in operation for _, operation in operations(client.get("/openapi.json").json()))


@pytest.fixture(name="described", scope="session")
def _described(tiny):
    app = create_app(lambda: tiny, ServiceSettings())
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    # The schema cannot describe unknown tags, vectors of another dimension and missing stored users.
    schema.config.checks.positive_data_acceptance.expected_statuses += ["404", "422"]
    while not app.state.pool.ready:
        time.sleep(0.01)
    return schema


TOO_LARGE = 413


def fit_model(case):
    """Return the request with valid ratings and mostly known items, which the schema cannot describe."""
    body = case.body if isinstance(case.body, dict) else {}
    for user in body.get("users") or ():
        for number, rated in enumerate(user["interactions"]):
            rated["value"] = 1 + abs(rated.get("value") or 0) % 4
            rated.pop("event", None)
            if number % 4:
                rated["item_id"] = number
            rated.pop("timestamp", None)
    if "tags" in body and isinstance(body["tags"], dict) and len(body["tags"]) % 2:
        body["tags"] = dict(zip(("space", "tears"), body["tags"].values(), strict=False))
    if "item_ids" in body:
        body["item_ids"] = [number % 20 + 1 for number, _ in enumerate(body["item_ids"])]
    return case


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # schemathesis leaves streams open
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), sorted(OPERATIONS))
def test_service_conforms_to_its_schema(described, method, path, mode):
    """Schemathesis generates valid and invalid requests."""
    made = described[path][method].as_strategy(generation_mode=mode)

    @given(made if mode is GenerationMode.NEGATIVE else made.map(fit_model))
    @settings(max_examples=8, suppress_health_check=list(HealthCheck))
    def call(case):
        response = case.call()
        if response.status_code != TOO_LARGE:  # refused before it is read, whatever else is wrong with it
            case.validate_response(response)

    try:
        call()
    except (Unsatisfiable, SkipTest):
        assert mode is GenerationMode.NEGATIVE  # a request without input is never invalid

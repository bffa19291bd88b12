"""Authentication, rate limit, body limit, timeouts, headers, logs and metrics."""

import json
import re
import threading
import time

import pytest
from structlog.testing import capture_logs

from tastevec.errors import SettingsError
from tastevec.serving.recommender import Recommender
from tastevec.serving.service.settings import ServiceSettings, read_settings

VALID = {"users": [{"interactions": [{"item_id": 1, "value": 4.5}]}]}
OPEN, CLOSED = (
    ("/healthz", "/readyz", "/openapi.json"),
    ("/v1/model", "/metrics", "/v1/nothing", "/v1/reload"),
)


def code(response):
    return response.json()["error"]["code"]


def test_token_is_required_for_protected_paths(start_client):
    client = start_client(token="s3cret")
    for path in OPEN:
        assert client.get(path).status_code == 200
    for given in (
        None,
        "Bearer",
        "Bearer wrong",
        "Bearer s3cre",
        "Basic s3cret",
        "s3cret",
        "Bearer s3cret2",
        "Bearer \xff",
    ):
        headers = {} if given is None else {"Authorization": given.encode("latin-1")}
        for path in CLOSED:
            response = client.get(path, headers=headers)
            assert response.status_code == 401
            assert code(response) == "unauthorized"
            assert response.headers["www-authenticate"] == "Bearer"
            assert "s3cret" not in response.text
        assert client.post("/v1/encode", json=VALID, headers=headers).status_code == 401
    for given in ("Bearer s3cret", "bearer s3cret"):
        assert client.post("/v1/encode", json=VALID, headers={"Authorization": given}).status_code == 200
        assert client.get("/metrics", headers={"Authorization": given}).status_code == 200


def test_token_of_any_letters_is_accepted(start_client):
    client = start_client(token="s3cret-Ωμέγα")
    given = {"Authorization": "Bearer s3cret-Ωμέγα".encode()}
    assert client.get("/v1/model", headers=given).status_code == 200


def test_token_is_not_in_the_repr_of_the_settings():
    assert "s3cret" not in repr(ServiceSettings(token="s3cret"))


def test_settings_are_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("TASTEVEC_TOKEN", "s3cret")
    monkeypatch.setenv("TASTEVEC_RATE", "600/minute")
    monkeypatch.setenv("TASTEVEC_CORS_ORIGINS", "https://shop.example, http://localhost:5173")
    monkeypatch.setenv("TASTEVEC_PROXIES", "10.0.0.0/8 127.0.0.1")
    found = read_settings()
    assert found.token.get_secret_value() == "s3cret"
    assert found.rate == "600/minute"
    assert found.cors_origins == ("https://shop.example", "http://localhost:5173")
    assert found.proxies == ("10.0.0.0/8", "127.0.0.1")
    assert found.timeout_s == 10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATE", "often"),
        ("TOKEN", ""),
        ("TOKEN", "s3cret\n"),
        ("TOKEN", "s3 cret"),
        ("TOKEN", "s3\x7fcret"),
        ("READ_TOKEN", "without-the-other"),
        ("DATABASE_URL", ""),
        ("TIMEOUT_S", ""),
        ("PROXIES", "my-proxy"),
        ("WORKERS", "0"),
        ("TIMEOUT_S", "-1"),
        ("BODY_BYTES", "many"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://shop.example nowhere"),
    ],
)
def test_invalid_setting_is_refused_by_name(monkeypatch, name, value):
    monkeypatch.setenv(f"TASTEVEC_{name}", value)
    with pytest.raises(SettingsError, match=f"environment variable TASTEVEC_{name}:"):
        read_settings()


def test_rate_limit_exceeded_returns_retry_after(start_client):
    client = start_client(rate="3/minute")
    statuses = [client.get("/v1/model").status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    response = client.get("/v1/items?query=a")
    assert code(response) == "rate_limited"
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert client.get("/healthz").status_code == 200


def test_invalid_token_does_not_count_against_the_rate_limit(start_client):
    client = start_client(rate="2/minute", token="s3cret")
    for _ in range(5):
        assert client.get("/v1/model").status_code == 401
    assert client.get("/v1/model", headers={"Authorization": "Bearer s3cret"}).status_code == 200


@pytest.mark.parametrize("announced", [True, False], ids=["with a length", "in chunks"])
def test_body_above_the_limit_is_refused(start_client, announced):
    client = start_client(body_bytes=2_000)

    def send(length):
        body = json.dumps(VALID).encode().ljust(length)
        given = body if announced else iter([body[:500], body[500:]])
        return client.post("/v1/encode", content=given, headers={"Content-Type": "application/json"})

    assert send(2_000).status_code == 200
    response = send(2_001)
    assert response.status_code == 413
    assert code(response) == "too_large"
    assert "Expected 2000 or fewer" in response.json()["error"]["message"]


def test_slow_request_times_out(start_client, make, bundle_of):
    go = threading.Event()

    class Stuck(Recommender):
        def user_vectors(self, *_):
            assert go.wait(20)
            raise RuntimeError("late")

    client = start_client(lambda: make(model=Stuck(bundle_of())), timeout_s=0.2)
    began = time.perf_counter()
    response = client.post("/v1/recommend", json=VALID)
    assert time.perf_counter() - began < 10
    assert response.status_code == 504
    assert code(response) == "timeout"
    assert client.get("/v1/model").status_code == 200
    go.set()


def test_cors_allows_only_configured_origins(start_client):
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    closed, opened = start_client(), start_client(cors_origins=["https://shop.example"], token="s3cret")
    for origin in ("https://shop.example", "null"):
        response = closed.post("/v1/encode", json=VALID, headers={"Origin": origin})
        assert "access-control-allow-origin" not in response.headers
        assert closed.options("/v1/encode", headers={"Origin": origin, **preflight}).status_code == 405
    named = opened.options("/v1/encode", headers={"Origin": "https://shop.example", **preflight})
    assert named.status_code == 200
    assert named.headers["access-control-allow-origin"] == "https://shop.example"
    other = opened.options("/v1/encode", headers={"Origin": "https://other.example", **preflight})
    assert "access-control-allow-origin" not in other.headers
    refused = opened.post("/v1/encode", json=VALID, headers={"Origin": "https://shop.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"


def test_every_response_has_security_headers(client):
    for response in (client.get("/healthz"), client.get("/nope"), client.post("/v1/encode", json={})):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-security-policy"].startswith("default-src 'none'")
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cache-control"] == "no-store"
        assert "server" not in response.headers


def test_request_log_has_one_line_without_request_data(client):
    with capture_logs() as lines:
        client.get("/v1/items?query=my secret wish")
        client.post("/v1/recommend", json={"users": [{"interactions": [{"item_id": 17, "value": 3.25}]}]})
        client.get("/nobody@example.org")
    assert [line["event"] for line in lines] == ["request"] * 3
    assert [line["route"] for line in lines] == ["/v1/items", "/v1/recommend", "other"]
    assert [line["status"] for line in lines] == [200, 200, 404]
    assert all(
        set(line) == {"event", "log_level", "method", "route", "status", "ms", "request_id"} for line in lines
    )


def test_metrics_contain_routes_and_no_request_data(client):
    client.post("/v1/recommend", json=VALID)
    client.get("/somebody/private")
    text = client.get("/metrics").text
    assert 'tastevec_requests_total{route="/v1/recommend",status="200"}' in text
    assert 'tastevec_requests_total{route="other",status="404"}' in text
    assert 'tastevec_request_seconds_bucket{le="0.005",route="/v1/recommend"}' in text
    assert "tastevec_batch_users_bucket" in text
    assert 'tastevec_model_info{data="tiny",space="space-0",version="0.1.0"} 1.0' in text
    assert "tastevec_workers 1.0" in text
    assert 'tastevec_waiting_requests{size="large"} 0.0' in text
    assert "somebody" not in text


def test_read_token_permits_no_change(start_client):
    client = start_client(token="s3cret", read_token="reader")
    read, write = {"Authorization": "Bearer reader"}, {"Authorization": "Bearer s3cret"}
    assert client.post("/v1/encode", json=VALID, headers=read).status_code == 200
    assert client.get("/v1/model", headers=read).status_code == 200
    assert client.get("/metrics", headers=read).status_code == 200
    for method, path in (("PUT", "/v1/users/ann"), ("DELETE", "/v1/users/ann"), ("POST", "/v1/reload")):
        response = client.request(method, path, headers=read)
        assert (response.status_code, code(response)) == (403, "read_only")
        assert client.request(method, path, headers=write).status_code in (200, 404, 415)
    assert client.get("/v1/model", headers={"Authorization": "Bearer reade"}).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["/metrics%0A", "/v1/model%0A", "/metrics%00", "/v1%0A/model", "/%7F", "/v1/x%C2%85", "/%E2%80%A8"],
)
def test_path_with_a_control_character_is_refused(start_client, path):
    response = start_client(token="s3cret").get(path)
    assert (response.status_code, code(response)) == (400, "invalid_request")


@pytest.mark.parametrize("path", ["/metrics/", "/metricsx", "/v1/", "/%2e/metrics", "/x/../metrics"])
def test_path_like_a_protected_one_shows_nothing(start_client, path):
    response = start_client(token="s3cret").get(path)
    assert response.status_code in (401, 404)
    assert "tastevec_requests" not in response.text


@pytest.mark.parametrize(
    ("given", "kept"), [("order-7:a.b_c", True), ("a" * 65, False), ("a b", False), ("", False)]
)
def test_request_id_is_in_the_response_and_the_log(client, given, kept):
    with capture_logs() as lines:
        response = client.get("/healthz", headers={"X-Request-ID": given})
    found = response.headers["x-request-id"]
    assert (found == given) is kept
    assert lines[-1]["request_id"] == found
    assert re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", found)


def test_bodies_above_the_limit_of_all_requests_are_refused_until_there_is_room(start_client):
    client = start_client(in_flight_bytes=1_000)
    body = json.dumps(VALID).encode().ljust(1_001)
    response = client.post("/v1/encode", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, code(response)) == (503, "too_busy")
    assert int(response.headers["retry-after"]) >= 1
    assert client.post("/v1/encode", json=VALID).status_code == 200


def test_misspelled_variable_is_refused(monkeypatch):
    monkeypatch.setenv("TASTEVEC_TOKEM", "s3cret")
    with pytest.raises(SettingsError, match=r"TASTEVEC_TOKEM: unknown\. Expected TASTEVEC_TOKEN") as refused:
        read_settings()
    assert "s3cret" not in str(refused.value)


def test_readiness_of_another_model_is_not_found(client):
    assert client.get("/readyz?space=space-0").json()["space"] == "space-0"
    response = client.get("/readyz?space=space-1")
    assert (response.status_code, code(response)) == (404, "not_ready")

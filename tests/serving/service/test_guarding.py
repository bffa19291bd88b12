"""Who may ask, how often, with how much and for how long."""

import json
import threading
import time

import pytest
from structlog.testing import capture_logs

from tastevec.errors import SettingsError
from tastevec.serving.service.settings import ServiceSettings, read_settings

GOOD = {"users": [{"ratings": [{"item_id": 1, "rating": 4.5}]}]}
OPEN, CLOSED = (
    ("/healthz", "/readyz", "/openapi.json"),
    ("/v1/model", "/metrics", "/v1/nothing", "/v1/reload"),
)


def code(answer):
    return answer.json()["error"]["code"]


def test_with_a_token_nothing_is_told_without_it(asking):
    client = asking(token="s3cret")
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
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401
            assert code(answer) == "unauthorized"
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "s3cret" not in answer.text
        assert client.post("/v1/encode", json=GOOD, headers=headers).status_code == 401
    for given in ("Bearer s3cret", "bearer s3cret"):
        assert client.post("/v1/encode", json=GOOD, headers={"Authorization": given}).status_code == 200
        assert client.get("/metrics", headers={"Authorization": given}).status_code == 200


def test_the_token_is_not_shown_with_the_settings():
    assert "s3cret" not in repr(ServiceSettings(token="s3cret"))


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("TASTEVEC_TOKEN", "s3cret")
    monkeypatch.setenv("TASTEVEC_RATE", "600/minute")
    monkeypatch.setenv("TASTEVEC_CORS_ORIGINS", "https://films.example, http://localhost:5173")
    monkeypatch.setenv("TASTEVEC_TIMEOUT_S", "")
    found = read_settings()
    assert found.token.get_secret_value() == "s3cret"
    assert found.rate == "600/minute"
    assert found.cors_origins == ("https://films.example", "http://localhost:5173")
    assert found.timeout_s == 10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATE", "often"),
        ("TIMEOUT_S", "-1"),
        ("BODY_BYTES", "many"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://films.example nowhere"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(monkeypatch, name, value):
    monkeypatch.setenv(f"TASTEVEC_{name}", value)
    with pytest.raises(SettingsError, match=f"environment variable TASTEVEC_{name}:"):
        read_settings()


def test_whoever_asks_too_often_is_told_when_to_come_back(asking):
    client = asking(rate="3/minute")
    statuses = [client.get("/v1/model").status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    answer = client.get("/v1/items?query=a")
    assert code(answer) == "rate_limited"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert client.get("/healthz").status_code == 200


def test_a_wrong_token_counts_for_nobodys_rate(asking):
    client = asking(rate="2/minute", token="s3cret")
    for _ in range(5):
        assert client.get("/v1/model").status_code == 401
    assert client.get("/v1/model", headers={"Authorization": "Bearer s3cret"}).status_code == 200


@pytest.mark.parametrize("told", [True, False], ids=["with a length", "in chunks"])
def test_a_body_may_be_as_large_as_is_said_and_no_larger(asking, told):
    client = asking(body_bytes=2_000)

    def send(length):
        body = json.dumps(GOOD).encode().ljust(length)
        given = body if told else iter([body[:500], body[500:]])
        return client.post("/v1/encode", content=given, headers={"Content-Type": "application/json"})

    assert send(2_000).status_code == 200
    answer = send(2_001)
    assert answer.status_code == 413
    assert code(answer) == "too_large"
    assert "Expected 2000 or fewer" in answer.json()["error"]["message"]


def test_an_answer_that_takes_too_long_is_given_up(asking, make, bundle_of):
    go = threading.Event()

    class Stuck:
        bundle = bundle_of()
        item_vectors = bundle.model.item_vectors

        def vectors(self, *_):
            assert go.wait(20)
            raise RuntimeError("late")

    client = asking(lambda: make(model=Stuck()), timeout_s=0.2)
    began = time.perf_counter()
    answer = client.post("/v1/recommend", json=GOOD)
    assert time.perf_counter() - began < 10
    assert answer.status_code == 504
    assert code(answer) == "timeout"
    assert client.get("/v1/model").status_code == 200
    go.set()


def test_pages_of_other_origins_may_not_ask_unless_they_are_named(asking):
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    closed, opened = asking(), asking(cors_origins=["https://films.example"], token="s3cret")
    for origin in ("https://films.example", "null"):
        answer = closed.post("/v1/encode", json=GOOD, headers={"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers
        assert closed.options("/v1/encode", headers={"Origin": origin, **preflight}).status_code == 405
    named = opened.options("/v1/encode", headers={"Origin": "https://films.example", **preflight})
    assert named.status_code == 200
    assert named.headers["access-control-allow-origin"] == "https://films.example"
    other = opened.options("/v1/encode", headers={"Origin": "https://other.example", **preflight})
    assert "access-control-allow-origin" not in other.headers
    refused = opened.post("/v1/encode", json=GOOD, headers={"Origin": "https://films.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://films.example"


def test_every_answer_has_its_security_headers(client):
    for answer in (client.get("/healthz"), client.get("/nope"), client.post("/v1/encode", json={})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


def test_a_request_is_one_line_of_the_log_and_tells_nothing_of_whom_asked(client):
    with capture_logs() as lines:
        client.get("/v1/items?query=my secret wish")
        client.post("/v1/recommend", json={"users": [{"ratings": [{"item_id": 17, "rating": 3.25}]}]})
        client.get("/nobody@example.org")
    assert [line["event"] for line in lines] == ["request"] * 3
    assert [line["route"] for line in lines] == ["/v1/items", "/v1/recommend", "other"]
    assert [line["status"] for line in lines] == [200, 200, 404]
    assert all(set(line) == {"event", "log_level", "method", "route", "status", "ms"} for line in lines)


def test_the_counters_know_routes_and_no_person(client):
    client.post("/v1/recommend", json=GOOD)
    client.get("/somebody/private")
    text = client.get("/metrics").text
    assert 'tastevec_requests_total{route="/v1/recommend",status="200"}' in text
    assert 'tastevec_requests_total{route="other",status="404"}' in text
    assert 'tastevec_request_seconds_bucket{le="0.005",route="/v1/recommend"}' in text
    assert "tastevec_batch_users_bucket" in text
    assert 'tastevec_model_info{data="tiny",space="space-0",version="0.1.0"} 1.0' in text
    assert "somebody" not in text

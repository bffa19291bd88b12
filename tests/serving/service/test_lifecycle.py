"""Loading, reloading and closing of the model."""

import threading
import time

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from tastevec.errors import FormatError
from tastevec.serving.recommender import Recommender
from tastevec.serving.service.app import create_app
from tastevec.serving.service.settings import ServiceSettings

VALID = {"users": [{"interactions": [{"item_id": 1, "value": 4.5}]}]}
TOKEN = {"Authorization": "Bearer s3cret"}


class Source:
    """A source with a replaceable model; loading can be blocked."""

    def __init__(self, make, bundle_of):
        self._make, self._bundle_of = make, bundle_of
        self.seed, self.error = 0, None
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()

    def __call__(self):
        self.begun.set()
        assert self.go.wait(20)
        if self.error:
            raise self.error
        return self._make(model=Recommender(self._bundle_of(seed=self.seed)))


@pytest.fixture(name="source")
def _source(make, bundle_of):
    return Source(make, bundle_of)


def test_service_before_the_model_is_loaded_is_not_ready(start_client, source):
    source.go.clear()
    client = start_client(source, wait=False)
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json()["error"]["code"] == "not_ready"
    for response in (
        client.post("/v1/encode", json=VALID),
        client.get("/v1/model"),
        client.get("/v1/items?query=a"),
    ):
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "loading"
        assert int(response.headers["retry-after"]) >= 1
    source.go.set()
    while client.get("/readyz").status_code != 200:
        time.sleep(0.01)
    assert client.post("/v1/encode", json=VALID).status_code == 200


def test_service_during_shutdown_is_not_ready(start_client):
    client = start_client()
    client.app.state.pool.stopping = True
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "stopping" in response.json()["error"]["message"]
    assert client.post("/v1/encode", json=VALID).status_code == 200


def test_reload_switches_after_the_new_model_is_loaded(start_client, source):
    client = start_client(source, token="s3cret")
    source.seed = 1
    source.begun.clear()
    source.go.clear()
    results = []
    thread = threading.Thread(target=lambda: results.append(client.post("/v1/reload", headers=TOKEN)))
    thread.start()
    assert source.begun.wait(20)
    assert client.post("/v1/encode", json=VALID, headers=TOKEN).json()["space"] == "space-0"
    source.go.set()
    thread.join(20)
    assert results[0].status_code == 200
    assert results[0].json()["space"] == "space-1"
    assert results[0].json()["n_items"] == 20
    assert client.post("/v1/encode", json=VALID, headers=TOKEN).json()["space"] == "space-1"
    text = client.get("/metrics", headers=TOKEN).text
    assert 'space="space-1"' in text
    assert 'space="space-0"' not in text


def test_reload_failure_keeps_the_previous_model(start_client, source):
    client = start_client(source, token="s3cret")
    source.error = FormatError("the folder is empty; train again")
    with capture_logs() as lines:
        response = client.post("/v1/reload", headers=TOKEN)
    assert response.status_code == 409
    assert response.json()["error"]["code"] == "not_reloaded"
    assert "the previous model stays in use: the folder is empty" in response.json()["error"]["message"]
    assert [line["event"] for line in lines] == ["model_load_failed", "request"]
    assert client.post("/v1/encode", json=VALID, headers=TOKEN).json()["space"] == "space-0"
    assert 'tastevec_reloads_total{outcome="failed"} 1.0' in client.get("/metrics", headers=TOKEN).text
    source.error = None
    assert client.post("/v1/reload", headers=TOKEN).status_code == 200


def test_reload_without_a_token_is_refused(client):
    response = client.post("/v1/reload")
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "no_token"


def test_reload_drops_no_request(start_client, source):
    client = start_client(source, token="s3cret")
    done, results = threading.Event(), []

    def send_requests():
        while not done.is_set():
            response = client.post("/v1/recommend", json=VALID, headers=TOKEN)
            results.append((response.status_code, response.json().get("space")))

    threads = [threading.Thread(target=send_requests) for _ in range(3)]
    for thread in threads:
        thread.start()
    for seed in range(1, 6):
        source.seed = seed
        assert client.post("/v1/reload", headers=TOKEN).json()["space"] == f"space-{seed}"
    done.set()
    for thread in threads:
        thread.join(20)
    assert {status for status, _ in results} == {200}
    assert len({space for _, space in results}) > 1


def test_first_load_failure_is_stored(start_client, source):
    source.error = FormatError("the folder is empty; train again")
    client = start_client(source, wait=False)
    pool = client.app.state.pool
    while pool.failure is None:
        time.sleep(0.01)
    assert isinstance(pool.failure, FormatError)
    assert str(pool.failure) == "the folder is empty; train again"
    assert client.get("/readyz").status_code == 503


def test_application_can_start_again(make):
    app = create_app(make, ServiceSettings())
    for _ in range(2):
        with TestClient(app) as client:
            while client.get("/readyz").status_code != 200:
                time.sleep(0.01)
            assert client.post("/v1/recommend", json=VALID | {"contributions": 1}).status_code == 200

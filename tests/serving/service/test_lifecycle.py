"""A model is loaded, replaced while requests run, and let go."""

import threading
import time

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from tastevec.errors import FormatError
from tastevec.serving.recommender import Recommender
from tastevec.serving.service.app import create_app
from tastevec.serving.service.settings import ServiceSettings

GOOD = {"users": [{"ratings": [{"item_id": 1, "rating": 4.5}]}]}
TOKEN = {"Authorization": "Bearer s3cret"}


class Collection:
    """A source whose model is changed, and which loads when it is let."""

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


@pytest.fixture(name="collection")
def _shelf(make, bundle_of):
    return Collection(make, bundle_of)


def test_before_the_model_is_loaded_the_service_lives_and_is_not_ready(asking, collection):
    collection.go.clear()
    client = asking(collection, wait=False)
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json()["error"]["code"] == "not_ready"
    for answer in (
        client.post("/v1/encode", json=GOOD),
        client.get("/v1/model"),
        client.get("/v1/items?query=a"),
    ):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "loading"
        assert int(answer.headers["retry-after"]) >= 1
    collection.go.set()
    while client.get("/readyz").status_code != 200:
        time.sleep(0.01)
    assert client.post("/v1/encode", json=GOOD).status_code == 200


def test_while_it_stops_the_service_is_not_ready(asking):
    client = asking()
    client.app.state.lifecycle.draining = True
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "stopping" in answer.json()["error"]["message"]
    assert client.post("/v1/encode", json=GOOD).status_code == 200


def test_another_model_answers_once_it_is_loaded_and_not_before(asking, collection):
    client = asking(collection, token="s3cret")
    collection.seed = 1
    collection.begun.clear()
    collection.go.clear()
    told = []
    thread = threading.Thread(target=lambda: told.append(client.post("/v1/reload", headers=TOKEN)))
    thread.start()
    assert collection.begun.wait(20)
    assert client.post("/v1/encode", json=GOOD, headers=TOKEN).json()["space"] == "space-0"
    collection.go.set()
    thread.join(20)
    assert told[0].status_code == 200
    assert told[0].json()["space"] == "space-1"
    assert told[0].json()["n_items"] == 20
    assert client.post("/v1/encode", json=GOOD, headers=TOKEN).json()["space"] == "space-1"
    text = client.get("/metrics", headers=TOKEN).text
    assert 'space="space-1"' in text
    assert 'space="space-0"' not in text


def test_a_model_that_cannot_be_loaded_leaves_the_one_before(asking, collection):
    client = asking(collection, token="s3cret")
    collection.error = FormatError("the folder is empty; train again")
    with capture_logs() as lines:
        answer = client.post("/v1/reload", headers=TOKEN)
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "not_reloaded"
    assert "the previous model stays in use: the folder is empty" in answer.json()["error"]["message"]
    assert [line["event"] for line in lines] == ["model_load_failed", "request"]
    assert client.post("/v1/encode", json=GOOD, headers=TOKEN).json()["space"] == "space-0"
    assert 'tastevec_reloads_total{outcome="failed"} 1.0' in client.get("/metrics", headers=TOKEN).text
    collection.error = None
    assert client.post("/v1/reload", headers=TOKEN).status_code == 200


def test_a_service_without_a_token_reloads_for_nobody(client):
    answer = client.post("/v1/reload")
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "no_token"


def test_no_request_is_dropped_while_models_are_replaced(asking, collection):
    client = asking(collection, token="s3cret")
    over, told = threading.Event(), []

    def keep_asking():
        while not over.is_set():
            answer = client.post("/v1/recommend", json=GOOD, headers=TOKEN)
            told.append((answer.status_code, answer.json().get("space")))

    threads = [threading.Thread(target=keep_asking) for _ in range(3)]
    for thread in threads:
        thread.start()
    for seed in range(1, 6):
        collection.seed = seed
        assert client.post("/v1/reload", headers=TOKEN).json()["space"] == f"space-{seed}"
    over.set()
    for thread in threads:
        thread.join(20)
    assert {status for status, _ in told} == {200}
    assert len({space for _, space in told}) > 1


def test_a_first_model_that_cannot_be_loaded_is_remembered(asking, collection):
    collection.error = FormatError("the folder is empty; train again")
    client = asking(collection, wait=False)
    lifecycle = client.app.state.lifecycle
    while lifecycle.failure is None:
        time.sleep(0.01)
    assert lifecycle.failure is collection.error
    assert client.get("/readyz").status_code == 503


def test_an_application_may_be_started_again(make):
    app = create_app(make, ServiceSettings())
    for _ in range(2):
        with TestClient(app) as client:
            while client.get("/readyz").status_code != 200:
                time.sleep(0.01)
            assert client.post("/v1/recommend", json=GOOD | {"contributions": 1}).status_code == 200

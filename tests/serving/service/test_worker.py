"""A worker merges small jobs, cuts large ones into pieces, and each result equals that of a single job."""

import json
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastevec.serving.service.messages import message_bytes, read_message
from tastevec.serving.service.worker import Worker


class Running:
    """A worker in a thread, and the messages that it sent."""

    def __init__(self, state):
        self.messages, self.sent = [], threading.Condition()
        self.worker = Worker(lambda: state, self._send)
        self._thread = threading.Thread(target=self.worker.run, daemon=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.worker.close()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def start(self):
        self._thread.start()

    def _send(self, header, body):
        with self.sent:
            self.messages.append((header, body))
            self.sent.notify_all()

    def give(self, number, operation, body, *, large=False):
        self.worker.receive(
            {"job": number, "operation": operation, "large": large}, json.dumps(body).encode()
        )

    def result(self, number):
        """Wait for the last message of a job; return its header and its complete body."""

        def last():
            return [h for h, _ in self.messages if h.get("job") == number and "part" not in h]

        with self.sent:
            assert self.sent.wait_for(last, 20)
            [header] = last()
            bodies = [body for h, body in self.messages if h.get("job") == number]
        return header, b"".join(bodies)

    def content(self, number):
        header, body = self.result(number)
        assert header["status"] == 200, body
        return json.loads(body)


def rated(*items):
    return {"interactions": [{"item_id": item, "value": rating} for item, rating in items]}


def approximately(content):
    """Compare numbers with the accuracy of 32 bits: batches add in another order."""
    if isinstance(content, dict):
        return {name: approximately(value) for name, value in content.items()}
    if isinstance(content, list):
        return [approximately(value) for value in content]
    return pytest.approx(content, abs=1e-4, rel=1e-4) if isinstance(content, float) else content


def test_worker_with_waiting_jobs_encodes_their_users_together(tiny):
    with Running(tiny) as running:
        for number in range(1, 6):
            running.give(number, "recommend", {"users": [rated((number, 5))], "k": 3})
        running.give(6, "encode", {"users": [rated((1, 5))], "horizon": "next"})
        running.give(7, "encode", {"users": [rated((1, 5))], "horizon": "next", "dislike_weight": 1.0})
        running.start()
        batches = [running.result(number)[0].get("users") for number in range(1, 8)]
    assert sorted(filter(None, batches)) == [1, 1, 5]


def test_worker_error_reaches_only_its_job(tiny):
    with Running(tiny) as running:
        running.give(1, "recommend", {"users": [rated((1, 5))]})
        running.give(2, "recommend", {"users": [rated((1, 99))]})
        running.give(3, "similar-items", {"item_ids": [4711]})
        running.give(4, "recommend", {"users": [rated((2, 4))], "tags": {"nothing": 1.0}})
        running.give(5, "recommend", {"users": [rated((2, 4))]})
        running.start()
        statuses = [running.result(number)[0]["status"] for number in range(1, 6)]
    assert statuses == [200, 422, 404, 422, 200]


def test_worker_refuses_to_compute_a_costly_job_among_small_ones(tiny):
    with Running(tiny) as running:
        running.start()
        running.give(1, "recommend", {"users": [rated()] * 256, "k": 500})
        assert running.result(1) == ({"job": 1, "large": True}, b"")
        running.give(1, "recommend", {"users": [rated()] * 256, "k": 500}, large=True)
        running.messages.clear()
        assert len(running.content(1)["users"]) == 256


OPERATIONS = {
    "encode": {},
    "recommend": {"k": 4, "contributions": 2},
    "similar-users": {"k": 2},
    "explain": {"tags": 3},
    "steer": {"tags": {"space": 1.0}, "k": 3},
}
USER = st.lists(
    st.tuples(st.integers(1, 20), st.sampled_from([1.0, 2.5, 4.0, 5.0])),
    max_size=8,
    unique_by=lambda row: row[0],
)


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(OPERATIONS)), st.lists(USER, min_size=1, max_size=3), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=25, deadline=None)
def test_worker_result_does_not_depend_on_other_jobs_or_on_pieces(tiny, jobs):
    bodies = [
        (name, OPERATIONS[name] | {"users": [rated(*user) for user in users]}) for name, users, _ in jobs
    ]
    with Running(tiny) as together, Running(tiny) as alone:
        for number, ((name, body), (*_, large)) in enumerate(zip(bodies, jobs, strict=True)):
            together.give(number, name, body, large=large)
        together.start()
        alone.start()
        for number, (name, body) in enumerate(bodies):
            alone.give(number, name, body)
            assert together.content(number) == approximately(alone.content(number))


@pytest.mark.parametrize("key", ["users", "vectors", "item_ids"])
def test_worker_pieces_of_many_entries_are_the_complete_response(tiny, key):
    dim = tiny.model.item_vectors.shape[1]
    rng = np.random.default_rng(0)
    values = {
        "users": ("recommend", [rated((1 + n % 20, 4.0)) for n in range(50)], {}),
        "vectors": (
            "steer",
            np.pad(rng.normal(size=(50, dim - 1)), ((0, 0), (0, 1))).tolist(),
            {"tags": {"space": 1.0}},
        ),
        "item_ids": ("similar-items", [1 + n % 20 for n in range(50)], {}),
    }
    operation, given_values, rest = values[key]
    with Running(tiny) as running:
        running.start()
        running.give(1, operation, {key: given_values, **rest}, large=True)
        found = running.content(1)
        entries = found["items" if key == "item_ids" else "users"]
        for number, value in enumerate(given_values):
            running.give(100 + number, operation, {key: [value], **rest})
            [one] = running.content(100 + number)["items" if key == "item_ids" else "users"]
            assert entries[number] == approximately(one)
        assert sum(header.get("part", False) for header, _ in running.messages) > 1


def test_worker_small_job_is_computed_between_the_pieces_of_a_large_one(tiny):
    with Running(tiny) as running:
        running.start()
        running.give(1, "recommend", {"users": [rated()] * 256, "k": 500}, large=True)
        running.give(2, "recommend", {"users": [rated()] * 256, "k": 500}, large=True)
        with running.sent:
            running.sent.wait_for(lambda: any("part" in header for header, _ in running.messages), 20)
        running.give(3, "recommend", {"users": [rated((1, 5))]})
        running.content(3)
        with running.sent:
            ended = [header["job"] for header, _ in running.messages if "status" in header]
        assert ended == [3]
        running.content(1)
        running.content(2)


def test_worker_refuses_a_job_that_would_not_end_in_time(tiny):
    with Running(tiny) as running:
        running.start()
        body = json.dumps({"users": [rated()] * 256, "k": 500}).encode()
        running.worker.receive({"job": 1, "operation": "recommend", "large": True, "most_ms": 100}, body)
        header, refused = running.result(1)
        assert header["status"] == 413
        assert "takes about 1 s. Expected 0.1 or less" in json.loads(refused)["error"]["message"]


def test_worker_gives_up_a_job_whose_client_is_gone(tiny):
    with Running(tiny) as running:
        running.start()
        running.give(1, "recommend", {"users": [rated()] * 256, "k": 500}, large=True)
        with running.sent:
            running.sent.wait_for(lambda: any("part" in header for header, _ in running.messages), 20)
        running.worker.receive({"gone": 1}, b"")
        assert running.result(1)[0]["status"] == 499
        time.sleep(0.05)
        assert sum(header.get("part", False) for header, _ in running.messages) < 16


@given(st.dictionaries(st.text(max_size=5), st.integers(-5, 5), max_size=3), st.binary(max_size=50))
def test_messages_are_read_as_written(tmp_path_factory, header, body):
    path = tmp_path_factory.mktemp("pipe") / "messages"
    path.write_bytes(message_bytes(header, body) * 2)
    with path.open("rb") as file:
        assert read_message(file) == (header, body)
        assert read_message(file) == (header, body)
        assert read_message(file) is None


def test_worker_finishes_the_shortest_large_job_first(tiny):
    with Running(tiny) as running:
        running.give(1, "recommend", {"users": [rated()] * 256, "k": 500}, large=True)
        running.give(2, "recommend", {"users": [rated()] * 256, "k": 400}, large=True)
        running.give(3, "recommend", {"users": [rated()] * 64, "k": 20}, large=True)
        running.start()
        for number in (1, 2, 3):
            running.content(number)
        ended = [header["job"] for header, _ in running.messages if header.get("status") == 200]
    assert ended[0] == 3


def test_worker_refuses_a_job_for_which_others_leave_no_time(tiny):
    with Running(tiny) as running:
        body = json.dumps({"users": [rated()] * 256, "k": 500}).encode()
        for number in (1, 2):
            message = {"job": number, "operation": "recommend", "large": True, "most_ms": 1_200}
            running.worker.receive(message, body)
        running.start()
        [refused] = [header for header, _ in map(running.result, (1, 2)) if header["status"] != 200]
        assert refused["status"] == 503
        assert int(refused["headers"]["Retry-After"]) >= 1

"""Stored user vectors of the service, in a real database."""

from threading import Event
from urllib.parse import quote

import numpy as np
import pytest
from structlog.testing import capture_logs

from databases import emptied_database, run
from tastevec.errors import FormatError, SettingsError
from tastevec.serving.neighbors import Neighbors
from tastevec.serving.service.store_client import StoreClient
from tastevec.serving.user_store import UserStore

psycopg = pytest.importorskip("psycopg", reason="the extra pg is not installed")
ROCKETS = [(1, 5.0), (3, 4.0), (12, 1.0), (5, 5.0)]
LETTERS = [(11, 5.0), (13, 4.0), (2, 1.0)]
TOKEN = {"Authorization": "Bearer s3cret"}
DISCONNECT_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'served'"
IDS = [
    "ann",
    "7",
    "'; DROP TABLE tastevec.users; --",
    "x' OR '1'='1",
    "a/b/../c",
    "Ωmega ü 100%",
    "search",
    "?a=1&b#c",
    "%s {} $1",
    "l" * 200,
]


@pytest.fixture(name="url")
def _url(server):
    return emptied_database(server, "served")


@pytest.fixture(name="with_store")
def _with_store(start_client, tiny):
    """Start clients of services with this database."""

    def start(url, source=lambda: tiny, **changes):
        client = start_client(source, **{"token": "s3cret", "database_url": url} | changes)
        client.headers.update(TOKEN)
        return client

    return start


@pytest.fixture(name="client")
def _client(with_store, url):
    return with_store(url)


@pytest.fixture(name="store_only")
def _store_only(with_store, make):
    """As `with_store`, without a file of user vectors."""
    return lambda url, **changes: with_store(url, lambda: make(users=None), **changes)


def user(rated):
    return {"interactions": [{"item_id": item, "value": rating} for item, rating in rated]}


def store(client, user_id, rated):
    return client.put(f"/v1/users/{quote(user_id, safe='')}", json=user(rated))


def find(client, *users, k=10, **more):
    return client.post("/v1/users/search", json={"users": [user(rated) for rated in users], "k": k, **more})


def delete(client, user_id):
    return client.delete(f"/v1/users/{quote(user_id, safe='')}")


def refused(response, status, code):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    return error


def test_stored_user_is_found_until_deleted(client):
    response = store(client, "ann", [*ROCKETS, (99, 5.0)])
    assert (response.status_code, response.json()) == (
        200,
        {"space": "space-0", "n_known": 4, "unknown": [99]},
    )
    assert store(client, "bob", LETTERS).status_code == 200
    responses = find(client, ROCKETS, [*LETTERS, (98, 1.0)]).json()["users"]
    assert [user["user_id"] for user in responses[0]["users"]] == ["ann", "bob"]
    assert [user["user_id"] for user in responses[1]["users"]] == ["bob", "ann"]
    assert [user["rank"] for user in responses[0]["users"]] == [1, 2]
    assert responses[0]["users"][0]["similarity"] == pytest.approx(1, abs=1e-6)
    assert [found["unknown"] for found in responses] == [[], [98]]
    [without] = find(client, ROCKETS, exclude=["ann"]).json()["users"]
    assert [user["user_id"] for user in without["users"]] == ["bob"]
    assert delete(client, "ann").json() == {"deleted": True}
    assert delete(client, "ann").json() == {"deleted": False}
    [left] = find(client, ROCKETS).json()["users"]
    assert [user["user_id"] for user in left["users"]] == ["bob"]


def test_stored_search_equals_the_search_in_memory(store_only, url, with_store, make, tiny):
    client = store_only(url)
    for user_id, rated in (("ann", ROCKETS), ("bob", LETTERS)):
        assert store(client, user_id, rated).status_code == 200
    body = {"users": [user(ROCKETS), user(LETTERS)], "k": 2}
    found = client.post("/v1/similar-users", json=body).json()["users"]
    assert client.post("/v1/users/search", json=body).json()["users"] == found
    vectors = np.stack([tiny.model.encode(rated, horizon="overall") for rated in (ROCKETS, LETTERS)])
    in_memory = make(users=Neighbors(np.array(["ann", "bob"]), vectors))
    in_file = with_store(None, lambda: in_memory).post("/v1/similar-users", json=body).json()["users"]
    for one, other in zip(found, in_file, strict=True):
        for stored, known in zip(one["users"], other["users"], strict=True):
            assert stored["nearest_items"] == known["nearest_items"]
            assert len(stored["nearest_items"]) == 6
            assert stored["user_id"] == known["user_id"]
            assert stored["similarity"] == pytest.approx(known["similarity"], abs=1e-6)
    assert "vector" not in str(found)


def test_user_deleted_during_the_search_is_not_returned(client, monkeypatch):
    for user_id in ("ann", "bob"):
        assert store(client, user_id, ROCKETS).status_code == 200
    nearest = UserStore.nearest

    def nearest_then_delete(self, *positional, **more):
        found = nearest(self, *positional, **more)
        self.delete("ann")
        return found

    monkeypatch.setattr(UserStore, "nearest", nearest_then_delete)
    [found] = find(client, ROCKETS).json()["users"]
    assert [(user["user_id"], user["rank"]) for user in found["users"]] == [("bob", 1)]


def count(client):
    """Return the number of users in /v1/model."""
    response = client.get("/v1/model")
    assert response.status_code == 200
    return response.json()["n_users"]


def test_count_is_the_number_of_stored_users_of_the_space(store_only, url, monkeypatch):
    monkeypatch.setattr("tastevec.serving.service.store_client._VALID_S", -1.0)
    client = store_only(url)
    with UserStore(url) as users:
        users.upsert("space-0", ["ann", "bob"], {"overall": np.ones((2, 8)), "next": np.ones((2, 8))})
        users.upsert("another", ["cat"], {"overall": np.ones((1, 8))})
    assert count(client) == 2
    assert store(client, "cat", ROCKETS).status_code == 200
    assert count(client) == 3
    assert count(store_only(url, token=None)) == 0  # without a token no user can be found


def test_count_is_cached_and_null_without_the_database(store_only, server, url, monkeypatch):
    client = store_only(url)
    assert count(client) == 0
    assert store(client, "ann", ROCKETS).status_code == 200
    assert count(client) == 0
    monkeypatch.setattr("tastevec.serving.service.store_client._VALID_S", -1.0)
    client = store_only(url)
    assert count(client) == 1
    run(server.get_uri(), "ALTER DATABASE served ALLOW_CONNECTIONS false")
    run(server.get_uri(), DISCONNECT_ALL)
    assert count(client) is None
    assert count(store_only(url)) is None  # never connected
    run(server.get_uri(), "ALTER DATABASE served ALLOW_CONNECTIONS true")
    assert count(client) == 1


def test_count_that_times_out_is_null(store_only, url, monkeypatch):
    monkeypatch.setattr("tastevec.serving.service.store_client._PROBE_S", 0.05)
    unblock = Event()
    monkeypatch.setattr(UserStore, "count", lambda *_: unblock.wait(30))
    assert count(store_only(url)) is None
    unblock.set()


def test_unusable_database_is_refused_at_the_start(store_only, url):
    UserStore(url).close()
    run(url, "UPDATE tastevec.version SET version = 99")
    with pytest.raises(FormatError, match="Use a later tastevec"):
        store_only(url)
    run(url, "DROP SCHEMA tastevec CASCADE; DROP EXTENSION vector; CREATE ROLE feeble LOGIN")
    with pytest.raises(SettingsError, match="CREATE EXTENSION vector"):
        store_only(url.replace("postgres:@", "feeble@"))


def test_store_replaces_both_vectors(client, url):
    for rated in (LETTERS, ROCKETS):
        assert store(client, "ann", rated).status_code == 200
    with UserStore(url) as users:
        for horizon in ("next", "overall"):
            body = {"users": [user(ROCKETS)], "horizon": horizon}
            [encoded] = client.post("/v1/encode", json=body).json()["users"]
            vectors = np.array([encoded["vector"]], np.float32)
            assert users.nearest("space-0", vectors, 2, horizon=horizon) == [
                [("ann", pytest.approx(1, abs=1e-6))]
            ]
    assert run(url, "SELECT count(*) FROM tastevec.users") == [(2,)]


def test_user_id_accepts_any_text(client, url):
    for user_id in IDS:
        assert store(client, user_id, ROCKETS).status_code == 200
    [found] = find(client, ROCKETS, k=50).json()["users"]
    assert {user["user_id"] for user in found["users"]} == set(IDS)
    for number, user_id in enumerate(IDS, 1):
        assert delete(client, user_id).json() == {"deleted": True}
        assert run(url, "SELECT count(DISTINCT user_id) FROM tastevec.users") == [(len(IDS) - number,)]


@pytest.mark.parametrize(
    "path", ["sec%00ret", "sec%FFret", "sec%ED%A0%80ret", "secret%0A", "sec%0Dret", "sec%C2%85ret"]
)
def test_user_id_with_a_control_character_is_an_invalid_path(client, path):
    for response in (
        client.put(f"/v1/users/{path}", json=user(ROCKETS)),
        client.delete(f"/v1/users/{path}"),
    ):
        assert "sec" not in refused(response, 400, "invalid_request")["message"]


@pytest.mark.parametrize("path", ["", "l" * 201])
def test_invalid_user_id_is_refused_and_not_repeated(client, path):
    for response in (
        client.put(f"/v1/users/{path}", json=user(ROCKETS)),
        client.delete(f"/v1/users/{path}"),
    ):
        error = refused(response, 422, "invalid_data")
        assert error["where"] == "user_id"
        assert error["message"].startswith("user_id")
        assert "sec" not in error["message"]
    assert "exclude[0]" in refused(find(client, ROCKETS, exclude=[""]), 422, "invalid_data")["message"]


@pytest.mark.parametrize(
    ("rated", "code", "where"),
    [
        ([(1, 5.0), (2, 99.0)], "invalid_data", "interactions[1].value"),
        ([(1, 5.0), ("nan", 4.0)], "invalid_data", "interactions[1].item_id"),
        ([(1, "five")], "invalid_request", "interactions[0].value"),
        ([], "invalid_data", "interactions"),
        ([(99, 5.0)], "invalid_data", "interactions"),
    ],
)
def test_invalid_ratings_are_refused_with_their_location(client, url, rated, code, where):
    error = refused(store(client, "ann", rated), 422, code)
    assert error["where"] == where
    assert error["message"].startswith(where)
    assert "users[0]" not in error["message"]
    assert run(url, "SELECT count(*) FROM tastevec.users") == [(0,)]


def test_store_without_a_token_is_refused(with_store, url):
    client = with_store(url, token=None)
    for response in (store(client, "ann", ROCKETS), delete(client, "ann"), find(client, ROCKETS)):
        error = refused(response, 403, "no_token")
        assert "Expected TASTEVEC_TOKEN" in error["message"]
    wrong = with_store(url)
    wrong.headers.update({"Authorization": "Bearer other"})
    for response in (store(wrong, "ann", ROCKETS), delete(wrong, "ann"), find(wrong, ROCKETS)):
        refused(response, 401, "unauthorized")


def test_store_without_a_database_is_refused(with_store):
    client = with_store(None)
    for response in (store(client, "ann", ROCKETS), delete(client, "ann"), find(client, ROCKETS)):
        error = refused(response, 404, "no_store")
        assert "Expected TASTEVEC_DATABASE_URL" in error["message"]


def test_search_in_another_space_finds_no_users(with_store, url, make, bundle_of):
    seeds = iter([0, 1, 0])
    kind = type(make().model)
    client = with_store(url, lambda: make(model=kind(bundle_of(seed=next(seeds)))))
    assert store(client, "ann", ROCKETS).status_code == 200
    assert client.post("/v1/reload", json={}).json()["space"] == "space-1"
    error = refused(find(client, ROCKETS), 404, "no_users")
    assert "no stored users of space space-1" in error["message"]
    assert client.post("/v1/reload", json={}).json()["space"] == "space-0"
    assert find(client, ROCKETS).json()["users"][0]["users"][0]["user_id"] == "ann"


def test_delete_covers_the_spaces_of_all_models(with_store, url, make, bundle_of):
    seeds = iter([0, 1])
    kind = type(make().model)
    client = with_store(url, lambda: make(model=kind(bundle_of(seed=next(seeds)))))
    store(client, "ann", ROCKETS)
    client.post("/v1/reload", json={})
    store(client, "ann", ROCKETS)
    assert run(url, "SELECT count(*) FROM tastevec.users") == [(4,)]
    assert delete(client, "ann").json() == {"deleted": True}
    assert run(url, "SELECT count(*) FROM tastevec.users") == [(0,)]


def test_unavailable_database_recovers(with_store, server, url):
    run(server.get_uri(), "ALTER DATABASE served ALLOW_CONNECTIONS false")
    client = with_store(url)  # starts without its database
    for opened in (False, True):
        for response in (
            store(client, "ann-secret", ROCKETS),
            delete(client, "ann-secret"),
            find(client, ROCKETS),
        ):
            error = refused(response, 503, "store_unavailable")
            assert "secret" not in error["message"]
            assert response.headers["retry-after"]
        assert client.post("/v1/recommend", json={"users": [user(ROCKETS)]}).status_code == 200
        run(server.get_uri(), "ALTER DATABASE served ALLOW_CONNECTIONS true")
        assert store(client, "ann-secret", ROCKETS).status_code == 200
        assert find(client, ROCKETS).status_code == 200
        if not opened:
            run(server.get_uri(), "ALTER DATABASE served ALLOW_CONNECTIONS false")
            run(server.get_uri(), DISCONNECT_ALL)


def test_log_and_metrics_contain_no_user_ids(client, caplog):
    with capture_logs() as lines:
        store(client, "ann-secret", ROCKETS)
        store(client, "ann-secret", [(1, 99.0)])
        find(client, ROCKETS, exclude=["ann-secret"])
        delete(client, "ann-secret")
    assert len(lines) == 4
    assert "secret" not in str(lines) + caplog.text + client.get("/metrics").text
    assert {line["route"] for line in lines} == {"/v1/users/{user_id:path}", "/v1/users/search"}


def test_full_store_queue_refuses_requests(client, monkeypatch):
    monkeypatch.setattr("tastevec.serving.service.store_client._WAITING", 0)
    assert "Expected fewer" in refused(delete(client, "ann"), 503, "too_busy")["message"]


def test_invalid_database_url_is_refused_at_the_start():
    with pytest.raises(SettingsError, match="the database URL: invalid") as error:
        StoreClient("postgresql:/s3cret=4")
    assert "s3cret" not in str(error.value)


def test_schema_describes_the_store_paths_and_their_errors(client):
    described = client.app.openapi()["paths"]
    one, several = described["/v1/users/{user_id}"], described["/v1/users/search"]
    for operation in (one["put"], one["delete"], several["post"]):
        assert operation["description"]
        assert {"401", "403", "404", "408", "413", "422", "429", "503"} <= set(operation["responses"])
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                schema = response["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorResponse"}
    assert {"400", "415"} <= set(one["put"]["responses"]) & set(several["post"]["responses"])

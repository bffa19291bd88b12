"""People whom the service keeps, in a real database, behind its token."""

from threading import Event
from urllib.parse import quote

import numpy as np
import pytest
from structlog.testing import capture_logs

from databases import emptied_database, run
from tastevec.errors import SettingsError
from tastevec.serving.neighbors import Neighbors
from tastevec.serving.service.store_routes import StoreClient
from tastevec.serving.user_store import UserStore

psycopg = pytest.importorskip("psycopg", reason="the extra pg is not installed")
ROCKETS = [(1, 5.0), (3, 4.0), (12, 1.0), (5, 5.0)]
LETTERS = [(11, 5.0), (13, 4.0), (2, 1.0)]
TOKEN = {"Authorization": "Bearer s3cret"}
THROW_OUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'served'"
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


@pytest.fixture(name="keeping")
def _keeping(asking, tiny):
    """A client of a service that keeps people in this database."""

    def start(url, source=lambda: tiny, **changes):
        client = asking(source, **{"token": "s3cret", "database_url": url} | changes)
        client.headers.update(TOKEN)
        return client

    return start


@pytest.fixture(name="client")
def _client(keeping, url):
    return keeping(url)


@pytest.fixture(name="nobody_else")
def _nobody_else(keeping, make):
    """As `keeping`, of a service that was given no file of people."""
    return lambda url, **changes: keeping(url, lambda: make(users=None), **changes)


def user(rated):
    return {"ratings": [{"item_id": item, "rating": rating} for item, rating in rated]}


def store(client, user_id, rated):
    return client.put(f"/v1/users/{quote(user_id, safe='')}", json=user(rated))


def find(client, *users, k=10, **more):
    return client.post("/v1/users/search", json={"users": [user(rated) for rated in users], "k": k, **more})


def delete(client, user_id):
    return client.delete(f"/v1/users/{quote(user_id, safe='')}")


def refused(answer, status, code):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    return error


def test_who_is_stored_is_found_until_deleted(client):
    answer = store(client, "ann", [*ROCKETS, (99, 5.0)])
    assert (answer.status_code, answer.json()) == (200, {"space": "space-0", "unknown": [99]})
    assert store(client, "bob", LETTERS).status_code == 200
    told = find(client, ROCKETS, [*LETTERS, (98, 1.0)]).json()["users"]
    assert [user["user_id"] for user in told[0]["users"]] == ["ann", "bob"]
    assert [user["user_id"] for user in told[1]["users"]] == ["bob", "ann"]
    assert [user["rank"] for user in told[0]["users"]] == [1, 2]
    assert told[0]["users"][0]["similarity"] == pytest.approx(1, abs=1e-6)
    assert [found["unknown"] for found in told] == [[], [98]]
    [without] = find(client, ROCKETS, exclude=["ann"]).json()["users"]
    assert [user["user_id"] for user in without["users"]] == ["bob"]
    assert delete(client, "ann").json() == {"deleted": True}
    assert delete(client, "ann").json() == {"deleted": False}
    [left] = find(client, ROCKETS).json()["users"]
    assert [user["user_id"] for user in left["users"]] == ["bob"]


def test_who_is_stored_is_found_with_the_films_nearest_as_who_stands_in_a_file_is(
    nobody_else, url, keeping, make, tiny
):
    client = nobody_else(url)
    for user_id, rated in (("ann", ROCKETS), ("bob", LETTERS)):
        assert store(client, user_id, rated).status_code == 200
    asked = {"users": [user(ROCKETS), user(LETTERS)], "k": 2}
    found = client.post("/v1/similar-users", json=asked).json()["users"]
    assert client.post("/v1/users/search", json=asked).json()["users"] == found
    vectors = np.stack([tiny.model.encode(rated, horizon="overall") for rated in (ROCKETS, LETTERS)])
    in_memory = make(users=Neighbors(np.array(["ann", "bob"]), vectors))
    told = keeping(None, lambda: in_memory).post("/v1/similar-users", json=asked).json()["users"]
    for one, other in zip(found, told, strict=True):
        for stored, known in zip(one["users"], other["users"], strict=True):
            assert stored["nearest_items"] == known["nearest_items"]
            assert len(stored["nearest_items"]) == 6
            assert stored["user_id"] == known["user_id"]
            assert stored["similarity"] == pytest.approx(known["similarity"], abs=1e-6)
    assert "vector" not in str(found)


def test_who_is_deleted_while_being_looked_for_is_not_told(client, monkeypatch):
    for user_id in ("ann", "bob"):
        assert store(client, user_id, ROCKETS).status_code == 200
    nearest = UserStore.nearest

    def and_ann_goes(self, *asked, **more):
        found = nearest(self, *asked, **more)
        self.delete("ann")
        return found

    monkeypatch.setattr(UserStore, "nearest", and_ann_goes)
    [found] = find(client, ROCKETS).json()["users"]
    assert [(user["user_id"], user["rank"]) for user in found["users"]] == [("bob", 1)]


def people_told(client):
    """What /v1/model says of those who can be found."""
    answer = client.get("/v1/model")
    assert answer.status_code == 200
    return answer.json()["n_users"]


def test_the_model_tells_how_many_are_stored_of_its_space(nobody_else, url, monkeypatch):
    monkeypatch.setattr("tastevec.serving.service.store_routes._COUNT_VALID_S", -1.0)
    client = nobody_else(url)
    with UserStore(url) as kept:
        kept.upsert("space-0", ["ann", "bob"], {"overall": np.ones((2, 8)), "next": np.ones((2, 8))})
        kept.upsert("another", ["cat"], {"overall": np.ones((1, 8))})
    assert people_told(client) == 2
    assert store(client, "cat", ROCKETS).status_code == 200
    assert people_told(client) == 3
    assert people_told(nobody_else(url, token=None)) == 0  # nobody can be found there


def test_a_count_is_told_for_some_seconds_and_null_while_the_database_is_away(
    nobody_else, server, url, monkeypatch
):
    client = nobody_else(url)
    assert people_told(client) == 0
    assert store(client, "ann", ROCKETS).status_code == 200
    assert people_told(client) == 0
    monkeypatch.setattr("tastevec.serving.service.store_routes._COUNT_VALID_S", -1.0)
    client = nobody_else(url)
    assert people_told(client) == 1
    run(server.get_uri(), "ALTER DATABASE served ALLOW_CONNECTIONS false")
    run(server.get_uri(), THROW_OUT)
    assert people_told(client) is None
    assert people_told(nobody_else(url)) is None  # which never reached it
    run(server.get_uri(), "ALTER DATABASE served ALLOW_CONNECTIONS true")
    assert people_told(client) == 1


def test_a_count_that_does_not_come_is_not_waited_for(nobody_else, url, monkeypatch):
    monkeypatch.setattr("tastevec.serving.service.store_routes._COUNT_TIMEOUT_S", 0.05)
    gone = Event()
    monkeypatch.setattr(UserStore, "count", lambda *_: gone.wait(30))
    assert people_told(nobody_else(url)) is None
    gone.set()


def test_a_database_that_cannot_hold_people_is_a_fault_of_the_service(nobody_else, url):
    UserStore(url).close()
    run(url, "UPDATE tastevec.version SET version = 99")
    client = nobody_else(url)
    assert "use a later tastevec" in refused(store(client, "ann", ROCKETS), 503, "unavailable")["message"]
    assert people_told(client) is None
    run(url, "DROP SCHEMA tastevec CASCADE; DROP EXTENSION vector; CREATE ROLE feeble LOGIN")
    client = nobody_else(url.replace("postgres:@", "feeble@"))
    assert "CREATE EXTENSION vector" in refused(store(client, "ann", ROCKETS), 503, "unavailable")["message"]


def test_both_vectors_are_those_that_the_service_gives_and_are_replaced(client, url):
    for rated in (LETTERS, ROCKETS):
        assert store(client, "ann", rated).status_code == 200
    with UserStore(url) as kept:
        for horizon in ("next", "overall"):
            asked = {"users": [user(ROCKETS)], "horizon": horizon}
            [told] = client.post("/v1/encode", json=asked).json()["users"]
            vectors = np.array([told["vector"]], np.float32)
            assert kept.nearest("space-0", vectors, 2, horizon=horizon) == [
                [("ann", pytest.approx(1, abs=1e-6))]
            ]
    assert run(url, "SELECT count(*) FROM tastevec.users") == [(2,)]


def test_any_text_is_just_an_id(client, url):
    for user_id in IDS:
        assert store(client, user_id, ROCKETS).status_code == 200
    [found] = find(client, ROCKETS, k=50).json()["users"]
    assert {user["user_id"] for user in found["users"]} == set(IDS)
    for number, user_id in enumerate(IDS, 1):
        assert delete(client, user_id).json() == {"deleted": True}
        assert run(url, "SELECT count(DISTINCT user_id) FROM tastevec.users") == [(len(IDS) - number,)]


@pytest.mark.parametrize("path", ["", "l" * 201, "sec%00ret", "sec%FFret", "sec%ED%A0%80ret"])
def test_an_id_that_cannot_be_stored_is_refused_and_not_repeated(client, path):
    for answer in (
        client.put(f"/v1/users/{path}", json=user(ROCKETS)),
        client.delete(f"/v1/users/{path}"),
    ):
        error = refused(answer, 422, "invalid_data")
        assert error["where"] == "user_id"
        assert error["message"].startswith("user_id")
        assert "sec" not in error["message"]
    assert "exclude[0]" in refused(find(client, ROCKETS, exclude=[""]), 422, "invalid_data")["message"]


@pytest.mark.parametrize(
    ("rated", "code", "where"),
    [
        ([(1, 5.0), (2, 99.0)], "invalid_data", "ratings[1].rating"),
        ([(1, 5.0), (1, 4.0)], "invalid_data", "ratings[1].item_id"),
        ([(1, "five")], "invalid_request", "ratings[0].rating"),
        ([], "invalid_data", "ratings"),
        ([(99, 5.0)], "invalid_data", "ratings"),
    ],
)
def test_ratings_that_cannot_be_read_are_refused_at_their_place(client, url, rated, code, where):
    error = refused(store(client, "ann", rated), 422, code)
    assert error["where"] == where
    assert error["message"].startswith(where)
    assert "users[0]" not in error["message"]
    assert run(url, "SELECT to_regclass('tastevec.users')") == [(None,)]  # not even opened


def test_without_a_token_nobody_is_kept_or_found(keeping, url):
    client = keeping(url, token=None)
    for answer in (store(client, "ann", ROCKETS), delete(client, "ann"), find(client, ROCKETS)):
        error = refused(answer, 403, "no_token")
        assert "Expected TASTEVEC_TOKEN" in error["message"]
    wrong = keeping(url)
    wrong.headers.update({"Authorization": "Bearer other"})
    for answer in (store(wrong, "ann", ROCKETS), delete(wrong, "ann"), find(wrong, ROCKETS)):
        refused(answer, 401, "unauthorized")


def test_without_a_database_the_service_keeps_nobody(keeping):
    client = keeping(None)
    for answer in (store(client, "ann", ROCKETS), delete(client, "ann"), find(client, ROCKETS)):
        error = refused(answer, 404, "no_store")
        assert "Expected TASTEVEC_DATABASE_URL" in error["message"]


def test_a_model_of_another_space_finds_nobody_and_says_so(keeping, url, make, bundle_of):
    seeds = iter([0, 1, 0])
    kind = type(make().model)
    client = keeping(url, lambda: make(model=kind(bundle_of(seed=next(seeds)))))
    assert store(client, "ann", ROCKETS).status_code == 200
    assert client.post("/v1/reload", json={}).json()["space"] == "space-1"
    error = refused(find(client, ROCKETS), 404, "no_users")
    assert "no stored users of space space-1" in error["message"]
    assert client.post("/v1/reload", json={}).json()["space"] == "space-0"
    assert find(client, ROCKETS).json()["users"][0]["users"][0]["user_id"] == "ann"


def test_a_person_is_deleted_from_the_spaces_of_all_models(keeping, url, make, bundle_of):
    seeds = iter([0, 1])
    kind = type(make().model)
    client = keeping(url, lambda: make(model=kind(bundle_of(seed=next(seeds)))))
    store(client, "ann", ROCKETS)
    client.post("/v1/reload", json={})
    store(client, "ann", ROCKETS)
    assert run(url, "SELECT count(*) FROM tastevec.users") == [(4,)]
    assert delete(client, "ann").json() == {"deleted": True}
    assert run(url, "SELECT count(*) FROM tastevec.users") == [(0,)]


def test_a_database_that_is_away_is_said_to_be_and_found_when_it_is_back(keeping, server, url):
    run(server.get_uri(), "ALTER DATABASE served ALLOW_CONNECTIONS false")
    client = keeping(url)  # it starts without its database
    for opened in (False, True):
        for answer in (
            store(client, "ann-secret", ROCKETS),
            delete(client, "ann-secret"),
            find(client, ROCKETS),
        ):
            error = refused(answer, 503, "store_unavailable")
            assert "secret" not in error["message"]
            assert answer.headers["retry-after"]
        assert client.post("/v1/recommend", json={"users": [user(ROCKETS)]}).status_code == 200
        run(server.get_uri(), "ALTER DATABASE served ALLOW_CONNECTIONS true")
        assert store(client, "ann-secret", ROCKETS).status_code == 200
        assert find(client, ROCKETS).status_code == 200
        if not opened:
            run(server.get_uri(), "ALTER DATABASE served ALLOW_CONNECTIONS false")
            run(server.get_uri(), THROW_OUT)


def test_neither_the_log_nor_the_counters_tell_of_anybody(client, caplog):
    with capture_logs() as lines:
        store(client, "ann-secret", ROCKETS)
        store(client, "ann-secret", [(1, 99.0)])
        find(client, ROCKETS, exclude=["ann-secret"])
        delete(client, "ann-secret")
    assert len(lines) == 4
    assert "secret" not in str(lines) + caplog.text + client.get("/metrics").text
    assert {line["route"] for line in lines} == {"/v1/users/{user_id:path}", "/v1/users/search"}


def test_only_so_many_wait_for_the_database(client, monkeypatch):
    monkeypatch.setattr("tastevec.serving.service.store_routes._WAITING", 0)
    assert "Expected fewer" in refused(delete(client, "ann"), 503, "too_busy")["message"]


def test_an_address_that_is_none_is_refused_before_anything_is_served():
    with pytest.raises(SettingsError, match="the address of the database cannot be read") as error:
        StoreClient("postgresql:/s3cret=4")
    assert "s3cret" not in str(error.value)


def test_the_paths_are_described_with_their_errors_in_the_one_shape(client):
    described = client.app.openapi()["paths"]
    one, several = described["/v1/users/{user_id}"], described["/v1/users/search"]
    for operation in (one["put"], one["delete"], several["post"]):
        assert operation["description"]
        assert {"401", "403", "404", "408", "413", "422", "429", "503"} <= set(operation["responses"])
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorResponse"}
    assert {"400", "415"} <= set(one["put"]["responses"]) & set(several["post"]["responses"])

"""The client of the user store: writes during searches, faults, status."""

import asyncio
import socket
import time
from contextlib import asynccontextmanager

import numpy as np
import pytest
from structlog.testing import capture_logs

from databases import emptied_database, run
from tastevec.errors import FormatError
from tastevec.serving.service import store_client
from tastevec.serving.service.error_messages import Problem
from tastevec.serving.service.store_client import StoreClient
from tastevec.serving.user_store import UserStore

psycopg = pytest.importorskip("psycopg", reason="the extra pg is not installed")
DIM = 8
ONE = np.eye(1, DIM, dtype=np.float32)
DISCONNECT_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'clients'"


@pytest.fixture(name="url")
def _url(server):
    return emptied_database(server, "clients")


@asynccontextmanager
async def opened(url):
    client = StoreClient(url)
    try:
        await client.open()
        yield client
    finally:
        await asyncio.to_thread(client.close)


def put(name):
    return lambda store: store.upsert("one", [name], {"overall": ONE})


async def code_of(call):
    """Return the error code of a call; None if it succeeds."""
    try:
        await call
    except Problem as error:
        return error.code
    return None


def fill(url, users):
    vectors = np.random.default_rng(1).standard_normal((users, DIM)).astype(np.float32)
    with UserStore(url) as store:
        store.upsert("one", range(users), {"overall": vectors})
    return vectors


def test_search_in_pieces_equals_one_search(url, monkeypatch):
    vectors = fill(url, 50)
    monkeypatch.setattr(store_client, "_PIECE_S", 0.0)
    monkeypatch.setattr(store_client, "_PIECE_IDS", 7)

    async def search():
        async with opened(url) as client:
            return await client.search("one", vectors[:5], 9, ["7"])

    nearest, known = asyncio.run(search())
    with UserStore(url) as store:
        assert nearest == store.nearest("one", vectors[:5], 9, exclude=["7"])
        expected = store.vectors("one", sorted({user_id for row in nearest for user_id, _ in row}))
    assert known.keys() == expected.keys()
    for user_id, vector in known.items():
        np.testing.assert_array_equal(vector, expected[user_id])


def test_writes_and_small_searches_do_not_wait_for_big_searches(url):
    vectors = fill(url, 20_000)
    writes, small = [], []

    async def timed(call, seconds):
        began = time.perf_counter()
        await call
        seconds.append(time.perf_counter() - began)

    async def load():
        async with opened(url) as client:
            searches = [
                asyncio.create_task(client.search("one", np.tile(vectors[:256], (4, 1)), 10))
                for _ in range(8)
            ]
            await asyncio.sleep(0.2)
            for number in range(40):
                await timed(client.write(put(f"new {number}")), writes)
                await timed(client.write(lambda store, name=f"new {number}": store.delete(name)), writes)
            await timed(client.search("one", vectors[:1], 10), small)
            assert not any(search.done() for search in searches)
            for search in searches:
                search.cancel()
            await asyncio.gather(*searches, return_exceptions=True)
            began = time.perf_counter()
            assert len((await client.search("one", vectors[:1], 10))[0]) == 1
            assert time.perf_counter() - began < 0.5  # the canceled searches have left the threads

    asyncio.run(load())
    assert np.quantile(writes, 0.99) < 0.5
    assert small[0] < 2.0


def test_full_queue_of_searches_refuses_searches_but_no_writes(url, monkeypatch):
    monkeypatch.setattr(store_client, "_WAITING", 3)
    nearest = UserStore.nearest

    def slow_nearest(*positional, **more):
        time.sleep(0.3)
        return nearest(*positional, **more)

    monkeypatch.setattr(UserStore, "nearest", slow_nearest)

    async def load():
        async with opened(url) as client:
            slow = [asyncio.create_task(client.search("one", ONE, 1)) for _ in range(3)]
            await asyncio.sleep(0.05)
            codes = [await code_of(client.search("one", ONE, 1)), await code_of(client.write(put("ann")))]
            await asyncio.gather(*slow)
            return [*codes, await code_of(client.search("one", ONE, 1))]

    assert asyncio.run(load()) == ["too_busy", None, None]


def test_requests_to_a_dead_host_fail_together():
    with socket.create_server(("127.0.0.1", 0)) as dead:  # accepts, and never responds
        url = f"postgresql://ann:s3cret@127.0.0.1:{dead.getsockname()[1]}/users"

        async def load():
            client = StoreClient(url)
            began = time.perf_counter()
            codes = await asyncio.gather(*(code_of(client.write(put("ann"))) for _ in range(20)))
            seconds = time.perf_counter() - began
            await asyncio.to_thread(client.close)
            return codes, seconds, client.status

        with capture_logs() as lines:
            codes, seconds, status = asyncio.run(load())
    assert codes == ["store_unavailable"] * 20
    assert seconds < 6  # one attempt takes two seconds
    assert status == "unavailable (ConnectionTimeout)"
    assert [(line["event"], line["kind"]) for line in lines] == [("store_unavailable", "ConnectionTimeout")]
    assert "s3cret" not in str(lines)


def test_status_and_log_follow_the_database(server, url, monkeypatch, caplog):
    monkeypatch.setattr(store_client, "_VALID_S", 0.0)
    seen = []

    async def follow():
        client = StoreClient(url)
        seen.append(client.status)
        run(server.get_uri(), "ALTER DATABASE clients ALLOW_CONNECTIONS false")
        await client.open()
        seen.append(client.status)
        for _ in range(3):
            assert await code_of(client.write(put("ann"))) == "store_unavailable"
        run(server.get_uri(), "ALTER DATABASE clients ALLOW_CONNECTIONS true")
        seen.extend([await client.check(), await client.check()])
        await client.write(put("ann"))
        run(server.get_uri(), "ALTER DATABASE clients ALLOW_CONNECTIONS false")
        run(server.get_uri(), DISCONNECT_ALL)
        monkeypatch.setattr(store_client, "_PROBE_S", 5.0)  # longer than the pool waits
        seen.append(await client.check())
        run(server.get_uri(), "ALTER DATABASE clients ALLOW_CONNECTIONS true")
        seen.append(await client.check())
        await asyncio.to_thread(client.close)

    with capture_logs() as lines:
        asyncio.run(follow())
    assert seen == [
        "starting",
        "unavailable (OperationalError)",
        "ready",
        "ready",
        "unavailable (PoolTimeout)",
        "ready",
    ]
    assert [line["event"] for line in lines] == [
        "store_unavailable",
        "store_available",
    ]  # the second fault: within 5 s
    assert [record.name for record in caplog.records if record.name.startswith("psycopg")] == []


def test_check_is_bounded_in_time_and_shared(url, monkeypatch):
    monkeypatch.setattr(store_client, "_PROBE_S", 0.2)
    calls = []

    def slow(_store):
        calls.append(1)
        time.sleep(0.6)

    async def probe():
        async with opened(url) as client:
            monkeypatch.setattr(UserStore, "check", slow)
            began = time.perf_counter()
            found = await asyncio.gather(*(client.check() for _ in range(50)))
            return set(found), time.perf_counter() - began

    found, seconds = asyncio.run(probe())
    assert found == {"unavailable (TimeoutError)"}
    assert seconds < 0.5
    assert len(calls) == 1


def test_other_tables_end_the_start_and_refuse_requests(url):
    run(url, "CREATE SCHEMA tastevec; CREATE TABLE tastevec.accounts (id integer)")

    async def start():
        client = StoreClient(url)
        with pytest.raises(FormatError, match=r"with accounts\.id int4"):
            await client.open()
        code = await code_of(client.write(put("ann")))
        await asyncio.to_thread(client.close)
        return code, client.status

    assert asyncio.run(start()) == ("unavailable", "unavailable (FormatError)")


def test_read_only_database_refuses_writes_with_a_sentence(url):
    UserStore(url).close()

    async def write():
        async with opened(f"{url}&options=-c%20default_transaction_read_only%3Don") as client:
            assert (await client.search("one", ONE, 1))[0] == [[]]
            with pytest.raises(Problem, match="the user database: read-only") as refused:
                await client.write(put("ann"))
            return refused.value.status, refused.value.code, client.status

    with capture_logs() as lines:
        assert asyncio.run(write()) == (503, "unavailable", "ready")
    assert [line.get("kind") for line in lines] == ["SettingsError"]


def test_removed_tables_are_created_again(url):
    async def recover():
        async with opened(url) as client:
            await client.write(put("ann"))
            run(url, "DROP SCHEMA tastevec CASCADE")
            codes = [await code_of(client.write(put("ann"))) for _ in range(2)]
            return codes, client.status

    assert asyncio.run(recover()) == (["unavailable", None], "ready")


def test_slow_statement_is_no_unavailable_database(url, monkeypatch):
    monkeypatch.setattr("tastevec.serving.user_tables._STATEMENT_MS", 100)

    async def wait():
        async with opened(url) as client:
            with psycopg.connect(url) as other:
                other.execute("LOCK TABLE tastevec.users")
                with pytest.raises(Problem, match="a statement was too slow") as refused:
                    await client.write(put("ann"))
            return refused.value.code, client.status

    assert asyncio.run(wait()) == ("store_unavailable", "ready")

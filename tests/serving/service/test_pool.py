"""The pool gives requests to workers: large ones never to the first, clients in turns, and all within bounds."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from tastevec.errors import FormatError
from tastevec.serving.service import pool as pool_module
from tastevec.serving.service.error_messages import Problem
from tastevec.serving.service.metrics import Metrics
from tastevec.serving.service.pool import Pool
from tastevec.serving.service.settings import ServiceSettings

FACTS = {
    "facts": {"space": "space-0", "n_items": 1, "data": "d", "version": "v"},
    "example": {},
    "n_users": None,
}
LARGE = b" " * 40_000


class Silent:
    """A worker that answers when the test says so."""

    all: list["Silent"] = []  # noqa: RUF012  emptied by each test
    fingerprint = "one"

    def __init__(self, receive):
        self.receive, self.jobs, self.gone, self.closed, self.killed = receive, [], [], False, False
        Silent.all.append(self)
        if self.fingerprint:
            self.receive({"ready": self.fingerprint}, json.dumps(FACTS).encode())

    @classmethod
    async def start(cls, _command, receive):
        return cls(receive)

    def send(self, header, body=b""):
        if "gone" in header:
            self.gone.append(header["gone"])
        else:
            self.jobs.append((header["job"], body))

    def answer(self, index=0, **header):
        number, body = self.jobs.pop(index)
        self.receive({"job": number, "status": 200, **header}, body)

    def close(self):
        self.closed = True
        self.receive(None, b"")

    def kill(self):
        self.killed = True
        asyncio.get_running_loop().call_soon(self.receive, None, b"")


@asynccontextmanager
async def opened(**settings):
    """Open a pool of two silent workers."""
    Silent.all.clear()
    pool = Pool(["command"], ServiceSettings(**({"workers": 2} | settings)), Metrics())
    pool.open()
    await until(lambda: pool.workers == pool._count)
    yield pool, list(Silent.all)
    await pool.close()


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  there is no event
            await asyncio.sleep(0.005)


def ask(pool, body=b"{}", client="a"):
    return asyncio.create_task(pool.run("encode", body, client))


@pytest.fixture(autouse=True)
def _silent(monkeypatch):
    monkeypatch.setattr(pool_module.ProcessLink, "start", Silent.start)
    monkeypatch.setattr(Silent, "fingerprint", "one")


def run(test):
    asyncio.run(asyncio.wait_for(test(), 30))


def test_large_requests_are_never_in_the_first_worker():
    async def test():
        async with opened() as (pool, (first, second)):
            tasks = [ask(pool, LARGE, client=str(number)) for number in range(12)]
            small = [ask(pool) for _ in range(3)]
            await until(lambda: len(first.jobs) == 3)
            assert len(second.jobs) == 8
            assert all(len(body) < len(LARGE) for _, body in first.jobs)
            for _ in range(12):
                await until(lambda: second.jobs)
                second.answer()
            while first.jobs:
                first.answer()
            assert [(await task).status for task in tasks + small] == [200] * 15

    run(test)


def test_small_requests_use_all_workers_without_large_ones():
    async def test():
        async with opened() as (pool, workers):
            tasks = [ask(pool) for _ in range(6)]
            await until(lambda: [len(worker.jobs) for worker in workers] == [3, 3])
            for worker in workers:
                while worker.jobs:
                    worker.answer()
            await asyncio.gather(*tasks)

    run(test)


def test_clients_take_turns():
    async def test():
        async with opened() as (pool, (_, second)):
            tasks = [ask(pool, LARGE, client="greedy") for _ in range(10)]
            await until(lambda: len(second.jobs) == 4)  # of one client, no more at once
            late = ask(pool, LARGE + b"late", client="other")
            await until(lambda: any(body.endswith(b"late") for _, body in second.jobs))
            for _ in range(11):
                await until(lambda: second.jobs)
                second.answer()
            await asyncio.gather(*tasks, late)

    run(test)


def test_full_queues_refuse_requests():
    async def test():
        async with opened(waiting=5) as (pool, workers):
            small = [ask(pool) for _ in range(16 + 5)]
            await until(lambda: sum(len(worker.jobs) for worker in workers) == 16)
            with pytest.raises(Problem, match="5 requests are waiting") as refused:
                await pool.run("encode", b"{}", "a")
            assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
            for worker in workers:
                while worker.jobs:
                    worker.answer()
                    await asyncio.sleep(0)
            await asyncio.gather(*small)

    run(test)


def test_request_of_a_gone_client_is_given_up():
    async def test():
        async with opened() as (pool, (first, second)):
            small, large = ask(pool), ask(pool, LARGE)
            await until(lambda: first.jobs and second.jobs)
            waiting = [ask(pool, LARGE) for _ in range(10)]
            await asyncio.sleep(0.01)
            for task in (small, large, *waiting):
                task.cancel()
            await asyncio.gather(small, large, *waiting, return_exceptions=True)
            assert first.gone == [first.jobs[0][0]]
            assert len(second.gone) == 4
            first.answer(status=499)
            while second.jobs:
                second.answer(status=499)
            await asyncio.sleep(0.01)
            assert not second.jobs  # those that waited were never given

    run(test)


def test_small_request_that_turns_out_large_waits_among_the_large_ones():
    async def test():
        async with opened() as (pool, (first, second)):
            task = ask(pool)
            await until(lambda: first.jobs)
            number, body = first.jobs.pop()
            first.receive({"job": number, "large": True}, b"")
            await until(lambda: second.jobs == [(number, body)])
            second.receive({"job": number, "part": True}, b"[1")
            second.receive({"job": number, "status": 200}, b"]")
            assert b"".join((await task).body) == b"[1]"

    run(test)


def test_large_requests_wait_while_responses_are_not_taken():
    async def test():
        async with opened(in_flight_bytes=1_000) as (pool, (_, second)):
            pool.unsent(501)
            task = ask(pool, LARGE)
            await asyncio.sleep(0.02)
            assert not second.jobs
            pool.unsent(-501)
            await until(lambda: second.jobs)
            second.answer()
            assert (await task).status == 200

    run(test)


def test_ended_worker_refuses_its_requests_and_is_replaced():
    async def test():
        async with opened() as (pool, (first, _)):
            task = ask(pool)
            await until(lambda: first.jobs)
            first.receive(None, b"")
            with pytest.raises(Problem, match="a worker ended") as refused:
                await task
            assert refused.value.headers == {"Retry-After": "1"}
            await until(lambda: len(Silent.all) == 3)
            await until(lambda: pool.workers == 2)

    run(test)


def test_worker_that_does_not_answer_is_replaced():
    async def test():
        async with opened(timeout_s=0.1) as (pool, (first, _)):
            task = ask(pool)
            await until(lambda: first.jobs)
            task.cancel()
            await until(lambda: first.killed)
            await until(lambda: pool.workers == 2)

    run(test)


def test_replaced_worker_with_another_model_reloads_all():
    async def test():
        async with opened() as (pool, (first, second)):
            Silent.fingerprint = "two"
            first.receive(None, b"")
            await until(lambda: pool.model.fingerprint == "two" and pool.workers == 2)
            assert second.closed

    run(test)


def test_later_reload_replaces_one_that_hangs():
    async def test():
        async with opened() as (pool, _):
            Silent.fingerprint = None
            hung = asyncio.create_task(pool.load())
            await until(lambda: len(Silent.all) == 3)
            Silent.fingerprint = "two"
            await pool.load()
            with pytest.raises(FormatError, match="given up for a later reload"):
                await hung
            assert Silent.all[2].killed
            assert pool.model.fingerprint == "two"
            await until(lambda: pool.workers == 2)

    run(test)

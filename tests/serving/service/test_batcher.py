"""The batcher merges concurrent jobs, and each result equals that of a single job."""

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastevec.serving.service.errors import Problem
from tastevec.serving.service.inference import Batcher
from users import users


class Slow:
    """A model whose vectors are sums of ratings; it can be blocked."""

    def __init__(self, *, blocked=False):
        self.passes = []
        self.begun, self.go = threading.Event(), threading.Event()
        if not blocked:
            self.go.set()

    def vectors(self, histories, horizon):
        self.begun.set()
        assert self.go.wait(20)
        self.passes.append((len(histories), horizon))
        if (histories.ratings == 13).any():
            raise ValueError("thirteen")
        sums = [
            histories.ratings[a:b].sum()
            for a, b in zip(histories.offsets, histories.offsets[1:], strict=False)
        ]
        return np.array(sums, np.float32)[:, None]


def rated(*ratings):
    """Return users with one rating each."""
    return users(*([(0, rating)] for rating in ratings))


def sums(vectors):
    return vectors[:, 0].tolist()


async def run_jobs(model, jobs, batcher):
    """Run the first job, and all others while the model computes it."""
    first = asyncio.create_task(batcher.run(model, *jobs[0]))
    await asyncio.to_thread(model.begun.wait, 20)
    others = [asyncio.create_task(batcher.run(model, *job)) for job in jobs[1:]]
    await asyncio.sleep(0.05)
    model.go.set()
    return await asyncio.gather(first, *others, return_exceptions=True)


def run(model, jobs, **settings):
    batcher = Batcher(**({"waiting": 100} | settings))
    batcher.open()
    try:
        return asyncio.run(run_jobs(model, jobs, batcher))
    finally:
        batcher.close()


def test_batcher_with_waiting_jobs_merges_them():
    model, counted = Slow(blocked=True), []
    results = run(model, [(rated(n), "next", sums) for n in range(1, 9)], progress=counted.append)
    assert results == [[float(n)] for n in range(1, 9)]
    assert model.passes == [(1, "next"), (7, "next")]
    assert counted == [1, 7]


def test_batcher_with_two_horizons_runs_two_batches():
    model = Slow(blocked=True)
    jobs = [(rated(n), "next" if n % 2 else "overall", sums) for n in range(6)]
    assert run(model, jobs) == [[float(n)] for n in range(6)]
    assert sorted(model.passes) == [(1, "overall"), (2, "overall"), (3, "next")]


def test_batcher_with_two_models_runs_two_batches():
    one, two = Slow(blocked=True), Slow()
    batcher = Batcher(waiting=9)
    batcher.open()

    async def infer():
        first = asyncio.create_task(batcher.run(one, rated(1), "next", sums))
        await asyncio.to_thread(one.begun.wait, 20)
        others = [
            asyncio.create_task(batcher.run(model, rated(2), "next", sums)) for model in (two, one, two)
        ]
        await asyncio.sleep(0.05)
        one.go.set()
        return await asyncio.gather(first, *others)

    assert asyncio.run(infer()) == [[1.0], [2.0], [2.0], [2.0]]
    assert one.passes == [(1, "next"), (1, "next")]
    assert two.passes == [(2, "next")]
    batcher.close()


def test_batcher_error_reaches_only_its_job():
    def failing(_vectors):
        raise KeyError("mine")

    results = run(
        Slow(blocked=True),
        [
            (rated(1), "next", sums),
            (rated(2), "next", sums),
            (rated(13), "next", sums),
            (rated(4), "next", failing),
            (rated(5), "next", sums),
        ],
    )
    assert results[0] == [1.0]
    assert results[1] == [2.0]
    assert isinstance(results[2], ValueError)
    assert isinstance(results[3], KeyError)
    assert results[4] == [5.0]


def test_batcher_with_a_full_queue_refuses_jobs():
    results = run(Slow(blocked=True), [(rated(n), "next", sums) for n in range(6)], waiting=3)
    assert [isinstance(result, Problem) for result in results] == [False] * 4 + [True] * 2
    assert results[-1].status_code == 503


def test_batcher_skips_cancelled_jobs():
    model, batcher = Slow(blocked=True), Batcher(waiting=9)
    batcher.open()

    async def leave():
        first = asyncio.create_task(batcher.run(model, rated(1), "next", sums))
        await asyncio.to_thread(model.begun.wait, 20)
        second = asyncio.create_task(batcher.run(model, rated(2), "next", sums))
        third = asyncio.create_task(batcher.run(model, rated(3), "next", sums))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.sleep(0.05)
        model.go.set()
        assert await first == [1.0]
        assert await third == [3.0]
        with pytest.raises(asyncio.CancelledError):
            await second

    asyncio.run(leave())
    batcher.close()
    assert model.passes == [(1, "next"), (1, "next")]


def test_batcher_close_finishes_waiting_jobs():
    model, batcher = Slow(blocked=True), Batcher(waiting=9)
    batcher.open()

    async def end():
        jobs = [asyncio.create_task(batcher.run(model, rated(n), "next", sums)) for n in range(3)]
        await asyncio.to_thread(model.begun.wait, 20)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0.05)
        model.go.set()
        results = await asyncio.gather(*jobs)
        await closing
        return results

    assert asyncio.run(end()) == [[0.0], [1.0], [2.0]]


RATINGS = st.lists(
    st.tuples(st.integers(0, 19), st.sampled_from([1.0, 2.5, 4.0, 5.0])),
    max_size=8,
    unique_by=lambda row: row[0],
)


@given(
    st.lists(st.lists(RATINGS, min_size=1, max_size=3), min_size=1, max_size=5),
    st.sampled_from(["next", "overall"]),
)
@settings(max_examples=30)
def test_batcher_result_equals_the_single_result(tiny, groups, horizon):
    batcher = Batcher(waiting=9)
    batcher.open()

    async def infer():
        return await asyncio.gather(
            *(batcher.run(tiny.model, users(*group), horizon, np.asarray) for group in groups)
        )

    try:
        for group, found in zip(groups, asyncio.run(infer()), strict=True):
            np.testing.assert_allclose(
                found, tiny.model.vectors(users(*group), horizon), atol=1e-5, rtol=1e-5
            )
    finally:
        batcher.close()

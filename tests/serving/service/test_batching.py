"""Questions that come together are answered together, each as if it were alone."""

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
    """A model whose vectors are the sums of ratings, and which answers when it is let."""

    def __init__(self, *, held=False):
        self.passes = []
        self.begun, self.go = threading.Event(), threading.Event()
        if not held:
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


def told(*ratings):
    """People who rated one film each."""
    return users(*([(0, rating)] for rating in ratings))


def sums(vectors):
    return vectors[:, 0].tolist()


async def together(model, questions, batcher):
    """Ask the first, and once the model works on it all others at the same time."""
    first = asyncio.create_task(batcher.run(model, questions[0][0], questions[0][1], questions[0][2]))
    await asyncio.to_thread(model.begun.wait, 20)
    others = [asyncio.create_task(batcher.run(model, *question)) for question in questions[1:]]
    await asyncio.sleep(0.05)
    model.go.set()
    return await asyncio.gather(first, *others, return_exceptions=True)


def run(model, questions, **settings):
    batcher = Batcher(**({"waiting": 100} | settings))
    batcher.open()
    try:
        return asyncio.run(together(model, questions, batcher))
    finally:
        batcher.close()


def test_what_gathers_while_the_model_works_goes_together():
    model, counted = Slow(held=True), []
    answers = run(model, [(told(n), "next", sums) for n in range(1, 9)], progress=counted.append)
    assert answers == [[float(n)] for n in range(1, 9)]
    assert model.passes == [(1, "next"), (7, "next")]
    assert counted == [1, 7]


def test_questions_of_two_horizons_do_not_share_a_pass():
    model = Slow(held=True)
    asked = [(told(n), "next" if n % 2 else "overall", sums) for n in range(6)]
    assert run(model, asked) == [[float(n)] for n in range(6)]
    assert sorted(model.passes) == [(1, "overall"), (2, "overall"), (3, "next")]


def test_models_do_not_share_a_pass():
    one, two = Slow(held=True), Slow()
    batcher = Batcher(waiting=9)
    batcher.open()

    async def ask():
        first = asyncio.create_task(batcher.run(one, told(1), "next", sums))
        await asyncio.to_thread(one.begun.wait, 20)
        others = [asyncio.create_task(batcher.run(model, told(2), "next", sums)) for model in (two, one, two)]
        await asyncio.sleep(0.05)
        one.go.set()
        return await asyncio.gather(first, *others)

    assert asyncio.run(ask()) == [[1.0], [2.0], [2.0], [2.0]]
    assert one.passes == [(1, "next"), (1, "next")]
    assert two.passes == [(2, "next")]
    batcher.close()


def test_what_is_wrong_with_one_question_is_not_told_to_another():
    def unlucky(_vectors):
        raise KeyError("mine")

    answers = run(
        Slow(held=True),
        [
            (told(1), "next", sums),
            (told(2), "next", sums),
            (told(13), "next", sums),
            (told(4), "next", unlucky),
            (told(5), "next", sums),
        ],
    )
    assert answers[0] == [1.0]
    assert answers[1] == [2.0]
    assert isinstance(answers[2], ValueError)
    assert isinstance(answers[3], KeyError)
    assert answers[4] == [5.0]


def test_more_than_may_wait_are_refused():
    answers = run(Slow(held=True), [(told(n), "next", sums) for n in range(6)], waiting=3)
    assert [isinstance(answer, Problem) for answer in answers] == [False] * 4 + [True] * 2
    assert answers[-1].status_code == 503


def test_whoever_has_left_is_not_asked_for():
    model, batcher = Slow(held=True), Batcher(waiting=9)
    batcher.open()

    async def leave():
        first = asyncio.create_task(batcher.run(model, told(1), "next", sums))
        await asyncio.to_thread(model.begun.wait, 20)
        second = asyncio.create_task(batcher.run(model, told(2), "next", sums))
        third = asyncio.create_task(batcher.run(model, told(3), "next", sums))
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


def test_what_waits_is_answered_before_the_end():
    model, batcher = Slow(held=True), Batcher(waiting=9)
    batcher.open()

    async def end():
        asked = [asyncio.create_task(batcher.run(model, told(n), "next", sums)) for n in range(3)]
        await asyncio.to_thread(model.begun.wait, 20)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0.05)
        model.go.set()
        answers = await asyncio.gather(*asked)
        await closing
        return answers

    assert asyncio.run(end()) == [[0.0], [1.0], [2.0]]


RATED = st.lists(
    st.tuples(st.integers(0, 19), st.sampled_from([1.0, 2.5, 4.0, 5.0])),
    max_size=8,
    unique_by=lambda row: row[0],
)


@given(
    st.lists(st.lists(RATED, min_size=1, max_size=3), min_size=1, max_size=5),
    st.sampled_from(["next", "overall"]),
)
@settings(max_examples=30)
def test_nobodys_answer_depends_on_who_else_is_asked(tiny, groups, horizon):
    batcher = Batcher(waiting=9)
    batcher.open()

    async def ask():
        return await asyncio.gather(
            *(batcher.run(tiny.model, users(*group), horizon, np.asarray) for group in groups)
        )

    try:
        for group, found in zip(groups, asyncio.run(ask()), strict=True):
            np.testing.assert_allclose(
                found, tiny.model.vectors(users(*group), horizon), atol=1e-5, rtol=1e-5
            )
    finally:
        batcher.close()

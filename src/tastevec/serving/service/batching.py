"""Questions that come at the same time go through the model together.

Dimensions: B people of a question, D numbers a vector.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import groupby
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tastevec.data.histories import Histories
from tastevec.serving.service.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from tastevec.schema import Horizon
    from tastevec.serving.recommender import Recommender

__all__ = ["Batcher"]

_PEOPLE = 256  # that go through the model together
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _Question:
    model: Recommender
    histories: Histories
    horizon: Horizon
    finish: Callable[[NDArray[np.float32]], Any]
    future: Future[Any] = field(default_factory=Future)

    @property
    def kind(self) -> tuple[int, str]:
        """Questions of one kind may share a pass through the model."""
        return id(self.model), self.horizon


class Batcher:
    """One thread that asks the model.

    While it works on some questions others gather, and go together next: whoever is alone never waits for company, and
    the busier it is the larger the batches are. Nobody's answer depends on who else is asked, and what is wrong with
    one question is not told to another.
    """

    def __init__(self, *, waiting: int, tell: Callable[[int], object] = lambda _people: None) -> None:
        """Nothing is answered before `open`.

        Args:
            waiting: Questions that may wait at once; more are refused.
            tell: Called with the people of each pass through the model.
        """
        self._questions: SimpleQueue[_Question | None] = SimpleQueue()
        self._waiting, self._tell = waiting, tell
        self._thread: Thread | None = None

    def open(self) -> None:
        """Start the thread."""
        self._thread = Thread(target=self._work, name="tastevec-model", daemon=True)
        self._thread.start()

    async def ask(
        self,
        model: Recommender,
        histories: Histories,
        horizon: Horizon,
        finish: Callable[[NDArray[np.float32]], T],
    ) -> T:
        """What ``finish`` makes, in the thread, of the people's vectors (B, D).

        Raises:
            Problem: Too many questions are waiting.
        """
        if self._questions.qsize() >= self._waiting:
            raise Problem(
                503,
                "too_busy",
                f"{self._waiting} requests are waiting for the model; expected fewer: ask again in a second",
                headers={"Retry-After": "1"},
            )
        question = _Question(model, histories, horizon, finish)
        self._questions.put(question)
        answer: T = await asyncio.wrap_future(question.future)
        return answer

    def close(self) -> None:
        """Answer what is waiting, then end the thread."""
        self._questions.put(None)
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        for questions in self._gathered():
            # Whoever has stopped waiting is not asked for.
            wanted = [question for question in questions if question.future.set_running_or_notify_cancel()]
            wanted.sort(key=lambda question: question.kind)
            for _, alike in groupby(wanted, key=lambda question: question.kind):
                self._answer(list(alike))

    def _gathered(self) -> Iterator[list[_Question]]:
        """What has gathered, each time; until the end."""
        while (question := self._questions.get()) is not None:
            gathered, people = [question], len(question.histories)
            while people < _PEOPLE:
                try:
                    following = self._questions.get_nowait()
                except Empty:
                    break
                if following is None:
                    self._questions.put(None)  # to be found again once these are answered
                    break
                gathered.append(following)
                people += len(following.histories)
            yield gathered

    def _answer(self, questions: Sequence[_Question]) -> None:
        try:
            histories = _together([question.histories for question in questions])
            vectors = questions[0].model.vectors(histories, questions[0].horizon)
            self._tell(len(histories))
        except Exception as error:  # noqa: BLE001  it is whose question it is, who is told
            if len(questions) == 1:
                questions[0].future.set_exception(error)
                return
            for question in questions:  # one of them is at fault, and the others are not
                self._answer([question])
            return
        start = 0
        for question in questions:
            end = start + len(question.histories)
            try:
                question.future.set_result(question.finish(vectors[start:end]))
            except Exception as error:  # noqa: BLE001  as above
                question.future.set_exception(error)
            start = end


def _together(groups: Sequence[Histories]) -> Histories:
    """The people of all groups."""
    if len(groups) == 1:
        return groups[0]
    flat = {
        name: np.concatenate([getattr(group, name) for group in groups])
        for name in ("user_ids", "items", "ratings", "normalised", "times")
    }
    lengths = np.concatenate([group.lengths for group in groups])
    return Histories(offsets=np.concatenate([[0], np.cumsum(lengths)]), **flat)

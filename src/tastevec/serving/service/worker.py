"""A worker of the service: it loads the model, and turns request bodies into response bodies.

The process in front of it accepts connections and computes nothing; both exchange `messages` through pipes.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

from tastevec.data.histories import Histories
from tastevec.errors import TastevecError
from tastevec.serving.encoder import OnnxEncoder
from tastevec.serving.neighbors import read_user_vectors
from tastevec.serving.recommender import Recommender, load
from tastevec.serving.service.error_messages import Problem, frames, problem_of, too_busy
from tastevec.serving.service.messages import LARGE_AT_ONCE, message_bytes, read_message
from tastevec.serving.service.operations import OPERATIONS, SMALL_MS, Work
from tastevec.serving.service.responses import AppState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_PARSING_MS: Final = 0.001  # per byte of a body, before its cost is known
_PATIENCE: Final = 0.5  # milliseconds of work that a millisecond of waiting outweighs


class _GoneError(Exception):
    """The client of a request is gone, or its time is over."""


class _Turns:
    """One piece of work at a time: next is the one with the lowest priority number."""

    def __init__(self) -> None:
        self._lock, self._taken = Lock(), False
        self._waiting: list[tuple[Callable[[], float], Event]] = []

    def take(self, priority: Callable[[], float]) -> None:
        """Wait for the turn."""
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            gate = Event()
            self._waiting.append((priority, gate))
        gate.wait()

    def give(self) -> None:
        """End the turn."""
        with self._lock:
            if not self._waiting:
                self._taken = False
                return
            following = min(self._waiting, key=lambda one: one[0]())
            self._waiting.remove(following)
            following[1].set()


@dataclass(eq=False)
class _Job:
    number: int
    operation: str
    body: bytes
    large: bool
    most_ms: float = float("inf")  # of its cost
    gone: Event = field(default_factory=Event)
    cost: float = 0.0
    spent: float = 0.0
    arrived: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """The expected milliseconds of work to its end."""
        return max(0.0, self.cost - self.spent)

    @property
    def waited(self) -> float:
        """The milliseconds since it arrived."""
        return 1000 * (time.perf_counter() - self.arrived)

    def priority(self) -> float:
        """Return the expected milliseconds to its end, less for one that waits.

        The shortest first: equal turns would let two long requests time out where one can be finished.
        """
        return self.left - _PATIENCE * self.waited


def _at_once() -> float:
    """Return the priority of small jobs, which come before all pieces."""
    return float("-inf")


class Worker:
    """Computes the jobs that it receives: small ones in batches, large ones in turns of one block each.

    The result of a job does not depend on its batch, and an error reaches only its own job.
    """

    def __init__(self, source: Callable[[], AppState], send: Callable[[dict[str, Any], bytes], None]) -> None:
        """Create a worker that sends messages to ``send``, from any thread; `run` starts it."""
        self._source, self._send = source, send
        self._inbox: SimpleQueue[_Job | None] = SimpleQueue()
        self._jobs: dict[int, _Job] = {}
        self._small: list[tuple[_Job, Work]] = []  # valid ones that wait
        self._admitted: set[_Job] = set()  # large ones that are being computed
        self._closed = False
        self._turns = _Turns()

    def receive(self, header: dict[str, Any], body: bytes) -> None:
        """Take a message from the front: a job, or the number of one whose client is gone."""
        if (number := header.get("gone")) is not None:
            if job := self._jobs.get(number):
                job.gone.set()
            return
        job = _Job(
            header["job"], header["operation"], body, header["large"], header.get("most_ms", float("inf"))
        )
        self._jobs[job.number] = job
        self._inbox.put(job)

    def close(self) -> None:
        """End `run` after the waiting jobs."""
        self._inbox.put(None)

    def run(self) -> None:
        """Load the model, say so, and compute jobs until `close`."""
        try:
            state = self._state = self._source().prepared()
        except Exception as error:  # noqa: BLE001  the front reports it
            self._send({"failed": type(error).__name__, "message": str(error)}, b"")
            return
        if state.map_body is not None:
            plain, gzipped, etag = state.map_body
            self._send({"map": "plain", "etag": etag}, plain)
            self._send({"map": "gzip", "etag": etag}, gzipped)
        users = None if state.users is None else len(state.users)
        facts = {"facts": state.facts, "example": state.example, "n_users": users}
        self._send({"ready": state.model.bundle.fingerprint}, to_json(facts))
        with ThreadPoolExecutor(LARGE_AT_ONCE, thread_name_prefix="tastevec-large") as large:
            while self._collect(large):
                if self._small:
                    self._turns.take(_at_once)
                    try:
                        self._run_batch(self._next_batch())
                    finally:
                        self._turns.give()

    def _collect(self, large: ThreadPoolExecutor) -> bool:
        """Take the waiting jobs, or wait for one; return whether there is something to do."""
        while not self._closed:
            try:
                job = self._inbox.get(block=not self._small)
            except Empty:
                break
            if job is None:
                self._closed = True
            elif job.large:
                large.submit(self._run_large, job)
            else:
                self._open(job)
        return not self._closed or bool(self._small)

    def _open(self, job: _Job) -> None:
        """Parse a small job, which may turn out to be a large one."""
        try:
            if job.gone.is_set():
                raise _GoneError  # noqa: TRY301  it is answered below, as every error
            work = OPERATIONS[job.operation].open(self._state, job.body)
        except Exception as error:  # noqa: BLE001  it belongs to the job
            self._fail(job, error)
            return
        job.cost = work.cost
        if work.cost > SMALL_MS:
            self._answer(job, {"large": True})
        else:
            self._small.append((job, work))

    def _next_batch(self) -> list[tuple[_Job, Work]]:
        """Remove and return small jobs that are encoded together, the cheapest first."""
        self._small.sort(key=lambda one: one[0].priority())
        kind, batch, cost = _kind(self._small[0][1]), list[tuple[_Job, Work]](), 0.0
        for one in self._small:
            cost += one[1].cost
            if _kind(one[1]) == kind and (not batch or cost <= SMALL_MS):
                batch.append(one)
        self._small = [one for one in self._small if one not in batch]
        return batch

    def _answer(self, job: _Job, header: dict[str, Any], body: bytes = b"") -> None:
        self._jobs.pop(job.number, None)
        self._send({"job": job.number, **header}, body)

    def _fail(self, job: _Job, error: Exception) -> None:
        """Answer a job with its error."""
        if isinstance(error, _GoneError):
            self._answer(job, {"status": 499})
            return
        if isinstance(error, TastevecError):
            error = problem_of(error)
        if isinstance(error, Problem):
            self._answer(job, {"status": error.status, "headers": error.headers}, error.body)
            return
        self._answer(job, {"status": 500, "kind": type(error).__name__, "frames": frames(error)})

    def _run_batch(self, batch: Sequence[tuple[_Job, Work]]) -> None:
        """Encode the users of all jobs together, and answer each."""
        vectors, users = None, sum(_users(work) for _, work in batch)
        if users:
            try:
                histories = Histories.concatenate(
                    [work.users.histories for _, work in batch if work.users is not None]
                )
                first = batch[0][1]
                vectors = self._state.model.user_vectors(histories, first.horizon, first.dislike_weight)
            except Exception as error:  # noqa: BLE001  it belongs to one of the jobs
                if len(batch) == 1:
                    self._fail(batch[0][0], error)
                    return
                for one in batch:
                    self._run_batch([one])
                return
        start = 0
        for job, work in batch:
            end = start + _users(work)
            try:
                own = None if vectors is None else vectors.block(slice(start, end))
                body = work.head(self._state) + work.entries(self._state, own, lambda: None) + b"]}"
            except Exception as error:  # noqa: BLE001  it belongs to the job
                self._fail(job, error)
            else:
                self._answer(job, {"status": 200, "users": users} if not start else {"status": 200}, body)
            start = end

    def _run_large(self, job: _Job) -> None:
        """Compute a large job in pieces, each in a turn of its own."""
        job.cost, began = len(job.body) * _PARSING_MS, 0.0

        def check() -> None:
            nonlocal began
            if job.gone.is_set():
                raise _GoneError
            job.spent += 1000 * (time.perf_counter() - began)
            self._turns.give()
            self._turns.take(job.priority)
            began = time.perf_counter()

        self._turns.take(job.priority)
        try:
            began = time.perf_counter()
            check()
            work = OPERATIONS[job.operation].open(self._state, job.body)
            job.body, job.cost, separator = b"", job.spent + work.cost, work.head(self._state)
            self._admit(job)
            for block in work.blocks(self._state):
                check()
                vectors = None
                if block.to_encode and block.users is not None:
                    how = block.horizon, block.dislike_weight
                    vectors = self._state.model.user_vectors(block.users.histories, *how)
                part = separator + block.entries(self._state, vectors, check)
                self._send({"job": job.number, "part": True}, part)
                separator = b","
        except Exception as error:  # noqa: BLE001  it belongs to the job
            self._fail(job, error)
        else:
            self._answer(job, {"status": 200}, b"]}")
        finally:
            self._admitted.discard(job)
            self._turns.give()

    def _admit(self, job: _Job) -> None:
        """Refuse a large job that would be given up before its end: all that is computed for it would be lost."""
        if job.cost > job.most_ms:
            found, most = f"{job.cost / 1000:.0f} s", job.most_ms / 1000
            message = f"the request: takes about {found}. Expected {most:g} or less. Send fewer users, or shorter histories."
            raise Problem(413, "too_large", message)
        ahead = sum(other.left for other in self._admitted if other.priority() < job.priority())
        if job.waited + ahead + job.left > job.most_ms:
            busy = too_busy(f"requests with {ahead / 1000:.0f} s of work are")
            busy.headers["Retry-After"] = str(max(1, round(ahead / 1000)))
            raise busy
        self._admitted.add(job)


def _kind(work: Work) -> tuple[bool, str, float]:
    """Return what jobs of one batch have in common."""
    return work.to_encode, work.horizon, work.dislike_weight


def _users(work: Work) -> int:
    """Return how many users of this work are to be encoded."""
    return len(work.users) if work.to_encode and work.users is not None else 0


def from_folder(folder: Path, users: Path | None = None) -> Callable[[], AppState]:
    """Return a source that loads the current content of a model folder, and users that can be found.

    The users are a Parquet file from ``tastevec encode`` with this model, of horizon overall. The source raises
    FormatError for an invalid folder, DataError for user vectors of another space, SettingsError for those of another horizon.
    """

    def source() -> AppState:
        model = load(folder)
        if isinstance(encoder := model.bundle.model, OnnxEncoder):  # there is one worker per core
            model = Recommender(replace(model.bundle, model=encoder.single_threaded()))
        known = None if users is None else read_user_vectors(users, model.bundle.space, horizon="overall")
        return AppState(model, name=folder.resolve().name, users=known)

    return source


def serve(source: Callable[[], AppState]) -> None:
    """Run a worker on standard input and output, until the input ends."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be among the messages
    lock = Lock()

    def send(header: dict[str, Any], body: bytes) -> None:
        with lock:
            output.write(message_bytes(header, body))
            output.flush()

    worker = Worker(source, send)

    def read() -> None:
        while (message := read_message(sys.stdin.buffer)) is not None:
            worker.receive(*message)
        os._exit(0)  # the front needs this worker no more, or is gone

    Thread(target=read, daemon=True).start()
    with suppress(BrokenPipeError):  # the front is gone
        worker.run()
    os._exit(0)  # without waiting for the thread that reads


class _WithoutPandas:
    """An import finder for which pandas is not installed: Arrow would import it, 30 MB that no worker uses."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        """Refuse pandas."""
        if name == "pandas":
            raise ModuleNotFoundError(name)


def main() -> None:
    """Run a worker of the model folder, and of the file of user vectors, that the arguments name."""
    sys.meta_path.insert(0, _WithoutPandas)
    folder, *users = map(Path, sys.argv[1:])
    serve(from_folder(folder, *users))

"""The HTTP service under load: rates, latencies and memory on loopback, alone and while others send the largest requests.

Probes, other clients and the service are processes of their own, and share the cores. A latency of a small request ends with its 200: a client
that is refused with 503 waits as ``Retry-After`` says, at most a second, and sends it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import psutil
from experiment import prepared_histories, small_world

from tastevec.serving.recommender import load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
    from multiprocessing.connection import Connection as PipeConnection
    from multiprocessing.synchronize import Event

    from measure import Run

    from tastevec.serving.bundle import Bundle

CONNECTIONS, HISTORY, BODIES = (1, 8, 64), 50, 200  # so many different bodies, so that no cache helps
FULL, SMALL = (
    (10.0, 20_000),
    (0.5, 500),
)  # seconds for each number of connections; requests while memory is measured
FORK = multiprocessing.get_context("fork")  # attacks are functions inside others, which cannot be pickled
ROUNDS = 5  # of all numbers of connections in turn, as other work on the machine changes
GREEDY = 4  # clients that send the largest requests without a pause
# The largest legal request.
BODY_BYTES, USERS, EXPLAINED, ITEMS, K, TAGS, NEIGHBORS = 2_000_000, 256, 16, 20_000, 500, 50, 12_800
GAIN, P50_MS, P99_RATIO, HEALTHZ_MS, MEMORY_MB = 1.7, 5.0, 10.0, 1_000.0, 600.0  # what must hold
OK, TOO_LARGE, TOKEN = 200, 413, "benchmark"
WAIT_S = 10.0  # after which a probe of /healthz has failed
BEFORE_S = 0.2  # of probes, then the attack begins
START_S = 60.0  # after which a start has failed
SLOW_S = 0.25  # a small request that takes longer is slow


def measured(run: Run) -> dict[str, Any]:
    """Return the rates, the memory while requests are sent, and what greedy clients do to a small request."""
    seconds, requests = FULL if run.full else SMALL
    data, model = small_world(run)
    bundle = load(model).bundle
    bodies, vectors = small_requests(bundle, run.seed), user_vectors(run, data, model)
    with serving(model, run.work / "service.log", "--user-vectors", vectors) as service:
        # Warm up: nothing is slow because it is the first.
        asyncio.run(_load(service.port, 8, bodies, seconds=seconds / 5, requests=requests))
        rates, gain = _rates(service.port, bodies, seconds)
        memory = list(_memory(service, bodies, requests))
        largest = _accepted(service.port, bundle)
        kinds = {name: [request] for name, request in largest.items()} | {"all in turn": [*largest.values()]}
        fairness = [_fairness(service, name, sent, bodies, seconds) for name, sent in kinds.items()]
    results = {
        "data": bundle.facts["data"]["name"],
        "films_of_a_person": HISTORY,
        "ready_after_s": round(service.ready_after_s, 2),
        "rates": rates,
        "gain": gain,
        "memory": memory,
        "greedy_clients": GREEDY,
        "fairness": fairness,
    }
    limits = _limits(results)
    return results | {"limits": limits, "missed": [row["name"] for row in limits if not row["met"]]}


def _limits(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what must hold, with what was measured."""
    rows = results["fairness"]
    most = {
        "p50 over one connection, ms": (results["rates"][0]["p50_ms"], P50_MS),
        "p99 of a small request, times that alone": (max(row["p99_ratio"] for row in rows), P99_RATIO),
        "longest response of `/healthz`, ms": (max(row["healthz_ms"] for row in rows), HEALTHZ_MS),
        "memory of all processes, MB": (max(row["memory_mb"] for row in rows), MEMORY_MB),
        "errors": (sum(row["bad"] + row["healthz_failed"] for row in rows), 0),
    }
    gain = {"name": "requests/s over 8 connections, times those over one", "value": results["gain"]}
    return [
        gain | {"limit": f"at least {GAIN}", "met": results["gain"] >= GAIN},
        *(
            {"name": name, "value": value, "limit": f"at most {limit:,g}", "met": value <= limit}
            for name, (value, limit) in most.items()
        ),
    ]


# ---- requests ----


def encoded(method: str, path: str, content: Any = None) -> bytes:  # noqa: ANN401  any JSON
    """Return a request with a JSON body as bytes; without a body where the content is None."""
    body = b"" if content is None else json.dumps(content, separators=(",", ":")).encode()
    head = (f"{method} {path} HTTP/1.1", f"Authorization: Bearer {TOKEN}", "Host: localhost")
    fields = ("Content-Type: application/json", f"Content-Length: {len(body)}", "\r\n")
    return "\r\n".join((*head, *fields)).encode() + body


def small_requests(bundle: Bundle, seed: int) -> list[bytes]:
    """Return requests for ten items for users with 50 ratings, items drawn by popularity."""
    ids, popularity = bundle.item_ids, bundle.items["train_users"].to_numpy().astype(float)
    rng, found = np.random.default_rng(seed), []
    for _ in range(BODIES):
        chosen = rng.choice(ids, HISTORY, replace=False, p=popularity / popularity.sum()).tolist()
        ratings = [{"item_id": item, "value": int(rng.integers(1, 6))} for item in chosen]
        found.append(encoded("POST", "/v1/recommend", {"users": [{"interactions": ratings}], "k": 10}))
    return found


def largest_requests(bundle: Bundle, share: float = 1.0) -> dict[str, bytes]:
    """Return the largest requests of every kind that the schema allows, by name; or such with a share of their users."""
    ids: list[Any] = bundle.item_ids.tolist()
    ratings = [{"item_id": item, "value": 4} for item in ids]
    width = max(len(json.dumps(rating, separators=(",", ":"))) for rating in ratings) + 1

    def users(count: int, size: int = BODY_BYTES - 10_000) -> list[dict[str, Any]]:
        length = min(ITEMS, size // count // width)
        firsts = range(max(1, round(count * share)))
        return [{"interactions": (ratings[first:] + ratings[:first])[:length]} for first in firsts]

    unknown = [
        {"interactions": [{"item_id": f"{user}-{item}", "value": 1} for item in range(100)]}
        for user in range(USERS)
    ]
    assert bundle.tags is not None  # the generated data and every release have tags
    tags = dict.fromkeys(bundle.tags.names[:TAGS], 1.0)
    vectors = [[0.1] * bundle.tags.directions.shape[1]] * USERS
    posts: dict[str, tuple[str, dict[str, Any]]] = {
        "recommend, 2 MB of interactions": ("recommend", {"users": users(USERS), "k": K}),
        "recommend, empty histories": ("recommend", {"users": [{"interactions": []}] * USERS, "k": K}),
        "recommend, with contributions": (
            "recommend",
            {"users": users(EXPLAINED), "k": K, "contributions": 5},
        ),
        "explain": ("explain", {"users": users(EXPLAINED), "tags": 100, "contributions": 20}),
        "recommend, 30 KB of interactions": ("recommend", {"users": users(1, 30_000), "k": K}),
        "recommend, unknown items": ("recommend", {"users": unknown, "k": K, "unknown": "ignore"}),
        "steer": ("steer", {"vectors": vectors, "k": K, "tags": tags}),
        "similar items": ("similar-items", {"item_ids": (ids * USERS)[:USERS], "k": K}),
        "similar users": ("similar-users", {"users": users(USERS), "k": NEIGHBORS // USERS}),
    }
    return {name: encoded("POST", f"/v1/{path}", content) for name, (path, content) in posts.items()}


def _accepted(port: int, bundle: Bundle) -> dict[str, bytes]:
    """Return the largest requests, with fewer users where the service refuses all of them as too much work."""
    found = largest_requests(bundle)
    refused = {*found}
    for share in (0.5, 0.25, 0.1):
        refused = {name for name in refused if asyncio.run(ask(port, found[name])) == TOO_LARGE}
        smaller = largest_requests(bundle, share)
        found |= {name: smaller[name] for name in refused}
    return found


def user_vectors(run: Run, data: Path, model: Path) -> Path:
    """Return a file of the vectors of all users of a prepared dataset."""
    out = run.work / "vectors.parquet"
    run.work.mkdir(parents=True, exist_ok=True)
    histories, _ = prepared_histories(data, run.work / "histories.parquet")
    run.tastevec("encode", "encode", model, histories, "--horizon", "overall", "--out", out)
    return out


# ---- the service ----


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        process: The process that was started; it may have started others.
        port: Its port on 127.0.0.1.
        ready_after_s: Seconds from its start until /readyz returned 200.
    """

    process: subprocess.Popen[bytes]
    port: int
    ready_after_s: float = 0.0

    def processes(self) -> list[psutil.Process]:
        """Return all processes of the service."""
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def memory_mb(self, *, shared: bool = False) -> float:
        """Return the resident memory of all processes; with ``shared``, memory that several share counts once (PSS)."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss if shared else process.memory_info().rss
        return round(total / 2**20, 1)


def start(
    model: Path, log: Path | IO[bytes] | int, *arguments: str | Path, descriptors: int | None = None
) -> Service:
    """Start the service on a free port, with stderr to the log and at most so many open files."""
    port = _free_port()
    command = [sys.executable, "-m", "tastevec", "serve", str(model), "--port", str(port), *arguments]

    def limit() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    with log.open("wb") if isinstance(log, Path) else contextlib.nullcontext(log) as lines:
        environment = os.environ | {"TASTEVEC_TOKEN": TOKEN}
        process = subprocess.Popen(command, stderr=lines, env=environment, preexec_fn=limit)  # noqa: PLW1509  no threads yet
    return Service(process, port)


@contextlib.contextmanager
def serving(
    model: Path, log: Path | IO[bytes] | int, *arguments: str | Path, descriptors: int | None = None
) -> Iterator[Service]:
    """Start the service, wait until it is ready, and stop all its processes at the end."""
    began = time.perf_counter()
    service = start(model, log, *arguments, descriptors=descriptors)
    try:
        asyncio.run(until_ready(service))
        yield Service(service.process, service.port, time.perf_counter() - began)
    finally:
        stop(service)


def stop(service: Service) -> None:
    """Stop the service, and kill what does not end within 30 seconds."""
    processes = service.processes()
    service.process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        service.process.wait(timeout=30)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    service.process.wait()


async def until_ready(service: Service) -> None:
    """Wait until /readyz returns 200."""
    ends = time.perf_counter() + START_S
    while (await ask(service.port, encoded("GET", "/readyz"))) != OK:
        if service.process.poll() is not None or time.perf_counter() > ends:
            sys.exit("The service did not start; its log has the error.")
        await asyncio.sleep(0.02)


def _free_port() -> int:
    # Below the ports that the kernel gives to clients: one of these could connect to itself while no process listens.
    for port in range(20_000 + os.getpid() % 10_000, 32_768):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    sys.exit("No port is free.")


# ---- clients ----


@dataclass(frozen=True)
class Answer:
    """A complete response; ``body`` is empty where it is long."""

    status: int
    fields: dict[bytes, bytes]
    body: bytes

    @property
    def outcome(self) -> str:
        """The status; "bad" before that of an error of the service that does not say when to come back."""
        refused = self.status in {503, 504} and b"retry-after" in self.fields
        return f"{'' if self.status < 500 or refused else 'bad '}{self.status}"  # noqa: PLR2004  HTTP's

    @property
    def pause(self) -> float:
        """Seconds to wait before the next request."""
        return min(1.0, float(self.fields.get(b"retry-after", 0)))


async def read_answer(reader: asyncio.StreamReader, *, body: bool = True) -> Answer:
    """Read one response, without a body if it has none in spite of its length.

    Raises:
        OSError: It is incomplete, or is none.
    """
    try:
        head, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        left, content = int(fields.get(b"content-length", 0)) * body, b""
        while left:
            part = await reader.read(min(left, 1 << 18))
            if not part:
                raise ConnectionError("incomplete")
            left -= len(part)
            content = content + part if len(content) < 1 << 16 else b""
        return Answer(int(head.split(b" ", 2)[1]), fields, content)
    except (EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
        raise ConnectionError("no response") from error


class Client:
    """A client with one connection, which it uses as a connection pool does: until it is closed while nothing is sent."""

    def __init__(self, port: int, outcomes: Counter[str]) -> None:
        self._port, self.outcomes = port, outcomes
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> Answer | None:
        """Return the response and count its outcome; None where the connection is refused or ends before a response."""
        if self._streams is not None and self._streams[0].at_eof():
            self.close()
        if self._streams is None:
            try:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 18)
            except OSError:
                self.outcomes["refused"] += 1
                return None
        reader, writer = self._streams
        writer.write(request)
        try:
            answer = await read_answer(reader)
        except OSError:
            self.outcomes["lost"] += 1
            self.close()
            return None
        self.outcomes[answer.outcome] += 1
        if answer.fields.get(b"connection", b"").lower() == b"close":
            self.close()
        return answer

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].transport.abort()  # what is not sent yet stays unsent
            self._streams = None


async def ask(port: int, request: bytes, seconds: float = WAIT_S) -> int | None:
    """Return the status of one request over a connection of its own, None without a response in time."""
    with contextlib.closing(Client(port, Counter())) as client, contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            answer = await client.send(request)
            return answer and answer.status
    return None


async def insist(client: Client, requests: Iterator[bytes], taken: list[tuple[float, float]]) -> None:
    """Send requests one after another, each until it is served; append when each began, and its seconds."""
    for request in requests:
        began = time.perf_counter()
        try:
            while True:
                answer = await client.send(request)
                if answer is not None and answer.status == OK:
                    break
                await asyncio.sleep(0.05 if answer is None else max(0.05, answer.pause))
        finally:  # one that never ends counts, too
            taken.append((began, time.perf_counter() - began))


async def greedy(port: int, requests: Sequence[bytes], outcomes: Counter[str]) -> None:
    """Send requests without a pause but those that the service demands."""
    with contextlib.closing(Client(port, outcomes)) as client:
        for request in cycle(requests):
            answer = await client.send(request)
            await asyncio.sleep(0.05 if answer is None else answer.pause)


# ---- figures ----


async def settle(port: int, small: Sequence[bytes], seconds: float = 60.0) -> float:
    """Wait until twenty small requests in a row are fast, at most so many seconds; return how long that took."""
    began, fast, client = time.perf_counter(), 0, Client(port, Counter())
    while fast < 20 and time.perf_counter() - began < seconds:  # noqa: PLR2004  as in the docstring
        taken: list[tuple[float, float]] = []
        await insist(client, iter(small[:1]), taken)
        fast = fast + 1 if taken[0][1] < SLOW_S else 0
    client.close()
    return time.perf_counter() - began


def watch(
    service: Service,
    small: Sequence[bytes],
    attack: Callable[[Counter[str]], Sequence[Coroutine[Any, Any, None]]] = lambda _outcomes: (),
    *,
    seconds: float,
    after: float = 0.0,
) -> dict[str, Any]:
    """Return what a small request, /healthz and the memory are like during an attack, and for some seconds after it.

    The attack has a process of its own, so that its work delays no probe. It ends when all its coroutines have ended, or after
    ``seconds``.
    """
    results, sending = FORK.Pipe(duplex=False)
    begin = FORK.Event()
    process = FORK.Process(target=_attack, args=(attack, seconds, begin, sending), daemon=True)
    process.start()
    sending.close()

    async def attacked() -> Counter[str]:
        begin.set()
        return Counter(await asyncio.to_thread(results.recv))

    try:
        return asyncio.run(_figures(service, small, attacked, after))
    finally:
        process.kill()
        process.join()


def _attack(
    attack: Callable[[Counter[str]], Sequence[Coroutine[Any, Any, None]]],
    seconds: float,
    begin: Event,
    sending: PipeConnection,
) -> None:
    """Attack, and send the outcomes; called in a process of its own."""
    sent = Counter[str]()

    async def run() -> None:
        attackers = [asyncio.create_task(one) for one in attack(sent)]
        await (asyncio.wait(attackers, timeout=seconds) if attackers else asyncio.sleep(seconds))
        await _cancel(attackers)

    begin.wait()
    asyncio.run(run())
    sending.send(dict(sent))


async def _figures(
    service: Service, small: Sequence[bytes], attacked: Callable[[], Awaitable[Counter[str]]], after: float
) -> dict[str, Any]:
    outcomes = Counter[str]()
    taken: list[tuple[float, float]] = []
    health: list[float] = []
    memory = [(service.memory_mb(), service.memory_mb(shared=True))]
    client = Client(service.port, outcomes)
    probes = [
        asyncio.create_task(probe)
        for probe in (
            insist(client, cycle(small), taken),
            _check_health(service.port, outcomes, health),
            _sample_memory(service, memory),
        )
    ]
    await asyncio.sleep(BEFORE_S)
    sent = await attacked()
    ended = time.perf_counter()
    await asyncio.sleep(after)
    await _cancel(probes)
    client.close()
    p50, p99 = np.percentile([passed for began, passed in taken if began <= ended], [50, 99]) * 1000
    slow = [began + passed for began, passed in taken if passed > SLOW_S]
    return {
        "requests": len(taken),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "longest_s": round(max(passed for _, passed in taken), 2),
        "slow_for_s": round(max(0.0, max(slow, default=0.0) - ended), 2),
        "refused": sum(outcomes[name] for name in ("429", "503", "504")),
        "bad": sum(number for name, number in (outcomes + sent).items() if name.startswith("bad")),
        "lost": outcomes["lost"] + outcomes["refused"],
        "healthz_ms": round(max(health) * 1000, 1),
        "healthz_failed": outcomes["no /healthz"],
        "memory_before_mb": memory[0][0],
        "memory_mb": max(rss for rss, _ in memory),
        "shared_once_mb": max(pss for _, pss in memory),
        "memory_after_mb": service.memory_mb(),
        "sent": dict(sorted(sent.items())),
    }


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended


async def _check_health(port: int, outcomes: Counter[str], taken: list[float]) -> None:
    """Send /healthz every 100 ms over a connection of its own; append the seconds, and count what is not 200."""
    while True:
        began = time.perf_counter()
        try:
            outcomes["no /healthz"] += await ask(port, encoded("GET", "/healthz")) != OK
        finally:
            taken.append(time.perf_counter() - began)
        await asyncio.sleep(0.1)


async def _sample_memory(service: Service, found: list[tuple[float, float]]) -> None:
    """Append the memory every 50 ms, and every half second that with shared memory once, which takes longer to read."""
    for number in cycle(range(10)):
        rss = await asyncio.to_thread(service.memory_mb)
        pss = await asyncio.to_thread(service.memory_mb, shared=True) if number == 0 else 0.0
        found.append((rss, pss))
        await asyncio.sleep(0.05)


def _fairness(
    service: Service, name: str, requests: Sequence[bytes], small: Sequence[bytes], seconds: float
) -> dict[str, Any]:
    """Return the latencies of a small request alone and next to greedy clients, one right after the other."""
    asyncio.run(settle(service.port, small))
    alone = watch(service, small, seconds=seconds / 2)

    def attack(sent: Counter[str]) -> list[Coroutine[Any, Any, None]]:
        return [greedy(service.port, requests[first:] + requests[:first], sent) for first in range(GREEDY)]

    under = watch(service, small, attack, seconds=seconds, after=seconds / 5)
    row = {"name": name, "alone_p50_ms": alone["p50_ms"], "alone_p99_ms": alone["p99_ms"], **under}
    print(row | {"p99_ratio": round(under["p99_ms"] / alone["p99_ms"], 1)}, flush=True)
    return row | {"p99_ratio": round(under["p99_ms"] / alone["p99_ms"], 1)}


def _rates(port: int, bodies: Sequence[bytes], seconds: float) -> tuple[list[dict[str, Any]], float]:
    """Return the median of five rounds for each number of connections, and the median gain of 8 over one in a round."""
    rounds = [
        [
            asyncio.run(_load(port, count, bodies, seconds=seconds / ROUNDS, requests=10**9))
            for count in CONNECTIONS
        ]
        for _ in range(ROUNDS)
    ]
    columns = [
        sorted(column, key=lambda row: row["requests_a_second"]) for column in zip(*rounds, strict=True)
    ]
    gains = [eight["requests_a_second"] / one["requests_a_second"] for one, eight, _ in rounds]
    return [column[ROUNDS // 2] for column in columns], round(sorted(gains)[ROUNDS // 2], 2)


async def _load(
    port: int, connections: int, bodies: Sequence[bytes], *, seconds: float, requests: int
) -> dict[str, Any]:
    """Send requests over every connection without a pause, until the time is over or all are sent."""
    latencies: list[float] = []
    outcomes, begun, ends = Counter[str](), 0, time.perf_counter() + seconds

    async def one() -> None:
        nonlocal begun
        client = Client(port, outcomes)
        while begun < requests and time.perf_counter() < ends:
            body = bodies[begun % len(bodies)]
            begun += 1
            start = time.perf_counter()
            await client.send(body)
            latencies.append(time.perf_counter() - start)
        client.close()

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    passed = time.perf_counter() - start
    p50, p99 = np.percentile(latencies, [50, 99]) * 1000
    return {
        "connections": connections,
        "requests": len(latencies),
        "errors": len(latencies) - outcomes["200"],
        "requests_a_second": round(outcomes["200"] / passed, 1),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
    }


def _memory(service: Service, bodies: Sequence[bytes], requests: int) -> Iterator[dict[str, Any]]:
    tenth = requests // 10
    for done in range(0, requests + 1, tenth):
        yield {"requests": done, "memory_mb": service.memory_mb()}
        if done < requests:
            asyncio.run(_load(service.port, 8, bodies, seconds=float("inf"), requests=tenth))

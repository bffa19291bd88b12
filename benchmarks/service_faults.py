"""Faults of clients and of the machine against the HTTP service: what breaks off, stalls, floods, or sends nonsense, and what is killed.

Each attack runs while a client sends small requests one after another and /healthz is checked every 100 ms over a new connection.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from experiment import dataset, small_world, train
from service import (
    HEALTHZ_MS,
    MEMORY_MB,
    Client,
    Service,
    ask,
    encoded,
    greedy,
    largest_requests,
    read_answer,
    serving,
    settle,
    small_requests,
    start,
    stop,
    until_ready,
    user_vectors,
    watch,
)

from tastevec.serving.recommender import load

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

    from measure import Run

    Attackers = Sequence[Coroutine[Any, Any, None]]

FULL = {"hold": 40.0, "seconds": 15.0, "stops": 20, "reloads": 10, "hangups": 11, "bodies": 3_000}
SMALL = {"hold": 1.0, "seconds": 1.0, "stops": 1, "reloads": 1, "hangups": 1, "bodies": 50}
DESCRIPTORS = 1_024  # open files of a service that is attacked with more connections
MANY, READERS, GONE, BUSY = 1_500, 70, 150, 16  # clients of an attack
AGAIN_S = 5.0  # until a client whose stalled connection is closed opens another
LINES = 20_000  # of stderr during an attack
AWAY_S = 5.0  # after which the memory and the latencies of a service are as before an attack
SILENT_S = 20.0  # after which there is no response: more than the service waits for a body
# What must hold for each attack.
MOST = {
    "bad": 0,
    "tracebacks": 0,
    "lines": LINES,
    "healthz_failed": 0,
    "healthz_ms": HEALTHZ_MS,
    "memory_mb": MEMORY_MB,
    "slow_for_s": AWAY_S,
}
FILL_S = 3.0  # until all processes of a ready service are there
INTERPRETER_S = 0.15  # until Python runs the first line of the command


@dataclass(frozen=True)
class Attack:
    """An attack: its clients, for so many seconds; what a client does is a coroutine."""

    attackers: Callable[[Service, Counter[str]], Attackers]
    seconds: float
    after: float = AWAY_S
    descriptors: int | None = None


def measured(run: Run) -> dict[str, Any]:
    """Return the figures of every attack and the outcome of every check, with what does not hold."""
    counts = FULL if run.full else SMALL
    data, model = _world(run)
    bundle = load(model).bundle
    small, vectors = small_requests(bundle, run.seed), user_vectors(run, data, model)
    rng, rows = np.random.default_rng(run.seed), []
    for name, attack in _attacks(largest_requests(bundle), small, counts).items():
        rows.append({"name": name, **_attacked(run, model, vectors, small, attack)})
        print(rows[-1], flush=True)
    checks = []
    for name, check in CHECKS.items():
        checks.append({"name": name, **check(run.work, model, small, counts, rng)})
        print(checks[-1], flush=True)
    return {
        "data": bundle.facts["data"]["name"],
        "attacks": rows,
        "checks": checks,
        "missed": [
            *(f"{row['name']}: {name}" for row in rows for name, most in MOST.items() if row[name] > most),
            *(check["name"] for check in checks if check["failed"]),
        ],
    }


def _world(run: Run) -> tuple[Path, Path]:
    """Return a prepared dataset and a model of some size, generated where the run has none."""
    if not run.full or (run.model is not None and run.model.exists()):
        return small_world(run)
    data = dataset(run, "world", 100_000, 1_000, 3_000)
    return data, train(run, data, "model", "--set", "epochs=1", "--set", "report_to=none")


def _attacked(run: Run, model: Path, vectors: Path, small: Sequence[bytes], attack: Attack) -> dict[str, Any]:
    log = run.work / "service.log"
    with serving(model, log, "--user-vectors", vectors, descriptors=attack.descriptors) as service:
        asyncio.run(settle(service.port, small))
        time.sleep(FILL_S if run.full else 0)
        row = watch(
            service,
            small,
            lambda sent: attack.attackers(service, sent),
            seconds=attack.seconds,
            after=attack.after,
        )
        if (still := asyncio.run(settle(service.port, small))) > 1:
            row["slow_for_s"] = round(row["slow_for_s"] + still, 1)
    lines = log.read_text(errors="replace").splitlines()
    requests = sum("event=request " in line for line in lines)
    return row | {"lines": len(lines) - requests, "tracebacks": sum("Traceback" in line for line in lines)}


def _attacks(
    largest: Mapping[str, bytes], small: Sequence[bytes], counts: Mapping[str, float]
) -> dict[str, Attack]:
    """Return every attack by its name."""
    head = small[0].partition(b"\r\n\r\n")[0]
    hold, seconds = counts["hold"], counts["seconds"]
    answer = largest["recommend, empty histories"]

    def stalling(count: int, first: bytes, rest: bytes) -> Callable[[Service, Counter[str]], Attackers]:
        return lambda service, sent: [_stall(service.port, first, rest, sent) for _ in range(count)]

    def reading(pause: float | None) -> Callable[[Service, Counter[str]], Attackers]:
        return lambda service, sent: [_read_slowly(service.port, answer, pause, sent) for _ in range(READERS)]

    return {
        "150 clients send explain and hang up": Attack(
            lambda service, sent: [_hang_up(service.port, largest["explain"], sent) for _ in range(GONE)],
            seconds,
            2 * AWAY_S,
        ),
        "70 clients do not read the largest response": Attack(reading(None), hold),
        "70 clients read a byte a second": Attack(reading(1.0), hold),
        "100 clients send 3,000 requests at once and do not read": Attack(
            lambda service, sent: [
                _read_slowly(service.port, encoded("GET", "/v1/model") * 3_000, None, sent)
                for _ in range(100)
            ],
            seconds,
        ),
        "1,500 connections without a byte": Attack(
            stalling(MANY, b"", b""), seconds, descriptors=DESCRIPTORS
        ),
        "1,500 connections with half a header": Attack(
            stalling(MANY, head[: len(head) // 2], b""), seconds, descriptors=DESCRIPTORS
        ),
        "1,500 connections, a byte a second": Attack(
            stalling(MANY, b"", head), seconds, descriptors=DESCRIPTORS
        ),
        "200 bodies, a byte a second": Attack(
            stalling(200, head + b"\r\n\r\n", b"{" * 1_000), seconds, descriptors=DESCRIPTORS
        ),
        "1,500 bodies, a byte a second": Attack(
            stalling(MANY, head + b"\r\n\r\n", b"{" * 1_000), seconds, descriptors=DESCRIPTORS
        ),
        "16 clients while the model is reloaded": Attack(
            lambda service, sent: [
                _reload(service, int(counts["reloads"]), sent),
                *(greedy(service.port, small, sent) for _ in range(BUSY)),
            ],
            3.0 * counts["reloads"],
        ),
        "16 clients while child processes are killed": Attack(
            lambda service, sent: [
                _kill_children(service, sent),
                *(greedy(service.port, small, sent) for _ in range(BUSY)),
            ],
            seconds,
        ),
    }


# ---- what an attacking client does ----


async def _hang_up(port: int, request: bytes, sent: Counter[str]) -> None:
    """Send a complete request, and close the connection at once."""
    with suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        writer.close()
        await writer.wait_closed()
        sent["hung up"] += 1


async def _read_slowly(port: int, request: bytes, pause: float | None, sent: Counter[str]) -> None:
    """Send a request, and read its response a byte at a time with a pause, or never."""
    loop = asyncio.get_running_loop()
    with suppress(OSError), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.setblocking(False)  # noqa: FBT003  Python's
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, request)
        sent["sent"] += 1
        while True:
            await asyncio.sleep(pause or 1.0)
            if pause and not await loop.sock_recv(client, 1):
                sent["closed"] += 1
                return


async def _stall(port: int, first: bytes, rest: bytes, sent: Counter[str]) -> None:
    """Send the first bytes at once and the rest a byte a second, then wait; start again where the service closes."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            sent["refused"] += 1
            await asyncio.sleep(AGAIN_S)
            continue
        sent["opened"] += 1
        try:
            writer.write(first)
            for byte in rest:
                writer.write(bytes([byte]))
                with suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        sent[(await read_answer(reader)).outcome] += 1
                        break
            else:
                sent[(await read_answer(reader)).outcome] += 1
        except OSError:
            sent["closed"] += 1
        finally:
            writer.close()
        await asyncio.sleep(AGAIN_S)


async def _reload(service: Service, times: int, sent: Counter[str]) -> None:
    """Reload the model again and again, by turns over HTTP and by SIGHUP."""
    for number in range(times):
        if number % 2:
            os.kill(service.process.pid, signal.SIGHUP)
        else:
            sent[f"reload {await ask(service.port, encoded('POST', '/v1/reload'))}"] += 1
        await asyncio.sleep(2.0)


async def _kill_children(service: Service, sent: Counter[str]) -> None:
    """Kill a random child process of the service every two seconds."""
    for number in cycle(range(10)):
        await asyncio.sleep(2.0)
        if children := service.processes()[1:]:
            with suppress(psutil.NoSuchProcess):
                children[number % len(children)].kill()
                sent["killed"] += 1


# ---- checks: each returns how often it ran, how often it failed, and what was found ----


def _stops(
    work: Path, model: Path, small: Sequence[bytes], counts: Mapping[str, float], _rng: np.random.Generator
) -> dict[str, Any]:
    """Stop the service with SIGTERM while 16 clients send requests: no request is lost."""
    found = []
    for _ in range(int(counts["stops"])):
        with serving(model, work / "service.log") as service:
            found.append(asyncio.run(_stopped(service, small)))
    whole = {name: sum(one[name] for one in found) for name in ("requests", "lost", "bad", "refused")}
    failed = sum(bool(one["lost"] or one["bad"] or one["status"]) for one in found)
    return {
        "runs": len(found),
        "failed": failed,
        **whole,
        "statuses": sorted({one["status"] for one in found}),
        "longest_s": max(one["seconds"] for one in found),
        "announced": sum(one["announced"] for one in found),
    }


async def _stopped(service: Service, small: Sequence[bytes]) -> dict[str, Any]:
    before, after, stopping = Counter[str](), Counter[str](), False

    async def one() -> None:
        client = Client(service.port, before)
        for request in cycle(small):
            if service.process.poll() is not None:
                break
            client.outcomes = after if stopping else before
            answer = await client.send(request)
            await asyncio.sleep(0.05 if answer is None else answer.pause)
        client.close()

    clients = [asyncio.create_task(one()) for _ in range(BUSY)]
    await asyncio.sleep(0.5)
    began, stopping, statuses = time.perf_counter(), True, []
    service.process.terminate()
    while service.process.poll() is None and time.perf_counter() - began < 60:  # noqa: PLR2004  it hangs
        statuses.append(await ask(service.port, encoded("GET", "/readyz"), 1.0))
        await asyncio.sleep(0.01)
    seconds = time.perf_counter() - began
    if service.process.poll() is None:
        service.process.kill()
    await asyncio.gather(*clients)
    outcomes = before + after
    return {
        "requests": sum(outcomes.values()) - outcomes["refused"],
        "lost": outcomes["lost"],
        "bad": sum(number for name, number in outcomes.items() if name.startswith("bad")),
        "refused": after["503"],  # with Retry-After: no loss
        "status": service.process.wait(),
        "seconds": round(seconds, 2),
        "announced": 503 in statuses,  # noqa: PLR2004  HTTP's
    }


def _frozen_reload(
    work: Path, model: Path, small: Sequence[bytes], _counts: Mapping[str, float], _rng: np.random.Generator
) -> dict[str, Any]:
    """Freeze a reload, by a FIFO instead of a file: the next one succeeds, and the service stops."""
    folder, status = work / "frozen", None
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder)
    with serving(folder, work / "service.log") as service:
        facts, aside = folder / "bundle.json", work / "aside"
        for again in (True, False):
            facts.rename(aside)
            os.mkfifo(facts)
            service.process.send_signal(signal.SIGHUP)
            time.sleep(1.0)
            if again:
                facts.unlink()
                aside.rename(facts)
                began = time.perf_counter()
                status = asyncio.run(ask(service.port, encoded("POST", "/v1/reload"), 60.0))
                reload_s = time.perf_counter() - began
        served = asyncio.run(ask(service.port, small[0]))
        began = time.perf_counter()
        stop(service)
        seconds, ended = time.perf_counter() - began, service.process.returncode
    return {
        "runs": 1,
        "failed": int((status, served, ended) != (200, 200, 0)),
        "reload": status,
        "reload_s": round(reload_s, 1),
        "served": served,
        "status": ended,
        "stop_s": round(seconds, 1),
    }


def _early_hangups(
    work: Path, model: Path, _small: Sequence[bytes], counts: Mapping[str, float], _rng: np.random.Generator
) -> dict[str, Any]:
    """Send SIGHUP at some moment of the start: the service starts all the same."""
    died = []
    moments = np.linspace(INTERPRETER_S, 2.0, int(counts["hangups"])).round(2).tolist()
    for moment in moments:
        service = start(model, work / "service.log")
        time.sleep(moment)
        service.process.send_signal(signal.SIGHUP)
        try:
            asyncio.run(until_ready(service))
        except SystemExit:
            died.append(moment)
        finally:
            stop(service)
    return {"runs": len(moments), "failed": len(died), "died_at_s": died}


def _unread_stderr(
    _work: Path, model: Path, small: Sequence[bytes], counts: Mapping[str, float], _rng: np.random.Generator
) -> dict[str, Any]:
    """Serve thousands of requests with stderr to a pipe without a reader, and to a full disk."""
    unread, pipe = os.pipe()
    served = {}
    with open(pipe, "wb") as unread_pipe, open("/dev/full", "wb") as full:  # noqa: PTH123  a descriptor, a device
        for name, lines in (("pipe", unread_pipe), ("full disk", full)):
            served[name] = 0
            with suppress(SystemExit), serving(model, lines) as service:
                served[name] = asyncio.run(_count_served(service, small, int(counts["bodies"])))
    os.close(unread)
    return {
        "runs": 2,
        "failed": sum(number < counts["bodies"] for number in served.values()),
        "served": served,
    }


async def _count_served(service: Service, small: Sequence[bytes], requests: int) -> int:
    outcomes = Counter[str]()
    client = Client(service.port, outcomes)
    with suppress(TimeoutError):
        async with asyncio.timeout(60.0):
            for number in range(requests):
                await client.send(small[number % len(small)])
    client.close()
    return outcomes["200"]


def _nonsense(
    work: Path, model: Path, small: Sequence[bytes], counts: Mapping[str, float], rng: np.random.Generator
) -> dict[str, Any]:
    """Send altered requests: each gets a response, and what is not served is a 4xx as JSON with code and message."""
    requests = [_altered(small[number % len(small)], rng) for number in range(int(counts["bodies"]))]
    with serving(model, work / "service.log") as service:
        outcomes, examples = asyncio.run(_send_altered(service.port, requests))
    failed = sum(number for name, number in outcomes.items() if not name.startswith(("2", "4")))
    return {
        "runs": len(requests),
        "failed": failed,
        "outcomes": dict(sorted(outcomes.items())),
        "examples": examples,
    }


def _altered(request: bytes, rng: np.random.Generator) -> bytes:
    """Return a request with bytes of its head or its body flipped, inserted, removed or repeated; its length may be wrong."""
    head, _, body = request.partition(b"\r\n\r\n")
    in_head = bool(rng.integers(2))
    part = bytearray(head if in_head else body)
    for _ in range(int(rng.integers(1, 4))):
        first, last = sorted(rng.integers(0, len(part) + 1, 2).tolist())
        match int(rng.integers(5)):
            case 0 if part:
                part[min(first, len(part) - 1)] = int(rng.integers(256))
            case 1:
                part[first:first] = rng.bytes(int(rng.integers(1, 9)))
            case 2:
                del part[first:last]
            case 3:
                part[first:first] = part[first:last]
            case _:
                part[first:first] = [
                    b"NaN",
                    b"-1e999",
                    b'"\\ud800"',
                    b"[[[[",
                    b"null",
                    b"\r\n",
                    b"\x00",
                    b": ",
                ][int(rng.integers(8))]
    if in_head:
        return bytes(part) + b"\r\n\r\n" + body
    length = f"Content-Length: {len(body)}".encode()
    return head.replace(length, f"Content-Length: {len(part)}".encode()) + b"\r\n\r\n" + bytes(part)


async def _send_altered(port: int, requests: Sequence[bytes]) -> tuple[Counter[str], dict[str, str]]:
    outcomes, examples, waiting = Counter[str](), dict[str, str](), iter(requests)

    async def one() -> None:
        for request in waiting:
            outcome = await _outcome(port, request)
            outcomes[outcome] += 1
            if not outcome.startswith(("2", "4")):
                examples.setdefault(outcome, repr(request[:300]))

    await asyncio.gather(*(one() for _ in range(BUSY)))
    return outcomes, examples


async def _outcome(port: int, request: bytes) -> str:
    """Return the status, or what is wrong with the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        async with asyncio.timeout(SILENT_S):
            answer = await read_answer(reader)
        if not answer.outcome.startswith("4"):
            return answer.outcome
        error = json.loads(answer.body)["error"]
        return answer.outcome if error["code"] and error["message"] else f"no code: {answer.status}"
    except TimeoutError:
        return "no response"
    except OSError:
        return "closed without a response"
    except (ValueError, KeyError, TypeError):
        return f"no JSON: {answer.status}"
    finally:
        writer.close()


def _protocol(
    work: Path, model: Path, small: Sequence[bytes], _counts: Mapping[str, float], _rng: np.random.Generator
) -> dict[str, Any]:
    """Send requests at the edge of HTTP/1.1: each gets one of the statuses that are right for it."""
    head, _, body = small[0].partition(b"\r\n\r\n")
    bare = b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length"))
    get, length = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"\r\nContent-Length: "
    chunked, end = bare + b"\r\nTransfer-Encoding: chunked", b"\r\n\r\n"
    chunks = b"5\r\n" + body[:5] + b"\r\n%x\r\n" % (len(body) - 5) + body[5:] + b"\r\n0\r\n\r\n"
    cases = {
        "HTTP/1.0": (b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n", {200}),
        "HEAD": (b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", {200, 405}),
        "an unknown method": (b"BREW /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 405, 501}),
        "no colon": (get + b"nonsense\r\n\r\n", {400}),
        "NUL in a field": (get + b"X: a\x00b\r\n\r\n", {400}),
        "a space before the colon": (get + b"Content-Length : 5\r\n\r\n", {400}),
        "a field of 100 KB": (get + b"X: " + b"a" * 100_000 + end, {400, 431}),
        "40,000 fields": (get + b"X: a\r\n" * 40_000 + b"\r\n", {400, 431}),
        "a target of 100 KB": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 404, 414, 431}),
        "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 405, 505}),
        "TLS": (bytes.fromhex("160301010001000001fc0303") + bytes(245), {400}),
        "chunks": (chunked + end + chunks, {200, 411}),
        "an invalid chunk": (chunked + end + b"xyz\r\n" + body, {400, 411}),
        "chunks and a length": (chunked + length + b"3" + end + chunks, {400, 411}),
        "two lengths": (bare + length + b"3" + length + b"4" + end + body, {400}),
        "a negative length": (bare + length + b"-1" + end + body, {400}),
        "a length that is no number": (bare + length + b"0x10" + end + body, {400}),
        "a length of 30 digits": (bare + length + b"9" * 30 + end + body, {400, 413}),
        "a body of 2 MB": (bare + length + b"2000000" + end + bytes(2_000_000), {413}),
        "no length": (bare + end, {400, 411, 422}),
        "ten requests at once": ((get + b"\r\n") * 10, {200}),
    }  # fmt: skip
    with serving(model, work / "service.log") as service:
        found = {name: asyncio.run(_statuses(service.port, sent)) for name, (sent, _) in cases.items()}
    wrong = {name: got for name, got in found.items() if not {*got} or not {*got} <= cases[name][1]}
    wrong |= {name: got for name, got in found.items() if name.startswith("ten ") and len(got) < 10}  # noqa: PLR2004  its name
    return {"runs": len(cases), "failed": len(wrong), "wrong": wrong}


async def _statuses(port: int, sent: bytes) -> list[int]:
    """Return the statuses of all responses that come within a second of the one before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    found: list[int] = []
    with suppress(TimeoutError, OSError):
        while True:
            async with asyncio.timeout(1.0):
                found.append((await read_answer(reader, body=not sent.startswith(b"HEAD"))).status)
    writer.transport.abort()
    return found


def _killed(
    work: Path, model: Path, _small: Sequence[bytes], _counts: Mapping[str, float], _rng: np.random.Generator
) -> dict[str, Any]:
    """Kill the process that was started: no other process of the service remains."""
    with serving(model, work / "service.log") as service:
        children = service.processes()[1:]
        service.process.kill()
        _, alive = psutil.wait_procs(children, timeout=10)
    for child in alive:
        child.kill()
    return {"runs": 1, "failed": int(bool(alive)), "processes": len(children), "remained": len(alive)}


CHECKS = {
    "SIGTERM while 16 clients send requests: none is lost": _stops,
    "a reload never ends: the next one succeeds, and the service stops": _frozen_reload,
    "SIGHUP during the start: the service starts": _early_hangups,
    "stderr is a pipe without a reader, or a full disk: requests are served": _unread_stderr,
    "altered requests: each is served, or gets a 4xx as JSON": _nonsense,
    "requests at the edge of HTTP/1.1: each gets a right status": _protocol,
    "the first process is killed: none of the others remains": _killed,
}

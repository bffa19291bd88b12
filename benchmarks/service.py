"""Load of the HTTP service: requests per second, latencies and memory on loopback, over 1, 8 and 64 connections."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from experiment import small_world

from tastevec.serving.recommender import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from measure import Run

CONNECTIONS, HISTORY, BODIES = (1, 8, 64), 50, 200  # so many different bodies, so that no cache helps
FULL, SMALL = (
    (10.0, 20_000),
    (0.5, 500),
)  # seconds for each number of connections; requests while memory is measured


def measured(run: Run) -> dict[str, Any]:
    """Return the rates, and the memory after every tenth of the requests."""
    seconds, requests = FULL if run.full else SMALL
    _, model = small_world(run)
    bodies = _bodies(model, run.seed)
    process, port, ready_after = start(model, run.work / "service.log")
    try:
        # Warm up: nothing is slow because it is the first.
        asyncio.run(_load(port, 8, bodies, seconds=seconds / 5, requests=requests))
        rates = [
            asyncio.run(_load(port, count, bodies, seconds=seconds, requests=10**9)) for count in CONNECTIONS
        ]
        memory = list(_memory(psutil.Process(process.pid), port, bodies, requests))
    finally:
        process.terminate()
        process.wait(timeout=30)
    return {
        "data": load(model).bundle.facts["data"]["name"],
        "films_of_a_person": HISTORY,
        "ready_after_s": round(ready_after, 2),
        "rates": rates,
        "memory": memory,
    }


def _bodies(model: Path, seed: int) -> list[bytes]:
    """Return requests for ten items for users with 50 ratings, items drawn by popularity."""
    items = load(model).bundle.items
    ids, popularity = items["item_id"].to_numpy(), items["train_users"].to_numpy().astype(float)
    rng, bodies = np.random.default_rng(seed), []
    for _ in range(BODIES):
        chosen = rng.choice(ids, HISTORY, replace=False, p=popularity / popularity.sum()).tolist()
        ratings = [{"item_id": item, "rating": int(rng.integers(1, 6))} for item in chosen]
        bodies.append(json.dumps({"users": [{"ratings": ratings}], "k": 10}).encode())
    return bodies


async def _load(
    port: int, connections: int, bodies: list[bytes], *, seconds: float, requests: int
) -> dict[str, Any]:
    """Send requests over every connection without a pause, until the time is over or all are sent."""
    latencies: list[float] = []
    errors, begun, ends = 0, 0, time.perf_counter() + seconds

    async def client() -> None:
        nonlocal errors, begun
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while begun < requests and time.perf_counter() < ends:
            body = bodies[begun % len(bodies)]
            begun += 1
            start = time.perf_counter()
            writer.write(_head("POST", "/v1/recommend", len(body)) + body)
            status = await _response(reader)
            latencies.append(time.perf_counter() - start)
            errors += status != b"200"
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    passed = time.perf_counter() - start
    p50, p99 = np.percentile(latencies, [50, 99]) * 1000
    return {
        "connections": connections,
        "requests": len(latencies),
        "errors": errors,
        "requests_a_second": round(len(latencies) / passed, 1),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
    }


def _head(method: str, path: str, length: int = 0) -> bytes:
    fields = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}"
    return f"{method} {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode()


async def _response(reader: asyncio.StreamReader) -> bytes:
    """Read one response and return its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    if length := re.search(rb"content-length: *(\d+)", head, re.IGNORECASE):
        await reader.readexactly(int(length[1]))
    return head.split(b" ", 2)[1]


def start(model: Path, log: Path) -> tuple[subprocess.Popen[bytes], int, float]:
    """Start the service; return it with its port and the seconds until it is ready."""
    began = time.perf_counter()
    with log.open("wb") as lines:
        command = [sys.executable, "-m", "tastevec", "serve", str(model), "--port", "0"]
        process = subprocess.Popen(command, stderr=lines)
    while (found := re.search(r"http://[^ ;]+:(\d+)", log.read_text())) is None:
        if process.poll() is not None:
            sys.exit(f"The service did not start: {log.read_text()}")
        time.sleep(0.02)
    asyncio.run(_ready(int(found[1])))
    return process, int(found[1]), time.perf_counter() - began


async def _ready(port: int) -> None:
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_head("GET", "/readyz"))
        status = await _response(reader)
        writer.close()
        if status == b"200":
            return
        await asyncio.sleep(0.05)


def _memory(
    process: psutil.Process, port: int, bodies: list[bytes], requests: int
) -> Iterator[dict[str, Any]]:
    tenth = requests // 10
    for done in range(0, requests + 1, tenth):
        yield {"requests": done, "memory_mb": round(process.memory_info().rss / 2**20, 1)}
        if done < requests:
            asyncio.run(_load(port, 8, bodies, seconds=float("inf"), requests=tenth))

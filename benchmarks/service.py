"""How fast and how steady the HTTP service is: requests a second, latencies and memory, on loopback.

``python benchmarks/service.py MODEL`` starts ``tastevec serve`` and asks it for ten films for a person of fifty, over 1, 8 and 64
connections, then asks until 20,000 requests are answered and watches its memory. Written to ``results/bench-service.json``.
The clients run on the same cores as the service, so that many connections share what is left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from provenance import ROOT, provenance, save
from rendering import put, rendered

import tastevec

if TYPE_CHECKING:
    from collections.abc import Iterator

SAVED = ROOT / "results" / "bench-service.json"
CONNECTIONS = (1, 8, 64)
SECONDS, REQUESTS, FILMS = 10.0, 20_000, 50
PEOPLE = 200  # different bodies, so that nothing is answered from a cache


def bodies(model: Path) -> list[bytes]:
    """Requests for ten films for people of fifty films each, drawn by how often films were seen."""
    items = tastevec.load(model).bundle.items
    ids, seen = items["item_id"].to_numpy(), items["train_users"].to_numpy().astype(float)
    rng = np.random.default_rng(42)
    made = []
    for _ in range(PEOPLE):
        films = rng.choice(ids, FILMS, replace=False, p=seen / seen.sum())
        ratings = [
            {"item_id": film, "rating": int(stars)}
            for film, stars in zip(films.tolist(), rng.integers(1, 6, FILMS), strict=True)
        ]
        made.append(json.dumps({"people": [{"ratings": ratings}], "k": 10}).encode())
    return made


async def asked(
    port: int, connections: int, told: list[bytes], *, seconds: float, requests: int
) -> dict[str, Any]:
    """Ask over so many connections, each without a pause, until the time is over or all requests are answered."""
    took: list[float] = []
    errors, begun = 0, 0
    ends = time.perf_counter() + seconds

    async def one() -> None:
        nonlocal errors, begun
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while begun < requests and time.perf_counter() < ends:
            body = told[begun % len(told)]
            begun += 1
            start = time.perf_counter()
            head = f"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in answer.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            )
            await reader.readexactly(length)
            took.append(time.perf_counter() - start)
            errors += not answer.startswith(b"HTTP/1.1 200")
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    passed = time.perf_counter() - start
    p50, p99 = np.percentile(took, [50, 99]) * 1000
    return {
        "connections": connections,
        "requests": len(took),
        "errors": errors,
        "requests_a_second": round(len(took) / passed, 1),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
    }


def started(model: Path, log: Path) -> tuple[subprocess.Popen[bytes], int, float]:
    """The service, which writes its lines to ``log``, its port, and the seconds until it was ready."""
    begin = time.perf_counter()
    with log.open("wb") as lines:
        service = subprocess.Popen(
            [sys.executable, "-m", "tastevec", "serve", str(model), "--port", "0"], stderr=lines
        )
    while (found := re.search(r"http://[^ ;]+:(\d+)", log.read_text())) is None:
        if service.poll() is not None:
            sys.exit(f"the service did not start: {log.read_text()}")
        time.sleep(0.02)
    port = int(found[1])
    asyncio.run(ready(port))
    return service, port, time.perf_counter() - begin


async def ready(port: int) -> None:
    """Wait until the service says that it is."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        if answer.startswith(b"HTTP/1.1 200"):
            return
        await asyncio.sleep(0.05)


def memory_over(
    process: psutil.Process, port: int, told: list[bytes], requests: int
) -> Iterator[dict[str, Any]]:
    """The service's memory at the start and after each tenth of so many requests."""
    tenth = requests // 10
    for done in range(0, requests + 1, tenth):
        yield {"requests": done, "memory_mb": round(process.memory_info().rss / 2**20, 1)}
        if done < requests:
            asyncio.run(asked(port, 8, told, seconds=float("inf"), requests=tenth))


def measured(model: Path, seconds: float, requests: int) -> dict[str, Any]:
    """Everything that is saved."""
    told = bodies(model)
    scratch = tempfile.TemporaryDirectory()
    service, port, ready_after = started(model, Path(scratch.name) / "log")
    try:
        asyncio.run(
            asked(port, 8, told, seconds=seconds / 5, requests=requests)
        )  # nothing is slow for being the first
        rates = [
            asyncio.run(asked(port, count, told, seconds=seconds, requests=10**9)) for count in CONNECTIONS
        ]
        memory = list(memory_over(psutil.Process(service.pid), port, told, requests))
    finally:
        service.terminate()
        service.wait(timeout=30)
        scratch.cleanup()
    return {
        "data": tastevec.load(model).bundle.facts["data"]["name"],
        **provenance(),
        "films_of_a_person": FILMS,
        "ready_after_s": round(ready_after, 2),
        "rates": rates,
        "memory": memory,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a bundle")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each number of connections")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="over which memory is watched")
    parser.add_argument("--out", type=Path, default=SAVED, help="another file than this is not shown")
    asked_for = parser.parse_args()
    results = measured(asked_for.model, asked_for.seconds, asked_for.requests)
    save(asked_for.out, results)
    if asked_for.out == SAVED:
        put("service", rendered(results))
    print(rendered(results))


if __name__ == "__main__":
    main()

"""Measure what this machine can do at most: move memory, multiply, parse a CSV, write to its disk.

``python benchmarks/roofs.py`` measures each roof a few times, keeps the best, and writes ``results/bench-roofs.json``; what a
stage reaches stands beside its roof in docs/speed.md. ``--render`` only puts the saved numbers there again; ``--quick`` measures
with less, and saves only into ``--out``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
from provenance import ROOT, provenance, save
from rendering import put, rendered

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "bench-roofs"
RATINGS = {"userId": "BIGINT", "movieId": "BIGINT", "rating": "DOUBLE", "timestamp": "BIGINT"}


@dataclass(frozen=True)
class Plan:
    """How much is moved, multiplied, parsed and written.

    Attributes:
        megabytes: Of each array that is copied, and of the file that is written.
        side: Of the square matrices that are multiplied.
        rows: Of the CSV.
        times: How often; the best is kept, since whatever else the machine does only takes away.
    """

    megabytes: int
    side: int
    rows: int
    times: int


WHOLE = Plan(megabytes=512, side=3_072, rows=8_000_000, times=5)
QUICK = Plan(megabytes=128, side=1_024, rows=500_000, times=3)


def measured(plan: Plan) -> dict[str, Any]:
    """Every roof, with one thread and with as many as there are cores."""
    roofs = {}
    for threads in sorted({1, os.cpu_count() or 1}):
        roofs[str(threads)] = {
            "copy_gb_per_second": copying(plan, threads),
            "product_gflops": multiplying(plan, threads),
            "csv_mb_per_second": parsing(plan, threads),
        }
    return {**provenance(), "roofs": roofs, "disk_mb_per_second": writing(plan)}


def copying(plan: Plan, threads: int) -> float:
    """GB/s read and written, by one copy a thread of arrays that no cache holds."""
    pairs = [(np.ones(plan.megabytes << 17), np.empty(plan.megabytes << 17)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as workers:

        def copy() -> None:
            list(workers.map(lambda pair: np.copyto(pair[1], pair[0]), pairs))

        seconds = best(copy, plan.times + 1)  # the first one maps the pages
    return round(2 * threads * (plan.megabytes << 20) / seconds / 1e9, 1)


def multiplying(plan: Plan, threads: int) -> float:
    """GFLOP/s of a product of square float32 matrices; NumPy's library is told its threads before it starts."""
    told = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, __file__, "--multiply", str(plan.side), str(plan.times)]
    seconds = float(subprocess.check_output(command, env=os.environ | told, text=True))
    return round(2 * plan.side**3 / seconds / 1e9, 1)


def parsing(plan: Plan, threads: int) -> float:
    """MB/s of a CSV of ratings whose columns DuckDB is told, each number read and added up."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        file = Path(folder) / "ratings.csv"
        draw = (
            f"SELECT i // 160 AS userId, hash(i) % 200000 AS movieId, (1 + hash(i + 1) % 10) / 2 AS rating, "  # noqa: S608  numbers of our own
            f"1000000000 + hash(i + 2) % 700000000 AS timestamp FROM range({plan.rows}) t(i)"
        )
        connection.execute(f"COPY ({draw}) TO '{file}' (HEADER)")
        connection.execute(f"SET threads = {threads}")
        sums = ", ".join(f"sum({column})" for column in RATINGS)
        columns = ", ".join(f"'{name}': '{kind}'" for name, kind in RATINGS.items())
        query = f"SELECT {sums} FROM read_csv('{file}', header = true, columns = {{{columns}}})"  # noqa: S608  as above
        seconds = best(lambda: connection.execute(query).fetchall(), plan.times)
        return round(file.stat().st_size / seconds / 1e6, 1)


def writing(plan: Plan) -> float:
    """MB/s of a file written beside the results and settled on the disk."""
    block = np.random.default_rng(0).bytes(16 << 20)
    runs = ROOT / "runs"
    runs.mkdir(exist_ok=True)

    def write() -> None:
        with tempfile.TemporaryFile(dir=runs) as file:
            for _ in range(plan.megabytes // 16):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())

    return round((plan.megabytes << 20) / best(write, plan.times) / 1e6, 1)


def best(what: Callable[[], object], times: int) -> float:
    """Its seconds at best."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        what()
        found.append(time.perf_counter() - began)
    return min(found)


def multiply(side: int, times: int) -> float:
    """The seconds of a product at best."""
    one, other = np.random.default_rng(0).standard_normal((2, side, side)).astype(np.float32)
    out = np.empty_like(one)
    return best(lambda: np.matmul(one, other, out=out), times + 1)  # the first one starts the threads


def main() -> None:
    """Measure, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render", action="store_true", help="only put the saved numbers into the page")
    parser.add_argument("--quick", action="store_true", help="with less")
    parser.add_argument("--out", type=Path, help="where a quick run saves its numbers; nowhere without it")
    parser.add_argument("--multiply", type=int, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    saved = ROOT / "results" / f"{NAME}.json"
    if asked.multiply:
        print(multiply(*asked.multiply))
        return
    if asked.quick:
        results = measured(QUICK)
        if asked.out:
            save(asked.out, results)
        print(rendered(results))
        return
    if not asked.render:
        save(saved, measured(WHOLE))
    put(NAME, rendered(json.loads(saved.read_text())))


if __name__ == "__main__":
    main()

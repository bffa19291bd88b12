"""Machine limits: how fast this machine copies memory, multiplies matrices, parses CSV and writes to disk, and the share that steps reach."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from measure import Run

COLUMNS = {"userId": "BIGINT", "movieId": "BIGINT", "rating": "DOUBLE", "timestamp": "BIGINT"}
# Megabytes copied and written, side of the matrices, rows of the CSV, repetitions. The best counts: other load only slows down.
FULL, SMALL = (512, 3_072, 8_000_000, 5), (128, 1_024, 500_000, 3)
Row = tuple[str, str, str, float, float]  # step, limited by, unit, reached, limit


def measured(run: Run) -> dict[str, Any]:
    """Return every limit, with one thread and with one for each core."""
    megabytes, side, rows, times = FULL if run.full else SMALL
    roofs = {}
    for threads in sorted({1, os.cpu_count() or 1}):
        product = run.call(f"product {threads}", multiply, side=side, times=times, threads=threads)
        roofs[str(threads)] = {
            "copy_gb_per_second": _copy(megabytes, threads, times),
            "product_gflops": product["gflops"],
            "csv_mb_per_second": _parse(rows, threads, times),
        }
    return {"roofs": roofs, "disk_mb_per_second": _write(run.work, megabytes, times)}


def multiply(side: int, times: int, threads: int) -> dict[str, float]:
    """Return the GFLOP/s of a product of square float32 matrices; called in a process of its own."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415  only this call needs it

    left, right = np.random.default_rng(0).standard_normal((2, side, side)).astype(np.float32)
    out = np.empty_like(left)
    with threadpool_limits(threads):
        seconds = _best(lambda: np.matmul(left, right, out=out), times + 1)  # the first starts the threads
    return {"gflops": round(2 * side**3 / seconds / 1e9, 1)}


def _copy(megabytes: int, threads: int, times: int) -> float:
    """Return the GB/s read and written by one copy per thread of arrays that exceed every cache."""
    pairs = [(np.ones(megabytes << 17), np.empty(megabytes << 17)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as workers:

        def copy() -> None:
            list(workers.map(lambda pair: np.copyto(pair[1], pair[0]), pairs))

        seconds = _best(copy, times + 1)  # the first maps the pages
    return round(2 * threads * (megabytes << 20) / seconds / 1e9, 1)


def _parse(rows: int, threads: int, times: int) -> float:
    """Return the MB/s at which DuckDB reads and sums a CSV of ratings with declared columns."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        file = Path(folder) / "ratings.csv"
        connection.execute(
            f"COPY (SELECT i // 160 AS userId, hash(i) % 200000 AS movieId, (1 + hash(i + 1) % 10) / 2 AS rating, "  # noqa: S608  our numbers
            f"1000000000 + hash(i + 2) % 700000000 AS timestamp FROM range({rows}) t(i)) TO '{file}' (HEADER)"
        )
        connection.execute(f"SET threads = {threads}")
        sums = ", ".join(f"sum({column})" for column in COLUMNS)
        types = ", ".join(f"'{name}': '{kind}'" for name, kind in COLUMNS.items())
        query = f"SELECT {sums} FROM read_csv('{file}', header = true, columns = {{{types}}})"  # noqa: S608  as above
        seconds = _best(lambda: connection.execute(query).fetchall(), times)
        return round(file.stat().st_size / seconds / 1e6, 1)


def _write(folder: Path, megabytes: int, times: int) -> float:
    """Return the MB/s of a file written and synchronized to the disk of ``folder``."""
    block = np.random.default_rng(0).bytes(16 << 20)
    folder.mkdir(parents=True, exist_ok=True)

    def write() -> None:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(megabytes // 16):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())

    return round((megabytes << 20) / _best(write, times) / 1e6, 1)


def _best(function: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        found.append(time.perf_counter() - began)
    return min(found)


# ---- the share of each limit that steps reach ----


def limits(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return, for each step of the speed results, what it reaches of the limit of the same machine.

    Args:
        parts: The results of the speed benchmarks by name; those of another machine than the limits are named and not compared.
    """
    roofs = parts["roofs"]
    same = {name: part for name, part in parts.items() if part.get("machine") == roofs.get("machine")}
    most = roofs["roofs"][max(roofs["roofs"], key=int)]
    rows = [row for name, steps in STEPS.items() if name in same for row in steps(same[name], most)]
    return {
        "machine": roofs.get("machine"),
        "limits": [
            {
                "stage": step,
                "limit": limit,
                "unit": unit,
                "reached": round(reached, 3),
                "roof": roof,
                "share": round(reached / roof, 4),
            }
            for step, limit, unit, reached, roof in rows
        ],
        "of_another_machine": sorted(set(STEPS) & (set(parts) - set(same))),
    }


def _preparation(part: dict[str, Any], roofs: dict[str, float]) -> Iterator[Row]:
    """All text of the largest dataset; content vectors included."""
    rows = [row for row in part["preparations"] if row["system"] == "tastevec prepare"]
    seconds = [row["seconds"] for row in rows if row["ratings"] == rows[-1]["ratings"]]
    reached = part["data"]["megabytes"][-1] / statistics.median(seconds)
    yield "prepare", "parsing text", "MB/s", reached, roofs["csv_mb_per_second"]


def _encoding(part: dict[str, Any], roofs: dict[str, float]) -> Iterator[Row]:
    """The matrix products of the encoder, padding not counted."""
    speed = [row["gflop"] / row["seconds"] for row in part["encodings"] if row["system"] == "onnx"]
    yield _product("encode", statistics.median(speed), roofs)


def _catalog(part: dict[str, Any], roofs: dict[str, float]) -> Iterator[Row]:
    """Scores of all items and their gradient: two products, two operations an element."""
    row = part["catalog"][-1]
    operations = 4 * part["answers"] * row["films"] * part["dim"]
    yield _product(
        f"train, softmax over {row['films']:,} items", operations / row["loss_seconds"] / 1e9, roofs
    )


def _ranking(part: dict[str, Any], roofs: dict[str, float]) -> Iterator[Row]:
    """The products of users with all items, and of users with all users."""
    ours = [row for row in part["rankings"] if row["system"] == "tastevec"][-1]
    yield _product("recommend", ours["people_per_second"] * 2 * part["films"] * part["dim"] / 1e9, roofs)
    alike = part["similar"][-1]
    yield _product("similar", alike["people_per_second"] * 2 * alike["people"] * part["dim"] / 1e9, roofs)


def _product(step: str, gflops: float, roofs: dict[str, float]) -> Row:
    return step, "product of matrices", "GFLOP/s", gflops, roofs["product_gflops"]


STEPS: dict[str, Callable[[dict[str, Any], dict[str, float]], Iterator[Row]]] = {
    "preparation": _preparation,
    "encoding": _encoding,
    "catalog": _catalog,
    "ranking": _ranking,
}

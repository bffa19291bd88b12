"""Speed of encoding: users per second of ONNX and PyTorch, of the command from file to file, and its memory against users."""

from __future__ import annotations

import json
import shutil
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from experiment import TINY, dataset, prepared_histories, train
from measure import Run, spread

from tastevec.data.prepared import Prepared
from tastevec.data.streaming import MAX_USERS
from tastevec.serving.recommender import load

if TYPE_CHECKING:
    from tastevec.data.histories import Histories
    from tastevec.data.inputs import InputConfig
    from tastevec.schema import Horizon
    from tastevec.serving.bundle import Runtime

WARM_UP = 64  # users that are encoded before the clock starts
# Rounds, and the generated users of each measurement of memory; they rate 64 items each of 2,000.
FULL, SMALL = (3, (5_000, 20_000, 80_000, 200_000)), (1, (1_000, 4_000))
SYSTEMS: dict[str, tuple[Runtime, Horizon, int | None]] = {  # runtime, horizon, and at most so many users
    "onnx": ("onnx", "next", None),
    "torch": ("torch", "next", 2_000),
    "onnx overall": ("onnx", "overall", None),
}


def measured(run: Run) -> dict[str, Any]:
    """Return one row for each system and round, and the rows of the command."""
    rounds, growth = FULL if run.full else SMALL
    if run.full and run.prepared and run.model:
        data, model = run.prepared, run.model
    else:
        data = dataset(run, str(growth[0]), 64 * growth[0], growth[0], 2_000)
        model = train(run, data, "model", *(word for change in TINY for word in ("--set", change)))
    rows = [
        run.call(f"{system} round {turn}", encoded, data=data, model=model, system=system)
        for turn in range(1, rounds + 1)
        for system in SYSTEMS
    ]
    speed = {name: [row["users_per_second"] for row in rows if row["system"] == name] for name in SYSTEMS}
    multiples = [one / other for one, other in zip(speed["onnx"], speed["torch"], strict=True)]
    return {
        "data": Prepared.open(data).manifest["source"]["name"],
        "encodings": rows,
        "times": {"torch": spread(multiples)},
        "command": _command(run, data, model),
        "growth": [_grown(run, users, model) for users in growth],
    }


def encoded(data: str, model: str, system: str) -> dict[str, Any]:
    """Encode users in memory as ``tastevec encode`` does; called in a process of its own."""
    runtime, horizon, most = SYSTEMS[system]
    histories = Prepared.open(Path(data)).histories
    order = np.random.default_rng(42).permutation(
        len(histories)
    )  # fewer users are the first of the same order
    users = histories.take(np.sort(order[:most]))
    recommender = load(Path(model), runtime=runtime)
    recommender.vectors(users.take(np.arange(min(WARM_UP, len(users)))), horizon)
    began = time.perf_counter()
    vectors = [recommender.vectors(group, horizon) for group in users.chunks(MAX_USERS)]
    seconds = time.perf_counter() - began
    assert np.isfinite(np.concatenate(vectors)).all()
    found = {
        "system": system,
        "people": len(users),
        "films": int(users.offsets[-1]),
        "seconds": round(seconds, 3),
    }
    if horizon == "next":
        config = json.loads(Path(model, "config.json").read_text())
        found["gflop"] = _operations(users, recommender.bundle.reading, config) / 1e9
    return found | {"users_per_second": round(len(users) / seconds, 3)}


def _operations(users: Histories, reading: InputConfig, config: dict[str, Any]) -> float:
    """Return the multiplications and additions of the transformer for the *next* vectors, padding not counted."""
    width, inner, dim = config["hidden_size"], config["intermediate_size"], config["dim"]
    items = np.minimum(users.lengths, reading.max_history).astype(float)
    whole = 4 * width**2 + 2 * width * inner  # of an item in one block, without attention
    blocks = config["layers"] - 1
    # The last block computes keys and values of every item, and all of the last position alone.
    each = dim * width + blocks * (whole + 2 * items * width) + 2 * width**2
    last = whole - 2 * width**2 + 2 * items * width + width * dim
    return float(2 * (items * each + last).sum())


def _command(run: Run, data: Path, model: Path) -> dict[str, Any]:
    """Return the seconds of the complete command for all users, on Spark too in full runs where it is installed."""
    table, histories = prepared_histories(data, run.work / "histories.parquet")
    words = ("encode", model, table, "--out")
    found = {"encode": run.tastevec("encode", *words, run.work / "vectors.parquet")}
    if run.full and find_spec("pyspark") and shutil.which("java"):
        folder = run.work / "vectors"
        found["encode on Spark"] = run.tastevec("encode on Spark", *words, folder, "--engine", "spark")
    return {"people": len(histories), "films": int(histories.offsets[-1])} | found


def _grown(run: Run, users: int, model: Path) -> dict[str, Any]:
    data = dataset(run, str(users), 64 * users, users, 2_000)
    table, histories = prepared_histories(data, run.work / f"histories-{users}.parquet")
    out = run.work / f"vectors-{users}.parquet"
    record = run.tastevec(f"encode {users}", "encode", model, table, "--out", out)
    measures = {name: record[name] for name in ("seconds", "peak_memory_mb", "busy")}
    return {"users": users, "interactions": int(histories.offsets[-1]), **measures}

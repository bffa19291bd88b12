"""One way from histories in memory to vectors, timed in a process of its own.

``python benchmarks/encoding_systems.py PREPARED --model MODEL --system onnx --out FILE`` takes all people of the prepared folder, or the first so
many that ``--people`` says of an order drawn once, so that systems that are asked for fewer meet the same mixture.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does, before torch is imported

import numpy as np

from tastevec.data.prepared import Prepared
from tastevec.data.streaming import PEOPLE
from tastevec.schema import CONTENT, NOTE
from tastevec.serving.recommender import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import Reading
    from tastevec.schema import Horizon
    from tastevec.serving.bundle import Runtime

__all__ = ["SYSTEMS", "operations", "some_of"]

WARM = 64  # people who are asked before the clock begins


def ours(runtime: Runtime, horizon: Horizon) -> Callable[[Prepared, Histories, Path], dict[str, Any]]:
    """As ``tastevec encode`` asks its groups."""

    def ask(_: Prepared, people: Histories, model: Path) -> dict[str, Any]:
        recommender = load(model, runtime=runtime)
        recommender.vectors(people.take(np.arange(min(WARM, len(people)))), horizon)
        began = time.perf_counter()
        vectors = [recommender.vectors(group, horizon) for group in people.chunks(PEOPLE)]
        seconds = time.perf_counter() - began
        assert np.isfinite(np.concatenate(vectors)).all()
        told = {"seconds": seconds}
        if horizon == "next":
            config = json.loads((model / "config.json").read_text())
            told["gflop"] = operations(people, recommender.bundle.reading, config) / 1e9
        return told

    return ask


def note(prepared: Prepared, people: Histories, _: Path) -> dict[str, Any]:
    """As the research note does it; its film vectors where the data have a genome, else ours of content."""
    import pandas as pd  # noqa: PLC0415  of the note alone
    from note_encoding import note_vectors  # noqa: PLC0415  as above

    matrix = prepared.vectors.get(NOTE, prepared.vectors[CONTENT])
    ids = np.arange(len(people))  # the note numbers people
    table = {
        "userId": ids[people.owners],
        "movieId": prepared.item_ids[people.items],
        "rating": people.ratings.astype(float),
    }
    rated = pd.DataFrame(table).dropna()
    seconds = note_vectors(rated, prepared.item_ids, matrix)["seconds"]
    return {
        "seconds": sum(seconds.values()),
        "steps": {name: round(took, 3) for name, took in seconds.items()},
    }


SYSTEMS = {
    "onnx": ours("onnx", "next"),
    "torch": ours("torch", "next"),
    "onnx overall": ours("onnx", "overall"),
    "note": note,
}


def some_of(prepared: Prepared, count: int | None) -> Histories:
    """So many people, or all, drawn once: fewer are the first of more; by ascending id, as they come from a file."""
    order = np.random.default_rng(42).permutation(len(prepared.histories))
    return prepared.histories.take(np.sort(order[:count]))


def operations(people: Histories, reading: Reading, config: dict[str, Any]) -> float:
    """Multiplications and additions that the *next* answers of these people need, without padding and what is no product.

    Args:
        people: Who is asked.
        reading: How they are read.
        config: Of the encoder.
    """
    width, inner, dim = config["hidden_size"], config["intermediate_size"], config["dim"]
    films = np.minimum(people.lengths, reading.max_history).astype(float)
    whole = 4 * width**2 + 2 * width * inner  # of a film through one block, beside attention
    blocks = config["layers"] - 1
    each = (
        dim * width + blocks * (whole + 2 * films * width) + 2 * width**2
    )  # the last block reads keys and values alone
    newest = whole - 2 * width**2 + 2 * films * width + width * dim
    as_set = np.minimum(people.lengths, reading.set_history or reading.max_history)
    recent = np.minimum(films, config["recent"])
    linear = (as_set + recent) * (dim**2 + 2 * dim) + 2 * dim**3 / 3
    return float(2 * (films * each + newest + linear).sum())


def main() -> None:
    """Time one system."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path, help="whose people are asked")
    parser.add_argument(
        "--model", type=Path, required=True, help="a bundle; the note asks a network of its own"
    )
    parser.add_argument("--system", choices=SYSTEMS, required=True, help="who is asked")
    parser.add_argument("--people", type=int, help="how many; all if not given")
    parser.add_argument("--out", type=Path, required=True, help="where the numbers go")
    asked = parser.parse_args()
    prepared = Prepared.open(asked.prepared)
    people = some_of(prepared, asked.people)
    told = SYSTEMS[asked.system](prepared, people, asked.model)
    told["seconds"] = round(told["seconds"], 3)
    size = {"system": asked.system, "people": len(people), "films": int(people.offsets[-1])}
    asked.out.write_text(json.dumps(size | told))


if __name__ == "__main__":
    main()

"""Alignment: how similar a rotated model is to an older one, for two trainings that share about half of their users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from experiment import RELEASES, TINY, generated, train
from generate import Sizes

from tastevec import align, load
from tastevec.data.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from measure import Run
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

SEEDS = {"old": 42, "new": 43}
NEAREST = 10
# One epoch is enough: the item vectors, which make the space, are solved before the first.
FULL, SMALL = ("epochs=1", "report_to=none"), TINY


def measured(run: Run) -> dict[str, Any]:
    """Prepare with two split seeds, train, align, and compare users whom neither model has in its training data."""
    source = _source(run)
    for name, seed in SEEDS.items():
        data = run.work / f"data-{name}"
        run.tastevec(f"prepare {name}", "prepare", *source, "--seed", str(seed), "--out", data)
        changes = (f"seed={seed}", *(FULL if run.full else SMALL))
        train(run, data, name, *(word for change in changes for word in ("--set", change)))
    found = align(run.work / "new", run.work / "old")
    users = _held_out({name: Prepared.open(run.work / f"data-{name}") for name in SEEDS})
    old, new = (load(run.work / name).vectors(users, "overall") for name in SEEDS)
    aligned = found.apply(new)
    return {
        "data": "ml-1m-5k" if run.full else "generated",
        "alignment": found.facts,
        "people": {
            "unseen by both": len(users),
            "cosine": _cosine(aligned, old),
            "cosine, not turned": _cosine(new, old),
            "nearest": NEAREST,
            "shared": _shared(aligned, old, old),
            "shared, not turned": _shared(new, old, old),
            "shared, each in its own space": _shared(new, new, old),
        },
    }


def _source(run: Run) -> tuple[str | Path, ...]:
    if run.full:
        return RELEASES["ml-1m-5k"]
    sizes = Sizes(ratings=16_000, users=300, items=300, genome_items=0, genome_tags=20, tags=0)
    run.call("generate", generated, out=run.work / "release", sizes=vars(sizes))
    return (run.work / "release",)


def _held_out(prepared: Mapping[str, Prepared]) -> Histories:
    """Return the users that are in the training data of neither model."""
    trained = {user for data in prepared.values() for user in data.user_ids[data.users_in("train")].tolist()}
    old = prepared["old"]
    rows = [row for row, user in enumerate(old.user_ids.tolist()) if user not in trained]
    return old.histories.take(np.array(rows))


def _cosine(vectors: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    return round(float((_unit(vectors) * _unit(others)).sum(axis=1).mean()), 4)


def _shared(users: NDArray[np.float32], among: NDArray[np.float32], old: NDArray[np.float32]) -> float:
    """Return the share of the most similar users of the old space that ``users`` find among ``among``."""
    pairs = zip(_nearest(users, among), _nearest(old, old), strict=True)
    return round(float(np.mean([len({*found} & {*wanted}) for found, wanted in pairs])) / NEAREST, 4)


def _nearest(users: NDArray[np.float32], among: NDArray[np.float32]) -> list[list[int]]:
    """Return the most similar other users of each user."""
    scores = _unit(users) @ _unit(among).T
    np.fill_diagonal(scores, -np.inf)
    return [list(row) for row in np.argsort(-scores, axis=1)[:, :NEAREST].tolist()]


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

"""Speed of the evaluation: seconds and peak memory against the number of users, at 30,000 items and 100 recommendations."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from tastevec.data.histories import Histories
from tastevec.data.value_scale import ValueScale, normalize_ratings
from tastevec.evaluation.baselines import MeanPositive
from tastevec.evaluation.dataset import EvalDataset, ItemFacts
from tastevec.evaluation.evaluate import evaluate

if TYPE_CHECKING:
    from measure import Run

FULL, SMALL = (12_500, 25_000, 50_000, 100_000), (1_000, 2_000, 4_000)
ITEMS, DIM, TRAIN_USERS = 30_000, 64, 2_000


def measured(run: Run) -> dict[str, Any]:
    """Return one row for each number of users."""
    sizes = FULL if run.full else SMALL
    rows = [run.call(f"{users} users", evaluated, users=users, items=ITEMS) for users in sizes]
    return {"rows": rows}


def evaluated(users: int, items: int) -> dict[str, Any]:
    """Evaluate a cheap scorer on generated users; called in a process of its own."""
    rng = np.random.default_rng(users)
    train, test = (
        random_histories(TRAIN_USERS, 0, rng, items),
        random_histories(users, TRAIN_USERS, rng, items),
    )
    vectors = rng.standard_normal((items, DIM)).astype(np.float32)
    raters = np.bincount(train.items, minlength=items)
    dataset = EvalDataset(
        train,
        test,
        ItemFacts(raters, TRAIN_USERS, vectors, np.full(items, 1990)),
        ValueScale.explicit(1.0, 5.0),
    )
    scorer = MeanPositive(vectors, space="generated", positive_from=4.0)
    start, cpu = time.perf_counter(), time.process_time()
    evaluate([scorer], dataset, tasks=["random-20pct"])
    return {
        "users": users,
        "films": items,
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }


def random_histories(users: int, first_id: int, rng: np.random.Generator, items: int) -> Histories:
    """Return users with 20 to 108 different items each, in steps of their own through a catalog of 109 items or more."""
    lengths = rng.integers(20, 109, users)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    steps = rng.choice([step for step in range(1, items) if np.gcd(step, items) == 1], users)
    first = rng.integers(0, items, users)
    position = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    chosen = (np.repeat(first, lengths) + np.repeat(steps, lengths) * position) % items
    ratings = rng.integers(1, 6, len(chosen)).astype(np.float32)
    return Histories(
        user_ids=np.arange(first_id, first_id + users),
        offsets=offsets,
        items=chosen.astype(np.int32),
        ratings=ratings,
        normalized_ratings=normalize_ratings(ratings, offsets),
        timestamps=1_000_000_000 + 600 * position,
    )

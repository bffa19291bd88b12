"""Repeats and rows without a time, against a model of plain Python on random tables."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest

import crowds
from crowds import read

START = 1_600_000_000


def random_table(seed: int) -> crowds.Table:
    """Return 600 rows of 20 users and 12 items in few different times, of which some are missing; two users have none."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(1, 21, 600), rng.integers(1, 13, 600)
    timed = (users > 2) & (rng.random(600) > 0.1)
    seconds = START + rng.integers(0, 10, 600)
    return {
        "user_id": users.tolist(),
        "item_id": items.tolist(),
        "hours": rng.choice([-2.0, -1.0, 1.0, 2.0, 2.5], 600).tolist(),
        "timestamp": [time if there else None for time, there in zip(seconds.tolist(), timed, strict=True)],
    }


def filled(rows):
    """Return a user's rows with the time of the row before each, or of the first one that has a time."""
    first = next((row[3] for row in rows if row[3] is not None), None)
    time, found = first, []
    for row in rows:
        time = row[3] if row[3] is not None else time
        found.append((*row[:3], time, row[4]))
    return found


def merged(rows, repeats):
    """Return item, value and time of a user's pairs, oldest first."""
    last = {row[:4]: row for row in rows}  # equal rows were delivered twice
    by_item = sorted(last.values(), key=lambda row: (row[1], -1 if row[3] is None else row[3], row[4]))
    pairs = []
    for item, group in groupby(by_item, key=lambda row: row[1]):
        same = list(group)
        if repeats == "keep":
            pairs += [(row[3], row[4], item, row[2]) for row in same]
            continue
        values = [row[2] for row in same]
        strongest = max(same, key=lambda row: (abs(row[2]), same.index(row)))
        value = {"latest": values[-1], "sum": sum(values), "strongest": strongest[2]}[repeats]
        pairs.append((same[-1][3], same[-1][4], item, value))
    ordered = sorted(pairs, key=lambda pair: (-1 if pair[0] is None else pair[0], pair[1]))
    return [(item, value, time) for time, _, item, value in ordered]


@pytest.mark.parametrize("repeats", ["latest", "sum", "strongest", "keep"])
def test_repeats_and_missing_times_follow_the_model(repeats):
    """Cases 14, 18, 23 to 28, and 48."""
    table = random_table(seed=7)

    source = read(table, repeats=repeats, missing_times="order")

    numbered = [(*row, at) for at, row in enumerate(zip(*table.values(), strict=True))]
    found = source.interactions.order_by(["user_id", "timestamp", "position"]).to_pyarrow().to_pylist()
    for user in range(1, 21):
        own = [row for row in numbered if row[0] == user]
        history = [
            (row["item_id"], row["rating"], row["timestamp"]) for row in found if row["user_id"] == user
        ]
        if user <= 2:  # without times nothing was delivered twice for certain
            assert {item for item, _, _ in history} == {row[1] for row in own}
            assert repeats != "keep" or history == [row[1:4] for row in own]
            continue
        assert history == merged(filled(own), repeats)

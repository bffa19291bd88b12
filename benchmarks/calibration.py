"""Calibration: the probability of a positive rating beside what held-out users rated later, and how much it says beyond the mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np
from experiment import interval, small_world

from tastevec.data.prepared import Prepared
from tastevec.schema import Horizon
from tastevec.serving.calibration import later_ratings
from tastevec.serving.recommender import load

if TYPE_CHECKING:
    from measure import Run
    from numpy.typing import NDArray

_BINS: Final = 10  # with equally many ratings


def measured(run: Run) -> dict[str, Any]:
    """Return the errors and the reliability curve of each horizon."""
    data, model = small_world(run)
    return run.call("calibration", reliability, data=data, model=model, seed=run.seed)


def reliability(data: str, model: str, seed: int) -> dict[str, Any]:
    """Return them for the test users of a prepared dataset; called in a process of its own."""
    prepared, recommender = Prepared.open(Path(data)), load(model)
    calibration, positive_from = recommender.bundle.calibration, prepared.scale.positive_from
    found: dict[str, Any] = {"data": prepared.manifest["source"]["name"], "rows": [], "bins": []}
    if calibration is None:
        return found
    known, later, positive = later_ratings(prepared.histories.take(prepared.users_in("test")), positive_from)
    shares = calibration.user_shares(known, positive_from)[later.owners]
    rate = float(positive.mean())
    for horizon in get_args(Horizon):
        vectors = recommender.vectors(known, horizon)[later.owners]
        scores = np.einsum("td,td->t", vectors, recommender.item_vectors[later.items])
        chance = calibration.probabilities(scores, later.items, shares, horizon).astype(np.float64)
        bins = _bins(chance, positive)
        error = sum(one["ratings"] * abs(one["predicted"] - one["observed"]) for one in bins) / len(chance)
        squares = [(chance - positive) ** 2, (rate - positive) ** 2]
        row = {"horizon": horizon, "users": int((later.lengths > 0).sum()), "ratings": len(chance)}
        row |= {"positive": rate, "calibration_error": error}
        row |= dict(zip(("brier", "brier_of_rate"), (interval(one, seed) for one in squares), strict=True))
        found["rows"].append(row)
        found["bins"] += [{"horizon": horizon, **one} for one in bins]
    return found


def _bins(chance: NDArray[np.float64], positive: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return the mean probability and the share of positives of bins of the ratings by their probability."""
    return [
        {
            "predicted": float(chance[rows].mean()),
            "observed": float(positive[rows].mean()),
            "ratings": len(rows),
        }
        for rows in np.array_split(np.argsort(chance, kind="stable"), _BINS)
        if len(rows)
    ]

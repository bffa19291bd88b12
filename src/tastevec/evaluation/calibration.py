"""Calibration: the predicted probability of held-out ratings against the share of them that is positive.

Dimension letters: B users, T ratings, P bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.evaluation.scorers import EncodedScorer, Predictions
from tastevec.evaluation.statistics import bootstrap_users, ratio_bounds
from tastevec.schema import Horizon  # noqa: TC001  pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.scorers import Runs

_BINS: Final = 10  # with equally many ratings
_USERS: Final = 10_000  # measured at most: a bin then has thousands of ratings
_BLOCK: Final = 1_000  # users whose ratings are predicted at once


@dataclass(frozen=True)
class CalibrationCurve:
    """The calibration of one system at one horizon.

    Attributes:
        n_users: Users with later ratings.
        n_ratings: T.
        base_rate: Share of positives.
        calibration_error: Expected calibration error: mean difference of probability and share of positives over the bins.
        brier: Mean squared difference of probability and outcome; ``brier_low`` and ``brier_high`` are its 95 % CI by bootstrap
            over users.
        brier_of_base_rate: The same of one probability for all, the share of positives.
        predicted: (P,) mean probability of each bin, in ascending order.
        observed: (P,) share of positives of each bin; ``observed_low`` and ``observed_high`` are its 95 % CI.
    """

    system: str
    horizon: Horizon
    n_users: int
    n_ratings: int
    base_rate: float
    calibration_error: float
    brier: float
    brier_low: float
    brier_high: float
    brier_of_base_rate: float
    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    observed_low: tuple[float, ...]
    observed_high: tuple[float, ...]

    @classmethod
    def of(
        cls, system: str, horizon: Horizon, found: Predictions, draws: NDArray[np.uint8]
    ) -> CalibrationCurve:
        """Return the calibration of predictions; ``draws`` (R, B) are the resampled users, see `bootstrap_users`.

        Examples:
            >>> chance, owners = np.repeat([0.25, 0.75], 20).astype(np.float32), np.arange(40) % 4
            >>> positive = np.tile([True, False, False, False, True, True, True, False], 5)
            >>> found = Predictions(chance, np.sort(positive), owners)
            >>> one = CalibrationCurve.of("ours", "next", found, bootstrap_users(4, seed=42))
            >>> one.base_rate, round(one.calibration_error, 2), one.predicted[0], one.observed[0]
            (0.5, 0.25, 0.25, 0.0)
        """
        chance, positive = found.probabilities.astype(np.float64), found.positive.astype(np.float64)
        order = np.argsort(chance, kind="stable")
        bins = np.empty(len(order), np.int64)
        bins[order] = np.arange(len(order)) * min(_BINS, len(order)) // len(order)
        sizes = np.bincount(bins)
        predicted, observed = (np.bincount(bins, one) / sizes for one in (chance, positive))
        users = draws.shape[1]
        places = found.owners * len(sizes) + bins
        counts, positives, squares = (
            np.bincount(places, one, users * len(sizes)).reshape(users, -1).astype(np.float64)
            for one in (np.ones_like(positive), positive, (chance - positive) ** 2)
        )
        low, high = ratio_bounds(positives, counts, draws)
        of_users, ratings = (one.sum(axis=1, keepdims=True) for one in (squares, counts))
        [brier_low], [brier_high] = ratio_bounds(of_users, ratings, draws)
        rate = float(positive.mean())
        return cls(
            system,
            horizon,
            len(np.unique(found.owners)),
            len(chance),
            rate,
            float(sizes @ abs(predicted - observed)) / len(chance),
            float(squares.sum()) / len(chance),
            float(brier_low),
            float(brier_high),
            rate * (1 - rate),
            *(tuple(one.tolist()) for one in (predicted, observed, low, high)),
        )


def measure_calibration(
    systems: Sequence[Runs], users: Histories, *, horizons: Sequence[Horizon], seed: int = 42
) -> tuple[CalibrationCurve, ...]:
    """Return the calibration of each model with probabilities, of several runs that of the first.

    Args:
        systems: The systems.
        users: Held-out users, of whom at most 10,000 are measured, drawn by the seed.
        horizons: The horizons.
        seed: Random seed of the sample and of the CIs.
    """
    users = users.sample(_USERS, seed)
    draws, found = bootstrap_users(len(users), seed), []
    for system in systems:
        scorer = system.scorers[0]
        if not isinstance(scorer, EncodedScorer) or scorer.probabilities is None:
            continue
        for horizon in horizons:
            parts = [scorer.probabilities(part, horizon) for part in users.chunks(_BLOCK)]
            owners = [
                part.owners + start for part, start in zip(parts, range(0, len(users), _BLOCK), strict=True)
            ]
            joined = Predictions(
                *map(np.concatenate, (*zip(*(part[:2] for part in parts), strict=True), owners))
            )
            if len(joined.owners):
                found.append(CalibrationCurve.of(system.name, horizon, joined, draws))
    return tuple(found)

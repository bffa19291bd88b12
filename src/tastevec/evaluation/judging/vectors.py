"""Vectors: how near a system's people are to the films that were hidden, and what shape they make together.

Dimension letters: B users, D dimensions, T hidden films.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tastevec.evaluation.judging.answers import only_known
from tastevec.evaluation.metrics import (
    cosine_distance,
    effective_rank,
    halves_closer,
    halves_cosine,
    hubness,
    mean_direction,
    mean_of_targets,
    strangers_cosine,
    top_direction,
    unit_rows,
    without_direction,
)
from tastevec.evaluation.report.results import CENTRED_DISTANCE, DISTANCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.protocol import Task
    from tastevec.evaluation.scorers import VectorScorer

__all__ = ["distances", "encoded", "halves", "shape"]

_PEOPLE = 1024  # taken at once
_COMPARED = 10_000  # people among whom hubs are sought: their number squared is compared
_NEIGHBOURS = 10
_HALVES = 2


def distances(
    scorer: VectorScorer, vectors: NDArray[np.float32], task: Task
) -> dict[str, NDArray[np.float64]]:
    """(B,) cosine distances, the mean over each person's hidden films that have a vector."""
    direction = mean_direction(scorer.item_vectors)
    parts = []
    for part, start in zip(task.chunks(_PEOPLE), range(0, len(task), _PEOPLE), strict=True):
        targets = scorer.item_vectors[part.targets]  # (T, D)
        people = np.repeat(vectors[start : start + len(part)], part.hidden, axis=0)  # (T, D)
        centred = (without_direction(people, direction), without_direction(targets, direction))
        there = targets.any(axis=1)
        parts.append(
            [
                mean_of_targets(np.where(there, cosine_distance(*pair), np.nan), part.offsets)
                for pair in ((people, targets), centred)
            ]
        )
    plain, apart = np.concatenate(parts, axis=1)
    return {DISTANCE: plain, CENTRED_DISTANCE: apart}


def halves(scorer: VectorScorer, known: Histories) -> dict[str, NDArray[np.float64]]:
    """(B,) cosines between the vectors of a person's odd and even films, and of his odd and another's even films.

    And the share of others whose even films are farther from his odd ones than his own are. Each half is encoded as if it
    were all that is known. NaN for a person of one film, who has no halves.
    """
    both = np.flatnonzero(known.lengths >= _HALVES)
    people = known.take(both)
    odd = (np.arange(people.offsets[-1]) - people.offsets[:-1][people.owners]) % 2 == 0
    first, second = (encoded(scorer, only_known(people, mask)) for mask in (odd, ~odd))
    found = {
        "halves_cosine": halves_cosine(first, second),
        "strangers_cosine": strangers_cosine(first, second),
        "halves_closer": halves_closer(first, second),
    }
    of_all = {name: np.full(len(known), np.nan) for name in found}
    for name, values in found.items():
        of_all[name][both] = values
    return of_all


def shape(vectors: NDArray[np.float32], seed: int) -> dict[str, float]:
    """What only all vectors (B, D) together have, each at length 1, so that everybody counts alike.

    Hubs are sought among 10,000 people at most, drawn by the seed.
    """
    units = unit_rows(vectors)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(units))[:_COMPARED])
    return {
        "effective_rank": effective_rank(units),
        "top_direction": top_direction(units),
        f"hubness@{_NEIGHBOURS}": hubness(units[drawn], _NEIGHBOURS),
    }


def encoded(scorer: VectorScorer, histories: Histories) -> NDArray[np.float32]:
    """(B, D) one vector a person, the people taken in chunks."""
    parts = [scorer.vectors(part) for part in histories.chunks(_PEOPLE)]
    return np.concatenate([np.zeros((0, scorer.item_vectors.shape[1]), np.float32), *parts])

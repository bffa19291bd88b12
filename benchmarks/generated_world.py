"""What decides the choices in a generated release: the weight of each film in each taste.

The weights are measured on a sample of people and corrected until each film is chosen as often as is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from generated_films import FIRST_SECOND, LAST_SECOND, YEAR_SECONDS
from generated_people import make_people, make_tastes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from generated_films import Films
    from generated_people import People
    from numpy.typing import NDArray

__all__ = ["CLOCK", "SPREADS", "World", "attraction", "blocks", "densities", "liking", "make_world"]

CLOCK: Final = np.linspace(FIRST_SECOND, LAST_SECOND, 100)
SPREADS: Final = {
    "bias": 0.4,
    "quality": 0.4,
    "match": 0.4,
    "noise": 0.75,
}  # stars, of what a rating is made of
_SHARPNESS: Final = (
    10.0  # how much a taste prefers the films in its direction: see the tests of planted tastes
)
_SAMPLE: Final = 128  # people on whom a world is measured
_CORRECTIONS: Final = 8  # after which the ten best known films are 6 % below what is wanted, others nearer
_STEPS: Final = 3  # of Newton's, in each
_MOST_CORRECTED: Final = 20.0  # times that a film's weight may be off the typical
_MOST_PEOPLE: Final = 0.8  # of those who came when it was there, for the best known film
_CELLS: Final = 1 << 21  # people by films, in memory at a time
_FADE: Final = 3 * YEAR_SECONDS  # in which what is new of a film's attraction falls to a third
_LASTING: Final = 0.35  # of the attraction
_UNSEEN: Final = 1e-13  # the attraction of a film that is not there yet, for when nothing else is left


@dataclass(frozen=True)
class World:
    """What decides choices and ratings; K tastes, M films.

    Attributes:
        films: All of them.
        directions: float32 (K, D): of the tastes.
        weights: float32 (K, M): of each film in each taste; a row sums to 1.
        cumulated: float64 (K, M): the same, added up.
        accepted: float64: how many of the draws count at each of ``CLOCK``, on average over tastes.
        rating_mean: Of the scores of chosen films, before noise.
        rating_spread: The standard deviation of the scores, with noise.
    """

    films: Films
    directions: NDArray[np.float32]
    weights: NDArray[np.float32]
    cumulated: NDArray[np.float64]
    accepted: NDArray[np.float64]
    rating_mean: float
    rating_spread: float


def make_world(films: Films, lengths: NDArray[np.int64], rng: np.random.Generator) -> World:
    """A world in which each film is rated about as often as is wanted, as far as people were there to rate it.

    Args:
        films: All of them.
        lengths: How many each person will rate.
        rng: For the tastes, and for the people on whom the world is measured.
    """
    directions = make_tastes(rng)
    tilt = np.exp(_SHARPNESS * np.einsum("kd,md->km", directions, films.vectors))  # (K, M), float32
    tilt /= tilt.mean(axis=0)
    parts = np.array_split(np.sort(lengths), min(_SAMPLE, len(lengths)))
    people = make_people(np.array([round(part.mean()) for part in parts]), directions, rng)
    target, there = _reachable(films, float(people.lengths.mean()))
    draws, correction = people.lengths.astype(np.float64), np.ones(len(films))
    for _ in range(_CORRECTIONS):
        popularity = correction * target / there
        weights = tilt * popularity.astype(np.float32)
        weights /= weights.sum(axis=1, keepdims=True)
        chances, scores, draws = _measure(films, weights, people, draws)
        correction *= np.clip(target / np.maximum(chances, _UNSEEN), 0.1, 10)
        # Some films are met by few of the sample or by none, which says little of how many will rate them.
        correction = (correction / np.median(correction)).clip(1 / _MOST_CORRECTED, _MOST_CORRECTED)
    cumulated = np.cumsum(weights, axis=1, dtype=np.float64)
    cumulated /= cumulated[:, -1:]
    shares = popularity / popularity.sum()
    accepted = np.array([(shares * attraction(now, films.entered)).sum() for now in CLOCK])
    return World(films, directions, weights, cumulated, accepted, *scores)


def _reachable(films: Films, mean_length: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The shares of people to rate each film, scaled to what people rate, and how many came when it was there."""
    there = ((LAST_SECOND - films.entered) / (LAST_SECOND - FIRST_SECOND)).clip(0.01, 1)
    low, high = 0.0, 1 / films.wanted.min()
    for _ in range(80):
        middle = (low + high) / 2
        enough = (there * np.minimum(_MOST_PEOPLE, films.wanted * middle)).sum() >= mean_length
        low, high = (low, middle) if enough else (middle, high)
    return there * np.minimum(_MOST_PEOPLE, films.wanted * high), there


def _measure(
    films: Films, weights: NDArray[np.float32], people: People, draws: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[float, float], NDArray[np.float64]]:
    """Each film's share of people, mean and spread of the scores, and after how many draws each person has his films."""
    chances, draws, moments = np.zeros(len(films)), draws.copy(), np.zeros(3)
    for rows in blocks(np.arange(len(people)), len(films)):
        density = densities(films, weights, people, rows)  # (b, M)
        for _ in range(_STEPS):  # from below they never overshoot: films are concave in draws
            missed = np.exp(-draws[rows, None] * density)
            slope = np.maximum((density * missed).sum(axis=1), 1e-12)
            draws[rows] += np.maximum(people.lengths[rows] - (1 - missed).sum(axis=1), 0) / slope
        chosen = 1 - np.exp(-draws[rows, None] * density)
        chances += chosen.sum(axis=0)
        score = liking(films.quality[None, :], np.einsum("bd,md->bm", people.vectors[rows], films.vectors))
        moments += [chosen.sum(), (chosen * score).sum(), (chosen * score**2).sum()]
    mean = moments[1] / moments[0]
    spread = np.sqrt(moments[2] / moments[0] - mean**2 + SPREADS["bias"] ** 2 + SPREADS["noise"] ** 2)
    return chances / len(people), (float(mean), float(spread)), draws


def blocks(rows: NDArray[np.int64], films: int) -> Iterator[NDArray[np.int64]]:
    """The rows in pieces, each of which may look at this many films without taking much memory."""
    step = max(1, _CELLS // films)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def densities(
    films: Films, weights: NDArray[np.float32], people: People, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How likely each film is the next for each of these people: (b, M); a row sums to 1."""
    density = sum(
        share[:, None] * weights[taste]
        for share, taste in zip(people.shares[rows].T, people.tastes[rows].T, strict=True)
    )
    density = density * np.maximum(attraction(people.starts[rows, None], films.entered[None, :]), _UNSEEN)
    return density / density.sum(axis=1, keepdims=True)


def attraction(now: NDArray[np.float64] | float, entered: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 for a film that is not there yet, 1 for a new one, falling to a third with the years."""
    age = now - entered
    return np.where(age >= 0, _LASTING + (1 - _LASTING) * np.exp(-np.maximum(age, 0) / _FADE), 0.0)


def liking(quality: NDArray[np.float32], match: NDArray[np.float32]) -> NDArray[np.float32]:
    """How many stars more a film is worth to somebody, before his bias and noise; a match spreads by 1/4."""
    return SPREADS["quality"] * quality + 4 * SPREADS["match"] * match

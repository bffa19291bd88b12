"""The people of a generated release: how much they rate, when, and what they like.

People come in groups of a fixed size, each with a random generator of its own, so that a group's people are the same
whatever was made before them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from generated_films import DIMENSIONS, FIRST_SECOND, LAST_SECOND

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "GROUP",
    "TASTES",
    "People",
    "apportion",
    "draw_times",
    "history_lengths",
    "make_people",
    "make_tastes",
]

GROUP: Final = 2_000  # people
TASTES: Final = 32  # kinds of taste, of which each person has a few
OWN_TASTES: Final = 3
SHORTEST: Final = 20  # MovieLens leaves out whoever rated fewer
_LENGTH_SIGMA: Final = 1.45  # of the logarithm of what is above the shortest; ml-latest-small: 1.4 to 1.7
_HALF_STARS_CAME: Final = 1_045_526_400  # 18 February 2003
_WHOLE_STARS_STILL: Final = 0.1  # of those who came later never give halves
# Between one rating and the next, as in ml-latest-small, where 16 % are at the same second, half within 11 seconds, and 6 % of
# all ratings begin a new session: medians of log-normals, of which those of returning differ most between people.
_SECONDS: Final = 10
_LONGEST_PAUSE: Final = 3_000  # seconds
_TIED: Final = 0.05  # besides those that round to 0
_RETURNS: Final = 0.01
_DAYS: Final = 5
_MOST_OF_THE_TIME: Final = 0.9 * (LAST_SECOND - FIRST_SECOND)


@dataclass(frozen=True)
class People:
    """A group of people; B of them, D dimensions, W tastes each.

    Attributes:
        lengths: int64 (B,): how many films each rates.
        tastes: int64 (B, W): which tastes are his.
        shares: float64 (B, W): how much each taste is of him; sums to 1.
        vectors: float32 (B, D): the mean of his tastes, 1 long.
        bias: float32 (B,): how much higher than others he rates, mean 0, standard deviation 1.
        starts: float64 (B,): the Unix second of his first rating.
        times: int64 (N,): of all ratings, person by person, ascending.
        whole: bool (B,): whether he gives whole stars only.
    """

    lengths: NDArray[np.int64]
    tastes: NDArray[np.int64]
    shares: NDArray[np.float64]
    vectors: NDArray[np.float32]
    bias: NDArray[np.float32]
    starts: NDArray[np.float64]
    times: NDArray[np.int64]
    whole: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.lengths)


def make_tastes(rng: np.random.Generator) -> NDArray[np.float32]:
    """The directions of all tastes, each 1 long: float32 (K, D)."""
    directions = rng.standard_normal((TASTES, DIMENSIONS))
    return (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)


def make_people(
    lengths: NDArray[np.int64], directions: NDArray[np.float32], rng: np.random.Generator
) -> People:
    """People with these many ratings each."""
    people = len(lengths)
    tastes = np.argsort(rng.random((people, TASTES)), axis=1)[:, :OWN_TASTES]
    shares = rng.dirichlet([0.8] * OWN_TASTES, people)
    vectors = np.einsum("bw,bwd->bd", shares, directions[tastes])
    starts, times = draw_times(lengths, rng)
    return People(
        lengths=lengths,
        tastes=tastes,
        shares=shares,
        vectors=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
        bias=rng.standard_normal(people).astype(np.float32),
        starts=starts,
        times=times,
        whole=(starts < _HALF_STARS_CAME) | (rng.random(people) < _WHOLE_STARS_STILL),
    )


def draw_times(
    lengths: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """When each person begins, and the second of each rating: sessions of ratings seconds apart, days between sessions."""
    total, ends = int(lengths.sum()), np.cumsum(lengths)
    returns = np.exp(rng.normal(np.log(_RETURNS), 2, len(lengths))).clip(0, 0.8)
    within = np.floor(np.exp(rng.normal(np.log(_SECONDS), 1.8, total))).clip(0, _LONGEST_PAUSE)
    within *= rng.random(total) > _TIED
    between = np.exp(rng.normal(np.log(_DAYS * 86_400), 1.7, total))
    gaps = np.where(rng.random(total) < np.repeat(returns, lengths), between, within)
    gaps[ends - lengths] = 0
    since = np.cumsum(gaps)
    since -= np.repeat(since[ends - lengths], lengths)
    spans = since[ends - 1]
    shrink = np.minimum(1, _MOST_OF_THE_TIME / np.maximum(spans, 1))
    starts = FIRST_SECOND + rng.random(len(lengths)) * (LAST_SECOND - FIRST_SECOND - spans * shrink)
    times = np.floor(np.repeat(starts, lengths) + since * np.repeat(shrink, lengths))
    return starts, times.astype(np.int64)


def history_lengths(people: int, ratings: int, films: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many films each person rates: log-normal above the shortest, never more than there are; sums to ``ratings``."""
    weights = np.exp(rng.normal(0, _LENGTH_SIGMA, people))
    shortest = min(SHORTEST, ratings // people, films)
    return apportion(ratings, weights, np.full(people, films), shortest)


def apportion(
    total: int, weights: NDArray[np.float64], caps: NDArray[np.int64], least: int
) -> NDArray[np.int64]:
    """Whole numbers that sum to ``total``: ``least`` each, the rest by weight, none above its cap.

    Args:
        total: From ``least`` times the number of weights to the sum of the caps.
        weights: Above 0.
        caps: ``least`` or more.
        least: 0 or more.
    """
    room = caps - least
    low, high = 0.0, float((room / weights).max())
    for _ in range(80):
        middle = (low + high) / 2
        enough = np.minimum(weights * middle, room).sum() >= total - least * len(weights)
        low, high = (low, middle) if enough else (middle, high)
    parts = np.minimum(weights * high, room)
    whole = np.floor(parts).astype(np.int64)
    while (missing := total - least * len(weights) - int(whole.sum())) > 0:
        nearest = np.argsort(whole - parts + 2 * (whole >= room), kind="stable")[:missing]
        whole[nearest] += 1
    return whole + least

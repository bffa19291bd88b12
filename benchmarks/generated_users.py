"""Generated users: how much they rate and when, which items they choose, and how they rate them.

A user draws items from a mixture of their tastes; the weight of each item in each taste is measured on a sample of users and
corrected until items are chosen as often as wanted. Choosing is drawing without replacement and needs no matrix of users by
items. Users come in groups with a random generator of their own: a group is the same whatever is made before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from generated_items import DIMENSIONS, FIRST_SECOND, LAST_SECOND, YEAR_SECONDS, Items, apportion
from scipy.special import ndtr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

GROUP: Final = 2_000  # users
TASTES: Final = 32  # each user has a few of them
OWN_TASTES: Final = 3
SHORTEST: Final = 20  # MovieLens has no user with fewer
_LENGTH_SIGMA: Final = 1.45  # of the logarithm of the excess over the shortest; ml-latest-small: 1.4 to 1.7
_HALF_STARS_CAME: Final = 1_045_526_400  # 18 February 2003
_WHOLE_STARS_STILL: Final = 0.1  # of later users give whole stars only
# Gaps between ratings, as in ml-latest-small: 16 % are 0, half are below 11 seconds, and 6 % of ratings start a session.
# Medians of log-normals; the rate of returning differs most between users.
_SECONDS: Final = 10
_LONGEST_PAUSE: Final = 3_000  # seconds
_TIED: Final = 0.05  # in addition to those that round to 0
_RETURNS: Final = 0.01
_DAYS: Final = 5
_MOST_OF_THE_TIME: Final = 0.9 * (LAST_SECOND - FIRST_SECOND)


@dataclass(frozen=True)
class Users:
    """A group of users; B users, D dimensions, W tastes each, N ratings."""

    lengths: NDArray[np.int64]  # (B,), the number of ratings
    tastes: NDArray[np.int64]  # (B, W), indices of their tastes
    shares: NDArray[np.float64]  # (B, W), the share of each taste; sums to 1
    vectors: NDArray[np.float32]  # (B, D), the mean of their tastes, 1 long
    bias: NDArray[np.float32]  # (B,), how much higher they rate, mean 0, standard deviation 1
    starts: NDArray[np.float64]  # (B,), the Unix second of the first rating
    times: NDArray[np.int64]  # (N,), of all ratings, user by user, ascending
    whole: NDArray[np.bool_]  # (B,), whether they give whole stars only

    def __len__(self) -> int:
        return len(self.lengths)


def make_tastes(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the directions of all tastes, each 1 long, float32 (K, D)."""
    directions = rng.standard_normal((TASTES, DIMENSIONS))
    return (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)


def make_users(
    lengths: NDArray[np.int64], directions: NDArray[np.float32], rng: np.random.Generator
) -> Users:
    """Return users with these numbers of ratings."""
    users = len(lengths)
    tastes = np.argsort(rng.random((users, TASTES)), axis=1)[:, :OWN_TASTES]
    shares = rng.dirichlet([0.8] * OWN_TASTES, users)
    vectors = np.einsum("bw,bwd->bd", shares, directions[tastes])
    starts, times = draw_times(lengths, rng)
    return Users(
        lengths=lengths,
        tastes=tastes,
        shares=shares,
        vectors=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
        bias=rng.standard_normal(users).astype(np.float32),
        starts=starts,
        times=times,
        whole=(starts < _HALF_STARS_CAME) | (rng.random(users) < _WHOLE_STARS_STILL),
    )


def draw_times(
    lengths: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the first second of each user and the second of each rating: seconds within sessions, days between them."""
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


def history_lengths(users: int, ratings: int, items: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the number of ratings of each user: log-normal above the shortest, at most every item; the sum is ``ratings``."""
    weights = np.exp(rng.normal(0, _LENGTH_SIGMA, users))
    shortest = min(SHORTEST, ratings // users, items)
    return apportion(ratings, weights, np.full(users, items), shortest)


# ---- the weights of items ----

CLOCK: Final = np.linspace(FIRST_SECOND, LAST_SECOND, 100)
SPREADS: Final = {
    "bias": 0.4,
    "quality": 0.4,
    "match": 0.4,
    "noise": 0.75,
}  # standard deviations in stars of the parts of a rating
_SHARPNESS: Final = 10.0  # how much a taste prefers the items in its direction: see the tests of preferences
_SAMPLE: Final = 128  # users on whom the weights are measured
_CORRECTIONS: Final = 8  # then the ten most popular items are 6 % below what is wanted, others closer
_STEPS: Final = 3  # of Newton's, in each
_MOST_CORRECTED: Final = 20.0  # largest ratio of an item's correction to the median
_MAX_USERS: Final = 0.8  # share of the users after its entry, for the most popular item
_CELLS: Final = 1 << 21  # users by items, in memory at a time
_FADE: Final = 3 * YEAR_SECONDS  # in which the attraction of novelty falls to a third
_LASTING: Final = 0.35  # of the attraction
_EXCLUDED: Final = 1e-13  # the attraction of an item before its entry, for users who rate everything else


@dataclass(frozen=True)
class World:
    """What determines choices and ratings; K tastes, M items."""

    items: Items  # All items
    directions: NDArray[np.float32]  # (K, D), of the tastes
    weights: NDArray[np.float32]  # (K, M), of each item in each taste; a row sums to 1
    cumulated: NDArray[np.float64]  # (K, M), the cumulative sums
    accepted: NDArray[
        np.float64
    ]  # the share of draws that count at each time of ``CLOCK``, a mean over tastes
    rating_mean: float  # Of the scores of chosen items, before noise
    rating_spread: float  # the standard deviation of the scores, with noise


def make_world(items: Items, lengths: NDArray[np.int64], rng: np.random.Generator) -> World:
    """Return a world in which each item is rated about as often as wanted, by users after its entry."""
    directions = make_tastes(rng)
    tilt = np.exp(_SHARPNESS * np.einsum("kd,md->km", directions, items.vectors))  # (K, M), float32
    tilt /= tilt.mean(axis=0)
    parts = np.array_split(np.sort(lengths), min(_SAMPLE, len(lengths)))
    users = make_users(np.array([round(part.mean()) for part in parts]), directions, rng)
    target, there = _reachable(items, float(users.lengths.mean()))
    draws, correction = users.lengths.astype(np.float64), np.ones(len(items))
    for _ in range(_CORRECTIONS):
        popularity = correction * target / there
        weights = tilt * popularity.astype(np.float32)
        weights /= weights.sum(axis=1, keepdims=True)
        chances, scores, draws = _measure(items, weights, users, draws)
        correction *= np.clip(target / np.maximum(chances, _EXCLUDED), 0.1, 10)
        # Few users of the sample or none choose some items: that is no estimate of how many users will.
        correction = (correction / np.median(correction)).clip(1 / _MOST_CORRECTED, _MOST_CORRECTED)
    cumulated = np.cumsum(weights, axis=1, dtype=np.float64)
    cumulated /= cumulated[:, -1:]
    shares = popularity / popularity.sum()
    accepted = np.array([(shares * attraction(now, items.entered)).sum() for now in CLOCK])
    return World(items, directions, weights, cumulated, accepted, *scores)


def _reachable(items: Items, mean_length: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the wanted share of users of each item, scaled to the ratings per user, and the share of users after its entry."""
    there = ((LAST_SECOND - items.entered) / (LAST_SECOND - FIRST_SECOND)).clip(0.01, 1)
    low, high = 0.0, 1 / items.wanted.min()
    for _ in range(80):
        middle = (low + high) / 2
        enough = (there * np.minimum(_MAX_USERS, items.wanted * middle)).sum() >= mean_length
        low, high = (low, middle) if enough else (middle, high)
    return there * np.minimum(_MAX_USERS, items.wanted * high), there


def _measure(
    items: Items, weights: NDArray[np.float32], users: Users, draws: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[float, float], NDArray[np.float64]]:
    """Return the share of users of each item, mean and standard deviation of scores, and the draws that each user needs."""
    chances, draws, moments = np.zeros(len(items)), draws.copy(), np.zeros(3)
    for rows in blocks(np.arange(len(users)), len(items)):
        density = densities(items, weights, users, rows)  # (b, M)
        for _ in range(_STEPS):  # from below it never overshoots: items are concave in draws
            missed = np.exp(-draws[rows, None] * density)
            slope = np.maximum((density * missed).sum(axis=1), 1e-12)
            draws[rows] += np.maximum(users.lengths[rows] - (1 - missed).sum(axis=1), 0) / slope
        chosen = 1 - np.exp(-draws[rows, None] * density)
        chances += chosen.sum(axis=0)
        score = liking(items.quality[None, :], np.einsum("bd,md->bm", users.vectors[rows], items.vectors))
        moments += [chosen.sum(), (chosen * score).sum(), (chosen * score**2).sum()]
    mean = moments[1] / moments[0]
    spread = np.sqrt(moments[2] / moments[0] - mean**2 + SPREADS["bias"] ** 2 + SPREADS["noise"] ** 2)
    return chances / len(users), (float(mean), float(spread)), draws


def blocks(rows: NDArray[np.int64], items: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows in pieces for which a matrix of users by items takes little memory."""
    step = max(1, _CELLS // items)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def densities(
    items: Items, weights: NDArray[np.float32], users: Users, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the probability of each item to be the next of each user, (b, M)."""
    density = sum(
        share[:, None] * weights[taste]
        for share, taste in zip(users.shares[rows].T, users.tastes[rows].T, strict=True)
    )
    density = density * np.maximum(attraction(users.starts[rows, None], items.entered[None, :]), _EXCLUDED)
    return density / density.sum(axis=1, keepdims=True)


def attraction(now: NDArray[np.float64] | float, entered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 0 before the entry of an item, 1 at its entry, falling to a third with the years."""
    age = now - entered
    return np.where(age >= 0, _LASTING + (1 - _LASTING) * np.exp(-np.maximum(age, 0) / _FADE), 0.0)


def liking(quality: NDArray[np.float32], match: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rating above the mean, before bias and noise; the standard deviation of a match is 1/4."""
    return SPREADS["quality"] * quality + 4 * SPREADS["match"] * match


# ---- choices and ratings ----

_ROUNDS: Final = 8  # of draws; incomplete users then weigh every item
_DENSE: Final = 50  # a user who rates one of so many items would draw the same ones too often
_MOOD: Final = 12  # draws in a row that a mood lasts
_MOODY: Final = 0.5  # of the draws follow the mood
# Frequencies of half stars, 1 to 10: of all ratings of ml-25m, and of users who give whole stars only, as in ml-1m.
_ALL: Final = np.array([0.0157, 0.0311, 0.016, 0.0656, 0.0505, 0.1958, 0.127, 0.2656, 0.0882, 0.1445])
_WHOLE: Final = np.array([0, 0.056, 0, 0.107, 0, 0.261, 0, 0.35, 0, 0.226])
_WHOLE_SHARE: Final = 0.36  # of all ratings are from such users
_HALVES: Final = (_ALL - _WHOLE_SHARE * _WHOLE) / (1 - _WHOLE_SHARE)


def rate(
    users: Users, owners: NDArray[np.int64], items: NDArray[np.int64], world: World, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return half stars, 1 to 10, of these users for these items; both (N,)."""
    match = np.einsum("nd,nd->n", users.vectors[owners], world.items.vectors[items])
    score = liking(world.items.quality[items], match) + SPREADS["bias"] * users.bias[owners]
    score += SPREADS["noise"] * rng.standard_normal(len(owners), dtype=np.float32)
    level = ndtr((score - world.rating_mean) / world.rating_spread)
    halves, whole = (
        np.searchsorted(np.cumsum(shares)[:-1] / shares.sum(), level) for shares in (_HALVES, _WHOLE)
    )
    return 1 + np.where(users.whole[owners], whole, halves)


def choose(users: Users, world: World, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the chosen items (N,), user by user, in the order of choice, without repetition."""
    items = len(world.items)
    dense = users.lengths * _DENSE > items
    drawn, left = _draw_in_rounds(users, np.flatnonzero(~dense), world, rng)
    densely = [
        _draw_densely(users, rows, world, rng)
        for rows in blocks(np.union1d(np.flatnonzero(dense), left), items)
    ]
    keys = np.concatenate([drawn, *densely])
    return (keys % items)[np.argsort(keys // items, kind="stable")]


def _draw_densely(
    users: Users, rows: NDArray[np.int64], world: World, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return user times M plus item, in the order of choice, for users who rate a large part of all items.

    The largest log-weights plus Gumbel noise, in descending order, are distributed as successive draws (Yellott 1977; Kool et
    al. 2019, Stochastic Beams).
    """
    items = len(world.items)
    density = densities(world.items, world.weights, users, rows)
    noise = rng.gumbel(size=density.shape)
    score = -(np.log(np.maximum(density, 1e-300)) + noise)
    longest = int(users.lengths[rows].max())
    order = np.argpartition(score, min(longest, items - 1), axis=1)[:, :longest]
    order = np.take_along_axis(order, np.argsort(np.take_along_axis(score, order, 1), axis=1), 1)
    taken = np.arange(longest) < users.lengths[rows, None]
    return (rows[:, None] * items + order)[taken]


def _draw_in_rounds(
    users: Users, who: NDArray[np.int64], world: World, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return user times M plus item in the order of choice, and the users who are not complete after the last round."""
    items, accepted_keys, active = len(world.items), np.empty(0, np.int64), who
    have = np.zeros(len(users), np.int64)
    odds = np.interp(users.starts, CLOCK, world.accepted).clip(0.02, 1)  # of a draw to count
    for turn in range(_ROUNDS):
        if not len(active):
            break
        missing = (users.lengths - have)[active]
        draws = np.ceil(missing * (1.3 + turn) / odds[active]).astype(np.int64) + 8
        owners = np.repeat(active, draws)
        drawn = _draw(users, owners, draws, world, rng)
        accepted = rng.random(len(drawn)) < attraction(users.starts[owners], world.items.entered[drawn])
        keys = np.concatenate([accepted_keys, (owners * items + drawn)[accepted]])
        accepted_keys = keys[np.sort(np.unique(keys, return_index=True)[1])]
        have = np.bincount(accepted_keys // items, minlength=len(users))
        active = active[have[active] < users.lengths[active]]
    accepted_keys = accepted_keys[np.argsort(accepted_keys // items, kind="stable")]
    user = accepted_keys // items
    place = np.arange(len(accepted_keys)) - (np.cumsum(have) - have)[user]
    return accepted_keys[(place < users.lengths[user]) & ~np.isin(user, active)], active


def _draw(
    users: Users, owners: NDArray[np.int64], draws: NDArray[np.int64], world: World, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return one item for each of ``owners``, which come in runs of ``draws``; some follow the current mood."""
    place = np.arange(len(owners)) - np.repeat(np.cumsum(draws) - draws, draws)
    starts_mood = place % _MOOD == 0
    mood = _own_taste(users, owners[starts_mood], rng)[np.cumsum(starts_mood) - 1]
    taste = np.where(rng.random(len(owners)) < _MOODY, mood, _own_taste(users, owners, rng))
    order = np.argsort(taste.astype(np.int16), kind="stable")  # int16 is sorted by radix
    bounds = np.searchsorted(taste[order], np.arange(len(world.directions) + 1))
    level, items = rng.random(len(owners)), np.empty(len(owners), np.int64)
    for cumulated, start, end in zip(world.cumulated, bounds, bounds[1:], strict=False):
        part = order[start:end]  # of one taste, whose table stays in the CPU cache
        items[part] = np.searchsorted(cumulated, level[part], side="right")
    return items


def _own_taste(users: Users, owners: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return one of the tastes of each of ``owners``."""
    bounds = np.cumsum(users.shares, axis=1)[:, :-1]  # (B, W - 1)
    which = (rng.random(len(owners))[:, None] > bounds[owners]).sum(axis=1)
    return users.tastes[owners, which]

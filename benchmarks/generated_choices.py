"""Which films the people of a generated release choose, and how they rate them.

A person draws films one after another from a mixture of his tastes; one that he has rated already or that is not there yet
does not count. That is drawing without replacement, and it needs no table of people by films: most people draw by the
inverse of each taste's cumulative weights, and only those who rate a good part of all films look at every film.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from generated_world import CLOCK, SPREADS, attraction, blocks, densities, liking
from scipy.special import ndtr

if TYPE_CHECKING:
    from generated_people import People
    from generated_world import World
    from numpy.typing import NDArray

__all__ = ["choose", "rate"]

_ROUNDS: Final = 8  # of draws; who is not done then looks at every film
_LOOKS_AT_ALL: Final = 50  # who rates one of this many films would draw the same ones too often
_MOOD: Final = 12  # draws in a row that a mood lasts
_MOODY: Final = 0.5  # of the draws follow it
# How many ratings have each number of half stars, 1 to 10: of all ratings of ml-25m, and of those of people who give
# whole stars only, as in ml-1m.
_ALL: Final = np.array([0.0157, 0.0311, 0.016, 0.0656, 0.0505, 0.1958, 0.127, 0.2656, 0.0882, 0.1445])
_WHOLE: Final = np.array([0, 0.056, 0, 0.107, 0, 0.261, 0, 0.35, 0, 0.226])
_WHOLE_SHARE: Final = 0.36  # of all ratings come from such people here
_HALVES: Final = (_ALL - _WHOLE_SHARE * _WHOLE) / (1 - _WHOLE_SHARE)


def rate(
    people: People,
    persons: NDArray[np.int64],
    films: NDArray[np.int64],
    world: World,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Half stars, 1 to 10, of these people for these films; both (N,)."""
    match = np.einsum("nd,nd->n", people.vectors[persons], world.films.vectors[films])
    score = liking(world.films.quality[films], match) + SPREADS["bias"] * people.bias[persons]
    score += SPREADS["noise"] * rng.standard_normal(len(persons), dtype=np.float32)
    level = ndtr((score - world.rating_mean) / world.rating_spread)
    halves, whole = (
        np.searchsorted(np.cumsum(shares)[:-1] / shares.sum(), level) for shares in (_HALVES, _WHOLE)
    )
    return 1 + np.where(people.whole[persons], whole, halves)


def choose(people: People, world: World, rng: np.random.Generator) -> NDArray[np.int64]:
    """The indices of the chosen films (N,), person by person, in the order of choice; none twice for a person."""
    films = len(world.films)
    looks = people.lengths * _LOOKS_AT_ALL > films
    drawn, left = _draw_in_rounds(people, np.flatnonzero(~looks), world, rng)
    looked = [
        _look_at_all(people, rows, world, rng)
        for rows in blocks(np.union1d(np.flatnonzero(looks), left), films)
    ]
    keys = np.concatenate([drawn, *looked])
    return (keys % films)[np.argsort(keys // films, kind="stable")]


def _look_at_all(
    people: People, rows: NDArray[np.int64], world: World, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Person times M plus film, in the order of choice, of those who rate a good part of all films.

    The largest of log-weights plus Gumbel noise, in descending order, are distributed as successive draws (Yellott,
    1977; Kool et al., Stochastic Beams, 2019).
    """
    films = len(world.films)
    density = densities(world.films, world.weights, people, rows)
    noise = rng.gumbel(size=density.shape)
    score = -(np.log(np.maximum(density, 1e-300)) + noise)
    longest = int(people.lengths[rows].max())
    order = np.argpartition(score, min(longest, films - 1), axis=1)[:, :longest]
    order = np.take_along_axis(order, np.argsort(np.take_along_axis(score, order, 1), axis=1), 1)
    taken = np.arange(longest) < people.lengths[rows, None]
    return (rows[:, None] * films + order)[taken]


def _draw_in_rounds(
    people: People, who: NDArray[np.int64], world: World, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Person times M plus film in the order of choice, and who is not done after the last round; he has none here."""
    films, kept, active = len(world.films), np.empty(0, np.int64), who
    have = np.zeros(len(people), np.int64)
    odds = np.interp(people.starts, CLOCK, world.accepted).clip(0.02, 1)  # that a draw counts
    for turn in range(_ROUNDS):
        if not len(active):
            break
        missing = (people.lengths - have)[active]
        draws = np.ceil(missing * (1.3 + turn) / odds[active]).astype(np.int64) + 8
        persons = np.repeat(active, draws)
        drawn = _draw(people, persons, draws, world, rng)
        accepted = rng.random(len(drawn)) < attraction(people.starts[persons], world.films.entered[drawn])
        keys = np.concatenate([kept, (persons * films + drawn)[accepted]])
        kept = keys[np.sort(np.unique(keys, return_index=True)[1])]
        have = np.bincount(kept // films, minlength=len(people))
        active = active[have[active] < people.lengths[active]]
    kept = kept[np.argsort(kept // films, kind="stable")]
    person = kept // films
    place = np.arange(len(kept)) - (np.cumsum(have) - have)[person]
    return kept[(place < people.lengths[person]) & ~np.isin(person, active)], active


def _draw(
    people: People,
    persons: NDArray[np.int64],
    draws: NDArray[np.int64],
    world: World,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """A film for each of ``persons``, who come in runs of ``draws``; some follow the mood of the dozen they are in."""
    place = np.arange(len(persons)) - np.repeat(np.cumsum(draws) - draws, draws)
    starts_mood = place % _MOOD == 0
    mood = _own_taste(people, persons[starts_mood], rng)[np.cumsum(starts_mood) - 1]
    taste = np.where(rng.random(len(persons)) < _MOODY, mood, _own_taste(people, persons, rng))
    order = np.argsort(taste.astype(np.int16), kind="stable")  # int16 is sorted by radix
    bounds = np.searchsorted(taste[order], np.arange(len(world.directions) + 1))
    level, films = rng.random(len(persons)), np.empty(len(persons), np.int64)
    for cumulated, start, end in zip(world.cumulated, bounds, bounds[1:], strict=False):
        part = order[start:end]  # of one taste, whose table stays in the cache
        films[part] = np.searchsorted(cumulated, level[part], side="right")
    return films


def _own_taste(people: People, persons: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """One of his own tastes for each of ``persons``."""
    bounds = np.cumsum(people.shares, axis=1)[:, :-1]  # (B, W - 1)
    which = (rng.random(len(persons))[:, None] > bounds[persons]).sum(axis=1)
    return people.tastes[persons, which]

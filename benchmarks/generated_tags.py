"""What is said of the films of a generated release: the genome's relevances, and the tags that people gave.

Each tag has a direction of its own among the films' vectors, so both say what a film is about. The words are invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from generated_films import DIMENSIONS, FIRST_SECOND, LAST_SECOND
from generated_people import apportion
from generated_words import HOW, WHAT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from generated_films import Films
    from numpy.typing import NDArray

__all__ = ["SLOTS", "Tags", "draw_tags", "genome_rows", "make_tags", "tag_counts"]

SLOTS: Final = 12  # tags that people give to one film
_TAGGERS: Final = 0.08  # of all people; ml-latest-small: 0.095
_FILMS_AT_ONCE: Final = 1_000
_SECONDS_A_DAY: Final = 86_400
_DATED: Final = 0.5  # of what is said last of a film is when it was seen
_WRITTEN: Final = (0.8, 0.18, 0.005, 0.015)  # as it is, with a capital, in quotes, with a comma
_UNRATED: Final = 0.03  # of tags are given to a film that its giver has not rated


@dataclass(frozen=True)
class Tags:
    """The vocabulary; V tags of the genome, M films.

    Attributes:
        names: The V tags of the genome, in alphabetical order.
        texts: All texts that a person may write: the names, the names with a capital, quoted, with a comma, and dates.
        order: int64: the place of each text in alphabetical order without regard to case.
        directions: float32 (V, D).
        bias: float32 (V,).
        top: int64 (M, SLOTS): the most relevant tags of each film, the most relevant first.
    """

    names: list[str]
    texts: pl.Series
    order: NDArray[np.int64]
    directions: NDArray[np.float32]
    bias: NDArray[np.float32]
    top: NDArray[np.int64]


def make_tags(films: Films, tags: int, rng: np.random.Generator) -> Tags:
    """This many tags, and which of them each film deserves."""
    pairs = [f"{how} {what}" for what in WHAT.split() for how in HOW.split()]
    rounds = range(2, 2 + tags // len(pairs))  # for a vocabulary that these words are too few for
    names = sorted([*pairs, *(f"{pair} {number}" for number in rounds for pair in pairs)][:tags])
    directions = rng.standard_normal((tags, DIMENSIONS))
    directions = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
    bias = rng.normal(-2.9, 0.8, tags).astype(np.float32)
    top = np.empty((len(films), SLOTS), np.int64)
    for start in range(0, len(films), _FILMS_AT_ONCE):
        logits = _logits(films.vectors[start : start + _FILMS_AT_ONCE], directions, bias, rng)
        top[start : start + _FILMS_AT_ONCE] = np.argsort(-logits, axis=1)[:, :SLOTS]
    day = datetime.fromtimestamp(FIRST_SECOND, UTC).date()
    dates = [
        f"seen {day + timedelta(days)}" for days in range((LAST_SECOND - FIRST_SECOND) // _SECONDS_A_DAY + 2)
    ]
    written = [*names, *(name.capitalize() for name in names), *(f'"{name}"' for name in names)]
    texts = [*written, *(f"{name}, sort of" for name in names), *dates]
    order = np.empty(len(texts), np.int64)
    order[sorted(range(len(texts)), key=lambda index: texts[index].lower())] = np.arange(len(texts))
    return Tags(names, pl.Series(texts), order, directions, bias, top)


def _logits(
    vectors: NDArray[np.float32],
    directions: NDArray[np.float32],
    bias: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Relevances before they are squeezed between 0 and 1: (m, V); spread as in the genome of ml-25m."""
    noise = rng.standard_normal((len(vectors), len(bias)), dtype=np.float32)
    return 4 * np.einsum("md,vd->mv", vectors, directions) + bias + 0.4 * noise


def genome_rows(films: Films, tags: Tags, count: int, rng: np.random.Generator) -> Iterator[pl.DataFrame]:
    """``genome-scores.csv`` for the films that are wanted most, in pieces: every tag of every one of them."""
    scored = np.sort(np.argsort(-films.wanted, kind="stable")[:count])
    for start in range(0, len(scored), _FILMS_AT_ONCE):
        part = scored[start : start + _FILMS_AT_ONCE]
        relevance = 1 / (
            1 + np.exp(-_logits(films.vectors[part], tags.directions, tags.bias, rng).astype(np.float64))
        )
        # The release counts in 4,000ths and writes what a subtraction leaves of them, such as 0.028750000000000053.
        steps = np.round(relevance * 4_000).clip(1, 4_000) / 4_000
        yield pl.DataFrame(
            {
                "movieId": np.repeat(films.ids[part], len(tags.names)),
                "tagId": np.tile(np.arange(1, len(tags.names) + 1), len(part)),
                "relevance": (1 - (1 - steps)).ravel(),
            }
        )


def tag_counts(lengths: NDArray[np.int64], total: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many tags each person gives: most none, a few very many, none more than his films have; sums to ``total``."""
    order, counts = rng.permutation(len(lengths)), np.zeros(len(lengths), np.int64)
    room = np.cumsum(lengths[order] * SLOTS)
    taggers = max(round(_TAGGERS * len(lengths)), int(np.searchsorted(room, min(2 * total, room[-1]))) + 1)
    who = order[:taggers]
    counts[who] = apportion(total, np.exp(rng.normal(0, 2, len(who))), lengths[who] * SLOTS, 0)
    return counts


def draw_tags(
    counts: NDArray[np.int64],
    keys: NDArray[np.int64],
    times: NDArray[np.int64],
    tags: Tags,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The tags of a group of people on films that they rated, sorted by person, film and text.

    Args:
        counts: Of tags, for each person of the group.
        keys: Person times M plus film of all their ratings, ascending.
        times: Of the ratings.
        tags: The vocabulary.
        rng: For the draws.

    Returns:
        Four arrays: persons, films, places in ``tags.texts``, Unix seconds.
    """
    films, variants = len(tags.top), len(tags.names)
    tagged = np.flatnonzero(counts[keys // films] > 0)
    cells = np.repeat(tagged, SLOTS)
    slots = np.tile(np.arange(SLOTS), len(tagged))
    persons = keys[cells] // films
    order = np.lexsort((rng.exponential(1 + slots), persons))
    cells, slots, persons = cells[order], slots[order], persons[order]
    place = np.arange(len(cells)) - np.searchsorted(persons, persons)
    taken = place < counts[persons]
    cells, slots, persons = cells[taken], slots[taken], persons[taken]
    seconds = times[cells] + rng.integers(0, 300, len(cells))
    film = keys[cells] % films
    text = tags.top[film, slots] + variants * rng.choice(len(_WRITTEN), len(cells), p=_WRITTEN)
    dated = (slots == SLOTS - 1) & (rng.random(len(cells)) < _DATED)
    text[dated] = len(_WRITTEN) * variants + (seconds[dated] - FIRST_SECOND) // _SECONDS_A_DAY
    film = _elsewhere(keys, persons, film, films, rng)
    order = np.lexsort((tags.order[text], film, persons))
    return persons[order], film[order], text[order], seconds[order]


def _elsewhere(
    keys: NDArray[np.int64],
    persons: NDArray[np.int64],
    film: NDArray[np.int64],
    films: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """The films, a few of them replaced by their neighbour if its tagger has not rated that."""
    other = (film + 1) % films
    wanted = persons * films + other
    found = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
    return np.where(~found & (rng.random(len(film)) < _UNRATED), other, film)

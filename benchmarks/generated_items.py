"""Generated items: what they are about, how often they are rated, their titles and genres, their tag genome and their tags.

Each item has a vector. Genres and relevances are drawn from it, so that content says something about who likes an item. The
wanted number of ratings falls with the rank as in ml-32m. The words of titles and tags are invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Titles: "Silent Café of Paris".
FIRST: Final = "Silent Broken Golden Hidden Last Lost Crimson Distant Empty Frozen Gentle Hollow Iron Lonely Midnight Northern Paper Quiet Restless Scarlet Secret Sleeping Stolen Summer Tender Unknown Velvet Wandering Wild Winter Burning Electric"
SECOND: Final = "Harbour Garden River Letter Promise Stranger Window Station Orchard Voyage Kingdom Winter Mirror Shadow Detective Circus Daughter Soldier Summer Island Bridge Machine Lighthouse Café Señor Général Doctor Ghost Planet Highway Brother Sister"
THIRD: Final = "Dawn Dusk Paris Rome Desire Sorrow Midnight Memory Glass Stone Dreams Fire Rain Snow Sand Thunder Silence Freedom Mars Tomorrow Yesterday Fortune Mercy Honour Fear Love Iron Ashes Autumn Echoes Night Light Åland Málaga"
# Tags: "dark heist".
HOW: Final = "dark quirky slow gritty dreamlike violent touching cheesy brilliant bleak stylish surreal cerebral tense whimsical nostalgic haunting raunchy epic intimate romantic paranoid satirical poetic brutal hopeful chilling deadpan lavish minimalist"
WHAT: Final = "comedy heist revenge family robots zombies courtroom samurai road-movie small-town time-travel space war friendship serial-killer musical boxing detective ghosts superhero espionage school vampires dystopia politics wedding chess dance aliens prison pirates dinosaurs submarine newspaper circus archaeology opera football"
DIMENSIONS: Final = 16  # of the vectors of items and users
FIRST_SECOND, LAST_SECOND = 789_652_009, 1_697_164_147  # of ml-32m: 9 January 1995 to 13 October 2023
YEAR_SECONDS: Final = 365.25 * 86_400
NO_GENRE: Final = "(no genres listed)"
# How many of ml-latest-small's 9,742 items have each genre, to the nearest ten.
_GENRE_TEXT: Final = "Action:1830 Adventure:1260 Animation:610 Children:660 Comedy:3760 Crime:1200 Documentary:440 Drama:4360 Fantasy:780 Film-Noir:90 Horror:980 IMAX:160 Musical:330 Mystery:570 Romance:1600 Sci-Fi:980 Thriller:1890 War:380 Western:170"
_GENRES: Final = {name: int(count) for name, count in (pair.split(":") for pair in _GENRE_TEXT.split())}
_GENRE_COUNTS: Final = (0.29, 0.33, 0.24, 0.10, 0.04)  # items with one genre, two, ... in the same release
_WITHOUT_GENRE: Final = 0.1  # of the rarer items
# The share of users after its entry who rate the item of this rank. Fitted to ml-32m: its most popular item has 103,000
# ratings, and the Gini index of its counts is 0.952.
_RANKS: Final = (1, 10, 100, 1_000, 5_000, 10_000, 20_000, 32_000, 45_000, 60_000, 90_000)
_SHARES: Final = (0.51, 0.39, 0.195, 5e-2, 6.5e-3, 1.4e-3, 2.1e-4, 6.5e-5, 3.5e-5, 2.6e-5, 2e-5)

_ARTICLES: Final = ("The", "A", "La", "Les")
# Shares of titles: with an article after a comma, with quotes, with a translated title, plain.
_TITLE_KINDS: Final = (0.21, 0.02, 0.17, 0.6)
_WITHOUT_YEAR: Final = 0.002
_WITHOUT_NUMBER: Final = 0.001  # at one of the other sites


@dataclass(frozen=True)
class Items:
    """All items of a release, in ascending order of their IDs; M items, D dimensions, G genres."""

    ids: NDArray[np.int64]  # (M,), with gaps that grow
    vectors: NDArray[np.float32]  # (M, D), content; about 1 long
    wanted: NDArray[np.float64]  # (M,), relative number of ratings among the users after the item's entry
    quality: NDArray[np.float32]  # (M,), mean 0, standard deviation about 1
    entered: NDArray[np.float64]  # (M,), the Unix second before which nobody rates the item
    years: NDArray[np.int64]  # (M,), of release
    genres: NDArray[np.bool_]  # (M, G)

    def __len__(self) -> int:
        return len(self.ids)


def make_items(items: int, rng: np.random.Generator) -> Items:
    """Return so many items; popular ones are older and enter early."""
    rank = np.arange(items)
    wanted = np.exp(np.interp(np.log1p(rank), np.log(_RANKS), np.log(_SHARES)))
    wanted *= np.maximum(1, rank / _RANKS[-1]) ** -1.2  # beyond the last rank it keeps falling
    is_head = rng.random(items) < 1 / (1 + rank / 3_000)
    age = np.where(is_head, rng.normal(28, 7, items), 2 + rng.exponential(17, items)).clip(0.5, 120)
    released = LAST_SECOND - age * YEAR_SECONDS
    lag = rng.exponential(np.where(is_head, 0.05, 2.0), items) * YEAR_SECONDS
    newest = LAST_SECOND - rng.random(items) * 2 * YEAR_SECONDS
    entered = np.minimum(np.maximum(released, FIRST_SECOND) + lag, np.maximum(newest, released))
    vectors = (rng.standard_normal((items, DIMENSIONS)) / np.sqrt(DIMENSIONS)).astype(np.float32)
    quality = 0.45 * _standardised(np.log(wanted)) + 0.9 * rng.standard_normal(items)
    genres = _draw_genres(vectors, rank, rng)
    order = np.argsort(entered, kind="stable")
    # The real ids are dense up to about 5,000 and reach 290,000 for 87,000 items.
    gaps = rng.geometric(1 / (1 + 2.6 * np.minimum(1, rank / 20_000) ** 0.5)) if items else rank
    return Items(
        ids=np.cumsum(gaps),
        vectors=vectors[order],
        wanted=wanted[order],
        quality=quality[order].astype(np.float32),
        entered=entered[order],
        years=np.floor(1970 + released[order] / YEAR_SECONDS).astype(np.int64),
        genres=genres[order],
    )


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return (values - values.mean()) / (values.std() or 1)


def _draw_genres(
    vectors: NDArray[np.float32], rank: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return one to five genres an item: more likely when similar to its vector, and when common."""
    places = rng.standard_normal((len(_GENRES), DIMENSIONS))
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    common = np.log(np.array(list(_GENRES.values())))
    score = (
        8 * np.einsum("md,gd->mg", vectors, places)
        + 1.8 * common
        + rng.gumbel(size=(len(rank), len(_GENRES)))
    )
    count = 1 + rng.choice(len(_GENRE_COUNTS), len(rank), p=_GENRE_COUNTS)
    count[(rank > len(rank) // 10) & (rng.random(len(rank)) < _WITHOUT_GENRE)] = 0
    place = np.argsort(np.argsort(-score, axis=1), axis=1)  # (M, G)
    return place < count[:, None]


def item_tables(items: Items, rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return ``movies.csv`` and ``links.csv``: titles with years, genres between ``|``, invented numbers of other sites."""
    imdb = pl.Series(10_000 + np.cumsum(rng.integers(1, 40, len(items)))).cast(pl.String).str.zfill(7)
    tmdb = pl.Series(rng.permutation(len(items)) * 7 + 2)
    known = pl.Series(rng.random(len(items)) >= _WITHOUT_NUMBER)
    item_rows = pl.DataFrame(
        {"movieId": items.ids, "title": _titles(items, rng), "genres": _genre_texts(items)}
    )
    links = pl.DataFrame({"movieId": items.ids, "imdbId": imdb, "tmdbId": tmdb, "known": known})
    return item_rows, links.select("movieId", "imdbId", pl.when("known").then("tmdbId"))


def _genre_texts(items: Items) -> pl.Series:
    kinds, which = np.unique(items.genres, axis=0, return_inverse=True)
    texts = ["|".join(name for name, has in zip(_GENRES, kind, strict=True) if has) for kind in kinds]
    return pl.Series([text or NO_GENRE for text in texts]).gather(which.ravel())


def _titles(items: Items, rng: np.random.Generator) -> pl.Series:
    """Return invented titles such as ``Hidden Harbour of Paris, The (1995)``."""
    first, second, third, article = (
        pl.lit(pl.Series(words).gather(rng.integers(0, len(words), len(items))))
        for words in (FIRST.split(), SECOND.split(), THIRD.split(), _ARTICLES)
    )
    kind = pl.lit(pl.Series(rng.choice(len(_TITLE_KINDS), len(items), p=_TITLE_KINDS)))
    year = pl.format(" ({})", pl.lit(pl.Series(items.years)))
    name = (
        pl.when(kind == 0)
        .then(pl.format("{} {} of {}, {}", first, second, third, article))
        .when(kind == 1)
        .then(pl.format('"{} {}" {}', first, second, third))
        .when(kind == 2)  # noqa: PLR2004 -- the third of the kinds
        .then(pl.format("{} {} of {} ({} de {})", first, second, third, second, third))
        .otherwise(pl.format("{} {} of {}", first, second, third))
    )
    dated = pl.lit(pl.Series(rng.random(len(items)) >= _WITHOUT_YEAR))
    return pl.select(title=pl.when(dated).then(pl.concat_str(name, year)).otherwise(name)).to_series()


# ---- tags ----

SLOTS: Final = 12  # tags that users give to one item
_TAGGERS: Final = 0.08  # of all users; ml-latest-small: 0.095
_ITEMS_AT_ONCE: Final = 1_000
_WRITTEN: Final = (0.8, 0.18, 0.005, 0.015)  # plain, capitalized, quoted, with a comma
_UNRATED: Final = 0.03  # of tags are on an item that the user has not rated


@dataclass(frozen=True)
class Tags:
    """The tags; V tags of the genome, M items."""

    names: list[str]  # the V tags of the genome, in alphabetical order
    texts: pl.Series  # All texts that users write: the names, capitalized, quoted, and with a comma
    order: NDArray[np.int64]  # the alphabetical position of each text, ignoring case
    directions: NDArray[np.float32]  # (V, D)
    bias: NDArray[np.float32]  # (V,)
    top: NDArray[np.int64]  # (M, SLOTS), the most relevant tags of each item, in order


def make_tags(items: Items, tags: int, rng: np.random.Generator) -> Tags:
    """Return so many tags, and the most relevant of each item."""
    pairs = [f"{how} {what}" for what in WHAT.split() for how in HOW.split()]
    rounds = range(2, 2 + tags // len(pairs))  # where these words are too few
    names = sorted([*pairs, *(f"{pair} {number}" for number in rounds for pair in pairs)][:tags])
    directions = rng.standard_normal((tags, DIMENSIONS))
    directions = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
    bias = rng.normal(-2.9, 0.8, tags).astype(np.float32)
    top = np.empty((len(items), SLOTS), np.int64)
    for start in range(0, len(items), _ITEMS_AT_ONCE):
        logits = _logits(items.vectors[start : start + _ITEMS_AT_ONCE], directions, bias, rng)
        top[start : start + _ITEMS_AT_ONCE] = np.argsort(-logits, axis=1)[:, :SLOTS]
    written = [*names, *(name.capitalize() for name in names), *(f'"{name}"' for name in names)]
    texts = [*written, *(f"{name}, sort of" for name in names)]
    order = np.empty(len(texts), np.int64)
    order[sorted(range(len(texts)), key=lambda index: texts[index].lower())] = np.arange(len(texts))
    return Tags(names, pl.Series(texts), order, directions, bias, top)


def _logits(
    vectors: NDArray[np.float32],
    directions: NDArray[np.float32],
    bias: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return relevances before the sigmoid, (m, V); distributed as in the genome of ml-25m."""
    noise = rng.standard_normal((len(vectors), len(bias)), dtype=np.float32)
    return 4 * np.einsum("md,vd->mv", vectors, directions) + bias + 0.4 * noise


def genome_rows(items: Items, tags: Tags, count: int, rng: np.random.Generator) -> Iterator[pl.DataFrame]:
    """Yield ``genome-scores.csv`` for the most popular items, in pieces: every tag of every item."""
    scored = np.sort(np.argsort(-items.wanted, kind="stable")[:count])
    for start in range(0, len(scored), _ITEMS_AT_ONCE):
        part = scored[start : start + _ITEMS_AT_ONCE]
        relevance = 1 / (
            1 + np.exp(-_logits(items.vectors[part], tags.directions, tags.bias, rng).astype(np.float64))
        )
        # The release has multiples of 1/4,000 after a subtraction, such as 0.028750000000000053.
        steps = np.round(relevance * 4_000).clip(1, 4_000) / 4_000
        yield pl.DataFrame(
            {
                "movieId": np.repeat(items.ids[part], len(tags.names)),
                "tagId": np.tile(np.arange(1, len(tags.names) + 1), len(part)),
                "relevance": (1 - (1 - steps)).ravel(),
            }
        )


def tag_counts(lengths: NDArray[np.int64], total: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the number of tags of each user, with the sum ``total``: mostly none, rarely very many, at most SLOTS an item."""
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
    """Return the tags of a group of users on items that they rated, sorted by user, item and text.

    Args:
        counts: The number of tags of each user.
        keys: User times M plus item of all ratings, ascending.
        times: Of the ratings.
        tags: The tags.
        rng: The random generator.

    Returns:
        Users, items, indices in ``tags.texts``, Unix seconds.
    """
    items, variants = len(tags.top), len(tags.names)
    tagged = np.flatnonzero(counts[keys // items] > 0)
    cells = np.repeat(tagged, SLOTS)
    slots = np.tile(np.arange(SLOTS), len(tagged))
    owners = keys[cells] // items
    order = np.lexsort((rng.exponential(1 + slots), owners))
    cells, slots, owners = cells[order], slots[order], owners[order]
    place = np.arange(len(cells)) - np.searchsorted(owners, owners)
    taken = place < counts[owners]
    cells, slots, owners = cells[taken], slots[taken], owners[taken]
    seconds = times[cells] + rng.integers(0, 300, len(cells))
    item = keys[cells] % items
    text = tags.top[item, slots] + variants * rng.choice(len(_WRITTEN), len(cells), p=_WRITTEN)
    # A few tags go to a neighbor that the user has not rated: tag-only interactions.
    wanted = owners * items + (item + 1) % items
    rated = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
    item = np.where(~rated & (rng.random(len(item)) < _UNRATED), (item + 1) % items, item)
    order = np.lexsort((tags.order[text], item, owners))
    return owners[order], item[order], text[order], seconds[order]


def apportion(
    total: int, weights: NDArray[np.float64], caps: NDArray[np.int64], least: int
) -> NDArray[np.int64]:
    """Return integers with the sum ``total``: ``least`` each, the rest by weight, none above its cap."""
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

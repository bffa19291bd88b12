"""The films of a generated release: what they are about, how often they are rated, what they are called.

Each film has a vector of taste. Its genres, and its genome in ``generated_tags``, are drawn from that vector, so that content
says something about who will like it. How often a film shall be rated falls with its rank as in the newest releases:
half of 200,000 people rate the first film, 4 in 100 the thousandth, 1 in 20,000 the 32,000th.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from generated_words import FIRST, SECOND, THIRD

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DIMENSIONS", "FIRST_SECOND", "LAST_SECOND", "NO_GENRE", "Films", "film_tables", "make_films"]

DIMENSIONS: Final = 16  # of a film's vector and of a person's
FIRST_SECOND, LAST_SECOND = 789_652_009, 1_697_164_147  # of ml-32m: 9 January 1995 to 13 October 2023
YEAR_SECONDS: Final = 365.25 * 86_400
NO_GENRE: Final = "(no genres listed)"
# How many of ml-latest-small's 9,742 films have each genre, to the nearest ten.
_GENRES: Final = {
    "Action": 1830,
    "Adventure": 1260,
    "Animation": 610,
    "Children": 660,
    "Comedy": 3760,
    "Crime": 1200,
    "Documentary": 440,
    "Drama": 4360,
    "Fantasy": 780,
    "Film-Noir": 90,
    "Horror": 980,
    "IMAX": 160,
    "Musical": 330,
    "Mystery": 570,
    "Romance": 1600,
    "Sci-Fi": 980,
    "Thriller": 1890,
    "War": 380,
    "Western": 170,
}
_GENRE_COUNTS: Final = (0.29, 0.33, 0.24, 0.10, 0.04)  # films with one genre, two, ... in the same release
_WITHOUT_GENRE: Final = 0.1  # of the rarer films
# Of the people who came when it was there, how many rate the film of this rank. Made so that counts are spread as in
# ml-32m, of which are known: its best known film has 103,000 ratings, Gini's index of its films' counts is 0.952.
_RANKS: Final = (1, 10, 100, 1_000, 5_000, 10_000, 20_000, 32_000, 45_000, 60_000, 90_000)
_SHARES: Final = (0.51, 0.39, 0.195, 5e-2, 6.5e-3, 1.4e-3, 2.1e-4, 6.5e-5, 3.5e-5, 2.6e-5, 2e-5)

_ARTICLES: Final = ("The", "A", "La", "Les")
# Of the titles: with an article behind a comma, with quotes, with the title in another language, plain.
_TITLE_KINDS: Final = (0.21, 0.02, 0.17, 0.6)
_WITHOUT_YEAR: Final = 0.002
_WITHOUT_NUMBER: Final = 0.001  # at the second of the other sites


@dataclass(frozen=True)
class Films:
    """All films of a release, in ascending order of their ids; M films, D dimensions, G genres.

    Attributes:
        ids: int64 (M,), with gaps that grow.
        vectors: float32 (M, D): what a film is about; about 1 long.
        wanted: float64 (M,): how many shall rate it, of those who come when it is there, in any scale.
        quality: float32 (M,): how much better than others people find it, mean 0, standard deviation about 1.
        entered: float64 (M,): the Unix second before which nobody rates it.
        years: int64 (M,): of its release.
        genres: bool (M, G).
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    wanted: NDArray[np.float64]
    quality: NDArray[np.float32]
    entered: NDArray[np.float64]
    years: NDArray[np.int64]
    genres: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)


def make_films(films: int, rng: np.random.Generator) -> Films:
    """This many films; popular ones are older and were there from the beginning."""
    rank = np.arange(films)
    wanted = np.exp(np.interp(np.log1p(rank), np.log(_RANKS), np.log(_SHARES)))
    wanted *= np.maximum(1, rank / _RANKS[-1]) ** -1.2  # beyond the last rank it falls on
    is_head = rng.random(films) < 1 / (1 + rank / 3_000)
    age = np.where(is_head, rng.normal(28, 7, films), 2 + rng.exponential(17, films)).clip(0.5, 120)
    released = LAST_SECOND - age * YEAR_SECONDS
    lag = rng.exponential(np.where(is_head, 0.05, 2.0), films) * YEAR_SECONDS
    newest = LAST_SECOND - rng.random(films) * 2 * YEAR_SECONDS
    entered = np.minimum(np.maximum(released, FIRST_SECOND) + lag, np.maximum(newest, released))
    vectors = (rng.standard_normal((films, DIMENSIONS)) / np.sqrt(DIMENSIONS)).astype(np.float32)
    quality = 0.45 * _standardised(np.log(wanted)) + 0.9 * rng.standard_normal(films)
    genres = _draw_genres(vectors, rank, rng)
    order = np.argsort(entered, kind="stable")
    # The real ids are dense up to about 5,000 and reach 290,000 for 87,000 films.
    gaps = rng.geometric(1 / (1 + 2.6 * np.minimum(1, rank / 20_000) ** 0.5)) if films else rank
    return Films(
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
    """One to five genres a film, the likelier the nearer they are to its vector and the more common they are."""
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


def film_tables(films: Films, rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """``movies.csv`` and ``links.csv``: titles with years, genres between ``|``, and made-up numbers of other sites."""
    imdb = pl.Series(10_000 + np.cumsum(rng.integers(1, 40, len(films)))).cast(pl.String).str.zfill(7)
    tmdb = pl.Series(rng.permutation(len(films)) * 7 + 2)
    known = pl.Series(rng.random(len(films)) >= _WITHOUT_NUMBER)
    movies = pl.DataFrame({"movieId": films.ids, "title": _titles(films, rng), "genres": _genre_texts(films)})
    links = pl.DataFrame({"movieId": films.ids, "imdbId": imdb, "tmdbId": tmdb, "known": known})
    return movies, links.select("movieId", "imdbId", pl.when("known").then("tmdbId"))


def _genre_texts(films: Films) -> pl.Series:
    kinds, which = np.unique(films.genres, axis=0, return_inverse=True)
    texts = ["|".join(name for name, has in zip(_GENRES, kind, strict=True) if has) for kind in kinds]
    return pl.Series([text or NO_GENRE for text in texts]).gather(which.ravel())


def _titles(films: Films, rng: np.random.Generator) -> pl.Series:
    """Invented titles in the manner of the release, such as ``Hidden Harbour of Paris, The (1995)``."""
    first, second, third, article = (
        pl.lit(pl.Series(words).gather(rng.integers(0, len(words), len(films))))
        for words in (FIRST.split(), SECOND.split(), THIRD.split(), _ARTICLES)
    )
    kind = pl.lit(pl.Series(rng.choice(len(_TITLE_KINDS), len(films), p=_TITLE_KINDS)))
    year = pl.format(" ({})", pl.lit(pl.Series(films.years)))
    name = (
        pl.when(kind == 0)
        .then(pl.format("{} {} of {}, {}", first, second, third, article))
        .when(kind == 1)
        .then(pl.format('"{} {}" {}', first, second, third))
        .when(kind == 2)  # noqa: PLR2004 -- the third of the kinds
        .then(pl.format("{} {} of {} ({} de {})", first, second, third, second, third))
        .otherwise(pl.format("{} {} of {}", first, second, third))
    )
    dated = pl.lit(pl.Series(rng.random(len(films)) >= _WITHOUT_YEAR))
    return pl.select(title=pl.when(dated).then(pl.concat_str(name, year)).otherwise(name)).to_series()

"""An example person: well-known films of the two genres that lie farthest apart, one loved and one not.

Dimensions: N films of the catalogue, D numbers a vector.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["example_person"]

_WELL_KNOWN = 200  # films that the example is chosen from
_LOVED, _NOT = 7, 4  # films of either genre
_GENRE = 4  # films that make a genre
_TINY = 1e-12  # below every length, so that nothing is divided by 0
# Where the ratings lie between the lowest and the highest.
_HIGH, _LOW = (1.0, 0.9, 0.8, 1.0, 0.9, 0.7, 0.8), (0.2, 0.3, 0.1, 0.3)


def example_person(
    genres: Sequence[Sequence[str]],
    watched: NDArray[np.int64],
    vectors: NDArray[np.float32],
    scale: tuple[float, float, float],
) -> tuple[str, list[tuple[int, float]]]:
    """What the person is called, and the films as places in the catalogue with ratings; the same at each call.

    Args:
        genres: Of each film.
        watched: (N,) how many people know each film.
        vectors: (N, D) the films'.
        scale: The lowest rating, the highest, and the step between two.
    """
    known = np.lexsort([np.arange(len(watched)), -watched])[:_WELL_KNOWN].tolist()
    films = _by_genre(known, genres)
    if len(films) < 2:  # noqa: PLR2004  two are needed for a contrast
        return "Somebody who has seen what everybody has", _rated(known[:_LOVED], _HIGH, scale)
    loved, other = _contrast(films, vectors - vectors[known].mean(axis=0))
    both = set(films[loved]) & set(films[other])
    ours, theirs = ([film for film in films[name] if film not in both] for name in (loved, other))
    high, low = _rated(ours[:_LOVED], _HIGH, scale), _rated(theirs[:_NOT], _LOW, scale)
    for place, film in enumerate(low):  # one after every second of the others: nobody watches by genre
        high.insert(min(2 + 3 * place, len(high)), film)
    return f"Somebody who loves {loved} and has little patience for {other}", high


def _by_genre(known: Sequence[int], genres: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    """The well-known films of each genre that has enough of them, the most watched first."""
    films: dict[str, list[int]] = {}
    for film in known:
        for genre in genres[film]:
            films.setdefault(genre, []).append(film)
    return {genre: films[genre] for genre in sorted(films) if len(films[genre]) >= _GENRE}


def _contrast(films: dict[str, list[int]], vectors: NDArray[np.float32]) -> tuple[str, str]:
    """The two genres whose films, but those of both, lie the farthest apart; the one with more films first."""

    def alike(pair: tuple[str, str]) -> float:
        one, two = (set(films[name]) for name in pair)
        if min(len(one - two), len(two - one)) < _GENRE:
            return 1.0
        ours, theirs = (vectors[sorted(own)].mean(axis=0) for own in (one - two, two - one))
        return float(ours @ theirs / max(np.linalg.norm(ours) * np.linalg.norm(theirs), _TINY))

    one, two = min(combinations(films, 2), key=alike)
    return (one, two) if len(films[one]) >= len(films[two]) else (two, one)


def _rated(
    places: Sequence[int], shares: Sequence[float], scale: tuple[float, float, float]
) -> list[tuple[int, float]]:
    low, high, step = scale
    ratings = [low + step * round(share * (high - low) / step) for share in shares]
    return list(zip(places, ratings, strict=False))

"""The linear answer's settings: what each rating says, and how far it is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tastevec.errors import SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LinearSettings"]

_GRADES = (
    0.0,
    0.25,
    0.5,
    0.75,
    1.0,
)  # of the way from the lowest rating to the highest: 1 to 5 stars of ml-1m
_TAGGED = 0.5  # a film that was only tagged counts as one rated in the middle
_BLOCK = 1 << 20  # ratings graded at once: 8 MB a step
_TYPICAL = 50  # films at which the shrinkages hold as they are given

Five = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class LinearSettings:
    """What a rating of 1, 2, 3, 4 or 5 stars says, ratings between them by interpolation, and how much is shrunk.

    Selected on the 737 validation people of ml-1m-5k by a random search, NDCG@100 of *fold-in* and of *best-rated*;
    docs/experiments.md has the trials.

    Attributes:
        rating_range: The lowest and the highest rating.
        dim: D, numbers a film.
        seed: Of the starting factors.
        seen: How much a rating says that the film was chosen at all: input of the regression.
        wanted: How much it says that the film was liked: output of the regression.
        confidence: By how much more than an unseen film's 1 a rating counts in the factors.
        liking: What is to be reproduced where there is a rating, beside what the regression expects there anyway; where
            there is none it is that expectation alone.
        ridge: Of the regression, at a film of mean popularity.
        ridge_power: With which power of popularity that ridge grows.
        shrinkage: Ridge of a film's or a person's factors with 50 ratings.
        shrinkage_power: With which power of the number of ratings it grows.
        iterations: Alternations.
        trust: Weight of the regression's expectation for a person who was not in the training.
        reading_shrinkage: ``shrinkage`` for such a person.
        mean_films: Films that he must know for the mean person to weigh no more than a quarter.

    Raises:
        SettingsError: The lowest rating is not below the highest, ``dim`` or ``iterations`` is under 1, or a ridge not over 0.
    """

    rating_range: tuple[float, float] = (0.5, 5.0)
    dim: int = 64
    seed: int = 42
    seen: Five = (0.5, 0.5, 0.7, 1.0, 1.0)
    wanted: Five = (0.0, 0.2, 0.5, 1.0, 1.0)
    confidence: Five = (0.5, 0.5, 1.5, 3.0, 3.0)
    liking: Five = (0.2, 0.4, 0.8, 1.0, 1.2)
    ridge: float = 400.0
    ridge_power: float = 0.75
    shrinkage: float = 14.0
    shrinkage_power: float = 0.4
    iterations: int = 10
    trust: float = 2.0
    reading_shrinkage: float = 6.0
    mean_films: float = 16.0

    def __post_init__(self) -> None:
        low, high = self.rating_range
        ridges = (self.ridge, self.shrinkage, self.reading_shrinkage, self.mean_films)
        if (
            not low < high
            or min(self.dim, self.iterations) < 1
            or not all(each > 0 for each in ridges)  # NaN is not either
        ):
            raise SettingsError(
                f"{self} is out of range; expected a rating range, dim and iterations from 1, and every ridge over 0"
            )

    def graded(
        self, ratings: NDArray[np.float32], what: Literal["seen", "wanted", "confidence", "liking"]
    ) -> NDArray[np.float32]:
        """(M,) what each rating says.

        Examples:
            >>> LinearSettings(rating_range=(1, 5)).graded(np.array([5, 3, 2.5, np.nan], np.float32), "wanted")
            array([1.  , 0.5 , 0.35, 0.5 ], dtype=float32)
        """
        low, high = self.rating_range
        graded = np.empty(len(ratings), np.float32)
        for start in range(0, len(ratings), _BLOCK):  # what is between is in double precision
            some = ratings[start : start + _BLOCK]
            share = np.where(np.isnan(some), _TAGGED, (some - low) / (high - low))
            graded[start : start + _BLOCK] = np.interp(share, _GRADES, getattr(self, what))
        return graded

    def shrunk(self, counts: NDArray[np.int64], shrinkage: float) -> NDArray[np.float32]:
        """(B,) the ridge of people or films with so many ratings."""
        return np.asarray(shrinkage * ((counts + 1) / _TYPICAL) ** self.shrinkage_power, np.float32)

    def of_levels(self, levels: int) -> NDArray[np.float32]:
        """(R + 1, 3) for each rating level, and for "only tagged": seen, confidence, and pull towards the film."""
        ratings = np.append(np.linspace(*self.rating_range, levels), np.nan).astype(np.float32)
        seen, confidence, liking = (self.graded(ratings, what) for what in ("seen", "confidence", "liking"))
        return np.stack([seen, confidence, (1 + confidence) * liking], axis=1)

"""The line-up: which floors and baselines stand beside a model, and what may be tuned of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.data.histories import NO_TIME
from tastevec.data.inputs import liked_from
from tastevec.evaluation.baselines.floors import (
    Constant,
    MeanLiked,
    Popularity,
    RecentPopularity,
    WeightedMean,
)
from tastevec.evaluation.baselines.linear import ALS, EASE
from tastevec.evaluation.baselines.neighbours import ItemKNN
from tastevec.evaluation.baselines.recipes import NEWEST, Between, OneOf, Recipe
from tastevec.evaluation.scorers import Runs, VectorScorer
from tastevec.items.collaborative import AlsSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tastevec.data.histories import Histories

__all__ = ["baselines", "floors", "vector_floors"]

_RIDGE: Final = Between(10, 5000, log=True)
_ALS: Final[dict[str, Between | OneOf]] = {
    "liked": Between(1, 50, log=True),
    "regularization": Between(0.1, 100, log=True),
    "dim": OneOf((64, 128, 256)),
}


def floors(train: Histories, *, rating_range: tuple[float, float]) -> list[Recipe]:
    """Popularity, and recent popularity where the training people's ratings have times."""
    threshold = liked_from(rating_range)
    lineup = [Recipe("popularity", lambda _settings, _seed: Popularity(liked_from=threshold))]
    if np.any(train.times != NO_TIME):
        recent = Recipe(
            RecentPopularity.name,
            lambda settings, _seed: RecentPopularity(liked_from=threshold, **settings),
            published={"days": 30},
            space={"days": OneOf((7, 30, 90, 365))},
        )
        lineup.append(recent)
    return lineup


def vector_floors(model: Runs, *, rating_range: tuple[float, float]) -> list[Runs]:
    """The constant, the mean of liked and the rating-weighted mean in the space of each run of a model.

    Args:
        model: Its runs, each with film vectors; what has none, has no such floors.
        rating_range: The lowest and highest possible rating.
    """
    runs = [scorer for scorer in model.scorers if isinstance(scorer, VectorScorer)]
    if not runs:
        return []
    threshold = liked_from(rating_range)
    floors = {"constant": Constant, "mean of liked": MeanLiked, "rating-weighted mean": WeightedMean}
    return [
        Runs(
            f"{name} ({model.name})",
            [floor(run.item_vectors, space=run.space, liked_from=threshold) for run in runs],
        )
        for name, floor in floors.items()
    ]


def baselines(*, rating_range: tuple[float, float]) -> list[Recipe]:
    """Item neighbours, three EASE and two iALS, each whole and on the last 20 films only.

    EASE of any rating takes what was watched, liked or not: the strongest floor of *what comes next*, and stronger yet on
    the last 5 films, as it stands a third time; that of likes and
    middle lets films of the middle ratings count less, the strongest of *taste as a set*. iALS of likes is
    the published baseline (64 factors, confidence 10, regularization 5); the other is the stronger one that a model may
    start from, and must then be seen to beat: its ``middle`` is how far the confidence in films of the middle ratings
    lies on the way from that in unwatched ones (0) to that in liked ones (1).
    """
    liked = liked_from(rating_range)
    return [
        Recipe(
            ItemKNN.name,
            lambda settings, _seed: ItemKNN(liked_from=liked, **settings),
            published={"neighbours": 50, "shrink": 100.0},
            space={
                "neighbours": Between(20, 1000, log=True, whole=True),
                "shrink": OneOf((0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)),
            },
            newest=(NEWEST,),
        ),
        *_eases(rating_range),
        Recipe(
            "iALS, likes",
            lambda settings, seed: ALS(_als(settings, rating_range, seed), only_likes=True),
            published={"liked": 10.0, "regularization": 5.0, "dim": 64},
            space=_ALS,
            seeded=True,
            newest=(NEWEST,),
        ),
        Recipe(
            "iALS, likes and middle",
            lambda settings, seed: ALS(_als(settings, rating_range, seed), only_likes=False),
            published={"liked": 5.0, "middle": 0.25, "regularization": 20.0, "dim": 64},
            space={**_ALS, "middle": Between(0, 1)},
            seeded=True,
            newest=(NEWEST,),
        ),
    ]


def _eases(rating_range: tuple[float, float]) -> list[Recipe]:
    """EASE of likes, of any rating, and of likes and middle."""
    liked, anything = liked_from(rating_range), rating_range[0]
    return [
        Recipe(
            "EASE",
            lambda settings, _seed: EASE(liked_from=liked, **settings),
            published={"ridge": 400.0},
            space={"ridge": _RIDGE},
            newest=(NEWEST,),
        ),
        Recipe(
            "EASE, any rating",
            lambda settings, _seed: EASE(liked_from=anything, name="EASE, any rating", **settings),
            published={"ridge": 400.0},
            space={"ridge": _RIDGE},
            newest=(NEWEST, 5),
        ),
        Recipe(
            "EASE, likes and middle",
            lambda settings, _seed: EASE(
                liked_from=liked,
                name="EASE, likes and middle",
                ridge=settings["ridge"],
                middle=(settings["middle"], rating_range),
            ),
            published={"ridge": 400.0, "middle": 0.5},
            space={"ridge": _RIDGE, "middle": Between(0, 1)},
            newest=(NEWEST,),
        ),
    ]


def _als(settings: Mapping[str, Any], rating_range: tuple[float, float], seed: int) -> AlsSettings:
    others = dict(settings)
    liked, middle = others["liked"], others.pop("middle", 0.0)
    neutral = min(liked, 1 + middle * (liked - 1))
    return AlsSettings(rating_range, neutral=neutral, seed=seed, **others)

"""The line-up: which floors and baselines stand beside a model, and with what settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tastevec.data.histories import NO_TIME
from tastevec.evaluation.baselines.floors import Constant, MeanLiked, Popularity, RecentPopularity
from tastevec.evaluation.baselines.last_only import LastOnly
from tastevec.evaluation.baselines.linear import ALS, EASE
from tastevec.evaluation.protocol import liked_from
from tastevec.items.collaborative import AlsSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.scorers import Scorer

__all__ = ["baselines", "floors"]


def floors(
    spaces: Mapping[str, NDArray[np.float32]], train: Histories, *, rating_range: tuple[float, float]
) -> list[Scorer]:
    """Popularity, recent popularity where there are times, and in each space the constant and the mean of liked.

    Args:
        spaces: (N, D) film vectors by name; name a model's space as the model does.
        train: The training people.
        rating_range: The lowest and highest possible rating.
    """
    threshold = liked_from(rating_range)
    lineup: list[Scorer] = [Popularity(liked_from=threshold)]
    if np.any(train.times != NO_TIME):
        lineup.append(RecentPopularity(liked_from=threshold))
    for space, item_vectors in spaces.items():
        lineup.append(Constant(item_vectors, space=space, liked_from=threshold))
        lineup.append(MeanLiked(item_vectors, space=space, liked_from=threshold))
    return lineup


def baselines(*, rating_range: tuple[float, float], seed: int = 42) -> list[Scorer]:
    """Two EASE and two iALS, each on the whole history and on the last 20 films only.

    EASE of any rating takes what was watched, liked or not: the strongest floor of *what comes next*. iALS of likes is the published baseline (64 factors, confidence 10, regularization 5); the other is the stronger
    one that a model may start from, and must then be seen to beat.

    Args:
        rating_range: The lowest and highest possible rating.
        seed: Of the factors' start.
    """
    published = AlsSettings(rating_range, liked=10.0, regularization=5.0, seed=seed)
    systems: list[Scorer] = [
        EASE(liked_from=liked_from(rating_range)),
        EASE(liked_from=rating_range[0], name="EASE, any rating"),
        ALS(published, only_likes=True),
        ALS(AlsSettings(rating_range, seed=seed), only_likes=False),
    ]
    return [shown for system in systems for shown in (system, LastOnly(system))]

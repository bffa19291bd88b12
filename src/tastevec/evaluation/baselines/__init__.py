"""Baselines: the floors and the strong simple systems that stand beside every number."""

from __future__ import annotations

from tastevec.evaluation.baselines.floors import (
    Constant,
    MeanLiked,
    Popularity,
    RecentPopularity,
    WeightedMean,
)
from tastevec.evaluation.baselines.last_only import LastOnly
from tastevec.evaluation.baselines.linear import ALS, EASE
from tastevec.evaluation.baselines.lineup import baselines, floors, vector_floors
from tastevec.evaluation.baselines.neighbours import ItemKNN
from tastevec.evaluation.baselines.per_horizon import PerHorizon
from tastevec.evaluation.baselines.recipes import Choices, Recipe, line_up, published

__all__ = [
    "ALS",
    "EASE",
    "Choices",
    "Constant",
    "ItemKNN",
    "LastOnly",
    "MeanLiked",
    "PerHorizon",
    "Popularity",
    "RecentPopularity",
    "Recipe",
    "WeightedMean",
    "baselines",
    "floors",
    "line_up",
    "published",
    "vector_floors",
]

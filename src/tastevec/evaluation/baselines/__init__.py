"""Baselines: the floors and the strong simple systems that stand beside every number."""

from __future__ import annotations

from tastevec.evaluation.baselines.floors import Constant, MeanLiked, Popularity, RecentPopularity
from tastevec.evaluation.baselines.last_only import LastOnly
from tastevec.evaluation.baselines.linear import ALS, EASE
from tastevec.evaluation.baselines.lineup import baselines, floors

__all__ = [
    "ALS",
    "EASE",
    "Constant",
    "LastOnly",
    "MeanLiked",
    "Popularity",
    "RecentPopularity",
    "baselines",
    "floors",
]

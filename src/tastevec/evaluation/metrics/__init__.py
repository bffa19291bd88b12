"""Metrics: how good rankings, vectors and lists are, one number a person or one for a system as a whole."""

from __future__ import annotations

from tastevec.data.topk import rank_unseen, top_k
from tastevec.evaluation.metrics.distance import (
    cosine_distance,
    mean_direction,
    mean_of_targets,
    unit_rows,
    without_direction,
)
from tastevec.evaluation.metrics.lists import (
    coverage,
    gini,
    intra_list_similarity,
    log_popularity,
    novelty,
    recommended,
)
from tastevec.evaluation.metrics.ranking import hit_rate, hits, hits_at, mrr, ndcg, places_of, recall
from tastevec.evaluation.metrics.shape import (
    effective_rank,
    halves_closer,
    halves_cosine,
    hubness,
    strangers_cosine,
    top_direction,
)

__all__ = [
    "cosine_distance",
    "coverage",
    "effective_rank",
    "gini",
    "halves_closer",
    "halves_cosine",
    "hit_rate",
    "hits",
    "hits_at",
    "hubness",
    "intra_list_similarity",
    "log_popularity",
    "mean_direction",
    "mean_of_targets",
    "mrr",
    "ndcg",
    "novelty",
    "places_of",
    "rank_unseen",
    "recall",
    "recommended",
    "strangers_cosine",
    "top_direction",
    "top_k",
    "unit_rows",
    "without_direction",
]

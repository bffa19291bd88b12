"""How good a model is while it learns, on people whom it does not learn from.

Dimensions: B people, N films of the catalogue, D numbers a vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tastevec.evaluation.metrics import cosine_distance
from tastevec.evaluation.scorers import EncodedScorer, measure
from tastevec.evaluation.tasks import cases
from tastevec.training.batches import best_rated_batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import Reading
    from tastevec.model.encoder import TasteEncoder
    from tastevec.training.settings import TrainSettings

__all__ = ["SELECTION", "validate"]

SELECTION = "eval_selection"  # the checkpoint with the highest is kept
_PEOPLE = 256  # encoded at once
_DEPTH = 100


def validate(
    model: TasteEncoder, people: Histories, reading: Reading, settings: TrainSettings
) -> dict[str, float]:
    """What the model is selected by, and what it is made of, each named ``eval_*``.

    A model that learns what people like is asked *fold-in* and *future* over the full catalogue, and selected by the
    mean NDCG@100 of the questions. One that learns the note's target is selected by the note's own metric, the mean
    cosine distance of its answer to the best-rated film.
    """
    if settings.target == "best-rated":
        distance = _note_distance(model, people, reading, settings)
        return {"eval_cosine_distance": distance, SELECTION: -distance}
    scorer = EncodedScorer(
        "model",
        "model",
        model.item_vectors,
        lambda known, horizon: _encoded(model, known, reading, horizon),
    )
    rating_range = (reading.scale.low, reading.scale.high)
    tasks = [
        task
        for protocol in ("fold-in", "future")
        for task in cases(people, protocol=protocol, rating_range=rating_range, seed=settings.seed)
        if len(task)
    ]
    gains = {
        f"eval_{task.name}_ndcg@{_DEPTH}": float(
            measure(scorer, task, len(scorer.item_vectors), (_DEPTH,))[f"ndcg@{_DEPTH}"].mean()
        )
        for task in tasks
    }
    return gains | {SELECTION: float(np.mean(list(gains.values()))) if gains else 0.0}


def _encoded(model: TasteEncoder, people: Histories, reading: Reading, horizon: str) -> NDArray[np.float32]:
    """(B, D) the people's vectors, a group at a time: while they are encoded, people take far more room than their scores."""
    parts = [model.answer(horizon, **reading.arrays(part)) for part in people.chunks(_PEOPLE)]
    return np.concatenate(parts)


def _note_distance(
    model: TasteEncoder, people: Histories, reading: Reading, settings: TrainSettings
) -> float:
    total, count = 0.0, 0
    for part in people.chunks(_PEOPLE):
        batch = best_rated_batch(part, reading, settings)
        owners, targets = batch.pop("hidden_people"), batch.pop("hidden_items")
        answers = model.answer("next", **batch)  # (B, D), the one that learned it
        distances = cosine_distance(answers[owners], model.item_vectors[targets])
        total, count = total + float(distances.sum()), count + len(distances)
    return total / max(count, 1)

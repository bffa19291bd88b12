import numpy as np
import pytest

from contracts.scorer import ScorerContract
from encoders import NOTE, TASTE, encoder, reading
from tastevec.evaluation.scorers import EncodedScorer, HorizonScorer, VectorScorer
from users import users


def scorer(shape, layout):
    model, how = encoder(**shape), reading(**layout)
    return EncodedScorer(
        "ours",
        "a space",
        model.item_vectors,
        lambda histories, horizon: model.encode(horizon, **how.arrays(histories)),
    )


class TestTasteScorer(ScorerContract):
    """An encoder of the preset taste."""

    @pytest.fixture
    def make(self):
        return lambda: scorer(TASTE, {"max_history_overall": 50})


class TestNoteScorer(ScorerContract):
    """An encoder of the preset bert-cosine."""

    @pytest.fixture
    def make(self):
        return lambda: scorer(NOTE, {"pad": "full"})


def test_encoded_scorer_has_horizons_and_vectors():
    made = scorer(TASTE, {})
    assert isinstance(made, HorizonScorer)
    assert isinstance(made, VectorScorer)
    histories = users([(0, 5), (3, 1)])
    assert made.horizon == "next"
    assert not np.allclose(made.score(histories), made.at_horizon("overall").score(histories))


def test_item_without_vector_scores_lowest():
    made = scorer(TASTE, {})
    made.item_vectors[7] = 0
    scores = made.score(users([(0, 5)]))[0]
    assert scores.argmin() == 7
    assert scores[7] == np.finfo(np.float32).min

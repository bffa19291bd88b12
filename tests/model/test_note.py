"""The research note's model: what distinguishes it from ours."""

import numpy as np
import torch
from torch.nn import functional

from encoders import NOTE, embeddings, encoder, forward, reading
from users import users, world


def test_note_encoder_has_one_embedding_for_both_horizons():
    assert forward(encoder(**NOTE), world(), reading(pad="full")).per_position is None
    found = embeddings(encoder(**NOTE), world(), reading(pad="full"))
    np.testing.assert_array_equal(found["next"], found["overall"])


def test_note_encoder_attends_to_padding():
    model, histories = encoder(**NOTE), users([(0, 5), (1, 1)])
    short, padded = (
        forward(model, histories, reading(max_history=most, pad="full")).next for most in (3, 12)
    )
    assert not torch.allclose(short, padded, atol=1e-5)


def test_note_encoder_item_vectors_have_unit_length_and_missing_vector_stays_zero():
    model = encoder(**NOTE)
    vectors = torch.randn(20, 8)
    vectors[3] = 0
    model.initialize(vectors)
    expected = functional.normalize(vectors, dim=1).numpy()
    np.testing.assert_allclose(model.item_vectors, expected, rtol=1e-5, atol=1e-7)
    assert not model.item_vectors[3].any()

"""The ridge fold-in as a module of the encoder."""

import numpy as np
import torch

from encoders import SCALE, TASTE, encoder, forward, reading, tensors
from tastevec.data.value_scale import ValueScale
from tastevec.items.als import AlsSettings, fold_in
from tastevec.model.encoder import RidgeFoldIn
from users import TAGGED, of_every_length, users


def test_initialize_sets_solution_and_gram_of_item_vectors():
    model, vectors = encoder(**TASTE), torch.randn(20, 8)
    solution = {
        "item_prior": torch.randn(20, 8),
        "prior_mean": torch.randn(8),
        "rating_weights": torch.rand(SCALE.n_bins + 1, 3),
        "constants": torch.rand(4),
    }
    model.initialize(vectors, **solution)
    assert torch.equal(model.fold_in.gram, vectors.T @ vectors)
    assert all(torch.equal(getattr(model.fold_in, name), value) for name, value in solution.items())


def test_fold_in_with_constants_of_als_equals_fold_in_of_als():
    settings = AlsSettings(
        scale=ValueScale.explicit(1.0, 5.0), dim=8, regularization=3.0, positive=7.0, neutral=1.5
    )
    histories = users([(0, 5), (1, 4), (2, 3), (3, 1), (4, TAGGED)], [], [(19, 4)])
    table = np.random.default_rng(1).normal(size=(20, 8)).astype(np.float32)
    ridge = RidgeFoldIn(20, 8, SCALE.n_bins)
    ratings = np.array([*np.linspace(1, 5, SCALE.n_bins), np.nan], np.float32)
    confidence = torch.from_numpy(settings.confidence(ratings))
    more = (confidence - 1).clamp(min=0)  # a rating without confidence counts as no interaction
    ridge.initialize(
        torch.from_numpy(table),
        item_prior=torch.zeros(20, 8),
        prior_mean=torch.zeros(8),
        rating_weights=torch.stack([torch.zeros_like(more), more, confidence], 1),
        constants=torch.tensor([0.0, settings.regularization, 0.0, 1.0]),
    )
    inputs = tensors(encoder(**TASTE), histories, reading())
    vectors = torch.from_numpy(table)[inputs["items"]]
    found = ridge(vectors, inputs["items"], inputs["rating_bins"], inputs["lengths"])
    np.testing.assert_allclose(found.numpy(), fold_in(table, histories, settings), rtol=1e-4, atol=1e-5)


def test_fold_in_has_buffers_and_no_parameters():
    model = encoder(**TASTE)
    assert not list(model.fold_in.parameters())
    assert {name for name in model.state_dict() if name.startswith("fold_in.")} == {
        f"fold_in.{name}" for name in ("item_prior", "gram", "prior_mean", "rating_weights", "constants")
    }


def test_fold_in_prior_mean_fades_with_history_length():
    model = encoder(**TASTE)
    inputs = tensors(model, of_every_length(), reading())
    arguments = inputs["items"], inputs["rating_bins"], inputs["lengths"]
    vectors = model.items(inputs["items"])
    added = model.fold_in(vectors, *arguments) - model.fold_in(vectors, *arguments, mean=False)
    shares = (3 / (3 + torch.arange(13.0))) ** 2  # one quarter at 3 items
    torch.testing.assert_close(added, shares[:, None] * model.fold_in.prior_mean, rtol=1e-4, atol=1e-5)
    assert torch.equal(forward(model, users([]), reading()).overall[0], model.fold_in.prior_mean)

import numpy as np
import torch

from encoders import SCALE, TASTE, ask, encoder, reading, tensors
from tastevec.items.als import AlsSettings, fold_in
from tastevec.model.encoder import RidgeFoldIn
from users import TAGGED, of_every_length, users


def test_the_linear_answer_comes_with_the_film_table():
    model, table = encoder(**TASTE), torch.randn(20, 8)
    linear = {
        "item_prior": torch.randn(20, 8),
        "prior_mean": torch.randn(8),
        "rating_weights": torch.rand(SCALE.n_bins + 1, 3),
        "constants": torch.rand(4),
    }
    model.initialize(table, **linear)
    assert torch.equal(model.fold_in.gram, table.T @ table)
    assert all(torch.equal(getattr(model.fold_in, name), value) for name, value in linear.items())


def test_the_linear_answer_with_the_constants_of_als_is_the_fold_in_of_als():
    settings = AlsSettings(rating_range=(1.0, 5.0), dim=8, regularization=3.0, positive=7.0, neutral=1.5)
    histories = users([(0, 5), (1, 4), (2, 3), (3, 1), (4, TAGGED)], [], [(19, 4)])
    table = np.random.default_rng(1).normal(size=(20, 8)).astype(np.float32)
    linear = RidgeFoldIn(20, 8, SCALE.n_bins)
    ratings = np.array([*np.linspace(1, 5, SCALE.n_bins), np.nan], np.float32)
    confidence = torch.from_numpy(settings.confidence(ratings))
    more = (confidence - 1).clamp(min=0)  # what says nothing counts as what was never seen
    linear.initialize(
        torch.from_numpy(table),
        item_prior=torch.zeros(20, 8),
        prior_mean=torch.zeros(8),
        rating_weights=torch.stack([torch.zeros_like(more), more, confidence], 1),
        constants=torch.tensor([0.0, settings.regularization, 0.0, 1.0]),
    )
    arrays = tensors(histories)
    vectors = torch.from_numpy(table)[arrays["items"]]
    answer = linear(vectors, arrays["items"], arrays["rating_bins"], arrays["lengths"])
    np.testing.assert_allclose(answer.numpy(), fold_in(table, histories, settings), rtol=1e-4, atol=1e-5)


def test_nothing_of_the_linear_answer_learns():
    model = encoder(**TASTE)
    assert not list(model.fold_in.parameters())
    assert {name for name in model.state_dict() if name.startswith("fold_in.")} == {
        f"fold_in.{name}" for name in ("item_prior", "gram", "prior_mean", "rating_weights", "constants")
    }


def test_somebody_without_a_history_is_the_mean_person_who_fades_with_each_film():
    model = encoder(**TASTE)
    arrays = tensors(of_every_length())
    told = arrays["items"], arrays["rating_bins"], arrays["lengths"]
    vectors = model.items(told[0])
    added = model.fold_in(vectors, *told) - model.fold_in(vectors, *told, mean=False)
    shares = (3 / (3 + torch.arange(13.0))) ** 2  # a quarter at 3 films
    torch.testing.assert_close(added, shares[:, None] * model.fold_in.prior_mean, rtol=1e-4, atol=1e-5)
    assert torch.equal(ask(model, users([]), reading()).overall[0], model.fold_in.prior_mean)

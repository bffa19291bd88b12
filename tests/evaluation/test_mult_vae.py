"""Mult-VAE: the scorer contract and its training."""

import numpy as np
import pytest
import torch

import worlds
from contracts.scorer import ScorerContract
from tastevec.data.value_scale import ValueScale
from tastevec.errors import SettingsError
from tastevec.evaluation import mult_vae as module
from tastevec.evaluation.baselines import LastItems
from tastevec.evaluation.mult_vae import MultVAE, VaeSettings, mult_vae
from users import users, world

TINY = {"hidden": 16, "latent": 4, "batch_size": 4, "epochs": 30, "learning_rate": 0.01}


def _made(**changes):
    return MultVAE(VaeSettings(ValueScale.explicit(1, 5), **{**TINY, **changes}))


class TestMultVAE(ScorerContract):
    """Mult-VAE on full histories and on the last items."""

    @pytest.fixture(params=[_made, lambda: LastItems(_made())], ids=["whole", "last only"])
    def make(self, request):
        return request.param


def test_baseline_prefers_items_of_same_taste():
    scorer = _made(annealing=60)
    scorer.fit(world().take(np.array([0, 1, 2, 3, 6, 7, 8, 9])), worlds.ITEMS)  # too few for validation
    scores = scorer.score(users([(0, 5), (2, 5), (3, 4)], [(11, 5), (12, 5), (13, 4)]))
    halves = scores.reshape(2, 2, worlds.ITEMS // 2).mean(axis=2)
    assert halves[0, 0] > halves[0, 1]
    assert halves[1, 1] > halves[1, 0]


def test_mult_vae_reads_positives_only():
    scorer = _made()
    scorer.fit(world(), worlds.ITEMS)
    scores = scorer.score(users([(0, 5)], [(0, 5), (13, 1)]))
    np.testing.assert_array_equal(scores[0], scores[1])


def test_mult_vae_seed_is_isolated():
    torch.manual_seed(0)
    untouched = torch.rand(1)
    torch.manual_seed(0)
    scores = []
    for seed in (1, 1, 2):
        scorer = _made(seed=seed, epochs=2)
        scorer.fit(world(), worlds.ITEMS)
        scores.append(scorer.score(world()))
    assert torch.rand(1) == untouched
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def _watched(monkeypatch, gains):
    """Return the scores of each epoch, with validation metrics replaced by these values."""
    scores = []

    def measure(scorer, task, n_items, at):
        assert (n_items, tuple(at)) == (worlds.ITEMS, (100,))
        assert len(task) == 1  # a tenth of the 12 training users
        scores.append(scorer.score(world()))
        return {"ndcg@100": np.array([gains[len(scores) - 1]])}

    monkeypatch.setattr(module, "measure", measure)
    return scores


def test_mult_vae_restores_best_validation_epoch(monkeypatch):
    scores = _watched(monkeypatch, [0.1, 0.5, 0.3, 0.4, 0.9])
    scorer = _made(patience=2)
    scorer.fit(world(), worlds.ITEMS)
    assert len(scores) == 4  # two epochs without a better one, and the fifth never comes
    np.testing.assert_array_equal(scorer.score(world()), scores[1])


def test_mult_vae_stops_at_last_epoch(monkeypatch):
    scores = _watched(monkeypatch, [0.1, 0.2, 0.3])
    _made(epochs=3, patience=1).fit(world(), worlds.ITEMS)
    assert len(scores) == 3


def test_mult_vae_validation_users_are_not_trained_on(monkeypatch):
    train_histories = []
    learn = MultVAE._learn

    def watch(self, positive, task, n_items):
        train_histories.append((set(positive.user_ids), set(task.inputs.user_ids)))
        learn(self, positive, task, n_items)

    monkeypatch.setattr(MultVAE, "_learn", watch)
    _made(epochs=1).fit(world(), worlds.ITEMS)
    [(train_ids, validation)] = train_histories
    assert len(train_ids) == worlds.USERS - 1
    assert not train_ids & validation


def test_mult_vae_ignores_users_without_positives():
    scorer = _made()
    scorer.fit(users([(0, 1)], [(1, 2)]), worlds.ITEMS)
    assert np.isfinite(scorer.score(world())).all()


def test_mult_vae_divergence_equals_torch():
    network = module._Network(3, VaeSettings(hidden=2, latent=2))
    mean, spread = np.array([0.5, -1.0]), np.array([0.5, 2.0])
    with torch.no_grad():
        network.encode.weight.zero_()
        network.encode.bias[:] = torch.tensor([*mean, *np.log(spread**2)])
        _, divergence = network.eval()(torch.tensor([0]), torch.tensor([1]))
    posterior = torch.distributions.Normal(torch.tensor(mean), torch.tensor(spread))
    exact = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum()
    assert divergence.item() == pytest.approx(exact.item())


def test_mult_vae_input_has_unit_length():
    network = module._Network(4, VaeSettings(hidden=2, latent=2)).eval()
    counted = []
    network.items.register_forward_hook(
        lambda _module, _given, options, _out: counted.append(options), with_kwargs=True
    )
    network(torch.tensor([0, 1, 2, 3, 1]), torch.tensor([4, 0, 1]))
    assert counted[0]["per_sample_weights"].tolist() == [0.5, 0.5, 0.5, 0.5, 1.0]


@pytest.mark.parametrize(
    "wrong", [{"hidden": 0}, {"dropout": 1.0}, {"kl_weight": -0.1}, {"learning_rate": 0.0}, {"patience": 0}]
)
def test_preprocess_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError, match="is out of range"):
        VaeSettings(**wrong)


def test_mult_vae_spec_has_published_settings():
    spec = mult_vae(scale=ValueScale.explicit(1, 5))
    assert spec.seeded
    assert spec.space.keys() == spec.published.keys()
    scorer = spec.make(spec.published, 7)
    assert scorer._settings == VaeSettings(ValueScale.explicit(1, 5), seed=7)
    assert scorer.name == spec.name

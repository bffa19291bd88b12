"""Mult-VAE, a strong baseline trained with torch.

Dimension letters: B users, N items, H hidden, Z latent.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tastevec.data.value_scale import HALF_STARS, ValueScale
from tastevec.errors import SettingsError
from tastevec.evaluation.baselines import only_positives
from tastevec.evaluation.registry import LAST_N, BaselineSpec, Range
from tastevec.evaluation.scorers import measure
from tastevec.evaluation.tasks import build_task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.tasks import Task

_VALIDATION_SHARE = 0.1  # of the training users, for epoch selection
_DEPTH = 100  # of the NDCG that selects the epoch


@dataclass(frozen=True)
class VaeSettings:
    """Settings of Mult-VAE; the defaults are the published ones, but for three.

    Attributes:
        scale: The value scale, which decides what is positive.
        hidden: H, width of the one layer on either side of the latent one.
        latent: Z.
        dropout: Dropout rate of the input.
        kl_weight: Final weight of the Kullback-Leibler term, which starts at 0.
        learning_rate: Adam's.
        annealing: Epochs until the term has its final weight. Published: 40,000 steps, which are 171 of 200 epochs;
            smaller data peak long before.
        batch_size: Users a step; published 500, for thirty times as many users.
        epochs: Maximum number of epochs; published 200.
        patience: Epochs without improvement before training stops; published: no early stopping.
        seed: Random seed.

    Raises:
        SettingsError: A value is out of its range.
    """

    scale: ValueScale = HALF_STARS
    hidden: int = 600
    latent: int = 200
    dropout: float = 0.5
    kl_weight: float = 0.2
    learning_rate: float = 1e-3
    annealing: int = 20
    batch_size: int = 100
    epochs: int = 200
    patience: int = 10
    seed: int = 42

    def __post_init__(self) -> None:
        counts = (self.hidden, self.latent, self.annealing, self.batch_size, self.epochs, self.patience)
        if min(counts) < 1 or not 0 <= self.dropout < 1 or self.kl_weight < 0 or self.learning_rate <= 0:
            raise SettingsError(
                f"{self} is out of range. Expected counts of at least 1, 0 <= dropout < 1, kl_weight >= 0 and "
                "learning_rate > 0"
            )


class _Network(nn.Module):
    """N - H - Z - H - N, with tanh on the hidden layers; the first layer sums the rows of the input items."""

    def __init__(self, n_items: int, settings: VaeSettings) -> None:
        super().__init__()
        hidden, latent = settings.hidden, settings.latent
        self.dropout = nn.Dropout(settings.dropout)
        self.items = nn.EmbeddingBag(n_items, hidden, mode="sum")
        self.first_bias = nn.Parameter(torch.zeros(hidden))
        self.encode = nn.Linear(hidden, 2 * latent)
        self.decode = nn.Sequential(nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, n_items))
        for weight in self.parameters():
            (nn.init.xavier_uniform_ if weight.ndim > 1 else nn.init.zeros_)(weight)

    def forward(self, items: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) logits of the items and (B,) KL divergence of each user from the prior.

        Args:
            items: The positives of all users, flat.
            counts: (B,) number of positives of each user.
        """
        norms = counts.clamp(min=1).sqrt()  # each input has unit length
        weights = self.dropout((1 / norms).repeat_interleave(counts))
        summed = self.items(items, counts.cumsum(0) - counts, per_sample_weights=weights)  # (B, H)
        mean, log_variance = self.encode((summed + self.first_bias).tanh()).chunk(2, dim=1)  # (B, Z)
        divergence = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(1)
        if self.training:
            mean = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decode(mean), divergence


def _flat(positive: Histories) -> tuple[Tensor, Tensor]:
    """Return the items of all users, flat, and the number of each user's."""
    return torch.from_numpy(positive.items.astype(np.int64)), torch.from_numpy(positive.lengths)


class MultVAE:
    """A variational autoencoder with a multinomial likelihood over a user's positives.

    Training minimizes the multinomial negative log-likelihood of each training user's positives plus the weighted KL
    divergence of the latent distribution from a standard normal one. A tenth of the training users is for epoch
    selection, by NDCG@100 of ``random-20pct``. Scores come from the mean of the latent distribution. Memory grows with
    N x H, never with users x N.

    Source: Liang, Krishnan, Hoffman & Jebara 2018, "Variational Autoencoders for Collaborative Filtering", sections 2
    and 4.3.
    """

    name = "Mult-VAE"
    _network: _Network

    def __init__(self, settings: VaeSettings) -> None:
        self._settings = settings
        self._positive_from = settings.scale.positive_from

    def fit(self, train: Histories, n_items: int) -> None:
        """Train on nine tenths of the users; the same users and seed give the same weights."""
        settings = self._settings
        order = np.random.default_rng(settings.seed).permutation(len(train))
        count = int(_VALIDATION_SHARE * len(train))
        validation = train.take(np.sort(order[:count]))
        task = build_task("random-20pct", validation, scale=settings.scale, seed=settings.seed)
        positive = only_positives(train.take(np.sort(order[count:])), self._positive_from)
        positive = positive.take(np.flatnonzero(positive.lengths))  # without positives there is no likelihood
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self._network = _Network(n_items, settings)
            if len(positive):
                self._learn(positive, task, n_items)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) logits of the items, from each user's positives."""
        self._network.eval()
        with torch.no_grad():
            logits, _ = self._network(*_flat(only_positives(histories, self._positive_from)))
        return np.asarray(logits.numpy())

    def _learn(self, positive: Histories, task: Task, n_items: int) -> None:
        """Train until validation no longer improves; without validation users, until the annealing ends."""
        settings = self._settings
        optimizer = torch.optim.Adam(self._network.parameters(), lr=settings.learning_rate, fused=True)
        best, best_epoch, weights = -1.0, 0, None
        for epoch in range(settings.epochs if len(task) else settings.annealing):
            self._one_epoch(positive, optimizer, epoch)
            if not len(task):
                continue
            value = float(measure(self, task, n_items, (_DEPTH,))[f"ndcg@{_DEPTH}"].mean())
            if value > best:
                best, best_epoch, weights = value, epoch, copy.deepcopy(self._network.state_dict())
            elif epoch - best_epoch >= settings.patience:
                break
        if weights is not None:
            self._network.load_state_dict(weights)

    def _one_epoch(self, positive: Histories, optimizer: torch.optim.Optimizer, epoch: int) -> None:
        settings = self._settings
        batches = torch.randperm(len(positive)).split(settings.batch_size)
        self._network.train()
        for step, users in enumerate(batches, start=epoch * len(batches)):
            kl_weight = settings.kl_weight * min(1.0, step / (settings.annealing * len(batches)))
            batch = positive.take(users.numpy())
            items, counts = _flat(batch)
            owners = torch.from_numpy(batch.owners)
            logits, divergence = self._network(items, counts)
            likelihood = functional.log_softmax(logits, 1)[owners, items].sum() / len(batch)
            loss = kl_weight * divergence.mean() - likelihood
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def mult_vae(*, scale: ValueScale) -> BaselineSpec:
    """Return the spec of Mult-VAE: its published settings and its tuning space."""
    return BaselineSpec(
        MultVAE.name,
        lambda settings, seed: MultVAE(VaeSettings(scale, seed=seed, **settings)),
        published={"hidden": 600, "dropout": 0.5, "kl_weight": 0.2, "learning_rate": 1e-3},
        space={
            "hidden": (200, 400, 600, 800),
            "dropout": Range(0.1, 0.8),
            "kl_weight": Range(0.05, 1.0, log=True),
            "learning_rate": Range(3e-4, 5e-3, log=True),
        },
        seeded=True,
        last_n=(LAST_N,),
    )

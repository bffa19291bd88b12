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

from tastevec.data.inputs import positive_from
from tastevec.errors import SettingsError
from tastevec.evaluation.baselines import only_positives
from tastevec.evaluation.registry import NEWEST, BaselineSpec, Between, OneOf
from tastevec.evaluation.scorers import measure
from tastevec.evaluation.tasks import cases

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.tasks import Task

__all__ = ["MultVAE", "VaeSettings", "mult_vae"]

_HELD_OUT = 0.1  # of the training people, who choose the epoch
_DEPTH = 100  # of the NDCG that they choose it by


@dataclass(frozen=True)
class VaeSettings:
    """How a Mult-VAE is built and trained; the defaults are the published ones, but for three.

    Attributes:
        rating_range: The lowest and the highest rating, from which follows what a like is.
        hidden: H, width of the one layer on either side of the latent one.
        latent: Z.
        dropout: Share of the input left out while training.
        kl_weight: The highest weight of the Kullback-Leibler term, which begins at 0.
        learning_rate: Adam's.
        annealing: Epochs until the term has its full weight. Published: 40,000 steps, which are 171 of 200 epochs;
            fewer people are at their best long before.
        batch_size: People a step; 500 is published, for thirty times as many people.
        epochs: At most; published 200.
        patience: Epochs without a better one before training stops; published: none stops it.
        seed: Of every draw.

    Raises:
        SettingsError: A value is out of its range.
    """

    rating_range: tuple[float, float] = (0.5, 5.0)
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
                f"{self} is out of range; expected counts of 1 or more, 0 <= dropout < 1, kl_weight from 0 and "
                "learning_rate over 0"
            )


@dataclass(frozen=True)
class _Positives:
    """The liked films of B people, one after another."""

    items: Tensor
    counts: Tensor  # (B,)

    @classmethod
    def of(cls, positive: Histories) -> _Positives:
        return cls(torch.from_numpy(positive.items.astype(np.int64)), torch.from_numpy(positive.lengths))

    @property
    def starts(self) -> Tensor:
        """(B,) where each person's films begin."""
        return self.counts.cumsum(0) - self.counts


class _Network(nn.Module):
    """N - H - Z - H - N, with tanh on the hidden layers; the first layer adds up the rows of the films that are there."""

    def __init__(self, item_count: int, settings: VaeSettings) -> None:
        super().__init__()
        hidden, latent = settings.hidden, settings.latent
        self.dropout = nn.Dropout(settings.dropout)
        self.items = nn.EmbeddingBag(item_count, hidden, mode="sum")
        self.first_bias = nn.Parameter(torch.zeros(hidden))
        self.encode = nn.Linear(hidden, 2 * latent)
        self.decode = nn.Sequential(nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, item_count))
        for weight in self.parameters():
            (nn.init.xavier_uniform_ if weight.ndim > 1 else nn.init.zeros_)(weight)

    def forward(self, positives: _Positives) -> tuple[Tensor, Tensor]:
        """(B, N) logits of the films and (B,) the divergence of each person from the prior."""
        counts = positives.counts.clamp(min=1).sqrt()  # each input at length 1
        weights = self.dropout((1 / counts).repeat_interleave(positives.counts))
        first = (
            self.items(positives.items, positives.starts, per_sample_weights=weights) + self.first_bias
        )  # (B, H)
        mean, log_variance = self.encode(first.tanh()).chunk(2, dim=1)  # (B, Z)
        divergence = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(1)
        if self.training:
            mean = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decode(mean), divergence


class MultVAE:
    """Films out of a draw around a point that an encoder finds for what a person liked.

    Training minimises the multinomial negative log-likelihood of each training person's likes plus the weighted
    divergence of the point's distribution from a standard normal one. A tenth of the training people does not teach:
    it is asked fold-in after each epoch, and the epoch of its highest NDCG@100 is kept. People are scored from the
    mean of their distribution. Memory grows with N x H, never with users x N.

    Args:
        settings: How it is built and trained.

    Source: Liang, Krishnan, Hoffman & Jebara 2018, "Variational Autoencoders for Collaborative Filtering", sections 2
    and 4.3.
    """

    name = "Mult-VAE"
    _network: _Network

    def __init__(self, settings: VaeSettings) -> None:
        self._settings = settings
        self._positive_from = positive_from(settings.rating_range)

    def fit(self, train: Histories, item_count: int) -> None:
        """Learn from nine tenths of the people; the same people and seed give the same weights."""
        settings = self._settings
        order = np.random.default_rng(settings.seed).permutation(len(train))
        held = int(_HELD_OUT * len(train))
        judges = train.take(np.sort(order[:held]))
        [task] = cases(judges, protocol="fold-in", rating_range=settings.rating_range, seed=settings.seed)
        positive = only_positives(train.take(np.sort(order[held:])), self._positive_from)
        positive = positive.take(np.flatnonzero(positive.lengths))  # who liked nothing has no likelihood
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self._network = _Network(item_count, settings)
            if len(positive):
                self._learn(positive, task, item_count)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) logits of the films, from what each person liked."""
        self._network.eval()
        with torch.no_grad():
            logits, _ = self._network(_Positives.of(only_positives(histories, self._positive_from)))
        return np.asarray(logits.numpy())

    def _learn(self, positive: Histories, task: Task, item_count: int) -> None:
        """Epochs until the judges have seen no better one for long; without judges, until the annealing has ended."""
        settings = self._settings
        optimizer = torch.optim.Adam(self._network.parameters(), lr=settings.learning_rate, fused=True)
        best, best_epoch, kept = -1.0, 0, None
        for epoch in range(settings.epochs if len(task) else settings.annealing):
            self._one_epoch(positive, optimizer, epoch)
            if not len(task):
                continue
            gain = float(measure(self, task, item_count, (_DEPTH,))[f"ndcg@{_DEPTH}"].mean())
            if gain > best:
                best, best_epoch, kept = gain, epoch, copy.deepcopy(self._network.state_dict())
            elif epoch - best_epoch >= settings.patience:
                break
        if kept is not None:
            self._network.load_state_dict(kept)

    def _one_epoch(self, positive: Histories, optimizer: torch.optim.Optimizer, epoch: int) -> None:
        settings = self._settings
        batches = torch.randperm(len(positive)).split(settings.batch_size)
        self._network.train()
        for step, users in enumerate(batches, start=epoch * len(batches)):
            kl_weight = settings.kl_weight * min(1.0, step / (settings.annealing * len(batches)))
            batch = positive.take(users.numpy())
            logits, divergence = self._network(_Positives.of(batch))
            owners, items = torch.from_numpy(batch.owners), torch.from_numpy(batch.items.astype(np.int64))
            gained = functional.log_softmax(logits, 1)[owners, items].sum() / len(batch)
            loss = kl_weight * divergence.mean() - gained
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def mult_vae(*, rating_range: tuple[float, float]) -> BaselineSpec:
    """How a Mult-VAE is made, and what may be tuned of it."""
    return BaselineSpec(
        MultVAE.name,
        lambda settings, seed: MultVAE(VaeSettings(rating_range, seed=seed, **settings)),
        published={"hidden": 600, "dropout": 0.5, "kl_weight": 0.2, "learning_rate": 1e-3},
        space={
            "hidden": OneOf((200, 400, 600, 800)),
            "dropout": Between(0.1, 0.8),
            "kl_weight": Between(0.05, 1.0, log=True),
            "learning_rate": Between(3e-4, 5e-3, log=True),
        },
        seeded=True,
        newest=(NEWEST,),
    )

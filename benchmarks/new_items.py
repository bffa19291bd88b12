"""New items: how similar the vectors of items added after the training are to those that the training learns for them.

A random tenth of the well-known items is hidden from what computes vectors of new items, several times; ``ridge on all features``
is what the package does; the penalty was tuned on other draws.

Dimensions: N items, F features, D numbers a vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from experiment import RELEASES, small_world

from tastevec.data.expressions import connect
from tastevec.data.intake.settings import ItemSettings
from tastevec.data.intake.source import read_source
from tastevec.data.prepared import Prepared
from tastevec.items.cold_start import ColdStartModel
from tastevec.items.content import ContentFeatures, genre_matrix
from tastevec.pipelines.prepare import training_tags
from tastevec.serving.bundle import Bundle

if TYPE_CHECKING:
    from measure import Run
    from numpy.typing import NDArray

DRAWS = (42, 43, 44, 45, 46)
NEAREST = 20


@dataclass(frozen=True, eq=False)
class World:
    """N items: their metadata and tags, their learned vectors (N, D), their training users (N,), and how many make one well-known."""

    items: pa.Table
    tags: pa.Table
    learned: NDArray[np.float32]
    users: NDArray[np.int64]
    known_from: int

    @classmethod
    def read(cls, model: Path, data: Path, source: Path, settings: ItemSettings) -> World:
        """Read the items of a model, with the tags that its preparation could use."""
        prepared, bundle, connection = Prepared.open(data), Bundle.load(model), connect()
        read = read_source(source, connection=connection, items=settings)
        tags = training_tags(connection.to_pyarrow(read.tags), prepared.folder)
        users = bundle.items["train_users"].to_numpy()
        known_from = min(20, int(np.median(users)) + 1)
        return cls(bundle.items, tags, bundle.model.table, users, known_from)

    def without_tags(self) -> World:
        """Return the same items without any tag."""
        return World(self.items, self.tags.slice(0, 0), self.learned, self.users, self.known_from)


@dataclass(frozen=True, eq=False)
class Draw:
    """One random hiding: indices of the items that are fitted and of the hidden ones, and features (N, F) fitted without these."""

    world: World
    fitted: NDArray[np.int64]
    hidden: NDArray[np.int64]
    features: ContentFeatures
    rows: Any

    @classmethod
    def of(cls, world: World, seed: int) -> Draw:
        """Hide a tenth of the well-known items."""
        known = np.flatnonzero(world.users >= world.known_from)
        hidden = np.sort(np.random.default_rng(seed).permutation(known)[: max(1, len(known) // 10)])
        fitted = np.setdiff1d(np.flatnonzero(world.users > 0), hidden)
        features = ContentFeatures.fit(world.items.take(pa.array(fitted)), world.tags)
        return cls(world, fitted, hidden, features, features.rows(world.items, world.tags))

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weight of each fitted item, as in the package."""
        users = self.world.users[self.fitted]
        return np.asarray(users / (users + 10.0))

    def ridge(self) -> NDArray[np.float32]:
        """Return what the package computes."""
        learned, users = self.world.learned[self.fitted], self.world.users[self.fitted]
        model = ColdStartModel.fit(self.features, self.rows[self.fitted], learned, users)
        return model.predict(self.rows[self.hidden])

    def same_genres(self) -> NDArray[np.float64]:
        """Return the mean of the items with the most similar genres."""
        genres = _unit(genre_matrix(self.world.items["genres"]))
        cosine = genres[self.hidden] @ genres[self.fitted].T
        return self._mean(cosine >= cosine.max(axis=1, keepdims=True) - 1e-6)

    def mean(self) -> NDArray[np.float64]:
        """Return the mean of all items."""
        return self._mean(np.ones((len(self.hidden), len(self.fitted))))

    def _mean(self, weights: NDArray[Any]) -> NDArray[np.float64]:
        weights = weights * self.weights
        return np.asarray(weights @ self.world.learned[self.fitted] / weights.sum(axis=1, keepdims=True))

    def quality(self, vectors: NDArray[Any]) -> dict[str, float]:
        """Return the cosine to the learned vectors, and the share of the most similar well-known items that agrees."""
        learned = _unit(self.world.learned)
        pool = self.fitted[self.world.users[self.fitted] >= self.world.known_from]
        ranked = [
            np.argsort(-(_unit(each) @ learned[pool].T), axis=1, kind="stable")[:, :NEAREST]
            for each in (self.world.learned[self.hidden], vectors)
        ]
        shared = [len(np.intersect1d(one, two)) / NEAREST for one, two in zip(*ranked, strict=True)]
        cosines = (_unit(vectors) * learned[self.hidden]).sum(axis=1)
        return {"cosine": float(cosines.mean()), f"shared of {NEAREST} nearest": float(np.mean(shared))}


def measured(run: Run) -> dict[str, Any]:
    """Return every method's mean and standard deviation over the draws."""
    data, model = small_world(run)
    release, settings = run.work / "release", ItemSettings()
    if run.full:
        folder, _, tags = RELEASES["ml-1m-5k"]
        release, settings = Path(folder), ItemSettings(tags=(Path(tags),))
    world = World.read(model, data, release, settings)
    draws, untagged = ([Draw.of(one, seed) for seed in DRAWS] for one in (world, world.without_tags()))
    return {
        "data": "ml-1m-5k with the tags of ml-10m" if run.full else "generated",
        "films": len(world.users),
        "hidden": len(draws[0].hidden),
        "known_from": world.known_from,
        "draws": DRAWS,
        "ways": {
            "ridge on all features": _summary([draw.quality(draw.ridge()) for draw in draws]),
            "ridge on all features, no tags": _summary([draw.quality(draw.ridge()) for draw in untagged]),
            "baseline: nearest by genres": _summary([draw.quality(draw.same_genres()) for draw in draws]),
            "baseline: mean of all items": _summary([draw.quality(draw.mean()) for draw in draws]),
        },
    }


def _summary(values: list[dict[str, float]]) -> dict[str, Any]:
    return {
        name: {
            "mean": round(float(np.mean([value[name] for value in values])), 4),
            "deviation": round(float(np.std([value[name] for value in values], ddof=1)), 4),
        }
        for name in values[0]
    }


def _unit(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return the same rows with length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0))

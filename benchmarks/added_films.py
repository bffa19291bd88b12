"""How near films that arrive after the training are placed to where the training would have put them.

``python benchmarks/added_films.py MODEL PREPARED`` hides a tenth of ml-1m-5k's well-known films from what places films, five
times, places them by what is said of them, and writes what came of it to ``results/added-films.json``. The ways are those that
were tried; ``ridge on all features`` is what the package does.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
from provenance import ROOT, provenance, save
from rendering import put, rendered
from sklearn.linear_model import Ridge

from tastevec.data.expressions import connect
from tastevec.data.prepared import Prepared
from tastevec.data.readers import ReadSettings, read_source
from tastevec.items.cold_start import FilmPlacing
from tastevec.items.content import ContentFeatures, genre_matrix, reduce_features
from tastevec.pipelines.prepare import visible_tags
from tastevec.serving.bundle import Bundle

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Choice = TypeVar("Choice", int, float)
DATA = ROOT.parent / "shared" / "data"
DRAWS = (42, 43, 44, 45, 46)
CHOOSING = (1, 2, 3)  # other draws, which chose the penalties and the number of neighbours
KNOWN_FROM = 20  # training people
NEAREST = 20
RIDGES = (0.3, 1.0, 2.0, 3.0, 10.0)
NEIGHBOURS = (5, 10, 20, 40)


@dataclass(frozen=True, eq=False)
class World:
    """N films: what is said of them, their learned vectors (N, D) and training people (N,)."""

    items: pa.Table
    tags: pa.Table
    learned: NDArray[np.float32]
    people: NDArray[np.int64]

    @classmethod
    def read(cls, model: Path, data: Path) -> World:
        """The films of a bundle, with the tags that its preparation was allowed to see."""
        prepared, bundle, connection = Prepared.open(data), Bundle.load(model), connect()
        told = ReadSettings(tags=(DATA / "ml-10m-tags" / "tags.csv",))
        source = read_source(DATA / "ml-1m-5k", connection=connection, settings=told)
        tags = visible_tags(connection.to_pyarrow(source.tags), prepared.folder)
        people = bundle.items["train_users"].to_numpy()
        return cls(bundle.items, tags, bundle.model.item_vectors, people)

    def without_tags(self) -> World:
        """The same films, of which nobody said a word."""
        return World(self.items, self.tags.slice(0, 0), self.learned, self.people)


@dataclass(frozen=True, eq=False)
class Draw:
    """One hiding: the positions of the films that teach, and of those that are placed."""

    world: World
    taught: NDArray[np.int64]
    hidden: NDArray[np.int64]
    features: ContentFeatures
    rows: Any  # (N, F), read by words that the hidden films had no part in

    @classmethod
    def of(cls, world: World, seed: int) -> Draw:
        """A tenth of the well-known films, drawn by ``seed``."""
        well = np.flatnonzero(world.people >= KNOWN_FROM)
        hidden = np.sort(np.random.default_rng(seed).permutation(well)[: len(well) // 10])
        taught = np.setdiff1d(np.flatnonzero(world.people > 0), hidden)
        features = ContentFeatures.fit(world.items.take(pa.array(taught)), world.tags)
        return cls(world, taught, hidden, features, features.rows(world.items, world.tags))

    @property
    def trust(self) -> NDArray[np.float64]:
        """The weight of each film that teaches, as in the package."""
        people = self.world.people[self.taught]
        return np.asarray(people / (people + 10.0))

    def by_ridge(self, ridge: float) -> NDArray[np.float32]:
        """As the package does."""
        world = self.world
        placing = FilmPlacing.fit(
            self.features,
            self.rows[self.taught],
            world.learned[self.taught],
            world.people[self.taught],
            ridge=ridge,
        )
        return placing.place(self.rows[self.hidden])

    def by_short_ridge(self, ridge: float) -> NDArray[np.float64]:
        """From the 64 numbers of the content vectors."""
        short = reduce_features(self.rows)
        model = Ridge(alpha=ridge).fit(
            short[self.taught], self.world.learned[self.taught], sample_weight=self.trust
        )
        return np.asarray(model.predict(short[self.hidden]))

    def by_neighbours(self, count: int) -> NDArray[np.float64]:
        """The mean of the films nearest by content vector, weighted by cosine and training people."""
        short = unit(reduce_features(self.rows))
        near = (short[self.hidden] @ short[self.taught].T).astype(np.float64)
        bound = -np.partition(-near, count - 1, axis=1)[:, count - 1, None]
        return self._mean(np.where(near >= bound, near.clip(1e-6), 0.0))

    def by_genres(self) -> NDArray[np.float64]:
        """The mean of the films whose genres are nearest, all of those that are equally near."""
        genres = unit(genre_matrix(self.world.items["genres"]))
        near = genres[self.hidden] @ genres[self.taught].T
        return self._mean(near >= near.max(axis=1, keepdims=True) - 1e-6)

    def by_nothing(self) -> NDArray[np.float64]:
        """The mean of all films."""
        return self._mean(np.ones((len(self.hidden), len(self.taught))))

    def _mean(self, weights: NDArray[Any]) -> NDArray[np.float64]:
        weights = weights * self.trust
        return np.asarray(weights @ self.world.learned[self.taught] / weights.sum(axis=1, keepdims=True))

    def quality(self, placed: NDArray[Any]) -> dict[str, float]:
        """Cosine to the learned vectors, and how many of the nearest well-known films are the same."""
        learned = unit(self.world.learned)
        pool = self.taught[self.world.people[self.taught] >= KNOWN_FROM]
        ranked = [
            np.argsort(-(unit(vectors) @ learned[pool].T), axis=1, kind="stable")[:, :NEAREST]
            for vectors in (self.world.learned[self.hidden], placed)
        ]
        shared = [len(np.intersect1d(one, two)) / NEAREST for one, two in zip(*ranked, strict=True)]
        cosines = (unit(placed) * learned[self.hidden]).sum(axis=1)
        return {"cosine": float(cosines.mean()), f"shared of {NEAREST} nearest": float(np.mean(shared))}


def unit(vectors: NDArray[Any]) -> NDArray[Any]:
    """The same rows with length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0))


def chosen(world: World, way: Callable[[Draw, Choice], NDArray[Any]], choices: tuple[Choice, ...]) -> Choice:
    """The setting whose films are nearest on the draws that choose."""
    draws = [Draw.of(world, seed) for seed in CHOOSING]
    cosines = [np.mean([draw.quality(way(draw, choice))["cosine"] for draw in draws]) for choice in choices]
    return choices[int(np.argmax(cosines))]


def measured(world: World) -> dict[str, Any]:
    """Every way on every draw: means over the draws, and how much these differ."""
    bare = world.without_tags()
    ridge, bare_ridge = (chosen(some, Draw.by_ridge, RIDGES) for some in (world, bare))
    short, count = (
        chosen(world, Draw.by_short_ridge, RIDGES),
        chosen(world, Draw.by_neighbours, NEIGHBOURS),
    )
    draws, bare_draws = ([Draw.of(some, seed) for seed in DRAWS] for some in (world, bare))
    ways = {
        "ridge on all features": (ridge, [draw.quality(draw.by_ridge(ridge)) for draw in draws]),
        "ridge on all features, no tags": (
            bare_ridge,
            [draw.quality(draw.by_ridge(bare_ridge)) for draw in bare_draws],
        ),
        "ridge on content vectors": (short, [draw.quality(draw.by_short_ridge(short)) for draw in draws]),
        "nearest by content vector": (count, [draw.quality(draw.by_neighbours(count)) for draw in draws]),
        "floor: nearest by genres": (None, [draw.quality(draw.by_genres()) for draw in draws]),
        "floor: mean of all films": (None, [draw.quality(draw.by_nothing()) for draw in draws]),
    }
    return {name: {"setting": setting, **summary(values)} for name, (setting, values) in ways.items()}


def summary(values: list[dict[str, float]]) -> dict[str, Any]:
    """Mean and standard deviation over the draws."""
    return {
        name: {
            "mean": round(float(np.mean([value[name] for value in values])), 4),
            "deviation": round(float(np.std([value[name] for value in values], ddof=1)), 4),
        }
        for name in values[0]
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a bundle trained on ml-1m-5k with the tags of ml-10m")
    parser.add_argument("prepared", type=Path, help="what it was trained on")
    asked = parser.parse_args()
    world = World.read(asked.model, asked.prepared)
    results = {
        "data": "ml-1m-5k with the tags of ml-10m",
        **provenance(),
        "films": len(world.people),
        "hidden": len(Draw.of(world, DRAWS[0]).hidden),
        "known_from": KNOWN_FROM,
        "draws": DRAWS,
        "choosing_draws": CHOOSING,
        "ways": measured(world),
    }
    save(ROOT / "results" / "added-films.json", results)
    put("added-films", rendered(results))
    for name, row in results["ways"].items():
        print(name, row)


if __name__ == "__main__":
    main()

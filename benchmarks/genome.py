"""Cross-validate the predicted genome on the films that have a real one: ten folds, floors beside it, by how much is known.

``python benchmarks/genome.py`` prepares ml-1m-5k with the tags of ml-10m and hetrec2011, takes a tenth of the 208 films of
genome-partial out of the genome at a time, predicts them as ``tastevec.items.genome_prediction.complete`` predicts any film,
and writes ``results/predicted-genome.json``; two minutes. Intervals are 95 % bootstraps over films.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from provenance import ROOT, provenance, save
from rendering import put, rendered

from tastevec.data.expressions import connect
from tastevec.data.readers import read_source
from tastevec.items.als import AlsSettings, als_factors, film_counts
from tastevec.items.content import genre_matrix
from tastevec.items.genome import Genome, read_genome
from tastevec.items.genome_prediction import CompleteGenome, Factors, complete, row_correlations
from tastevec.pipelines.prepare import PrepareSettings, visible_tags
from tastevec.pipelines.prepare import write_prepared as prepare

if TYPE_CHECKING:
    from tastevec.data.prepared import Prepared

DATA = ROOT.parent / "shared" / "data"
SETTINGS = PrepareSettings(
    tags=(DATA / "ml-10m-tags" / "tags.csv", DATA / "hetrec2011-tags" / "movie_tags.dat")
)
FOLDS, DRAWS, SEED, TOP = 10, 1_000, 42, 10
# What is known of a film, in bins that begin at these numbers.
BINS = {"tag applications": (0, 1, 10, 50), "ratings": (0, 10, 50, 200)}
OURS, FLAT = "predicted", "mean genome"

Predict = Callable[[Genome, NDArray[np.int64]], CompleteGenome | NDArray[np.float32]]


@dataclass(frozen=True)
class World:
    """N films and what is said of them; F of them, at the positions ``films``, are those of the genome."""

    genome: Genome
    items: pa.Table
    tags: pa.Table
    factors: Factors
    films: NDArray[np.int64]

    @property
    def evidence(self) -> dict[str, NDArray[np.float64]]:
        """(N,) how often any tag was applied to each film; how many training people liked it or found it so-so."""
        films = pc.index_in(self.tags["item_id"], self.items["item_id"].combine_chunks())
        ours = pc.is_valid(films).to_numpy()
        weights = self.tags["weight"].to_numpy()[ours]
        applied = np.bincount(films.drop_null().to_numpy(), weights, minlength=len(self.items))
        return {
            "tag applications": applied.astype(np.float64),
            "ratings": self.factors.counts.astype(np.float64),
        }


def read(work: Path) -> World:
    """Prepare ml-1m-5k in ``work`` and read the genome beside it."""
    data = prepare(DATA / "ml-1m-5k", work / "prepared", settings=SETTINGS)
    connection = connect("1GB")
    source = read_source(DATA / "ml-1m-5k", connection=connection, settings=SETTINGS.reading)
    tags = visible_tags(connection.to_pyarrow(source.tags), data.folder)
    genome = read_genome(DATA / "genome-partial", connection)
    connection.disconnect()
    rows = genome.rows_of(data.items["item_id"])
    films = np.flatnonzero(rows >= 0)
    return World(taken(genome, rows[films]), data.items, tags, learned(data), films)


def learned(data: Prepared) -> Factors:
    """What the training people's ratings say."""
    settings = AlsSettings(rating_range=data.rating_range)
    people, count = data.histories.take(data.users_in("train")), len(data.items)
    return Factors(als_factors(people, count, settings), film_counts(people, count, settings))


def taken(genome: Genome, rows: NDArray[np.int64]) -> Genome:
    """The genome of some of its films."""
    return Genome(genome.item_ids[rows], genome.tags, genome.relevance[rows])


def systems(world: World) -> dict[str, Predict]:
    """What predicts films, by their positions, from a genome without them."""
    genres, silence = genre_matrix(world.items["genres"]), world.tags.slice(0, 0)

    def ours(tags: pa.Table, factors: Factors | None) -> Predict:
        return lambda part, _: complete(part, world.items, tags, factors=factors)

    def nearest(part: Genome, asked: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = part.rows_of(world.items["item_id"])
        known = np.flatnonzero(rows >= 0)
        apart = np.abs(genres[asked][:, None] - genres[known]).sum(axis=2)  # (B, F)
        tied = apart == apart.min(axis=1, keepdims=True)
        return np.asarray(tied @ part.relevance[rows[known]] / tied.sum(axis=1, keepdims=True), np.float32)

    return {
        OURS: ours(world.tags, world.factors),
        "predicted without ratings": ours(world.tags, None),
        "predicted without tags": ours(silence, world.factors),
        "predicted from genres, title and year": ours(silence, None),
        "mean of the films nearest by genres": nearest,
        FLAT: lambda part, asked: np.tile(part.relevance.mean(axis=0), (len(asked), 1)),
    }


@dataclass(frozen=True)
class Answers:
    """What F films were given while their fold was left out, each (F, T), and beside it what a film's fold knew."""

    given: NDArray[np.float32]
    means: NDArray[np.float32]
    confidence: NDArray[np.float32]  # (F,)
    errors: NDArray[np.float32]


def cross_validate(predict: Predict, world: World) -> Answers:
    """Every film predicted once, from the genome of the nine folds that it is not in."""
    shape = world.genome.relevance.shape
    answers = Answers(
        np.empty(shape, np.float32),
        np.empty(shape, np.float32),
        np.zeros(shape[0], np.float32),
        np.zeros(shape, np.float32),
    )
    order = np.random.default_rng(SEED).permutation(shape[0])
    for fold in np.array_split(order, FOLDS):
        part = taken(world.genome, np.sort(np.setdiff1d(order, fold)))
        asked = world.films[fold]
        told = predict(part, asked)
        answers.means[fold] = part.relevance.mean(axis=0)
        if isinstance(told, CompleteGenome):
            assert not told.measured[asked].any()
            answers.confidence[fold] = told.confidence[asked]
            answers.errors[fold] = told.standard_errors(asked)
            told = told.relevance[asked]
        answers.given[fold] = told
    return answers


def judge(answers: Answers, truth: NDArray[np.float32], films: NDArray[np.int64]) -> dict[str, Any]:
    """Each measure of these films with its interval; None where there is nothing to correlate."""
    given, real, means = answers.given[films], truth[films], answers.means[films]
    flat = bool((given == means).all())
    per_film = {
        "correlation": row_correlations(given, real),
        "beyond_the_mean": None if flat else row_correlations(given - means, real - means),
        f"overlap@{TOP}": overlap(given, real),
    }
    wholes = {
        "per_tag": None if flat else lambda drawn: row_correlations(given[drawn].T, real[drawn].T).mean(),
        "overall": lambda drawn: row_correlations(
            given[drawn].reshape(1, -1), real[drawn].reshape(1, -1)
        ).mean(),
        "rmse": lambda drawn: np.sqrt(((given[drawn] - real[drawn]) ** 2).mean()),
    }
    measures = {
        name: value if value is None else value.__getitem__ for name, value in per_film.items()
    } | wholes
    return {name: None if of is None else interval(of, len(films)) for name, of in measures.items()}


def interval(of: Callable[[NDArray[np.int64]], Any], count: int) -> dict[str, float]:
    """The mean of a measure over all films, and where 95 % of the means over films drawn anew lie."""
    rng = np.random.default_rng(SEED)  # the same draws for every system
    drawn = [np.mean(of(rng.integers(0, count, count))) for _ in range(DRAWS)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    told = {"mean": np.mean(of(np.arange(count))), "low": low, "high": high}
    return {name: round(float(value), 4) for name, value in told.items()}


def overlap(given: NDArray[np.float32], real: NDArray[np.float32]) -> NDArray[np.float64]:
    """(F,) the share of the most relevant tags as predicted that are among as many really most relevant ones."""
    best = [np.argsort(-side, axis=1, kind="stable")[:, :TOP] for side in (given, real)]
    return np.array([len(np.intersect1d(*pair)) / TOP for pair in zip(*best, strict=True)])


def by_evidence(answers: dict[str, Answers], world: World) -> list[dict[str, Any]]:
    """The films by how much is known of them, with what was expected of them beside what was found."""
    rows = []
    for name, edges in BINS.items():
        bins = np.digitize(world.evidence[name], edges) - 1  # (N,)
        for number, start in enumerate(edges):
            films = np.flatnonzero(bins[world.films] == number)
            rows.append(
                {
                    "evidence": name,
                    "from": start,
                    "below": edges[number + 1] if number + 1 < len(edges) else None,
                    "films": len(films),
                    "share_of_catalogue": round(float((bins == number).mean()), 3),
                    "confidence": round(float(answers[OURS].confidence[films].mean()), 3),
                    OURS: judge(answers[OURS], world.genome.relevance, films),
                    FLAT: judge(answers[FLAT], world.genome.relevance, films),
                }
            )
    return rows


def errors_told(answers: Answers, truth: NDArray[np.float32]) -> dict[str, float]:
    """Whether standard errors are what they say: the mean square of error by its own standard error should be 1."""
    off = (answers.given - truth) / answers.errors
    return {
        "mean_square": round(float((off**2).mean()), 3),
        "within_two": round(float((np.abs(off) < 2).mean()), 3),  # noqa: PLR2004 - as its name says
    }


def sample(world: World) -> dict[str, Any]:
    """What the films with a genome are like beside the catalogue: its median evidence, its years."""
    years = pc.fill_null(world.items["year"], 0).to_numpy()
    told: dict[str, Any] = {"films": len(world.films), "catalogue": len(world.items)}
    for name, evidence in world.evidence.items():
        told[name] = {
            "films": float(np.median(evidence[world.films])),
            "catalogue": float(np.median(evidence)),
        }
    years = years[world.films]
    told["years"] = {"middle_90_%": np.percentile(years, [5, 95]).tolist()}
    return told


def main() -> None:
    """Measure, write and show."""
    with tempfile.TemporaryDirectory() as work:
        world = read(Path(work))
        everyone = np.arange(len(world.films))
        answers = {name: cross_validate(predict, world) for name, predict in systems(world).items()}
        truth = world.genome.relevance
        results = {
            "data": "genome-partial, ml-1m-5k",
            **provenance(),
            "settings": {"folds": FOLDS, "draws": DRAWS, "seed": SEED},
            "sample": sample(world),
            "systems": [{"system": name, **judge(given, truth, everyone)} for name, given in answers.items()],
            "by_evidence": by_evidence(answers, world),
            "standard_errors": errors_told(answers[OURS], truth),
        }
    save(ROOT / "results" / "predicted-genome.json", results)
    put("predicted-genome", rendered(results))
    print(rendered(results))


if __name__ == "__main__":
    main()

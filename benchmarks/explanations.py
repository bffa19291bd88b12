"""Whether explanations are faithful and steering steers: what deleting named films does, what named tags foretell, what follows a dose.

``python benchmarks/explanations.py MODEL PREPARED`` explains 300 test people in tags and writes what came of three questions to
``results/explanations.json``; three minutes. Intervals are 95 % bootstraps over people.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from cold_questions import interval, ratio
from explanation_rendering import rendered_explanations
from provenance import ROOT, provenance, save
from rendering import put
from scipy.sparse import csr_matrix
from steering_reach import reached

from tastevec.data.histories import normalise_ratings
from tastevec.data.inputs import liked_from
from tastevec.data.prepared import Prepared
from tastevec.data.topk import rank_unseen
from tastevec.errors import DataError
from tastevec.evaluation.dataset import Cohort
from tastevec.items.cold_start import load_rows
from tastevec.items.tag_directions import TagDirections, tag_blocks
from tastevec.schema import Split
from tastevec.serving.explain import explain_people
from tastevec.serving.explain import measured as measured_on
from tastevec.serving.recommender import Recommender, load

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.tasks import Task
    from tastevec.items.tag_directions import TagBlock

SAVED = ROOT / "results" / "explanations.json"
NAMED, FILMS = 5, 3  # tags a person, films a tag
DOSES, ONES, HOLDS = (-2, -1, 0, 1, 2), [1, 3], (0.0, 1.0)  # ONES are the places of -1 and +1
FIRST, STEERED, NEAREST = 50, 60, 10  # films of a list, tags steered by, other tags that are nearest
HORIZON = "overall"


@dataclass(frozen=True, eq=False)
class World:
    """N films, their T tags and the people who are asked.

    Attributes:
        recommender: The model.
        directions: As a training makes them, people compared with its training people.
        relevance: (N, T) standard deviations from the mean film; NaN where nothing is known.
        liked: (T,) the mean relevance of what training people liked, each person alike.
        task: The people who are asked, with likes of theirs that are hidden.
    """

    recommender: Recommender
    directions: TagDirections
    relevance: NDArray[np.float64]
    liked: NDArray[np.float64]
    task: Task

    @classmethod
    def read(cls, model: Path, data: Path, split: Split, people: int) -> World:
        """At most so many people of the split, those with the first ids."""
        recommender, prepared = load(model), Prepared.open(data)
        if recommender.bundle.facts["data"]["fingerprint"] != prepared.fingerprint:
            raise DataError(
                f"model {model.name} was not trained on {data.name}; expected its own prepared folder: name that one"
            )
        read = load_rows(data)
        if read is None:
            raise DataError(f"{data.name} does not say how films are read; run tastevec prepare again")
        blocks, cohort = tag_blocks(*read), Cohort.of(prepared, split)
        counts = recommender.bundle.items["train_users"].to_numpy()
        directions = TagDirections.fit(blocks, recommender.item_vectors, counts)
        directions = measured_on(recommender, directions, cohort.train)
        relevance = standardised(blocks, directions.names)
        likes = cohort.train.keep(cohort.train.ratings >= liked_from(cohort.rating_range))
        liked = np.nanmean(mean_of_each(relevance, likes.items, likes.offsets), axis=0)
        [task] = cohort.tasks("fold-in")
        return cls(recommender, directions, relevance, liked, next(task.chunks(people)))

    def read_people(self, histories: Histories) -> NDArray[np.float64]:
        """(B, T) their readings."""
        return self.directions.read(self.recommender.vectors(histories, HORIZON), HORIZON)


def standardised(blocks: tuple[TagBlock, ...], names: tuple[str, ...]) -> NDArray[np.float64]:
    """(N, T) relevance in standard deviations over the films of which anything is said; NaN for the others."""
    told = {}
    for block in blocks:
        dense = block.relevance.toarray()
        known = dense[block.known]
        scaled = (dense - known.mean(axis=0)) / known.std(axis=0)
        scaled[~block.known] = np.nan
        told |= dict(zip(block.names, scaled.T, strict=True))
    return np.stack([told[name] for name in names], axis=1)


def mean_of_each(
    relevance: NDArray[np.float64], items: NDArray[np.integer[Any]], offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(B, T) the mean relevance of each person's films; NaN where nothing is known of any."""
    there = np.isfinite(relevance)
    each = csr_matrix((np.ones(len(items)), items, offsets), shape=(len(offsets) - 1, len(relevance)))
    with np.errstate(invalid="ignore"):
        return np.asarray((each @ np.where(there, relevance, 0.0)) / (each @ there.astype(float)))


def deleted(world: World, seed: int) -> list[dict[str, Any]]:
    """How far a named tag's reading moves where three films are deleted: those named with it, or others of the person."""
    rng, people, ids = np.random.default_rng(seed), world.task.known, world.recommender.bundle.item_ids
    explained = explain_people(world.recommender, world.directions, people, HORIZON, tags=NAMED, films=FILMS)
    whole, tag_of = world.read_people(people), {name: tag for tag, name in enumerate(world.directions.names)}
    found = np.full((len(people), 3), np.nan)  # named, highest rated, random
    for person, readings in enumerate(explained):
        one = people.take(np.array([person]))
        rated = np.argsort(-np.nan_to_num(one.ratings, nan=-np.inf), kind="stable")
        named = [
            np.flatnonzero(np.isin(ids[one.items], [item for item, _ in told.causes])) for told in readings
        ]
        asked = [
            (tag_of[told.tag], rows, rated[: len(rows)], rng.permutation(len(rated))[: len(rows)])
            for told, rows in zip(readings, named, strict=True)
        ]
        if not asked:
            continue
        shortened = without(one, [rows for _, *ways in asked for rows in ways])
        left = world.read_people(shortened).reshape(len(asked), 3, -1)
        moved = [np.abs(whole[person, tag] - left[place, :, tag]) for place, (tag, *_) in enumerate(asked)]
        found[person] = np.mean(moved, axis=0)
    found = found[np.isfinite(found).all(axis=1)]
    return [
        {
            "deleted": name,
            **interval(found[:, way], seed),
            **{f"named_{key}": value for key, value in ratio(found[:, 0], found[:, way], seed).items()},
        }
        for way, name in enumerate(("named", "highest rated", "random"))
    ]


def without(one: Histories, deleted_rows: list[NDArray[np.int64]]) -> Histories:
    """One person, each time as if he had never told some of his films."""
    kept = np.ones((len(deleted_rows), len(one.items)), np.bool_)
    for copy, rows in zip(kept, deleted_rows, strict=True):
        copy[rows] = False
    left = one.take(np.zeros(len(kept), np.int64)).keep(kept.ravel())
    return replace(left, normalised=normalise_ratings(left.ratings, left.offsets))


def foretold(world: World, seed: int) -> list[dict[str, Any]]:
    """How relevant the tags named of a person are to the likes of his that were hidden, beside other tags."""
    readings = world.read_people(world.task.known)
    hidden = mean_of_each(world.relevance, world.task.targets, world.task.offsets)  # (B, T)
    beyond = hidden - world.liked
    popular = np.argsort(-world.liked, kind="stable")[:NAMED]
    tags = {
        "named, applies more": [best(world.directions, reading) for reading in readings],
        "named, applies less": [best(world.directions, -reading) for reading in readings],
        "most liked by all": [popular] * len(readings),
        "any": [np.arange(len(world.directions.names))] * len(readings),
    }
    found = {
        name: np.array(
            [
                [np.nanmean(hidden[person, chosen]), np.nanmean(beyond[person, chosen])]
                for person, chosen in enumerate(each)
            ]
        )
        for name, each in tags.items()
    }
    first, there = found["named, applies more"], np.isfinite(np.stack(list(found.values()))).all(axis=(0, 2))
    return [
        {
            "tags": name,
            "relevance": interval(values[there, 0], seed),
            "beyond_average": interval(values[there, 1], seed),
            "named_minus": interval((first - values)[there, 0], seed),
        }
        for name, values in found.items()
    ]


def best(directions: TagDirections, strengths: NDArray[np.float64]) -> NDArray[np.int64]:
    """The tags with the largest strength times confidence, as they are told of a person, of one sign."""
    weighed = strengths * directions.confidence
    order = [int(tag) for tag in np.argsort(-weighed, kind="stable") if weighed[tag] > 0]
    return np.array(directions.distinct(order, NAMED), np.int64)


def steered(world: World, hold: float, seed: int) -> dict[str, Any]:
    """What the first 50 films become where people are moved along a tag, the mean of tags of every confidence."""
    directions = world.directions
    order = np.argsort(-directions.confidence, kind="stable")
    tags = order[np.unique(np.linspace(0, len(order) - 1, STEERED).astype(int))]
    vectors = world.recommender.vectors(world.task.known, HORIZON)
    before = first_films(world, vectors)
    plain = relevance_of(world, before)  # (B, T)
    own, kept = np.empty((2, len(tags), len(DOSES), len(vectors)))
    beside = np.empty((2, len(tags), len(vectors)))  # all other tags; those nearest to the wanted one
    for place, tag in enumerate(tags):
        step = directions.steer(np.zeros_like(vectors[0]), {directions.names[tag]: 1.0}, hold=hold)
        lists = [first_films(world, vectors + np.float32(dose) * step) for dose in DOSES]
        found = np.stack([relevance_of(world, films) for films in lists])  # (doses, B, T)
        own[place], kept[place] = found[:, :, tag], [shared(films, before) for films in lists]
        change = np.abs(found[ONES] - plain).mean(axis=0)  # (B, T)
        others = [other for other in order.tolist() if len(directions.distinct([tag, other], 2)) > 1]
        beside[0, place] = change[:, others].mean(axis=1)
        beside[1, place] = change[:, nearest(directions, tag, others)].mean(axis=1)
    by_dose = own.mean(axis=0)  # (doses, B)
    return {
        "hold": hold,
        "tags": len(tags),
        "rising": float(np.mean(np.all(np.diff(own.mean(axis=2), axis=1) > 0, axis=1))),
        "doses": [
            {"dose": dose, **interval(values, seed)} for dose, values in zip(DOSES, by_dose, strict=True)
        ],
        "own_change": interval(np.abs(own[:, ONES] - plain.T[tags, None]).mean(axis=(0, 1)), seed),
        "others_change": interval(beside[0].mean(axis=0), seed),
        "nearest_change": interval(beside[1].mean(axis=0), seed),
        "kept": interval(kept[:, ONES].mean(axis=(0, 1)), seed),
    }


def nearest(directions: TagDirections, tag: int, others: list[int]) -> list[int]:
    """Of these other tags the ten whose directions are nearest to this one's, or to its opposite."""
    units = directions.directions / np.linalg.norm(directions.directions, axis=1, keepdims=True)
    return sorted(others, key=lambda other: -abs(float(units[other] @ units[tag])))[:NEAREST]


def first_films(world: World, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """(B, 50) the films that would be recommended first."""
    table = world.recommender.item_vectors
    scores = vectors @ table.T
    scores[:, ~table.any(axis=1)] = np.finfo(np.float32).min
    return np.asarray(rank_unseen(scores, world.task.known, FIRST))


def relevance_of(world: World, films: NDArray[np.int64]) -> NDArray[np.float64]:
    """(B, T) the mean relevance of each person's films."""
    return mean_of_each(world.relevance, films.ravel(), np.arange(len(films) + 1) * films.shape[1])


def shared(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """(B,) the share of films that stand in both lists."""
    return np.asarray((one[:, :, None] == other[:, None]).any(axis=2).mean(axis=1))


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    """Everything that is saved."""
    world = World.read(asked.model, asked.prepared, asked.split, asked.people)
    names, confidence = world.directions.names, world.directions.confidence
    return {
        "data": world.recommender.bundle.facts["data"]["name"],
        **provenance(),
        "split": asked.split,
        "people": len(world.task),
        "seed": asked.seed,
        "tags": {
            "count": len(confidence),
            "median_confidence": float(np.median(confidence)),
            "named": NAMED,
            "films": FILMS,
            "first": FIRST,
            "nearest": NEAREST,
            "popular": [names[tag] for tag in np.argsort(-world.liked, kind="stable")[:NAMED]],
        },
        "deletion": deleted(world, asked.seed),
        "foretold": foretold(world, asked.seed),
        "steering": [steered(world, hold, asked.seed) for hold in HOLDS],
        "reach": reached(world.recommender, world.directions, world.task.known, asked.seed),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a bundle")
    parser.add_argument("prepared", type=Path, help="what it was trained on")
    parser.add_argument("--split", choices=get_args(Split), default="test", help="who is asked")
    parser.add_argument("--people", type=int, default=300, help="at most")
    parser.add_argument("--seed", type=int, default=42, help="of the random films and the intervals")
    parser.add_argument("--out", type=Path, default=SAVED, help="another file than this is not shown")
    asked = parser.parse_args()
    results = measured(asked)
    save(asked.out, results)
    if asked.out == SAVED:
        put("explanations", rendered_explanations(results))
    print(rendered_explanations(results))


if __name__ == "__main__":
    main()

"""Faithfulness of tag explanations: deleting the named items, relevance of the named tags to held-out items, and steering.

Dimensions: B users, N items, T tags.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np
from experiment import interval, ratio, small_world
from scipy.sparse import csr_matrix

from tastevec.data.prepared import Prepared
from tastevec.data.topk import rank_items
from tastevec.evaluation.dataset import EvalDataset
from tastevec.items.cold_start import load_item_features
from tastevec.items.tag_directions import TagBlock, TagDirections, tag_blocks
from tastevec.schema import Horizon
from tastevec.serving.explain import explain_users, with_user_reference
from tastevec.serving.recommender import Recommender, load

if TYPE_CHECKING:
    from pathlib import Path

    from measure import Run
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.tasks import Task

NAMED, ITEMS = 5, 3  # tags per user, items per tag
AMOUNTS, ONES, HOLDS = (-2, -1, 0, 1, 2), [1, 3], (0.0, 1.0)  # ONES are the indices of -1 and +1
FIRST, STEERED, NEAREST = 50, 60, 10  # items of a list, tags that are steered, most similar other tags
REACH_AMOUNTS, REACH_LENGTHS = (-4, -2, -1, 1, 2, 4), (5, 20, 100)  # the page's sliders end at 4
REACH_FIRST, REACH_TAGS, REACH_USERS = 12, 20, 100
HORIZON: Final = "overall"
FULL, SMALL = 300, 20  # users


@dataclass(frozen=True, eq=False)
class World:
    """What explanations are compared with.

    Attributes:
        directions: The tag directions, with the strengths of training users as the scale.
        relevance: (N, T) standard deviations from the mean item; NaN where nothing is known.
        positive: (T,) the mean relevance of the training users' positives, every user with the same weight.
        task: The users, with held-out positives.
    """

    recommender: Recommender
    directions: TagDirections
    relevance: NDArray[np.float64]
    positive: NDArray[np.float64]
    task: Task

    @classmethod
    def read(cls, model: Path, data: Path, users: int) -> World:
        """Read a model and at most so many test users of its prepared dataset."""
        recommender, prepared, rows = load(model), Prepared.open(data), load_item_features(data)
        blocks, dataset = tag_blocks(*rows), EvalDataset.of(prepared, "test")
        counts = recommender.bundle.items["train_users"].to_numpy()
        directions = TagDirections.fit(blocks, recommender.item_directions, counts)
        directions = with_user_reference(directions, recommender.vectors, dataset.train)
        relevance = _standardized(blocks, directions.names)
        positives = dataset.train.keep(dataset.scale.positive(dataset.train.ratings))
        positive = np.nanmean(_user_means(relevance, positives.items, positives.offsets), axis=0)
        task = dataset.task("random-20pct")
        return cls(recommender, directions, relevance, positive, next(task.chunks(users)))

    def strengths(self, histories: Histories) -> NDArray[np.float64]:
        """Return the tag strengths of users, (B, T)."""
        return self.directions.strengths(self.recommender.vectors(histories, HORIZON), HORIZON)

    def ranked(self, vectors: NDArray[np.float32], known: Histories, first: int) -> NDArray[np.int64]:
        """Return the first recommended items, (B, first)."""
        table = self.recommender.item_vectors
        scores = vectors @ table.T
        scores[:, ~table.any(axis=1)] = np.finfo(np.float32).min
        return np.asarray(rank_items(scores, known, first))

    def spread_tags(self, count: int) -> NDArray[np.int64]:
        """Return tags of every reliability, the most reliable first."""
        order = np.argsort(-self.directions.reliability, kind="stable")
        return order[np.unique(np.linspace(0, len(order) - 1, count).astype(int))]


def measured(run: Run) -> dict[str, Any]:
    """Return the results of all three questions."""
    data, model = small_world(run)
    world = World.read(model, data, FULL if run.full else SMALL)
    names, reliability = world.directions.names, world.directions.reliability
    return {
        "data": world.recommender.bundle.facts["data"]["name"],
        "split": "test",
        "people": len(world.task),
        "seed": run.seed,
        "tags": {
            "count": len(reliability),
            "median_reliability": float(np.median(reliability)),
            "named": NAMED,
            "films": ITEMS,
            "first": FIRST,
            "nearest": NEAREST,
            "popular": [names[tag] for tag in np.argsort(-world.positive, kind="stable")[:NAMED]],
        },
        "deletion": _deleted(world, run.seed),
        "foretold": _predicted(world, run.seed),
        "steering": [steered(world, hold, run.seed) for hold in HOLDS],
        "reach": _reach(world, run.seed),
    }


def _standardized(blocks: tuple[TagBlock, ...], names: tuple[str, ...]) -> NDArray[np.float64]:
    """Return relevance in standard deviations over the items with any evidence, (N, T); NaN for the others."""
    columns: dict[str, NDArray[np.float64]] = {}
    for block in blocks:
        dense = block.relevance.toarray()
        known = dense[block.known]
        scaled = (dense - known.mean(axis=0)) / known.std(axis=0)
        scaled[~block.known] = np.nan
        columns |= dict(zip(block.names, scaled.T, strict=True))
    return np.stack([columns[name] for name in names], axis=1)


def _user_means(
    relevance: NDArray[np.float64], items: NDArray[np.integer[Any]], offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean relevance of each user's items, (B, T); NaN where none is known."""
    there = np.isfinite(relevance)
    each = csr_matrix((np.ones(len(items)), items, offsets), shape=(len(offsets) - 1, len(relevance)))
    with np.errstate(invalid="ignore"):
        return np.asarray((each @ np.where(there, relevance, 0.0)) / (each @ there.astype(float)))


# ---- deletion ----


def _deleted(world: World, seed: int) -> list[dict[str, Any]]:
    """Return how far a named tag's strength moves without three items: the named ones, the highest rated or random ones."""
    rng, users = np.random.default_rng(seed), world.task.inputs
    explained = explain_users(
        world.recommender.attribution(HORIZON),
        world.directions,
        users,
        world.recommender.vectors(users, HORIZON),
        tags=NAMED,
        contributions=ITEMS,
    )
    strengths = world.strengths(users)
    found = [
        _moved(world, users.take(np.array([user])), strengths[user], tags, rng)
        for user, tags in enumerate(explained)
    ]
    moved = np.array([row for row in found if row is not None])
    return [
        {"deleted": name, **interval(moved[:, way], seed)}
        | {f"named_{key}": value for key, value in ratio(moved[:, 0], moved[:, way], seed).items()}
        for way, name in enumerate(("named", "highest rated", "random"))
    ]


def _moved(
    world: World,
    user: Histories,
    strengths: NDArray[np.float64],
    tags: Any,  # noqa: ANN401  the package's readings
    rng: np.random.Generator,
) -> NDArray[np.float64] | None:
    """Return the mean change of one user's named tags for each way of deleting items, (3,)."""
    indices = {name: tag for tag, name in enumerate(world.directions.names)}
    ids = world.recommender.bundle.item_ids[user.items]
    rated = np.argsort(-np.nan_to_num(user.ratings, nan=-np.inf), kind="stable")
    ways = []
    for tag in tags:
        named = np.flatnonzero(np.isin(ids, [item for item, _ in tag.contributions]))
        ways += [named, rated[: len(named)], rng.permutation(len(rated))[: len(named)]]
    if not ways:
        return None
    left = world.strengths(_without(user, ways)).reshape(len(tags), 3, -1)
    moved = [
        np.abs(strengths[indices[tag.tag]] - left[row, :, indices[tag.tag]]) for row, tag in enumerate(tags)
    ]
    mean = np.mean(moved, axis=0)
    return mean if np.isfinite(mean).all() else None


def _without(user: Histories, deleted: list[NDArray[np.int64]]) -> Histories:
    """Return one user several times, each time without some interactions."""
    kept = np.ones((len(deleted), len(user.items)), np.bool_)
    for copy, rows in zip(kept, deleted, strict=True):
        copy[rows] = False
    return user.take(np.zeros(len(kept), np.int64)).keep_alone(kept.ravel())


# ---- prediction ----


def _predicted(world: World, seed: int) -> list[dict[str, Any]]:
    """Return how relevant a user's named tags are to their held-out positives, against other tags."""
    strengths = world.strengths(world.task.inputs)
    relevance = _user_means(world.relevance, world.task.targets, world.task.offsets)  # (B, T)
    popular = np.argsort(-world.positive, kind="stable")[:NAMED]
    tags = {
        "named, applies more": [_named(world.directions, row) for row in strengths],
        "named, applies less": [_named(world.directions, -row) for row in strengths],
        "most liked by all": [popular] * len(strengths),
        "any": [np.arange(len(world.directions.names))] * len(strengths),
    }
    found = {
        name: np.array(
            [
                [np.nanmean(relevance[user, chosen]), np.nanmean((relevance - world.positive)[user, chosen])]
                for user, chosen in enumerate(each)
            ]
        )
        for name, each in tags.items()
    }
    first = found["named, applies more"]
    there = np.isfinite(np.stack(list(found.values()))).all(axis=(0, 2))
    return [
        {
            "tags": name,
            "relevance": interval(values[there, 0], seed),
            "beyond_average": interval(values[there, 1], seed),
            "named_minus": interval((first - values)[there, 0], seed),
        }
        for name, values in found.items()
    ]


def _named(directions: TagDirections, strengths: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the tags with the largest strength times reliability, as an explanation names them."""
    weighted = strengths * directions.reliability
    order = [int(tag) for tag in np.argsort(-weighted, kind="stable") if weighted[tag] > 0]
    return np.array(directions.distinct(order, NAMED), np.int64)


# ---- steering ----


def steered(world: World, hold: float, seed: int) -> dict[str, Any]:
    """Return what the first 50 items become when users are steered by one tag, the mean of tags of every reliability."""
    directions, known = world.directions, world.task.inputs
    tags, vectors = world.spread_tags(STEERED), world.recommender.vectors(known, HORIZON)
    before = world.ranked(vectors, known, FIRST)
    plain = _relevance(world, before)  # (B, T)
    own, kept = np.empty((2, len(tags), len(AMOUNTS), len(vectors)))
    others, nearest = np.empty((2, len(tags), len(vectors)))
    for row, tag in enumerate(tags):
        step = directions.steer(np.zeros_like(vectors[0]), {directions.names[tag]: 1.0}, hold=hold)
        lists = [world.ranked(vectors + np.float32(amount) * step, known, FIRST) for amount in AMOUNTS]
        found = np.stack([_relevance(world, items) for items in lists])  # (amounts, B, T)
        own[row], kept[row] = found[:, :, tag], [_shared(items, before) for items in lists]
        change = np.abs(found[ONES] - plain).mean(axis=0)  # (B, T)
        apart = [
            other for other in range(len(directions.names)) if len(directions.distinct([tag, other], 2)) > 1
        ]
        others[row] = change[:, apart].mean(axis=1)
        nearest[row] = change[:, _nearest(directions, tag, apart)].mean(axis=1)
    return {
        "hold": hold,
        "tags": len(tags),
        "rising": float(np.mean(np.all(np.diff(own.mean(axis=2), axis=1) > 0, axis=1))),
        "doses": [
            {"dose": amount, **interval(values, seed)}
            for amount, values in zip(AMOUNTS, own.mean(axis=0), strict=True)
        ],
        "own_change": interval(np.abs(own[:, ONES] - plain.T[tags, None]).mean(axis=(0, 1)), seed),
        "others_change": interval(others.mean(axis=0), seed),
        "nearest_change": interval(nearest.mean(axis=0), seed),
        "kept": interval(kept[:, ONES].mean(axis=(0, 1)), seed),
    }


def _nearest(directions: TagDirections, tag: int, others: list[int]) -> list[int]:
    """Return the tags whose directions are most similar to this one's, or to its opposite."""
    units = directions.directions / np.linalg.norm(directions.directions, axis=1, keepdims=True)
    return sorted(others, key=lambda other: -abs(float(units[other] @ units[tag])))[:NEAREST]


def _relevance(world: World, items: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean relevance of each user's list, (B, T)."""
    return _user_means(world.relevance, items.ravel(), np.arange(len(items) + 1) * items.shape[1])


def _shared(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of items that are in both lists, (B,)."""
    return np.asarray((one[:, :, None] == other[:, None]).any(axis=2).mean(axis=1))


def _reach(world: World, seed: int) -> list[dict[str, Any]]:
    """Return how many of the first 12 items are new at each amount, by horizon and length of the input."""
    directions, users = world.directions, world.task.inputs
    users = users.take(np.arange(min(REACH_USERS, len(users))))
    still, found = np.zeros(directions.directions.shape[1], np.float32), []
    for horizon in get_args(Horizon):
        steps = [
            directions.steer(still, {directions.names[tag]: 1.0}, horizon=horizon)
            for tag in world.spread_tags(REACH_TAGS)
        ]
        for length in REACH_LENGTHS:
            known = users.last(length).normalized()
            vectors = world.recommender.vectors(known, horizon)
            before, rows = world.ranked(vectors, known, REACH_FIRST), []
            for amount in REACH_AMOUNTS:
                moved = [
                    world.ranked(vectors + np.float32(amount) * step, known, REACH_FIRST) for step in steps
                ]
                new = [REACH_FIRST * (1 - _shared(items, before)) for items in moved]
                rows.append({"dose": amount, **interval(np.mean(new, axis=0), seed)})
            found.append({"horizon": horizon, "films": length, "first": REACH_FIRST, "doses": rows})
    return found

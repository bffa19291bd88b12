"""The baseline registry: each baseline with its published settings and its tuning space."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args

import numpy as np

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.inputs import positive_from
from tastevec.evaluation.baselines import (
    ALS,
    EASE,
    Constant,
    ItemKNN,
    LastOnly,
    MeanPositive,
    PerHorizon,
    Popularity,
    RecentPopularity,
    WeightedMean,
)
from tastevec.evaluation.scorers import Runs, VectorScorer
from tastevec.items.als import AlsSettings
from tastevec.schema import Horizon

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tastevec.data.histories import Histories
    from tastevec.evaluation.scorers import Scorer

__all__ = [
    "NEWEST",
    "BaselineSpec",
    "Between",
    "Choices",
    "HistorySubset",
    "OneOf",
    "Question",
    "baselines",
    "build_baselines",
    "published",
    "trivial_baselines",
    "vector_baselines",
]

NEWEST: Final = 20  # films that a system sees which sees the newest only


@dataclass(frozen=True)
class Between:
    """A number from ``low`` to ``high`` may be tried, both included; of ``log`` ones, each order of magnitude alike."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class OneOf:
    """Each of these may be tried."""

    options: tuple[float, ...]


@dataclass(frozen=True)
class Question:
    """What one system of the tables is asked, and has its settings for.

    Attributes:
        system: What the tables call it.
        horizon: What it is asked.
        newest: It sees so many of the newest films; all where None.
    """

    system: str
    horizon: Horizon
    newest: int | None = None


@dataclass(frozen=True, eq=False)
class BaselineSpec:
    """How a baseline is made.

    Attributes:
        name: What the tables call it.
        make: Of its settings and a seed.
        published: The settings of its paper or its code, or those found best elsewhere.
        space: What may be tried in place of each; empty where there is nothing to tune.
        seeded: Whether chance has a part in it.
        newest: For each of these it stands in the tables once more, seeing so many of the newest films, for what comes next.
    """

    name: str
    make: Callable[[Mapping[str, Any], int], Scorer]
    published: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Between | OneOf] = field(default_factory=dict)
    seeded: bool = False
    newest: tuple[int, ...] = ()

    def questions(self, horizons: Sequence[Horizon]) -> list[Question]:
        """What its systems are asked of these horizons."""
        asked = [Question(self.name, horizon) for horizon in horizons]
        if "next" in horizons:
            asked += [Question(f"{self.name}, last {count} only", "next", count) for count in self.newest]
        return asked


@dataclass(frozen=True)
class HistorySubset:
    """The settings of one system for one question, and how they were found; None where they are the published ones."""

    settings: Mapping[str, Any]
    tuning: Mapping[str, Any] | None = None


Choices: TypeAlias = dict[Question, HistorySubset]


def published(specs: Sequence[BaselineSpec], horizons: Sequence[Horizon]) -> Choices:
    """Nothing tuned."""
    return {
        question: HistorySubset(spec.published) for spec in specs for question in spec.questions(horizons)
    }


def build_baselines(specs: Sequence[BaselineSpec], choices: Choices, seeds: Sequence[int]) -> list[Runs]:
    """The systems of the tables, each with the settings chosen for each question that it is asked.

    Systems and questions of the same settings and seed share one scorer, so that it is fitted once.

    Args:
        specs: In the order of the tables.
        choices: For every question of these recipes.
        seeds: One run each of what chance has a part in; the first, of all else.
    """
    made: dict[str, Scorer] = {}

    def scorer(spec: BaselineSpec, question: Question, seed: int) -> Scorer:
        settings = choices[question].settings
        key = json.dumps([spec.name, settings, seed], sort_keys=True)
        if key not in made:
            made[key] = spec.make(settings, seed)
        return made[key]

    systems = []
    for spec in specs:
        rows: dict[str, list[Question]] = {}
        for question in spec.questions(get_args(Horizon)):
            if question in choices:
                rows.setdefault(question.system, []).append(question)
        of_seeds = seeds if spec.seeded else seeds[:1]
        for name, questions in rows.items():
            runs = [
                _one(name, {question: scorer(spec, question, seed) for question in questions})
                for seed in of_seeds
            ]
            record: dict[str, Any] = {"seeds": list(of_seeds)} if spec.seeded else {}
            record |= {question.horizon: asdict(choices[question]) for question in questions}
            systems.append(Runs(name, runs, record))
    return systems


def _one(name: str, scorers: Mapping[Question, Scorer]) -> Scorer:
    """One run of a system, out of the scorer of each question."""
    [first, *others] = scorers
    if first.newest:
        return LastOnly(scorers[first], first.newest)
    if all(scorers[other] is scorers[first] for other in others):
        return scorers[first]
    by_horizon = {question.horizon: scorer for question, scorer in scorers.items()}
    return PerHorizon(name, overall=by_horizon["overall"], next=by_horizon["next"])


_RIDGE: Final = Between(10, 5000, log=True)
_ALS: Final[dict[str, Between | OneOf]] = {
    "positive": Between(1, 50, log=True),
    "regularization": Between(0.1, 100, log=True),
    "dim": OneOf((64, 128, 256)),
}


def trivial_baselines(train: Histories, *, rating_range: tuple[float, float]) -> list[BaselineSpec]:
    """Popularity, and recent popularity where the training people's ratings have times."""
    threshold = positive_from(rating_range)
    lineup = [BaselineSpec("popularity", lambda _settings, _seed: Popularity(positive_from=threshold))]
    if np.any(train.timestamps != NO_TIMESTAMP):
        recent = BaselineSpec(
            RecentPopularity.name,
            lambda settings, _seed: RecentPopularity(positive_from=threshold, **settings),
            published={"days": 30},
            space={"days": OneOf((7, 30, 90, 365))},
        )
        lineup.append(recent)
    return lineup


def vector_baselines(model: Runs, *, rating_range: tuple[float, float]) -> list[Runs]:
    """The constant, the mean of liked and the rating-weighted mean in the space of each run of a model.

    Args:
        model: Its runs, each with film vectors; what has none, has no such floors.
        rating_range: The lowest and highest possible rating.
    """
    runs = [scorer for scorer in model.scorers if isinstance(scorer, VectorScorer)]
    if not runs:
        return []
    threshold = positive_from(rating_range)
    trivial_baselines = {
        "constant": Constant,
        "mean of liked": MeanPositive,
        "rating-weighted mean": WeightedMean,
    }
    return [
        Runs(
            f"{name} ({model.name})",
            [floor(run.item_vectors, space=run.space, positive_from=threshold) for run in runs],
        )
        for name, floor in trivial_baselines.items()
    ]


def baselines(*, rating_range: tuple[float, float]) -> list[BaselineSpec]:
    """Item neighbours, three EASE and two iALS, each whole and on the last 20 films only.

    EASE of any rating takes what was watched, liked or not: the strongest floor of *what comes next*, and stronger yet on
    the last 5 films, as it stands a third time; that of likes and
    middle lets films of the middle ratings count less, the strongest of *taste as a set*. iALS of likes is
    the published baseline (64 factors, confidence 10, regularization 5); the other is the stronger one that a model may
    start from, and must then be seen to beat: its ``middle`` is how far the confidence in films of the middle ratings
    lies on the way from that in unwatched ones (0) to that in liked ones (1).
    """
    positive = positive_from(rating_range)
    return [
        BaselineSpec(
            ItemKNN.name,
            lambda settings, _seed: ItemKNN(positive_from=positive, **settings),
            published={"neighbors": 50, "shrink": 100.0},
            space={
                "neighbors": Between(20, 1000, log=True, whole=True),
                "shrink": OneOf((0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)),
            },
            newest=(NEWEST,),
        ),
        *_eases(rating_range),
        BaselineSpec(
            "iALS, likes",
            lambda settings, seed: ALS(_als(settings, rating_range, seed), positives_only=True),
            published={"positive": 10.0, "regularization": 5.0, "dim": 64},
            space=_ALS,
            seeded=True,
            newest=(NEWEST,),
        ),
        BaselineSpec(
            "iALS, likes and middle",
            lambda settings, seed: ALS(_als(settings, rating_range, seed), positives_only=False),
            published={"positive": 5.0, "middle": 0.25, "regularization": 20.0, "dim": 64},
            space={**_ALS, "middle": Between(0, 1)},
            seeded=True,
            newest=(NEWEST,),
        ),
    ]


def _eases(rating_range: tuple[float, float]) -> list[BaselineSpec]:
    """EASE of likes, of any rating, and of likes and middle."""
    positive, anything = positive_from(rating_range), rating_range[0]
    return [
        BaselineSpec(
            "EASE",
            lambda settings, _seed: EASE(positive_from=positive, **settings),
            published={"ridge": 400.0},
            space={"ridge": _RIDGE},
            newest=(NEWEST,),
        ),
        BaselineSpec(
            "EASE, any rating",
            lambda settings, _seed: EASE(positive_from=anything, name="EASE, any rating", **settings),
            published={"ridge": 400.0},
            space={"ridge": _RIDGE},
            newest=(NEWEST, 5),
        ),
        BaselineSpec(
            "EASE, likes and middle",
            lambda settings, _seed: EASE(
                positive_from=positive,
                name="EASE, likes and middle",
                ridge=settings["ridge"],
                middle=(settings["middle"], rating_range),
            ),
            published={"ridge": 400.0, "middle": 0.5},
            space={"ridge": _RIDGE, "middle": Between(0, 1)},
            newest=(NEWEST,),
        ),
    ]


def _als(settings: Mapping[str, Any], rating_range: tuple[float, float], seed: int) -> AlsSettings:
    others = dict(settings)
    positive, middle = others["positive"], others.pop("middle", 0.0)
    neutral = min(positive, 1 + middle * (positive - 1))
    return AlsSettings(rating_range, neutral=neutral, seed=seed, **others)

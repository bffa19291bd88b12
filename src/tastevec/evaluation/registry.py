"""The baseline registry: each baseline with its published settings and its tuning space."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args

import numpy as np

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.evaluation.baselines import (
    ALS,
    EASE,
    GlobalMeanVector,
    ItemKNN,
    LaggedRegression,
    LastItems,
    MeanPositive,
    PerHorizon,
    Popularity,
    RecentPopularity,
    WeightedMean,
    last_items_name,
)
from tastevec.evaluation.scorers import Runs, VectorScorer
from tastevec.items.als import AlsSettings
from tastevec.schema import Horizon

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tastevec.data.histories import Histories
    from tastevec.data.value_scale import ValueScale
    from tastevec.evaluation.scorers import Scorer

_MEANS: Final = (GlobalMeanVector, MeanPositive, WeightedMean)
_TRIVIAL: Final = (Popularity.name, RecentPopularity.name, *(kind.kind for kind in _MEANS))
LAST_N: Final = 20  # items of each history in the variants that read the latest items only


@dataclass(frozen=True)
class Range:
    """Values from ``low`` to ``high``, both included; ``log``: each order of magnitude is equally likely."""

    low: float
    high: float
    log: bool = False
    integer: bool = False


@dataclass(frozen=True)
class Variant:
    """One system at one horizon, with settings of its own; it reads the latest ``last_n`` items, all where None."""

    system: str
    horizon: Horizon
    last_n: int | None = None


@dataclass(frozen=True, eq=False)
class BaselineSpec:
    """How to build a baseline.

    Attributes:
        make: Builds the scorer from its settings and a random seed.
        published: The settings of its paper or code, or the best ones of other work.
        space: The range or the options of each setting in tuning; empty where there is nothing to tune.
        seeded: Whether its result depends on the random seed.
        last_n: For each of these there is a further system that reads so many latest items, at horizon ``next``.
        horizons: Those that it can answer: what reads the order alone, ``next``.
    """

    name: str
    make: Callable[[Mapping[str, Any], int], Scorer]
    published: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Range | tuple[float, ...]] = field(default_factory=dict)
    seeded: bool = False
    last_n: tuple[int, ...] = ()
    horizons: tuple[Horizon, ...] = ("overall", "next")

    def variants(self, horizons: Sequence[Horizon]) -> list[Variant]:
        """Return the variants at these horizons."""
        found = [Variant(self.name, horizon) for horizon in horizons if horizon in self.horizons]
        if "next" in horizons:
            found += [Variant(last_items_name(self.name, count), "next", count) for count in self.last_n]
        return found


@dataclass(frozen=True)
class VariantSettings:
    """The settings of a variant, and their tuning record; None where they are the published ones."""

    settings: Mapping[str, Any]
    tuning: Mapping[str, Any] | None = None


BaselineSettings: TypeAlias = dict[Variant, VariantSettings]


def published_settings(specs: Sequence[BaselineSpec], horizons: Sequence[Horizon]) -> BaselineSettings:
    """Return the published settings of every variant."""
    return {variant: VariantSettings(spec.published) for spec in specs for variant in spec.variants(horizons)}


def build_baselines(
    specs: Sequence[BaselineSpec], chosen: BaselineSettings, seeds: Sequence[int]
) -> list[Runs]:
    """Return the systems in the order of the specs, each with the settings of its variants.

    Variants with equal settings and seed share one scorer, so that it is fitted once. Seeded baselines have one run for
    each seed, all others one for the first seed.
    """
    made: dict[str, Scorer] = {}

    def scorer(spec: BaselineSpec, variant: Variant, seed: int) -> Scorer:
        settings = chosen[variant].settings
        key = json.dumps([spec.name, settings, seed], sort_keys=True)
        if key not in made:
            made[key] = spec.make(settings, seed)
        return made[key]

    systems = []
    for spec in specs:
        rows: dict[str, list[Variant]] = {}
        for variant in spec.variants(get_args(Horizon)):
            if variant in chosen:
                rows.setdefault(variant.system, []).append(variant)
        own_seeds = seeds if spec.seeded else seeds[:1]
        for name, variants in rows.items():
            runs = [
                _one_run(name, {variant: scorer(spec, variant, seed) for variant in variants})
                for seed in own_seeds
            ]
            record: dict[str, Any] = {"seeds": list(own_seeds)} if spec.seeded else {}
            record |= {variant.horizon: asdict(chosen[variant]) for variant in variants}
            systems.append(Runs(name, runs, record))
    return systems


def _one_run(name: str, scorers: Mapping[Variant, Scorer]) -> Scorer:
    """Return one run of a system from the scorer of each variant."""
    [first, *others] = scorers
    if first.last_n:
        return LastItems(scorers[first], first.last_n)
    if all(scorers[other] is scorers[first] for other in others):
        return scorers[first]
    by_horizon = {variant.horizon: scorer for variant, scorer in scorers.items()}
    return PerHorizon(name, overall=by_horizon["overall"], next=by_horizon["next"])


_MIDDLE: Final = Range(0, 1)
_ALS: Final[dict[str, Range | tuple[float, ...]]] = {
    "positive": Range(1, 50, log=True),
    "regularization": Range(0.1, 100, log=True),
    "dim": (64, 128, 256),
}


def trivial_baselines(train: Histories, *, scale: ValueScale) -> list[BaselineSpec]:
    """Return popularity, and recent popularity where the training data have timestamps."""
    threshold = scale.positive_from
    specs = [BaselineSpec("popularity", lambda _settings, _seed: Popularity(positive_from=threshold))]
    if np.any(train.timestamps != NO_TIMESTAMP):
        recent = BaselineSpec(
            RecentPopularity.name,
            lambda settings, _seed: RecentPopularity(positive_from=threshold, **settings),
            published={"days": 30},
            space={"days": (7, 30, 90, 365)},
        )
        specs.append(recent)
    return specs


def is_trivial(baseline: str) -> bool:
    """Return whether the baseline of this name is trivial; all others are strong.

    Examples:
        >>> is_trivial("popularity"), is_trivial("mean of positives (model)"), is_trivial("EASE (positives)")
        (True, True, False)
    """
    return baseline.partition(" (")[0] in _TRIVIAL


def vector_baselines(model: Runs, *, scale: ValueScale) -> list[Runs]:
    """Return global mean vector, mean of positives and rating-weighted mean in the space of each run of a model.

    A model without item vectors has no such baselines.
    """
    runs = [scorer for scorer in model.scorers if isinstance(scorer, VectorScorer)]
    if not runs:
        return []
    threshold = scale.positive_from
    return [
        Runs(
            f"{kind.kind} ({model.name})",
            [kind(run.item_vectors, space=run.space, positive_from=threshold) for run in runs],
        )
        for kind in _MEANS
    ]


_NEIGHBORS: Final[dict[str, Range | tuple[float, ...]]] = {
    "neighbors": Range(20, 1000, log=True, integer=True),
    "shrink": (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
}
_DECAY: Final = Range(0.2, 2.0)


def strong_baselines(*, scale: ValueScale) -> list[BaselineSpec]:
    """Return item-kNN, three EASE, lagged item regression and two iALS, most also on the last 20 items.

    The lagged item regression is the strongest closed form of ``next-item`` and ``last-20pct`` where the order says
    something. EASE (all ratings) reads every rating, positive or not, and is stronger on the last 5 items, a system of its
    own. EASE (graded), where mid-scale ratings weigh less, is the strongest of ``random-20pct`` and ``top-rated``. iALS
    (positives) is the published baseline (64 factors, confidence 10, regularization 5); iALS (graded) is stronger. Its
    ``middle`` places the confidence of mid-scale ratings between that of unrated items (0) and that of positives (1).
    Without ratings every interaction is positive, so that one EASE and one iALS remain.
    """
    positive = scale.positive_from
    last = (LAST_N, 5) if scale.kind == "implicit" else (LAST_N,)
    specs = [
        BaselineSpec(
            "item-kNN",
            lambda settings, _seed: ItemKNN(positive_from=positive, **settings),
            published={"neighbors": 50, "shrink": 100.0},
            space=_NEIGHBORS,
            last_n=(LAST_N,),
        ),
        BaselineSpec(
            "lagged item-kNN",
            lambda settings, _seed: ItemKNN(positive_from=positive, **settings),
            published={"neighbors": 50, "shrink": 100.0, "decay": 0.8},
            space={**_NEIGHBORS, "decay": _DECAY},
            horizons=("next",),
        ),
        _ease("EASE (positives)", scale, {}, positive=positive, last_n=last),
        _ease("EASE (all ratings)", scale, {}, positive=-np.inf, last_n=(LAST_N, 5)),
        _ease("EASE (graded)", scale, {"middle": 0.5}, positive=positive),
        BaselineSpec(
            LaggedRegression.name,
            lambda settings, _seed: LaggedRegression(positive_from=positive, **settings),
            published={"ridge": 3.0, "decay": 0.8, "lead": 0.5, "others": 0.3, "user_power": 0.5},
            space={
                "ridge": Range(0.3, 1000, log=True),
                "decay": _DECAY,
                "lead": Range(0.2, 0.9),
                "others": _MIDDLE,
                "user_power": _MIDDLE,
            },
            horizons=("next",),
        ),
        _als("iALS (positives)", scale, {"positive": 10.0, "regularization": 5.0, "dim": 64}),
        _als(
            "iALS (graded)",
            scale,
            {"positive": 5.0, "middle": 0.25, "regularization": 20.0, "dim": 64},
        ),
    ]
    graded = {"EASE (all ratings)", "EASE (graded)", "iALS (graded)"}
    return [spec for spec in specs if scale.kind != "implicit" or spec.name not in graded]


def _ease(
    name: str,
    scale: ValueScale,
    published: Mapping[str, float],
    *,
    positive: float,
    last_n: tuple[int, ...] = (LAST_N,),
) -> BaselineSpec:
    """Return EASE at the published ridge; graded where ``published`` has a weight of mid-scale ratings."""

    def make(settings: Mapping[str, Any], _seed: int) -> EASE:
        middle = (settings["middle"], scale) if "middle" in settings else None
        return EASE(positive_from=positive, ridge=settings["ridge"], name=name, middle=middle)

    space = {"ridge": Range(10, 5000, log=True), "middle": _MIDDLE}
    published = {"ridge": 400.0, **published}
    return BaselineSpec(name, make, published, {key: space[key] for key in published}, last_n=last_n)


def _als(name: str, scale: ValueScale, published: Mapping[str, float]) -> BaselineSpec:
    """Return iALS; graded where ``published`` has a weight of mid-scale ratings, otherwise of positives only."""

    def make(settings: Mapping[str, Any], seed: int) -> ALS:
        others = dict(settings)
        positive, middle = others["positive"], others.pop("middle", 0.0)
        neutral = min(positive, 1 + middle * (positive - 1))
        als_settings = AlsSettings(scale, neutral=neutral, seed=seed, **others)
        return ALS(als_settings, positives_only="middle" not in settings)

    space = {**_ALS, "middle": _MIDDLE} if "middle" in published else _ALS
    return BaselineSpec(name, make, published, space, seeded=True, last_n=(LAST_N,))

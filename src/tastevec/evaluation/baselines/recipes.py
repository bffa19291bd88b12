"""Recipes: how a baseline is made out of settings, the published ones or such as were tuned."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args

from tastevec.evaluation.baselines.last_only import LastOnly
from tastevec.evaluation.baselines.per_horizon import PerHorizon
from tastevec.evaluation.scorers import Runs
from tastevec.schema import Horizon

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tastevec.evaluation.scorers import Scorer

__all__ = ["NEWEST", "Between", "Choices", "Chosen", "OneOf", "Question", "Recipe", "line_up", "published"]

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
class Recipe:
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
class Chosen:
    """The settings of one system for one question, and how they were found; None where they are the published ones."""

    settings: Mapping[str, Any]
    tuning: Mapping[str, Any] | None = None


Choices: TypeAlias = dict[Question, Chosen]


def published(recipes: Sequence[Recipe], horizons: Sequence[Horizon]) -> Choices:
    """Nothing tuned."""
    return {
        question: Chosen(recipe.published) for recipe in recipes for question in recipe.questions(horizons)
    }


def line_up(recipes: Sequence[Recipe], choices: Choices, seeds: Sequence[int]) -> list[Runs]:
    """The systems of the tables, each with the settings chosen for each question that it is asked.

    Systems and questions of the same settings and seed share one scorer, so that it is fitted once.

    Args:
        recipes: In the order of the tables.
        choices: For every question of these recipes.
        seeds: One run each of what chance has a part in; the first, of all else.
    """
    made: dict[str, Scorer] = {}

    def scorer(recipe: Recipe, question: Question, seed: int) -> Scorer:
        settings = choices[question].settings
        key = json.dumps([recipe.name, settings, seed], sort_keys=True)
        if key not in made:
            made[key] = recipe.make(settings, seed)
        return made[key]

    systems = []
    for recipe in recipes:
        rows: dict[str, list[Question]] = {}
        for question in recipe.questions(get_args(Horizon)):
            if question in choices:
                rows.setdefault(question.system, []).append(question)
        of_seeds = seeds if recipe.seeded else seeds[:1]
        for name, questions in rows.items():
            runs = [
                _one(name, {question: scorer(recipe, question, seed) for question in questions})
                for seed in of_seeds
            ]
            record: dict[str, Any] = {"seeds": list(of_seeds)} if recipe.seeded else {}
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

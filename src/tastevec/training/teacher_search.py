"""The choice of the teacher's few constants on validation users: coordinate search over closed-form solutions."""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, TypeVar

import numpy as np

from tastevec.data.histories import most_frequent
from tastevec.data.topk import rank_items
from tastevec.errors import TastevecWarning
from tastevec.evaluation.metrics import hits_at, ndcg, ranks_of
from tastevec.evaluation.tasks import build_task, reason_to_skip
from tastevec.items.cold_start import SHRINKAGE_USERS
from tastevec.model.closed_form import SparseRegression, reads_order, standardized
from tastevec.training.teacher import (
    GradedProducts,
    GradedRegression,
    GradedSettings,
    TeacherSettings,
    component_fits,
    fit_factors,
    known_of,
    shorter,
    unfitted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.inputs import InputConfig
    from tastevec.data.value_scale import ValueScale
    from tastevec.evaluation.tasks import Task
    from tastevec.model.closed_form import ClosedForm, Component
    from tastevec.schema import Horizon, Order, TaskId

_MAX_ITEMS: Final = 4_000  # of the search: a solution takes a second or two
_MAX_TRAIN: Final = 20_000  # training users of the search: what is chosen is then fitted to all
_MAX_USERS: Final = 800  # validation users of the search
# Weights are chosen on more of them: few users decide by chance. Their scores, at most so many a task, bound the memory.
_FEWEST: Final = 400
_WEIGHED: Final = (_FEWEST, 2_000)
_SCORES: Final = 20_000_000
_DRAWS: Final = 3  # of each task where weights are chosen: one alone is noisy
_SHORTER: Final = 0.75  # of a history, from draw to draw
_DEPTHS: Final[dict[TaskId, int]] = {"random-20pct": 100, "next-item": 10, "last-20pct": 100}
_CAUTION: Final = 0.5  # standard errors that a relative difference must exceed, else a constant stays
_MORE_CAUTION: Final = 1.0  # for the transformer: its many moments are of the same users
_HIGHEST: Final = 1000.0  # of a ridge
_LOWEST: Final = {"confidence": 1.0}  # that in an item without interaction
_NOTHING: Final = 1e-9
_FEW_ITERATIONS: Final = 5  # of iALS in the search
_DISCOUNTS: Final = (-0.15, 0.15, 0.3, 0.5)
_WEIGHTS: Final = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5)
_ROUNDS: Final = 3
# The shrinkage is chosen on histories cut to their latest items, for a data set may have hardly a short one of its own.
_CUT: Final = (1, 3, 5, 10, 20, 50)
_MOST: Final = (0.5, 1.0, 2.0, 4.0)
_FADINGS: Final = (2.0, 4.0, 8.0, 12.0, 16.0, 24.0)
_LOSS: Final = 0.0075  # of the quality of complete histories
_ENOUGH: Final = 50  # users of a task; fewer choose by chance
_CONTENT_LOSS: Final = 0.001  # of the quality of all tasks
_POOLED: Final = 150  # first items of a component: what none has among them is not first in a sum
_POOLED_USERS: Final = 256  # scored at once
_TRANSFORMER: Final = (0.2, 0.35, 0.7, 1.4, 2.8, 5.0)
_MOMENTS: Final = 5  # of each validation user and ordered task where the transformer is weighed: one is noisy
_FACTORS: Final = (4.0, 0.25, 2.0, 0.5)  # of a constant that has no scale of its own


@dataclass(frozen=True, eq=False)
class Question:
    """One task of validation users, and how well scores answer it."""

    task: Task
    depth: int
    n_items: int

    def gains(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the NDCG of each user, (B,), of scores (B, N)."""
        ranked = rank_items(scores, self.task.seen or self.task.inputs, self.depth)
        ranks = ranks_of(ranked, self.task.offsets, self.task.targets, self.n_items)
        hits = hits_at(ranks, self.task.offsets, ranked.shape[1])
        return np.asarray(ndcg(hits, self.task.held_out_items, self.depth))


_Gains: TypeAlias = "Sequence[NDArray[np.float64]]"  # of the users of each task


@dataclass(frozen=True, eq=False)
class Questions:
    """The tasks of one horizon."""

    each: Sequence[Question]

    def gains(self, scores: Sequence[NDArray[np.float32]]) -> _Gains:
        """Return the NDCG of the users of each task."""
        return [question.gains(one) for question, one in zip(self.each, scores, strict=True)]

    def scored(self, score: Callable[[Histories], NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return the scores of each task's users."""
        return [score(question.task.inputs) for question in self.each]


def choose_teacher(  # noqa: PLR0913  the data, and what they are
    train: Histories,
    validation: Histories,
    n_items: int,
    *,
    scale: ValueScale,
    order: Order,
    dim: int = 64,
    seed: int = 42,
    progress: Callable[[str], None] = lambda _step: None,
) -> TeacherSettings:
    """Return the settings that are best on validation users.

    The constants of the regressions are searched on the 4,000 items with the most interactions, one after the other and
    only where it helps; weights and discounts on all. Test users are not read.

    Args:
        train: Training users; 20,000 at most are used.
        validation: Validation users; 800 at most are used, for the weights 2,000.
        n_items: N.
        scale: The value scale.
        order: Where the order comes from; ``none``: no lagged regression is searched, nor has it a weight.
        dim: Dimensions of iALS.
        seed: Of the draws and of iALS.
        progress: Called with the step that begins.
    """
    train = train.sample(_MAX_TRAIN, seed)
    data = _Data(train, validation.sample(_MAX_USERS, seed), n_items, scale, order, dim, seed)
    few, settings = data.most_frequent(), TeacherSettings()
    overall, following = few.questions("overall"), few.questions("next")
    if overall.each:
        progress("item regression")
        settings = replace(settings, whole=few.search_regression(settings.whole, overall))
    if following.each:
        progress("lagged item regression")
        settings = replace(settings, lagged=few.search_regression(settings.lagged, following))
    if overall.each:
        progress("iALS")
        settings = data.search_factors(settings, data.questions("overall"))
    if not (overall.each or following.each):
        warnings.warn(
            "validation users: none has enough positives for a task. The constants of the closed form stay at their defaults. "
            "Expected some with 5 positives. Prepare more users to have them chosen.",
            TastevecWarning,
            stacklevel=2,
        )
    progress("weights")
    most = int(np.clip(_SCORES // max(n_items, 1), *_WEIGHED))
    data = replace(data, validation=validation.sample(most, seed))
    return data.choose_weights(settings, data.questions("overall", _DRAWS), data.questions("next", _DRAWS))


@dataclass(frozen=True, eq=False)
class _Data:
    """Training and validation users, and what else a component needs."""

    train: Histories
    validation: Histories
    n_items: int
    scale: ValueScale
    order: Order
    dim: int
    seed: int

    def most_frequent(self) -> _Data:
        """Return the most frequent items alone, under new indices."""
        index = most_frequent(self.train, self.n_items, _MAX_ITEMS)
        users = {name: getattr(self, name).renumbered(index) for name in ("train", "validation")}
        return replace(self, **users, n_items=min(self.n_items, _MAX_ITEMS))

    def questions(self, horizon: Horizon, draws: int = 1) -> Questions:
        """Return the tasks that the validation users and the order have.

        Several draws of ``random-20pct`` hide other positives, and those of the ordered tasks end the histories earlier.
        """
        names: tuple[TaskId, ...] = ("random-20pct",) if horizon == "overall" else ("next-item", "last-20pct")
        tasks = [
            (build_task(name, users, scale=self.scale, seed=self.seed + draw), _DEPTHS[name])
            for name in names
            if reason_to_skip(name, self.scale, self.order) is None
            for draw in range(draws)
            for users in [self.validation if horizon == "overall" else self._shortened(draw)]
        ]
        return Questions([Question(task, depth, self.n_items) for task, depth in tasks if len(task)])

    def _shortened(self, draw: int) -> Histories:
        """Return the validation users with three quarters of their history for each draw before."""
        users = self.validation
        position = np.arange(len(users.items)) - np.repeat(users.offsets[:-1], users.lengths)
        lengths = np.ceil(users.lengths * _SHORTER**draw)
        return users.keep_alone(position < np.repeat(lengths, users.lengths))

    def search_regression(self, start: GradedSettings, questions: Questions) -> GradedSettings:
        """Return the best constants of an item regression."""
        products = lru_cache(1)(partial(GradedProducts.of, self.train, self.n_items, self.scale))

        def gains(settings: GradedSettings) -> _Gains:
            fitted = products(settings.sides).solve(settings)
            return _best_discount(fitted.plain, fitted.popularity, questions)[1]

        moves: list[_Move] = [
            ("ridge", None),
            ("user_power", (0.0, 1.0)),
            ("ridge_power", (0.5, 1.0)),
        ]
        if start.lags is not None:
            moves[1:1] = [("decay", (0.4, 1.2, 0.2))]
            moves.append(("lead", (0.8,)))
        if self.scale.kind != "implicit":
            moves += [("least", (1.0, 0.5, 0.0)), ("others", (0.0, 0.5, 1.0))]
        return _climb(start, [*moves, ("ridge", None)], gains)

    def search_factors(self, settings: TeacherSettings, questions: Questions) -> TeacherSettings:
        """Return the settings with the best constants of iALS."""

        def gains(some: TeacherSettings) -> _Gains:
            als = replace(some.als(self.scale, self.dim, self.seed), iterations=_FEW_ITERATIONS)
            fitted = fit_factors(self.train, self.n_items, als)
            return questions.gains(questions.scored(lambda known: fitted.score(known_of(known, self.scale))))

        return _climb(settings, [("regularization", None), ("confidence", None)], gains)

    def choose_weights(
        self, settings: TeacherSettings, overall: Questions, following: Questions
    ) -> TeacherSettings:
        """Return the settings with the best discounts of popularity, and weights of the components."""
        settings = replace(settings, short=shorter(settings.lagged))
        components: dict[str, Component] = {}
        for name, questions in (("whole", overall), ("lagged", following), ("short", following)):
            if questions.each:
                start: GradedSettings = getattr(settings, name)
                discount, components[name] = self._discounted(start, questions)
                found: dict[str, Any] = {name: replace(start, discount=discount)}
                settings = replace(settings, **found)
        fits = component_fits(self.train, self.n_items, settings, self.scale, dim=self.dim, seed=self.seed)
        components |= {name: fits[name]() for name in ("factors", "wide", "popularity")}
        weights: dict[Horizon, Mapping[str, float]] = {"overall": {"whole": 1.0}}
        if overall.each:
            some = {name: each for name, each in components.items() if name not in {"lagged", "short"}}
            weights["overall"] = _ascend(some, "whole", overall, self.scale)
        weights["next"] = weights["overall"]
        if following.each:
            weights["next"] = _ascend(components, "lagged", following, self.scale)
        settings = replace(settings, weights=weights)
        if _most_users(overall.each) >= _ENOUGH:
            settings = replace(settings, shrinkage=self._shrinkage(components, settings))
        return settings

    def _shrinkage(
        self, components: Mapping[str, Component], settings: TeacherSettings
    ) -> tuple[float, float]:
        """Return the `TeacherSettings.shrinkage` that is best for short histories and costs complete ones next to nothing."""
        few = replace(self, validation=self.validation.sample(_MAX_USERS, self.seed))
        complete = [question.task for question in few.questions("overall", _DRAWS).each]
        tasks = [replace(complete[0], inputs=complete[0].inputs.last(length)) for length in _CUT]
        tasks = [replace(task, seen=complete[0].seen or complete[0].inputs) for task in tasks] + complete
        total = unfitted(components, settings.weights, self.scale, self.n_items)

        def scores(histories: Histories) -> NDArray[np.float32]:
            known, once = (known_of(some, self.scale) for some in (histories, histories.once()))
            return total.scores("overall", known, once)

        train = self.train.sample(_FEWEST, self.seed)
        mean = scores(build_task("random-20pct", train, scale=self.scale, seed=self.seed).inputs).mean(axis=0)
        pairs = [(0.0, 1.0), *itertools.product(_MOST, _FADINGS)]
        gains = np.empty((len(pairs), len(tasks)))
        for column, task in enumerate(tasks):
            question = Question(task, _DEPTHS["random-20pct"], self.n_items)
            plain, lengths = scores(task.inputs), task.inputs.once().lengths[:, None]
            for row, (most, fading) in enumerate(pairs):
                shares = (most * np.exp(-lengths / fading)).astype(np.float32)
                gains[row, column] = question.gains(plain + shares * mean).mean()
        relative = gains / np.maximum(gains[0], _NOTHING)
        short, whole = relative[:, : len(_CUT)].sum(axis=1), relative[:, len(_CUT) :].mean(axis=1)
        return pairs[int(np.argmax(np.where(whole >= (1 - _LOSS) * whole.max(), short, 0)))]

    def _discounted(self, start: GradedSettings, questions: Questions) -> tuple[float, SparseRegression]:
        """Return the best discount of popularity, and the regression with it."""
        fitted = GradedRegression.fit(self.train, self.n_items, start, self.scale)
        plain = fitted.sparse()
        discount, _ = _best_discount(
            lambda known: plain.score(known_of(known, self.scale)), fitted.popularity, questions
        )
        discounts = fitted.popularity**-discount
        return discount, replace(plain, weights=plain.weights * discounts[plain.targets])


def weigh_transformer(
    model: ClosedForm,
    states: Callable[[Histories], NDArray[np.float32]],
    validation: Histories,
    *,
    reading: InputConfig,
    order: Order,
    seed: int = 42,
) -> float:
    """Return the weight of the transformer in *next* that is best on validation users; 0 where it does not help.

    Args:
        model: The closed form without it.
        states: Returns the states (B, D) of the transformer for histories.
        validation: Validation users; 800 at most are used.
        reading: What is read of a history.
        order: Where the order comes from.
        seed: Of the draws.
    """
    questions = _validation_data(model, validation, reading, order, seed).questions("next", _MOMENTS)
    if not questions.each:
        return 0.0

    def scores(histories: Histories) -> NDArray[np.float32]:
        return model.scores("next", *model.known(reading.arrays(histories)))

    without = questions.scored(scores)
    of_states = questions.scored(lambda histories: standardized(states(histories) @ model.vectors.T))
    candidates = [
        (
            weight,
            questions.gains([a + np.float32(weight) * b for a, b in zip(without, of_states, strict=True)]),
        )
        for weight in _TRANSFORMER
    ]
    return (_improve(questions.gains(without), candidates, _MORE_CAUTION) or (0.0, []))[0]


def choose_content(
    models: Mapping[float, ClosedForm],
    validation: Histories,
    *,
    reading: InputConfig,
    order: Order,
    seed: int = 42,
) -> float:
    """Return the most content that costs next to nothing on validation users, who hardly have the rare items that it helps.

    Args:
        models: By the users at whom an item's own vector and that predicted from its content weigh the same, ascending, the
            closed form with such item vectors.
        validation: Validation users; 800 at most are used.
        reading: What is read of a history.
        order: Where the order comes from.
        seed: Of the draws.
    """
    data = _validation_data(next(iter(models.values())), validation, reading, order, seed)
    every = [*data.questions("overall", _DRAWS).each, *data.questions("next", _DRAWS).each]
    # The next item alone is too noisy, and the lists of last-20pct are the same.
    questions = [question for question in every if question.task.name != "next-item"]
    if _most_users(questions) < _ENOUGH:
        return SHRINKAGE_USERS
    means = np.empty((len(models), len(questions)))
    for row, model in enumerate(models.values()):
        for column, question in enumerate(questions):
            chunks = question.task.inputs.chunks(_POOLED_USERS)
            found = [model.encode(question.task.horizon, reading.arrays(some)) for some in chunks]
            means[row, column] = question.gains(np.concatenate(found) @ model.vectors.T).mean()
    relative = (means / np.maximum(means[0], _NOTHING)).mean(axis=1)
    return [*models][int(np.flatnonzero(relative >= (1 - _CONTENT_LOSS) * relative.max())[-1])]


def _validation_data(
    model: ClosedForm, validation: Histories, reading: InputConfig, order: Order, seed: int
) -> _Data:
    """Return at most 800 validation users, to whom nothing is fitted."""
    users = validation.sample(_MAX_USERS, seed)
    return _Data(users, users, len(model.mean), reading.scale, order, 0, seed)


def _most_users(questions: Sequence[Question]) -> int:
    """Return the users of the task that has the most; 0 without a task."""
    return max((len(question.task) for question in questions), default=0)


_Move: TypeAlias = tuple[str, tuple[float, ...] | None]
_T = TypeVar("_T")
_S = TypeVar("_S", bound="GradedSettings | TeacherSettings")


def _gain(new: _Gains, old: _Gains) -> tuple[float, float]:
    """Return the sum over the tasks of the mean relative gain, and its standard error."""
    means = [max(float(one.mean()), _NOTHING) for one in old]
    relative = [(a - b) / mean for a, b, mean in zip(new, old, means, strict=True)]
    error = math.sqrt(sum(float(one.var()) / len(one) for one in relative))
    return sum(float(one.mean()) for one in relative), error


def _improve(
    old: _Gains, candidates: Sequence[tuple[_T, _Gains]], caution: float = _CAUTION
) -> tuple[_T, _Gains] | None:
    """Return the best candidate; None unless its gain exceeds so many standard errors: else it is noise.

    Weights need no caution: a sum changes little with each.
    """
    if not candidates:
        return None
    best = max(candidates, key=lambda candidate: _gain(candidate[1], old)[0])
    gain, error = _gain(best[1], old)
    return best if gain > caution * error + _NOTHING else None


def _climb(start: _S, moves: Sequence[_Move], gains: Callable[[_S], _Gains]) -> _S:
    """Return the best settings of a coordinate search; a move without values multiplies as long as that helps."""
    best, of_best = start, gains(start)
    tried = {repr(start)}

    def improved(others: Sequence[_S]) -> bool:
        nonlocal best, of_best
        new = [other for other in others if repr(other) not in tried]
        tried.update(map(repr, new))
        if found := _improve(of_best, [(other, gains(other)) for other in new]):
            best, of_best = found
        return found is not None

    for name, values in moves:
        if values is not None:
            improved([_changed(best, name, value) for value in values])
            continue
        for factor in _FACTORS:
            while _LOWEST.get(name, 0.0) <= (value := getattr(best, name) * factor) <= _HIGHEST:
                if not improved([_changed(best, name, value)]):
                    break
    return best


def _changed(settings: _S, name: str, value: float) -> _S:
    change: dict[str, Any] = {name: value}
    if name in {"decay", "lead"} and isinstance(settings, GradedSettings) and settings.lags is not None:
        change = {"lags": replace(settings.lags, **change)}
    return replace(settings, **change)


def _best_discount(
    plain: Callable[[Histories], NDArray[np.float32]], popularity: NDArray[np.float32], questions: Questions
) -> tuple[float, _Gains]:
    """Return the best discount of popularity of scores that have none, and its gains."""
    scores = questions.scored(plain)
    of_none = questions.gains(scores)
    candidates = [
        (discount, questions.gains([one * popularity**-discount for one in scores]))
        for discount in _DISCOUNTS
    ]
    return _improve(of_none, candidates) or (0.0, of_none)


@dataclass(frozen=True, eq=False)
class _Pool:
    """The items that a component ranks among its first for B users, at most P for each.

    Attributes:
        scores: Of each component, (B, P); minus infinity where a user has fewer items.
        held_out: (B, P) whether an item is held out.
        question: The task, and how well scores answer it.
    """

    scores: Mapping[str, NDArray[np.float32]]
    held_out: NDArray[np.bool_]
    question: Question

    @classmethod
    def of(cls, components: Mapping[str, Component], question: Question, scale: ValueScale) -> Self:
        """Score the users of a question."""
        task = question.task
        width = min(_POOLED, question.n_items) * len(components)
        scores = {name: np.full((len(task), width), -np.inf, np.float32) for name in components}
        items = np.full((len(task), width), -1, np.int64)
        start = 0
        for some in task.chunks(_POOLED_USERS):
            each = {name: _standardized(one, some.inputs, scale) for name, one in components.items()}
            best = np.concatenate(
                [rank_items(one, some.seen or some.inputs, _POOLED) for one in each.values()], axis=1
            )
            best.sort(axis=1)
            best[:, 1:][best[:, 1:] == best[:, :-1]] = -1
            rows = slice(start, start := start + len(best))
            items[rows, : best.shape[1]] = best
            for name, one in each.items():
                found = np.take_along_axis(one, np.maximum(best, 0), 1)
                scores[name][rows, : best.shape[1]] = np.where(best >= 0, found, -np.inf)
        users = np.arange(len(task))
        wanted = np.repeat(users, task.held_out_items) * question.n_items + task.targets
        held_out = np.isin(users[:, None] * question.n_items + items, wanted) & (items >= 0)
        return cls(scores, held_out, question)

    def gains(self, weights: Mapping[str, float]) -> NDArray[np.float64]:
        """Return the NDCG of each user, (B,), of the weighted sum."""
        total = np.zeros(self.held_out.shape, np.float32)
        for name, weight in weights.items():
            if weight:
                total += np.float32(weight) * self.scores[name]
        depth = min(self.question.depth, self.held_out.shape[1])
        best = np.argpartition(-total, depth - 1, axis=1)[:, :depth]
        order = np.argsort(-np.take_along_axis(total, best, 1), axis=1, kind="stable")
        hits = np.take_along_axis(self.held_out, np.take_along_axis(best, order, 1), 1)
        return np.asarray(ndcg(hits, self.question.task.held_out_items, self.question.depth))


def _standardized(component: Component, histories: Histories, scale: ValueScale) -> NDArray[np.float32]:
    """Return the standardized scores (B, N), read as `ClosedForm.scores` reads them."""
    read = histories if reads_order(component) else histories.once()
    return standardized(component.score(known_of(read, scale)))


def _ascend(
    components: Mapping[str, Component], base: str, questions: Questions, scale: ValueScale
) -> dict[str, float]:
    """Return the weights of the best sum, from the base alone, one component after the other."""
    pools = [_Pool.of(components, question, scale) for question in questions.each]

    def gains(weights: Mapping[str, float]) -> _Gains:
        return [pool.gains(weights) for pool in pools]

    weights = {name: float(name == base) for name in components}
    best = gains(weights)
    for _ in range(_ROUNDS):
        for name in components:
            others = [weights | {name: value} for value in _WEIGHTS] if name != base else []
            if found := _improve(best, [(other, gains(other)) for other in others], caution=0.0):
                weights, best = found
    return {name: weight for name, weight in weights.items() if weight}

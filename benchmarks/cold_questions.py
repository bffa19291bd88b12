"""What is asked of films that the training never met, by which floors they could be found, and what the others lose.

Dimension letters: B users, N films, D dimensions, R resamples.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.data.inputs import liked_from
from tastevec.evaluation.baselines import MeanLiked
from tastevec.evaluation.metrics import unit_rows
from tastevec.evaluation.scorers import measure, only_known
from tastevec.evaluation.statistics import draw_people, mean_intervals
from tastevec.evaluation.tasks import Task, ask, cases

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.dataset import Cohort
    from tastevec.evaluation.scorers import Scorer
    from tastevec.schema import Horizon, Protocol

__all__ = [
    "CHOSEN_BY",
    "FOUND",
    "Random",
    "answered",
    "better",
    "content_floors",
    "questions",
    "ratio",
    "warm_tasks",
]

FOUND: Final = ("recall@20", "recall@50", "ndcg@100")
CHOSEN_BY: Final = "ndcg@100"
WARM: Final = {  # what is compared of each question about the other films
    "fold-in": ("ndcg@100", "recall@20"),
    "next-liked": ("ndcg@10", "recall@20"),
    "last-20%": ("ndcg@100", "recall@20"),
}
_PROTOCOLS: Final[dict[Horizon, Protocol]] = {"overall": "fold-in", "next": "future"}
_DEPTHS: Final = (10, 20, 50, 100)
_BOUNDS: Final = (2.5, 97.5)


class Random:
    """Every film scores a number of its own for everybody, drawn by the seed: what chance finds."""

    name = "random"

    def __init__(self, item_count: int, seed: int) -> None:
        self._item_count = item_count
        self._rng = np.random.default_rng(seed)

    def fit(self, train: Histories, item_count: int) -> None:
        """Nothing is learned."""

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the next draws."""
        return self._rng.random((len(histories), self._item_count), np.float32)


def questions(
    people: Histories, cold: NDArray[np.bool_], rating_range: tuple[float, float]
) -> dict[str, Task]:
    """Hidden are the drawn films (N,) that a person liked; known is all that he did with others.

    Ranked are all films that he does not know, or the drawn ones alone. Those that he rated and did not like stay among
    them, and finding them is a miss.
    """
    drawn = cold[people.items]
    liked = people.ratings >= liked_from(rating_range)
    note = "Hidden are the liked films among those taken out of the training."
    task = ask(people, drawn & liked, ~drawn, name="fold-in", note=note)
    return {"all films": task, "drawn films": replace(task, candidates=cold)}


def warm_tasks(cohort: Cohort, cold: NDArray[np.bool_], seed: int) -> list[Task]:
    """*fold-in* and *future* asked of the same people as if the drawn films (N,) did not exist."""
    people = only_known(cohort.unseen, ~cold[cohort.unseen.items])
    tasks = [
        replace(task, candidates=~cold)
        for protocol in ("fold-in", "future")
        for task in cases(people, protocol=protocol, rating_range=cohort.rating_range, seed=seed)
    ]
    return [task for task in tasks if len(task)]


def content_floors(cohort: Cohort) -> list[MeanLiked]:
    """The films nearest by content to the mean of the liked ones: as the vectors are, and with the mean film subtracted.

    Each film counts alike, at length 1; who told no like gets the constant of the training people.
    """
    units = unit_rows(cohort.films.vectors).astype(np.float32)  # (N, D)
    there = units.any(axis=1, keepdims=True)
    mean = units.sum(axis=0) / max(1, there.sum())
    floors = [
        MeanLiked(vectors, space=name, liked_from=liked_from(cohort.rating_range))
        for name, vectors in (
            ("content", units),
            ("content, mean film subtracted", np.where(there, units - mean, 0)),
        )
    ]
    for floor in floors:
        floor.fit(cohort.train, len(units))
    return floors


def answered(scorer: Scorer, task: Task, item_count: int, horizon: Horizon) -> dict[str, NDArray[np.float64]]:
    """(B,) by metric, what the scorer's answer of this horizon finds."""
    asked = replace(task, protocol=_PROTOCOLS[horizon])
    return measure(scorer, asked, item_count, _DEPTHS)


def better(floors: Sequence[Scorer], task: Task, item_count: int) -> str:
    """The name of the floor that finds more of the hidden films of these people, by NDCG@100."""
    means = {floor.name: answered(floor, task, item_count, "overall")[CHOSEN_BY].mean() for floor in floors}
    return max(means, key=lambda name: means[name])


def interval(values: NDArray[np.float64], seed: int) -> dict[str, float]:
    """The mean of (B,) and its 95 % interval over people."""
    [found] = mean_intervals(values[:, None], draw_people(len(values), seed))
    return {"mean": found.mean, "low": found.low, "high": found.high}


def ratio(left: NDArray[np.float64], right: NDArray[np.float64], seed: int) -> Mapping[str, float | None]:
    """The mean of ``left`` over that of ``right``, the same people (B,), and its interval by a paired bootstrap.

    Both means are taken over the people of each draw, so that what is easy for both cancels out. None for what is no
    number: the right mean is 0, or in too many draws.
    """
    drawn = draw_people(len(left), seed).astype(np.float64) @ np.stack([left, right], axis=1)  # (R, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = left.sum() / right.sum()
        low, high = np.percentile(drawn[:, 0] / drawn[:, 1], _BOUNDS)
    found: dict[str, Any] = {"ratio": whole, "ratio_low": low, "ratio_high": high}
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}

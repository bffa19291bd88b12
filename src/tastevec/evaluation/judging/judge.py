"""Judge: one scorer asked one task, and everything that comes of it measured.

Dimension letters: B users, N items.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tastevec.evaluation.judging.answers import answers, with_horizon
from tastevec.evaluation.judging.curve import CURVE_DEPTH, quality_curve
from tastevec.evaluation.judging.sessions import shuffled
from tastevec.evaluation.judging.slices import FOUND_AT, slicings
from tastevec.evaluation.judging.vectors import distances, encoded, halves, shape
from tastevec.evaluation.metrics import (
    coverage,
    gini,
    intra_list_similarity,
    log_popularity,
    novelty,
    recommended,
)
from tastevec.evaluation.report.results import SHUFFLED
from tastevec.evaluation.scorers import VectorScorer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tastevec.evaluation.films import Films
    from tastevec.evaluation.judging.answers import Answers
    from tastevec.evaluation.protocol import Task
    from tastevec.evaluation.report.results import Slice
    from tastevec.evaluation.scorers import Scorer

__all__ = ["Judge", "Judged"]

_LIST: Final = 10  # films of each list that are looked at for what they are


@dataclass(frozen=True, eq=False)
class Judged:
    """What was measured of one scorer on one task.

    Attributes:
        values: (B,) by metric; NaN where a person has none.
        wholes: By metric, what only the scorer as a whole has.
        slices: The parts of the task.
    """

    values: dict[str, NDArray[np.float64]]
    wholes: dict[str, float]
    slices: tuple[Slice, ...]


@dataclass(frozen=True, eq=False)
class Judge:
    """What all scorers meet on one task.

    Attributes:
        task: The question.
        shuffled: The same with the films of each known session in a random order; None where order carries nothing.
        films: The catalogue.
        at: The depths of the ranking metrics.
        seed: Of the people that are drawn where not all can be taken.
    """

    task: Task
    shuffled: Task | None
    films: Films
    at: Sequence[int]
    seed: int

    @classmethod
    def of(cls, task: Task, films: Films, at: Sequence[int], seed: int) -> Judge:
        """The judge of a task; the sessions of one that asks what comes next are shuffled by the seed."""
        in_order = task.horizon == "next"
        other = replace(task, known=shuffled(task.known, seed)) if in_order else None
        return cls(task, other, films, at, seed)

    def judged(self, scorer: Scorer) -> Judged:
        """Rank once for everything that can be read off one ranking; again for what is known otherwise."""
        system, item_count = with_horizon(scorer, self.task), len(self.films)
        whole = answers(system, self.task, item_count, max(*self.at, FOUND_AT, CURVE_DEPTH))
        values = whole.accuracy(self.at) | self._lists(whole)
        wholes = self._catalogue(whole)
        if self.shuffled is not None:
            again = answers(system, self.shuffled, item_count, max(self.at)).accuracy(self.at)
            values |= {f"{metric}{SHUFFLED}": value for metric, value in again.items()}
        if isinstance(system, VectorScorer):
            vectors = encoded(system, self.task.known)
            values |= distances(system, vectors, self.task) | halves(system, self.task.known)
            wholes |= shape(vectors, self.seed)
        slices = [*quality_curve(system, whole, item_count, self.seed)]
        for slicing in slicings(self.task, self.films):
            slices += slicing.found(self.task, whole.places)
        return Judged(values, wholes, tuple(slices))

    def _lists(self, whole: Answers) -> dict[str, NDArray[np.float64]]:
        """(B,) what kind of films stand in each person's first 10."""
        lists, films = whole.ranked[:, :_LIST], self.films
        return {
            f"log_popularity@{_LIST}": log_popularity(lists, films.raters),
            f"novelty@{_LIST}": novelty(lists, films.raters, films.train_users),
            f"intra_list_similarity@{_LIST}": intra_list_similarity(lists, films.vectors),
        }

    def _catalogue(self, whole: Answers) -> dict[str, float]:
        """How much of what may be recommended is, and how unequally."""
        counts = recommended(whole.ranked[:, :_LIST], len(self.films))
        if self.task.candidates is not None:
            counts = counts[self.task.candidates]
        return {f"coverage@{_LIST}": coverage(counts), f"gini@{_LIST}": gini(counts)}

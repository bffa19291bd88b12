"""Two scorers as one system: each answers the question that it was tuned for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.scorers import Scorer
    from tastevec.schema import Horizon

__all__ = ["PerHorizon"]


class PerHorizon:
    """One row of the tables whose settings differ by question.

    Args:
        name: What the tables call it.
        overall: Answers what the taste is *overall*.
        next: Answers what comes *next*, and whoever does not say what he asks.
    """

    def __init__(self, name: str, *, overall: Scorer, next: Scorer) -> None:  # noqa: A002  the horizon's one spelling
        self.name = name
        self._scorers: dict[Horizon, Scorer] = {"overall": overall, "next": next}

    @property
    def parts(self) -> tuple[Scorer, ...]:
        """What fitting this fits; a scorer that answers both questions once."""
        return tuple({id(scorer): scorer for scorer in self._scorers.values()}.values())

    def fit(self, train: Histories, item_count: int) -> None:
        """Fit the scorers."""
        for scorer in self.parts:
            scorer.fit(train, item_count)

    def asked(self, horizon: Horizon) -> Scorer:
        """The scorer of this question."""
        return self._scorers[horizon]

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the scores of what comes next."""
        return self._scorers["next"].score(histories)

"""The same scorer with a short memory: the honest floor of anything that claims to read order."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.scorers import Scorer

__all__ = ["LastOnly"]


class LastOnly:
    """A scorer that sees only the newest films of each person.

    Args:
        scorer: The system; fitting this fits it.
        count: How many of the newest interactions it sees.
    """

    def __init__(self, scorer: Scorer, count: int = 20) -> None:
        self.name = f"{scorer.name}, last {count} only"
        self.scorer = scorer
        self._count = count

    @property
    def parts(self) -> tuple[Scorer, ...]:
        """What fitting this fits."""
        return (self.scorer,)

    def fit(self, train: Histories, item_count: int) -> None:
        """Fit the scorer on whole training histories."""
        self.scorer.fit(train, item_count)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) the scorer's scores for the shortened histories."""
        return self.scorer.score(histories.last(self._count))

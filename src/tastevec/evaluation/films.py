"""Films: what is known of the catalogue, the same for every system that is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.schema import CONTENT, YEAR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.prepared import Prepared

__all__ = ["NO_YEAR", "Films"]

NO_YEAR: Final = 0


@dataclass(frozen=True, eq=False)
class Films:
    """What lists of films are described by; none of it comes from the people who are asked, or from a system.

    Attributes:
        raters: (N,) int64 training people who rated each film.
        train_users: Training people in all.
        vectors: (N, D) content vectors, in which two films are alike or not; a row of zeros is a film without one.
        years: (N,) int64 when each film came out; ``NO_YEAR`` where that is unknown.
    """

    raters: NDArray[np.int64]
    train_users: int
    vectors: NDArray[np.float32]
    years: NDArray[np.int64]

    @classmethod
    def of(cls, prepared: Prepared, train: Histories) -> Films:
        """The catalogue of a prepared folder, its films counted over the training people."""
        rated = train.items[np.isfinite(train.ratings)]
        years = prepared.items[YEAR].fill_null(NO_YEAR).to_numpy().astype(np.int64)
        return cls(
            raters=np.bincount(rated, minlength=prepared.items.num_rows),
            train_users=len(train),
            vectors=prepared.vectors[CONTENT],
            years=years,
        )

    @classmethod
    def plain(cls, train: Histories, item_count: int) -> Films:
        """N films of which nothing is known but who rated them."""
        rated = train.items[np.isfinite(train.ratings)]
        raters = np.bincount(rated, minlength=item_count)
        return cls(raters, len(train), np.zeros((item_count, 1), np.float32), np.full(item_count, NO_YEAR))

    def __len__(self) -> int:
        """N."""
        return len(self.raters)

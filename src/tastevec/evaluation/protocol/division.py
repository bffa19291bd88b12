"""How the people of a prepared folder were divided, as far as the questions depend on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LiangSplit", "TimeSplit"]


@dataclass(frozen=True, eq=False)
class LiangSplit:
    """The published split: ``fold-in`` hides what Liang et al. hid.

    Attributes:
        candidates: (N,) the films that a training person liked; no others are hidden, known or recommended.
    """

    candidates: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TimeSplit:
    """A split by time: nothing was learned from what happened at or after the cut.

    Attributes:
        cut: Unix seconds.
        rated: (N,) the films that a training person had rated before it.
    """

    cut: int
    rated: NDArray[np.bool_]

"""Scorers: what any system must do to be measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.schema import Horizon

__all__ = ["HorizonScorer", "Runs", "Scorer", "VectorScorer", "fitted_parts"]


@runtime_checkable
class Scorer(Protocol):
    """A system that scores the whole catalogue for people it has never seen."""

    @property
    def name(self) -> str:
        """What the tables call it; no two systems of a table share one."""

    def fit(self, train: Histories, item_count: int) -> None:
        """Learn from the training people; a system that is already trained does nothing."""

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(B, N) finite scores, higher is better; each row depends on that person's history alone."""


@runtime_checkable
class VectorScorer(Scorer, Protocol):
    """A scorer that says where a person stands among film vectors, so that cosine distances can be measured too."""

    @property
    def space(self) -> str:
        """The name of the film vectors; distances of different spaces are never compared."""

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """(N, D) one row a film; a row of zeros is a film without a vector."""

    def vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(B, D) one vector a person."""


@runtime_checkable
class HorizonScorer(Scorer, Protocol):
    """A scorer that answers differently to *what is next* and *what is the taste overall*."""

    def asked(self, horizon: Horizon) -> Scorer:
        """The same system, answering that question."""


@dataclass(frozen=True, eq=False)
class Runs:
    """One system of the tables: the same scorer made once or, where chance has a part in it, from several seeds.

    Attributes:
        name: What the tables call it; no two systems of a table share one.
        scorers: One a seed, at least one, alike in everything else.
        settings: What it was made with, for the record; JSON holds every value.
    """

    name: str
    scorers: Sequence[Scorer]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def one(cls, scorer: Scorer) -> Runs:
        """A system of a single run, under the scorer's own name."""
        return cls(scorer.name, (scorer,))


def fitted_parts(scorer: Scorer) -> tuple[Scorer, ...]:
    """The scorers that fitting this one fits, so that one which stands in several systems need be fitted only once."""
    parts = getattr(scorer, "parts", (scorer,))
    return (scorer,) if parts == (scorer,) else tuple(leaf for part in parts for leaf in fitted_parts(part))

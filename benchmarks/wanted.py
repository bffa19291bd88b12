"""A bar: what is wanted, and whether a number with its interval is enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from saved_evaluation import Found

__all__ = ["HEADLINES", "MODEL", "NOT_MEASURED", "SHOWN", "Bar", "Wanted"]

NOT_MEASURED: Final = "not measured"
_DIGITS: Final = 9  # what lies beyond is the rounding of floats
MODEL: Final = "taste"  # the system that is to clear the bars
SHOWN: Final = {"ndcg@10": "NDCG@10", "ndcg@100": "NDCG@100", "recall@20": "R@20", "recall@50": "R@50"}
HEADLINES: Final = {
    "fold-in": "ndcg@100",
    "next-liked": "ndcg@10",
    "last-20%": "ndcg@100",
    "best-rated": "ndcg@10",
}


@dataclass(frozen=True)
class Bar:
    """One line: what it is about, what is wanted, what was measured, and whether that is enough."""

    about: str
    wanted: str
    measured: str = NOT_MEASURED
    verdict: str = NOT_MEASURED


@dataclass(frozen=True)
class Wanted:
    """A bound and how numbers on its scale are written.

    Attributes:
        bound: What is to be reached.
        shown: The format of a number.
        unit: What follows it.
        at_most: Whether less is better.
        strictly: Whether the bound itself is not enough.
    """

    bound: float
    shown: str = ".3f"
    unit: str = ""
    at_most: bool = False
    strictly: bool = False

    def verdict(self, found: Found) -> str:
        """Met, or missed by how much; and what the interval says against it, where there is one."""
        sign = -1 if self.at_most else 1
        ahead, *ends = (sign * round(end - self.bound, _DIGITS) for end in found if end is not None)
        if ahead > 0 or (ahead == 0 and not self.strictly):
            return "met" + (", but the interval holds the bound" if ends and min(ends) < 0 else "")
        gap = f"{abs(ahead):{self.shown}}{self.unit.replace(' %', ' points')}"
        return f"missed by {gap}" + (", within the interval" if ends and max(ends) > 0 else "")

    def number(self, found: Found, sign: str = "") -> str:
        """The number with its interval."""
        text = f"{found.value:{sign}{self.shown}}{self.unit}"
        if found.low is None or found.high is None:
            return text
        return f"{text} [{found.low:{sign}{self.shown}}, {found.high:{sign}{self.shown}}]"

"""A saved evaluation, asked by system, question and metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Found", "SavedEvaluation"]


class Found(NamedTuple):
    """A number and, where one was saved, its 95 % interval."""

    value: float
    low: float | None = None
    high: float | None = None

    def through(self, scale: Callable[[float], float]) -> Found:
        """The same on another scale; where that turns round, so does the interval."""
        value = scale(self.value)
        if self.low is None or self.high is None:
            return Found(value)
        low, high = sorted((scale(self.low), scale(self.high)))
        return Found(value, low, high)


class SavedEvaluation:
    """The rows of one evaluation as ``results/*.json`` keep them; what was not measured or not kept is None.

    Args:
        evaluation: What ``tastevec evaluate`` wrote, or the part of it that was kept.
    """

    def __init__(self, evaluation: dict[str, Any]) -> None:
        self.floors = [system["system"] for system in evaluation["systems"] if system["floor"]]
        self._rows = {
            (row["system"], row["task"], row["metric"]): row
            for row in (*evaluation["rows"], *evaluation["wholes"])
            if row["mean"] is not None
        }
        self._differences = {
            (skill["system"], skill["floor"], skill["task"], skill["metric"]): skill
            for skill in evaluation["skill"]
        }
        for pair in evaluation["paired"]:
            self._differences[pair["a"], pair["b"], pair["task"], pair["metric"]] = pair
            turned = {"difference": -pair["difference"], "low": -pair["high"], "high": -pair["low"]}
            self._differences[pair["b"], pair["a"], pair["task"], pair["metric"]] = turned
        self.curves: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
        for part in evaluation["slices"]:
            if part["by"] == "known films":
                curve = self.curves.setdefault((part["task"], part["metric"]), {})
                curve.setdefault(int(part["label"]), {})[part["system"]] = part["mean"]

    def found(self, system: str, task: str, metric: str) -> Found | None:
        """The mean of a system."""
        row = self._rows.get((system, task, metric))
        return None if row is None else Found(row["mean"], row["low"], row["high"])

    def difference(self, one: str, other: str, task: str, metric: str) -> Found | None:
        """The mean of one system minus that of another, with the paired interval where it was kept."""
        first, second = (self.found(system, task, metric) for system in (one, other))
        if first is None or second is None:
            return None
        kept = self._differences.get((one, other, task, metric))
        if kept is None:
            return Found(first.value - second.value)
        return Found(first.value - second.value, kept["low"], kept["high"])

    def ratio(self, one: str, other: str, task: str, metric: str) -> Found | None:
        """The mean of one system over that of another; the interval is that of the difference over the other's mean."""
        difference, base = self.difference(one, other, task, metric), self.found(other, task, metric)
        if difference is None or base is None or not base.value:
            return None
        return difference.through(lambda end: 1 + end / base.value)

    def best(self, systems: Iterable[str], task: str, metric: str, *, lowest: bool = False) -> str | None:
        """The one of these systems with the highest mean, or the lowest; None where none has any."""
        sign = -1 if lowest else 1
        means = {
            system: sign * found.value for system in systems if (found := self.found(system, task, metric))
        }
        return max(means, key=lambda system: means[system]) if means else None

"""Looks: what a system looks like in every picture, and where its name stands without hiding another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.data.html import MUTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from tastevec.evaluation.report.report import Report

__all__ = ["SOFT", "Look", "label_ends", "label_points", "looks", "short", "spread"]

SOFT: Final = "#9aa5b1"  # what must be beaten
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9")  # Okabe & Ito 2008
_DASHES: Final = ("-", "--", ":")  # once the colours have been used up
_LONGEST: Final = 27  # letters of a name in a picture
_SIDES: Final = ((7, 0, "left"), (-7, 0, "right"), (0, 9, "center"), (0, -9, "center"))  # points from the dot
_HALF_LETTER: Final = 2.6  # points, at the size of labels
_HALF_LINE: Final = 4.5


@dataclass(frozen=True)
class Look:
    """One system's colour and weight; models stand in front."""

    colour: str
    dash: str
    model: bool

    @property
    def ink(self) -> str:
        """The colour of its name."""
        return self.colour if self.model else MUTED


def looks(report: Report) -> dict[str, Look]:
    """Each system's look: a colour of its own for what is judged, one grey for all floors and baselines."""
    found = {facts.system: Look(SOFT, "-", model=False) for facts in report.systems if facts.floor}
    models = [facts.system for facts in report.systems if not facts.floor]
    for place, system in enumerate(models):
        rounds, colour = divmod(place, len(_COLOURS))
        found[system] = Look(_COLOURS[colour], _DASHES[rounds % len(_DASHES)], model=True)
    return found


def short(name: str) -> str:
    """A name that fits beside a line: the middle of a long one is left out, since ends tell systems apart.

    Examples:
        >>> short("iALS, likes and middle, last 20 only")
        'iALS, likes a…, last 20 only'
    """
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST + 1 else f"{name[:half]}…{name[-half - 1 :]}"


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, float]], look: Mapping[str, Look]) -> None:
    """Write each system's name to the right of where its line ends (x, y), the names pushed apart."""
    low, high = axes.get_ylim()
    tall = axes.get_figure().get_size_inches()[1] * 72 * axes.get_position().height  # type: ignore[union-attr]  # axes without a figure cannot be here
    names = sorted(ends, key=lambda name: ends[name][1])
    gap = (high - low) * 2.6 * _HALF_LINE / tall
    heights = spread([ends[name][1] for name in names], gap)
    for name, height in zip(names, heights, strict=True):
        axes.annotate(
            short(name),
            (ends[name][0], height),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=look[name].ink,
            fontweight="bold" if look[name].model else "normal",
            annotation_clip=False,
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights moved as little as need be for neighbours to stand ``gap`` apart.

    Those that would touch become a block around their common middle, blocks that touch become one.

    Examples:
        >>> spread([0.0, 1.0, 5.0], 2.0)
        [-0.5, 1.5, 5.0]
    """
    blocks: list[list[float]] = []  # [sum of (height - place in the block), members]
    for height in heights:
        blocks.append([height, 1])
        while len(blocks) > 1 and _bottom(blocks[-1]) < _bottom(blocks[-2]) + gap * blocks[-2][1]:
            total, members = blocks.pop()
            blocks[-1][0] += total - gap * blocks[-1][1] * members
            blocks[-1][1] += members
    return [_bottom(block) + gap * place for block in blocks for place in range(int(block[1]))]


def label_points(axes: Axes, points: Mapping[str, tuple[float, float]], look: Mapping[str, Look]) -> None:
    """Write names beside points (x, y), those that come first before others; a name that finds no room is left out."""
    figure = axes.get_figure()
    size = figure.get_size_inches() * 72  # type: ignore[union-attr]  # as in label_ends
    box = axes.get_position()
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    scale = np.array([box.width * size[0] / (right - left), box.height * size[1] / (high - low)])
    places = {name: (np.array(point) - (left, low)) * scale for name, point in points.items()}
    taken = [(*place - 3, *place + 3) for place in places.values()]
    for name, place in places.items():
        for right_by, up, side in _SIDES:
            wide = 2 * _HALF_LETTER * len(short(name))
            start = place[0] + right_by - {"left": 0, "center": wide / 2, "right": wide}[side]
            area = (start, place[1] + up - _HALF_LINE, start + wide, place[1] + up + _HALF_LINE)
            end = np.array([right - left, high - low]) * scale
            inside = min(area[:2]) >= 0 and area[2] <= end[0] and area[3] <= end[1]
            if inside and not any(_touch(area, other) for other in taken):
                taken.append(area)
                axes.annotate(
                    short(name),
                    points[name],
                    xytext=(right_by, up),
                    textcoords="offset points",
                    ha=side,
                    va="center",
                    fontsize=8.5,
                    color=look[name].ink,
                    fontweight="bold" if look[name].model else "normal",
                )
                break


def _bottom(block: Sequence[float]) -> float:
    return block[0] / block[1]


def _touch(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]

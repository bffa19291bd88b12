"""The pictures of a report: every system's headline numbers, and how much of the catalogue each of them shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.data.html import GRID, MUTED, Picture, drawn, styled
from tastevec.evaluation.report.looks import label_points, looks
from tastevec.evaluation.report.results import headline
from tastevec.evaluation.report.slice_pictures import slice_pictures
from tastevec.evaluation.report.tables import spoken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tastevec.evaluation.report.looks import Look
    from tastevec.evaluation.report.report import Report
    from tastevec.evaluation.report.rows import Row

__all__ = ["draw"]

_WIDE: Final = 9.6  # inches
_LINE: Final = 0.26  # inches a system
_COVERAGE: Final = "coverage@10"


def draw(report: Report) -> list[Picture]:
    """The pictures of what was measured; one for which nothing was measured is left out.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    pictures = [drawn("headline", "Every system on every task", lambda figure: _headlines(figure, report))]
    pictures += slice_pictures(report)
    if any(row.metric == _COVERAGE for row in report.wholes):
        title = "How good the lists are, and how much of the catalogue they show"
        pictures.append(drawn("coverage", title, lambda figure: _coverage(figure, report)))
    return pictures


def _headlines(figure: Figure, report: Report) -> str:
    """Dots with intervals, one column a task, the systems in the same order in all of them."""
    look, order = looks(report), _ordered(report)
    tasks = _headline_rows(report)
    figure.set_size_inches(_WIDE, 1.0 + _LINE * len(order))
    columns = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for axes, (task, rows) in zip(columns, tasks.items(), strict=True):
        metric = next(iter(rows.values())).metric
        _dots(styled(axes), rows, order, look)
        axes.set_title(f"{task}\n{spoken(metric)}", fontsize=9.5, loc="left", color=MUTED)
        floors = [row.mean for system, row in rows.items() if not look[system].model]
        if floors:
            axes.axvline(max(floors), color=MUTED, linestyle="--", linewidth=0.9, zorder=1)
    columns[0].set_yticks(np.arange(len(order)), order, fontsize=9)
    for label, name in zip(columns[0].get_yticklabels(), order, strict=True):
        label.set_color(look[name].ink)
        label.set_fontweight("bold" if look[name].model else "normal")
    asked = ", ".join(f"{task} {next(iter(rows.values())).users:,}" for task, rows in tasks.items())
    return (
        "The headline metric of each task, with its 95 % interval (bootstrap over people). Models are coloured, what they must "
        f"beat is grey, and the dashed line stands at the best floor or baseline of the task. People asked: {asked}."
    )


def _dots(axes: Axes, rows: Mapping[str, Row], order: list[str], look: Mapping[str, Look]) -> None:
    for place, name in enumerate(order):
        if name in rows:
            row = rows[name]
            axes.plot([row.low, row.high], [place, place], color=look[name].colour, linewidth=1.8)
            axes.plot(
                row.mean, place, "o", color=look[name].colour, markersize=6 if look[name].model else 4.5
            )
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID)
    axes.set_xlim(left=0)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.locator_params(axis="x", nbins=3)
    axes.tick_params(axis="x", labelsize=8.5)


def _coverage(figure: Figure, report: Report) -> str:
    look, tasks = looks(report), _headline_rows(report)
    shown = {}
    for task, rows in tasks.items():
        wholes = {
            row.system: row.mean for row in report.wholes if (row.task, row.metric) == (task, _COVERAGE)
        }
        if points := {name: (wholes[name], row.mean) for name, row in rows.items() if name in wholes}:
            shown[task] = points
    shown = dict(sorted(shown.items(), key=lambda item: item[0] not in ("fold-in", "last-20%"))[:2])
    figure.set_size_inches(_WIDE, 4.2)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (task, points) in zip(panels, shown.items(), strict=True):
        styled(axes)
        for name, point in points.items():
            axes.plot(*point, "o", color=look[name].colour, markersize=8 if look[name].model else 5)
        metric = next(iter(tasks[task].values())).metric
        axes.set(xlabel="share of the catalogue in anybody's first 10", ylabel=spoken(metric))
        axes.set_title(task, fontsize=9.5, loc="left", color=MUTED)
        axes.tick_params(labelsize=8.5)
        axes.set_xlim(0, 1.25 * max(x for x, _ in points.values()) or 1)
        axes.set_ylim(0, 1.1 * max(y for _, y in points.values()) or 1)
    figure.draw_without_rendering()  # so that the axes know their size, which says which names have room
    for axes, points in zip(panels, shown.values(), strict=True):
        first = sorted(points, key=lambda name: (not look[name].model, -points[name][1]))
        label_points(axes, {name: points[name] for name in first}, look)
    asked = ", ".join(f"{task} {next(iter(tasks[task].values())).users:,}" for task in shown)
    return (
        "A list can be right for many and the same for all: how good a system is (up) beside the share of the catalogue that "
        f"stands in anybody's first 10 (right). Names that found no room stand in the tables. People asked: {asked}."
    )


def _headline_rows(report: Report) -> dict[str, dict[str, Row]]:
    """Of each task, every system's row of the headline metric."""
    found = {}
    for task in report.tasks:
        rows = [row for row in report.rows if row.task == task.name]
        metric = headline(task.name, list(dict.fromkeys(row.metric for row in rows)))
        found[task.name] = {row.system: row for row in rows if row.metric == metric}
    return found


def _ordered(report: Report) -> list[str]:
    """The systems, the best last: by the mean, over the tasks that each was asked, of its share of the task's best."""
    shares: dict[str, list[float]] = {facts.system: [] for facts in report.systems}
    for rows in _headline_rows(report).values():
        best = max(row.mean for row in rows.values()) or 1.0
        for name, row in rows.items():
            shares[name].append(row.mean / best)
    return sorted(shares, key=lambda name: float(np.mean(shares[name])) if shares[name] else 0.0)

"""Plots of an evaluation report: headline metrics and slices."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Final

import numpy as np

from tastevec.data.html import GRID, MUTED, Picture, drawn, styled
from tastevec.evaluation.results import headline
from tastevec.evaluation.tables import metric_title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tastevec.evaluation.report import Report
    from tastevec.evaluation.statistics import Row, SliceRow

__all__ = [
    "SOFT",
    "SeriesStyle",
    "draw",
    "label_ends",
    "label_points",
    "looks",
    "short",
    "slice_pictures",
    "spread",
]

SOFT: Final = "#9aa5b1"  # what must be beaten
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9")  # Okabe & Ito 2008
_DASHES: Final = ("-", "--", ":")  # once the colours have been used up
_LONGEST: Final = 27  # letters of a name in a picture
_SIDES: Final = ((7, 0, "left"), (-7, 0, "right"), (0, 9, "center"), (0, -9, "center"))  # points from the dot
_HALF_LETTER: Final = 2.6  # points, at the size of labels
_HALF_LINE: Final = 4.5


@dataclass(frozen=True)
class SeriesStyle:
    """One system's colour and weight; models stand in front."""

    colour: str
    dash: str
    model: bool

    @property
    def ink(self) -> str:
        """The colour of its name."""
        return self.colour if self.model else MUTED


def series_styles(report: Report) -> dict[str, SeriesStyle]:
    """Each system's look: a colour of its own for what is judged, one grey for all floors and baselines."""
    found = {facts.system: SeriesStyle(SOFT, "-", model=False) for facts in report.systems if facts.floor}
    models = [facts.system for facts in report.systems if not facts.floor]
    for place, system in enumerate(models):
        rounds, colour = divmod(place, len(_COLOURS))
        found[system] = SeriesStyle(_COLOURS[colour], _DASHES[rounds % len(_DASHES)], model=True)
    return found


def short(name: str) -> str:
    """A name that fits beside a line: the middle of a long one is left out, since ends tell systems apart.

    Examples:
        >>> short("iALS, positives and middle, last 20 only")
        'iALS, positiv…, last 20 only'
    """
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST + 1 else f"{name[:half]}…{name[-half - 1 :]}"


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, float]], look: Mapping[str, SeriesStyle]) -> None:
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


def label_points(
    axes: Axes, points: Mapping[str, tuple[float, float]], look: Mapping[str, SeriesStyle]
) -> None:
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


_WIDE: Final = 9.6  # inches
_HIGH: Final = 3.2  # inches a row of panels
_COLUMNS: Final = 2
_FLOORS: Final = 2  # the best, which say what must be beaten
_FAMILIAR: Final = "popularity"  # and the one that everybody knows
_TASKS: Final = ("fold-in", "last-20%", "next-liked")  # these before others
_KNOWN: Final = "known films"


@dataclass(frozen=True)
class _Kind:
    """One way of slicing: what the picture is called, what stands below the axis, what it says."""

    by: str
    name: str
    title: str
    below: str
    says: str
    most: int = 2  # panels


_KINDS: Final = (
    _Kind(
        by=_KNOWN,
        name="quality-curve",
        title="How good the answer is from the first rating on",
        below="newest films known of everybody (log scale)",
        says="The same people and the same hidden films each time, but only the newest n films of each person are known.",
        most=4,
    ),
    _Kind(
        by="popularity decile",
        name="popularity",
        title="Hidden films found, by how popular they are",
        below="tenths of the films, from the least popular on",
        says="The share of a person's hidden films of each tenth that stands among his first 20: whoever recommends what "
        "everybody watched finds nothing on the left.",
    ),
    _Kind(
        by="years since release",
        name="age",
        title="Hidden films found, by their age",
        below="years between the film's release and the rating",
        says="The share of a person's hidden films of each age that stands among his first 20. Below each "
        "label: how many people have such films.",
    ),
    _Kind(
        by="cold films",
        name="cold-films",
        title="Hidden films found, by how few people taught them",
        below="people among the taught who rated the film",
        says="The share of a person's hidden films that stands among his first 20, by how many people a system could learn the "
        "film from. Below each label: how many people have such films.",
    ),
)


def slice_pictures(report: Report) -> list[Picture]:
    """One picture for each way of slicing that was measured."""
    return [_picture(report, kind, panels) for kind in _KINDS if (panels := _panels(report, kind))]


def _picture(report: Report, kind: _Kind, panels: Mapping[str, list[SliceRow]]) -> Picture:
    return drawn(kind.name, kind.title, lambda figure: _draw(figure, report, kind, panels))


def _panels(report: Report, kind: _Kind) -> dict[str, list[SliceRow]]:
    """The rows of each task that is shown, of one metric."""
    rows: dict[str, list[SliceRow]] = {}
    for row in report.slices:
        if row.by == kind.by and isfinite(row.mean):
            rows.setdefault(row.task, []).append(row)
    tasks = sorted(rows, key=lambda task: _TASKS.index(task) if task in _TASKS else len(_TASKS))
    found = {}
    for task in tasks[: kind.most]:
        metric = headline(task, list(dict.fromkeys(row.metric for row in rows[task])))
        found[task] = [row for row in rows[task] if row.metric == metric]
    return found


def _draw(figure: Figure, report: Report, kind: _Kind, panels: Mapping[str, list[SliceRow]]) -> str:
    look = series_styles(report)
    columns = min(_COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure.set_size_inches(_WIDE if columns > 1 else _WIDE * 0.7, _HIGH * lines + 0.3)
    places = figure.subplots(lines, columns, squeeze=False, gridspec_kw={"hspace": 0.06}).ravel()
    for spare in places[len(panels) :]:
        spare.set_visible(False)
    ends = []
    for axes, (task, rows) in zip(places, panels.items(), strict=False):
        curves = _curves(rows, _chosen(report, task, look))
        _plot(styled(axes), curves, look, log=kind.by == _KNOWN)
        axes.set_title(f"{task}, {metric_title(rows[0].metric)}", fontsize=9.5, loc="left", color=MUTED)
        axes.set_xlabel(kind.below, fontsize=9)
        ends.append(
            {
                name: _end(curve, log=kind.by == _KNOWN, labels=_labels(curves))
                for name, curve in curves.items()
            }
        )
    figure.draw_without_rendering()  # so that the axes know their size, which says how far apart names must stand
    for axes, ended in zip(places, ends, strict=False):
        label_ends(axes, ended, look)
    return f"{kind.says} {_users(panels)}"


def _chosen(report: Report, task: str, look: Mapping[str, SeriesStyle]) -> list[str]:
    """What is drawn of a task: every model, the best floors, and the most popular films."""
    rows = [row for row in report.rows if row.task == task]
    metric = headline(task, list(dict.fromkeys(row.metric for row in rows)))
    means = {row.system: row.mean for row in rows if row.metric == metric}
    trivial_baselines = sorted(
        (name for name in means if not look[name].model), key=lambda name: -means[name]
    )
    models = [name for name in means if look[name].model]
    familiar = [name for name in trivial_baselines if name == _FAMILIAR]
    return list(
        dict.fromkeys([*trivial_baselines[:_FLOORS], *familiar, *models])
    )  # models last, so that they lie on top


def _curves(rows: Sequence[SliceRow], chosen: Sequence[str]) -> dict[str, dict[str, SliceRow]]:
    """Of each chosen system, its rows by label."""
    curves = {name: {row.label: row for row in rows if row.system == name} for name in chosen}
    return {name: curve for name, curve in curves.items() if curve}


def _labels(curves: Mapping[str, Mapping[str, SliceRow]]) -> list[str]:
    return list(dict.fromkeys(label for curve in curves.values() for label in curve))


def _plot(
    axes: Axes, curves: Mapping[str, Mapping[str, SliceRow]], look: Mapping[str, SeriesStyle], *, log: bool
) -> None:
    labels = _labels(curves)
    at = {label: float(label) if log else float(place) for place, label in enumerate(labels)}
    for name, curve in curves.items():
        x = [at[label] for label in curve]
        seen = look[name]
        axes.plot(
            x,
            [row.mean for row in curve.values()],
            color=seen.colour,
            linestyle=seen.dash,
            linewidth=2.2 if seen.model else 1.3,
            marker="o",
            markersize=4 if seen.model else 2.5,
        )
        if seen.model:
            low, high = ([getattr(row, side) for row in curve.values()] for side in ("low", "high"))
            axes.fill_between(x, low, high, color=seen.colour, alpha=0.14, linewidth=0)
    if log:
        axes.set_xscale("log")
    axes.set_xticks(list(at.values()), _ticks(labels, curves, log=log), fontsize=8.5)
    axes.set_xticks([], minor=True)
    axes.tick_params(axis="y", labelsize=8.5)
    axes.set_ylim(bottom=0)


def _ticks(labels: Sequence[str], curves: Mapping[str, Mapping[str, SliceRow]], *, log: bool) -> list[str]:
    """The labels; under a few wide ones, how many people have such films."""
    if log or max(map(len, labels)) <= 2:  # noqa: PLR2004 - numbers up to 10
        return list(labels)
    users = {label: row.users for curve in curves.values() for label, row in curve.items()}
    return [f"{label.replace(' or more', '+')}\n{users[label]:,}" for label in labels]


def _end(curve: Mapping[str, SliceRow], *, log: bool, labels: Sequence[str]) -> tuple[float, float]:
    label = list(curve)[-1]
    return float(label) if log else float(labels.index(label)), curve[label].mean


def _users(panels: Mapping[str, Sequence[SliceRow]]) -> str:
    told = []
    for task, rows in panels.items():
        users = [row.users for row in rows]
        told.append(f"{task} {min(users):,}" + (f" to {max(users):,}" if max(users) > min(users) else ""))
    return (
        f"People in each point: {', '.join(told)}. Bands: 95 % intervals of the models (bootstrap over people). Grey: the two best "
        "floors or baselines of the task, and popularity."
    )


_LINE: Final = 0.26  # inches a system
_COVERAGE: Final = "coverage@10"


def draw(report: Report) -> list[Picture]:
    """The pictures of what was measured; one for which nothing was measured is left out.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    pictures = [drawn("headline", "Every system on every task", lambda figure: _headlines(figure, report))]
    pictures += slice_pictures(report)
    if any(row.metric == _COVERAGE for row in report.system_metrics):
        title = "How good the lists are, and how much of the catalogue they show"
        pictures.append(drawn("coverage", title, lambda figure: _coverage(figure, report)))
    return pictures


def _headlines(figure: Figure, report: Report) -> str:
    """Dots with intervals, one column a task, the systems in the same order in all of them."""
    look, order = series_styles(report), _ordered(report)
    tasks = _headline_rows(report)
    figure.set_size_inches(_WIDE, 1.0 + _LINE * len(order))
    columns = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for axes, (task, rows) in zip(columns, tasks.items(), strict=True):
        metric = next(iter(rows.values())).metric
        _dots(styled(axes), rows, order, look)
        axes.set_title(f"{task}\n{metric_title(metric)}", fontsize=9.5, loc="left", color=MUTED)
        trivial_baselines = [row.mean for system, row in rows.items() if not look[system].model]
        if trivial_baselines:
            axes.axvline(max(trivial_baselines), color=MUTED, linestyle="--", linewidth=0.9, zorder=1)
    columns[0].set_yticks(np.arange(len(order)), order, fontsize=9)
    for label, name in zip(columns[0].get_yticklabels(), order, strict=True):
        label.set_color(look[name].ink)
        label.set_fontweight("bold" if look[name].model else "normal")
    asked = ", ".join(f"{task} {next(iter(rows.values())).users:,}" for task, rows in tasks.items())
    return (
        "The headline metric of each task, with its 95 % interval (bootstrap over people). Models are coloured, what they must "
        f"beat is grey, and the dashed line stands at the best floor or baseline of the task. People asked: {asked}."
    )


def _dots(axes: Axes, rows: Mapping[str, Row], order: list[str], look: Mapping[str, SeriesStyle]) -> None:
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
    look, tasks = series_styles(report), _headline_rows(report)
    shown = {}
    for task, rows in tasks.items():
        system_metrics = {
            row.system: row.mean
            for row in report.system_metrics
            if (row.task, row.metric) == (task, _COVERAGE)
        }
        if points := {
            name: (system_metrics[name], row.mean) for name, row in rows.items() if name in system_metrics
        }:
            shown[task] = points
    shown = dict(sorted(shown.items(), key=lambda item: item[0] not in ("fold-in", "last-20%"))[:2])
    figure.set_size_inches(_WIDE, 4.2)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (task, points) in zip(panels, shown.items(), strict=True):
        styled(axes)
        for name, point in points.items():
            axes.plot(*point, "o", color=look[name].colour, markersize=8 if look[name].model else 5)
        metric = next(iter(tasks[task].values())).metric
        axes.set(xlabel="share of the catalogue in anybody's first 10", ylabel=metric_title(metric))
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

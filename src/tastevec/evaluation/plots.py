"""Plots of an evaluation report: headline metrics and slices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.data.html import GRID, MUTED, Chart, draw_chart, style_axes
from tastevec.evaluation.results import headline_metric
from tastevec.evaluation.tables import metric_title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tastevec.evaluation.report import Report
    from tastevec.evaluation.statistics import Row, SliceRow

_BASELINE_COLOR: Final = "#9aa5b1"
_COLORS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9")  # Okabe & Ito 2008
_DASHES: Final = ("-", "--", ":")  # once the colors are used up
_MAX_NAME: Final = 27  # characters of a system name in a plot
_SIDES: Final = ((7, 0, "left"), (-7, 0, "right"), (0, 9, "center"), (0, -9, "center"))  # points from the dot
_HALF_CHARACTER: Final = 2.6  # points, at the size of labels
_HALF_LINE: Final = 4.5


@dataclass(frozen=True)
class SeriesStyle:
    """Color, dash and weight of one system; models are drawn over baselines."""

    color: str
    dash: str
    model: bool

    @property
    def text_color(self) -> str:
        """The color of its name."""
        return self.color if self.model else MUTED

    @property
    def font(self) -> dict[str, Any]:
        """The color and weight of its name."""
        return {"color": self.text_color, "fontweight": "bold" if self.model else "normal"}


def series_styles(report: Report) -> dict[str, SeriesStyle]:
    """Return a color of its own for each model, and one gray for all baselines."""
    styles = {facts.system: SeriesStyle(_BASELINE_COLOR, "-", model=False) for facts in report.systems}
    models = [facts.system for facts in report.systems if not facts.is_baseline]
    for index, system in enumerate(models):
        rounds, color = divmod(index, len(_COLORS))
        styles[system] = SeriesStyle(_COLORS[color], _DASHES[rounds % len(_DASHES)], model=True)
    return styles


def short(name: str) -> str:
    """Return a name that fits into a plot: without the middle of a long one, since ends distinguish systems.

    Examples:
        >>> short("EASE (all ratings), last 20 items")
        'EASE (all rat… last 20 items'
    """
    half = _MAX_NAME // 2
    return name if len(name) <= _MAX_NAME + 1 else f"{name[:half]}…{name[-half - 1 :]}"


def label_ends(
    axes: Axes, ends: Mapping[str, tuple[float, float]], styles: Mapping[str, SeriesStyle]
) -> None:
    """Write each system name to the right of the end of its line (x, y), without overlap."""
    low, high = axes.get_ylim()
    points = axes.get_figure().get_size_inches()[1] * 72 * axes.get_position().height  # type: ignore[union-attr]  # axes without a figure cannot be here
    names = sorted(ends, key=lambda name: ends[name][1])
    gap = (high - low) * 2.6 * _HALF_LINE / points
    heights = spread([ends[name][1] for name in names], gap)
    for name, height in zip(names, heights, strict=True):
        axes.annotate(
            short(name),
            (ends[name][0], height),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            annotation_clip=False,
            **styles[name].font,
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending heights, moved as little as possible so that neighbors are at least ``gap`` apart.

    Heights that would overlap become a block around their mean; blocks that overlap merge.

    Examples:
        >>> spread([0.0, 1.0, 5.0], 2.0)
        [-0.5, 1.5, 5.0]
    """
    blocks: list[list[float]] = []  # [sum of (height - offset in the block), members]
    for height in heights:
        blocks.append([height, 1])
        while len(blocks) > 1 and _bottom(blocks[-1]) < _bottom(blocks[-2]) + gap * blocks[-2][1]:
            total, members = blocks.pop()
            blocks[-1][0] += total - gap * blocks[-1][1] * members
            blocks[-1][1] += members
    return [_bottom(block) + gap * index for block in blocks for index in range(int(block[1]))]


def label_points(
    axes: Axes, points: Mapping[str, tuple[float, float]], styles: Mapping[str, SeriesStyle]
) -> None:
    """Write names next to points (x, y), first ones first; a name without free space is omitted."""
    figure = axes.get_figure()
    size = figure.get_size_inches() * 72  # type: ignore[union-attr]  # as in label_ends
    box = axes.get_position()
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    scale = np.array([box.width * size[0] / (right - left), box.height * size[1] / (high - low)])
    centers = {name: (np.array(point) - (left, low)) * scale for name, point in points.items()}
    taken = [(*center - 3, *center + 3) for center in centers.values()]
    end = np.array([right - left, high - low]) * scale
    for name, center in centers.items():
        width = 2 * _HALF_CHARACTER * len(short(name))
        for right_by, up, side in _SIDES:
            start = center[0] + right_by - {"left": 0, "center": width / 2, "right": width}[side]
            area = (start, center[1] + up - _HALF_LINE, start + width, center[1] + up + _HALF_LINE)
            inside = min(area[:2]) >= 0 and area[2] <= end[0] and area[3] <= end[1]
            if inside and not any(_overlap(area, other) for other in taken):
                taken.append(area)
                axes.annotate(
                    short(name),
                    points[name],
                    xytext=(right_by, up),
                    textcoords="offset points",
                    ha=side,
                    va="center",
                    fontsize=8.5,
                    **styles[name].font,
                )
                break


def _bottom(block: Sequence[float]) -> float:
    return block[0] / block[1]


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


_WIDTH: Final = 9.6  # inches
_PANEL_HEIGHT: Final = 3.2  # inches
_COLUMNS: Final = 2
_BEST_BASELINES: Final = 2  # number of baselines in a slice plot
_REFERENCE: Final = "popularity"  # and this one, for reference
_TASKS: Final = ("random-20pct", "last-20pct", "next-item")  # shown first
_CURVE: Final = "history_length"
_RECALL: Final = "Recall@20 of the held-out items in each group, without a cap."


@dataclass(frozen=True)
class _SlicePlot:
    """One kind of slice: plot name and title, axis label, caption, and the maximum number of panels."""

    by: str
    name: str
    title: str
    axis: str
    caption: str
    panels: int = 2


_SLICE_PLOTS: Final = (
    _SlicePlot(
        by=_CURVE,
        name="quality-curve",
        title="Quality by history length",
        axis="latest input items (log scale)",
        caption="The same users and held-out items at each length, with only the latest n input items.",
        panels=4,
    ),
    _SlicePlot(
        by="item_popularity_decile",
        name="popularity",
        title="Recall by item popularity",
        axis="popularity decile, least popular first",
        caption=f"{_RECALL} A system that recommends popular items only has 0 on the left.",
    ),
    _SlicePlot(
        by="item_age_years",
        name="age",
        title="Recall by item age",
        axis="years from release to rating",
        caption=f"{_RECALL} Below each label: number of users with such items.",
    ),
    _SlicePlot(
        by="cold_items",
        name="cold-items",
        title="Recall for cold items",
        axis="training users who rated the item",
        caption=f"{_RECALL} Below each label: number of users with such items.",
    ),
)


def _panels(report: Report, plot: _SlicePlot) -> dict[str, list[SliceRow]]:
    """Return the rows of each shown task, of its headline metric."""
    rows: dict[str, list[SliceRow]] = {}
    for row in report.slices:
        if row.by == plot.by and isfinite(row.mean):
            rows.setdefault(row.task, []).append(row)
    tasks = sorted(rows, key=lambda task: _TASKS.index(task) if task in _TASKS else len(_TASKS))
    found = {}
    for task in tasks[: plot.panels]:
        metric = headline_metric(task, [row.metric for row in rows[task]])
        found[task] = [row for row in rows[task] if row.metric == metric]
    return found


def _draw_panels(figure: Figure, report: Report, plot: _SlicePlot, panels: dict[str, list[SliceRow]]) -> str:
    """Draw a panel for each task."""
    styles, log = series_styles(report), plot.by == _CURVE
    columns = min(_COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure.set_size_inches(_WIDTH if columns > 1 else _WIDTH * 0.7, _PANEL_HEIGHT * lines + 0.3)
    grid = figure.subplots(lines, columns, squeeze=False, gridspec_kw={"hspace": 0.06}).ravel()
    for spare in grid[len(panels) :]:
        spare.set_visible(False)
    headlines, ends = _headline_rows(report), []
    for axes, (task, rows) in zip(grid, panels.items(), strict=False):
        curves = _curves(rows, _shown_systems(headlines[task], styles))
        x = _plot(style_axes(axes), curves, styles, log=log)
        axes.set_title(f"{task}, {metric_title(rows[0].metric)}", fontsize=9.5, loc="left", color=MUTED)
        axes.set_xlabel(plot.axis, fontsize=9)
        last = {name: list(curve)[-1] for name, curve in curves.items()}
        ends.append({name: (x[label], curves[name][label].mean) for name, label in last.items()})
    figure.draw_without_rendering()  # the axes know their size then, which decides the space between names
    for axes, ended in zip(grid, ends, strict=False):
        label_ends(axes, ended, styles)
    return f"{plot.caption} {_user_counts(panels)}"


def _shown_systems(headlines: Mapping[str, Row], styles: Mapping[str, SeriesStyle]) -> list[str]:
    """Return the systems of a slice plot: the best baselines, popularity, and every model."""
    means = {system: row.mean for system, row in headlines.items()}
    baselines = sorted((name for name in means if not styles[name].model), key=lambda name: -means[name])
    reference = [name for name in baselines if name == _REFERENCE]
    models = [name for name in means if styles[name].model]  # last, so that they are drawn on top
    return list(dict.fromkeys([*baselines[:_BEST_BASELINES], *reference, *models]))


def _curves(rows: Sequence[SliceRow], systems: Sequence[str]) -> dict[str, dict[str, SliceRow]]:
    """Return the rows of each system by label."""
    curves = {name: {row.label: row for row in rows if row.system == name} for name in systems}
    return {name: curve for name, curve in curves.items() if curve}


def _plot(
    axes: Axes, curves: Mapping[str, Mapping[str, SliceRow]], styles: Mapping[str, SeriesStyle], *, log: bool
) -> dict[str, float]:
    """Draw the curves and return the x of each label: the number itself on a log axis, else its index."""
    labels = dict.fromkeys(label for curve in curves.values() for label in curve)
    x_of = {label: float(label) if log else float(index) for index, label in enumerate(labels)}
    for name, curve in curves.items():
        x, style = [x_of[label] for label in curve], styles[name]
        axes.plot(
            x,
            [row.mean for row in curve.values()],
            color=style.color,
            linestyle=style.dash,
            linewidth=2.2 if style.model else 1.3,
            marker="o",
            markersize=4 if style.model else 2.5,
        )
        if style.model:
            low = [row.ci_low for row in curve.values()]
            high = [row.ci_high for row in curve.values()]
            axes.fill_between(x, low, high, color=style.color, alpha=0.14, linewidth=0)
    if log:
        axes.set_xscale("log")
    axes.set_xticks(list(x_of.values()), _tick_labels(curves, list(x_of), log=log), fontsize=8.5)
    axes.set_xticks([], minor=True)
    axes.tick_params(axis="y", labelsize=8.5)
    axes.set_ylim(bottom=0)
    return x_of


def _tick_labels(
    curves: Mapping[str, Mapping[str, SliceRow]], labels: Sequence[str], *, log: bool
) -> list[str]:
    """Return the labels; a few long ones with the number of users below."""
    if log or max(map(len, labels)) <= 2:  # noqa: PLR2004  numbers up to 10
        return list(labels)
    users = {label: row.n_users for curve in curves.values() for label, row in curve.items()}
    return [f"{label.replace(' or more', '+')}\n{users[label]:,}" for label in labels]


def _user_counts(panels: Mapping[str, Sequence[SliceRow]]) -> str:
    counts = []
    for task, rows in panels.items():
        users = [row.n_users for row in rows]
        several = f" to {max(users):,}" if max(users) > min(users) else ""
        counts.append(f"{task} {min(users):,}{several}")
    return (
        f"Users in each point: {', '.join(counts)}. Bands: 95 % CIs of the models (bootstrap over users). Gray: the two best "
        "baselines of the task, and popularity."
    )


_LINE: Final = 0.26  # inches a system
_COVERAGE: Final = "coverage@10"


def draw(report: Report) -> list[Chart]:
    """Return the plots of a report; a plot without data is omitted.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    pictures = [draw_chart("headline", "All systems and tasks", partial(_headlines, report=report))]
    pictures += [
        draw_chart(plot.name, plot.title, partial(_draw_panels, report=report, plot=plot, panels=panels))
        for plot in _SLICE_PLOTS
        if (panels := _panels(report, plot))
    ]
    if any(row.metric == _COVERAGE for row in report.system_metrics):
        pictures.append(
            draw_chart("coverage", "Quality and catalog coverage", partial(_coverage, report=report))
        )
    if report.calibration:
        pictures.append(
            draw_chart("calibration", "Calibration of probabilities", partial(_calibration, report=report))
        )
    return pictures


def _calibration(figure: Figure, report: Report) -> str:
    """Draw the share of positives against the mean probability of each bin, one panel a horizon."""
    styles, rows = series_styles(report), report.calibration
    horizons = list(dict.fromkeys(row.horizon for row in rows))
    figure.set_size_inches(_WIDTH if len(horizons) > 1 else _WIDTH * 0.7, 4.2)
    for axes, horizon in zip(figure.subplots(1, len(horizons), squeeze=False)[0], horizons, strict=True):
        style_axes(axes).plot([0, 1], [0, 1], color=MUTED, linestyle="--", linewidth=0.9)
        shown = [row for row in rows if row.horizon == horizon]
        for row in shown:
            color = styles[row.system].color
            axes.vlines(row.predicted, row.observed_low, row.observed_high, color=color, linewidth=1.6)
            label = f"{short(row.system)}: ECE {row.calibration_error:.3f}, Brier {row.brier:.3f} ({row.brier_of_base_rate:.3f})"
            axes.plot(
                row.predicted, row.observed, "o-", color=color, markersize=4.5, linewidth=1.3, label=label
            )
        axes.set(
            xlim=(0, 1),
            ylim=(0, 1),
            xlabel="predicted probability",
            ylabel="share of positives",
            aspect="equal",
        )
        axes.axhline(shown[0].base_rate, color=MUTED, linestyle=":", linewidth=0.9, zorder=0)
        axes.text(
            0.99, shown[0].base_rate - 0.03, "all ratings", fontsize=8, color=MUTED, ha="right", va="center"
        )
        axes.set_title(f"horizon {horizon}", fontsize=9.5, loc="left", color=MUTED)
        axes.tick_params(labelsize=8.5)
        axes.legend(fontsize=8, frameon=False, loc="upper left")
    return (
        "Mean probability of a positive rating and share of positives, in ten bins with equally many ratings, each with its 95 % CI "
        "(bootstrap over users); on the dashed line both are equal. The dotted line is the share of positives of all ratings, and in "
        f"parentheses is its Brier score. {rows[0].n_ratings:,} later ratings of {rows[0].n_users:,} users."
    )


def _headlines(figure: Figure, report: Report) -> str:
    """Draw dots with CIs, one column a task, the systems in the same order in all of them."""
    styles, order, tasks = series_styles(report), _ordered(report), _headline_rows(report)
    figure.set_size_inches(_WIDTH, 1.0 + _LINE * len(order))
    columns = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for axes, (task, rows) in zip(columns, tasks.items(), strict=True):
        metric = next(iter(rows.values())).metric
        _dots(style_axes(axes), rows, order, styles)
        axes.set_title(f"{task}\n{metric_title(metric)}", fontsize=9.5, loc="left", color=MUTED)
        baselines = [row.mean for system, row in rows.items() if not styles[system].model]
        if baselines:
            axes.axvline(max(baselines), color=MUTED, linestyle="--", linewidth=0.9, zorder=1)
    columns[0].set_yticks(np.arange(len(order)), order, fontsize=9)
    for label, name in zip(columns[0].get_yticklabels(), order, strict=True):
        label.set(**styles[name].font)
    return (
        "The headline metric of each task with its 95 % CI (bootstrap over users). Models are colored, baselines are gray; dashed "
        f"line: the best baseline of the task. Users: {_counts(tasks)}."
    )


def _dots(axes: Axes, rows: Mapping[str, Row], order: list[str], styles: Mapping[str, SeriesStyle]) -> None:
    for y, name in enumerate(order):
        if name in rows:
            row, style = rows[name], styles[name]
            axes.plot([row.ci_low, row.ci_high], [y, y], color=style.color, linewidth=1.8)
            axes.plot(row.mean, y, "o", color=style.color, markersize=6 if style.model else 4.5)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID)
    axes.set_xlim(left=0)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.locator_params(axis="x", nbins=3)
    axes.tick_params(axis="x", labelsize=8.5)


def _coverage(figure: Figure, report: Report) -> str:
    """Draw the headline metric against the catalog coverage."""
    styles, tasks = series_styles(report), _headline_rows(report)
    coverage = {(row.task, row.system): row.mean for row in report.system_metrics if row.metric == _COVERAGE}
    points = {
        task: {
            name: (coverage[task, name], row.mean) for name, row in rows.items() if (task, name) in coverage
        }
        for task, rows in tasks.items()
    }
    shown = sorted((task for task in points if points[task]), key=lambda task: task not in _TASKS[:2])[:2]
    figure.set_size_inches(_WIDTH, 4.2)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, task in zip(panels, shown, strict=True):
        style_axes(axes)
        for name, point in points[task].items():
            axes.plot(*point, "o", color=styles[name].color, markersize=8 if styles[name].model else 5)
        metric = next(iter(tasks[task].values())).metric
        axes.set(xlabel="catalog coverage@10", ylabel=metric_title(metric))
        axes.set_title(task, fontsize=9.5, loc="left", color=MUTED)
        axes.tick_params(labelsize=8.5)
        axes.set_xlim(0, 1.25 * max(x for x, _ in points[task].values()) or 1)
        axes.set_ylim(0, 1.1 * max(y for _, y in points[task].values()) or 1)
    figure.draw_without_rendering()  # the axes know their size then, which decides which names fit
    for axes, task in zip(panels, shown, strict=True):
        order = sorted(points[task], key=lambda name: (not styles[name].model, -points[task][name][1]))
        label_points(axes, {name: points[task][name] for name in order}, styles)
    return (
        "Lists can be accurate and the same for all users: headline metric (up) and share of the catalog in any user's first 10 "
        f"items (right). Names that do not fit are in the tables. Users: {_counts({task: tasks[task] for task in shown})}."
    )


def _counts(tasks: Mapping[str, Mapping[str, Row]]) -> str:
    return ", ".join(f"{task} {next(iter(rows.values())).n_users:,}" for task, rows in tasks.items())


def _headline_rows(report: Report) -> dict[str, dict[str, Row]]:
    """Return, for each task, every system's row of the headline metric."""
    found: dict[str, dict[str, Row]] = {}
    for task in report.tasks:
        rows = [row for row in report.rows if row.task == task.name]
        metric = headline_metric(task.name, [row.metric for row in rows])
        found[task.name] = {row.system: row for row in rows if row.metric == metric}
    return found


def _ordered(report: Report) -> list[str]:
    """Return the systems, best last: by the mean over their tasks of the share of the task's best."""
    shares: dict[str, list[float]] = {facts.system: [] for facts in report.systems}
    for rows in _headline_rows(report).values():
        best = max(row.mean for row in rows.values()) or 1.0
        for name, row in rows.items():
            shares[name].append(row.mean / best)
    return sorted(shares, key=lambda name: float(np.mean(shares[name])) if shares[name] else 0.0)

"""The pictures of slices: how good systems are by how much is known of a person, and by which films are hidden."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Final

from tastevec.data.html import MUTED, Picture, drawn, styled
from tastevec.evaluation.report.looks import label_ends, looks
from tastevec.evaluation.report.results import headline
from tastevec.evaluation.report.tables import spoken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tastevec.evaluation.report.looks import Look
    from tastevec.evaluation.report.report import Report
    from tastevec.evaluation.report.rows import SliceRow

__all__ = ["slice_pictures"]

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
    look = looks(report)
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
        axes.set_title(f"{task}, {spoken(rows[0].metric)}", fontsize=9.5, loc="left", color=MUTED)
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
    return f"{kind.says} {_people(panels)}"


def _chosen(report: Report, task: str, look: Mapping[str, Look]) -> list[str]:
    """What is drawn of a task: every model, the best floors, and the most popular films."""
    rows = [row for row in report.rows if row.task == task]
    metric = headline(task, list(dict.fromkeys(row.metric for row in rows)))
    means = {row.system: row.mean for row in rows if row.metric == metric}
    floors = sorted((name for name in means if not look[name].model), key=lambda name: -means[name])
    models = [name for name in means if look[name].model]
    familiar = [name for name in floors if name == _FAMILIAR]
    return list(
        dict.fromkeys([*floors[:_FLOORS], *familiar, *models])
    )  # models last, so that they lie on top


def _curves(rows: Sequence[SliceRow], chosen: Sequence[str]) -> dict[str, dict[str, SliceRow]]:
    """Of each chosen system, its rows by label."""
    curves = {name: {row.label: row for row in rows if row.system == name} for name in chosen}
    return {name: curve for name, curve in curves.items() if curve}


def _labels(curves: Mapping[str, Mapping[str, SliceRow]]) -> list[str]:
    return list(dict.fromkeys(label for curve in curves.values() for label in curve))


def _plot(
    axes: Axes, curves: Mapping[str, Mapping[str, SliceRow]], look: Mapping[str, Look], *, log: bool
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


def _people(panels: Mapping[str, Sequence[SliceRow]]) -> str:
    told = []
    for task, rows in panels.items():
        users = [row.users for row in rows]
        told.append(f"{task} {min(users):,}" + (f" to {max(users):,}" if max(users) > min(users) else ""))
    return (
        f"People in each point: {', '.join(told)}. Bands: 95 % intervals of the models (bootstrap over people). Grey: the two best "
        "floors or baselines of the task, and popularity."
    )

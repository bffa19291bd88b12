"""Tables of a report as data, rendered as text or Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Literal, NamedTuple

from tastevec.evaluation.results import CENTRED_DISTANCE, DISTANCE, SHUFFLED, headline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tastevec.evaluation.report import Report
    from tastevec.evaluation.results import Asked, SystemFacts
    from tastevec.evaluation.statistics import Paired, Row
    from tastevec.evaluation.tasks import Task

__all__ = ["LEGEND", "Cell", "Line", "Style", "Table", "as_text", "spoken", "tables"]

Style = Literal["text", "markdown"]

LEGEND = (
    "* beside a mean: better than the best floor or baseline, the paired 95 % interval of the difference excludes 0. "
    "* beside a difference: its paired interval excludes 0. All intervals: bootstrap over people."
)

# The columns of a task, where measured; the files hold every metric.
_COLUMNS = {
    "next-liked": ("hr@10", "ndcg@10", f"ndcg@10{SHUFFLED}"),
    "best-rated": ("hr@10", "ndcg@10", DISTANCE, CENTRED_DISTANCE),
}
_OF_SEVERAL = ("recall@20", "ndcg@100", f"ndcg@100{SHUFFLED}")
_KINDS = {
    "The vectors": (
        *(
            "effective_rank",
            "top_direction",
            "hubness@10",
            "split_half_cosine",
            "between_user_cosine",
            "split_half_accuracy",
        ),
    ),
    "The first 10 films of everybody": (
        *("coverage@10", "gini@10", "log_popularity@10", "novelty@10", "intra_list_similarity@10"),
    ),
}
_OVERALL = "fold-in"  # of vectors and lists, one task is shown: this one where it was asked


class Cell(NamedTuple):
    """A number and, where it has one, its interval."""

    value: str
    interval: str = ""


class Line(NamedTuple):
    """A system and its cells; the systems that are judged stand out from what they must beat."""

    system: str
    floor: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        title: What it is about.
        note: What to know when reading it.
        columns: What the cells of each line are.
        lines: The systems, the best first.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]


def tables(report: Report) -> list[Table]:
    """One table a task, then one of the vectors and one of the lists, where they were measured."""
    described = [_described(report, title, metrics) for title, metrics in _KINDS.items()]
    asked = [_of_task(report, task) for task in report.tasks]
    return [*asked, *(table for table in described if table.lines)]


def as_text(table: Table, style: Style) -> str:
    """The table in columns of equal width, under its title and note."""
    lines = [["system", *table.columns]]
    lines += [[line.system, *(" ".join(filter(None, cell)) for cell in line.cells)] for line in table.lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    padded.insert(1, ["-" * width for width in widths])
    if style == "markdown":
        shown = "\n".join(f"| {' | '.join(line)} |" for line in padded)
    else:
        shown = "\n".join("  ".join(line).rstrip() for line in padded)
    return f"{table.title}: {table.note}\n\n{shown}"


def spoken(metric: str) -> str:
    """A metric as a column is called.

    Examples:
        >>> spoken("ndcg@10_shuffled"), spoken("cosine_distance")
        ('ndcg@10, sessions shuffled', 'cosine distance')
    """
    return metric.replace(SHUFFLED, ", sessions shuffled").replace("_", " ")


def _of_task(report: Report, task: Task | Asked) -> Table:
    stars = {
        (skill.system, skill.metric) for skill in report.skills if skill.star and skill.task == task.name
    }
    rows = {(row.system, row.metric): row for row in report.rows if row.task == task.name}
    measured = list(dict.fromkeys(metric for _, metric in rows))
    metrics = [metric for metric in _COLUMNS.get(task.name, _OF_SEVERAL) if metric in measured] or measured
    first = headline(task.name, measured)
    best, beside = _beside_best([pair for pair in report.paired if pair.task == task.name], rows, first)
    several = any(facts.runs > 1 for facts in report.systems)
    columns = [*map(spoken, metrics), *[f"{first}, sd of the runs"] * several, f"{first} beside {best}"]
    lines = []
    for facts in _ordered(report, rows, first):
        name = facts.system
        cells = [_cell(rows.get((name, metric)), star=(name, metric) in stars) for metric in metrics]
        cells += [*[_spread(rows[name, first])] * several, beside[name]]
        lines.append(Line(_named(name, facts.runs), facts.floor, tuple(cells)))
    note = f"{len(task):,} users asked, {task.left_out:,} left out. {task.note}"
    if absent := [facts.system for facts in report.systems if (facts.system, first) not in rows]:
        note += f" Not asked: {'; '.join(absent)}."
    return Table(task.name, note, tuple(columns), tuple(lines))


def _described(report: Report, title: str, metrics: tuple[str, ...]) -> Table:
    names = [task.name for task in report.tasks]
    task = _OVERALL if _OVERALL in names else names[0]
    rows = {
        (row.system, row.metric): row for row in (*report.rows, *report.system_metrics) if row.task == task
    }
    there = [metric for metric in metrics if any(measured == metric for _, measured in rows)]
    lines = [
        Line(
            _named(facts.system, facts.runs),
            facts.floor,
            tuple(_cell(rows.get((facts.system, metric))) for metric in there),
        )
        for facts in report.systems
        if any((facts.system, metric) in rows for metric in there)
    ]
    return Table(title, f"as {task} is asked.", tuple(map(spoken, there)), tuple(lines))


def _ordered(report: Report, rows: dict[tuple[str, str], Row], metric: str) -> list[SystemFacts]:
    """The systems that have the metric, the best first."""
    there = [facts for facts in report.systems if (facts.system, metric) in rows]
    return sorted(there, key=lambda facts: -rows[facts.system, metric].mean)


def _beside_best(
    pairs: Sequence[Paired], rows: dict[tuple[str, str], Row], metric: str
) -> tuple[str, dict[str, Cell]]:
    """The system with the best headline metric, and every other one's difference from it."""
    means = {system: row.mean for (system, measured), row in rows.items() if measured == metric}
    best = max(means, key=lambda system: means[system])
    cells = {best: Cell("the best")}
    for pair in pairs:
        if pair.a == best:
            cells[pair.b] = _signed(-pair.difference, -pair.high, -pair.low, star=pair.star)
        elif pair.b == best:
            cells[pair.a] = _signed(pair.difference, pair.low, pair.high, star=pair.star)
    return best, cells


def _signed(difference: float, low: float, high: float, *, star: bool) -> Cell:
    return Cell(f"{difference:+.3f}{'*' * star}", f"[{low:+.3f}, {high:+.3f}]")


def _cell(row: Row | None, *, star: bool = False) -> Cell:
    if row is None or not isfinite(row.mean):
        return Cell("-")
    value = f"{row.mean:.3f}{'*' * star}"
    return Cell(value, f"[{row.low:.3f}, {row.high:.3f}]") if isfinite(row.low) else Cell(value)


def _spread(row: Row) -> Cell:
    """How far the runs of a system are from each other."""
    return Cell("-" if row.seed_sd is None else f"{row.seed_sd:.3f}")


def _named(system: str, runs: int) -> str:
    return f"{system} ({runs} runs)" if runs > 1 else system

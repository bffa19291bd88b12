"""Tables of a report as data, rendered as text or Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from tastevec.evaluation.lists import ListCounts
from tastevec.evaluation.registry import is_trivial
from tastevec.evaluation.results import CENTRED_DISTANCE, DISTANCE, MEASURES, SHUFFLED, headline_metric
from tastevec.evaluation.tasks import TASK_TITLES

if TYPE_CHECKING:
    from tastevec.evaluation.report import Report
    from tastevec.evaluation.results import BehaviorRow, SystemFacts, TaskRecord
    from tastevec.evaluation.statistics import Row
    from tastevec.evaluation.tasks import Task

LEGEND = (
    "* after a mean: significantly better than the best baseline (the paired 95 % CI of the difference excludes 0), where a "
    "strong baseline ran. * after a difference: its paired CI excludes 0. All CIs: bootstrap over users. Recall@k (capped): "
    "hits / min(k, held-out items); uncapped: hits / held-out items."
)

# The columns of a task, where measured; the files contain every metric.
_COLUMNS = {
    "next-item": ("hr@10", "ndcg@10", f"ndcg@10{SHUFFLED}"),
    "top-rated": ("hr@10", "ndcg@10", DISTANCE, CENTRED_DISTANCE),
}
_DEFAULT_COLUMNS = ("recall@20", "uncapped_recall@20", "ndcg@100", f"ndcg@100{SHUFFLED}")
_SYSTEM_TABLES = {
    "Embeddings": (
        "effective_rank",
        "top_direction",
        "hubness@10",
        "split_half_cosine",
        "between_user_cosine",
        "split_half_accuracy",
    ),
    "Lists (first 10 items)": (
        "coverage@10",
        "gini@10",
        "log_popularity@10",
        "novelty@10",
        "intra_list_similarity@10",
    ),
}
_SMALL = 0.0005  # 0.000 when rounded
_SYSTEM_TASK = "random-20pct"  # the tables above are of one task: this one where it was evaluated
_TITLES = {
    "hr": "HR",
    "recall": "Recall",
    "uncapped_recall": "Recall",
    "ndcg": "NDCG",
    "mrr": "MRR",
    "coverage": "catalog coverage",
    "gini": "exposure Gini",
}
_SUFFIXES = {"recall": " (capped)", "uncapped_recall": " (uncapped)"}
_NAMES = {
    "top_direction": "top-direction share",
    "log_popularity": "mean log popularity",
    CENTRED_DISTANCE: "centered cosine distance",
}


class Cell(NamedTuple):
    """A number and, where it has one, its CI; or a text."""

    value: str
    interval: str = ""
    is_text: bool = False


class Line(NamedTuple):
    """A system and its cells."""

    system: str
    is_baseline: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """One table: the columns are the titles of the cells of each line, the lines are the systems, best first.

    In a table ``of`` something else, the lines are that.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    of: str = "system"


def report_text(report: Report) -> str:
    """Return one table for each task, best system first, each mean with its 95 % CI; then embeddings and lists."""
    return "\n\n".join([*map(_as_text, report_tables(report)), *skipped_lines(report), LEGEND])


def skipped_lines(report: Report) -> list[str]:
    """Return why each task without users was skipped, and each measure of behavior."""
    lines = [f"{TASK_TITLES[task]} ({task}): skipped, {reason}." for task, reason in report.skipped.items()]
    reasons: dict[str, list[str]] = {}
    for measure, reason in report.behavior.skipped.items():
        reasons.setdefault(reason, []).append(MEASURES[measure].title)
    return [
        *lines,
        *(f"Behavior, {'; '.join(titles)}: skipped, {reason}." for reason, titles in reasons.items()),
    ]


def report_tables(report: Report) -> list[Table]:
    """Return one table for each task, then those of embeddings, lists, behavior and calibration, where measured."""
    described = [_system_table(report, title, metrics) for title, metrics in _SYSTEM_TABLES.items()]
    by_task = [_task_table(report, task) for task in report.tasks]
    others = (*described, _behavior_table(report), _calibration_table(report))
    return [*by_task, *(table for table in others if table.lines)]


def metric_title(metric: str) -> str:
    """Return a metric as a column title.

    Examples:
        >>> metric_title("ndcg@10_shuffled"), metric_title("cosine_distance")
        ('NDCG@10, sessions shuffled', 'cosine distance')
        >>> metric_title("top_direction"), metric_title("coverage@10")
        ('top-direction share', 'catalog coverage@10')
        >>> metric_title("recall@20"), metric_title("uncapped_recall@20")
        ('Recall@20 (capped)', 'Recall@20 (uncapped)')
    """
    plain = metric.removesuffix(SHUFFLED)
    name, at, depth = plain.partition("@")
    title = (
        _NAMES.get(name)
        or _TITLES.get(name)
        or name.replace("split_half", "split-half").replace("between_user", "between-user")
    )
    ending = _SUFFIXES.get(name, "") + (", sessions shuffled" if plain != metric else "")
    return title.replace("_", " ") + at + depth + ending


def _as_text(table: Table) -> str:
    """Return the table in columns of equal width, under its title and note."""
    lines = [[table.of, *table.columns]]
    lines += [
        [line.system, *(" ".join(filter(None, cell[:2])) for cell in line.cells)] for line in table.lines
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    padded.insert(1, ["-" * width for width in widths])
    shown = "\n".join("  ".join(line).rstrip() for line in padded)
    return f"{table.title}: {table.note}\n\n{shown}"


def _task_table(report: Report, task: Task | TaskRecord) -> Table:
    rows = {(row.system, row.metric): row for row in report.rows if row.task == task.name}
    significant = {
        (skill.system, skill.metric)
        for skill in report.skills
        if skill.significant and skill.task == task.name and _has_strong_baseline(report, rows)
    }
    measured = list(dict.fromkeys(metric for _, metric in rows))
    columns = _COLUMNS.get(task.name, _DEFAULT_COLUMNS)
    metrics = [metric for metric in columns if metric in measured] or measured
    headline = headline_metric(task.name, measured)
    best, differences = _differences_from_best(report, task.name, rows, headline)
    several_runs = any(facts.runs > 1 for facts in report.systems)
    title = metric_title(headline)
    titles = [*map(metric_title, metrics), *[f"{title}, SD of runs"] * several_runs, f"Δ{title} vs. {best}"]
    lines = []
    present = [facts for facts in report.systems if (facts.system, headline) in rows]
    for facts in sorted(present, key=lambda facts: -rows[facts.system, headline].mean):
        name = facts.system
        cells = [
            _cell(rows.get((name, metric)), significant=(name, metric) in significant) for metric in metrics
        ]
        if several_runs:
            spread = rows[name, headline].seed_sd
            cells.append(Cell("-" if spread is None else f"{spread:.3f}"))
        cells.append(differences[name])
        lines.append(Line(_named(facts), facts.is_baseline, tuple(cells)))
    note = f"{task.note} {len(task):,} users, {task.excluded_users:,} excluded."
    for facts in present:
        if counts := facts.settings.get("lists", {}).get(task.name):
            note += f" {facts.system}: {ListCounts(**counts)}."
    if absent := [facts.system for facts in report.systems if (facts.system, headline) not in rows]:
        note += f" Not evaluated: {'; '.join(absent)}."
    return Table(task.name, note, tuple(titles), tuple(lines))


def _has_strong_baseline(report: Report, rows: dict[tuple[str, str], Row]) -> bool:
    systems = {system for system, _ in rows}
    return any(
        facts.is_baseline and not is_trivial(facts.system)
        for facts in report.systems
        if facts.system in systems
    )


def _system_table(report: Report, title: str, metrics: tuple[str, ...]) -> Table:
    names = [task.name for task in report.tasks]
    task = _SYSTEM_TASK if _SYSTEM_TASK in names else names[0]
    rows = {
        (row.system, row.metric): row for row in (*report.rows, *report.system_metrics) if row.task == task
    }
    present = [metric for metric in metrics if any(measured == metric for _, measured in rows)]
    lines = []
    for facts in report.systems:
        found = [rows.get((facts.system, metric)) for metric in present]
        if any(found):
            lines.append(Line(_named(facts), facts.is_baseline, tuple(map(_cell, found))))
    return Table(title, f"task {task}.", tuple(map(metric_title, present)), tuple(lines))


def _behavior_table(report: Report) -> Table:
    """Return one line for each measure: each model at each horizon, the reference, and how to read it."""
    rows = {(row.system, row.horizon, row.measure): row for row in report.behavior.rows}
    columns = list(dict.fromkeys((system, horizon) for system, horizon, _ in rows))
    several = len({system for system, _ in columns}) > 1
    titles = [f"{system}, {horizon}" if several else horizon for system, horizon in columns]
    lines = []
    for name, (title, meaning) in MEASURES.items():
        found = [rows.get((*column, name)) for column in columns]
        references = [f"{row.reference:.3f}" for row in found if row and isfinite(row.reference)]
        reference = " / ".join(references if len(set(references)) > 1 else references[:1]) or "-"
        if any(found):
            cells = (*map(_behavior_cell, found), Cell(reference), Cell(meaning, is_text=True))
            lines.append(Line(title, is_baseline=True, cells=cells))
    users = max((row.n_values for row in report.behavior.rows if row.unit == "users"), default=0)
    note = (
        f"what the models make of ratings, repeats and halves of a history; at most {users:,} held-out users."
    )
    return Table("Behavior", note, (*titles, "reference", "meaning"), tuple(lines), of="measure")


def _calibration_table(report: Report) -> Table:
    """Return one line for each model and horizon."""
    lines = []
    for row in report.calibration:
        interval = f"[{row.brier_low:.3f}, {row.brier_high:.3f}]"
        numbers = (row.base_rate, row.calibration_error, row.brier, row.brier_of_base_rate)
        cells = [Cell(f"{one:.3f}", interval if one is row.brier else "") for one in numbers]
        lines.append(
            Line(
                f"{row.system}, {row.horizon}", is_baseline=False, cells=(Cell(f"{row.n_ratings:,}"), *cells)
            )
        )
    titles = (
        "ratings",
        "positive",
        "calibration error (ECE)",
        "Brier score",
        "Brier score of the share of positives",
    )
    note = "the first 80 % of each history are known, and the probability that each later rating is positive is predicted; lower errors are better."
    return Table("Calibration", note, titles, tuple(lines))


def _behavior_cell(row: BehaviorRow | None) -> Cell:
    """Return the cell of a measure; a small difference from 0 is not rounded to 0."""
    if row is not None and 0 < abs(row.mean) < _SMALL:
        return Cell(f"{row.mean:.1e}")
    return _cell(row)


def _differences_from_best(
    report: Report, task: str, rows: dict[tuple[str, str], Row], metric: str
) -> tuple[str, dict[str, Cell]]:
    """Return the system with the best headline metric, and the difference of every other one from it."""
    means = {system: row.mean for (system, measured), row in rows.items() if measured == metric}
    best = max(means, key=lambda system: means[system])
    cells = {best: Cell("best")}
    for pair in report.paired_differences:
        if pair.task == task and best in (pair.a, pair.b):
            other, difference, low, high = pair.a, pair.difference, pair.ci_low, pair.ci_high
            if pair.a == best:
                other, difference, low, high = pair.b, -difference, -high, -low
            cells[other] = Cell(f"{difference:+.3f}{'*' * pair.significant}", f"[{low:+.3f}, {high:+.3f}]")
    return best, cells


def _cell(row: Row | BehaviorRow | None, *, significant: bool = False) -> Cell:
    if row is None or not isfinite(row.mean):
        return Cell("-")
    value = f"{row.mean:.3f}{'*' * significant}"
    return Cell(value, f"[{row.ci_low:.3f}, {row.ci_high:.3f}]") if isfinite(row.ci_low) else Cell(value)


def _named(facts: SystemFacts) -> str:
    return f"{facts.system} ({facts.runs} runs)" if facts.runs > 1 else facts.system

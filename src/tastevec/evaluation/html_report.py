"""The HTML report of an evaluation, and the writing of its files."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from tastevec.data.files import atomic_folder
from tastevec.data.html import figure_html, html_page
from tastevec.evaluation.plots import draw
from tastevec.evaluation.report import per_user_table
from tastevec.evaluation.tables import LEGEND, report_tables, skipped_lines
from tastevec.nouns import ItemNoun
from tastevec.schema import PER_USER_FILE, REPORT_FILE, RESULTS_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from tastevec.evaluation.report import Report
    from tastevec.evaluation.tables import Cell, Line, Table


def write_report(report: Report, folder: Path) -> None:
    """Write ``results.json``, ``per_user.parquet`` and ``report.html`` into ``folder``: all of them or none.

    Raises:
        FormatError: ``folder`` exists and has other content.
        MissingExtraError: matplotlib is not installed.
    """
    with atomic_folder(folder, marker_file=RESULTS_FILE) as temporary:
        write_files(report, temporary)


def write_files(report: Report, folder: Path) -> None:
    """Write the files of a report into an existing folder, ``results.json`` last.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    from pyarrow import parquet  # noqa: PLC0415  an extra

    (folder / REPORT_FILE).write_text(report_page(report), encoding="utf-8")
    parquet.write_table(per_user_table(report.results), folder / PER_USER_FILE)
    (folder / RESULTS_FILE).write_text(report.to_json(), encoding="utf-8")


def report_page(report: Report) -> str:
    """Return the report as one HTML page.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    models = [facts.system for facts in report.systems if not facts.is_baseline]
    data = f" on {report.data['name']}" if report.data else ""
    pictures = draw(report)
    shown = report_tables(report)
    tasks, others = shown[: len(report.tasks)], shown[len(report.tasks) :]
    body = [
        figure_html(pictures[0]),
        *map(_section, tasks),
        *(f"<section><p>{html.escape(line)}</p></section>" for line in skipped_lines(report)),
        f"<section><p>{html.escape(LEGEND)}</p></section>",
        *map(figure_html, pictures[1:]),
        *map(_section, others),
    ]
    title = f"{', '.join(models) or 'Baselines'}{data}"
    return html_page(title, facts=_facts(report), body="\n".join(body), width=62)


def _facts(report: Report) -> list[tuple[str, str]]:
    facts = [
        ("users", f"{max(map(len, report.tasks)):,}"),
        ("systems", f"{len(report.systems):,}"),
        ("tasks", f"{len(report.tasks):,}"),
        ("seed", f"{report.seed}"),
    ]
    if report.data is None:
        return facts
    if "n_items" in report.data:
        facts.insert(1, (ItemNoun.of(report.data).many, f"{report.data['n_items']:,}"))
    return [*facts, ("split", str(report.data["split"]))]


def _section(table: Table) -> str:
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in (table.of, *table.columns))
    body = "\n".join(map(_line, table.lines))
    return (
        f"<section><h2>{html.escape(table.title)}</h2><p>{html.escape(table.note)}</p>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div></section>'
    )


def _line(line: Line) -> str:
    cells = "".join(map(_cell, line.cells))
    kind = "" if line.is_baseline else ' class="model"'
    return f'<tr{kind}><th scope="row">{html.escape(line.system)}</th>{cells}</tr>'


def _cell(cell: Cell) -> str:
    interval = f" <small>{html.escape(cell.interval)}</small>" if cell.interval else ""
    kind = ' class="text"' if cell.is_text else ""
    return f"<td{kind}>{html.escape(cell.value)}{interval}</td>"

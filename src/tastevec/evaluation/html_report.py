"""The HTML report of an evaluation, and the writing of its files."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from tastevec.data.html import figure_html, html_page
from tastevec.evaluation.plots import draw
from tastevec.evaluation.tables import LEGEND, tables

if TYPE_CHECKING:
    from tastevec.evaluation.report import Report
    from tastevec.evaluation.tables import Cell, Line, Table

__all__ = ["report_page"]


def report_page(report: Report) -> str:
    """The HTML of the whole page.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    models = [facts.system for facts in report.systems if not facts.floor]
    data = f" on {report.data['name']}" if report.data else ""
    pictures = draw(report)
    shown = tables(report)
    tasks, others = shown[: len(report.tasks)], shown[len(report.tasks) :]
    body = [
        figure_html(pictures[0]),
        *map(_section, tasks),
        f"<section><p>{html.escape(LEGEND)}</p></section>",
        *map(figure_html, pictures[1:]),
        *map(_section, others),
    ]
    title = f"{', '.join(models) or 'Floors and baselines'}{data}"
    return html_page(title, facts=_facts(report), body="\n".join(body), width=62)


def _facts(report: Report) -> list[tuple[str, str]]:
    facts = [
        ("people asked", f"{max(map(len, report.tasks)):,}"),
        ("systems", f"{len(report.systems):,}"),
        ("tasks", f"{len(report.tasks):,}"),
        ("seed", f"{report.seed}"),
    ]
    return [*facts, ("split", str(report.data["split"]))] if report.data else facts


def _section(table: Table) -> str:
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in ("system", *table.columns))
    body = "\n".join(map(_line, table.lines))
    return (
        f"<section><h2>{html.escape(table.title)}</h2><p>{html.escape(table.note)}</p>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div></section>'
    )


def _line(line: Line) -> str:
    cells = "".join(map(_cell, line.cells))
    kind = "" if line.floor else ' class="model"'
    return f'<tr{kind}><th scope="row">{html.escape(line.system)}</th>{cells}</tr>'


def _cell(cell: Cell) -> str:
    interval = f" <small>{html.escape(cell.interval)}</small>" if cell.interval else ""
    return f"<td>{html.escape(cell.value)}{interval}</td>"

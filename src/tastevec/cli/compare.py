"""The command about finished evaluations: ``compare``."""

from pathlib import Path
from typing import Annotated

import typer

from tastevec.schema import REPORT_FILE

from .answer import answering
from .flags import AsJson
from .progress import bar

__all__ = ["compare"]


def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR DIR...", help="Folders that tastevec evaluate wrote, on the same prepared folder."
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the whole comparison there, as evaluate does; an earlier one is replaced.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put finished evaluations side by side.

    One table a question with the systems of all folders, each beside the best of them on the same people.
    """
    with answering(as_json=as_json) as answer:
        from tastevec.evaluation.report import compare

        with bar("Comparing"):
            report = compare(folders, out)
        facts = {"folders": folders, "out": out, **report.to_json()}
        written = f"\n\nPictures: {out / REPORT_FILE}" if out else ""
        answer.give(facts, f"{report.table()}{written}")

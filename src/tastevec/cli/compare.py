"""The commands that put side by side what was made apart: ``compare`` evaluations, ``align`` two models' spaces."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tastevec.schema import REPORT_FILE

from .answer import answering
from .flags import AsJson, OutFolder
from .progress import bar

__all__ = ["align", "compare"]


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


def align(
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The model whose vectors shall be turned.")],
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The model in whose space they are wanted.")],
    *,
    out: OutFolder,
    vectors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A Parquet that tastevec encode wrote with NEW; DIR/vectors.parquet is the same people in the space of OLD.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Map a retrained model's space onto an old one.

    A rotation, fitted on the films that people rated in both trainings; how well it fits is measured on a fifth of them that
    had no part in it. Turned vectors are near the old ones and not the same.
    """
    with answering(as_json=as_json) as answer:
        from tastevec.serving.aligning import align as aligned
        from tastevec.serving.turned import turn_people

        with bar("Aligning"):
            found = aligned(new, old)
            found.save(out)
            people = None if vectors is None else turn_people(found, vectors, out / "vectors.parquet")
        facts = {"out": out, **found.facts} | ({} if people is None else {"people": people})
        answer.give(facts, _fitted(facts))


def _fitted(facts: dict[str, Any]) -> str:
    """How well the spaces fit, beside what chance and doing nothing would give."""
    names = {
        "used": "all films, on which it was fitted",
        "held_out": "a fifth of them, fitted on the others",
        "unturned": "that fifth, not turned",
        "shuffled": "that fifth, films paired by chance",
    }
    rows = "\n".join(
        f"{label:38}  {facts[name]['residual']:17.4f}  {facts[name]['cosine']:+11.4f}"
        for name, label in names.items()
    )
    written = f"\n{facts['people']:,} people were turned." if "people" in facts else ""
    return (
        f"The rotation from space {facts['new']} to {facts['old']} is in {facts['out']}, by {facts['films']:,} films.{written}\n"
        f"{'':38}  relative residual  mean cosine\n{rows}"
    )

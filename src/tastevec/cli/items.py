"""The command about films: ``add-items``."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from .answer import answering
from .flags import AsJson, ModelFolder, OutFolder
from .progress import bar

__all__ = ["add_items"]


def add_items(
    model: ModelFolder,
    items: Annotated[
        Path,
        typer.Argument(
            metavar="ITEMS",
            help="A CSV or Parquet of item_id, title and, if known, year and genres (between |).",
        ),
    ],
    *,
    out: OutFolder,
    tags: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Tags, of these films or of more; may be repeated."),
    ] = None,
    genome: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The tag genome the model was trained with, borrowed by film id."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a model films that came after its training.

    Each gets a vector by what is said of it and can be rated and recommended at once. Known films do not move.
    """
    with answering(as_json=as_json) as answer:
        from tastevec.stages import add_items

        began = time.perf_counter()
        with bar("Adding films"):
            bundle = add_items(model, items, out, tags=tags or (), genome=genome).bundle
        facts = {
            "out": out,
            "space": bundle.space,
            "items": len(bundle.items),
            "added": bundle.facts["added"],
            "seconds": round(time.perf_counter() - began, 3),
        }
        answer.give(facts, _told(facts))


def _told(facts: dict[str, Any]) -> str:
    """What the model knows now, and by what it placed the films."""
    known_by = ", ".join(f"{name} of {count:,}" for name, count in facts["added"]["known_by"].items())
    return (
        f"The model in {facts['out']} knows {facts['items']:,} films, {facts['added']['items']:,} of them added after its "
        f"training and placed by what it could read of them: {known_by}.\n"
        f"Known films have not moved: its vectors may be compared with those of the model before (space {facts['space']})."
    )

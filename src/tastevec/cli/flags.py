"""Arguments and flags that several commands share, each spelled once."""

from pathlib import Path
from typing import Annotated

import typer

from tastevec.schema import Horizon, Preset

__all__ = [
    "AsJson",
    "HistoriesFile",
    "ModelFolder",
    "OutFile",
    "OutFolder",
    "PreparedFolder",
    "SkipBadRows",
    "SparkMaster",
    "SparkScratch",
    "WhichHorizon",
    "WhichPreset",
]

AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, after an error too.")
]
PreparedFolder = Annotated[
    Path, typer.Argument(metavar="PREPARED", help="A folder that tastevec prepare wrote.")
]
ModelFolder = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="A folder that tastevec train wrote; or, where none has that name, org/name of the Hugging Face hub.",
    ),
]
HistoriesFile = Annotated[
    str,
    typer.Argument(
        metavar="HISTORIES",
        help="A CSV or Parquet of user_id, item_id, rating and, if known, timestamp; - for CSV on standard input.",
    ),
]
OutFolder = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="The folder to write; an earlier one is replaced.")
]
OutFile = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="The Parquet file to write; an earlier one is replaced.")
]
SkipBadRows = Annotated[
    bool,
    typer.Option("--skip-bad-rows", help="Count bad rows and set them aside instead of refusing the file."),
]
SparkMaster = Annotated[
    str | None,
    typer.Option(
        "--master",
        metavar="MASTER",
        help="Of Spark: where it runs, such as local[2] or spark://host:7077; what its own settings say, if not given.",
    ),
]
SparkScratch = Annotated[
    str | None,
    typer.Option(
        "--scratch",
        metavar="ADDRESS",
        help="Of Spark: a folder that its workers and this machine reach, such as s3a://bucket/tmp; beside DIR, if not given.",
    ),
]
WhichHorizon = Annotated[
    Horizon, typer.Option("--horizon", help="Ask what comes next, or for the taste as a whole.")
]
WhichPreset = Annotated[
    Preset, typer.Option("--preset", help="The recipe: taste is ours, seed the research note's.")
]

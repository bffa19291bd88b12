"""The commands about people: ``encode`` and ``recommend``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tastevec.data.spark import Engine

from .answer import answering
from .flags import (
    AsJson,
    HistoriesFile,
    ModelFolder,
    OutFile,
    SkipBadRows,
    SparkMaster,
    SparkScratch,
    WhichHorizon,
)
from .progress import bar

if TYPE_CHECKING:
    from tastevec.answers import People, Written

__all__ = ["encode", "recommend"]


Memory = Annotated[
    str,
    typer.Option(
        "--memory", metavar="SIZE", help="What DuckDB may hold while it sorts; the rest goes to disk."
    ),
]


def encode(
    model: ModelFolder,
    histories: HistoriesFile,
    *,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The Parquet file to write; an earlier one is replaced. Of Spark: a new folder of such files.",
        ),
    ],
    horizon: WhichHorizon = "next",
    skip_bad_rows: SkipBadRows = False,
    engine: Annotated[
        Engine, typer.Option(help="What sorts the histories; spark also encodes them, on its workers.")
    ] = "duckdb",
    master: SparkMaster = None,
    scratch: SparkScratch = None,
    memory: Memory = "512MB",
    as_json: AsJson = False,
) -> None:
    """Write each person's taste vector.

    The columns are user_id and vector, a fixed-size list of float32. What is done is kept beside FILE until it is whole: the
    same command after an interruption asks for nobody twice.
    """
    with answering(as_json=as_json) as answer:
        from tastevec.answers import (
            SparkPlace,
            load_for_many,
            open_people,
            write_vectors,
            write_vectors_on_spark,
        )

        began = time.perf_counter()
        facts: dict[str, Any] = {"out": out, "horizon": horizon}
        if engine == "spark":
            facts |= write_vectors_on_spark(
                model,
                histories,
                out,
                horizon=horizon,
                skip_bad_rows=skip_bad_rows,
                spark=SparkPlace(master, scratch),
            )
            facts["seconds"] = round(time.perf_counter() - began, 3)
            answer.give(facts, f"{facts['rows']:,} vectors are in {out}.{_set_aside(facts)}")
            return
        with bar("Encoding people") as tell:
            recommender = load_for_many(model)
            people = open_people(
                _place(histories), recommender, skip_bad_rows=skip_bad_rows, memory=memory, tell=tell
            )
            written = write_vectors(recommender, people, Path(out), horizon=horizon)
        facts |= {"space": recommender.bundle.space, "rows": written.rows, **_counts(people, written, began)}
        answer.give(facts, f"{written.rows:,} vectors are in {out}. {_told(facts)}")


def recommend(
    model: ModelFolder,
    histories: HistoriesFile,
    *,
    out: OutFile,
    k: Annotated[int, typer.Option("--k", metavar="K", min=1, help="Films a person.")] = 10,
    horizon: WhichHorizon = "next",
    skip_bad_rows: SkipBadRows = False,
    memory: Memory = "512MB",
    as_json: AsJson = False,
) -> None:
    """Write the best films new to each person.

    The columns are user_id, item_id, rank (from 1) and score; films of the person's history are left out. What is done is kept
    as encode does.
    """
    with answering(as_json=as_json) as answer:
        from tastevec.answers import load_for_many, open_people, write_recommendations

        began = time.perf_counter()
        with bar("Choosing films") as tell:
            recommender = load_for_many(model)
            people = open_people(
                _place(histories), recommender, skip_bad_rows=skip_bad_rows, memory=memory, tell=tell
            )
            written = write_recommendations(recommender, people, out, k=k, horizon=horizon)
        facts = {"out": out, "horizon": horizon, "k": k, "rows": written.rows}
        facts |= _counts(people, written, began)
        answer.give(facts, f"{written.rows:,} recommendations are in {out}. {_told(facts)}")


def _place(histories: str) -> Path | Literal["-"]:
    return "-" if histories == "-" else Path(histories)


def _counts(people: "People", written: "Written", began: float) -> dict[str, Any]:
    stream, account = people.stream, people.account
    if written.found:
        note = f"{written.found:,} people had been answered before an interruption; they were not asked again"
        typer.echo(note, err=True)
    return {
        "users": stream.users,
        "users_found": written.found,
        "interactions": stream.interactions,
        "unknown_interactions": stream.unknown,
        "rows_set_aside": account.set_aside,
        "examples": account.examples,
        "seconds": round(time.perf_counter() - began, 3),
    }


def _told(facts: dict[str, Any]) -> str:
    """What was read, and what was left out of it."""
    return (
        f"{facts['users']:,} people, {facts['interactions']:,} interactions; "
        f"{facts['unknown_interactions']:,} of them with films that the model does not know, left out.{_set_aside(facts)}"
    )


def _set_aside(facts: dict[str, Any]) -> str:
    if not facts["rows_set_aside"]:
        return ""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in facts["rows_set_aside"].items())
    return f"\nBad rows set aside: {reasons}; the first: {facts['examples'][0]}"

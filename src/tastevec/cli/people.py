"""The commands about people: ``encode`` and ``recommend``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .answer import answering
from .flags import AsJson, HistoriesFile, ModelFolder, OutFile, SkipBadRows, WhichHorizon
from .progress import bar

if TYPE_CHECKING:
    from tastevec.answers import People

__all__ = ["encode", "recommend"]


def encode(
    model: ModelFolder,
    histories: HistoriesFile,
    *,
    out: OutFile,
    horizon: WhichHorizon = "next",
    skip_bad_rows: SkipBadRows = False,
    as_json: AsJson = False,
) -> None:
    """Write each person's taste vector.

    The columns are user_id and vector, a fixed-size list of float32.
    """
    with answering(as_json=as_json) as answer:
        from tastevec.answers import open_people, write_vectors
        from tastevec.serving.recommender import load

        began = time.perf_counter()
        with bar("Encoding people") as tell:
            recommender = load(model)
            people = open_people(_place(histories), recommender, skip_bad_rows=skip_bad_rows, tell=tell)
            rows = write_vectors(recommender, people, out, horizon=horizon)
        facts = {"out": out, "horizon": horizon, "space": recommender.bundle.space, "rows": rows}
        facts |= _counts(people, began)
        answer.give(facts, f"{rows:,} vectors are in {out}. {_told(facts)}")


def recommend(
    model: ModelFolder,
    histories: HistoriesFile,
    *,
    out: OutFile,
    k: Annotated[int, typer.Option("--k", metavar="K", min=1, help="Films a person.")] = 10,
    horizon: WhichHorizon = "next",
    skip_bad_rows: SkipBadRows = False,
    as_json: AsJson = False,
) -> None:
    """Write the best films new to each person.

    The columns are user_id, item_id, rank (from 1) and score; films of the person's history are left out.
    """
    with answering(as_json=as_json) as answer:
        from tastevec.answers import open_people, write_recommendations
        from tastevec.serving.recommender import load

        began = time.perf_counter()
        with bar("Choosing films") as tell:
            recommender = load(model)
            people = open_people(_place(histories), recommender, skip_bad_rows=skip_bad_rows, tell=tell)
            rows = write_recommendations(recommender, people, out, k=k, horizon=horizon)
        facts = {"out": out, "horizon": horizon, "k": k, "rows": rows}
        facts |= _counts(people, began)
        answer.give(facts, f"{rows:,} recommendations are in {out}. {_told(facts)}")


def _place(histories: str) -> Path | Literal["-"]:
    return "-" if histories == "-" else Path(histories)


def _counts(people: "People", began: float) -> dict[str, Any]:
    stream, account = people.stream, people.account
    return {
        "users": stream.users,
        "interactions": stream.interactions,
        "unknown_interactions": stream.unknown,
        "rows_set_aside": account.set_aside,
        "examples": account.examples,
        "seconds": round(time.perf_counter() - began, 3),
    }


def _told(facts: dict[str, Any]) -> str:
    """What was read, and what was left out of it."""
    told = (
        f"{facts['users']:,} people, {facts['interactions']:,} interactions; "
        f"{facts['unknown_interactions']:,} of them with films that the model does not know, left out."
    )
    if facts["rows_set_aside"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in facts["rows_set_aside"].items())
        told += f"\nBad rows set aside: {reasons}; the first: {facts['examples'][0]}"
    return told

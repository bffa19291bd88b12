"""Commands about users: encode, recommend, similar and explain."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tastevec.cli.console import (
    AsJson,
    HistoriesFile,
    ModelFolder,
    OutFile,
    SkipBadRows,
    SparkMaster,
    SparkScratch,
    WhichHorizon,
    answering,
    bar,
)
from tastevec.data.spark import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tastevec.pipelines.batch import BatchResult, Users
    from tastevec.serving.explain import TagExplanation
    from tastevec.serving.recommender import Recommender

__all__ = ["encode", "explain", "recommend", "similar"]

HowMany = Annotated[int, typer.Option("--k", metavar="K", min=1, help="Films or people.")]


def explain(
    model: ModelFolder,
    histories: HistoriesFile,
    *,
    tags: Annotated[int, typer.Option(metavar="N", min=1, help="Tags a person.")] = 10,
    contributions: Annotated[int, typer.Option(metavar="N", min=0, help="Contributions per tag.")] = 3,
    horizon: WhichHorizon = "overall",
    skip_bad_rows: SkipBadRows = False,
    as_json: AsJson = False,
) -> None:
    """Say each person's taste in tags, with the films that caused them.

    A strength is in standard deviations from the average person; an effect is what the strength would lose without the film.
    """
    with answering(as_json=as_json) as answer:
        from tastevec.serving.explain import explain_users
        from tastevec.serving.recommender import load

        recommender = load(model)
        titles = dict(zip(recommender.bundle.item_ids.tolist(), _titles(recommender), strict=True))
        users: list[dict[str, Any]] = []
        with bar("Explaining people") as progress:
            for group in _users(histories, recommender, progress, skip_bad_rows=skip_bad_rows):
                told = explain_users(
                    recommender, recommender.tags, group, horizon, tags=tags, items=contributions
                )
                users += [
                    {"user_id": user, "tags": [_reading(reading, titles) for reading in readings]}
                    for user, readings in zip(group.user_ids.tolist(), told, strict=True)
                ]
        facts = {"horizon": horizon, "space": recommender.bundle.space, "users": users}
        answer.give(facts, "\n\n".join(map(_in_words, users)))


def similar(
    model: ModelFolder,
    *,
    item: Annotated[
        str | None, typer.Option(metavar="ID", help="The film whose neighbours are wanted.")
    ] = None,
    users: Annotated[
        str | None,
        typer.Option(metavar="HISTORIES", help="People whose neighbours are wanted, or - for CSV."),
    ] = None,
    user_vectors: Annotated[
        Path | None,
        typer.Option(
            metavar="VECTORS", help="Among whom: a Parquet that tastevec encode wrote with this model."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a Parquet file instead; an earlier one is replaced."),
    ] = None,
    k: HowMany = 10,
    horizon: WhichHorizon = "overall",
    as_json: AsJson = False,
) -> None:
    """Show the films, or people, nearest to one, or to all.

    Nearness is the cosine of the vectors. With --users people need not be stored: they are told as histories. With --out and
    neither --item nor --users it is everybody of VECTORS among themselves, or without VECTORS every film. The columns are
    user_id, similar_user_id or item_id, similar_item_id, then rank (from 1) and similarity.
    """
    with answering(as_json=as_json) as answer:
        wrong_item = item is not None and (users is not None or user_vectors is not None or out is not None)
        if (
            wrong_item
            or (users is not None and user_vectors is None)
            or (item is None and users is None and out is None)
        ):
            raise typer.BadParameter(
                "expected --item ID; or --users HISTORIES and --user-vectors VECTORS; or --out FILE for all films, with "
                "--user-vectors VECTORS for all people"
            )
        from tastevec.serving.recommender import load

        recommender = load(model)
        facts: dict[str, Any] = {"space": recommender.bundle.space}
        if item is not None:
            items = recommender.similar_items(item, k=k).to_pylist()
            answer.give(facts | {"item_id": item, "similar": items}, "\n".join(map(_line, items)))
        elif out is not None:
            rows = _write(recommender, users, user_vectors, out, k, horizon)
            answer.give(facts | {"out": out, "k": k, "rows": rows}, f"{rows:,} pairs are in {out}.")
        else:
            found = list(_near(recommender, str(users), user_vectors, k, horizon))
            text = "\n\n".join(
                "\n".join([f"{one['user_id']}:", *map(_line, one["similar"])]) for one in found
            )
            answer.give(facts | {"horizon": horizon, "users": found}, text)


def _write(
    recommender: "Recommender",
    users: str | None,
    user_vectors: Path | None,
    out: Path,
    k: int,
    horizon: Literal["next", "overall"],
) -> int:
    """Write the nearest of everybody, or of every film; the number of rows."""
    from tastevec.pipelines.batch import similar_among, similar_items, similar_users, write_similar
    from tastevec.schema import USER_ID
    from tastevec.serving.neighbors import read_user_vectors

    told = {"space": recommender.bundle.space}
    with bar("Looking for neighbours") as progress:
        if user_vectors is None:
            return write_similar(similar_items(recommender, k=k), out, told, progress)
        known = read_user_vectors(user_vectors, recommender.bundle.space)
        if users is None:
            return write_similar(similar_among(known, USER_ID, k=k), out, told, progress)
        groups = _users(users, recommender, lambda _users: None)
        near = similar_users(recommender, groups, known, k=k, horizon=horizon)
        return write_similar(near, out, told | {"horizon": horizon}, progress)


def _near(
    recommender: "Recommender",
    users: str,
    user_vectors: Path | None,
    k: int,
    horizon: Literal["next", "overall"],
) -> "Iterator[dict[str, Any]]":
    """The nearest people of each person of the file ``users``."""
    from tastevec.serving.neighbors import read_user_vectors

    known = read_user_vectors(str(user_vectors), recommender.bundle.space)
    with bar("Looking for neighbours") as progress:
        for group in _users(users, recommender, progress):
            nearest = known.nearest(recommender.vectors(group, horizon), k)
            for one, places, scores in zip(group.user_ids.tolist(), *nearest, strict=True):
                pairs = zip(known.ids[places].tolist(), scores.tolist(), strict=True)
                similar = [
                    {"user_id": other, "rank": rank, "similarity": score}
                    for rank, (other, score) in enumerate(pairs, start=1)
                ]
                yield {"user_id": one, "similar": similar}


def _users(
    histories: str,
    recommender: "Recommender",
    progress: "Callable[..., None]",
    *,
    skip_bad_rows: bool = False,
) -> "Iterator[Any]":
    from tastevec.pipelines.batch import open_users

    place: Path | Literal["-"] = "-" if histories == "-" else Path(histories)
    opened = open_users(place, recommender, skip_bad_rows=skip_bad_rows, progress=progress)
    for group in opened.stream:
        yield group
        progress(opened.stream.users)


def _titles(recommender: "Recommender") -> list[str]:
    titles: list[str] = recommender.bundle.items["title"].to_pylist()
    return titles


def _reading(reading: "TagExplanation", titles: dict[Any, str]) -> dict[str, Any]:
    items = [
        {"item_id": item, "title": titles[item], "effect": effect} for item, effect in reading.contributions
    ]
    return {
        "tag": reading.tag,
        "strength": reading.strength,
        "confidence": reading.reliability,
        "items": items,
    }


def _in_words(user: dict[str, Any]) -> str:
    """One person's lines, the tag first."""
    lines = [f"{user['user_id']}:"]
    for reading in user["tags"]:
        because = "; ".join(item["title"] for item in reading["items"])
        lines.append(
            f"  {reading['strength']:+5.1f}  {reading['tag']} ({reading['confidence']:.0%} sure)"
            f"{': ' + because if because else ''}"
        )
    return "\n".join(
        lines if len(lines) > 1 else [f"{lines[0]} nothing sets them apart from the average person"]
    )


def _line(row: dict[str, Any]) -> str:
    name = f"{row['title']} ({row['item_id']})" if "title" in row else row["user_id"]
    return f"{row['rank']:4d}  {row['similarity']:.3f}  {name}"


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
        from tastevec.pipelines.batch import (
            SparkConfig,
            load_for_batch,
            open_users,
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
                spark=SparkConfig(master, scratch),
            )
            facts["seconds"] = round(time.perf_counter() - began, 3)
            answer.give(facts, f"{facts['rows']:,} vectors are in {out}.{_set_aside(facts)}")
            return
        with bar("Encoding people") as progress:
            recommender = load_for_batch(model)
            users = open_users(
                _place(histories), recommender, skip_bad_rows=skip_bad_rows, memory=memory, progress=progress
            )
            written = write_vectors(recommender, users, Path(out), horizon=horizon)
        facts |= {"space": recommender.bundle.space, "rows": written.rows, **_counts(users, written, began)}
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
        from tastevec.pipelines.batch import load_for_batch, open_users, write_recommendations

        began = time.perf_counter()
        with bar("Choosing films") as progress:
            recommender = load_for_batch(model)
            users = open_users(
                _place(histories), recommender, skip_bad_rows=skip_bad_rows, memory=memory, progress=progress
            )
            written = write_recommendations(recommender, users, out, k=k, horizon=horizon)
        facts = {"out": out, "horizon": horizon, "k": k, "rows": written.rows}
        facts |= _counts(users, written, began)
        answer.give(facts, f"{written.rows:,} recommendations are in {out}. {_told(facts)}")


def _place(histories: str) -> Path | Literal["-"]:
    return "-" if histories == "-" else Path(histories)


def _counts(users: "Users", written: "BatchResult", began: float) -> dict[str, Any]:
    stream, row_report = users.stream, users.row_report
    if written.found:
        note = f"{written.found:,} people had been answered before an interruption; they were not asked again"
        typer.echo(note, err=True)
    return {
        "users": stream.users,
        "users_found": written.found,
        "interactions": stream.interactions,
        "unknown_interactions": stream.unknown,
        "rows_set_aside": row_report.skipped,
        "examples": row_report.examples,
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

"""The commands ``explain`` and ``similar``: people in tags, and which films and people lie near."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .answer import answering
from .flags import AsJson, HistoriesFile, ModelFolder, SkipBadRows, WhichHorizon
from .progress import bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tastevec.serving.explanation import TagReading
    from tastevec.serving.recommender import Recommender

__all__ = ["explain", "similar"]

HowMany = Annotated[int, typer.Option("--k", metavar="K", min=1, help="Films or people.")]


def explain(
    model: ModelFolder,
    histories: HistoriesFile,
    *,
    tags: Annotated[int, typer.Option(metavar="N", min=1, help="Tags a person.")] = 10,
    films: Annotated[int, typer.Option(metavar="N", min=0, help="Causes a tag.")] = 3,
    horizon: WhichHorizon = "overall",
    skip_bad_rows: SkipBadRows = False,
    as_json: AsJson = False,
) -> None:
    """Say each person's taste in tags, with the films that caused them.

    A strength is in standard deviations from the average person; an effect is what the strength would lose without the film.
    """
    with answering(as_json=as_json) as answer:
        from tastevec.serving.explanation import explain_people
        from tastevec.serving.recommender import load

        recommender = load(model)
        titles = dict(zip(recommender.bundle.item_ids.tolist(), _titles(recommender), strict=True))
        people: list[dict[str, Any]] = []
        with bar("Explaining people") as tell:
            for group in _people(histories, recommender, tell, skip_bad_rows=skip_bad_rows):
                told = explain_people(recommender, recommender.tags, group, horizon, tags=tags, films=films)
                people += [
                    {"user_id": user, "tags": [_reading(reading, titles) for reading in readings]}
                    for user, readings in zip(group.user_ids.tolist(), told, strict=True)
                ]
        facts = {"horizon": horizon, "space": recommender.bundle.space, "people": people}
        answer.give(facts, "\n\n".join(map(_in_words, people)))


def similar(
    model: ModelFolder,
    *,
    item: Annotated[
        str | None, typer.Option(metavar="ID", help="The film whose neighbours are wanted.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(metavar="HISTORIES", help="People whose neighbours are wanted, or - for CSV."),
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(
            metavar="VECTORS", help="Among whom: a Parquet that tastevec encode wrote with this model."
        ),
    ] = None,
    k: HowMany = 10,
    horizon: WhichHorizon = "overall",
    as_json: AsJson = False,
) -> None:
    """Show the films, or the people, nearest to one.

    Nearness is the cosine of the vectors. People need not be stored: they are told as histories.
    """
    with answering(as_json=as_json) as answer:
        if (item is None) == (user is None) or (user is None) != (people is None):
            raise typer.BadParameter("expected either --item ID, or --user HISTORIES and --people VECTORS")
        from tastevec.serving.recommender import load

        recommender = load(model)
        facts: dict[str, Any] = {"space": recommender.bundle.space}
        if item is not None:
            films = recommender.similar_items(item, k=k).to_pylist()
            answer.give(facts | {"item_id": item, "similar": films}, "\n".join(map(_line, films)))
            return
        found = list(_near(recommender, str(user), people, k, horizon))
        text = "\n\n".join("\n".join([f"{one['user_id']}:", *map(_line, one["similar"])]) for one in found)
        answer.give(facts | {"horizon": horizon, "people": found}, text)


def _near(
    recommender: "Recommender", user: str, people: Path | None, k: int, horizon: Literal["next", "overall"]
) -> "Iterator[dict[str, Any]]":
    """The nearest people of each person of the file ``user``."""
    from tastevec.serving.neighbours import read_people

    known = read_people(str(people), recommender.bundle.space)
    with bar("Looking for neighbours") as tell:
        for group in _people(user, recommender, tell):
            nearest = known.nearest(recommender.vectors(group, horizon), k)
            for one, places, scores in zip(group.user_ids.tolist(), *nearest, strict=True):
                pairs = zip(known.ids[places].tolist(), scores.tolist(), strict=True)
                similar = [
                    {"user_id": other, "rank": rank, "score": score}
                    for rank, (other, score) in enumerate(pairs, start=1)
                ]
                yield {"user_id": one, "similar": similar}


def _people(
    histories: str, recommender: "Recommender", tell: "Callable[..., None]", *, skip_bad_rows: bool = False
) -> "Iterator[Any]":
    from tastevec.answers import open_people

    place: Path | Literal["-"] = "-" if histories == "-" else Path(histories)
    opened = open_people(place, recommender, skip_bad_rows=skip_bad_rows, tell=tell)
    for group in opened.stream:
        yield group
        tell(opened.stream.users)


def _titles(recommender: "Recommender") -> list[str]:
    titles: list[str] = recommender.bundle.items["title"].to_pylist()
    return titles


def _reading(reading: "TagReading", titles: dict[Any, str]) -> dict[str, Any]:
    films = [{"item_id": item, "title": titles[item], "effect": effect} for item, effect in reading.causes]
    return {
        "tag": reading.tag,
        "strength": reading.strength,
        "confidence": reading.confidence,
        "films": films,
    }


def _in_words(person: dict[str, Any]) -> str:
    """One person's lines, the tag first."""
    lines = [f"{person['user_id']}:"]
    for reading in person["tags"]:
        because = "; ".join(film["title"] for film in reading["films"])
        lines.append(
            f"  {reading['strength']:+5.1f}  {reading['tag']} ({reading['confidence']:.0%} sure)"
            f"{': ' + because if because else ''}"
        )
    return "\n".join(
        lines if len(lines) > 1 else [f"{lines[0]} nothing sets them apart from the average person"]
    )


def _line(row: dict[str, Any]) -> str:
    name = f"{row['title']} ({row['item_id']})" if "title" in row else row["user_id"]
    return f"{row['rank']:4d}  {row['score']:.3f}  {name}"

"""Commands about users: encode, recommend, similar and explain."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tastevec.cli.console import (
    AsJson,
    DislikeWeight,
    HistoriesFile,
    Memory,
    ModelFolder,
    OutFile,
    SparkMaster,
    SparkScratch,
    WhatIsUnknown,
    WhichHorizon,
    progress_bar,
    reporting,
    skipped_rows,
    typed_command,
    weight,
)
from tastevec.cli.flags import HISTORY_FLAGS, takes_flags
from tastevec.data.files import check_replaceable
from tastevec.data.spark import Engine
from tastevec.schema import DEFAULT_DISLIKE_WEIGHT, Horizon, Unknown

if TYPE_CHECKING:
    from tastevec.pipelines.batch import BatchResult
    from tastevec.serving.explain import TagExplanation
    from tastevec.serving.recommender import Recommender
    from tastevec.serving.user_files import UserFile


@takes_flags(HISTORY_FLAGS)
def encode(
    model: ModelFolder,
    histories: HistoriesFile,
    *,
    stated: dict[str, Any],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Output Parquet file; an earlier result there is replaced. Spark: a new folder of Parquet files.",
        ),
    ],
    horizon: WhichHorizon = "overall",
    dislike_weight: DislikeWeight = DEFAULT_DISLIKE_WEIGHT,
    unknown: WhatIsUnknown = "warn",
    engine: Annotated[
        Engine, typer.Option(help="Sorts the histories; spark also encodes them, on its workers.")
    ] = "duckdb",
    master: SparkMaster = None,
    scratch: SparkScratch = None,
    memory: Memory = "512MB",
    as_json: AsJson = False,
) -> None:
    """Compute one embedding per user.

    The columns are user_id, vector (a fixed-size list of float32, of unit length) and norm, the length before. Inner product,
    cosine and Euclidean distance rank items alike. After an interruption the same command resumes:
    finished batches remain in FILE.unfinished until FILE is complete.
    """
    with reporting(as_json=as_json, interrupted=_resume) as output:
        from tastevec.data.intake.stated import intake_settings
        from tastevec.pipelines.batch import (
            SparkConfig,
            load_for_batch,
            write_vectors,
            write_vectors_on_spark,
        )

        if engine == "spark" and unknown != "warn":
            raise typer.BadParameter(
                f"--unknown {unknown}: not with --engine spark, which ignores unknown items"
            )
        how: dict[str, Any] = {"horizon": horizon, "dislike_weight": dislike_weight}
        facts: dict[str, Any] = {"out": out, **how}
        if engine == "duckdb":
            check_replaceable(Path(out), inputs=(model, histories))
        if engine == "spark":
            spark = SparkConfig(master, scratch)
            facts |= write_vectors_on_spark(
                model, histories, out, **how, settings=intake_settings(stated), spark=spark
            )
            facts["seconds"] = output.seconds
        else:
            with progress_bar("Encoding users") as progress:
                recommender = load_for_batch(model)
                users = _open(histories, recommender, memory=memory, **stated)
                written = write_vectors(
                    recommender, users, Path(out), **how, unknown=unknown, progress=progress
                )
            space, dim = recommender.bundle.space, recommender.item_vectors.shape[1]
            facts |= {
                "space": space,
                "dim": dim,
                "rows": written.rows,
                **_counts(users, written, output.seconds),
            }
        dimensions = f"{facts['dim']} dimensions, " if "dim" in facts else ""
        text = (
            f"Wrote {facts['rows']:,} user vectors to {out} ({dimensions}horizon {horizon}, space {facts['space']})."
            f"{_ignored(facts)}"
        )
        output.set(facts, text)


_FILTERS = "Filters"


@takes_flags(HISTORY_FLAGS)
def recommend(
    model: ModelFolder,
    histories: HistoriesFile,
    *,
    stated: dict[str, Any],
    out: OutFile,
    k: Annotated[int, typer.Option("--k", metavar="K", min=1, help="Items per user.")] = 10,
    horizon: WhichHorizon = "overall",
    dislike_weight: DislikeWeight = DEFAULT_DISLIKE_WEIGHT,
    unknown: WhatIsUnknown = "warn",
    exclude: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_FILTERS,
            help="Items that are never recommended: item_id, and optional user_id for items of one user.",
        ),
    ] = None,
    only: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_FILTERS,
            help="The only items that may be recommended: item_id, and optional user_id. With user_id, users without a row have none.",
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE",
            rich_help_panel=_FILTERS,
            help="Only items with this value, such as genres=Comedy or year=1990:1999. Repeatable: of one column one value suffices, "
            "several columns all apply.",
        ),
    ] = None,
    filter_seen: Annotated[
        bool,
        typer.Option(
            "--filter-seen/--no-filter-seen",
            rich_help_panel=_FILTERS,
            help="Whether items of the history are excluded.",
        ),
    ] = True,
    diversity: Annotated[
        float,
        typer.Option(
            metavar="0..1",
            callback=weight,
            rich_help_panel=_FILTERS,
            help="How unlike the items of a user are: 0, best first, to 1. Scores stay as they are.",
        ),
    ] = 0.0,
    memory: Memory = "512MB",
    as_json: AsJson = False,
) -> None:
    """Recommend new items to each user.

    The columns are user_id, item_id, rank (from 1); score, the cosine of user and item, comparable within one user; percentile,
    the share of the catalog with a lower score, 0 to 100; and, if the model has one, probability, of a positive rating if the
    user takes the item next. Items of the history are excluded. After an interruption the same command resumes.
    """
    with reporting(as_json=as_json, interrupted=_resume) as output:
        from tastevec.pipelines.batch import load_for_batch, write_recommendations

        check_replaceable(out, inputs=(model, histories, exclude, only))
        how: dict[str, Any] = {"horizon": horizon, "dislike_weight": dislike_weight}
        filters: dict[str, Any] = {"exclude": exclude, "only": only, "where": _conditions(where)}
        filters |= {"filter_seen": filter_seen, "diversity": diversity}
        with progress_bar("Scoring items") as progress:
            recommender = load_for_batch(model)
            chosen = recommender.item_filter(unknown, **filters)
            users = _open(histories, recommender, memory=memory, **stated)
            written = write_recommendations(
                recommender, users, out, k=k, **how, unknown=unknown, chosen=chosen, progress=progress
            )
        for note in written.notes:
            typer.echo(f"Warning: {note}", err=True)
        facts = {"out": out, **how, **chosen.facts, "k": k, "rows": written.rows, "notes": written.notes}
        facts |= _counts(users, written, output.seconds)
        text = f"Wrote {written.rows:,} recommendations for {facts['users']:,} users to {out} (horizon {horizon})."
        output.set(facts, f"{text}{_ignored(facts)}")


def _conditions(where: list[str] | None) -> dict[str, list[str]] | None:
    """Return the values by column of ``COLUMN=VALUE``.

    Examples:
        >>> _conditions(["genres=Comedy", "year=1990:1999", "genres=Drama"])
        {'genres': ['Comedy', 'Drama'], 'year': ['1990:1999']}
    """
    found: dict[str, list[str]] = {}
    for one in where or ():
        column, equals, value = one.partition("=")
        if not equals:
            raise typer.BadParameter(
                f"{one!r}. Expected COLUMN=VALUE, such as genres=Comedy.", param_hint="--where"
            )
        found.setdefault(column, []).append(value)
    return found or None


def _resume() -> str:
    return f"no partial output remains; finished batches do. Resume: {typed_command()}"


def _counts(users: "UserFile", written: "BatchResult", seconds: float) -> dict[str, Any]:
    stream, row_report = users.stream, users.row_report
    if written.resumed:
        typer.echo(f"Resumed: {written.resumed:,} users were finished before the interruption.", err=True)
    return {
        "users": stream.users,
        "users_resumed": written.resumed,
        "interactions": stream.interactions,
        "unknown_interactions": stream.unknown,
        "users_without_known_items": stream.without_known,
        "rows_skipped": row_report.skipped,
        "examples": row_report.examples,
        "seconds": seconds,
    }


def _ignored(facts: dict[str, Any]) -> str:
    """Return the sentences about ignored interactions and skipped rows; empty without any."""
    text = ""
    if unknown := facts.get("unknown_interactions"):
        reason = "unknown item" if unknown == 1 else "unknown items"
        text += f" Ignored {unknown:,} of {facts['interactions']:,} interactions: {reason}."
    if without := facts.get("users_without_known_items"):
        text += f" {without:,} {'user has' if without == 1 else 'users have'} no known item."
    if reasons := facts["rows_skipped"]:
        text += f"\n{skipped_rows(reasons, facts['examples'])}"
    return text


@takes_flags(HISTORY_FLAGS)
def similar(
    model: ModelFolder,
    *,
    stated: dict[str, Any],
    item: Annotated[str | None, typer.Option(metavar="ID", help="Find items similar to this one.")] = None,
    users: Annotated[
        str | None,
        typer.Option(metavar="HISTORIES", help="Find users similar to these; - reads standard input."),
    ] = None,
    user_vectors: Annotated[
        Path | None, typer.Option(metavar="VECTORS", help="Parquet file from tastevec encode.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Output Parquet file; an earlier result there is replaced."),
    ] = None,
    k: Annotated[int, typer.Option("--k", metavar="K", min=1, help="Items or users per row.")] = 10,
    horizon: WhichHorizon = "overall",
    dislike_weight: DislikeWeight = DEFAULT_DISLIKE_WEIGHT,
    unknown: WhatIsUnknown = "warn",
    as_json: AsJson = False,
) -> None:
    """Find similar items or users.

    Similarity is the cosine of two vectors. The users of HISTORIES need not be in VECTORS. With --out and neither --item nor
    --users, each user of VECTORS is compared with the others, or without VECTORS each item. The columns are user_id,
    similar_user_id or item_id, similar_item_id, then rank (from 1) and similarity.
    """
    with reporting(as_json=as_json) as output:
        one_item = item is not None and users is None and user_vectors is None and out is None
        some_users = item is None and users is not None and user_vectors is not None
        if not (one_item or some_users or (item is None and users is None and out is not None)):
            raise typer.BadParameter(
                "expected --item ID; or --users HISTORIES --user-vectors VECTORS; or --out FILE for all items, with "
                "--user-vectors VECTORS for all users"
            )
        from tastevec.pipelines.batch import write_similar
        from tastevec.serving.recommender import load

        if out is not None:
            check_replaceable(out, inputs=(model, users, user_vectors))
        recommender = load(model)
        facts: dict[str, Any] = {"space": recommender.bundle.space}
        if one_item:
            items = recommender.similar_items(item, k=k).to_pylist()
            output.set(facts | {"item_id": item, "similar": items}, "\n".join(map(_line, items)))
            return
        with progress_bar("Comparing vectors") as progress:
            groups = (
                None
                if users is None
                else _groups(users, recommender, lambda *_: None, unknown=unknown, **stated)
            )
            pairs, of = _pairs(recommender, groups, user_vectors, k, (horizon, dislike_weight))
            facts |= {} if of is None else {"horizon": of}
            if out is not None:
                rows = write_similar(pairs, out, facts, progress)
                kind = "items" if user_vectors is None else f"users, horizon {of or 'unknown'}"
                output.set(
                    facts | {"out": out, "k": k, "rows": rows}, f"Wrote {rows:,} pairs to {out} ({kind})."
                )
                return
            found = _by_user(row for batch in pairs for row in batch.to_pylist())
        text = "\n\n".join("\n".join([f"{one['user_id']}:", *map(_line, one["similar"])]) for one in found)
        output.set(facts | {"users": found}, f"Horizon {of}.\n\n{text}")


def _pairs(
    recommender: "Recommender",
    users: Iterable[Any] | None,
    user_vectors: Path | None,
    k: int,
    how: tuple[Horizon, float],
) -> tuple[Iterator[Any], Horizon | None]:
    """Return batches of pairs, and their horizon: of all items, of all users of ``user_vectors``, or of histories with those.

    ``how`` are the horizon and the weight of dislikes of the histories.
    """
    from tastevec.pipelines.batch import similar_among, similar_items, similar_users
    from tastevec.schema import USER_ID
    from tastevec.serving.neighbors import read_user_vectors

    if user_vectors is None:
        return similar_items(recommender, k=k), None
    horizon, dislike_weight = how
    wanted = None if users is None else horizon
    known = read_user_vectors(user_vectors, recommender.bundle.space, horizon=wanted)
    if users is None:
        return similar_among(known, USER_ID, k=k), known.horizon
    pairs = similar_users(recommender, users, known, k=k, horizon=horizon, dislike_weight=dislike_weight)
    return pairs, horizon


def _by_user(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for user, own in groupby(rows, key=itemgetter("user_id")):
        names = {"user_id": "similar_user_id", "rank": "rank", "similarity": "similarity"}
        similar = [{name: row[column] for name, column in names.items()} for row in own]
        found.append({"user_id": user, "similar": similar})
    return found


def _line(row: dict[str, Any]) -> str:
    name = f"{row['title']} ({row['item_id']})" if "title" in row else row["user_id"]
    return f"{row['rank']:4d}  {row['similarity']:.3f}  {name}"


@takes_flags(HISTORY_FLAGS)
def explain(
    model: ModelFolder,
    histories: HistoriesFile,
    *,
    stated: dict[str, Any],
    tags: Annotated[int, typer.Option(metavar="N", min=1, help="Tags per user.")] = 10,
    contributions: Annotated[int, typer.Option(metavar="N", min=0, help="Contributions per tag.")] = 3,
    horizon: WhichHorizon = "overall",
    dislike_weight: DislikeWeight = DEFAULT_DISLIKE_WEIGHT,
    unknown: WhatIsUnknown = "warn",
    as_json: AsJson = False,
) -> None:
    """Describe each user's embedding in tags.

    The strength of a tag is a z-score against the training users. A contribution is what the strength loses without the item
    (leave-one-out). Reliability is the held-out correlation of predicted and observed tag relevance.
    """
    with reporting(as_json=as_json) as output:
        from tastevec.serving.explain import explain_users
        from tastevec.serving.recommender import load

        recommender = load(model)
        items = recommender.bundle.items
        titles = dict(zip(recommender.bundle.item_ids.tolist(), items["title"].to_pylist(), strict=True))
        users: list[dict[str, Any]] = []
        with progress_bar("Explaining users") as progress:
            for group in _groups(histories, recommender, progress, unknown=unknown, **stated):
                vectors = recommender.vectors(group, horizon, dislike_weight)
                attribution = recommender.attribution(horizon, dislike_weight)
                explained = explain_users(
                    attribution, recommender.tags, group, vectors, tags=tags, contributions=contributions
                )
                users += [
                    {"user_id": user, "tags": [_tag(explanation, titles) for explanation in explanations]}
                    for user, explanations in zip(group.user_ids.tolist(), explained, strict=True)
                ]
        facts: dict[str, Any] = {"horizon": horizon, "dislike_weight": dislike_weight}
        facts |= {"space": recommender.bundle.space, "users": users}
        lines = (line for user in users for line in _tag_lines(user))
        output.set(facts, "\n".join([f"Horizon {horizon}.", *lines]))


def _tag(explanation: "TagExplanation", titles: dict[Any, str]) -> dict[str, Any]:
    contributions = [
        {"item_id": item, "title": titles[item], "effect": effect}
        for item, effect in explanation.contributions
    ]
    return {**asdict(explanation), "contributions": contributions}


def _tag_lines(user: dict[str, Any]) -> Iterator[str]:
    """Yield a line per tag of a user.

    Examples:
        >>> alien = {"item_id": 1, "title": "Alien", "effect": 0.42}
        >>> tag = {"tag": "dystopia", "strength": 1.8, "reliability": 0.61, "contributions": [alien]}
        >>> print(*_tag_lines({"user_id": 10, "tags": [tag]}))
        user 10: +1.8 dystopia (reliability 0.61): Alien +0.42
        >>> print(*_tag_lines({"user_id": 11, "tags": []}))
        user 11: no tag differs clearly from the average user
    """
    if not user["tags"]:
        yield f"user {user['user_id']}: no tag differs clearly from the average user"
    for tag in user["tags"]:
        items = ", ".join(f"{item['title']} {item['effect']:+.2f}" for item in tag["contributions"])
        yield (
            f"user {user['user_id']}: {tag['strength']:+.1f} {tag['tag']} (reliability {tag['reliability']:.2f})"
            f"{': ' + items if items else ''}"
        )


def _open(
    histories: str,
    recommender: "Recommender",
    **options: Any,  # noqa: ANN401  passed on
) -> "UserFile":
    opened = recommender.open_file("-" if histories == "-" else Path(histories), **options)
    for warning in opened.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    return opened


def _groups(
    histories: str,
    recommender: "Recommender",
    progress: Callable[..., None],
    *,
    unknown: Unknown,
    **options: Any,  # noqa: ANN401  passed on
) -> Iterator[Any]:
    """Yield the histories in groups of users."""
    opened = replace(_open(histories, recommender, **options), unknown=unknown)
    for group in opened.stream:
        yield group
        progress(opened.stream.users)
    opened.check_unknown()
    counts = {"unknown_interactions": opened.stream.unknown, "interactions": opened.stream.interactions}
    if said := _ignored(counts | {"rows_skipped": {}}):
        typer.echo(said.strip(), err=True)

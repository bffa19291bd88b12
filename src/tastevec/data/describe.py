"""Report about a prepared dataset: numbers as JSON and charts on one HTML page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pyarrow import compute

from tastevec.data.files import atomic_folder
from tastevec.data.histories import NO_TIMESTAMP, Histories
from tastevec.data.html import GRID, MUTED, SIZE, Chart, draw_chart, figure_html, html_page, style_axes
from tastevec.schema import CONTENT, GENOME_SVD, GENRES, POSITIVE_FROM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from tastevec.data.html import Chart
    from tastevec.data.prepared import Prepared

__all__ = ["DESCRIPTION_FILE", "PAGE_FILE", "describe", "draw", "summarize"]

_ROWS: Final = 1 << 22  # interactions looked at together: 4 million need about 150 MB
_CELLS: Final = 360  # half a star is a whole number of cells on scales of 4, 4.5, 5, 9 and 10 stars
_BARS: Final = 20  # the most bars of a ratings histogram
_PERIODS: Final = 60
_NOTE_LIMIT: Final = 512  # what the note reads of each person
_QUANTILES: Final = np.linspace(0, 1, 201)


@dataclass(frozen=True)
class _Tally:
    """What one pass over the interactions counts: B users, N items, cells of the rating range, periods of time."""

    user_ratings: NDArray[np.float64]  # (B,) how many
    user_sums: NDArray[np.float64]  # (B,)
    item_counts: NDArray[np.float64]  # (N,) rated or tagged
    item_ratings: NDArray[np.float64]  # (N,)
    item_sums: NDArray[np.float64]  # (N,)
    cells: NDArray[np.float64]  # (_CELLS + 1,)
    periods: NDArray[np.float64]  # (_PERIODS,)


def summarize(prepared: Prepared) -> dict[str, Any]:
    """Every number that the pictures show, as plain values that JSON can hold.

    The interactions are read in blocks of 4 million, so that memory depends on people and films only.

    Args:
        prepared: A folder that `tastevec prepare` wrote.

    Returns:
        ``totals``, ``user_means``, ``ratings``, ``history_lengths``, ``genres``, ``activity`` and ``coverage``.
        Shares are between 0 and 1; times are ISO dates (UTC).
    """
    histories, rating_range = prepared.histories, prepared.rating_range
    item_count = prepared.items.num_rows
    span = _time_span(histories)
    tally = _count(histories, item_count, rating_range, span)
    return {
        "totals": _totals(tally, len(histories), item_count),
        "user_means": _user_means(tally),
        "ratings": _ratings(tally, rating_range),
        "history_lengths": _history_lengths(histories),
        "genres": _genres(prepared.items[GENRES].combine_chunks(), tally),
        "activity": _activity(tally, span),
        "coverage": _coverage(prepared.vectors, tally),
    }


def _blocks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, _ROWS):
        yield slice(start, min(start + _ROWS, rows))


def _owners(offsets: NDArray[np.int64], rows: slice) -> NDArray[np.int64]:
    """The person that each of these rows belongs to."""
    first, last = np.searchsorted(offsets, [rows.start, rows.stop - 1], side="right") - 1
    bounds = np.clip(offsets[first : last + 2], rows.start, rows.stop)
    return np.repeat(np.arange(first, last + 1), np.diff(bounds))


def _time_span(histories: Histories) -> tuple[int, int] | None:
    """The first and the last known time, None where none is known."""
    edges = []
    for rows in _blocks(int(histories.offsets[-1])):
        timestamps = histories.timestamps[rows]
        if len(known := timestamps[timestamps != NO_TIMESTAMP]):
            edges += [int(known.min()), int(known.max())]
    return (min(edges), max(edges)) if edges else None


def _count(
    histories: Histories, item_count: int, rating_range: tuple[float, float], span: tuple[int, int] | None
) -> _Tally:
    tally = _Tally(
        user_ratings=np.zeros(len(histories)),
        user_sums=np.zeros(len(histories)),
        item_counts=np.zeros(item_count),
        item_ratings=np.zeros(item_count),
        item_sums=np.zeros(item_count),
        cells=np.zeros(_CELLS + 1),
        periods=np.zeros(_PERIODS),
    )
    for rows in _blocks(int(histories.offsets[-1])):
        _add_ratings(tally, histories, rows, rating_range)
        timestamps = histories.timestamps[rows]
        if span:
            tally.periods[:] += np.histogram(
                timestamps[timestamps != NO_TIMESTAMP], bins=_PERIODS, range=_edges(span)
            )[0]
    return tally


def _add_ratings(tally: _Tally, histories: Histories, rows: slice, rating_range: tuple[float, float]) -> None:
    """Add one block of rows to the running counts."""
    items = np.asarray(histories.items[rows])
    ratings = np.asarray(histories.ratings[rows], np.float64)
    rated = np.isfinite(ratings)
    owners, indices, ratings = _owners(histories.offsets, rows)[rated], items[rated], ratings[rated]
    tally.item_counts[:] += np.bincount(items, minlength=len(tally.item_counts))
    tally.item_ratings[:] += np.bincount(indices, minlength=len(tally.item_counts))
    tally.item_sums[:] += np.bincount(indices, ratings, minlength=len(tally.item_counts))
    np.add.at(tally.user_ratings, owners, 1)
    np.add.at(tally.user_sums, owners, ratings)
    low, high = rating_range
    cells = np.clip(np.rint((ratings - low) / (high - low) * _CELLS), 0, _CELLS).astype(np.int64)
    tally.cells[:] += np.bincount(cells, minlength=_CELLS + 1)


def _totals(tally: _Tally, users: int, items: int) -> dict[str, Any]:
    interactions, ratings = tally.item_counts.sum(), tally.item_ratings.sum()
    return {
        "users": users,
        "items": items,
        "items_with_interactions": int((tally.item_counts > 0).sum()),
        "interactions": int(interactions),
        "ratings": int(ratings),
        "tag_only": int(interactions - ratings),
        "density": float(interactions / max(users * items, 1)),
    }


def _user_means(tally: _Tally) -> dict[str, Any]:
    """Every person's mean rating; people who only tagged have none."""
    rated = tally.user_ratings > 0
    means = np.sort(tally.user_sums[rated] / tally.user_ratings[rated])
    if not len(means):
        return {"users": 0, "mean_of_means": None, "deviation": None, "share_above": None, "quantiles": []}
    return {
        "users": len(means),
        "mean_of_means": float(means.mean()),
        "deviation": float(means.std()),
        "share_above": float((means > means.mean()).mean()),
        "quantiles": np.quantile(means, _QUANTILES).round(4).tolist(),
    }


def _ratings(tally: _Tally, rating_range: tuple[float, float]) -> dict[str, Any]:
    low, high = rating_range
    total = max(float(tally.cells.sum()), 1.0)
    positive = low + POSITIVE_FROM * (high - low)
    used = np.flatnonzero(tally.cells)
    places, counts = used / _CELLS, tally.cells[used].astype(np.int64)
    if len(used) > _BARS:
        bars = np.minimum(np.arange(_CELLS + 1) // (_CELLS // _BARS), _BARS - 1)
        places, counts = (np.arange(_BARS) + 0.5) / _BARS, np.bincount(bars, tally.cells).astype(np.int64)
    return {
        "range": [low, high],
        "mean": float(tally.item_sums.sum() / total) if len(used) else None,
        "values": (low + places * (high - low)).round(3).tolist(),
        "counts": counts.tolist(),
        "positive_from": positive,
        "share_liked": _share_from(tally.cells, POSITIVE_FROM, total),
    }


def _share_from(cells: NDArray[np.float64], start: float, total: float) -> float:
    return float(cells[int(np.ceil(start * _CELLS)) :].sum() / total)


def _history_lengths(histories: Histories) -> dict[str, Any]:
    lengths = histories.lengths
    if not len(lengths):
        return {"mean": None, "median": None, "longest": 0, "share_over_512": None, "edges": [], "counts": []}
    edges = np.unique(np.geomspace(max(int(lengths.min()), 1), int(lengths.max()) + 1, 31).astype(np.int64))
    return {
        "mean": float(lengths.mean()),
        "median": float(np.median(lengths)),
        "longest": int(lengths.max()),
        "share_over_512": float((lengths > _NOTE_LIMIT).mean()),
        "edges": edges.tolist(),
        "counts": np.histogram(lengths, edges)[0].tolist(),
    }


def _genres(lists: pa.ListArray, tally: _Tally) -> list[dict[str, Any]]:
    """Each genre's share of the films and of the interactions, most films first; a film counts for each of its genres."""
    coded = compute.dictionary_encode(compute.list_flatten(lists))
    names, codes = np.asarray(coded.dictionary, dtype=str), np.asarray(coded.indices)
    owners = np.asarray(compute.list_parent_indices(lists))
    items = np.bincount(codes, minlength=len(names))
    interactions = np.bincount(codes, tally.item_counts[owners], minlength=len(names))
    ratings = np.bincount(codes, tally.item_ratings[owners], minlength=len(names))
    sums = np.bincount(codes, tally.item_sums[owners], minlength=len(names))
    return [
        {
            "genre": str(names[code]),
            "items": int(items[code]),
            "share_of_items": float(items[code] / max(len(lists), 1)),
            "share_of_interactions": float(interactions[code] / max(tally.item_counts.sum(), 1)),
            "mean_rating": float(sums[code] / ratings[code]) if ratings[code] else None,
        }
        for code in np.lexsort((names, -items))
    ]


def _edges(span: tuple[int, int]) -> tuple[int, int]:
    """The span with its last second inside, so that one single time has a period too."""
    return span[0], span[1] + 1


def _activity(tally: _Tally, span: tuple[int, int] | None) -> dict[str, Any]:
    if span is None:
        return {"first": None, "last": None, "known": 0, "period_days": None, "starts": [], "counts": []}
    edges = np.linspace(*_edges(span), _PERIODS + 1).astype(np.int64)
    return {
        "first": _day(span[0]),
        "last": _day(span[1]),
        "known": int(tally.periods.sum()),
        "period_days": float((edges[-1] - edges[0]) / _PERIODS / 86_400),
        "starts": [_day(edge) for edge in edges[:-1].tolist()],
        "counts": tally.periods.astype(int).tolist(),
    }


def _day(seconds: int) -> str:
    return str(np.datetime_as_string(np.datetime64(seconds, "s"), unit="D"))


def _coverage(vectors: Mapping[str, NDArray[np.float32]], tally: _Tally) -> list[dict[str, Any]]:
    """For each kind of film vector, the share of films and of interactions that have one; a row of zeros is none."""
    kinds = sorted(vectors, key=lambda kind: (kind != GENOME_SVD, kind))
    present = {kind: np.any(vectors[kind] != 0, axis=1) for kind in kinds}
    return [
        {
            "vectors": kind,
            "items": int(has.sum()),
            "share_of_items": float(has.sum() / max(has.size, 1)),
            "share_of_interactions": float(tally.item_counts[has].sum() / max(tally.item_counts.sum(), 1)),
        }
        for kind, has in present.items()
    ]


_MAIN, _OTHER = "#2b6c8f", "#e08a4f"
_MOST_GENRES: Final = 20
_TICKS: Final = 6
_VECTORS: Final = {GENOME_SVD: "genome", CONTENT: "content"}


def draw(numbers: Mapping[str, Any]) -> list[Chart]:
    """The pictures of these numbers; one for which the data say nothing (no times, no genres) is left out.

    Args:
        numbers: As `summarize` gives them.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    kinds: list[tuple[str, str, bool, Callable[[Figure, Mapping[str, Any]], str]]] = [
        ("user-means", "Every person's mean rating", bool(numbers["user_means"]["users"]), _draw_user_means),
        ("ratings", "Ratings", sum(numbers["ratings"]["counts"]) > 0, _draw_ratings),
        ("history-lengths", "Length of histories", bool(numbers["history_lengths"]["counts"]), _draw_lengths),
        ("genres", "Balance of genres", bool(numbers["genres"]), _draw_genres),
        ("activity", "Activity over time", bool(numbers["activity"]["counts"]), _draw_activity),
        ("coverage", "Films with a vector", bool(numbers["coverage"]), _draw_coverage),
    ]
    return [_picture(name, title, picture, numbers) for name, title, known, picture in kinds if known]


def _picture(
    name: str, title: str, picture: Callable[[Figure, Mapping[str, Any]], str], numbers: Mapping[str, Any]
) -> Chart:
    return draw_chart(name, title, lambda figure: picture(figure, numbers))


def _draw_user_means(figure: Figure, numbers: Mapping[str, Any]) -> str:
    axes = style_axes(figure.subplots())
    means = numbers["user_means"]
    shares = np.linspace(0, 100, len(means["quantiles"]))
    axes.fill_between(shares, means["mean_of_means"], means["quantiles"], color=_MAIN, alpha=0.15)
    axes.plot(shares, means["quantiles"], color=_MAIN, linewidth=2)
    axes.axhline(means["mean_of_means"], color=_OTHER, linestyle="--")
    axes.annotate(
        f"mean of means {means['mean_of_means']:.2f}",
        (1, means["mean_of_means"]),
        xytext=(0, 4),
        textcoords="offset points",
        color=_OTHER,
    )
    axes.set(xlabel="people, from the strictest to the mildest (%)", ylabel="mean rating", xlim=(0, 100))
    axes.set_ylim(*numbers["ratings"]["range"])
    return (
        f"The mean rating of each of {means['users']:,} people, sorted: people differ by {means['deviation']:.2f} (standard "
        f"deviation) around the mean of means, {means['mean_of_means']:.2f}, and {means['share_above']:.0%} of them are above it."
    )


def _draw_ratings(figure: Figure, numbers: Mapping[str, Any]) -> str:
    axes = style_axes(figure.subplots())
    ratings = numbers["ratings"]
    values, counts = np.asarray(ratings["values"]), np.asarray(ratings["counts"])
    width = 0.8 * (np.diff(values).min() if len(values) > 1 else 1.0)
    colours = [_MAIN if value >= ratings["positive_from"] else "#a9c4d2" for value in values]
    axes.bar(values, counts / counts.sum() * 100, width, color=colours)
    axes.set(xlabel="rating", ylabel="ratings (%)", xticks=values[:: max(1, len(values) // 10)])
    top, positive = (
        values[counts.argmax()],
        values[values >= ratings["positive_from"]].min(initial=values[-1]),
    )
    return (
        f"How {counts.sum():,} ratings fall: {top:g} is given most ({counts.max() / counts.sum():.0%}), the mean is "
        f"{ratings['mean']:.2f}, and {ratings['share_liked']:.0%} are likes, {positive:g} or more (dark)."
    )


def _draw_lengths(figure: Figure, numbers: Mapping[str, Any]) -> str:
    axes = style_axes(figure.subplots())
    lengths = numbers["history_lengths"]
    edges = np.asarray(lengths["edges"])
    axes.bar(edges[:-1], lengths["counts"], np.diff(edges), align="edge", color=_MAIN, edgecolor="white")
    axes.set(xscale="log", xlabel="interactions of a person", ylabel="users", xlim=(edges[0], edges[-1]))
    ticks = [
        step * 10**power
        for power in range(10)
        for step in (1, 2, 5)
        if edges[0] <= step * 10**power <= edges[-1]
    ]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.axvline(lengths["median"], color=_OTHER, linestyle="--")
    axes.annotate(
        f"median {lengths['median']:g}",
        (lengths["median"], 1.0),
        xycoords=axes.get_xaxis_transform(),
        color=_OTHER,
        va="bottom",
        ha="center",
    )
    return (
        f"How much is known of a person, on a logarithmic scale: half of them have at most {lengths['median']:g} interactions, "
        f"the longest history has {lengths['longest']:,}, and {lengths['share_over_512']:.1%} exceed 512."
    )


def _draw_genres(figure: Figure, numbers: Mapping[str, Any]) -> str:
    axes = style_axes(figure.subplots())
    genres = numbers["genres"][:_MOST_GENRES][::-1]
    places = np.arange(len(genres))
    figure.set_size_inches(SIZE[0], 1.2 + 0.27 * len(genres))
    for shift, key, colour, label in (
        (0.2, "share_of_items", "#a9c4d2", "of films"),
        (-0.2, "share_of_interactions", _MAIN, "of interactions"),
    ):
        axes.barh(places + shift, [100 * genre[key] for genre in genres], 0.38, color=colour, label=label)
    axes.set_yticks(places, [genre["genre"] for genre in genres])
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID)
    axes.set(xlabel="share (%); a film counts for each of its genres")
    axes.legend(frameon=False, loc="lower right")
    first = max(genres, key=lambda genre: genre["share_of_interactions"])
    return (
        f"Each genre's share of the films and of what people watch: {first['genre']} is watched most, with "
        f"{first['share_of_interactions']:.0%} of the interactions from {first['share_of_items']:.0%} of the films."
    )


def _draw_activity(figure: Figure, numbers: Mapping[str, Any]) -> str:
    axes = style_axes(figure.subplots())
    activity = numbers["activity"]
    counts = np.asarray(activity["counts"])
    axes.bar(np.arange(len(counts)), counts, 0.9, color=_MAIN, align="edge")
    ticks = np.linspace(0, len(counts) - 1, _TICKS).astype(int)
    axes.set_xticks(ticks, [activity["starts"][tick][:7] for tick in ticks])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    days = activity["period_days"]
    axes.set(ylabel=f"interactions in {_period(days)}", xlim=(0, len(counts)))
    busiest = int(counts.argmax())
    return (
        f"When it happened, from {activity['first']} to {activity['last']}, in periods of {_period(days)}: the busiest, from "
        f"{activity['starts'][busiest]} on, holds {counts[busiest] / counts.sum():.0%} of the {counts.sum():,} interactions with a time."
    )


def _period(days: float) -> str:
    return f"{days:.0f} days" if days >= 2 else f"{days * 24:.1f} hours"  # noqa: PLR2004 - two days


def _draw_coverage(figure: Figure, numbers: Mapping[str, Any]) -> str:
    axes = style_axes(figure.subplots())
    coverage = numbers["coverage"][::-1]
    places = np.arange(len(coverage))
    figure.set_size_inches(SIZE[0], 1.2 + 0.8 * len(coverage))
    for shift, key, colour, label in (
        (0.2, "share_of_items", "#a9c4d2", "of films"),
        (-0.2, "share_of_interactions", _MAIN, "of interactions"),
    ):
        bars = axes.barh(
            places + shift, [100 * kind[key] for kind in coverage], 0.36, color=colour, label=label
        )
        axes.bar_label(bars, fmt="%.1f %%", padding=3, color=MUTED)
    axes.set_yticks(places, [_VECTORS.get(kind["vectors"], kind["vectors"]) for kind in coverage])
    axes.grid(axis="y", visible=False)
    axes.set(xlim=(0, 115), xticks=[], xlabel="share with such a vector")
    axes.spines["bottom"].set_visible(False)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.25), ncols=2)
    told = ", and ".join(
        f"a {_VECTORS.get(kind['vectors'], kind['vectors'])} vector exists for {kind['share_of_items']:.1%} of the films, "
        f"which hold {kind['share_of_interactions']:.1%} of the interactions"
        for kind in coverage[::-1]
    )
    lacking = "" if any(kind["vectors"] == GENOME_SVD for kind in coverage) else "; no tag genome was given"
    return f"Which films can be placed before anybody rates them: {told}{lacking}."


DESCRIPTION_FILE: Final = "description.json"
PAGE_FILE: Final = "index.html"
_FORMAT: Final = 1


def describe(prepared: Prepared, out: Path) -> dict[str, Any]:
    """Write ``out/index.html``, the pictures with their captions, and ``out/description.json``, the numbers.

    Args:
        prepared: A folder that `tastevec prepare` wrote.
        out: A new folder, or one that this wrote before.

    Returns:
        What stands in ``description.json``: the numbers of `summarize`, and each picture's caption.

    Raises:
        FormatError: ``out`` holds something else.
        MissingExtraError: matplotlib is not installed.
    """
    numbers, name = summarize(prepared), str(prepared.manifest["source"]["name"])
    pictures = draw(numbers)
    description = {
        "format": _FORMAT,
        "name": name,
        **numbers,
        "captions": {picture.name: picture.caption for picture in pictures},
    }
    with atomic_folder(out, marker_file=DESCRIPTION_FILE) as fresh:
        text = json.dumps(description, indent=1, ensure_ascii=False, allow_nan=False)
        (fresh / DESCRIPTION_FILE).write_text(text + "\n", encoding="utf-8")
        (fresh / PAGE_FILE).write_text(_page(name, numbers["totals"], pictures), encoding="utf-8")
    return description


def _page(name: str, totals: dict[str, Any], pictures: list[Chart]) -> str:
    figures = "\n".join(figure_html(picture) for picture in pictures)
    return html_page(f"{name}, described", facts=_facts(totals), body=figures)


def _facts(totals: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("users", f"{totals['users']:,}"),
        ("items", f"{totals['items']:,}"),
        ("ratings", f"{totals['ratings']:,}"),
        ("only tagged", f"{totals['tag_only']:,}"),
        ("of all pairs", f"{totals['density']:.2%}"),
    ]

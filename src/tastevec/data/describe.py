"""Report about a prepared dataset: numbers as JSON and charts on one HTML page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pyarrow import compute

from tastevec.data.files import atomic_folder
from tastevec.data.histories import NO_TIMESTAMP, Histories
from tastevec.data.html import GRID, MUTED, SIZE, draw_chart, figure_html, html_page, style_axes
from tastevec.nouns import ItemNoun
from tastevec.schema import CONTENT, DESCRIPTION_FILE, GENOME_SVD, GENRES, PAGE_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from tastevec.data.html import Chart
    from tastevec.data.prepared import Prepared
    from tastevec.data.value_scale import ValueScale

_ROWS: Final = 1 << 22  # interactions per block: 4 million need about 150 MB
_USERS: Final = 4096  # whose different items are counted at once
_CELLS: Final = 360  # half a unit is an integer number of cells on scales of 4, 4.5, 5, 9 and 10 units
_MAX_BARS: Final = 20  # of the ratings histogram
_PERIODS: Final = 60
_NOTE_LIMIT: Final = 512  # max_history of the research note
_QUANTILES: Final = np.linspace(0, 1, 201)


@dataclass(frozen=True)
class _Tally:
    """Counts of one pass over the interactions: B users, N items, cells of the value scale, periods of time."""

    user_ratings: NDArray[np.float64]  # (B,)
    user_sums: NDArray[np.float64]  # (B,)
    item_counts: NDArray[np.float64]  # (N,) with tag-only interactions
    item_ratings: NDArray[np.float64]  # (N,)
    item_sums: NDArray[np.float64]  # (N,)
    cells: NDArray[np.float64]  # (_CELLS + 1,)
    positives: NDArray[np.int64]  # (1,)
    periods: NDArray[np.float64]  # (_PERIODS,)


def summarize(prepared: Prepared) -> dict[str, Any]:
    """Return the numbers of all charts, as JSON values.

    The interactions are read in blocks of 4 million, so that memory depends on users and items only.

    Returns:
        ``item_noun``, ``totals``, ``user_means``, ``ratings``, ``history_lengths``, ``genres``, ``activity`` and ``coverage``.
        Shares are between 0 and 1; dates are ISO dates (UTC).
    """
    histories, scale = prepared.histories, prepared.scale
    item_count = prepared.items.num_rows
    span = _time_span(histories)
    tally = _count(histories, item_count, scale, span)
    return {
        "item_noun": prepared.noun.to_json(),
        "totals": _totals(tally, histories, item_count),
        "user_means": _user_means(tally),
        "ratings": _ratings(tally, scale),
        "history_lengths": _history_lengths(histories),
        "genres": _genres(prepared.items[GENRES].combine_chunks(), tally),
        "activity": _activity(tally, span),
        "coverage": _coverage(prepared.vectors, tally),
    }


def _blocks(histories: Histories) -> Iterator[slice]:
    rows = int(histories.offsets[-1])
    for start in range(0, rows, _ROWS):
        yield slice(start, min(start + _ROWS, rows))


def _known_timestamps(histories: Histories, rows: slice) -> NDArray[np.int64]:
    timestamps = histories.timestamps[rows]
    return np.asarray(timestamps[timestamps != NO_TIMESTAMP])


def _time_span(histories: Histories) -> tuple[int, int] | None:
    """Return the first and the last timestamp; None without timestamps."""
    edges = []
    for rows in _blocks(histories):
        if len(known := _known_timestamps(histories, rows)):
            edges += [int(known.min()), int(known.max())]
    return (min(edges), max(edges)) if edges else None


def _count(histories: Histories, item_count: int, scale: ValueScale, span: tuple[int, int] | None) -> _Tally:
    tally = _Tally(
        user_ratings=np.zeros(len(histories)),
        user_sums=np.zeros(len(histories)),
        item_counts=np.zeros(item_count),
        item_ratings=np.zeros(item_count),
        item_sums=np.zeros(item_count),
        cells=np.zeros(_CELLS + 1),
        positives=np.zeros(1, np.int64),
        periods=np.zeros(_PERIODS),
    )
    for rows in _blocks(histories):
        _add_ratings(tally, histories, rows, scale)
        if span:
            known = _known_timestamps(histories, rows)
            tally.periods[:] += np.histogram(known, bins=_PERIODS, range=_edges(span))[0]
    return tally


def _add_ratings(tally: _Tally, histories: Histories, rows: slice, scale: ValueScale) -> None:
    """Add one block of rows to the counts."""
    items = np.asarray(histories.items[rows])
    ratings = np.asarray(histories.ratings[rows], np.float64)
    rated = np.isfinite(ratings)
    # The user of a row is the last one whose history starts at or before it.
    owners = np.searchsorted(histories.offsets, np.arange(rows.start, rows.stop)[rated], side="right") - 1
    indices, ratings = items[rated], ratings[rated]
    tally.item_counts[:] += np.bincount(items, minlength=len(tally.item_counts))
    tally.item_ratings[:] += np.bincount(indices, minlength=len(tally.item_counts))
    tally.item_sums[:] += np.bincount(indices, ratings, minlength=len(tally.item_counts))
    np.add.at(tally.user_ratings, owners, 1)
    np.add.at(tally.user_sums, owners, ratings)
    cells = np.clip(np.rint(scale.position(ratings) * _CELLS), 0, _CELLS).astype(np.int64)
    tally.cells[:] += np.bincount(cells, minlength=_CELLS + 1)
    tally.positives[:] += scale.positive(ratings.astype(np.float32)).sum()


def _totals(tally: _Tally, histories: Histories, items: int) -> dict[str, Any]:
    interactions, ratings = tally.item_counts.sum(), tally.item_ratings.sum()
    pairs, users = interactions, len(histories)
    if histories.repeats is not None:
        pairs = sum(len(some.once().items) for some in histories.chunks(_USERS))
    return {
        "users": users,
        "items": items,
        "items_with_interactions": int((tally.item_counts > 0).sum()),
        "interactions": int(interactions),
        "ratings": int(ratings),
        "tag_only": int(interactions - ratings),
        "density": float(pairs / max(users * items, 1)),
    }


def _user_means(tally: _Tally) -> dict[str, Any]:
    """Return the mean rating per user, of users with ratings."""
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


def _ratings(tally: _Tally, scale: ValueScale) -> dict[str, Any]:
    total = max(float(tally.cells.sum()), 1.0)
    used = np.flatnonzero(tally.cells)
    centers, counts = used / _CELLS, tally.cells[used].astype(np.int64)
    if len(used) > _MAX_BARS:
        bars = np.minimum(np.arange(_CELLS + 1) // (_CELLS // _MAX_BARS), _MAX_BARS - 1)
        centers = (np.arange(_MAX_BARS) + 0.5) / _MAX_BARS
        counts = np.bincount(bars, tally.cells).astype(np.int64)
    return {
        "kind": scale.kind,
        "range": [scale.low, scale.high],
        "mean": float(tally.item_sums.sum() / total) if len(used) else None,
        "values": scale.at_position(centers).round(3).tolist(),
        "counts": counts.tolist(),
        "positive_from": scale.positive_from,
        "share_positive": float(tally.positives[0] / total),
    }


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
    """Return each genre's share of items and of interactions, most items first; an item counts for each of its genres."""
    coded = compute.dictionary_encode(compute.list_flatten(lists))
    names, codes = np.asarray(coded.dictionary, dtype=str), np.asarray(coded.indices)
    owners = np.asarray(compute.list_parent_indices(lists))
    items = np.bincount(codes, minlength=len(names))
    interactions, ratings, sums = (
        np.bincount(codes, per_item[owners], minlength=len(names))
        for per_item in (tally.item_counts, tally.item_ratings, tally.item_sums)
    )
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
    """Return the bounds that include the last second, so that a single timestamp has a period."""
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
    """Return the share of items and of interactions with each kind of item vector; a row of zeros is no vector."""
    present = {kind: np.any(rows != 0, axis=1) for kind, rows in vectors.items()}
    return [
        {
            "vectors": kind,
            "items": int(has.sum()),
            "share_of_items": float(has.sum() / max(has.size, 1)),
            "share_of_interactions": float(tally.item_counts[has].sum() / max(tally.item_counts.sum(), 1)),
        }
        for kind, has in sorted(present.items(), key=lambda entry: (entry[0] != GENOME_SVD, entry[0]))
    ]


_MAIN, _OTHER = "#2b6c8f", "#e08a4f"
_MOST_GENRES: Final = 20
_TICKS: Final = 6
_VECTORS: Final = {GENOME_SVD: "genome", CONTENT: "content"}


def draw(numbers: Mapping[str, Any]) -> list[Chart]:
    """Return the charts of the result of `summarize`, without those that have no data (no timestamps, no genres).

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    charts: list[tuple[str, str, Any, Callable[[Figure, Axes, Mapping[str, Any]], str]]] = [
        ("user-means", "Mean rating per user", numbers["user_means"]["users"], _draw_user_means),
        ("ratings", "Ratings", sum(numbers["ratings"]["counts"]), _draw_ratings),
        ("history-lengths", "History length", numbers["history_lengths"]["counts"], _draw_lengths),
        ("genres", "Genres", numbers["genres"], _draw_genres),
        ("activity", "Activity over time", numbers["activity"]["counts"], _draw_activity),
        ("coverage", f"{ItemNoun.of(numbers).title} with a vector", numbers["coverage"], _draw_coverage),
    ]

    def chart(name: str, title: str, fill: Callable[[Figure, Axes, Mapping[str, Any]], str]) -> Chart:
        return draw_chart(name, title, lambda figure: fill(figure, style_axes(figure.subplots()), numbers))

    return [chart(name, title, fill) for name, title, data, fill in charts if data]


def _draw_user_means(_: Figure, axes: Axes, numbers: Mapping[str, Any]) -> str:
    means = numbers["user_means"]
    shares = np.linspace(0, 100, len(means["quantiles"]))
    axes.fill_between(shares, means["mean_of_means"], means["quantiles"], color=_MAIN, alpha=0.15)
    axes.plot(shares, means["quantiles"], color=_MAIN, linewidth=2)
    axes.axhline(means["mean_of_means"], color=_OTHER, linestyle="--")
    label, at = f"mean of means {means['mean_of_means']:.2f}", (1, means["mean_of_means"])
    axes.annotate(label, at, xytext=(0, 4), textcoords="offset points", color=_OTHER)
    axes.set(xlabel="users, by mean rating (%)", ylabel="mean rating", xlim=(0, 100))
    if numbers["ratings"]["kind"] == "explicit":
        axes.set_ylim(*numbers["ratings"]["range"])
    return (
        f"The mean rating of each of {means['users']:,} users, sorted. The mean of the means is {means['mean_of_means']:.2f}, "
        f"their standard deviation {means['deviation']:.2f}; {means['share_above']:.0%} of users are above the mean."
    )


def _draw_ratings(_: Figure, axes: Axes, numbers: Mapping[str, Any]) -> str:
    ratings = numbers["ratings"]
    values, counts = np.asarray(ratings["values"]), np.asarray(ratings["counts"])
    # Values without a scale of their own are on a logarithmic axis, where a bar is as wide as its distance from the next.
    logarithmic = ratings["kind"] != "explicit" and len(values) > 1
    gaps = np.diff(values) if len(values) > 1 else np.ones(1)
    width = 0.8 * (np.append(gaps, gaps[-1]) if logarithmic else gaps.min())
    colors = [_MAIN if value >= ratings["positive_from"] else "#a9c4d2" for value in values]
    axes.bar(values, counts / counts.sum() * 100, width, color=colors)
    axes.set(xlabel="rating", ylabel="ratings (%)", xscale="log" if logarithmic else "linear")
    axes.set_xticks(ticks := values[:: max(1, len(values) // 10)], [f"{tick:g}" for tick in ticks])
    top = values[counts.argmax()]
    positive = values[values >= ratings["positive_from"]].min(initial=values[-1])
    return (
        f"The distribution of {counts.sum():,} ratings: {top:g} is the most frequent ({counts.max() / counts.sum():.0%}), the "
        f"mean is {ratings['mean']:.2f}, and {ratings['share_positive']:.0%} are positive, {positive:g} or more (dark)."
    )


def _draw_lengths(_: Figure, axes: Axes, numbers: Mapping[str, Any]) -> str:
    lengths = numbers["history_lengths"]
    edges = np.asarray(lengths["edges"])
    axes.bar(edges[:-1], lengths["counts"], np.diff(edges), align="edge", color=_MAIN, edgecolor="white")
    axes.set(xscale="log", xlabel="interactions per user", ylabel="users", xlim=(edges[0], edges[-1]))
    steps = (step * 10**power for power in range(10) for step in (1, 2, 5))
    ticks = [tick for tick in steps if edges[0] <= tick <= edges[-1]]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.axvline(lengths["median"], color=_OTHER, linestyle="--")
    label, at = f"median {lengths['median']:g}", (lengths["median"], 1.0)
    top = axes.get_xaxis_transform()
    axes.annotate(label, at, xycoords=top, color=_OTHER, va="bottom", ha="center")
    return (
        f"Interactions per user, on a logarithmic scale: the median is {lengths['median']:g}, the maximum "
        f"{lengths['longest']:,}, and {lengths['share_over_512']:.1%} of histories exceed 512."
    )


def _draw_genres(figure: Figure, axes: Axes, numbers: Mapping[str, Any]) -> str:
    genres = numbers["genres"][:_MOST_GENRES][::-1]
    figure.set_size_inches(SIZE[0], 1.2 + 0.27 * len(genres))
    noun = ItemNoun.of(numbers)
    _share_bars(axes, genres, [genre["genre"] for genre in genres], noun)
    axes.grid(axis="x", color=GRID)
    axes.set(xlabel=f"share (%); {noun.many} count for each of their genres")
    axes.legend(frameon=False, loc="lower right")
    first = max(genres, key=lambda genre: genre["share_of_interactions"])
    return (
        f"Each genre's share of {noun.many} and of interactions: {first['genre']} has the most interactions, "
        f"{first['share_of_interactions']:.0%}, with {first['share_of_items']:.0%} of the {noun.many}."
    )


def _share_bars(
    axes: Axes, rows: Sequence[Mapping[str, Any]], labels: Sequence[str], noun: ItemNoun
) -> list[BarContainer]:
    """Draw the shares of items and of interactions of each row."""
    positions = np.arange(len(rows))
    axes.set_yticks(positions, labels)
    axes.grid(axis="y", visible=False)
    kinds = ((0.2, "items", noun.many, "#a9c4d2"), (-0.2, "interactions", "interactions", _MAIN))
    shares = {kind: [100 * row[f"share_of_{kind}"] for row in rows] for _, kind, _, _ in kinds}
    return [
        axes.barh(positions + shift, shares[kind], 0.38, color=color, label=f"of {name}")
        for shift, kind, name, color in kinds
    ]


def _draw_activity(_: Figure, axes: Axes, numbers: Mapping[str, Any]) -> str:
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
        f"Interactions from {activity['first']} to {activity['last']}, in periods of {_period(days)}: the busiest one, from "
        f"{activity['starts'][busiest]}, has {counts[busiest] / counts.sum():.0%} of the {counts.sum():,} interactions with a "
        "timestamp."
    )


def _period(days: float) -> str:
    return f"{days:.0f} days" if days >= 2 else f"{days * 24:.1f} hours"  # noqa: PLR2004 - two days


def _draw_coverage(figure: Figure, axes: Axes, numbers: Mapping[str, Any]) -> str:
    coverage = numbers["coverage"][::-1]
    names = [_VECTORS.get(kind["vectors"], kind["vectors"]) for kind in coverage]
    figure.set_size_inches(SIZE[0], 1.2 + 0.8 * len(coverage))
    noun = ItemNoun.of(numbers)
    for bars in _share_bars(axes, coverage, names, noun):
        axes.bar_label(bars, fmt="%.1f %%", padding=3, color=MUTED)
    axes.set(xlim=(0, 115), xticks=[], xlabel="share with a vector")
    axes.spines["bottom"].set_visible(False)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.25), ncols=2)
    shares = "; ".join(
        f"{name}: {kind['share_of_items']:.1%} of {noun.many}, with {kind['share_of_interactions']:.1%} of interactions"
        for name, kind in zip(names[::-1], coverage[::-1], strict=True)
    )
    missing = "" if any(kind["vectors"] == GENOME_SVD for kind in coverage) else "; no tag genome"
    return f"{noun.title} with a vector that does not need ratings. {shares[0].upper()}{shares[1:]}{missing}."


_FACTS = (  # label (none: the noun of the items), key of the totals, format
    ("users", "users", ","),
    ("", "items", ","),
    ("ratings", "ratings", ","),
    ("tag-only interactions", "tag_only", ","),
    ("density", "density", ".2%"),
)
_FORMAT: Final = 1


def describe(prepared: Prepared, out: Path) -> dict[str, Any]:
    """Write ``out/index.html``, the charts with their captions, and ``out/description.json``, and return its content.

    The content is the numbers of `summarize` and the caption of each chart.

    Raises:
        FormatError: ``out`` is neither a new folder nor an earlier description, which is replaced.
        MissingExtraError: matplotlib is not installed.
    """
    numbers, name = summarize(prepared), str(prepared.manifest["source"]["name"])
    charts, totals = draw(numbers), numbers["totals"]
    captions = {chart.name: chart.caption for chart in charts}
    description = {"format": _FORMAT, "name": name, **numbers, "captions": captions}
    page = html_page(
        f"Dataset {name}",
        facts=[(label or prepared.noun.many, f"{totals[key]:{form}}") for label, key, form in _FACTS],
        body="\n".join(figure_html(chart) for chart in charts),
    )
    with atomic_folder(out, marker_file=DESCRIPTION_FILE) as folder:
        text = json.dumps(description, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / DESCRIPTION_FILE).write_text(text + "\n", encoding="utf-8")
        (folder / PAGE_FILE).write_text(page, encoding="utf-8")
    return description

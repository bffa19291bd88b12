"""The numbers of a prepared folder, drawn: each picture with a sentence that says what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tastevec.data.drawing import GRID, MUTED, SIZE, Picture, drawn, styled
from tastevec.schema import CONTENT, NOTE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.figure import Figure

__all__ = ["draw"]

_MAIN, _OTHER = "#2b6c8f", "#e08a4f"
_MOST_GENRES: Final = 20
_TICKS: Final = 6
_VECTORS: Final = {NOTE: "genome", CONTENT: "content"}


def draw(numbers: Mapping[str, Any]) -> list[Picture]:
    """The pictures of these numbers; one for which the data say nothing (no times, no genres) is left out.

    Args:
        numbers: As `summarise` gives them.

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
) -> Picture:
    return drawn(name, title, lambda figure: picture(figure, numbers))


def _draw_user_means(figure: Figure, numbers: Mapping[str, Any]) -> str:
    axes = styled(figure.subplots())
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
    axes = styled(figure.subplots())
    ratings = numbers["ratings"]
    values, counts = np.asarray(ratings["values"]), np.asarray(ratings["counts"])
    width = 0.8 * (np.diff(values).min() if len(values) > 1 else 1.0)
    colours = [_MAIN if value >= ratings["liked_from"] else "#a9c4d2" for value in values]
    axes.bar(values, counts / counts.sum() * 100, width, color=colours)
    axes.set(xlabel="rating", ylabel="ratings (%)", xticks=values[:: max(1, len(values) // 10)])
    top, liked = values[counts.argmax()], values[values >= ratings["liked_from"]].min(initial=values[-1])
    return (
        f"How {counts.sum():,} ratings fall: {top:g} is given most ({counts.max() / counts.sum():.0%}), the mean is "
        f"{ratings['mean']:.2f}, and {ratings['share_liked']:.0%} are likes, {liked:g} or more (dark)."
    )


def _draw_lengths(figure: Figure, numbers: Mapping[str, Any]) -> str:
    axes = styled(figure.subplots())
    lengths = numbers["history_lengths"]
    edges = np.asarray(lengths["edges"])
    axes.bar(edges[:-1], lengths["counts"], np.diff(edges), align="edge", color=_MAIN, edgecolor="white")
    axes.set(xscale="log", xlabel="interactions of a person", ylabel="people", xlim=(edges[0], edges[-1]))
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
    axes = styled(figure.subplots())
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
    axes = styled(figure.subplots())
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
    axes = styled(figure.subplots())
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
    lacking = "" if any(kind["vectors"] == NOTE for kind in coverage) else "; no tag genome was given"
    return f"Which films can be placed before anybody rates them: {told}{lacking}."

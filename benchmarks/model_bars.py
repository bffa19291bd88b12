"""The bars of the model itself: films that it never met, its vectors, their width, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from saved_evaluation import Found
from wanted import HEADLINES, MODEL, SHOWN, Bar, Wanted

if TYPE_CHECKING:
    from saved_evaluation import SavedEvaluation

__all__ = ["cold", "cost", "longer", "vectors"]

_IALS: Final = ("iALS, likes", "iALS, likes and middle")
_HORIZONS: Final = {"fold-in": "overall", "next-liked": "next"}  # where each of the two vectors is looked at
_AMONG: Final = {"all films": "among all films", "drawn films": "among these films"}
_LONGEST: Final = 30.0  # minutes of a training
_TIMES_THE_NOTE: Final = 20.0
_OWN_WIDTH: Final = 64  # numbers of the preset
_OF_VECTORS: Final = {
    "effective rank over 40": ("effective_rank", Wanted(40, ".1f", strictly=True)),
    "under 15 % of the variance along the top direction": (
        *("top_direction", Wanted(15, ".1f", " %", at_most=True, strictly=True)),
    ),
    "two halves of one history closer than two people's in 95 % of the pairs drawn": (
        *("halves_closer", Wanted(95, ".1f", " %")),
    ),
}


def cold(results: dict[str, Any] | None) -> list[Bar]:
    """Films taken out of the training are found, and the others lose little."""
    rows = {
        (row["question"], row["metric"]): row
        for row in (results["cold"] if results else [])
        if row["horizon"] == "overall" and row["system"].startswith(f"{MODEL}, trained without")
    }
    lines = []
    for question, among in _AMONG.items():
        for metric in ("recall@20", "recall@50"):
            bar = Bar("cold films", f"{SHOWN[metric]} {among} 1.5 times the nearest films by content")
            lines.append(_ratio(bar, rows.get((question, metric))))
    losses = {(row["task"], row["metric"]): row for row in (results["warm"] if results else [])}
    for task in ("fold-in", "next-liked", "last-20%"):
        metric = HEADLINES[task]
        bar = Bar("the other films", f"{task} {SHOWN[metric]} loses at most 2 %")
        lines.append(_loss(bar, losses.get((task, metric))))
    return lines


def _ratio(bar: Bar, row: dict[str, Any] | None) -> Bar:
    if row is None or row["ratio"] is None:
        return bar
    wanted, times = Wanted(1.5, ".2f"), Found(row["ratio"], row["ratio_low"], row["ratio_high"])
    text = f"{row['mean']:.3f}: {wanted.number(times)} times"
    return Bar(bar.about, bar.wanted, text, wanted.verdict(times))


def _loss(bar: Bar, row: dict[str, Any] | None) -> Bar:
    if row is None or row["ratio"] is None:
        return bar
    left = Found(row["ratio"], row["ratio_low"], row["ratio_high"])
    lost = left.through(lambda end: 100 * (1 - end))
    wanted = Wanted(2.0, ".1f", " %", at_most=True)
    text = f"{row['without']:.3f} against {row['with_all']:.3f}: {wanted.number(lost, '+')} lost"
    return Bar(bar.about, bar.wanted, text, wanted.verdict(lost))


def vectors(found: SavedEvaluation | None) -> list[Bar]:
    """The two vectors of people use the space, share no direction, make no hubs and tell people apart."""
    lines = []
    for task, horizon in _HORIZONS.items():
        about = f"vectors, {horizon}"
        lines += [_alone(found, Bar(about, text), task, *what) for text, what in _OF_VECTORS.items()]
        lines.append(_hubs(found, Bar(about, "hubness not above that of iALS"), task))
    return lines


def _alone(found: SavedEvaluation | None, bar: Bar, task: str, metric: str, wanted: Wanted) -> Bar:
    """A number of the model alone, in per cent where the bound is."""
    number = found.found(MODEL, task, metric) if found else None
    if number is None:
        return bar
    if wanted.unit:
        number = number.through(lambda end: 100 * end)
    return Bar(bar.about, bar.wanted, wanted.number(number), wanted.verdict(number))


def _hubs(found: SavedEvaluation | None, bar: Bar, task: str) -> Bar:
    other = found.best(_IALS, task, "hubness@10", lowest=True) if found else None
    if not found or other is None:
        return bar
    mine, its = (found.found(system, task, "hubness@10") for system in (MODEL, other))
    if mine is None or its is None:
        return bar
    wanted = Wanted(its.value, ".2f", at_most=True)
    text = f"{wanted.number(mine)} against {its.value:.2f} ({other})"
    return Bar(bar.about, bar.wanted, text, wanted.verdict(mine))


def longer(results: dict[str, Any] | None) -> list[Bar]:
    """Longer vectors do better, or it is said that they do not."""
    lines = []
    for width in (128, 256):
        text = f"{width} numbers do better than {_OWN_WIDTH}, or a table says that they do not"
        pairs = [
            pair
            for pair in (results["beside_first"] if results else [])
            if pair["system"] == f"dim-{width}" and pair["beside"] == f"dim-{_OWN_WIDTH}"
        ]
        lines.append(_better(Bar("longer vectors", text), pairs))
    return lines


def _better(bar: Bar, pairs: list[dict[str, Any]]) -> Bar:
    if not pairs:
        return bar
    shown = Wanted(0.0)
    text = "; ".join(
        f"{pair['task']} {SHOWN[pair['metric']]} {shown.number(Found(pair['difference'], pair['low'], pair['high']), '+')}"
        for pair in pairs
    )
    above = sum(pair["low"] > 0 for pair in pairs)
    below = sum(pair["high"] < 0 for pair in pairs)
    verdict = f"met: certainly better on {above} of {len(pairs)} questions, certainly worse on {below}; the table says so"
    return Bar(bar.about, bar.wanted, text, verdict)


def cost(whole: dict[str, Any] | None, speed: dict[str, Any] | None) -> list[Bar]:
    """What training takes."""
    bar = Bar("training", f"at most {_LONGEST:.0f} minutes on two cores")
    stages = whole["stages"] if whole else []
    spent = [stage["seconds"] / 60 for stage in stages if stage["stage"].startswith(f"train {MODEL} ")]
    if spent:
        wanted = Wanted(_LONGEST, ".1f", " minutes", at_most=True)
        each = ", ".join(f"{minutes:.1f}" for minutes in spent)
        bar = Bar(bar.about, bar.wanted, f"{each} minutes", wanted.verdict(Found(max(spent))))
    times = Bar("training", f"{_TIMES_THE_NOTE:.0f} times as many people a second as the note's recipe")
    if speed is not None:
        wanted, people = Wanted(_TIMES_THE_NOTE, ".1f"), speed["times_the_note"]["users_per_second"]
        text = f"{people['median']:.1f} times, in single rounds {people['lowest']:.1f} to {people['highest']:.1f}"
        times = Bar(times.about, times.wanted, text, wanted.verdict(Found(people["median"])))
    return [bar, times]

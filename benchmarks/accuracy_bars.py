"""The bars of what is found: beside EASE, beside the floors, at every length of a history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wanted import HEADLINES, MODEL, SHOWN, Bar, Wanted

if TYPE_CHECKING:
    from saved_evaluation import SavedEvaluation

__all__ = ["best_rated", "curve", "taste_as_a_set", "what_comes_next"]

_PLAIN: Final = ("EASE", "EASE, any rating")
_GRADED: Final = ("EASE, likes and middle",)
_PEER: Final = "SASRec"
_NOTE: Final = "seed"
_CURVES: Final = {**HEADLINES, "best-rated": "ndcg@100"}  # what is measured by the length of a history
_FROM: Final = 3  # known films from which the curve is to be above


def taste_as_a_set(found: SavedEvaluation | None) -> list[Bar]:
    """Taste as a set: above EASE of likes or of any rating, and above EASE that is told the middle ratings."""
    rivals = {"tuned EASE, of likes or of any rating": _PLAIN, "tuned EASE of likes and middle": _GRADED}
    lines = []
    for rival, names in rivals.items():
        for metric, least in (("ndcg@100", 3.0), ("recall@20", 0.0), ("recall@50", 0.0)):
            text = f"{SHOWN[metric]} {f'{least:.0f} % ' if least else ''}above {rival}"
            wanted = Wanted(least, ".1f", " %", strictly=not least)
            lines.append(_beside(found, Bar("fold-in", text), names, metric, wanted, percent=True))
    return lines


def what_comes_next(found: SavedEvaluation | None) -> list[Bar]:
    """What comes next: so many times the best floor, and not below the published model of order."""
    lines = []
    floors = () if found is None else tuple(found.floors)
    for task, metric, times in (("next-liked", "ndcg@10", 1.7), ("last-20%", "ndcg@100", 1.3)):
        text = f"{SHOWN[metric]} {times} times the best floor or tuned baseline"
        lines.append(_beside(found, Bar(task, text), floors, metric, Wanted(times, ".2f")))
    for task in ("next-liked", "last-20%"):
        bar = Bar(task, f"{SHOWN[HEADLINES[task]]} not below {_PEER}'s")
        lines.append(_minus(found, bar, _PEER, HEADLINES[task], Wanted(0.0)))
    return lines


def best_rated(found: SavedEvaluation | None) -> list[Bar]:
    """The note's question: above every floor, by ranking and by cosine, and above the note's recipe."""
    task, metric, distance = "best-rated", "ndcg@10", "cosine_distance_centred"
    lines = []
    rivals = {
        "every floor and tuned baseline": () if found is None else tuple(found.floors),
        "the note's recipe": (_NOTE,),
    }
    for rival, names in rivals.items():
        bar = Bar(task, f"{SHOWN[metric]} above {rival}")
        other = found.best(names, task, metric) if found else None
        lines.append(_minus(found, bar, other, metric, Wanted(0.0, strictly=True)))
    own = [name for name in rivals["every floor and tuned baseline"] if name.endswith(f"({MODEL})")]
    nearest = found.best(own, task, distance, lowest=True) if found else None
    bar = Bar(task, "centred cosine to the hidden films above every floor's in the same film vectors")
    lines.append(_minus(found, bar, nearest, distance, Wanted(0.0, strictly=True), cosine=True))
    bar = Bar(task, "centred cosine above that of the note's recipe, each in its own film vectors")
    lines.append(_minus(found, bar, _NOTE, distance, Wanted(0.0, strictly=True), cosine=True))
    return lines


def _beside(
    found: SavedEvaluation | None,
    bar: Bar,
    rivals: tuple[str, ...],
    metric: str,
    wanted: Wanted,
    *,
    percent: bool = False,
) -> Bar:
    """The model over the best of its rivals: as a ratio, or by how many per cent it is above."""
    other = found.best(rivals, bar.about, metric) if found else None
    times = found.ratio(MODEL, other, bar.about, metric) if found and other else None
    if not found or not other or times is None:
        return bar
    if percent:
        times = times.through(lambda end: 100 * (end - 1))
    means = _against(found, other, bar.about, metric)
    number = wanted.number(times, "+") if percent else f"{wanted.number(times)} times"
    return Bar(bar.about, bar.wanted, f"{means}: {number}", wanted.verdict(times))


def _minus(
    found: SavedEvaluation | None,
    bar: Bar,
    other: str | None,
    metric: str,
    wanted: Wanted,
    *,
    cosine: bool = False,
) -> Bar:
    """The model minus another; of a distance, the cosines that it was made from."""
    apart = found.difference(MODEL, other, bar.about, metric) if found and other else None
    if not found or not other or apart is None:
        return bar
    if cosine:
        apart = apart.through(lambda end: -end)
    means = _against(found, other, bar.about, metric, cosine=cosine)
    return Bar(bar.about, bar.wanted, f"{means}: {wanted.number(apart, '+')}", wanted.verdict(apart))


def _against(found: SavedEvaluation, other: str, task: str, metric: str, *, cosine: bool = False) -> str:
    values = [getattr(found.found(system, task, metric), "value", float("nan")) for system in (MODEL, other)]
    mine, its = (1 - value if cosine else value for value in values)
    return f"{mine:.3f} against {its:.3f} ({other})"


def curve(found: SavedEvaluation | None) -> list[Bar]:
    """The quality curve of every question."""
    lines = []
    for task, metric in _CURVES.items():
        rivals = f"every floor and tuned baseline at every length from {_FROM} known films on"
        bar = Bar(task, f"{SHOWN[metric]} above {rivals}")
        lines.append(_gaps(bar, _ahead(found, task, metric)) if found else bar)
    return lines


def _ahead(found: SavedEvaluation, task: str, metric: str) -> dict[int, tuple[float, str]]:
    """By the number of known films, how far the model is ahead of the best of the others, and which that is."""
    ahead = {}
    for length, means in sorted(found.curves.get((task, metric), {}).items()):
        others = {name: means[name] for name in found.floors if name in means}
        if length >= _FROM and MODEL in means and others:
            best = max(others, key=lambda name: others[name])
            ahead[length] = (means[MODEL] - others[best], best)
    return ahead


def _gaps(bar: Bar, gaps: dict[int, tuple[float, str]]) -> Bar:
    if not gaps:
        return bar
    above = sum(gap > 0 for gap, _ in gaps.values())
    worst = min(gaps, key=lambda length: gaps[length][0])
    gap, best = gaps[worst]
    text = f"above at {above} of {len(gaps)} lengths; the least at {worst}: {gap:+.3f} beside {best}"
    missed = f"missed at {len(gaps) - above} of {len(gaps)} lengths, by {-gap:.3f} at most"
    return Bar(bar.about, bar.wanted, text, "met" if above == len(gaps) else missed)

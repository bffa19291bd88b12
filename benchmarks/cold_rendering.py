"""What was found of films that the training never met, as the Markdown that the pages show."""

from __future__ import annotations

from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_cold"]

_METRICS = {"recall@20": "R@20", "recall@50": "R@50", "ndcg@100": "NDCG@100"}
_AMONG = {"all films": "among all films", "drawn films": "among the drawn"}
_NO_RATIO = ("random",)  # chance beside the floor says nothing of a model


def rendered_cold(results: dict[str, Any]) -> str:
    """What was asked, what each system found, how many times the floor that is, and what the other films lost."""
    return "\n\n".join((_asked(results), _found(results), _beside(results), _warm(results)))


def _asked(results: dict[str, Any]) -> str:
    draw, asked = results["draw"], results["asked"]["all films"]
    floors = "; ".join(
        f"{_AMONG[question]}, {_named(name, None)}" for question, name in results["floor"].items()
    )
    return (
        f"{draw['films']:,} of {draw['catalogue']:,} films of {results['data']} drawn (seed {draw['seed']}), and "
        f"{draw['held_back']:,} interactions with them taken out of what training and validation people did. Of {asked['users']:,} test "
        f"people {asked['hidden_films']:,} liked films are among them: these are hidden, what the person did with other films is known. "
        "Mean ± half of the 95 % interval over people, one training each. **nearest content** is the films nearest by content vector to "
        f"the mean of the liked ones; the floor, chosen by validation people: {floors}."
    )


def _found(results: dict[str, Any]) -> str:
    return _table(results, "", lambda row: f"{row['mean']:.3f} ±{(row['high'] - row['low']) / 2:.3f}")


def _beside(results: dict[str, Any]) -> str:
    return _table(results, "times the floor, with the paired 95 % interval", _times, without=_NO_RATIO)


def _table(results: dict[str, Any], title: str, cell: Any, *, without: tuple[str, ...] = ()) -> str:  # noqa: ANN401  a function of a row
    rows = {
        (row["system"], row["horizon"], row["question"], row["metric"]): row
        for row in results["cold"]
        if row["system"] not in without
    }
    systems = dict.fromkeys((system, horizon) for system, horizon, _, _ in rows)
    places = [(question, metric) for question in _AMONG for metric in _METRICS]
    lines = [[title, *(f"{_AMONG[question]}, {_METRICS[metric]}" for question, metric in places)]]
    lines += [[_named(*system), *(cell(rows[(*system, *place)]) for place in places)] for system in systems]
    return markdown_table(lines)


def _named(system: str, horizon: str | None) -> str:
    name = system.replace("mean of liked (content", "nearest content (as it is").replace("as it is, ", "")
    return name if horizon is None else f"{name}: {horizon}"


def _times(row: dict[str, Any]) -> str:
    if row["ratio"] is None:
        return "-"
    if row["ratio_low"] is None or row["ratio_high"] is None:
        return f"{row['ratio']:.2f}"
    return f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]"


def _warm(results: dict[str, Any]) -> str:
    lines = [
        [
            "other films",
            "metric",
            "trained with all",
            "trained without the drawn",
            "lost, with the paired 95 % interval",
        ]
    ]
    lines += [
        [row["task"], row["metric"], f"{row['with_all']:.3f}", f"{row['without']:.3f}", _lost(row)]
        for row in results["warm"]
    ]
    return markdown_table(lines)


def _lost(row: dict[str, Any]) -> str:
    if None in (row["ratio"], row["ratio_low"], row["ratio_high"]):
        return "-"
    loss, low, high = (100 * (1 - row[name]) for name in ("ratio", "ratio_high", "ratio_low"))
    return f"{loss:+.1f} % [{low:+.1f}, {high:+.1f}]"

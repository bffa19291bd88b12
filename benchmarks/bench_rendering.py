"""Every benchmark in one table, as the Markdown that the page shows: systems beside each other in the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markdown_table import markdown_table
from roof_rendering import rendered_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["rendered_bench"]

_LARGE = 100  # from here on tenths say nothing
Row = tuple[
    str, str, str, str, str
]  # what is measured, tastevec's, which other system, its own, and how they compare


def rendered_bench(results: dict[str, Any]) -> str:
    """The machine and the versions, the ratios, what each part took, and the stages beside the machine's roofs."""
    machine = results["machine"]
    versions = ", ".join(f"{library} {version}" for library, version in results["versions"].items())
    told = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Python {machine['python']}; {versions}; commit "
        f"{results['commit'][:7]}."
    )
    rows = [
        (name, *row) for name, headlines in HEADLINES.items() for row in headlines(results["parts"][name])
    ]
    ratios = markdown_table(
        [("part", "what is measured", "tastevec", "beside it", "its own", "times"), *rows]
    )
    took = [
        (stage["stage"], f"{stage['seconds']:,.0f}", f"{stage['peak_memory_mb']:,}", f"{stage['busy']}")
        for stage in results["stages"]
    ]
    columns = (
        "part",
        "seconds in all",
        "peak memory of its largest process, MB",
        "processes waiting at the start",
    )
    better = "Times: how many times as much a second, or as little time or memory, as the system beside it."
    return "\n\n".join(
        [told, better, ratios, markdown_table([columns, *took]), rendered_limits(results["beside_roofs"])]
    )


def _preparation(part: dict[str, Any]) -> Iterator[Row]:
    most = part["times_plain"][-1]["ratings"]
    rows = {row["system"]: row for row in part["preparations"] if row["ratings"] == most}
    ours, plain = rows["tastevec prepare"], rows["plain DuckDB SQL"]["seconds"]
    what = f"{most:,} ratings prepared, without film vectors, s"
    yield _beside(what, ours["seconds"] - ours["parts"]["vectors"], "plain DuckDB SQL", plain, less=True)


def _encoding(part: dict[str, Any]) -> Iterator[Row]:
    speed = {row["system"]: row["users_per_second"] for row in part["encodings"]}
    for system, name in (("torch", "torch"), ("note", "the note's own code")):
        yield _beside("encoded, people/s", speed["onnx"], name, speed[system])


def _ranking(part: dict[str, Any]) -> Iterator[Row]:
    ours = [row for row in part["rankings"] if row["system"] == "tastevec"][-1]
    what = f"{part['k']} best of {part['films']:,} films, people/s"
    for row in part["rankings"]:
        if row["system"] != "tastevec":
            name = f"{row['system']} (recall {row['recall']:.3f})"
            yield _beside(what, ours["people_per_second"], name, row["people_per_second"])


def _training(part: dict[str, Any]) -> Iterator[Row]:
    speed = {row["preset"]: row["users_per_second"] for row in part["speed"]}
    yield _beside("learned from, people/s", speed["taste"], "the note's recipe", speed["seed"])


def _catalogue(part: dict[str, Any]) -> Iterator[Row]:
    row = [row for row in part["catalogue"] if "plain_seconds" in row][-1]
    what, other = f"softmax over {row['films']:,} films", "all scores at once"
    yield _beside(f"{what}, s", row["loss_seconds"], other, row["plain_seconds"], less=True)
    yield _beside(f"{what}, MB", row["loss_grown_mb"], other, row["plain_grown_mb"], less=True)


def _evaluation(part: dict[str, Any]) -> Iterator[Row]:
    row = part["rows"][-1]
    yield (
        f"{row['users']:,} people asked over {row['films']:,} films, people/s",
        _told(row["users"] / row["seconds"]),
        "",
        "",
        "",
    )


HEADLINES: dict[str, Callable[[dict[str, Any]], Iterator[Row]]] = {
    "preparation": _preparation,
    "encoding": _encoding,
    "training": _training,
    "catalogue": _catalogue,
    "ranking": _ranking,
    "evaluation": _evaluation,
}


def _beside(what: str, ours: float, other: str, theirs: float, *, less: bool = False) -> Row:
    times = theirs / ours if less else ours / theirs
    return what, _told(ours), other, _told(theirs), f"{times:,.2f}"


def _told(value: float) -> str:
    return f"{value:,.0f}" if value >= _LARGE else f"{value:,.3g}"

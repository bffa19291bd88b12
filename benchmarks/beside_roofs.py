"""How near each stage comes to what the machine can do at most, from saved results.

``python benchmarks/beside_roofs.py`` sets what ``results/bench-*.json`` say beside the roofs of ``results/bench-roofs.json`` and writes
``results/bench-limits.json`` and docs/speed.md. Only results of one machine can be compared: those of another than the roofs' are
left out, and named.
"""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any

from provenance import ROOT, save
from rendering import put, rendered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Row = tuple[
        str, str, str, float, float
    ]  # stage, what it does most, unit, how much of it a second, the roof

__all__ = ["limits", "saved_parts"]

NAME = "bench-limits"


def saved_parts() -> dict[str, dict[str, Any]]:
    """What is saved, by the part's name."""
    files = sorted((ROOT / "results").glob("bench-*.json"))
    return {
        file.stem.removeprefix("bench-"): json.loads(file.read_text()) for file in files if file.stem != NAME
    }


def limits(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Each stage beside its roof: what it does most, how much of it a second, and the share of the roof."""
    roofs = parts["roofs"]
    same = {name: part for name, part in parts.items() if part.get("machine") == roofs["machine"]}
    rows = [row for name, stages in STAGES.items() if name in same for row in stages(same[name], roofs)]
    return {
        "machine": roofs["machine"],
        "limits": [
            {
                "stage": stage,
                "limit": limit,
                "unit": unit,
                "reached": round(reached, 3),
                "roof": roof,
                "share": round(reached / roof, 4),
            }
            for stage, limit, unit, reached, roof in rows
        ],
        "of_another_machine": sorted(set(STAGES) & (set(parts) - set(same))),
    }


def _roof(roofs: dict[str, Any], what: str) -> float:
    """With as many threads as there are cores."""
    return float(roofs["roofs"][max(roofs["roofs"], key=int)][what])


def _preparation(part: dict[str, Any], roofs: dict[str, Any]) -> Iterator[Row]:
    """All text of the largest release, with the film vectors that are made besides."""
    rows = [row for row in part["preparations"] if row["system"] == "tastevec prepare"]
    seconds = [row["seconds"] for row in rows if row["ratings"] == rows[-1]["ratings"]]
    reached = part["data"]["megabytes"][-1] / statistics.median(seconds)
    yield "prepare", "parsing text", "MB/s", reached, _roof(roofs, "csv_mb_per_second")


def _encoding(part: dict[str, Any], roofs: dict[str, Any]) -> Iterator[Row]:
    """The products that the answers need, padding not counted."""
    speed = [row["gflop"] / row["seconds"] for row in part["encodings"] if row["system"] == "onnx"]
    yield _product("encode", statistics.median(speed), roofs)


def _catalogue(part: dict[str, Any], roofs: dict[str, Any]) -> Iterator[Row]:
    """Scores of all films, and their gradient back to the answers: two products, of two operations a number."""
    for row in part["catalogue"][-1:]:
        operations = 4 * part["answers"] * row["films"] * part["dim"]
        yield _product(
            f"train, softmax over {row['films']:,} films", operations / row["loss_seconds"] / 1e9, roofs
        )


def _ranking(part: dict[str, Any], roofs: dict[str, Any]) -> Iterator[Row]:
    """Each person's product with every film, and everybody's with everybody."""
    ours = [row for row in part["rankings"] if row["system"] == "tastevec"][-1]
    operations = 2 * part["films"] * part["dim"]
    yield _product("recommend", ours["people_per_second"] * operations / 1e9, roofs)
    alike = part["similar"][-1]
    operations = 2 * alike["people"] * part["dim"]
    yield _product("similar", alike["people_per_second"] * operations / 1e9, roofs)


def _product(stage: str, gflops: float, roofs: dict[str, Any]) -> Row:
    return stage, "product of matrices", "GFLOP/s", gflops, _roof(roofs, "product_gflops")


STAGES: dict[str, Callable[[dict[str, Any], dict[str, Any]], Iterator[Row]]] = {
    "preparation": _preparation,
    "encoding": _encoding,
    "catalogue": _catalogue,
    "ranking": _ranking,
}


def main() -> None:
    """Set everything that is saved beside its roof."""
    results = limits(saved_parts())
    save(ROOT / "results" / f"{NAME}.json", results)
    put(NAME, rendered(results))


if __name__ == "__main__":
    main()

"""What the taste preset was to reach, beside what the saved results say that it reached.

``python benchmarks/bars.py`` reads ``results/*.json``, prints the table and puts it into the pages. Nothing is measured here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from accuracy_bars import best_rated, curve, taste_as_a_set, what_comes_next
from markdown_table import markdown_table
from model_bars import cold, cost, longer, vectors
from provenance import ROOT
from rendering import put
from saved_evaluation import SavedEvaluation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wanted import Bar

__all__ = ["bars", "read", "rendered_bars", "show_bars"]

_FILES = ("ml-1m-5k", "cold-films", "widths", "bench-training")


def bars(saved: Mapping[str, dict[str, Any] | None]) -> list[Bar]:
    """Every bar, in the order of the questions; what no file tells is not measured.

    Args:
        saved: The files of results by name, None where there is none; see `read`.
    """
    whole = saved["ml-1m-5k"]
    found = None if whole is None else SavedEvaluation(whole["evaluation"])
    return [
        *taste_as_a_set(found),
        *what_comes_next(found),
        *best_rated(found),
        *curve(found),
        *cold(saved["cold-films"]),
        *vectors(found),
        *longer(saved["widths"]),
        *cost(whole, saved["bench-training"]),
    ]


def read(folder: Path = ROOT / "results") -> dict[str, dict[str, Any] | None]:
    """The files of results that bars are read off."""
    places = {name: folder / f"{name}.json" for name in _FILES}
    return {name: json.loads(path.read_text()) if path.exists() else None for name, path in places.items()}


def rendered_bars(saved: Mapping[str, dict[str, Any] | None]) -> str:
    """The bars as a table in Markdown."""
    lines = [("question", "wanted", "measured", "")]
    lines += [(bar.about, bar.wanted, bar.measured, bar.verdict) for bar in bars(saved)]
    return markdown_table(lines)


def show_bars() -> None:
    """Put the table into the pages, as the saved results are now."""
    put("bars", rendered_bars(read()))


if __name__ == "__main__":
    show_bars()
    print(rendered_bars(read()))

"""The saved fault campaign as the Markdown that the page shows."""

from __future__ import annotations

from collections import Counter
from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_faults"]

_CAME = ("same", "sentence", "wrong", "not tried")


def rendered_faults(results: dict[str, Any]) -> str:
    """How often each fault was tried where, and what came of it."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for fault in results["faults"]:
        where = fault["where"]
        if fault["kind"] == "a bit turned":  # of a folder; which file it was says the saved file
            where = f"each file of a {'prepared folder' if where.startswith('data') else 'model'}"
        counts.setdefault((fault["kind"], where), Counter())[fault["came"]] += 1
    lines = [("fault", "where", "times", "as undisturbed", "one clear sentence", "lost or silently wrong")]
    for (kind, where), found in counts.items():
        tried = sum(found.values()) - found["not tried"]
        lines.append((kind, where, f"{tried}", *(f"{found[came]}" for came in _CAME[:3])))
    machine = results["machine"]
    told = f"{machine['cpu']}, {machine['cores']} cores; moments, bits and sizes drawn from seed {results['seed']}."
    return f"{told}\n\n{markdown_table(lines)}"

"""The saved epochs of taste and of SASRec as the Markdown that the page shows."""

from __future__ import annotations

import statistics
from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_epochs"]

_PEER = "SASRec"


def rendered_epochs(results: dict[str, Any]) -> str:
    """An epoch of everybody, and how many times as long SASRec's takes."""
    network = results["settings"][_PEER]
    lines = [
        (
            "system",
            "steps an epoch",
            "seconds an epoch",
            "films read/s",
            "of what is computed, padding",
            "SASRec's seconds, times",
        )
    ]
    times = {row["system"]: row for row in results["times"]}
    for system in dict.fromkeys(row["system"] for row in results["epochs"]):
        rows = [row for row in results["epochs"] if row["system"] == system]
        lines.append(
            (
                system,
                f"{rows[0]['steps']:,}",
                _over([row["epoch_seconds"] for row in rows]),
                _over([row["films_per_second"] for row in rows]),
                f"{statistics.median(row['padding'] for row in rows):.0%}",
                _times(times.get(system)),
            )
        )
    versions = ", ".join(f"{library} {version}" for library, version in results["peer_versions"].items())
    told = (
        f"{results['data']}, {results['train_users']:,} training people, {results['films']:,} films; {network['n_factors']} numbers wide, {network['n_blocks']} blocks of "
        f"{network['n_heads']} head, {network['session_max_len']} films, {network['batch_size']} people a step, softmax over all films; in turns on one machine, median (lowest to "
        f"highest). SASRec is that of RecTools in its own environment ({versions}), with our rewriting of its softmax, which scores no padding and so is "
        "faster than its own."
    )
    return f"{told}\n\n{markdown_table(lines)}"


def _times(row: dict[str, Any] | None) -> str:
    return f"**{row['median']:.2f}** ({row['lowest']:.2f} to {row['highest']:.2f})" if row else "1"


def _over(values: list[float]) -> str:
    return f"{statistics.median(values):,.1f} ({min(values):,.1f} to {max(values):,.1f})"

"""The saved steps over catalogues of all sizes as the Markdown that the page shows."""

from __future__ import annotations

from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_catalogue"]


def rendered_catalogue(results: dict[str, Any]) -> str:
    """What a step costs with so many films, beside a softmax that holds all scores, and how it grows."""
    rows = results["catalogue"]
    lines = [
        (
            "films",
            "softmax, s",
            "with all scores at once, s",
            "softmax, MB",
            "with all scores at once, MB",
            "largest tensor, million numbers",
            "whole step, s",
            "peak memory of its process, MB",
        ),
        *(_line(row) for row in rows),
    ]
    few, many = rows[0], rows[-1]
    times = many["films"] / few["films"]
    told = (
        f"A step of {results['people']} people, {results['answers']:,} answers, {results['machine']['cores']} cores "
        f"({results['machine']['cpu']}), float32. The softmax with its gradient holds {results['block'] / 2**20:,.0f} million scores at once, or one "
        "answer's where that is more, however many films and answers there are; what its memory grows by is those, their logarithms and their gradients. "
        f"From {few['films']:,} films to {many['films']:,}, {times:,.0f} times as many, a whole step takes {many['step_seconds'] / few['step_seconds']:,.0f} "
        "times as long; its memory is that of the film table and of what is learned of each film, with the optimiser's two moments."
    )
    return f"{told}\n\n{markdown_table(lines)}"


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    plain = "plain_seconds" in row
    return (
        f"{row['films']:,}",
        f"{row['loss_seconds']:.3f}",
        f"{row['plain_seconds']:.3f}" if plain else "-",
        f"{row['loss_grown_mb']:,}",
        f"{row['plain_grown_mb']:,}" if plain else "-",
        f"{row['loss_largest'] / 1e6:,.1f}",
        f"{row['step_seconds']:.3f}",
        f"{row['step_peak_mb']:,}",
    )

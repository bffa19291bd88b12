"""The machine's roofs, and the stages beside them, as the Markdown that the pages show."""

from __future__ import annotations

from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_limits", "rendered_roofs"]


def rendered_roofs(results: dict[str, Any]) -> str:
    """What the machine does at most."""
    machine = results["machine"]
    lines = [
        ["threads", "memory copied, GB/s", "float32 product, GFLOP/s", "CSV of ratings parsed, MB/s"],
        *(
            [
                threads,
                *(
                    f"{roof[name]:,.1f}"
                    for name in ("copy_gb_per_second", "product_gflops", "csv_mb_per_second")
                ),
            ]
            for threads, roof in results["roofs"].items()
        ),
    ]
    told = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB. The disk takes {results['disk_mb_per_second']:,.0f} MB/s."
    return "\n".join([told, "", markdown_table(lines)])


def rendered_limits(results: dict[str, Any]) -> str:
    """Each stage beside its roof."""
    lines = [["stage", "what limits it", "reached", "the roof", "share"]]
    lines += [
        [
            row["stage"],
            row["limit"],
            f"{row['reached']:,.1f} {row['unit']}",
            f"{row['roof']:,.1f} {row['unit']}",
            f"{row['share']:.0%}",
        ]
        for row in results["limits"]
    ]
    others = results["of_another_machine"]
    note = ["", f"Not shown, since measured on another machine: {', '.join(others)}."] if others else []
    return "\n".join([markdown_table(lines), *note])

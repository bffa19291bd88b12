"""The speed of the service as the Markdown that the pages show."""

from __future__ import annotations

from typing import Any

__all__ = ["rendered_service"]


def rendered_service(results: dict[str, Any]) -> str:
    """What was asked, the rates, and the memory."""
    machine, first, last = results["machine"], results["memory"][0], results["memory"][-1]
    peak = max(row["memory_mb"] for row in results["memory"])
    asked = (
        f"`POST /v1/recommend`, ten films for a person of {results['films_of_a_person']} ({results['data']}), on loopback; the clients share "
        f"the {machine['cores']} cores with the service. It was ready {results['ready_after_s']} seconds after its start."
    )
    lines = [
        "| connections | requests a second | p50, ms | p99, ms | requests | errors |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['connections']} | {row['requests_a_second']:,.0f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} | {row['requests']:,} "
        f"| {row['errors']} |"
        for row in results["rates"]
    ]
    memory = (
        f"Memory over {last['requests']:,} requests: {first['memory_mb']:.0f} MB before, {last['memory_mb']:.0f} MB after, "
        f"{peak:.0f} MB at most."
    )
    return "\n".join([asked, "", *lines, "", memory])
